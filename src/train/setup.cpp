#include "train/setup.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <thread>

#include "pastiche/files.h"

namespace pastiche {
namespace fs = std::filesystem;
namespace {

std::array<std::uint8_t, 3> color_of(const std::string& hex) {
  const auto value = static_cast<std::uint32_t>(std::stoul(hex, nullptr, 16));
  return {static_cast<std::uint8_t>(value >> 16), static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}


}  // namespace

std::unique_ptr<Dataset> open_data(TrainConfig& config) {
  if (config.data.empty()) {
    throw Error(ExitCode::usage, "train needs pictures to learn from: --data FOLDER (of PNG and JPEG) or --data FILE.idx.gz");
  }
  if (config.model == "article" && config.base > 0 && config.size == ImageSize{}) {
    config.size = {4 * config.base, 4 * config.base};  // what that base makes
  }
  auto data = open_dataset(config.data, {.height = config.size.height, .width = config.size.width, .channels = config.channels,
                                         .background = color_of(config.background), .strict = config.strict});
  config.data = fs::absolute(config.data).lexically_normal().string();  // the run may be resumed from elsewhere
  config.size = {data->height(), data->width()};
  config.channels = data->channels();
  if (config.batch > data->size()) {
    throw Error(ExitCode::usage, fmt::format("--batch {} is more than the {} pictures in {}: use at most --batch {}", config.batch,
                                             data->size(), quote(config.data), data->size()));
  }
  return data;
}

ModelConfig model_of(const TrainConfig& c) {
  return {.name = c.model, .height = c.size.height, .width = c.size.width, .channels = c.channels, .nz = c.nz, .ngf = c.ngf,
          .ndf = c.ndf, .base = c.base, .d_norm = c.d_norm, .dropout = c.dropout};
}

int threads_of(const TrainConfig& config) {
  return config.threads > 0 ? config.threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::int64_t steps_limit(const TrainConfig& config, std::int64_t pictures) {
  std::int64_t limit = config.steps;
  const auto include = [&](double steps) {
    const auto whole = static_cast<std::int64_t>(std::ceil(steps));
    if (steps > 0) limit = limit == 0 ? whole : std::min(limit, whole);
  };
  include(config.kimg * 1000 / config.batch);
  include(config.epochs * static_cast<double>(pictures) / config.batch);
  return limit;
}

}  // namespace pastiche
