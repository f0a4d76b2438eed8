#include "ops/check.h"

namespace pastiche {

Var add(const Var& a, const Var& b) {
  require_inputs("add", {&a, &b});
  require_same_shape("add", a, b);
  Tensor y = empty_like(a);
  a.backend().add(y, a.value(), b.value());
  return record("add", y, {a, b}, [](const Var& dy, Needs) -> Grads { return {dy, dy}; });
}

Var sub(const Var& a, const Var& b) {
  require_inputs("sub", {&a, &b});
  require_same_shape("sub", a, b);
  Tensor y = empty_like(a);
  a.backend().sub(y, a.value(), b.value());
  return record("sub", y, {a, b}, [](const Var& dy, Needs need) -> Grads { return {dy, need[1] ? -dy : Var{}}; });
}

Var mul(const Var& a, const Var& b) {
  require_inputs("mul", {&a, &b});
  require_same_shape("mul", a, b);
  Tensor y = empty_like(a);
  a.backend().mul(y, a.value(), b.value());
  return record("mul", y, {a, b}, [a, b](const Var& dy, Needs need) -> Grads {
    return {need[0] ? dy * b : Var{}, need[1] ? dy * a : Var{}};
  });
}

Var div(const Var& a, const Var& b) {
  require_inputs("div", {&a, &b});
  require_same_shape("div", a, b);
  Tensor y = empty_like(a);
  a.backend().div(y, a.value(), b.value());
  return record("div", y, {a, b}, [b](const Var& y, const Var& dy, Needs need) -> Grads {
    const Var da = dy / b;
    return {da, need[1] ? -(da * y) : Var{}};
  });
}

Var affine(const Var& x, const Affine& p) {
  require_inputs("affine", {&x});
  Tensor y = empty_like(x);
  x.backend().affine(y, x.value(), p);
  return record("affine", y, {x}, [p](const Var& dy, Needs) -> Grads { return {p.scale * dy}; });
}

Var exp(const Var& x) {
  require_inputs("exp", {&x});
  Tensor y = empty_like(x);
  x.backend().exp(y, x.value());
  return record("exp", y, {x}, [](const Var& y, const Var& dy, Needs) -> Grads { return {dy * y}; });
}

Var log(const Var& x) {
  require_inputs("log", {&x});
  Tensor y = empty_like(x);
  x.backend().log(y, x.value());
  return record("log", y, {x}, [x](const Var& dy, Needs) -> Grads { return {dy / x}; });
}

Var sqrt(const Var& x) {
  require_inputs("sqrt", {&x});
  Tensor y = empty_like(x);
  x.backend().sqrt(y, x.value());
  return record("sqrt", y, {x}, [](const Var& y, const Var& dy, Needs) -> Grads { return {0.5 * (dy / y)}; });
}

Var abs(const Var& x) { return leaky_relu(x, -1); }

Var cast(const Var& x, DType to) {
  require_inputs("cast", {&x});
  if (x.dtype() == to) return x;
  Tensor y = Tensor::empty(x.backend(), x.shape(), to);
  x.backend().cast(y, x.value());
  return record("cast", y, {x}, [from = x.dtype()](const Var& dy, Needs) -> Grads { return {cast(dy, from)}; });
}

Var reshape(const Var& x, const Shape& shape) {
  require_inputs("reshape", {&x});
  return record("reshape", x.value().reshaped(shape), {x},
                [from = x.shape()](const Var& dy, Needs) -> Grads { return {reshape(dy, from)}; });
}

Var flatten(const Var& x) {
  require(x.shape().rank() >= 1 && x.shape()[0] > 0, "flatten", "x is {}, expected [N,...]", x.shape().str());
  return reshape(x, {x.shape()[0], x.shape().elements() / x.shape()[0]});
}

Var slice(const Var& x, int axis, std::int64_t begin, std::int64_t length) {
  require_inputs("slice", {&x});
  axis = checked_axis("slice", axis, x.shape().rank());
  const std::int64_t extent = x.shape()[axis];
  require(begin >= 0 && length > 0 && begin + length <= extent, "slice", "[{}, {}) of axis {} of {}", begin,
          begin + length, axis, x.shape().str());
  Tensor y = empty_as(x, x.shape().with(axis, length));
  x.backend().slice(y, x.value(), {.axis = axis, .begin = begin});
  return record("slice", y, {x}, [axis, begin, extent](const Var& dy, Needs) -> Grads {
    return {unslice(dy, axis, begin, extent)};
  });
}

Var unslice(const Var& x, int axis, std::int64_t begin, std::int64_t extent) {
  require_inputs("unslice", {&x});
  axis = checked_axis("unslice", axis, x.shape().rank());
  const std::int64_t length = x.shape()[axis];
  require(begin >= 0 && begin + length <= extent, "unslice", "{} at {} of axis {} of extent {}", x.shape().str(), begin,
          axis, extent);
  Tensor y = empty_as(x, x.shape().with(axis, extent));
  x.backend().unslice(y, x.value(), {.axis = axis, .begin = begin});
  return record("unslice", y, {x}, [axis, begin, length](const Var& dy, Needs) -> Grads {
    return {slice(dy, axis, begin, length)};
  });
}

Var concat(std::span<const Var> parts, int axis) {
  require(!parts.empty() && parts.size() <= Grads::max_inputs, "concat", "{} parts, expected 1 to {}", parts.size(),
          int{Grads::max_inputs});
  require_inputs("concat", {&parts[0]});
  axis = checked_axis("concat", axis, parts[0].shape().rank());
  std::int64_t extent = 0;
  std::vector<Tensor> tensors;
  std::array<std::int64_t, Grads::max_inputs> lengths{};
  for (const Var& part : parts) {
    require_inputs("concat", {&parts[0], &part});
    require(part.shape().rank() == parts[0].shape().rank() && part.shape().without(axis) == parts[0].shape().without(axis),
            "concat", "{} and {} differ beyond axis {}", parts[0].shape().str(), part.shape().str(), axis);
    lengths[tensors.size()] = part.shape()[axis];
    extent += part.shape()[axis];
    tensors.push_back(part.value());
  }
  Tensor y = empty_as(parts[0], parts[0].shape().with(axis, extent));
  parts[0].backend().concat(y, tensors, axis);
  const int count = static_cast<int>(parts.size());
  return record("concat", y, parts, [axis, lengths, count](const Var& dy, Needs need) -> Grads {
    Grads grads;
    std::int64_t begin = 0;
    for (int i = 0; i < count; ++i) {
      grads.push_back(need[i] ? slice(dy, axis, begin, lengths[i]) : Var{});
      begin += lengths[i];
    }
    return grads;
  });
}

Var crop_center(const Var& x, std::int64_t height, std::int64_t width) {
  require_inputs("crop_center", {&x});
  require_rank("crop_center", "x", x.shape(), 4);
  const std::int64_t h = x.shape()[1], w = x.shape()[2];
  require(height <= h && width <= w, "crop_center", "{} to {} x {}", x.shape().str(), height, width);
  Var y = x;
  if (height != h) y = slice(y, 1, (h - height) / 2, height);
  if (width != w) y = slice(y, 2, (w - width) / 2, width);
  return y;
}

Var sum(const Var& x, int axis) {
  require_inputs("sum", {&x});
  axis = checked_axis("sum", axis, x.shape().rank());
  Tensor y = empty_as(x, x.shape().without(axis));
  x.backend().sum(y, x.value(), axis);
  return record("sum", y, {x}, [axis, extent = x.shape()[axis]](const Var& dy, Needs) -> Grads {
    return {broadcast(dy, axis, extent)};
  });
}

Var broadcast(const Var& x, int axis, std::int64_t extent) {
  require_inputs("broadcast", {&x});
  axis = checked_axis("broadcast", axis, x.shape().rank() + 1);
  Tensor y = empty_as(x, x.shape().inserted(axis, extent));
  x.backend().broadcast(y, x.value(), axis);
  return record("broadcast", y, {x}, [axis](const Var& dy, Needs) -> Grads { return {sum(dy, axis)}; });
}

Var sum(const Var& x) { return sum(reshape(x, {x.shape().elements()}), 0); }
Var mean(const Var& x) { return (1.0 / static_cast<double>(x.shape().elements())) * sum(x); }

Var channel_sum(const Var& x) { return sum(reshape(x, {x.shape().rows(), x.shape().last()}), 0); }

Var channel_broadcast(const Var& x, const Shape& shape) {
  require_inputs("channel_broadcast", {&x});
  require_rank("channel_broadcast", "x", x.shape(), 1);
  require(x.shape()[0] == shape.last(), "channel_broadcast", "x is {}, expected [{}] for {}", x.shape().str(), shape.last(),
          shape.str());
  return reshape(broadcast(x, 0, shape.rows()), shape);
}

}  // namespace pastiche
