#pragma once
// Whole trainings on tests/data/emoji32, for the backends that run the CUDA kernels on the processor.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "pastiche/train.h"
#include "simt/engine.h"

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
    // The bounds on how far losses may drift apart were found with these; larger steps carry rounding further.
    config.augment = "none";
    config.loss = "non-saturating";
    config.decay_from = 1;
    config.lr_g = config.lr_d = 2e-4;
    config.beta1 = 0.5;
    config.beta2 = 0.999;
    return config;
  }

  // Pictures turned into themselves, by the same networks and losses as into others.
  static TrainConfig tiny_translation(const std::string& model) {
    TrainConfig config = default_config(model);
    config.style = PASTICHE_TEST_DIR "/data/emoji32";
    config.size = {16, 16};
    config.ngf = config.ndf = 4;
    config.blocks = 2;
    config.dropout = 0;
    parse_config("pool = 4\npatches = 32", "test", config, {.options = true});  // a pool that is full after the first step
    config.grid = "1x1";
    config.steps = 4;
    return config;
  }

  // With second derivatives in every other step, so that two kinds of steps are recorded and replayed in turns.
  static TrainConfig tiny_with_penalty(const std::string& loss) {
    TrainConfig config = tiny();
    config.loss = loss;
    config.penalty_every = 2;
    config.augment = "color,translation,cutout";
    config.steps = 8;
    return config;
  }

  // In bf16, with channels that go to tensor cores wherever that can be.
  static TrainConfig tiny_bf16() {
    TrainConfig config = tiny();
    config.nz = 64;
    config.precision = "bf16";
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

  // The kernels that `body` launches on the backends over src/simt, by name without arguments.
  template <class F> static std::set<std::string> kernels_of(F body) {
    std::set<std::string> kernels;
    simt_runtime::watch_launches([&](const simt_runtime::LaunchSeen& launch) {
      kernels.insert(launch.kernel.substr(0, launch.kernel.find('<')));
      return true;
    });
    body();
    simt_runtime::watch_launches({});
    return kernels;
  }

  // In f32, four times what was seen on `simt`: 2.4e-7, and of cut, whose temperature raises differences, 1.1e-6. In TF32 it is 4.1e-6.
  static double f32_allowed(const TrainConfig& config) { return config.model == "cut" ? 4.4e-6 : 1e-6; }
  // Where nvcc chose the operations, or the GPU has its own.
  static constexpr double f32_allowed_of_nvcc = 1.5e-5;

  // `allowed` is of a loss, or of 1 where it is less.
  void expect_losses_of_the_cpu(const std::string& device, const TrainConfig& config, double allowed) {
    const std::vector<StepStats> here = run(device, config), cpu = run("cpu", config);
    ASSERT_EQ(here.size(), static_cast<std::size_t>(config.steps));
    double most = 0;
    for (std::size_t i = 0; i < here.size(); ++i) {
      for (double StepStats::*loss : {&StepStats::loss_g, &StepStats::loss_d, &StepStats::loss_content}) {
        const double off = std::abs(here[i].*loss - cpu[i].*loss) / std::max(1.0, std::abs(cpu[i].*loss));
        EXPECT_LE(off, allowed) << config.model << " " << i;
        most = std::max(most, off);
      }
    }
    fmt::print("{} {} {}: losses within {:.1e}, {:.1e} is allowed\n", device, config.model, config.precision, most, allowed);
  }

  // Both round the same values to bf16; sums in f32 have another order, which sends one value in some thousands to the neighbouring bf16
  // number. A loss follows by far less than bf16's unit roundoff, 2^-9: a sixty-fourth of that is allowed, and f32 is
  // beyond it.
  void expect_bf16_losses_of_the_cpu(const std::string& device) {
    constexpr double allowed = 1.0 / 512 / 64;
    TrainConfig config = tiny_bf16();
    std::vector<StepStats> here;
    const std::set<std::string> kernels = kernels_of([&] { here = run(device, config); });
    for (const char* kernel : {"conv_mma_kernel", "conv_wgrad_mma_kernel", "gemm_mma_kernel"}) {
      EXPECT_TRUE(kernels.contains(kernel)) << kernel;
    }
    const std::vector<StepStats> cpu = run("cpu", config);
    ASSERT_EQ(here.size(), static_cast<std::size_t>(config.steps));
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_NEAR(here[i].loss_g, cpu[i].loss_g, allowed) << i;
      EXPECT_NEAR(here[i].loss_d, cpu[i].loss_d, allowed) << i;
    }
    config.precision = "f32";
    config.steps = 1;
    EXPECT_GT(std::abs(here[0].loss_g - run("cpu", config)[0].loss_g), allowed);
  }

  // Six steps with factors of 10 bits, whose errors cancel in part (4.1e-6 were seen).
  void expect_tf32_losses_near_the_cpus(const std::string& device) {
    constexpr double allowed = 1.0 / 1024 / 64;
    TrainConfig config = tiny();
    config.nz = 64;
    config.precision = "tf32";
    std::vector<StepStats> here;
    const std::set<std::string> kernels = kernels_of([&] { here = run(device, config); });
    for (const char* kernel : {"conv_mma_kernel", "gemm_mma_kernel", "conv_wgrad_mma_kernel"}) EXPECT_TRUE(kernels.contains(kernel)) << kernel;
    config.precision = "f32";
    const std::vector<StepStats> cpu = run("cpu", config);
    ASSERT_EQ(here.size(), static_cast<std::size_t>(config.steps));
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_NEAR(here[i].loss_g, cpu[i].loss_g, allowed) << i;
      EXPECT_NEAR(here[i].loss_d, cpu[i].loss_d, allowed) << i;
    }
  }

 private:
  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / fmt::format("pastiche-tiny-{}", getpid());
};

}  // namespace pastiche
