#pragma once
// Split-K: a reduction that is too long for one block is cut. A block of its own sums each part, and a second kernel adds the parts in order,
// without atomics.
#include "backends/cuda/cuda.h"
#include "indexing.cuh"
#include "tile.cuh"

namespace pastiche::PASTICHE_TARGET {

// y = parts[0] + parts[1] + ..., each as long as y (gemm.cu)
void sum_parts(const CudaBackend& backend, Tensor& y, const float* parts, int count);

// A reduction in `count` parts of `length` each, but for the last. Parts end on whole slices, of `slice` each.
struct Split {
  int count, length;
  Split(std::int64_t reduction, std::int64_t parts, int slice = slice_depth) {
    checked_index(reduction + 3 * slice, "products of a sum");
    length = static_cast<int>(ceil_div(ceil_div(std::max<std::int64_t>(reduction, 1), parts), slice) * slice);
    count = static_cast<int>(ceil_div(std::max<std::int64_t>(reduction, 1), length));
  }
};

}  // namespace pastiche::PASTICHE_TARGET
