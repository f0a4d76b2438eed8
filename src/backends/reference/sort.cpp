#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

namespace {

// An integer that is in order where totalOrder of IEEE 754 is.
std::int64_t total_order(double v) {
  const auto bits = std::bit_cast<std::int64_t>(v);
  return bits < 0 ? bits ^ std::numeric_limits<std::int64_t>::max() : bits;
}

// f(where the first element of a line along the axis is), for each line; elements of one are `inner` apart.
template <class F> void for_each_line(const AxisView& view, F f) {
  for (std::int64_t o = 0; o < view.outer; ++o) {
    for (std::int64_t i = 0; i < view.inner; ++i) f(o * view.extent * view.inner + i);
  }
}

// f(index of element i in the order, index of the element that order says), for all.
template <class F> void for_each_ordered(const Tensor& order, int axis, F f) {
  const AxisView view(order.shape(), axis);
  const Array from = load(order);
  for_each_line(view, [&](std::int64_t first) {
    for (std::int64_t i = 0; i < view.extent; ++i) {
      const std::int64_t at = first + i * view.inner;
      f(at, first + static_cast<std::int64_t>(from[at]) * view.inner);
    }
  });
}

}  // namespace

void ReferenceBackend::sort(Tensor& y, Tensor& order, const Tensor& x, int axis) {
  const AxisView view(x.shape(), axis);
  const Array in = load(x);
  Array values(x.shape()), indices(x.shape());
  std::vector<std::int64_t> line(static_cast<std::size_t>(view.extent));
  for_each_line(view, [&](std::int64_t first) {
    std::iota(line.begin(), line.end(), 0);
    std::ranges::stable_sort(line, {}, [&](std::int64_t i) { return total_order(in[first + i * view.inner]); });
    for (std::int64_t i = 0; i < view.extent; ++i) {
      const std::int64_t from = line[static_cast<std::size_t>(i)], at = first + i * view.inner;
      values[at] = in[first + from * view.inner];
      indices[at] = static_cast<double>(from);
    }
  });
  store(y, values);
  store(order, indices);
}

void ReferenceBackend::gather(Tensor& y, const Tensor& x, const Tensor& order, int axis) {
  const Array in = load(x);
  Array out(y.shape());
  for_each_ordered(order, axis, [&](std::int64_t at, std::int64_t ordered) { out[at] = in[ordered]; });
  store(y, out);
}

void ReferenceBackend::scatter(Tensor& y, const Tensor& x, const Tensor& order, int axis) {
  const Array in = load(x);
  Array out(y.shape());
  for_each_ordered(order, axis, [&](std::int64_t at, std::int64_t ordered) { out[ordered] = in[at]; });
  store(y, out);
}

}  // namespace pastiche
