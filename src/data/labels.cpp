#include <algorithm>
#include <climits>
#include <map>

#include <fmt/format.h>

#include "folder.h"
#include "io/json.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

// A million pictures have about 45 MB and four values each.
constexpr JsonLimits limits{.bytes = std::size_t{64} << 20, .depth = 8, .values = 6'000'000};

[[noreturn]] void bad_labels(const std::string& what) { throw Error(ExitCode::bad_data, what); }

// Names relative to the file's folder; empty for "labels": null.
std::map<std::string, int> read_labels(const FileStore& store, const fs::path& file) {
  const std::vector<std::byte> bytes = store.read(file, limits.bytes);
  const auto json = parse_json<nlohmann::json>({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, limits);
  if (!json) bad_labels("it is no JSON, or too large");
  const auto labels = json->is_object() ? json->find("labels") : json->end();
  if (labels == json->end() || !(labels->is_null() || labels->is_array())) bad_labels("it has no list \"labels\"");
  std::map<std::string, int> result;
  for (const nlohmann::json& entry : *labels) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string()) bad_labels("its labels are not pairs of a file's name and a number");
    const auto& name = entry[0].get_ref<const std::string&>();
    if (!entry[1].is_number_unsigned() || entry[1].get<std::uint64_t>() > INT_MAX) {
      bad_labels(fmt::format("the label of {} is no whole number from 0", quote(name)));
    }
    result[name] = entry[1].get<int>();
  }
  return result;
}

}  // namespace

void add_labels(const FileStore& store, std::vector<fs::path> label_files, FolderContents& contents) {
  std::vector<FolderFile>& files = contents.files;
  // A folder's before those of the folders in it, which have the last word.
  std::ranges::sort(label_files, {}, [](const fs::path& file) { return file.parent_path(); });
  for (const fs::path& label_file : label_files) {
    const std::string folder = label_file.has_parent_path() ? (label_file.parent_path() / "").native() : "";
    try {
      for (const auto& [name, label] : read_labels(store, label_file)) {
        const auto file = std::ranges::lower_bound(files, folder + name, {}, &FolderFile::name);
        if (file != files.end() && file->name == folder + name) file->label = label;
      }
    } catch (const Error& error) {
      contents.labels_note = fmt::format("{} can't be used: {}", quote(label_file.native()), error.what());
      for (FolderFile& file : files) file.label = -1;
      return;
    }
  }
}

std::vector<int> labels_of(const std::vector<FolderFile>& files, std::string& note) {
  std::vector<int> labels;
  const FolderFile* without = nullptr;
  for (const FolderFile& file : files) {
    if (!file.problem.empty()) continue;
    if (file.label >= 0) labels.push_back(file.label);
    else if (without == nullptr) without = &file;
  }
  if (labels.empty() || without == nullptr) return labels;
  note = fmt::format("dataset.json has none for some pictures, such as {}", quote(without->name));
  return {};
}

}  // namespace pastiche
