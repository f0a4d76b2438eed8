#pragma once
// The pictures of a training, whatever the method: their batches, and those that are shown and measured.
#include <memory>
#include <string>
#include <vector>

#include "pastiche/data.h"
#include "pastiche/train.h"

namespace pastiche {

struct LoadingOptions {
  std::int64_t start_step = 0;
  int threads = 1;
};

class TrainingData {
 public:
  virtual ~TrainingData() = default;

  virtual const std::string& name() const = 0;
  virtual const std::string& fingerprint() const = 0;
  virtual std::int64_t pictures() const = 0;           // that an epoch is of
  virtual std::int64_t skipped() const = 0;            // files, with those that were replaced since
  virtual std::vector<std::string> notes() const = 0;  // on the data, and on what was chosen by it, for the user
  virtual std::vector<std::string> take_notes() = 0;   // since the last call, which costs nothing where there is none

  virtual void start_loading(const LoadingOptions& options) = 0;
  virtual void prefetch(Trainer& trainer) = 0;  // the next batch

  virtual Image reals() const = 0;
  virtual Examples examples() const { return {}; }  // for sample grids, the same ones at every step
  virtual Examples held_out() const { return {}; }  // to measure; empty where there is nothing to measure
};

// ---- what the kinds of data share ------------------------------------------------------------------------------------

bool on_gpu(const TrainConfig& config);
DataOptions data_options(const TrainConfig& config);
LoaderOptions loader_options(const TrainConfig& config, const LoadingOptions& options);
std::string absolute_path(const std::string& path);

// Where the batch was left to choose. Such rules use what the user said and what the data is, never a time that was measured, so that the
// same command is the same training everywhere.
void choose_batch(TrainConfig& config, std::int64_t pictures, std::int64_t usual);
void require_a_batch(const TrainConfig& config, std::int64_t pictures, const std::string& folder);

// Evenly over all of them.
std::vector<std::int64_t> some_indices(std::int64_t size, std::int64_t count);
// Picture `index` of sets that belong together; empty where one of them can't be read.
std::vector<Image> pictures_at(std::initializer_list<const Dataset*> sets, std::int64_t index);
// [set][picture] of these indices. Where one can't be read, the next index that can takes its place in all sets.
std::vector<std::vector<Image>> pictures_of(std::initializer_list<const Dataset*> sets, const std::vector<std::int64_t>& indices);
Image grid_of(const Dataset& set, const TrainConfig& config);  // as many as config.grid has, evenly over the set

// Of pictures that a loader replaced: the first ones by name, then each time that their number has doubled.
class ReplacedNotes {
 public:
  std::vector<std::string> add(const std::vector<SkippedFile>& replaced, const std::string& data);
  std::int64_t count() const { return count_; }

 private:
  static constexpr std::int64_t one_by_one = 5;
  std::int64_t count_ = 0, next_ = 2 * one_by_one;
};

}  // namespace pastiche
