#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/runs.h"
#include "data/store.h"
#include "io/json.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/safetensors.h"
#include "pastiche/sha256.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

ordered_json inspect_safetensors(std::span<const std::byte> bytes) {
  const SafetensorsFile file = parse_safetensors(bytes);
  ordered_json json{{"kind", "safetensors"}, {"sha256", sha256_hex(bytes)}};
  for (const auto& [key, value] : file.metadata) {
    json["metadata"][key] = parse_json<ordered_json>(value).value_or(value);
  }
  std::uint64_t numbers = 0;
  for (const SafeTensor& t : file.tensors) {
    std::uint64_t count = 1;  // that it can't overflow has been checked
    for (const std::int64_t extent : t.shape) count *= static_cast<std::uint64_t>(extent);
    numbers += count;
    json["tensors"].push_back({{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}});
  }
  json["numbers"] = numbers;
  return json;
}

ordered_json inspect_picture(std::span<const std::byte> bytes) {
  const PictureInfo info = probe_picture(bytes);
  ordered_json json{{"kind", "picture"}, {"width", info.width}, {"height", info.height}, {"mode", to_string(info)}};
  if (info.format == PictureFormat::png) {
    for (const auto& [key, value] : read_png_text(bytes)) json["text"][key] = value;
  }
  return json;
}

ordered_json inspect_run(const fs::path& folder) {
  const std::vector<std::byte> bytes = read_file(folder / "run.json", std::size_t{1} << 20);
  std::optional<ordered_json> json = parse_json<ordered_json>({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!json || !json->is_object()) throw Error(ExitCode::bad_file, fmt::format("{} is not what pastiche writes", quote((folder / "run.json").string())));
  (*json)["kind"] = "run";
  return std::move(*json);
}

ordered_json inspect(const std::string& named) {
  const fs::path path = find_run(named);
  std::error_code error;  // what can't be looked at, reading tells why
  if (fs::is_directory(path, error) && fs::exists(path / "run.json", error)) return inspect_run(path);
  if (fs::is_directory(path, error) || find_zip(path)) return ordered_json::parse(to_json(check_dataset(path)));
  std::byte head[64] = {};
  if (fs::is_regular_file(path, error)) std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(head), sizeof head);
  if (is_picture(head)) return inspect_picture(read_file(path, max_picture_bytes));
  if (starts_with(head, "\x1f\x8b") || starts_with(head, std::string_view("\0\0\x08", 3))) return ordered_json::parse(to_json(check_dataset(path)));
  try {
    return inspect_safetensors(read_safetensors_bytes(path));
  } catch (const Error& e) {
    throw Error(ExitCode::bad_file, fmt::format("{} is no picture, IDX, zip, run or safetensors file ({})", quote(path.string()), e.what()));
  }
}

// A text as it is, and all else as JSON.
std::string words_of(const ordered_json& value) { return value.is_string() ? printable(value.get_ref<const std::string&>()) : json_text(value); }

void print(const ordered_json& json, int depth) {
  for (const auto& [key, value] : json.items()) {
    const bool list_of_objects = value.is_array() && !value.empty() && value.front().is_object();
    fmt::print("{:{}}{}", "", 2 * depth, printable(key));
    if (value.is_object()) {
      fmt::print("\n");
      print(value, depth + 1);
    } else if (list_of_objects) {
      fmt::print("\n");
      for (const auto& element : value) {
        std::vector<std::string> words;
        for (const auto& item : element) words.push_back(words_of(item));
        fmt::print("{:{}}{}\n", "", 2 * depth + 2, fmt::join(words, "  "));
      }
    } else {
      fmt::print("  {}\n", words_of(value));
    }
  }
}

}  // namespace

void add_inspect(CLI::App& app, Outcome&) {
  struct Arguments {
    std::string path;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Say what a model, checkpoint, run folder, data set or picture holds." +
                     examples({"pastiche inspect last", "pastiche inspect pictures/seed000007.png --json"}));
  command->add_option("path", a->path, "file or folder, or a run by its number or last")->required()->option_text("PATH");
  command->add_flag("--json", a->json, "one JSON object");
  command->callback([a] {
    const ordered_json json = inspect(a->path);
    if (a->json) fmt::print("{}\n", json_text(json, 2));
    else print(json, 0);
  });
}

}  // namespace pastiche::cli
