#include "train/checkpoints.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "io/json.h"
#include "pastiche/checkpoint.h"
#include "pastiche/config.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;

// CRC-32 of the position and of every tensor, by name: it is for accidents, not against forgers.
std::string checksum(const SafetensorsFile& file, const std::string& position) {
  std::vector<const SafeTensor*> order;
  for (const SafeTensor& tensor : file.tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, &SafeTensor::name);
  uLong crc = crc32(0, nullptr, 0);
  const auto add = [&crc](const void* data, std::size_t bytes) { crc = crc32_z(crc, static_cast<const Bytef*>(data), bytes); };
  add(position.data(), position.size());
  for (const SafeTensor* tensor : order) {
    add(tensor->name.data(), tensor->name.size());
    add(tensor->bytes.data(), tensor->bytes.size());
  }
  return fmt::format("crc32:{:08x}", crc);
}

class Damage : public Error {
 public:
  explicit Damage(const std::string& why) : Error(ExitCode::bad_file, why) {}
};

Position position_of(const ordered_json& json) {
  constexpr std::int64_t most_steps = 1'000'000'000'000;  // as of --steps
  constexpr std::numeric_limits<int> ints;
  try {
    return {.step = whole_member(json, "step", 0, most_steps), .seconds = number_member(json, "seconds"),
            .planned_steps = json.contains("planned_steps") ? whole_member(json, "planned_steps", 0, most_steps) : 0,
            .threads = static_cast<int>(whole_member(json, "threads", ints.min(), ints.max())), .backend = text_member(json, "backend"),
            .data_fingerprint = text_member(json, "data_fingerprint"), .config = json.value("config", ordered_json()),
            .other_bits = json.value("other_bits", ordered_json::array())};
  } catch (const Error& e) {
    throw Damage(fmt::format("its metadata is incomplete: {}", e.what()));
  }
}

Checkpoint parse_checkpoint(std::span<const std::byte> bytes, const fs::path& path) {
  Checkpoint checkpoint;
  try {
    checkpoint.file = parse_safetensors(bytes);
  } catch (const Error& e) {
    throw Damage(e.what());
  }
  const auto entry = checkpoint.file.metadata.find("pastiche");
  auto json = entry == checkpoint.file.metadata.end() ? ordered_json() : parse_json<ordered_json>(entry->second).value_or(ordered_json());
  if (!json.is_object()) throw Damage("its metadata is not what pastiche writes");
  try {
    if (json.contains("checksum")) {
      const std::string written = json["checksum"];
      json.erase("checksum");
      if (checksum(checkpoint.file, json.dump()) != written) throw Damage("its checksum differs");
    }
    // What is whole, but of a newer version or of another kind, is no damage.
    if (file_kind(checkpoint.file, path) != "checkpoint") throw Error(ExitCode::bad_file, fmt::format("{} is not a checkpoint", quote(path.string())));
    checkpoint.position = position_of(json);
  } catch (const nlohmann::json::exception& e) {
    throw Damage(fmt::format("its metadata is incomplete: {}", e.what()));
  }
  const Position& p = checkpoint.position;
  const option::Range threads{1, most_threads};
  if (!(p.seconds >= 0) || !p.other_bits.is_array()) throw Damage("its metadata holds what can't be");
  if (!threads.accepts(p.threads)) throw Damage(fmt::format("it says {} threads, expected {}", p.threads, threads.expected()));
  return checkpoint;
}

}  // namespace

std::string step_name(std::int64_t step) { return fmt::format("{:06}", step); }

std::vector<std::pair<std::int64_t, fs::path>> list_checkpoints(const fs::path& run_folder) {
  const fs::path folder = run_folder / "ckpt";
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string stem = entry->path().stem().string();
    std::int64_t step = 0;
    const auto [stop, bad] = std::from_chars(stem.data(), stem.data() + stem.size(), step);
    const bool is_ours = bad == std::errc() && stop == stem.data() + stem.size() && stem == step_name(step);
    if (is_ours && entry->path().extension() == ".safetensors") found.emplace_back(step, entry->path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(ExitCode::bad_file, fmt::format("can't list {}: {}; change its permissions", quote(folder.string()), error.message()));
  }
  std::sort(found.begin(), found.end());
  return found;
}

void write_checkpoint(const fs::path& run_folder, const Position& position, const ordered_json& model, SafetensorsFile file) {
  ordered_json json{{"format_version", file_format_version},
                    {"kind", "checkpoint"},
                    {"model", model},
                    {"step", position.step},
                    {"seconds", position.seconds},
                    {"planned_steps", position.planned_steps},
                    {"threads", position.threads},
                    {"backend", position.backend},
                    {"data_fingerprint", position.data_fingerprint},
                    {"config", position.config},
                    {"other_bits", position.other_bits}};
  json["checksum"] = checksum(file, json.dump());
  file.metadata = {{"format", "pt"}, {"pastiche", json.dump()}};
  write_safetensors(run_folder / "ckpt" / (step_name(position.step) + ".safetensors"), file);
}

Checkpoint read_newest_checkpoint(const fs::path& run_folder) {
  auto checkpoints = list_checkpoints(run_folder);
  std::vector<Checkpoint::Damaged> passed_over;
  for (; !checkpoints.empty(); checkpoints.pop_back()) {
    const auto& [step, path] = checkpoints.back();
    std::vector<std::byte> bytes;
    try {
      bytes = read_safetensors_bytes(path);
    } catch (const Error& e) {
      if (::access(path.c_str(), R_OK) != 0) throw;  // nothing says that it is damaged
      passed_over.push_back({step, path, e.what(), false});
      continue;
    }
    try {
      Checkpoint found = parse_checkpoint(bytes, path);
      found.passed_over = std::move(passed_over);
      return found;
    } catch (const Damage& e) {
      passed_over.push_back({step, path, e.what(), true});
    }
  }
  const std::string anew = "start anew with `pastiche train --config " + shell_word((run_folder / "config.toml").string()) + "`";
  if (!passed_over.empty()) {
    throw Error(ExitCode::bad_file, fmt::format("no checkpoint of {} is whole; the newest, {}: {}; {}", quote(run_folder.string()),
                                                quote(passed_over.front().path.string()), passed_over.front().why, anew));
  }
  throw Error(ExitCode::bad_file, fmt::format("{} has no checkpoint to resume from; {}", quote(run_folder.string()), anew));
}

}  // namespace pastiche
