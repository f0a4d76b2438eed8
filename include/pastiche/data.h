#pragma once
#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pastiche/image.h"

namespace pastiche {

struct DataOptions {
  int height = 0;  // 0: the data's own size, which is an error where its pictures differ in size
  int width = 0;
  int channels = 0;                                       // 1, 3 or 4; 0: 1 where every picture is gray, else 3
  std::array<std::uint8_t, 3> background{255, 255, 255};  // what shows through alpha where channels < 4
  bool strict = false;                                    // a file that can't be used is an error, not skipped
  std::int64_t max_pixels = 50'000'000;                   // of one picture, before it is resized
  std::int64_t cache_bytes = std::int64_t{256} << 20;     // a folder that fits is decoded once, when it is opened
};

struct SkippedFile {
  std::string file;  // relative to the data's folder; raw bytes, so quote() it to print
  std::string reason;
};

// Pictures of one shape, by index. The order of a folder is that of its relative paths, by bytes.
class Dataset {
 public:
  virtual ~Dataset() = default;

  std::int64_t size() const { return size_; }
  int height() const { return height_; }
  int width() const { return width_; }
  int channels() const { return channels_; }
  std::int64_t picture_bytes() const { return std::int64_t{height_} * width_ * channels_; }
  const std::string& name() const { return name_; }  // short, of [A-Za-z0-9._-]: part of a run folder's name
  const std::string& fingerprint() const { return fingerprint_; }  // SHA-256 of names and contents, of IDX the contents
  const std::vector<int>& labels() const { return labels_; }       // one a picture, or none at all
  const std::vector<SkippedFile>& skipped() const { return skipped_; }

  // The file of picture `index`, relative to the data's folder; of IDX the index, in six digits or more.
  virtual std::string picture_name(std::int64_t index) const;
  // Writes picture `index` as [H,W,C]. Any number of threads may call it. Throws Error(bad_data) where a file changed
  // or broke after it was opened.
  virtual void read(std::int64_t index, std::uint8_t* out) const = 0;
  Image picture(std::int64_t index) const;  // the same, as a picture of its own

 protected:
  explicit Dataset(std::string name) : name_(std::move(name)) {}

  std::int64_t size_ = 0;
  int height_ = 0;
  int width_ = 0;
  int channels_ = 0;
  std::string name_;
  std::string fingerprint_;
  std::vector<int> labels_;
  std::vector<SkippedFile> skipped_;
};

// Opens an IDX file, plain or gzip; a folder that holds IDX (the training set where there are several, with its
// labels); or a folder of PNG and JPEG with all its subfolders. Pictures are cropped in the middle and resized to the
// given size. Of a folder that doesn't fit into `cache_bytes` only the headers are checked here, and read() decodes.
// Files that can't be used are skipped and listed. Throws Error(bad_data) where nothing or less than half is usable, or
// where `strict` is set and something is not.
std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& path, const DataOptions& options = {});

struct DuplicateGroup {
  bool same_bytes = false;  // else the same pixels from different files
  std::vector<std::string> files;
};

// What `pastiche data check` prints. Counts are of files, or of pictures where the data is IDX.
struct DatasetReport {
  std::string path;
  std::string kind;  // "folder" or "idx"
  std::int64_t files = 0;
  std::int64_t usable = 0;
  std::vector<SkippedFile> unusable;
  std::map<std::string, std::int64_t> sizes;  // "HEIGHTxWIDTH"
  std::map<std::string, std::int64_t> modes;  // to_string(PictureInfo)
  std::map<int, std::int64_t> labels;
  std::vector<DuplicateGroup> duplicates;
};

// Decodes everything. Throws Error(bad_data) only where there is nothing to check.
DatasetReport check_dataset(const std::filesystem::path& path, const DataOptions& options = {});
std::string to_text(const DatasetReport& report);
std::string to_json(const DatasetReport& report);

struct Batch {
  std::vector<std::uint8_t> pixels;   // [N,H,W,C], H and W those of the crop where there is one
  std::vector<std::int64_t> indices;  // [N]
};

enum class MirrorMode { never, random };

struct LoaderOptions {
  int batch = 64;
  std::uint64_t seed = 0;
  int threads = 2;
  MirrorMode mirror = MirrorMode::never;
  int crop_height = 0;  // a random rectangle of each picture; 0: the whole picture
  int crop_width = 0;
  std::uint32_t domain = 0;  // loaders that differ in it draw independently from one seed
  std::int64_t start_step = 0;
  int prefetch = 4;  // batches made ahead
};

// Endless shuffled batches, made ahead by worker threads. Sample number step * batch + j decides everything: it counts
// through one permutation of the data after another, and draws the mirroring and the place of the crop. So the batches
// depend on the data, `seed`, `domain` and `batch` alone; a loader started at a step gives what one that ran to it
// would have given, and two loaders over equally many pictures of one size do the same to both.
class BatchLoader {
 public:
  // Throws Error(usage) for a batch over the data and a crop larger than a picture.
  BatchLoader(const Dataset& data, const LoaderOptions& options);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  // The batch of the next step, valid until the next call. Rethrows what reading it threw.
  const Batch& next();

 private:
  struct Slot {
    Batch batch;
    std::int64_t ready_step = -1;  // the step whose batch this is, once it is complete
    std::exception_ptr error;
  };

  void work(std::stop_token stop);
  Slot& slot_of(std::int64_t step) { return ring_[static_cast<std::size_t>(step) % ring_.size()]; }

  const Dataset& data_;
  const LoaderOptions options_;
  std::vector<Slot> ring_;
  std::mutex mutex_;
  std::condition_variable slot_ready_;
  std::condition_variable_any slot_free_;
  std::int64_t next_to_make_;  // guarded by mutex_, as are the two below
  std::int64_t next_to_give_;
  std::int64_t first_kept_;            // batches before this step may be overwritten
  std::vector<std::jthread> workers_;  // last, so that they stop before what they use is gone
};

}  // namespace pastiche
