#include <algorithm>
#include <functional>
#include <limits>

#include <fmt/format.h>

#include "folder.h"
#include "idx.h"
#include "io/json.h"
#include "parallel.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

std::string size_text(std::int64_t height, std::int64_t width) { return fmt::format("{}x{}", width, height); }

void check_folder(DatasetReport& report, const DataOptions& options) {
  std::map<std::string, std::vector<const FolderFile*>> by_pixels;
  const FolderContents contents = inspect_files(*open_store(report.path), options.max_pixels, Depth::decode, Links::once, options.observer);
  report.files = static_cast<std::int64_t>(contents.files.size());
  report.left_out = contents.left_out;
  for (const FolderFile& file : contents.files) {
    if (!file.problem.empty()) {
      report.unknown = report.unknown || file.is_folder;
      report.unusable.push_back({file.name, file.is_folder ? "a folder, with all in it: " + file.problem : file.problem});
      continue;
    }
    ++report.usable;
    ++report.sizes[size_text(file.info.height, file.info.width)];
    ++report.modes[to_string(file.info)];
    by_pixels[file.pixels].push_back(&file);
  }
  report.labels_note = contents.labels_note;
  for (const int label : labels_of(contents.files, report.labels_note)) ++report.labels[label];
  for (const auto& [pixels, group] : by_pixels) {
    if (group.size() < 2) continue;
    DuplicateGroup duplicates{.same_bytes = true, .files = {}};
    for (const FolderFile* file : group) {
      duplicates.same_bytes = duplicates.same_bytes && file->sha256 == group[0]->sha256;
      duplicates.files.push_back(file->name);
    }
    report.duplicates.push_back(std::move(duplicates));
  }
}

void check_idx(DatasetReport& report, const fs::path& path) {
  std::unique_ptr<Dataset> data;
  try {
    data = open_idx(path, report.path, {});
  } catch (const Error& error) {
    report.files = 1;
    report.unusable.push_back({path.filename().native(), error.what()});
    return;
  }
  report.files = report.usable = data->size();
  report.sizes[size_text(data->height(), data->width())] = data->size();
  report.modes["idx gray 8-bit"] = data->size();
  for (const int label : data->labels()) ++report.labels[label];

  std::vector<std::string> hashes(data->size());
  parallel_for(data->size(), [&](std::int64_t i) {
    std::vector<std::uint8_t> pixels(data->picture_bytes());
    data->read(i, pixels.data());
    hashes[i] = sha256_hex(std::as_bytes(std::span(pixels)));
  });
  std::map<std::string, std::vector<std::string>> by_pixels;
  for (std::size_t i = 0; i < hashes.size(); ++i) by_pixels[hashes[i]].push_back(fmt::format("#{}", i));
  for (auto& [hash, group] : by_pixels) {
    if (group.size() > 1) report.duplicates.push_back({true, std::move(group)});
  }
}

// "32x32 (9), 16x16 (4)": the most frequent ones, at most `most` of them; labels by their numbers.
template <class Key>
std::string list_counts(const std::map<Key, std::int64_t>& counts, std::size_t most) {
  std::vector<std::pair<Key, std::int64_t>> order(counts.begin(), counts.end());
  if constexpr (!std::is_integral_v<Key>) std::ranges::stable_sort(order, std::ranges::greater(), [](const auto& each) { return each.second; });
  std::string text;
  for (std::size_t i = 0; i < std::min(most, order.size()); ++i) text += fmt::format("{}{} ({})", i == 0 ? "" : ", ", order[i].first, order[i].second);
  if (order.size() > most) text += fmt::format(", and {} others", order.size() - most);
  return text.empty() ? "none" : text;
}

std::string head(const DatasetReport& report, std::size_t most) {
  std::string text = fmt::format("{}: {} of {} pictures usable\nsizes (width x height): {}\nkinds: {}\n", quote(report.path), report.usable, report.files,
                                 list_counts(report.sizes, most), list_counts(report.modes, most));
  if (!report.labels.empty()) text += fmt::format("labels: {}\n", list_counts(report.labels, 2 * most));
  if (!report.labels_note.empty()) text += fmt::format("labels: none, as {}\n", printable(report.labels_note));
  if (!report.left_out.empty()) text += fmt::format("left out: {}\n", left_out_text(report.left_out));
  return text;
}

