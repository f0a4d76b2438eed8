#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pastiche {

// A tree of files that pictures are read from: a folder, or a zip, of which nothing is unpacked to the disk. Names are relative to it.
// Any number of threads may use one.
class FileStore {
 public:
  using Id = std::pair<std::uint64_t, std::uint64_t>;
  struct Node {
    int error = 0;  // errno, where it can't be looked at; then the rest is not known
    bool is_folder = false, is_file = false;  // of what a link leads to
    bool is_link = false;                     // symbolic
    Id id;                                    // one for all names of a file or folder
  };

  explicit FileStore(std::filesystem::path path) : path_(std::move(path)) {}
  virtual ~FileStore() = default;

  const std::filesystem::path& path() const { return path_; }  // `path() / name` says in messages which file it is
  virtual Node look(const std::filesystem::path& name) const = 0;
  // What is in a folder, by bytes of the names.
  virtual std::vector<std::filesystem::path> list(const std::filesystem::path& folder, std::error_code& error) const = 0;
  static constexpr std::size_t begin_bytes = 64;  // what is_picture() takes
  // The first so many bytes, or fewer.
  virtual std::string begin_of(const std::filesystem::path& name) const = 0;
  // Throws UnreadableFile, and Error(bad_data) for what is of more than `max_bytes` or broken. What comes is as much as is there.
  virtual std::vector<std::byte> read(const std::filesystem::path& name, std::size_t max_bytes) const = 0;

 private:
  const std::filesystem::path path_;
};

// A zip, and a folder in it, or "" for all of it.
struct ZipPlace {
  std::filesystem::path zip;
  std::string folder;
};
// Of "a.zip" and "a.zip/folder", be that folder there or not; none where no zip is. A zip is known by its ending or its first bytes.
std::optional<ZipPlace> find_zip(const std::filesystem::path& path);

// Throw Error(bad_data). Of a folder it is known only when it is listed whether it is there. A zip of nothing but a folder of its own name
// is that folder: cats.zip, if all in it is in cats/.
std::unique_ptr<FileStore> open_zip(const ZipPlace& place);
std::unique_ptr<FileStore> open_store(const std::filesystem::path& path);

}  // namespace pastiche
