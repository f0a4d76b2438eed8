#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "folder.h"
#include "idx.h"
#include "parallel.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/pairs.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

constexpr int edge_step = 32;                // the least difference of two flat areas that has a line between them
constexpr int blocks = 16;                   // of a mosaic, along the shorter side

// I. Sobel and G. Feldman, 1968; of the channel where the gradient is steepest, and the border repeated.
Image edges(const Image& image) {
  Image result{image.height, image.width, 1, {}};
  result.pixels.reserve(std::size_t(image.height) * image.width);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      int steepest = 0;
      for (int c = 0; c < image.channels; ++c) {
        const auto at = [&](int dy, int dx) {
          const int row = std::clamp(y + dy, 0, image.height - 1);
          const int column = std::clamp(x + dx, 0, image.width - 1);
          return int{image.pixels[(std::size_t(row) * image.width + column) * image.channels + c]};
        };
        const int across = at(-1, 1) + 2 * at(0, 1) + at(1, 1) - at(-1, -1) - 2 * at(0, -1) - at(1, -1);
        const int down = at(1, -1) + 2 * at(1, 0) + at(1, 1) - at(-1, -1) - 2 * at(-1, 0) - at(-1, 1);
        steepest = std::max(steepest, across * across + down * down);
      }
      constexpr int threshold = 4 * edge_step;  // what a straight edge of that step gives
      result.pixels.push_back(steepest >= threshold * threshold ? 0 : 255);
    }
  }
  return result;
}

// A block a pixel.
Image shrink(const Image& image) {
  const int side = std::max(2, std::min(image.height, image.width) / blocks);
  const auto count = [&](int pixels) { return (pixels + side - 1) / side; };
  return resize(image, count(image.height), count(image.width), Filter::box);
}

// What each is called in A and B, no two alike.
std::vector<fs::path> png_names(const std::vector<FolderFile>& files) {
  std::set<fs::path> taken;
  std::vector<fs::path> names;
  for (const FolderFile& file : files) {
    fs::path name = result_name(file.name, ".png");
    for (int number = 2; file.problem.empty() && !taken.insert(name).second; ++number) name = result_name(file.name, ".png", number);
    names.push_back(name);
  }
  return names;
}

[[noreturn]] void fail_to_write(const fs::path& path) {
  const int reason = errno;
  throw Error(ExitCode::bad_file, fmt::format("can't write {}: {}", quote(path.native()), std::strerror(reason)));
}

void write_png(const fs::path& path, const Image& image) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);  // where that fails, so does opening
  const std::vector<std::byte> png = encode_png(image);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(png.data()), static_cast<std::streamsize>(png.size()));
  file.close();
  if (!file) fail_to_write(path);
}

