// The backend whose kernels are what nvcc made: whole trainings, and launches that must not go anywhere else.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "pastiche/train.h"
#include "ptx/include/cuda_runtime.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

class PtxTraining : public testing::Test {
 protected:
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<StepStats> run(const std::string& device, TrainConfig config) {
    config.device = device;
    config.data = PASTICHE_TEST_DIR "/data/emoji32";
    config.out = folder_.string();
    std::vector<StepStats> all;
    train(config, {.started = [](const fs::path&, const std::string&) {},
                   .stepped = [&](const RunEvents::Progress& p) { all.push_back(p.stats); },
                   .note = [](const std::string&) {}});
    return all;
  }

  const fs::path folder_ = fs::temp_directory_path() / fmt::format("pastiche-ptx-{}", getpid());
};

TEST_F(PtxTraining, LossesAreThoseOfTheCpu) {
  TrainConfig config;
  config.size = {16, 16};
  config.ngf = config.ndf = 8;
  config.batch = 16;
  config.grid = "2x2";
  config.steps = 6;
  const std::vector<StepStats> ptx = run("ptx", config), cpu = run("cpu", config);
  ASSERT_EQ(ptx.size(), 6u);
  for (std::size_t i = 0; i < ptx.size(); ++i) {
    EXPECT_NEAR(ptx[i].loss_g, cpu[i].loss_g, 1e-3) << i;
    EXPECT_NEAR(ptx[i].loss_d, cpu[i].loss_d, 1e-3) << i;
  }
}

// A kernel that the host compiler did emit is not run in place of a translated one.
TEST(PtxLaunch, WhatIsNoTranslatedKernelDoesNotRun) {
  static bool ran = false;
  void (*const kernel)() = [] { ran = true; };
  EXPECT_EQ(simt_runtime::cudaLaunchKernel(kernel, 1, 1, nullptr), simt_runtime::cudaErrorNoKernelImageForDevice);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace pastiche
