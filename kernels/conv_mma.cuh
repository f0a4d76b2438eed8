#pragma once
#include "conv.cuh"

namespace pastiche::PASTICHE_TARGET {

// Pixels that a part of the statistics is of, whatever the tile.
constexpr int statistic_rows = 32;

// What becomes of sums while they are in registers.
struct MmaEpilogue {
  const Tensor* bias = nullptr;  // [K]: added, then LeakyReLU
  float slope = 1;
  // Where it is not null, it is made: [2, classes, chunks, K], of each statistic_rows pixels of a class the mean of the results as they
  // are stored, and the sum of squared deviations from it. All classes have the same number of pixels.
  Tensor* parts = nullptr;
};

// Whether tensor cores can compute the first `classes` classes of a gathering: bf16, or f32 where TF32 was asked for, and sm_80 or later,
// one group, channels that are multiples of 8, windows of at most 15 x 15 pixels.
template <class T> bool can_conv_mma(const CudaBackend& backend, const Gather<T>& p, int classes);
// Computes them; `weights` are those at p.w.
template <class T> void conv_mma(CudaBackend& backend, const Gather<T>& p, int classes, const Tensor& weights, const MmaEpilogue& epilogue);

}  // namespace pastiche::PASTICHE_TARGET
