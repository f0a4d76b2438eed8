#include <cmath>

#include "ops/bias_act.h"

namespace pastiche {

Var leaky_relu(const Var& x, double slope) {
  require_inputs("leaky_relu", {&x});
  Tensor y = empty_like(x);
  x.backend().leaky_relu(y, x.value(), slope);
  return record("leaky_relu", y, {x}, [x, slope](const Var& dy, Needs) -> Grads { return {leaky_relu_grad(dy, x, slope)}; });
}

Var leaky_relu_grad(const Var& dy, const Var& x, double slope) {
  require_inputs("leaky_relu_grad", {&dy, &x});
  require_same_shape("leaky_relu_grad", dy, x);
  Tensor dx = empty_like(dy);
  dy.backend().leaky_relu_grad(dx, dy.value(), x.value(), slope);
  // Linear in dy; constant in x but for the kink.
  return record("leaky_relu_grad", dx, {dy, x}, [x, slope](const Var& ddx, Needs need) -> Grads {
    return {need[0] ? leaky_relu_grad(ddx, x, slope) : Var{}, Var{}};
  });
}

Var relu(const Var& x) { return leaky_relu(x, 0); }

void require_bounds(double min, double max) {
  require(min <= max && std::isfinite(max - min), "clamp", "from {} to {}, expected finite bounds, the lower one first", min, max);
}

Var tanh(const Var& x) {
  require_inputs("tanh", {&x});
  Tensor y = empty_like(x);
  x.backend().tanh(y, x.value());
  return record("tanh", y, {x}, [](const Var& y, const Var& dy, Needs) -> Grads { return {tanh_grad(dy, y)}; });
}

Var tanh_grad(const Var& dy, const Var& y) {
  require_inputs("tanh_grad", {&dy, &y});
  require_same_shape("tanh_grad", dy, y);
  Tensor dx = empty_like(dy);
  dy.backend().tanh_grad(dx, dy.value(), y.value());
  return record("tanh_grad", dx, {dy, y}, [dy, y](const Var& ddx, Needs need) -> Grads {
    return {need[0] ? tanh_grad(ddx, y) : Var{}, need[1] ? -2.0 * (ddx * dy * y) : Var{}};
  });
}

Var sigmoid(const Var& x) {
  require_inputs("sigmoid", {&x});
  Tensor y = empty_like(x);
  x.backend().sigmoid(y, x.value());
  return record("sigmoid", y, {x}, [](const Var& y, const Var& dy, Needs) -> Grads { return {sigmoid_grad(dy, y)}; });
}

Var sigmoid_grad(const Var& dy, const Var& y) {
  require_inputs("sigmoid_grad", {&dy, &y});
  require_same_shape("sigmoid_grad", dy, y);
  Tensor dx = empty_like(dy);
  dy.backend().sigmoid_grad(dx, dy.value(), y.value());
  return record("sigmoid_grad", dx, {dy, y}, [dy, y](const Var& ddx, Needs need) -> Grads {
    return {need[0] ? sigmoid_grad(ddx, y) : Var{}, need[1] ? ddx * dy * affine(y, {.scale = -2, .shift = 1}) : Var{}};
  });
}

BiasActGrads bias_act_grad(const Var& dy, const Var& y, const Var& bias, const Activation& p, bool need_bias) {
  if (Tape::current() != nullptr) {
    Var dx = dy;
    if (p.kind == Activation::Kind::leaky_relu) dx = leaky_relu_grad(dy, y, p.slope);
    if (p.kind == Activation::Kind::tanh) dx = tanh_grad(dy, y);
    if (p.kind == Activation::Kind::sigmoid) dx = sigmoid_grad(dy, y);
    return {dx, need_bias ? channel_sum(cast(dx, bias.dtype())) : Var{}};
  }
  Tensor dx = empty_like(dy), dbias = empty_like(bias);
  dy.backend().bias_act_grad(dx, dbias, dy.value(), y.value(), p);
  return {dx, dbias};
}

Var bias_act(const Var& x, const Var& bias, const Activation& p) {
  require_inputs("bias_act", {&x, &bias});
  require_bias_act("bias_act", x.shape(), bias, p);
  Tensor y = empty_like(x);
  x.backend().bias_act(y, x.value(), bias.value(), p);
  return record("bias_act", y, {x, bias}, [bias, p](const Var& y, const Var& dy, Needs need) -> Grads {
    const auto [dx, dbias] = bias_act_grad(dy, y, bias, p, need[1]);
    return {dx, dbias};
  });
}

}  // namespace pastiche
