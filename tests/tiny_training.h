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

  // Pictures turned into themselves, by the same networks and losses as into others.
  static TrainConfig tiny_translation(const std::string& model) {
    TrainConfig config = default_config(model);
    config.style = PASTICHE_TEST_DIR "/data/emoji32";
    config.size = {16, 16};
    config.ngf = config.ndf = 4;
    config.blocks = 2;
    config.dropout = 0;
    config.pool = 4;  // full after the first step
    config.patches = 32;
    config.grid = "1x1";
    config.steps = 4;
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

  void expect_losses_of_the_cpu(const std::string& device, const TrainConfig& config) {
    const std::vector<StepStats> here = run(device, config), cpu = run("cpu", config);
    ASSERT_EQ(here.size(), static_cast<std::size_t>(config.steps));
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_NEAR(here[i].loss_g, cpu[i].loss_g, 1e-3 * std::max(1.0, cpu[i].loss_g)) << config.model << " " << i;
      EXPECT_NEAR(here[i].loss_d, cpu[i].loss_d, 1e-3) << config.model << " " << i;
      EXPECT_NEAR(here[i].loss_content, cpu[i].loss_content, 1e-3) << config.model << " " << i;
    }
  }

 private:
  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / fmt::format("pastiche-tiny-{}", getpid());
};

}  // namespace pastiche
