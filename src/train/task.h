#pragma once
// What a training is of: its data, its networks, what it shows and what it leaves. Trainings of new pictures and of
// translations differ in this alone.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pastiche/data.h"
#include "pastiche/files.h"
#include "pastiche/train.h"

namespace pastiche {

struct LoadingOptions {
  std::int64_t start_step = 0;
  int threads = 1;
};

class TrainingTask {
 public:
  virtual ~TrainingTask() = default;

  virtual const std::string& data_name() const = 0;
  virtual const std::string& data_fingerprint() const = 0;
  virtual std::int64_t pictures() const = 0;            // that an epoch is of
  virtual std::int64_t skipped() const = 0;             // files, with those that were replaced since
  virtual std::vector<std::string> notes() const = 0;   // on the data, for the user
  virtual std::vector<std::string> take_notes() = 0;    // since the last call, which costs nothing where there is none

  virtual std::unique_ptr<Trainer> make_trainer(Backend& backend) const = 0;
  virtual nlohmann::ordered_json model_json() const = 0;

  virtual void start_loading(const LoadingOptions& options) = 0;
  virtual void prefetch(Trainer& trainer) = 0;  // the next batch

  virtual Image samples(Trainer& trainer) const = 0;  // the same ones at every step
  virtual Image reals() const = 0;
  virtual void write_models(Trainer& trainer, const std::filesystem::path& folder) const = 0;
  // Of pictures held out, as a line for holdout.jsonl; empty where there is nothing to measure.
  virtual std::string measure(Trainer& trainer) const = 0;
};

// Opens the data; path, size and channels then stand in the config, as does all else that was left to choose. Error(usage)
// where there is no data, or less than a batch.
std::unique_ptr<TrainingTask> make_task(TrainConfig& config);

// The network of a translation of pictures of config.size, with the depth or blocks that were left to choose, which then stand
// in the config.
TranslatorConfig translator_of(TrainConfig& config);

int threads_of(const TrainConfig& config);
// At which it ends by --steps, --kimg and --epochs; 0 for no such limit.
std::int64_t steps_limit(const TrainConfig& config, std::int64_t pictures);

// What the tensors of a training step take of a backend's memory, found without taking any. A backend's own workspaces come on top.
std::size_t training_bytes(const TrainingTask& task, const TrainConfig& config, std::int64_t batch);
// Operations of a step of the training of new pictures, as LaunchCost counts them.
double step_flop(const TrainConfig& config, const ModelConfig& model);
// The largest batch, at most `limit`, whose training_bytes fit into `bytes`; 0 where not even one picture does.
std::int64_t largest_batch(const TrainingTask& task, const TrainConfig& config, std::int64_t limit, std::size_t bytes);
// Error(out_of_memory) where the training surely takes more memory than there is, before it takes any. Else the backend leaves what a
// checkpoint takes on its way to the disk, so that what fits at the first step fits later.
void require_memory(const TrainingTask& task, const TrainConfig& config, const Backend& backend);
// The tail of a message: "; --batch 12 would fit" into `bytes`, or "; not even ...", or nothing where config.batch would.
std::string batch_that_fits(const TrainingTask& task, const TrainConfig& config, std::size_t bytes);

}  // namespace pastiche
