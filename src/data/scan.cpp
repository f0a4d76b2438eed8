#include <fnmatch.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "folder.h"
#include "parallel.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"
#include "store.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

constexpr int max_depth = 64;

// What programs leave in folders of pictures: letter case is ignored, `*` stands for anything, and the first line that
// fits says what it is.
struct Leaving {
  enum What { file, folder, either } what;
  const char* pattern;
  const char* kind;
};
constexpr Leaving leavings[] = {
    {Leaving::folder, "@eaDir", "thumbnails"},  // Synology
    {Leaving::either, "SYNOPHOTO_THUMB*", "thumbnails"},
    {Leaving::either, "SYNOPHOTO_FILM*", "thumbnails"},
    {Leaving::folder, ".@__thumb", "thumbnails"},  // QNAP
    {Leaving::folder, ".thumbnails", "thumbnails"},
    {Leaving::folder, ".sh_thumbnails", "thumbnails"},
    {Leaving::folder, "*.lrdata", "thumbnails"},  // Lightroom's previews
    {Leaving::file, "Thumbs.db", "thumbnails"},
    {Leaving::folder, "#recycle", "deleted files"},
    {Leaving::folder, "@Recycle", "deleted files"},
    {Leaving::folder, "$RECYCLE.BIN", "deleted files"},
    {Leaving::folder, ".Trash*", "deleted files"},
    {Leaving::folder, "#snapshot", "backups"},
    {Leaving::folder, "~snapshot", "backups"},  // NetApp
    {Leaving::folder, "@Recently-Snapshot", "backups"},
    {Leaving::folder, "_gsdata_", "backups"},  // GoodSync
    {Leaving::folder, ".stversions", "backups"},
    {Leaving::folder, "[[]Originals]", "backups"},  // Picasa
    {Leaving::file, "*.*_original", "backups"},  // ExifTool
    {Leaving::file, "*~", "backups"},
    {Leaving::file, "*.bak", "backups"},
    {Leaving::file, "*.orig", "backups"},
    {Leaving::file, "~syncthing~*", "unfinished files"},
    {Leaving::file, ".syncthing.*", "unfinished files"},
    {Leaving::either, "*.tmp", "unfinished files"},
    {Leaving::file, "*.part", "unfinished files"},
    {Leaving::file, "*.partial", "unfinished files"},
    {Leaving::file, "*.download", "unfinished files"},
    {Leaving::file, "*.crdownload", "unfinished files"},
    {Leaving::folder, "@tmp", "unfinished files"},  // Synology
    {Leaving::folder, "System Volume Information", "system files"},
    {Leaving::folder, "lost+found", "system files"},
    {Leaving::folder, "__MACOSX", "system files"},
    {Leaving::file, "._*", "system files"},  // AppleDouble
    {Leaving::either, ".*", "hidden files"},
};

// What cameras leave beside the JPEG that shows it, or what is to be developed first.
bool is_raw_name(const std::string& name) {
  static const std::set<std::string> known{".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef"};
  return known.contains(ending_of(name));
}

