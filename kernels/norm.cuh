#pragma once
#include "backends/cuda/cuda.h"

namespace pastiche::PASTICHE_TARGET {

// How many pictures there are with statistics of their own: one, where there are those of [C].
inline std::int64_t outer_of(const Tensor& stats) { return stats.shape().rank() == 1 ? 1 : stats.shape()[0]; }

// mean, var = the statistics p asks for, of parts [2, pieces outer, chunks, channels]: mean, and sum of squared deviations from it, of each
// rows_per_chunk of the `rows` rows that a piece has (norm.cu).
void finish_norm_stats(CudaBackend& backend, Tensor& mean, Tensor& var, const Tensor& parts, std::int64_t rows,
                       std::int64_t rows_per_chunk, const NormAct& p);

}  // namespace pastiche::PASTICHE_TARGET
