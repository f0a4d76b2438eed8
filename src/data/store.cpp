#include "store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "pastiche/data.h"
#include "pastiche/files.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

class FolderStore final : public FileStore {
 public:
  using FileStore::FileStore;

  Node look(const fs::path& name) const override {
    struct stat info, link;
    if (::stat((path() / name).c_str(), &info) != 0) return {.error = errno, .id = {}};
    Node node{.is_folder = S_ISDIR(info.st_mode), .is_file = S_ISREG(info.st_mode), .id = {info.st_dev, info.st_ino}};
    node.is_link = ::lstat((path() / name).c_str(), &link) == 0 && S_ISLNK(link.st_mode);
    return node;
  }

  std::vector<fs::path> list(const fs::path& folder, std::error_code& error) const override {
    std::vector<fs::path> names;
    for (fs::directory_iterator entry(path() / folder, error), end; !error && entry != end; entry.increment(error)) {
      names.push_back(entry->path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string begin_of(const fs::path& name) const override {
    std::string begin(begin_bytes, '\0');
    const int fd = ::open((path() / name).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return "";
    const ssize_t got = ::read(fd, begin.data(), begin.size());
    ::close(fd);
    begin.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return begin;
  }

  std::vector<std::byte> read(const fs::path& name, std::size_t max_bytes) const override {
    try {
      return read_file(path() / name, max_bytes);
    } catch (const Error& error) {
      throw UnreadableFile(error.what());
    }
  }
};

bool is_zip(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;  // reading a FIFO would wait for ever
  std::string begin(4, '\0');
  std::ifstream(path, std::ios::binary).read(begin.data(), 4);
  return ending_of(path) == ".zip" || begin == "PK\3\4" || begin == "PK\5\6";
}

}  // namespace

std::optional<ZipPlace> find_zip(const fs::path& path) {
  std::string folder;
  for (fs::path zip = path; !zip.empty(); zip = zip.parent_path()) {
    if (is_zip(zip)) return ZipPlace{zip, folder};
    std::error_code ignored;
    if (fs::exists(zip, ignored) || !zip.has_relative_path()) break;
    if (zip.has_filename()) folder = folder.empty() ? zip.filename().native() : zip.filename().native() + "/" + folder;
  }
  return std::nullopt;
}

std::unique_ptr<FileStore> open_store(const fs::path& path) {
  if (const std::optional<ZipPlace> place = find_zip(path)) return open_zip(*place);
  return std::make_unique<FolderStore>(path);
}

}  // namespace pastiche
