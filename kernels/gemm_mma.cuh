#pragma once
#include "backends/cuda/cuda.h"

namespace pastiche::PASTICHE_TARGET {

// Whether tensor cores can compute y = op(a) op(b), a and b being of one type: sm_80 or later, the last axes of all three multiples of 8,
// a and b in bf16, or in f32 where TF32 was asked for.
bool can_gemm_mma(const CudaBackend& backend, const Tensor& y, const Tensor& a, const Tensor& b);
// Computes it. gemm.cu has checked extents.
void gemm_mma(CudaBackend& backend, Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p);

}  // namespace pastiche::PASTICHE_TARGET
