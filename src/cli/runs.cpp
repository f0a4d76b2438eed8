#include "cli/runs.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <tuple>
#include <vector>

#include "cli/commands.h"
#include "io/json.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Run {
  fs::path folder;
  std::int64_t number = -1;  // that its name begins with
};

std::int64_t number_of(std::string_view text) {
  constexpr std::size_t most_digits = 9;
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  return digits > 0 && digits <= most_digits ? std::stol(std::string(text.substr(0, digits))) : -1;
}

// By number. None where there is no such folder; Error(bad_file) where it can't be listed.
std::vector<Run> runs_in(const fs::path& folder) {
  std::vector<Run> runs;
  std::error_code error, ignored;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().native();
    if (fs::is_regular_file(entry->path() / "config.toml", ignored)) runs.push_back({entry->path(), name.find('-') == name.npos ? -1 : number_of(name)});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Error(ExitCode::bad_file, fmt::format("can't list {}: {}", quote(folder.string()), error.message()));
  }
  std::ranges::sort(runs, [](const Run& a, const Run& b) { return std::tie(a.number, a.folder) < std::tie(b.number, b.folder); });
  return runs;
}

// ---- pastiche runs ---------------------------------------------------------------------------------------------------

std::optional<ordered_json> read_json(const fs::path& path) {
  try {
    const std::vector<std::byte> bytes = read_file(path, std::size_t{1} << 20);
    return parse_json<ordered_json>({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } catch (const Error&) {
    return std::nullopt;
  }
}

// What stands in the last whole line of a log.
ordered_json last_line(const fs::path& path) {
  constexpr std::size_t most = 4096;
  std::FILE* const file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return {};
  std::string text(most, '\0');
  if (std::fseek(file, -static_cast<long>(most), SEEK_END) != 0) std::rewind(file);
  text.resize(std::fread(text.data(), 1, most, file));
  std::fclose(file);
  text.resize(std::min(text.size(), text.rfind('\n') + 1));  // npos + 1 is 0
  if (!text.empty()) text.pop_back();
  return parse_json<ordered_json>(std::string_view(text).substr(text.rfind('\n') + 1)).value_or(ordered_json());
}

std::uintmax_t bytes_on_disk(const fs::path& folder) {
  std::uintmax_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    struct stat info;
    if (::lstat(entry->path().c_str(), &info) == 0) bytes += static_cast<std::uintmax_t>(info.st_blocks) * 512;
  }
  return bytes;
}

struct Row {
  std::string name = {}, method = "-", status = "-", figure = {};
  std::int64_t step = 0;
  std::uintmax_t bytes = 0;
  std::int64_t age = 0;  // seconds since it was last written to
};

std::string text_or(const ordered_json& json, const char* key, const std::string& otherwise) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

// "G 0.71 D 1.32" or the distance to held-out pictures, as far as the logs tell.
std::string last_figure(const fs::path& folder) {
  std::string figure;
  const auto add = [&figure](const ordered_json& line, const char* key, const char* label) {
    const auto found = line.is_object() ? line.find(key) : line.end();
    if (found != line.end() && found->is_number()) figure += fmt::format("{}{} {:.3g}", figure.empty() ? "" : "  ", label, found->get<double>());
  };
  const ordered_json held_out = last_line(folder / "holdout.jsonl");
  add(held_out, "l1", "L1");
  add(held_out, "ssim", "SSIM");
  if (!figure.empty()) return figure;
  const ordered_json stats = last_line(folder / "stats.jsonl");
  add(stats, "loss_g", "G");
  add(stats, "loss_d", "D");
  return figure;
}

Row row_of(const fs::path& folder) {
  Row row{.name = folder.filename().string()};
  const ordered_json json = read_json(folder / "run.json").value_or(ordered_json());
  row.status = text_or(json, "status", "-");
  if (row.status == "running" && !RunLock::is_held(folder)) row.status = "killed";
  if (json.is_object() && json.contains("config")) row.method = text_or(json["config"], "model", "-");
  const ordered_json stats = last_line(folder / "stats.jsonl");  // run.json is as old as the last checkpoint
  for (const ordered_json* from : {&json, &stats}) {
    if (from->is_object() && from->contains("step") && (*from)["step"].is_number_unsigned()) row.step = (*from)["step"].get<std::int64_t>();
  }
  row.figure = last_figure(folder);
  row.bytes = bytes_on_disk(folder);
  for (const char* name : {"run.json", "config.toml"}) {
    struct stat info;
    if (::stat((folder / name).c_str(), &info) != 0) continue;
    row.age = std::max<std::int64_t>(0, std::time(nullptr) - info.st_mtime);
    break;
  }
  return row;
}

std::string age_text(std::int64_t seconds) {
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{} min", seconds / 60);
  return seconds < 48 * 3600 ? fmt::format("{} h", seconds / 3600) : fmt::format("{} days", seconds / 86400);
}

void print_runs(const fs::path& folder, bool as_json) {
  std::vector<Row> rows;
  for (const Run& run : runs_in(folder)) rows.push_back(row_of(run.folder));
  if (as_json) {
    ordered_json json = ordered_json::array();
    for (const Row& row : rows) {
      json.push_back({{"name", row.name}, {"method", row.method}, {"status", row.status}, {"step", row.step}, {"figure", row.figure}, {"bytes", row.bytes},
                      {"age_seconds", row.age}});
    }
    fmt::print("{}\n", json_text(json, 2));
    return;
  }
  if (rows.empty()) {
    fmt::print("no run in {}; `pastiche train FOLDER` makes one\n", quote(folder.string()));
    return;
  }
  std::size_t width = 3;
  for (const Row& row : rows) width = std::max(width, printable(row.name).size());
  fmt::print("{:<{}}  {:<9} {:<9} {:>8}  {:<18} {:>9}  {:>8}\n", "run", width, "method", "status", "steps", "last figure", "size", "age");
  for (const Row& row : rows) {
    fmt::print("{:<{}}  {:<9} {:<9} {:>8}  {:<18} {:>9}  {:>8}\n", printable(row.name), width, printable(row.method), printable(row.status), row.step, row.figure,
               bytes_text(row.bytes), age_text(row.age));
  }
}

}  // namespace

