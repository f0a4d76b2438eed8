#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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

// The kind of leaving that has this name, or nullptr.
const char* kind_of_leaving(const std::string& name, bool is_folder) {
  for (const Leaving& leaving : leavings) {
    const bool fits = leaving.what == Leaving::either || (leaving.what == Leaving::folder) == is_folder;
    if (fits && ::fnmatch(leaving.pattern, name.c_str(), FNM_CASEFOLD | FNM_NOESCAPE) == 0) return leaving.kind;
  }
  return nullptr;
}

// One that train made, or is making.
bool is_run_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path / "config.toml", ignored) &&
         (fs::is_regular_file(path / "run.json", ignored) ||
          (fs::is_directory(path / "ckpt", ignored) && fs::is_directory(path / "samples", ignored)));
}

bool has_picture_name(const std::string& name) {
  // The last line are formats that must be converted: their owner expects to find them listed.
  static const std::set<std::string> known{".png", ".apng", ".jpg",  ".jpeg", ".jpe",  ".jfif",  //
                                           ".gif", ".bmp",  ".webp", ".tif",  ".tiff", ".avif", ".heic", ".jxl"};
  return known.contains(ending_of(name));
}

bool has_picture_content(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  std::array<char, 4> head{};
  const bool complete = ::read(fd, head.data(), head.size()) == static_cast<ssize_t>(head.size());
  ::close(fd);
  return complete && (std::memcmp(head.data(), "\x89PNG", 4) == 0 || std::memcmp(head.data(), "\xff\xd8\xff", 3) == 0);
}

// As far as it can be listed, and by their names alone.
std::int64_t count_pictures(const fs::path& folder) {
  std::int64_t count = 0;
  std::error_code error;
  constexpr auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator entry(folder, options, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    count += has_picture_name(entry->path().filename().native()) && !entry->is_directory(ignored);
  }
  return count;
}

class Scan {
 public:
  explicit Scan(fs::path root) : root_(std::move(root)) {
    enter("", 0);
    std::sort(contents_.files.begin(), contents_.files.end(),
              [](const FolderFile& a, const FolderFile& b) { return a.name < b.name; });
  }
  FolderContents contents() && { return std::move(contents_); }

 private:
  void enter(const fs::path& folder, int depth) {
    struct stat info;
    if (::stat((root_ / folder).c_str(), &info) != 0) return add_folder(folder, std::strerror(errno));
    if (!visited_.emplace(info.st_dev, info.st_ino).second) return;
    if (depth > max_depth) return add_folder(folder, "folders are nested more than 64 deep; move it up");
    if (depth > 0 && is_run_folder(root_ / folder)) return leave_out("run folders", 1);
    std::error_code error;
    std::vector<fs::path> names;  // sorted, so that of two links to a folder it's always the same one that counts
    for (fs::directory_iterator entry(root_ / folder, error), end; !error && entry != end; entry.increment(error)) {
      names.push_back(entry->path().filename());
    }
    if (error) return add_folder(folder, error.message());
    std::sort(names.begin(), names.end());
    for (const fs::path& name : names) visit(folder / name, name.native(), depth);
  }

  void visit(const fs::path& path, const std::string& name, int depth) {
    struct stat info;
    const int reason = ::stat((root_ / path).c_str(), &info) == 0 ? 0 : errno;
    const bool is_folder = reason == 0 && S_ISDIR(info.st_mode);
    const bool is_file = reason == 0 && S_ISREG(info.st_mode);
    if (const char* kind = kind_of_leaving(name, is_folder)) {
      if (is_folder) leave_out(kind, count_pictures(root_ / path));
      else if (is_file && is_picture(path, name)) leave_out(kind, 1);
    } else if (reason != 0) {
      const char* problem = reason == ENOENT ? "link to nothing" : std::strerror(reason);
      const bool link_fails = reason == ENOENT || reason == ELOOP;  // of any name: it may have led to a folder
      if (link_fails || has_picture_name(name)) add(path, problem);
      else add_folder(path, problem);  // it may be one
    } else if (is_folder) {
      enter(path, depth + 1);
    } else if (is_file && is_picture(path, name)) {
      add(path, "");
    } else if (!is_file && has_picture_name(name)) {
      add(path, "not a regular file");
    }
  }

  bool is_picture(const fs::path& path, const std::string& name) const {
    return has_picture_name(name) || has_picture_content(root_ / path);
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
                                                  quote(root_.native()), problem));
    }
    add(path, problem);
    contents_.files.back().is_folder = true;
  }

  const fs::path root_;
  std::set<std::pair<dev_t, ino_t>> visited_;
  FolderContents contents_;
};

void inspect(const fs::path& root, FolderFile& file, std::int64_t max_pixels, Depth depth) {
  try {
    const std::vector<std::byte> bytes = read_file(root / file.name, max_picture_bytes);
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

FolderContents inspect_folder(const fs::path& root, std::int64_t max_pixels, Depth depth) {
  FolderContents contents = Scan(root).contents();
  std::vector<FolderFile>& files = contents.files;
  if (files.empty()) {
    const std::string left_out = contents.left_out.empty() ? "" : fmt::format(" but what is left out: {}", left_out_text(contents.left_out));
    throw Error(ExitCode::bad_data, fmt::format("no picture in {}{}, expected PNG or JPEG files or IDX; check the path",
                                                quote(root.native()), left_out));
  }
  parallel_for(static_cast<std::int64_t>(files.size()), [&](std::int64_t i) {
    if (files[i].problem.empty()) inspect(root, files[i], max_pixels, depth);
  });
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
