#pragma once
// Rungs 0 to 3 of the ladder (pastiche/rungs.h), in f32. Rung 4, double buffer, is what conv.cu and gemm.cu have; rung 5, tensor core, is
// conv_mma.cu and gemm_mma.cu.
#include "conv.cuh"
#include "pastiche/rungs.h"

namespace pastiche::PASTICHE_TARGET {

// The first `classes` classes of a gathering, each of most_pixels pixels at most, by the highest rung up to `rung` that supports its
// channels (ladder/conv.cu).
void conv_rung(const CudaBackend& backend, int rung, const Gather<float>& p, int classes, int most_pixels);
// y [M,N] = a b^T for a [M,K], b [N,K], likewise (ladder/gemm.cu). gemm.cu has checked extents.
void gemm_rung(const CudaBackend& backend, int rung, Tensor& y, const Tensor& a, const Tensor& b);

}  // namespace pastiche::PASTICHE_TARGET