// What fails in the same way, whatever numbers and names are in its reason.
std::vector<std::vector<const SkippedFile*>> by_reason(const std::vector<SkippedFile>& files) {
  std::map<std::string, std::vector<const SkippedFile*>> groups;
  for (const SkippedFile& file : files) {
    std::string kind;
    bool quoted = false;
    for (const char c : file.reason) {
      if (c == '\'') quoted = !quoted;
      else if (!quoted && (c < '0' || c > '9')) kind += c;
    }
    groups[kind].push_back(&file);
  }
  std::vector<std::vector<const SkippedFile*>> result;
  for (auto& [kind, group] : groups) result.push_back(std::move(group));
  std::ranges::stable_sort(result, std::ranges::greater(), &std::vector<const SkippedFile*>::size);
  return result;
}

std::string others(std::size_t count) { return count == 0 ? "" : fmt::format(" and {} more", count); }

std::string advice(const DatasetReport& report) {
  if (report.unknown) return "not to be trained on before every folder can be entered\n";
  if (!report.can_be_trained_on()) return "not to be trained on: expected that at least half can be used\n";
  std::string text;
  if (report.sizes.size() > 1) text += "sizes differ: `pastiche train` crops all to squares; --size says of how many pixels\n";
  if (!report.duplicates.empty()) text += "duplicates are learned as often as they stand there; remove them unless that is meant\n";
  return text + "ready for `pastiche train " + shell_word(report.path) + "`\n";
}

}  // namespace

DatasetReport check_dataset(const fs::path& path, const DataOptions& options) {
  DatasetReport report;
  report.path = path.native();
  const fs::path idx = find_idx(path);
  report.kind = find_zip(path) ? "zip" : idx.empty() ? "folder" : "idx";
  if (idx.empty()) {
    check_folder(report, options);
  } else {
    check_idx(report, idx);
  }
  std::sort(report.duplicates.begin(), report.duplicates.end(),
            [](const DuplicateGroup& a, const DuplicateGroup& b) { return a.files < b.files; });
  return report;
}

std::string to_text(const DatasetReport& report) {
  constexpr std::size_t most = 5;
  std::string text = head(report, most);
  if (!report.unusable.empty()) {
    text += fmt::format("can't be used: {} (--all lists each)\n", report.unusable.size());
    const auto groups = by_reason(report.unusable);
    for (std::size_t i = 0; i < std::min(most, groups.size()); ++i) {
      text += fmt::format("  {}{}: {}\n", quote(groups[i][0]->file), others(groups[i].size() - 1), printable(groups[i][0]->reason));
    }
    if (groups.size() > most) text += fmt::format("  and for {} other reasons\n", groups.size() - most);
  }
  if (!report.duplicates.empty()) {
    std::size_t count = 0;
    for (const DuplicateGroup& group : report.duplicates) count += group.files.size() - 1;
    const std::vector<std::string>& first = report.duplicates[0].files;
    text += fmt::format("duplicates: {} pictures are there more than once, such as {} and {}\n", count, quote(first[0]), quote(first[1]));
  }
  return text + advice(report);
}

std::string to_long_text(const DatasetReport& report) {
  std::string text = head(report, std::numeric_limits<std::size_t>::max() / 2);
  if (!report.unusable.empty()) text += "can't be used:\n";
  for (const SkippedFile& file : report.unusable) text += fmt::format("  {}: {}\n", quote(file.file), printable(file.reason));
  for (const DuplicateGroup& group : report.duplicates) {
    text += group.same_bytes ? "same bytes:" : "same picture:";
    for (const std::string& file : group.files) text += " " + quote(file);
    text += '\n';
  }
  return text;
}

std::string to_json(const DatasetReport& report) {
  using Json = nlohmann::ordered_json;
  Json json{{"path", report.path}, {"kind", report.kind},   {"files", report.files},   {"usable", report.usable},
            {"sizes", report.sizes},     {"modes", report.modes}, {"labels", Json::object()}};
  for (const auto& [label, count] : report.labels) json["labels"][std::to_string(label)] = count;
  if (!report.labels_note.empty()) json["labels_note"] = report.labels_note;
  json["left_out"] = report.left_out;
  json["unusable"] = Json::array();
  for (const SkippedFile& file : report.unusable) {
    json["unusable"].push_back({{"file", file.file}, {"reason", file.reason}});
  }
  json["duplicates"] = Json::array();
  for (const DuplicateGroup& group : report.duplicates) {
    Json files = Json::array();
    for (const std::string& file : group.files) files.push_back(file);
    json["duplicates"].push_back({{"same", group.same_bytes ? "bytes" : "pixels"}, {"files", std::move(files)}});
  }
  return json_text(json, 2);
}

}  // namespace pastiche
