#pragma once
// The training step, and a whole training with its run folder.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "pastiche/config.h"
#include "pastiche/image.h"
#include "pastiche/losses.h"
#include "pastiche/models.h"
#include "pastiche/optim.h"
#include "pastiche/safetensors.h"

namespace pastiche {

struct StepStats {
  std::int64_t step = 0;  // the first is 1
  double loss_g = 0, loss_d = 0;
  double d_real = 0, d_fake = 0;  // mean of sigmoid(D(.)) before the update
};

// Generator, discriminator, their Adams and the averaged generator.
class GanTrainer {
 public:
  // Uses of TrainConfig what concerns a step: loss, step, batch, learning rates, penalties, ema, seed. The backend must outlive it.
  GanTrainer(Backend& backend, const TrainConfig& config, const ModelConfig& model, DType dtype = DType::f32);

  // One step on pictures [batch,H,W,C]; z is drawn from the seed. Error(diverged) names the first tensor that is not finite.
  StepStats step(std::span<const std::uint8_t> pictures);
  // The same in two halves: pictures go on their way to the device, and a step on them follows. It calls `meanwhile` while the
  // device works, which is the time to prefetch the next ones.
  void prefetch(std::span<const std::uint8_t> pictures);
  StepStats step_prefetched(const std::function<void()>& meanwhile = {});
  // One step on given pictures in [-1, 1] and latents [N,nz].
  StepStats step(const Tensor& real, const Tensor& z);

  Generator& generator() { return *generator_; }
  Discriminator& discriminator() { return *discriminator_; }
  Generator& averaged() { return *averaged_; }  // what is used and shared; the generator itself where ema is 0
  std::int64_t steps_done() const { return state_.step; }
  // Of the last step, aligned with parameters().vars() of each network.
  const std::vector<Var>& gradients_g() const { return gradients_g_; }
  const std::vector<Var>& gradients_d() const { return gradients_d_; }

  // All that the next step depends on but the data: weights, average, moments, running statistics, counters.
  void save(SafetensorsFile& file) const;
  void load(const SafetensorsFile& file, std::int64_t step);

 private:
  struct Losses {
    Var d, g, real_logits, fake_logits;
  };
  void begin_step();
  void forget_step();  // gives its memory back to the pool
  void launch_step(const Tensor& real, const Tensor& z);  // all between the two: nothing in it waits for the device
  StepStats end_step();
  Losses alternating_step(const Var& real, const Var& z);
  Losses joint_step(const Var& real, const Var& z);
  void update_d();
  void update_g();
  Var with_penalty(const Var& loss, const Parameters& parameters) const;
  Pass pass(std::uint32_t call) const { return {.mode = Mode::train, .state = state_tensor_, .call = call}; }
  void refuse_nonfinite(std::int32_t id) const;

  Backend& backend_;
  TrainConfig config_;
  ModelConfig model_;
  DType dtype_;
  std::unique_ptr<Generator> generator_, average_copy_;
  std::unique_ptr<Discriminator> discriminator_;
  Generator* averaged_;
  AdamOptimizer adam_g_, adam_d_;
  StepState state_;      // the host's copy
  Tensor state_tensor_;  // the backend's
  Tape tape_;
  std::vector<Var> gradients_g_, gradients_d_;

  Tensor pictures_[2];  // u8: of this step, and of the next
  int current_ = 0;
  Tensor real_, latents_;                     // what a recorded step reads
  int steps_of_shape_ = 0;                    // taken on real_'s shape
  std::unique_ptr<Backend::Replay> replay_;
};

// What the tensors of a training step take of a backend's memory, found without taking any. A backend's own workspaces come on top.
std::size_t training_bytes(const TrainConfig& config, const ModelConfig& model, std::int64_t batch, DType dtype = DType::f32);
// The largest batch, at most `limit`, whose training_bytes fit into `bytes`; 0 where not even one picture does.
std::int64_t largest_batch(const TrainConfig& config, const ModelConfig& model, std::int64_t limit, std::size_t bytes,
                           DType dtype = DType::f32);

// What a training would take: what `pastiche train --plan` prints.
struct TrainingPlan {
  TrainConfig config;  // made definite
  std::string data, backend;
  std::int64_t pictures;
  double flop_per_picture;     // multiplications and additions of a training step's convolutions and GEMMs, upsampling folded
  double flop_to_generate;     // of one picture
  struct MemoryGroup {
    std::string what;
    std::size_t bytes;
  };
  std::vector<MemoryGroup> memory;   // of the backend, at its peak, then of the process besides
  std::size_t peak_bytes;            // on a device with memory of its own: the backend's; else the process's
  std::size_t available_bytes;       // to all of that
  std::int64_t largest_batch;        // that fits; 0 where not even one picture does
  double seconds_per_step;           // from steps of at most 32 pictures, timed
  std::int64_t steps;                // until the first limit; 0 where only --time is given
};
// Opens the data, and takes a few steps on at most 32 pictures to measure what no count tells: seconds, and the backend's workspaces.
TrainingPlan plan_training(TrainConfig config);

// Latents of picture `seed`, for pictures to look at: [nz] standard normal numbers, the same on every backend.
std::vector<float> sample_latent(std::uint64_t seed, std::int64_t nz);
// The same of several seeds, one after the other: [seeds * nz].
std::vector<float> sample_latents(std::span<const std::uint64_t> seeds, std::int64_t nz);

// Pictures of latents [count * nz], by running statistics, at most `batch` at a time.
std::vector<Image> generate_pictures(Generator& generator, std::span<const float> latents, std::int64_t batch = 64);

// What the shell of a training does with its events.
struct RunEvents {
  std::function<void(const std::filesystem::path& folder, const std::string& title)> started;
  struct Progress {
    StepStats stats;
    double kimg, fraction, images_per_second, ms, eta_seconds;
  };
  std::function<void(const Progress&)> stepped;
  std::function<void(const std::string&)> note;
};

struct RunResult {
  std::filesystem::path folder;
  std::int64_t step = 0;
  int signal = 0;  // that ended it, 0 for none
};

// A whole training in a new run folder, or the rest of the one in `folder`. SIGINT and SIGTERM end it after the current step,
// with everything saved; a second one ends the process.
RunResult train(TrainConfig config, const RunEvents& events);
RunResult resume_training(const std::filesystem::path& folder, const RunEvents& events);

}  // namespace pastiche
