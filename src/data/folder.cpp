#include "folder.h"

#include <algorithm>
#include <compare>
#include <cstring>
#include <tuple>

#include <fmt/format.h>

#include "parallel.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"

namespace pastiche {
namespace {

struct Shape {
  int height, width, channels;
  auto operator<=>(const Shape&) const = default;
};

class FolderDataset final : public Dataset {
 public:
  FolderDataset(std::unique_ptr<FileStore> store, const std::string& name, Part part, const DataOptions& options)
      : Dataset(name), store_(std::move(store)), part_(part), options_(options) {
    FolderContents contents = inspect_files(*store_, options.max_pixels, Depth::probe, options.links_count ? Links::each : Links::once);
    require_folders(store_->path(), contents.files);
    files_ = std::move(contents.files);
    left_out_ = std::move(contents.left_out);
    if (part != Part::whole) {
      for (FolderFile& file : files_) halve(file);
    }
    const std::size_t found = files_.size();
    drop_unusable(found);
    Shape shape;
    // A file may turn out broken only when it's decoded, and the shape follows from those that remain.
    do {
      shape = common_shape();
      height_ = shape.height, width_ = shape.width, channels_ = shape.channels;
      if (size_ * picture_bytes() > options.cache_bytes) {
        cache_ = {};
        break;
      }
      decode_all();
      drop_unusable(found);
    } while (shape != common_shape());
    std::sort(skipped_.begin(), skipped_.end(), [](const auto& a, const auto& b) { return a.file < b.file; });
    require_one_size();
    resized_ = std::ranges::any_of(files_, [this](const FolderFile& file) { return file.info.height != height_ || file.info.width != width_; });
    std::string list, note;
    for (const FolderFile& file : files_) list += fmt::format("{}\n{}\n{}\n", file.name, file.bytes, file.sha256);
    labels_ = labels_of(files_, note);
    for (const int label : labels_) list += fmt::format("{}\n", label);
    fingerprint_ = sha256_hex(std::as_bytes(std::span(list)));
  }

  std::string picture_name(std::int64_t index) const override { return files_[index].name; }

  void read(std::int64_t index, std::uint8_t* out) const override {
    if (cache_.empty()) return decode(files_[index], out);
    std::memcpy(out, cache_.data() + index * picture_bytes(), picture_bytes());
  }

 private:
  // Two of the same shape: what is not about twice as wide as high is hardly that.
  static void halve(FolderFile& file) {
    const int height = file.info.height;
    const int width = file.info.width;
    if (!file.problem.empty()) return;
    if (10 * width < 18 * height || 10 * width > 22 * height) {
      file.problem =
          fmt::format("{}x{} pixels, expected two pictures side by side, twice as wide as high", width, height);
    }
    file.info.width = width / 2;
  }

  void decode(const FolderFile& file, std::uint8_t* out) const {
    const std::vector<std::byte> bytes = store_->read(file.name, max_picture_bytes);
    try {
      if (bytes.size() != file.bytes) {
        throw Error(ExitCode::bad_data, fmt::format("it has {} bytes, {} when it was opened; leave data as it is while it is used",
                                                    bytes.size(), file.bytes));
      }
      Image image = decode_picture(bytes, {channels_, options_.background, options_.max_pixels});
      if (part_ != Part::whole) {
        const int width = image.width / 2;
        image = crop(image, 0, part_ == Part::left_half ? 0 : image.width - width, image.height, width);
      }
      image = fit(image, height_, width_);
      std::copy(image.pixels.begin(), image.pixels.end(), out);
    } catch (const Error& error) {
      throw Error(ExitCode::bad_data, quote((store_->path() / file.name).native()) + ": " + error.what());
    }
  }

  void decode_all() {
    cache_.resize(size_ * picture_bytes());
    parallel_for(size_, [this](std::int64_t i) {
      try {
        decode(files_[i], cache_.data() + i * picture_bytes());
      } catch (const Error& error) {
        files_[i].problem = error.what();
      }
    });
  }

