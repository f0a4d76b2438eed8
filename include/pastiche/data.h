#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pastiche/error.h"
#include "pastiche/image.h"

namespace pastiche {

// Is told how much of many things is done, from any thread.
using WorkObserver = std::function<void(std::int64_t done, std::int64_t total)>;

struct DataOptions {
  int height = 0;  // 0: the data's own size, as far as most_side allows
  int width = 0;
  // Where no size is given: larger pictures are scaled to this side, and those that differ in size become squares of the median of their
  // shorter sides, at most this, a multiple of 4. 0: they keep their size, and it is an error that they differ.
  int most_side = 0;
  int channels = 0;                                       // 1, 3 or 4; 0: 1 where every picture is gray, else 3
  std::array<std::uint8_t, 3> background{255, 255, 255};  // what shows through alpha where channels < 4
  bool links_count = false;                               // links to pictures that are there too count as well
  bool strict = false;                                    // a file that can't be used is an error, not skipped
  std::int64_t max_pixels = default_max_pixels;           // of one picture, before it is resized
  std::int64_t cache_bytes = std::int64_t{256} << 20;     // a folder that fits is decoded once, when it is opened
  WorkObserver observer = {};                             // of check_dataset()
};

struct SkippedFile {
  std::string file;  // relative to the data's folder; raw bytes, so quote() it to print
  std::string reason;
};

// Pictures that were left out because a program made them, not the user, by kind: thumbnails, backups, hidden files and the
// like; of "run folders" the folders are counted.
using LeftOut = std::map<std::string, std::int64_t>;
std::string left_out_text(const LeftOut& left_out);  // "run folders (1), thumbnails (24)"

// A file that is not there or can't be read, and so may be again: a drive may be away for a second.
struct UnreadableFile : Error {
  explicit UnreadableFile(const std::string& message) : Error(ExitCode::bad_data, message) {}
};

// Pictures of one shape, by index. The order of a folder, or a zip, is that of its relative paths, by bytes.
class Dataset {
 public:
  virtual ~Dataset() = default;

  std::int64_t size() const { return size_; }
  int height() const { return height_; }
  int width() const { return width_; }
  int channels() const { return channels_; }
  bool resized() const { return resized_; }  // some of them were cropped or scaled to this size
  std::int64_t picture_bytes() const { return std::int64_t{height_} * width_ * channels_; }
  const std::string& name() const { return name_; }  // short, of [A-Za-z0-9._-]: part of a run folder's name
  const std::string& fingerprint() const { return fingerprint_; }  // SHA-256 of names and contents, of IDX the contents
  const std::vector<int>& labels() const { return labels_; }       // one a picture, or none at all
  const std::vector<SkippedFile>& skipped() const { return skipped_; }
  const LeftOut& left_out() const { return left_out_; }

  // The file of picture `index`, relative to the data's folder; of IDX the index, in six digits or more.
  virtual std::string picture_name(std::int64_t index) const;
  // Writes picture `index` as [H,W,C]. Any number of threads may call it. Throws UnreadableFile, and Error(bad_data)
  // where a file broke or changed its size after it was opened.
  virtual void read(std::int64_t index, std::uint8_t* out) const = 0;
  Image picture(std::int64_t index) const;  // the same, as a picture of its own

 protected:
  explicit Dataset(std::string name) : name_(std::move(name)) {}

  std::int64_t size_ = 0;
  int height_ = 0;
  int width_ = 0;
  int channels_ = 0;
  bool resized_ = false;
  std::string name_;
  std::string fingerprint_;
  std::vector<int> labels_;
  std::vector<SkippedFile> skipped_;
  LeftOut left_out_;
};

// Opens an IDX file, plain or gzip; a folder that holds IDX (the training set where there are several, with its
// labels); or a folder of pictures with all its subfolders, or a zip of such a folder ("a.zip", or "a.zip/folder"), which is the same
// data, and is not unpacked. Labels are those of dataset.json in it, in StyleGAN's format. Pictures are cropped in the middle and resized to the
// given size. Of a folder that doesn't fit into `cache_bytes` only the headers are checked here, and read() decodes.
// Files that can't be used are skipped and listed. Throws Error(bad_data) where nothing or less than half is usable, where
// a folder can't be entered, or where `strict` is set and something is not usable.
std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& path, const DataOptions& options = {});

struct DuplicateGroup {
  bool same_bytes = false;  // else the same pixels from different files
  std::vector<std::string> files;
};

