// Methods of training stand in what is fuzzed, as configs and model files name them. No target trains, so neither backends nor metrics have to be built.
#include <cstdlib>

#include "pastiche/backend.h"
#include "pastiche/metrics.h"
#include "train/plan.h"

namespace pastiche {

DeviceChoice choose_device(std::string_view) { std::abort(); }
double step_flop(const TrainConfig&) { std::abort(); }
PictureDistance picture_distance(std::span<const Image>, std::span<const Image>) { std::abort(); }

}  // namespace pastiche