  // Moves files with a problem from files_ to skipped_, and closes the gaps they leave in the cache.
  void drop_unusable(std::size_t found) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      if (!files_[i].problem.empty()) {
        skipped_.push_back({files_[i].name, files_[i].problem});
        continue;
      }
      if (kept != i) {
        files_[kept] = std::move(files_[i]);
        if (!cache_.empty()) {
          std::memcpy(cache_.data() + kept * picture_bytes(), cache_.data() + i * picture_bytes(), picture_bytes());
        }
      }
      ++kept;
    }
    files_.resize(kept);
    if (!cache_.empty()) cache_.resize(kept * picture_bytes());
    size_ = static_cast<std::int64_t>(kept);
    if (skipped_.empty() || (!options_.strict && kept > 0 && 2 * kept >= found)) return;
    throw Error(ExitCode::bad_data,
                fmt::format("{} of {} pictures in {} can't be used, expected {}; the first is {}: {}{}",
                            skipped_.size(), found, quote(store_->path().native()),
                            options_.strict ? "none with --strict" : "at most half", quote(skipped_[0].file),
                            skipped_[0].reason,
                            part_ == Part::whole ? fmt::format("; `pastiche data check {}` lists all", shell_word(store_->path().native())) : ""));
  }

  // The one size of all pictures; the most frequent one where they differ and have to be the same (require_one_size).
  std::pair<int, int> own_size(const std::map<std::pair<int, int>, std::int64_t>& sizes) const {
    const int most = options_.most_side;
    const auto common = std::max_element(sizes.begin(), sizes.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
    const auto scaled = [](int side, double scale) { return std::max(4, static_cast<int>(side * scale) / 4 * 4); };
    if (most == 0) return common;
    if (sizes.size() == 1) {
      const auto [height, width] = common;
      const double scale = static_cast<double>(most) / std::max(height, width);
      return scale >= 1 ? common : std::pair(scaled(height, scale), scaled(width, scale));
    }
    std::vector<int> shorter;
    for (const FolderFile& file : files_) shorter.push_back(std::min(file.info.height, file.info.width));
    std::nth_element(shorter.begin(), shorter.begin() + static_cast<std::ptrdiff_t>(shorter.size() / 2), shorter.end());
    const int side = scaled(std::min(most, shorter[shorter.size() / 2]), 1);
    return {side, side};
  }

  // Gray only where everything is.
  Shape common_shape() const {
    std::map<std::pair<int, int>, std::int64_t> sizes;
    bool gray = true;
    for (const FolderFile& file : files_) {
      ++sizes[{file.info.height, file.info.width}];
      gray = gray && file.info.is_gray();
    }
    Shape shape{options_.height, options_.width, options_.channels};
    if (shape.height == 0) std::tie(shape.height, shape.width) = own_size(sizes);
    if (shape.channels == 0) shape.channels = gray ? 1 : 3;
    return shape;
  }

  void require_one_size() const {
    if (options_.height != 0 || options_.most_side != 0) return;
    for (const FolderFile& file : files_) {
      if (file.info.height == height_ && file.info.width == width_) continue;
      throw Error(ExitCode::bad_data, fmt::format("pictures in {} differ in size ({} is {}x{}, most are {}x{}); give "
                                                  "--size, and all are cropped and resized to it",
                                                  quote(store_->path().native()), quote(file.name), file.info.width,
                                                  file.info.height, width_, height_));
    }
  }

  const std::unique_ptr<FileStore> store_;
  const Part part_;
  const DataOptions options_;
  std::vector<FolderFile> files_;
  std::vector<std::uint8_t> cache_;  // [N,H,W,C], or empty where that would be too large
};

}  // namespace

std::unique_ptr<Dataset> open_files(std::unique_ptr<FileStore> store, const std::string& name, Part part, const DataOptions& options) {
  return std::make_unique<FolderDataset>(std::move(store), name, part, options);
}

}  // namespace pastiche
