#pragma once
#include "pastiche/tensor.h"

namespace pastiche {

// A shape as [outer, extent, inner] around one axis.
struct AxisView {
  AxisView(const Shape& shape, int axis) : extent(shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
  std::int64_t outer = 1, extent, inner = 1;
};

}  // namespace pastiche
