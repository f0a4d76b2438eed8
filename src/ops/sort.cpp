#include <limits>

#include "ops/check.h"

namespace pastiche {
namespace {

void require_order(std::string_view op, const Var& x, const Tensor& order) {
  require(order.dtype() == DType::i32 && order.shape() == x.shape(), op, "order is {} {}, expected i32 {}", dtype_name(order.dtype()),
          order.shape().str(), x.shape().str());
}

}  // namespace

Sorted sort(const Var& x, int axis) {
  require_inputs("sort", {&x});
  axis = checked_axis("sort", axis, x.shape().rank());
  require(x.shape()[axis] <= std::numeric_limits<std::int32_t>::max(), "sort", "x is {}, expected an axis that i32 can count", x.shape().str());
  Tensor y = empty_like(x), order = Tensor::empty(x.backend(), x.shape(), DType::i32);
  x.backend().sort(y, order, x.value(), axis);
  return {record("sort", y, {x}, [order, axis](const Var& dy, Needs) -> Grads { return {scatter(dy, order, axis)}; }), order};
}

Var gather(const Var& x, const Tensor& order, int axis) {
  require_inputs("gather", {&x});
  axis = checked_axis("gather", axis, x.shape().rank());
  require_order("gather", x, order);
  Tensor y = empty_like(x);
  x.backend().gather(y, x.value(), order, axis);
  return record("gather", y, {x}, [order, axis](const Var& dy, Needs) -> Grads { return {scatter(dy, order, axis)}; });
}

Var scatter(const Var& x, const Tensor& order, int axis) {
  require_inputs("scatter", {&x});
  axis = checked_axis("scatter", axis, x.shape().rank());
  require_order("scatter", x, order);
  Tensor y = empty_like(x);
  x.backend().scatter(y, x.value(), order, axis);
  return record("scatter", y, {x}, [order, axis](const Var& dy, Needs) -> Grads { return {gather(dy, order, axis)}; });
}

}  // namespace pastiche