fs::path find_run(const std::string& named) {
  std::error_code error;
  // An empty folder that happens to be called `0` or `last` is not what is meant.
  const bool may_be_no_run = fs::is_directory(named, error) && !fs::exists(fs::path(named) / "config.toml", error);
  if ((fs::exists(named, error) && !may_be_no_run) || error) return named;  // what can't be looked at, reading tells why
  const fs::path folder = "runs";
  const std::vector<Run> runs = runs_in(folder);
  if (named == "last" && !runs.empty()) return runs.back().folder;
  const bool is_number = !named.empty() && named.find_first_not_of("0123456789") == named.npos;
  for (const Run& run : runs) {
    if (run.folder.filename() == named || (is_number && run.number >= 0 && run.number == number_of(named))) return run.folder;
  }
  if (may_be_no_run) return named;
  throw Error(ExitCode::bad_file, fmt::format("there is no {}, nor a run of that name or number in {}; `pastiche runs` lists them", quote(named),
                                              quote(fs::absolute(folder, error).string())));
}

fs::path find_model_file(const std::string& named) {
  const fs::path found = find_run(named);
  std::error_code error;
  if (!fs::is_directory(found, error)) return found;
  const fs::path model = found / "model.safetensors";
  if (fs::exists(model, error)) return model;
  const bool is_run = fs::is_regular_file(found / "config.toml", error);
  throw Error(ExitCode::bad_file, is_run ? fmt::format("{} has no model yet: it makes one at its first checkpoint", quote(found.string()))
                                         : fmt::format("{} is a folder without a model.safetensors; expected a run of `pastiche train`", quote(found.string())));
}

void add_runs(CLI::App& app, Outcome&) {
  struct Arguments {
    std::string folder = "runs";
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("runs", "List runs: what each is, how far it came, and what it takes on the disk." +
                                                     examples({"pastiche runs", "pastiche runs elsewhere --json"}));
  command->add_option("folder", a->folder, "that holds the run folders")->option_text("[runs]");
  command->add_flag("--json", a->json, "one JSON array");
  command->callback([a] {
    std::error_code error;
    if (a->folder != "runs" && !fs::is_directory(a->folder, error)) throw Error(ExitCode::bad_file, fmt::format("there is no folder {}", quote(a->folder)));
    print_runs(a->folder, a->json);
  });
}

}  // namespace pastiche::cli
