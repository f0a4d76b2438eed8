#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>

#include "backends/plan.h"
#include "core/system.h"
#include "methods/method.h"
#include "pastiche/train.h"
#include "train/plan.h"

namespace pastiche {
namespace {

std::unique_ptr<Trainer> trainer_of(Backend& backend, const TrainConfig& config) {
  return find_method(config.model).make_trainer(backend, config, activation_dtype(config));
}

void step_on_gray(Trainer& trainer, const TrainConfig& config, std::int64_t batch) {
  const std::vector<std::uint8_t> pictures(static_cast<std::size_t>(batch * config.size.height * config.size.width * config.channels), 128);
  trainer.step({pictures, pictures});
}

// With a penalty, where there is one, in every second step: so that a few steps tell what both kinds take.
TrainConfig with_penalty_soon(TrainConfig config) {
  config.penalty_every = std::min(config.penalty_every, 2);
  return config;
}

// Of what a step takes on average, from an odd and an even one of such a training. The first has a penalty.
double average_step(const TrainConfig& config, double odd, double even) { return even + (odd - even) / config.penalty_every; }

// A training on a backend without memory.
class PlannedTraining {
 public:
  PlannedTraining(const TrainConfig& config, std::int64_t batch)
      : trainer_(trainer_of(backend_, with_penalty_soon(config))), state_bytes_(backend_.pool_stats().used_bytes) {
    step_on_gray(*trainer_, config, batch);
    const double odd = backend_.flop();
    step_on_gray(*trainer_, config, batch);
    flop_ = average_step(config, odd, backend_.flop() - odd);
  }

  Trainer& trainer() { return *trainer_; }
  PlanBackend& backend() { return backend_; }
  double flop() const { return flop_; }                      // of a step
  std::size_t state_bytes() const { return state_bytes_; }   // of what stays from step to step
  std::size_t held_bytes() const { return backend_.pool_stats().held_bytes; }

