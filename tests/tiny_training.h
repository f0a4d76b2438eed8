#pragma once
// Whole trainings on tests/data/emoji32, for the backends that run the CUDA kernels on the processor.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "pastiche/train.h"

namespace pastiche {

class TinyTraining : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static TrainConfig tiny() {
    TrainConfig config;
    config.size = {16, 16};
    config.ngf = config.ndf = 8;
    config.batch = 16;
    config.grid = "2x2";
    config.steps = 6;
    return config;
  }

  std::vector<StepStats> run(const std::string& device, TrainConfig config) {
    config.device = device;
    config.data = PASTICHE_TEST_DIR "/data/emoji32";
    config.out = folder_.string();
    std::vector<StepStats> all;
    train(config, {.started = [](const std::filesystem::path&, const std::string&) {},
                   .stepped = [&](const RunEvents::Progress& p) { all.push_back(p.stats); },
                   .note = [](const std::string&) {}});
    return all;
  }

  void expect_losses_of_the_cpu(const std::string& device) {
    const std::vector<StepStats> here = run(device, tiny()), cpu = run("cpu", tiny());
    ASSERT_EQ(here.size(), 6u);
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_NEAR(here[i].loss_g, cpu[i].loss_g, 1e-3) << i;
      EXPECT_NEAR(here[i].loss_d, cpu[i].loss_d, 1e-3) << i;
    }
  }

 private:
  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / fmt::format("pastiche-tiny-{}", getpid());
};

}  // namespace pastiche
