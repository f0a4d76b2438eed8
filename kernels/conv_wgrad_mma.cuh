#pragma once
#include "conv.cuh"

namespace pastiche::PASTICHE_TARGET {

// Whether tensor cores can compute a weight gradient: bf16, or f32 where TF32 was asked for, and sm_80 or later, one group, channels that
// are multiples of 8, a window of at most 15 x 15 pixels.
template <class T> bool can_wgrad_mma(const CudaBackend& backend, const WeightGradient<T>& p);
// dw = the sum over all pixels, which are evenly apart in dy (dy_line is 0). p.dw and p.part it finds itself.
template <class T> void wgrad_mma(CudaBackend& backend, Tensor& dw, const WeightGradient<T>& p);

}  // namespace pastiche::PASTICHE_TARGET
