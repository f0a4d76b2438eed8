#include <malloc.h>

#include "backends/plan.h"

#include <algorithm>
#include <chrono>

#include "core/system.h"
#include "pastiche/data.h"
#include "pastiche/train.h"
#include "train/setup.h"

namespace pastiche {
namespace {

std::vector<std::uint8_t> gray_pictures(const ModelConfig& model, std::int64_t batch) {
  return std::vector<std::uint8_t>(static_cast<std::size_t>(batch * model.height * model.width * model.channels), 128);
}

// A training on a backend without memory.
class PlannedTraining {
 public:
  PlannedTraining(const TrainConfig& config, const ModelConfig& model, std::int64_t batch, DType dtype)
      : trainer_(backend_, config, model, dtype), state_bytes_(backend_.pool_stats().used_bytes) {
    const std::vector<std::uint8_t> pictures = gray_pictures(model, batch);
    for (int step = 0; step < 2; ++step) trainer_.step(pictures);
    flop_ = backend_.flop() / 2;
  }

  GanTrainer& trainer() { return trainer_; }
  PlanBackend& backend() { return backend_; }
  double flop() const { return flop_; }                      // of a step
  std::size_t state_bytes() const { return state_bytes_; }   // of what stays from step to step
  std::size_t held_bytes() const { return backend_.pool_stats().held_bytes; }

 private:
  PlanBackend backend_;
  GanTrainer trainer_;
  std::size_t state_bytes_;
  double flop_;
};

std::size_t bytes_of(const Parameters& parameters) {
  std::size_t bytes = 0;
  for (const Parameter& p : parameters.all()) bytes += p.value.bytes();
  return bytes;
}

struct Calibration {
  std::int64_t batch;
  double seconds;          // of a step
  std::size_t workspaces;  // what the backend holds beyond the tensors
};

Calibration calibrate(const std::string& device, const TrainConfig& config, const ModelConfig& model, DType dtype, std::int64_t batch) {
  using Clock = std::chrono::steady_clock;
  const auto backend = make_backend(device, threads_of(config));
  GanTrainer trainer(*backend, config, model, dtype);
  const std::vector<std::uint8_t> pictures = gray_pictures(model, batch);
  std::vector<double> seconds;
  for (int step = 0; step < 5; ++step) {
    const auto begin = Clock::now();
    trainer.step(pictures);
    if (step >= 2) seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());  // a backend may record the second
  }
  std::nth_element(seconds.begin(), seconds.begin() + 1, seconds.end());
  const std::size_t held = backend->pool_stats().held_bytes, tensors = training_bytes(config, model, batch, dtype);
  return {batch, seconds[1], held - std::min(held, tensors)};
}

// A line through both at `batch`, at least b.
double extrapolate(std::int64_t batch, std::int64_t batch_a, double a, std::int64_t batch_b, double b) {
  if (batch_a == batch_b) return b;
  const double slope = (b - a) / static_cast<double>(batch_b - batch_a);
  return b + std::max(0.0, slope) * static_cast<double>(batch - batch_b);
}

}  // namespace

std::size_t training_bytes(const TrainConfig& config, const ModelConfig& model, std::int64_t batch, DType dtype) {
  return PlannedTraining(config, model, batch, dtype).held_bytes();
}

std::int64_t largest_batch(const TrainConfig& config, const ModelConfig& model, std::int64_t limit, std::size_t bytes, DType dtype) {
  std::int64_t fits = 0, too_large = limit + 1;
  while (too_large - fits > 1) {
    const std::int64_t middle = fits + (too_large - fits) / 2;
    (training_bytes(config, model, middle, dtype) <= bytes ? fits : too_large) = middle;
  }
  return fits;
}

TrainingPlan plan_training(TrainConfig config) {
  validate(config);
  const auto data = open_data(config);
  const ModelConfig model = model_of(config);
  const DType dtype = dtype_from_name(config.precision);
  const std::int64_t batch = config.batch;

  const std::int64_t most = std::min<std::int64_t>(batch, 32), least = batch > 32 ? 16 : most;
  const std::string device = choose_device(config.device).name;
  const Calibration a = calibrate(device, config, model, dtype, least);
  const Calibration b = most == least ? a : calibrate(device, config, model, dtype, most);
  const auto workspaces = static_cast<std::size_t>(
      extrapolate(batch, a.batch, static_cast<double>(a.workspaces), b.batch, static_cast<double>(b.workspaces)));
  ::malloc_trim(0);
  const std::size_t program = resident_bytes();  // its libraries have been used by now

  PlannedTraining planned(config, model, batch, dtype);
  const std::size_t step_bytes = planned.held_bytes();
  const Grid grid = parse_grid(config.grid);
  const double flop_before = planned.backend().flop();
  generate_pictures(planned.trainer().averaged(), std::vector<float>(static_cast<std::size_t>(grid.columns * grid.rows * model.nz)));
  const double flop_to_generate = (planned.backend().flop() - flop_before) / (grid.columns * grid.rows);
  SafetensorsFile checkpoint;
  planned.trainer().save(checkpoint);
  std::size_t checkpoint_bytes = 0;
  for (const SafeTensor& tensor : checkpoint.tensors) checkpoint_bytes += tensor.bytes.size();

  const auto backend = make_backend(device, threads_of(config));
  const bool own_memory = backend->name() == "cuda";
  const std::size_t weights_g = bytes_of(planned.trainer().generator().parameters());
  const std::size_t weights_d = bytes_of(planned.trainer().discriminator().parameters());
  const std::size_t average = config.ema > 0 ? weights_g : 0;
  const std::size_t on_backend = planned.held_bytes() + workspaces, besides = program + checkpoint_bytes;
  const std::size_t peak = on_backend + (own_memory ? 0 : besides);
  const std::size_t available = backend->available_bytes() + (own_memory ? 0 : program);
  const std::size_t fixed = peak - step_bytes;
  return {.config = config,
          .data = data->name(),
          .backend = backend->fingerprint(),
          .pictures = data->size(),
          .flop_per_picture = planned.flop() / static_cast<double>(batch),
          .flop_to_generate = flop_to_generate,
          .memory = {{"generator", weights_g},
                     {"discriminator", weights_d},
                     {"averaged generator", average},
                     {"Adam's moments", planned.state_bytes() - weights_g - weights_d - average},
                     {"activations and gradients", step_bytes - planned.state_bytes()},
                     {"sample grid", planned.held_bytes() - step_bytes},
                     {"workspaces", workspaces},
                     {"program and data", program},
                     {"a checkpoint on its way to the disk", checkpoint_bytes}},
          .peak_bytes = peak,
          .available_bytes = available,
          .largest_batch = largest_batch(config, model, data->size(), available > fixed ? available - fixed : 0, dtype),
          .seconds_per_step = extrapolate(batch, a.batch, a.seconds, b.batch, b.seconds),
          .steps = steps_limit(config, data->size())};
}

}  // namespace pastiche
