#pragma once
#include "backends/cuda/cuda.h"

namespace pastiche::PASTICHE_TARGET {

// y = op(a) op(b) on tensor cores: a and b in bf16, the last axes of all three multiples of 8 (gemm_mma.cu). gemm.cu has checked extents.
void gemm_mma(CudaBackend& backend, Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p);

}  // namespace pastiche::PASTICHE_TARGET
