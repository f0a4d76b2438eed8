#pragma once
#include "conv.cuh"

namespace pastiche::PASTICHE_TARGET {

// Whether tensor cores can compute a weight gradient: bf16 and sm_80 or later, one group, channels that are multiples of 8, a window of at
// most 15 x 15 pixels.
bool can_wgrad_mma(const CudaBackend& backend, const WeightGradient<BFloat16>& p);
// dw = the sum over all pixels, which are evenly apart in dy (dy_line is 0). p.dw and p.part it finds itself.
void wgrad_mma(CudaBackend& backend, Tensor& dw, const WeightGradient<BFloat16>& p);

}  // namespace pastiche::PASTICHE_TARGET