 private:
  PlanBackend backend_;
  std::unique_ptr<Trainer> trainer_;
  std::size_t state_bytes_;
  double flop_;
};

std::size_t bytes_of(const Parameters& parameters) {
  std::size_t bytes = 0;
  for (const Parameter& p : parameters.all()) bytes += p.value.bytes();
  return bytes;
}

std::string network_name(const std::string& prefix) {
  static const std::map<std::string, std::string> names{
      {"G.", "generator"},         {"EMA.", "averaged generator"},           {"D.", "discriminator"},
      {"R.", "reverse generator"}, {"EMA_R.", "averaged reverse generator"}, {"S.", "discriminator of the source"},
      {"F.", "head of patches"}};
  const auto found = names.find(prefix);
  return found == names.end() ? "network " + prefix : found->second;
}

struct Calibration {
  std::int64_t batch;
  double seconds;          // of a step
  std::size_t workspaces;  // what the backend holds beyond the tensors
};

Calibration calibrate(const std::string& device, const TrainConfig& config, std::int64_t batch) {
  using Clock = std::chrono::steady_clock;
  const auto backend = make_backend(device, threads_of(config), kernel_choice(config));
  const auto trainer = trainer_of(*backend, with_penalty_soon(config));
  std::array<std::vector<double>, 2> seconds;  // of odd and of even steps
  for (std::size_t step = 0; step < 10; ++step) {
    const auto begin = Clock::now();
    step_on_gray(*trainer, config, batch);
    if (step >= 4) seconds[step % 2].push_back(std::chrono::duration<double>(Clock::now() - begin).count());  // a backend may record earlier ones
  }
  for (std::vector<double>& each : seconds) std::ranges::sort(each);
  const std::size_t held = backend->pool_stats().held_bytes, tensors = training_bytes(config, batch);
  return {batch, average_step(config, seconds[0][1], seconds[1][1]), held - std::min(held, tensors)};
}

bool has_own_memory(const Backend& backend) { return backend.name() == "cuda"; }

// Beyond this a training fails.
std::size_t memory_limit(const Backend& backend) { return has_own_memory(backend) ? backend.available_bytes() : free_memory().with_swap; }

// A line through both at `batch`, at least b.
double extrapolate(std::int64_t batch, std::int64_t batch_a, double a, std::int64_t batch_b, double b) {
  if (batch_a == batch_b) return b;
  const double slope = (b - a) / static_cast<double>(batch_b - batch_a);
  return b + std::max(0.0, slope) * static_cast<double>(batch - batch_b);
}

}  // namespace

std::size_t training_bytes(const TrainConfig& config, std::int64_t batch) {
  return PlannedTraining(config, batch).held_bytes();
}

double step_flop(const TrainConfig& config) {
  PlanBackend backend;
  step_on_gray(*trainer_of(backend, config), config, config.batch);
  return backend.flop();
}

int threads_of(const TrainConfig& config) { return threads_for(config.threads); }

std::int64_t steps_limit(const TrainConfig& config, std::int64_t pictures) {
  std::int64_t limit = config.steps;
  const auto include = [&](double steps) {
    const auto whole = static_cast<std::int64_t>(std::ceil(steps));
    if (steps > 0) limit = limit == 0 ? whole : std::min(limit, whole);
  };
  include(config.kimg * 1000 / config.batch);
  include(config.epochs * static_cast<double>(pictures) / config.batch);
  return limit;
}

std::int64_t largest_batch(const TrainConfig& config, std::int64_t limit, std::size_t bytes) {
  std::int64_t fits = 0, too_large = limit + 1;
  while (too_large - fits > 1) {
    const std::int64_t middle = fits + (too_large - fits) / 2;
    (training_bytes(config, middle) <= bytes ? fits : too_large) = middle;
  }
  return fits;
}

std::string batch_that_fits(const TrainConfig& config, std::size_t bytes) {
  const std::int64_t batch = largest_batch(config, config.batch, bytes / 10 * 9);  // a tenth is left to workspaces
  if (batch == 0) return "; not even --batch 1 fits, so use a smaller --size, --ngf or --ndf";
  return batch < config.batch ? fmt::format("; --batch {} would fit", batch) : "";
}

void require_memory(const TrainConfig& config, const Backend& backend) {
  const PlannedTraining planned(config, config.batch);
  const std::size_t checkpoint = has_own_memory(backend) ? 0 : planned.state_bytes(), needed = planned.held_bytes() + checkpoint;
  const std::size_t available = memory_limit(backend);
  if (needed <= available) return keep_memory_free(checkpoint);
  throw Error(ExitCode::out_of_memory, fmt::format("out of memory: this training needs {} or more, and {} are available{}", bytes_text(needed),
                                                   bytes_text(available), batch_that_fits(config, available - std::min(available, checkpoint))));
}

TrainingPlan plan_training(TrainConfig config) {
  validate(config);
  const auto data = find_method(config.model).open_data(config);
  const std::int64_t batch = config.batch;

  const std::string device = choose_device(config.device).name;
  // What fits is tried, so that a training that does not gets a plan too.
  const std::size_t limit = memory_limit(*make_backend(device, threads_of(config)));
  const std::int64_t most = largest_batch(config, std::min<std::int64_t>(batch, 32), limit / 10 * 9);
  if (most == 0) {
    throw Error(ExitCode::out_of_memory, fmt::format("out of memory: {} are available{}", bytes_text(limit), batch_that_fits(config, limit)));
  }
  const std::int64_t least = batch > 32 ? std::min<std::int64_t>(most, 16) : most;
  const Calibration a = calibrate(device, config, least);
  const Calibration b = most == least ? a : calibrate(device, config, most);
  const auto workspaces = static_cast<std::size_t>(
      extrapolate(batch, a.batch, static_cast<double>(a.workspaces), b.batch, static_cast<double>(b.workspaces)));
  ::malloc_trim(0);
  const std::size_t program = resident_bytes();  // its libraries have been used by now

  PlannedTraining planned(config, batch);
  const std::size_t step_bytes = planned.held_bytes();
  const Grid grid = parse_grid(config.grid);
  const double flop_before = planned.backend().flop();
  const Examples examples = data->examples();
  planned.trainer().samples(examples);
  const auto sampled = examples.sources.empty() ? grid.columns * grid.rows : std::ssize(examples.sources);
  const double flop_to_generate = (planned.backend().flop() - flop_before) / static_cast<double>(sampled);
  const std::size_t checkpoint_bytes = planned.trainer().saved_bytes();

  const auto backend = make_backend(device, threads_of(config), kernel_choice(config));
  const bool own_memory = has_own_memory(*backend);
  std::vector<TrainingPlan::MemoryGroup> memory;
  std::size_t moments = planned.state_bytes();  // what of the state is not weights
  const auto add_weights = [&](const Parameters& parameters) {
    memory.push_back({network_name(parameters.prefix()), bytes_of(parameters)});
    moments -= memory.back().bytes;
  };
  for (const Trainer::Network& network : planned.trainer().networks()) {
    add_weights(network.parameters);
    if (network.averaged != nullptr) add_weights(*network.averaged);
  }
  const std::size_t on_backend = planned.held_bytes() + workspaces, besides = program + checkpoint_bytes;
  const std::size_t peak = on_backend + (own_memory ? 0 : besides);
  const std::size_t available = backend->available_bytes() + (own_memory ? 0 : program);
  const std::size_t fixed = peak - step_bytes;
  memory.insert(memory.end(), {{"Adam's moments", moments},
                               {"activations and gradients", step_bytes - planned.state_bytes()},
                               {"sample grid", planned.held_bytes() - step_bytes},
                               {"workspaces", workspaces},
                               {"program and data", program},
                               {"a checkpoint on its way to the disk", checkpoint_bytes}});
  return {.config = config,
          .data = data->name(),
          .backend = backend->fingerprint(),
          .notes = data->notes(),
          .pictures = data->pictures(),
          .flop_per_picture = planned.flop() / static_cast<double>(batch),
          .flop_to_generate = flop_to_generate,
          .memory = std::move(memory),
          .checkpoint_bytes = checkpoint_bytes,
          .peak_bytes = peak,
          .available_bytes = available,
          .largest_batch = largest_batch(config, data->pictures(), available > fixed ? available - fixed : 0),
          .seconds_per_step = extrapolate(batch, a.batch, a.seconds, b.batch, b.seconds),
          .steps = steps_limit(config, data->pictures())};
}

}  // namespace pastiche
