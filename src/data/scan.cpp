#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
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

bool has_picture_name(const std::string& name) {
  std::string extension = fs::path(name).extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  // The last line are formats that must be converted: their owner expects to find them listed.
  static const std::set<std::string> known{".png", ".apng", ".jpg",  ".jpeg", ".jpe",  ".jfif",  //
                                           ".gif", ".bmp",  ".webp", ".tif",  ".tiff", ".avif", ".heic", ".jxl"};
  return known.contains(extension);
}

bool has_picture_content(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  std::array<char, 4> head{};
  const bool complete = ::read(fd, head.data(), head.size()) == static_cast<ssize_t>(head.size());
  ::close(fd);
  return complete && (std::memcmp(head.data(), "\x89PNG", 4) == 0 || std::memcmp(head.data(), "\xff\xd8\xff", 3) == 0);
}

class Scan {
 public:
  explicit Scan(fs::path root) : root_(std::move(root)) {
    enter("", 0);
    std::sort(files_.begin(), files_.end(), [](const FolderFile& a, const FolderFile& b) { return a.name < b.name; });
  }
  std::vector<FolderFile> files() && { return std::move(files_); }

 private:
  void enter(const fs::path& folder, int depth) {
    struct stat info;
    if (::stat((root_ / folder).c_str(), &info) != 0) return add(folder, std::strerror(errno));
    if (!visited_.emplace(info.st_dev, info.st_ino).second) return;
    if (depth > max_depth) return add(folder, "folders are nested more than 64 deep; move it up");
    std::error_code error;
    std::vector<fs::path> names;  // sorted, so that of two links to a folder it's always the same one that counts
    for (fs::directory_iterator entry(root_ / folder, error), end; !error && entry != end; entry.increment(error)) {
      names.push_back(entry->path().filename());
    }
    if (error) return add(folder, error.message());
    std::sort(names.begin(), names.end());
    for (const fs::path& name : names) visit(folder / name, name.native(), depth);
  }

  void visit(const fs::path& path, const std::string& name, int depth) {
    if (name.starts_with('.') || name == "Thumbs.db" || name == "desktop.ini" || name == "__MACOSX") return;
    struct stat info;
    if (::stat((root_ / path).c_str(), &info) != 0) {
      const int reason = errno;
      if (has_picture_name(name)) add(path, reason == ENOENT ? "link to nothing" : std::strerror(reason));
    } else if (S_ISDIR(info.st_mode)) {
      enter(path, depth + 1);
    } else if (has_picture_name(name)) {
      if (!S_ISREG(info.st_mode)) return add(path, "not a regular file");
      add(path, "");
    } else if (S_ISREG(info.st_mode) && has_picture_content(root_ / path)) {
      add(path, "");
    }
  }

  void add(const fs::path& path, const std::string& problem) {
    FolderFile& file = files_.emplace_back();
    file.name = path.native();
    file.problem = problem;
  }

  const fs::path root_;
  std::set<std::pair<dev_t, ino_t>> visited_;
  std::vector<FolderFile> files_;
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

std::vector<FolderFile> inspect_folder(const fs::path& root, std::int64_t max_pixels, Depth depth) {
  std::vector<FolderFile> files = Scan(root).files();
  if (files.empty()) {
    throw Error(ExitCode::bad_data, fmt::format("no picture in {}, expected PNG or JPEG files or IDX; check the path",
                                                quote(root.native())));
  }
  parallel_for(static_cast<std::int64_t>(files.size()), [&](std::int64_t i) {
    if (files[i].problem.empty()) inspect(root, files[i], max_pixels, depth);
  });
  return files;
}

}  // namespace pastiche
