#include "ops/bias_act.h"

namespace pastiche {
namespace {

// The input of a convolution of geometry p has some shape x; is this dy one of its outputs?
void require_output(std::string_view op, const Shape& dy, const Shape& x, const Shape& w, const Conv& p) {
  const Shape expected = conv2d_shape(x, w, p);
  require(dy == expected, op, "dy is {}, expected {} for x {} and w {}", dy.str(), expected.str(), x.str(), w.str());
}

Var recorded(Tensor y, const Var& x, const Var& w, const Conv& p) {
  return record("conv2d", std::move(y), {x, w}, [x, w, p](const Var& dy, Needs need) -> Grads {
    return {need[0] ? conv2d_dgrad(dy, w, p, x.shape()) : Var{}, need[1] ? conv2d_wgrad(x, dy, p, w.shape()) : Var{}};
  });
}

ConvStats with_stats(const Var& x, const Var& w, const Conv& p, const Shape& shape, const Shape& stats, std::int64_t group) {
  const DType dtype = parameter_dtype(x.dtype());
  Tensor y = empty_as(x, shape), mean = Tensor::empty(x.backend(), stats, dtype), var = Tensor::empty(x.backend(), stats, dtype);
  x.backend().conv2d_norm_stats(y, mean, var, x.value(), w.value(), p, {.from = p.out, .group = group});
  return {recorded(y, x, w, p), {mean, var}};
}

}  // namespace

Shape conv2d_shape(const Shape& x, const Shape& w, const Conv& p) {
  require_rank("conv2d", "x", x, 4);
  require_rank("conv2d", "w", w, 4);
  require(p.stride >= 1 && p.pad >= 0 && p.dilation >= 1 && p.groups >= 1, "conv2d",
          "stride {}, pad {}, dilation {}, groups {}", p.stride, p.pad, p.dilation, p.groups);
  const std::int64_t n = x[0], k = w[0], r = w[1], s = w[2];
  require(w[3] * p.groups == x[3] && k % p.groups == 0, "conv2d", "x {}, w {}, groups {}: expected w [K,R,S,C / groups]",
          x.str(), w.str(), p.groups);
  if (p.upsample == 1) {
    require(p.out == Phases::none, "conv2d", "phases are the result of an upsampling convolution, this one has upsample 1");
    const std::int64_t height = x[1] + 2 * p.pad - p.dilation * (r - 1) - 1;
    const std::int64_t width = x[2] + 2 * p.pad - p.dilation * (s - 1) - 1;
    require(height >= 0 && width >= 0, "conv2d", "x {} padded by {} is smaller than w {} dilated by {}", x.str(), p.pad,
            w.str(), p.dilation);
    return {n, height / p.stride + 1, width / p.stride + 1, k};  // [N,P,Q,K]
  }
  require(p.upsample == 2 && p.stride == 1 && p.dilation == 1 && p.groups == 1 && r == s && r % 2 == 1 && p.pad == (r - 1) / 2,
          "conv2d", "upsample {} with stride {}, dilation {}, groups {}, pad {}, w {}: expected upsample 2, then 1, 1, 1, an odd "
          "square kernel and pad (R - 1) / 2", p.upsample, p.stride, p.dilation, p.groups, p.pad, w.str());
  switch (p.out) {
    case Phases::inner: return {n, x[1], x[2], 4 * k};
    case Phases::outer: return {4 * n, x[1], x[2], k};
    default: return {n, 2 * x[1], 2 * x[2], k};
  }
}

Var conv2d(const Var& x, const Var& w, const Conv& p) {
  require_inputs("conv2d", {&x, &w});
  Tensor y = empty_as(x, conv2d_shape(x.shape(), w.shape(), p));
  x.backend().conv2d(y, x.value(), w.value(), p);
  return recorded(y, x, w, p);
}

ConvStats conv2d_batch_stats(const Var& x, const Var& w, const Conv& p) {
  require_inputs("conv2d_batch_stats", {&x, &w});
  return with_stats(x, w, p, conv2d_shape(x.shape(), w.shape(), p), {w.shape()[0]}, 1);
}

ConvStats conv2d_group_stats(const Var& x, const Var& w, const Conv& p, std::int64_t group) {
  require_inputs("conv2d_group_stats", {&x, &w});
  const Shape y = conv2d_shape(x.shape(), w.shape(), p);
  const std::int64_t channels = w.shape()[0];
  require(y.elements() > 0 && group > 0 && channels % group == 0, "conv2d_group_stats",
          "y is {}, expected its {} channels in groups of {}", y.str(), channels, group);
  return with_stats(x, w, p, y, {x.shape()[0], channels}, group);
}

Var conv2d_bias_act(const Var& x, const Var& w, const Var& bias, const Conv& p, const Activation& a) {
  require_inputs("conv2d_bias_act", {&x, &w, &bias});
  const Shape shape = conv2d_shape(x.shape(), w.shape(), p);
  require(p.out != Phases::inner, "conv2d_bias_act", "phases inner, expected none or outer");
  require_bias_act("conv2d_bias_act", shape, bias, a);
  Tensor y = empty_as(x, shape);
  x.backend().conv2d_bias_act(y, x.value(), w.value(), bias.value(), p, a);
  return record("conv2d_bias_act", y, {x, w, bias}, [x, w, bias, p, a](const Var& y, const Var& dy, Needs need) -> Grads {
    const auto [dsum, dbias] = bias_act_grad(dy, y, bias, a, need[2]);
    return {need[0] ? conv2d_dgrad(dsum, w, p, x.shape()) : Var{}, need[1] ? conv2d_wgrad(x, dsum, p, w.shape()) : Var{}, dbias};
  });
}

Var conv2d_dgrad(const Var& dy, const Var& w, const Conv& p, const Shape& x) {
  require_inputs("conv2d_dgrad", {&dy, &w});
  require_output("conv2d_dgrad", dy.shape(), x, w.shape(), p);
  Tensor dx = empty_as(dy, x);
  dy.backend().conv2d_dgrad(dx, dy.value(), w.value(), p);
  return record("conv2d_dgrad", dx, {dy, w}, [dy, w, p](const Var& ddx, Needs need) -> Grads {
    return {need[0] ? conv2d(ddx, w, p) : Var{}, need[1] ? conv2d_wgrad(ddx, dy, p, w.shape()) : Var{}};
  });
}

Var conv2d_wgrad(const Var& x, const Var& dy, const Conv& p, const Shape& w) {
  require_inputs("conv2d_wgrad", {&x, &dy});
  require_output("conv2d_wgrad", dy.shape(), x.shape(), w, p);
  Tensor dw = Tensor::empty(x.backend(), w, parameter_dtype(x.dtype()));
  x.backend().conv2d_wgrad(dw, x.value(), dy.value(), p);
  return record("conv2d_wgrad", dw, {x, dy}, [x, dy, p](const Var& ddw, Needs need) -> Grads {
    return {need[0] ? conv2d_dgrad(dy, ddw, p, x.shape()) : Var{}, need[1] ? conv2d(x, ddw, p) : Var{}};
  });
}

Var conv_transpose2d(const Var& x, const Var& w, const Conv& p, std::int64_t output_padding) {
  require_inputs("conv_transpose2d", {&x, &w});
  require_rank("conv_transpose2d", "x", x.shape(), 4);
  require_rank("conv_transpose2d", "w", w.shape(), 4);
  require(output_padding >= 0 && output_padding < std::max(p.stride, p.dilation), "conv_transpose2d",
          "output padding {}, expected 0 to {}", output_padding, std::max(p.stride, p.dilation) - 1);
  const auto extent = [&](std::int64_t in, std::int64_t taps) {
    return (in - 1) * p.stride - 2 * p.pad + p.dilation * (taps - 1) + output_padding + 1;
  };
  return conv2d_dgrad(x, w, p,
                      {x.shape()[0], extent(x.shape()[1], w.shape()[1]), extent(x.shape()[2], w.shape()[2]),
                       w.shape()[3] * p.groups});
}

}  // namespace pastiche
