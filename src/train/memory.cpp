#include "backends/plan.h"
#include "pastiche/train.h"

namespace pastiche {

std::size_t training_bytes(TrainConfig config, const ModelConfig& model, std::int64_t batch, DType dtype) {
  PlanBackend backend;
  config.batch = static_cast<int>(batch);
  GanTrainer trainer(backend, config, model, dtype);
  const std::vector<std::uint8_t> pictures(static_cast<std::size_t>(batch * model.height * model.width * model.channels));
  for (int step = 0; step < 2; ++step) trainer.step(pictures);
  return backend.pool_stats().held_bytes;
}

std::int64_t largest_batch(const TrainConfig& config, const ModelConfig& model, std::int64_t limit, std::size_t bytes, DType dtype) {
  std::int64_t fits = 0, too_large = limit + 1;
  while (too_large - fits > 1) {
    const std::int64_t middle = fits + (too_large - fits) / 2;
    (training_bytes(config, model, middle, dtype) <= bytes ? fits : too_large) = middle;
  }
  return fits;
}

}  // namespace pastiche