// What `pastiche data check` prints. Counts are of files, or of pictures where the data is IDX.
struct DatasetReport {
  std::string path;
  std::string kind;  // "folder", "zip" or "idx"
  std::int64_t files = 0;
  std::int64_t usable = 0;
  std::vector<SkippedFile> unusable;  // and folders that can't be entered
  bool unknown = false;               // there is such a folder, so nobody knows how many are missing
  LeftOut left_out;
  std::map<std::string, std::int64_t> sizes;  // "WIDTHxHEIGHT"
  std::map<std::string, std::int64_t> modes;  // to_string(PictureInfo)
  std::map<int, std::int64_t> labels;
  std::string labels_note;  // why dataset.json gives none
  std::vector<DuplicateGroup> duplicates;

  bool can_be_trained_on() const { return usable > 0 && 2 * usable >= files && !unknown; }  // as open_dataset() has it
};

// Decodes everything. Throws Error(bad_data) only where there is nothing to check.
DatasetReport check_dataset(const std::filesystem::path& path, const DataOptions& options = {});
std::string to_text(const DatasetReport& report);  // on one screen, with advice
std::string to_long_text(const DatasetReport& report);  // with every file
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
  int prefetch = 4;              // batches made ahead
  bool strict = false;           // a picture that can't be read is an error, not replaced
  double patience_seconds = 5;  // that data is waited for which is gone as a whole; two fifths of it for a single file
};

// Endless shuffled batches, made ahead by worker threads. Sample number step * batch + j decides everything: it counts
// through one permutation of the data after another, and draws the mirroring and the place of the crop. So the batches
// depend on the data, `seed`, `domain` and `batch` alone; a loader started at a step gives what one that ran to it
// would have given, and two loaders over equally many pictures of one size do the same to both.
// A picture that can't be read any more is replaced by another one, which its sample number draws, too; and where none
// of many can, that is an error.
class BatchLoader {
 public:
  // Throws Error(usage) for a batch over the data and a crop larger than a picture.
  BatchLoader(const Dataset& data, const LoaderOptions& options);
  // Of pairs: what is done to a picture of `data` is done to that of the same index of `partner`, of one size with it.
  BatchLoader(const Dataset& data, const Dataset& partner, const LoaderOptions& options);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  // The batch of the next step, valid until the next call. Rethrows what reading it threw.
  const Batch& next() { return next_of_all()[0]; }
  // The same of each set.
  const std::vector<Batch>& next_of_all();

  // Pictures that were replaced, and not told before. Cheap, and safe from any thread.
  std::vector<SkippedFile> take_replaced();

 private:
  struct Slot {
    std::vector<Batch> batches;    // of each set
    std::int64_t ready_step = -1;  // the step whose batches these are, once they are complete
    std::exception_ptr error;
  };
  class Sampler;

  BatchLoader(std::vector<const Dataset*> sets, const LoaderOptions& options);
  void work(std::stop_token stop);
  std::int64_t read(std::int64_t wanted, std::int64_t sample, std::vector<Sampler>& samplers,
                    const std::vector<std::uint8_t*>& out, const std::stop_token& stop);
  bool read_one(std::int64_t index, std::int64_t sample, std::vector<Sampler>& samplers,
                const std::vector<std::uint8_t*>& out, const std::stop_token& stop, SkippedFile& failure, bool& away);
  void pause(std::chrono::milliseconds time, const std::stop_token& stop);
  Slot& slot_of(std::int64_t step) { return ring_[static_cast<std::size_t>(step) % ring_.size()]; }

  const std::vector<const Dataset*> sets_;
  const LoaderOptions options_;
  std::vector<Slot> ring_;
  std::mutex mutex_;
  std::condition_variable slot_ready_;
  std::condition_variable_any slot_free_;
  std::int64_t next_to_make_;  // guarded by mutex_, as are those below
  std::int64_t next_to_give_;
  std::int64_t first_kept_;  // batches before this step may be overwritten
  std::set<std::string> replaced_;     // files
  std::vector<SkippedFile> not_told_;  // of these
  std::atomic<bool> has_news_ = false;
  std::atomic<std::chrono::steady_clock::time_point> impatient_until_{};  // since a file was waited for in vain
  std::vector<std::jthread> workers_;                                     // last, so that they stop before what they use is gone
};

}  // namespace pastiche
