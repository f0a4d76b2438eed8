#include "ops/check.h"

namespace pastiche {
namespace {

// The shape of the pixels drawn from x.
Shape samples_shape(std::string_view op, const Shape& x, const SamplePixels& p) {
  require_rank(op, "x", x, 4);
  const std::int64_t pixels = x[1] * x[2];
  require(p.count >= 1 && p.count <= pixels, op, "{} pixels of {}, expected 1 to {}", p.count, x.str(), pixels);
  return {x[0], p.count, x[3]};
}

}  // namespace

Var dropout(const Var& x, const Dropout& p, const Tensor& state) {
  require_inputs("dropout", {&x});
  require(p.p >= 0 && p.p < 1, "dropout", "probability {}, expected 0 or more and less than 1", p.p);
  if (p.p == 0) return x;
  Tensor y = empty_like(x);
  x.backend().dropout(y, x.value(), p, state);
  // The mask is drawn again: it is a function of the key, the step and the index.
  return record("dropout", y, {x}, [p, state](const Var& dy, Needs) -> Grads { return {dropout(dy, p, state)}; });
}

// Here too the draw is made again.
Var sample_pixels(const Var& x, const SamplePixels& p, const Tensor& state) {
  require_inputs("sample_pixels", {&x});
  const Shape shape = x.shape();
  Tensor y = empty_as(x, samples_shape("sample_pixels", shape, p));
  x.backend().sample_pixels(y, x.value(), p, state);
  return record("sample_pixels", y, {x},
                [p, state, shape](const Var& dy, Needs) -> Grads { return {sample_pixels_grad(dy, p, state, shape)}; });
}

Var sample_pixels_grad(const Var& dy, const SamplePixels& p, const Tensor& state, const Shape& x) {
  require_inputs("sample_pixels_grad", {&dy});
  const Shape expected = samples_shape("sample_pixels_grad", x, p);
  require(dy.shape() == expected, "sample_pixels_grad", "dy is {}, expected {}", dy.shape().str(), expected.str());
  Tensor dx = empty_as(dy, x);
  dy.backend().sample_pixels_grad(dx, dy.value(), p, state);
  return record("sample_pixels_grad", dx, {dy},
                [p, state](const Var& ddx, Needs) -> Grads { return {sample_pixels(ddx, p, state)}; });
}

}  // namespace pastiche
