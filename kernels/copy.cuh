#pragma once
// All kernels that only move elements, of whatever type, are one kernel with different strides; it stands in arith.cu.
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>

namespace pastiche::PASTICHE_TARGET {

struct CopyAxis {
  std::int64_t extent;
  std::int64_t to, from;  // bytes from one index to the next; 0 in `from` repeats
};

// to[sum of index * axis.to] = from[sum of index * axis.from] for all indices of up to four axes, outermost first, each a run of
// `bytes` bytes.
void copy_runs(cudaStream_t stream, void* to, const void* from, std::initializer_list<CopyAxis> axes, std::int64_t bytes);

}  // namespace pastiche::PASTICHE_TARGET
