#pragma once
// What a training takes of memory and arithmetic, before it takes any. Each config is definite, as Method::open_data() makes it.
#include <string>

#include "pastiche/backend.h"
#include "pastiche/config.h"

namespace pastiche {

int threads_of(const TrainConfig& config);
// At which it ends by --steps, --kimg and --epochs; 0 for no such limit.
std::int64_t steps_limit(const TrainConfig& config, std::int64_t pictures);

// What the tensors of a training step take of a backend's memory, found without taking any. A backend's own workspaces come on top.
std::size_t training_bytes(const TrainConfig& config, std::int64_t batch);
// Operations of a step, as LaunchCost counts them.
double step_flop(const TrainConfig& config);
// The largest batch, at most `limit`, whose training_bytes fit into `bytes`; 0 where not even one picture does.
std::int64_t largest_batch(const TrainConfig& config, std::int64_t limit, std::size_t bytes);
// Error(out_of_memory) where the training surely takes more memory than there is, before it takes any. Else the backend leaves what a
// checkpoint takes on its way to the disk, so that what fits at the first step fits later.
void require_memory(const TrainConfig& config, const Backend& backend);
// The tail of a message: "; --batch 12 would fit" into `bytes`, or "; not even ...", or nothing where config.batch would.
std::string batch_that_fits(const TrainConfig& config, std::size_t bytes);

}  // namespace pastiche
