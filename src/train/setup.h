#pragma once
// What a config says, made definite.
#include <memory>

#include "pastiche/config.h"
#include "pastiche/data.h"
#include "pastiche/models.h"

namespace pastiche {

// The data, whose path, size and channels then stand in the config. Error(usage) where there is none, or less than a batch.
std::unique_ptr<Dataset> open_data(TrainConfig& config);

ModelConfig model_of(const TrainConfig& config);
int threads_of(const TrainConfig& config);
// At which it ends by --steps, --kimg and --epochs; 0 for no such limit.
std::int64_t steps_limit(const TrainConfig& config, std::int64_t pictures);

}  // namespace pastiche
