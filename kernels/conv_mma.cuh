#pragma once
#include "conv.cuh"

namespace pastiche::PASTICHE_TARGET {

// Whether tensor cores can compute the first `classes` classes of a gathering: bf16 and sm_80 or later, one group, channels that are
// multiples of 8, windows of at most 15 x 15 pixels.
bool can_conv_mma(const CudaBackend& backend, const Gather<BFloat16>& p, int classes);
// Computes them; `weights` are those at p.w.
void conv_mma(CudaBackend& backend, const Gather<BFloat16>& p, int classes, const Tensor& weights);

}  // namespace pastiche::PASTICHE_TARGET