// Of a picture in a format that is not read here. Beside PNG of the same, as in icon themes, nobody misses it.
const char* unread_format(const std::string& name) {
  static const std::set<std::string> drawings{".svg", ".svgz", ".eps", ".ai", ".cdr", ".emf", ".wmf"};
  static const std::set<std::string> others{".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".xpm", ".xbm", ".ico", ".exr", ".hdr", ".dds", ".xcf", ".kra", ".pcx"};
  const std::string ending = ending_of(name);
  return drawings.contains(ending) ? "drawings to be converted to PNG" : others.contains(ending) ? "other formats to be converted to PNG" : nullptr;
}

// The kind of leaving that has this name, or nullptr.
const char* kind_of_leaving(const std::string& name, bool is_folder) {
  for (const Leaving& leaving : leavings) {
    const bool fits = leaving.what == Leaving::either || (leaving.what == Leaving::folder) == is_folder;
    if (fits && ::fnmatch(leaving.pattern, name.c_str(), FNM_CASEFOLD | FNM_NOESCAPE) == 0) return leaving.kind;
  }
  return is_folder ? nullptr : is_raw_name(name) ? "camera raw" : unread_format(name);
}

bool has_picture_name(const std::string& name) {
  // The last line are formats that must be converted: their owner expects to find them listed.
  static const std::set<std::string> known{".png", ".apng", ".jpg",  ".jpeg", ".jpe",  ".jfif", ".gif",
                                           ".webp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif",  //
                                           ".bmp", ".jxl", ".jp2", ".psd"};
  return known.contains(ending_of(name)) || is_raw_name(name) || unread_format(name) != nullptr;
}

class Scan {
 public:
  Scan(const FileStore& store, Links links) : store_(store) {
    enter("", 0);
    std::sort(contents_.files.begin(), contents_.files.end(),
              [](const FolderFile& a, const FolderFile& b) { return a.name < b.name; });
    if (links == Links::once) leave_out_links();
    if (!label_files_.empty()) add_labels(store, std::move(label_files_), contents_);
  }
  FolderContents contents() && { return std::move(contents_); }

 private:
  using Node = FileStore::Node;

  void enter(const fs::path& folder, int depth) {
    const Node node = store_.look(folder);
    if (node.error != 0) return add_folder(folder, std::strerror(node.error));
    if (!visited_.insert(node.id).second) return;
    if (depth > max_depth) return add_folder(folder, "folders are nested more than 64 deep; move it up");
    if (depth > 0 && is_run_folder(folder)) return leave_out("run folders", 1);
    std::error_code error;
    // Sorted, so that of two links to a folder it's always the same one that counts.
    const std::vector<fs::path> names = store_.list(folder, error);
    if (error) return add_folder(folder, error.message());
    for (const fs::path& name : names) visit(folder / name, name.native(), depth);
  }

  void visit(const fs::path& path, const std::string& name, int depth) {
    const Node node = store_.look(path);
    if (const char* kind = kind_of_leaving(name, node.is_folder)) {
      if (node.is_folder) leave_out(kind, count_pictures(path));
      else if (node.is_file && is_picture(path, name)) leave_out(kind, 1);
    } else if (node.error != 0) {
      const char* problem = node.error == ENOENT ? "link to nothing" : std::strerror(node.error);
      const bool link_fails = node.error == ENOENT || node.error == ELOOP;  // of any name: it may have led to a folder
      if (link_fails || has_picture_name(name)) add(path, problem);
      else add_folder(path, problem);  // it may be one
    } else if (node.is_folder) {
      enter(path, depth + 1);
    } else if (node.is_file && is_picture(path, name)) {
      add(path, "");
      if (node.is_link) links_[path.native()] = node.id;
      else own_names_.insert(node.id);
    } else if (!node.is_file && has_picture_name(name)) {
      add(path, "not a regular file");
    } else if (node.is_file && name == "dataset.json") {
      label_files_.push_back(path);
    }
  }

  bool is_picture(const fs::path& path, const std::string& name) const {
    if (has_picture_name(name)) return true;
    const std::string begin = store_.begin_of(path);
    return pastiche::is_picture(std::as_bytes(std::span(begin)));
  }

  // One that train made, or is making.
  bool is_run_folder(const fs::path& folder) const {
    return store_.look(folder / "config.toml").is_file &&
           (store_.look(folder / "run.json").is_file || (store_.look(folder / "ckpt").is_folder && store_.look(folder / "samples").is_folder));
  }

  // As far as it can be listed, and by their names alone. Links to folders may lead anywhere, and are not followed.
  std::int64_t count_pictures(const fs::path& folder) const {
    std::int64_t count = 0;
    std::error_code ignored;
    for (const fs::path& name : store_.list(folder, ignored)) {
      const Node node = store_.look(folder / name);
      if (node.is_folder) count += node.is_link ? 0 : count_pictures(folder / name);
      else count += has_picture_name(name.native());
    }
    return count;
  }

  // A picture counts by its own name, and what links to it does not. Links to pictures elsewhere count, each of them.
  void leave_out_links() {
    std::erase_if(contents_.files, [&](const FolderFile& file) {
      const auto link = links_.find(file.name);
      const bool again = link != links_.end() && own_names_.contains(link->second);
      if (again) leave_out("links to pictures that are there too", 1);
      return again;
    });
  }

  void leave_out(const char* kind, std::int64_t count) {
    if (count > 0) contents_.left_out[kind] += count;
  }

  void add(const fs::path& path, const std::string& problem) {
    FolderFile& file = contents_.files.emplace_back();
    file.name = path.native();
    file.problem = problem;
  }

  void add_folder(const fs::path& path, const std::string& problem) {
    if (path.empty()) {
      throw Error(ExitCode::bad_data, fmt::format("can't list {}: {}; give yourself the right to read it, or choose another folder",
                                                  quote(store_.path().native()), problem));
    }
    add(path, problem);
    contents_.files.back().is_folder = true;
  }

  const FileStore& store_;
  std::set<FileStore::Id> visited_;
  std::set<FileStore::Id> own_names_;  // files of pictures that have a name that is no link
  std::map<std::string, FileStore::Id> links_;  // to pictures, by name
  std::vector<fs::path> label_files_;
  FolderContents contents_;
};

void inspect(const FileStore& store, FolderFile& file, std::int64_t max_pixels, Depth depth) {
  try {
    const std::vector<std::byte> bytes = store.read(file.name, max_picture_bytes);
    file.info = probe_picture(bytes, max_pixels);
    file.bytes = bytes.size();
    file.sha256 = sha256_hex(bytes);
    if (depth == Depth::probe) return;
    const Image image = decode_picture(bytes, {.channels = 4, .max_pixels = max_pixels});
    file.pixels = std::to_string(image.width) + ":" + sha256_hex(std::as_bytes(std::span(image.pixels)));
  } catch (const Error& error) {
    file.problem = error.what();
  }
}

}  // namespace

std::string left_out_text(const LeftOut& left_out) {
  std::string text;
  for (const auto& [kind, count] : left_out) text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", kind, count);
  return text;
}

FolderContents inspect_files(const FileStore& store, std::int64_t max_pixels, Depth depth, Links links, const WorkObserver& observer) {
  FolderContents contents = Scan(store, links).contents();
  std::vector<FolderFile>& files = contents.files;
  if (files.empty()) {
    const std::string left_out = contents.left_out.empty() ? "" : fmt::format(" but what is left out: {}", left_out_text(contents.left_out));
    throw Error(ExitCode::bad_data, fmt::format("no picture in {}{}, expected PNG, JPEG, GIF, WebP, TIFF, HEIC or AVIF, or IDX; check the path",
                                                quote(store.path().native()), left_out));
  }
  parallel_for(static_cast<std::int64_t>(files.size()), [&](std::int64_t i) {
    if (files[i].problem.empty()) inspect(store, files[i], max_pixels, depth);
  }, observer);
  return contents;
}

void require_folders(const fs::path& root, const std::vector<FolderFile>& files) {
  for (const FolderFile& file : files) {
    if (!file.is_folder) continue;
    throw Error(ExitCode::bad_data,
                fmt::format("can't look into the folder {} ({}), so nobody knows how many pictures would be missing: allow it "
                            "with `chmod -R u+rX {}`, or use a copy without it",
                            quote((root / file.name).native()), file.problem, shell_word((root / file.name).native())));
  }
}

}  // namespace pastiche
