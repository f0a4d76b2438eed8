#include "methods/training_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "pastiche/backend.h"
#include "pastiche/files.h"

namespace pastiche {
namespace {

std::array<std::uint8_t, 3> color_of(const std::string& hex) {
  const auto value = static_cast<std::uint32_t>(std::stoul(hex, nullptr, 16));
  return {static_cast<std::uint8_t>(value >> 16), static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

}  // namespace

bool on_gpu(const TrainConfig& config) { return choose_device(config.device).name == "cuda"; }

DataOptions data_options(const TrainConfig& c) {
  return {.height = c.size.height, .width = c.size.width, .most_side = on_gpu(c) ? 128 : 64, .channels = c.channels,
          .background = color_of(c.background), .strict = c.strict};
}

LoaderOptions loader_options(const TrainConfig& c, const LoadingOptions& options) {
  return {.batch = c.batch, .seed = static_cast<std::uint64_t>(c.seed), .threads = options.threads,
          .mirror = c.mirror ? MirrorMode::random : MirrorMode::never, .start_step = options.start_step, .strict = c.strict};
}

std::string absolute_path(const std::string& path) { return std::filesystem::absolute(path).lexically_normal().string(); }

void choose_batch(TrainConfig& config, std::int64_t pictures, std::int64_t usual) {
  if (config.batch == 0) config.batch = static_cast<int>(std::min(usual, pictures));
}

void require_a_batch(const TrainConfig& config, std::int64_t pictures, const std::string& folder) {
  if (config.batch <= pictures) return;
  throw Error(ExitCode::usage, fmt::format("--batch {} is more than the {} in {}: use at most --batch {}", config.batch,
                                           pictures == 1 ? "one picture" : fmt::format("{} pictures", pictures), quote(folder), pictures));
}

std::vector<std::int64_t> some_indices(std::int64_t size, std::int64_t count) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < std::min(size, count); ++i) indices.push_back(i * size / std::min(size, count));
  return indices;
}

std::vector<Image> pictures_at(std::initializer_list<const Dataset*> sets, std::int64_t index) {
  std::vector<Image> pictures;
  try {
    for (const Dataset* set : sets) pictures.push_back(set->picture(index));
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_data) throw;
    return {};
  }
  return pictures;
}

std::vector<std::vector<Image>> pictures_of(std::initializer_list<const Dataset*> sets, const std::vector<std::int64_t>& indices) {
  const Dataset& first = **sets.begin();
  std::vector<std::vector<Image>> result(sets.size());
  for (const std::int64_t wanted : indices) {
    std::vector<Image> pictures;
    for (std::int64_t i = 0; i < first.size() && pictures.empty(); ++i) pictures = pictures_at(sets, (wanted + i) % first.size());
    if (pictures.empty()) {
      throw Error(ExitCode::bad_data, fmt::format("none of the {} pictures of {} can be read any more; bring them back", first.size(), quote(first.name())));
    }
    for (std::size_t s = 0; s < sets.size(); ++s) result[s].push_back(std::move(pictures[s]));
  }
  return result;
}

Image grid_of(const Dataset& set, const TrainConfig& config) {
  const Grid grid = parse_grid(config.grid);
  return tile(pictures_of({&set}, some_indices(set.size(), grid.columns * grid.rows))[0], grid.columns, 2);
}

std::vector<std::string> ReplacedNotes::add(const std::vector<SkippedFile>& replaced, const std::string& data) {
  std::vector<std::string> notes;
  for (const SkippedFile& file : replaced) {
    if (++count_ <= one_by_one) notes.push_back(file.reason + "; another picture takes its place");
    if (count_ < next_) continue;
    next_ *= 2;
    notes.push_back(fmt::format("{} pictures can't be used any more, and others take their places; `pastiche data check {}` lists them", count_,
                                shell_word(data)));
  }
  return notes;
}

}  // namespace pastiche