// Where A and B grow, so that the set is whole or absent. An fsync for each file would take minutes on a busy disk, so
// one syncfs() for all takes its place. What a killed process left is known by its names, and no other thing is touched:
// a half-made set is in pairs.tmp, and pairs.ready.tmp is there while a whole one moves to its place, A first.
class Staging {
 public:
  explicit Staging(const fs::path& out) : out_(out) {
    std::error_code error;
    fs::create_directories(out, error);
    if (!error) folder_ = ::open(out.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (error || folder_ < 0) {
      const std::string reason = error ? error.message() : std::strerror(errno);
      throw Error(ExitCode::bad_file, fmt::format("can't write to {}: {}", quote(out.native()), reason));
    }
    // Where the file system has no locks, two at the same time are the user's concern.
    if (::flock(folder_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(folder_);
      throw Error(ExitCode::bad_file, fmt::format("another process is making pairs in {}: wait for it, or give another folder with -o",
                                                  quote(out.native())));
    }
    try {
      clear();
    } catch (...) {
      ::close(folder_);
      throw;
    }
  }
  ~Staging() {
    std::error_code ignored;
    fs::remove_all(growing(), ignored);
    ::close(folder_);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  fs::path a() const { return growing() / "A"; }
  fs::path b() const { return growing() / "B"; }

  void commit() {
    const auto rename = [&](const fs::path& from, const fs::path& to) { return std::rename(from.c_str(), to.c_str()) == 0; };
    if (::syncfs(folder_) != 0 || !rename(growing(), ready()) || !rename(ready() / "A", out_ / "A") ||
        !rename(ready() / "B", out_ / "B") || ::rmdir(ready().c_str()) != 0) {
      fail_to_write(out_);
    }
  }

 private:
  fs::path growing() const { return out_ / "pairs.tmp"; }
  fs::path ready() const { return out_ / "pairs.ready.tmp"; }

  static std::set<std::string> names_in(const fs::path& folder) {
    std::set<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
      names.insert(entry->path().filename().native());
    }
    if (error) throw Error(ExitCode::bad_file, fmt::format("can't list {}: {}", quote(folder.native()), error.message()));
    return names;
  }

  // Leaves `out` empty, or throws.
  void clear() const {
    using Names = std::set<std::string>;
    const Names names = names_in(out_);
    if (names.empty()) return;
    const bool half_made = names == Names{"pairs.tmp"};
    const bool unmoved = names == Names{"pairs.ready.tmp"};
    const bool half_moved = names == Names{"A", "pairs.ready.tmp"} && names_in(ready()) == Names{"B"};
    if (!half_made && !unmoved && !half_moved) {
      throw Error(ExitCode::bad_file, fmt::format("{} holds something already, expected a new or an empty folder; give "
                                                  "another with -o", quote(out_.native())));
    }
    std::error_code error;
    if (half_moved) fs::remove_all(out_ / "A", error);  // before what tells that it is ours
    if (!error) fs::remove_all(growing(), error);
    if (!error) fs::remove_all(ready(), error);
    if (error) {
      throw Error(ExitCode::bad_file, fmt::format("can't remove what an interrupted call left in {}: {}", quote(out_.native()), error.message()));
    }
  }

  const fs::path out_;
  int folder_ = -1;
};

}  // namespace

Image make_source(const Image& picture, SourceKind kind) {
  const Image image = convert(picture, picture.channels == 1 ? 1 : 3);
  switch (kind) {
    case SourceKind::edges: return edges(image);
    case SourceKind::gray: return convert(image, 1);
    case SourceKind::blur: return resize(shrink(image), image.height, image.width, Filter::bicubic);
    default: return resize(shrink(image), image.height, image.width, Filter::box);
  }
}

MadePairs make_pairs(const fs::path& data, const fs::path& out, SourceKind kind, int height, int width, const WorkObserver& observer) {
  MadePairs made;
  const fs::path idx_path = find_idx(data);
  std::unique_ptr<Dataset> idx;
  std::unique_ptr<FileStore> store;
  std::vector<FolderFile> files;
  if (idx_path.empty()) {
    store = open_store(data);
    FolderContents contents = inspect_files(*store, default_max_pixels, Depth::probe, Links::once);
    require_folders(data, contents.files);
    files = std::move(contents.files);
    made.left_out = std::move(contents.left_out);
  } else {
    idx = open_idx(idx_path, "", {});
    files.resize(idx->size());
    for (std::int64_t i = 0; i < idx->size(); ++i) files[i].name = idx->picture_name(i);
  }
  const std::vector<fs::path> names = png_names(files);
  Staging staging(out);
  parallel_for(static_cast<std::int64_t>(files.size()), [&](std::int64_t i) {
    FolderFile& file = files[i];
    if (!file.problem.empty()) return;
    Image picture;
    try {
      picture = idx ? idx->picture(i) : decode_picture(store->read(file.name, max_picture_bytes), {.channels = file.info.is_gray() ? 1 : 3});
    } catch (const Error& error) {
      file.problem = error.what();
      return;
    }
    if (height != 0) picture = fit(picture, height, width);
    write_png(staging.a() / names[i], make_source(picture, kind));
    write_png(staging.b() / names[i], picture);
  }, observer);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const FolderFile& file = files[i];
    if (!file.problem.empty()) made.skipped.push_back({file.name, file.problem});
    else if (names[i].stem() != fs::path(file.name).stem()) made.renamed.emplace_back(file.name, names[i].native());
  }
  made.pairs = static_cast<std::int64_t>(files.size() - made.skipped.size());
  if (made.pairs == 0) {
    throw Error(ExitCode::bad_data,
                fmt::format("none of the {} pictures in {} can be used; the first is {}: {}", files.size(),
                            quote(data.native()), quote(made.skipped[0].file), made.skipped[0].reason));
  }
  staging.commit();
  return made;
}

}  // namespace pastiche
