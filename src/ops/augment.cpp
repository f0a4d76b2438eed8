#include "ops/check.h"

namespace pastiche {
namespace {

Tensor augmented(const Var& x, const DiffAugment& p, const Tensor& state) {
  Tensor y = empty_like(x);
  const Tensor mean = p.contrast ? group_stats(x, {.group = x.shape()[3]}).mean
                                 : Tensor::empty(x.backend(), {0}, parameter_dtype(x.dtype()));
  x.backend().diff_augment(y, x.value(), mean, p, state);
  return y;
}

void check(const char* op, const Var& x) {
  require_rank(op, "x", x.shape(), 4);
  require(x.shape().elements() > 0, op, "x is {}, expected pictures", x.shape().str());
}

}  // namespace

Var diff_augment(const Var& x, const DiffAugment& p, const Tensor& state) {
  require_inputs("diff_augment", {&x});
  check("diff_augment", x);
  return record("diff_augment", augmented(x, p, state), {x},
                [p, state](const Var& dy, Needs) -> Grads { return {diff_augment_grad(dy, p, state)}; });
}

// Saturation and contrast are symmetric and commute, so their adjoint is themselves; the mean of a picture is that of what they
// are applied to.
Var diff_augment_grad(const Var& dy, const DiffAugment& p, const Tensor& state) {
  require_inputs("diff_augment_grad", {&dy});
  check("diff_augment_grad", dy);
  DiffAugment linear = p;
  linear.brightness = false;
  DiffAugment colors = linear;
  colors.translation = colors.cutout = false;
  Tensor dx = dy.value();
  if (p.translation || p.cutout) {
    dx = empty_like(dy);
    dy.backend().diff_augment_unmove(dx, dy.value(), p, state);
  }
  if (p.saturation || p.contrast) dx = augmented(dx, colors, state);
  return record("diff_augment_grad", dx, {dy},
                [linear, state](const Var& ddx, Needs) -> Grads { return {diff_augment(ddx, linear, state)}; });
}

}  // namespace pastiche
