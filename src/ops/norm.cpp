#include "ops/check.h"

namespace pastiche {
namespace {

Shape spatial_shape(const Shape& x, Phases from) {
  switch (from) {
    case Phases::inner: return {x[0], 2 * x[1], 2 * x[2], x[3] / 4};
    case Phases::outer: return {x[0] / 4, 2 * x[1], 2 * x[2], x[3]};
    default: return x;
  }
}

void check(const Var& x, const BatchStats& stats, const Var& gamma, const Var& beta, const NormAct& p) {
  const std::int64_t channels = spatial_shape(x.shape(), p.from).last();
  for (const Shape& shape : {stats.mean.shape(), stats.var.shape(), gamma.shape(), beta.shape()}) {
    require(shape == Shape{channels}, "norm_act", "x is {}: expected statistics, gamma and beta [{}], got {}", x.shape().str(),
            channels, shape.str());
  }
  require(p.slope >= 0, "norm_act", "slope {}, expected at least 0", p.slope);
}

// The gradient by ops that can be differentiated again: the formula above norm_act_grad in kernels.def, with the statistics
// as functions of x.
Grads composed_grad(const Var& x_form, const Var& gamma, const Var& beta, const Var& dy, const NormAct& p) {
  const Var x = cast(p.from == Phases::none ? x_form : join_phases(x_form, p.from), parameter_dtype(x_form.dtype()));
  const Shape& shape = x.shape();
  const double per_channel = 1.0 / static_cast<double>(shape.rows());
  const auto spread = [&](const Var& v) { return channel_broadcast(v, shape); };  // [C] -> [...,C]
  const auto average = [&](const Var& v) { return per_channel * channel_sum(v); };
  const Var centered = x - spread(average(x));
  const Var deviation = sqrt(affine(average(centered * centered), {.shift = p.eps}));  // [C]
  const Var h = centered / spread(deviation);
  const Var pre = h * spread(gamma) + spread(beta);
  const Var g = p.slope == 1 ? cast(dy, x.dtype()) : leaky_relu_grad(cast(dy, x.dtype()), pre, p.slope);
  const Var dgamma = channel_sum(g * h), dbeta = channel_sum(g);
  Var dx = (g - spread(per_channel * dbeta) - h * spread(per_channel * dgamma)) * spread(gamma / deviation);
  dx = cast(dx, x_form.dtype());
  return {p.from == Phases::none ? dx : split_phases(dx, p.from), dgamma, dbeta};
}

}  // namespace

BatchStats batch_stats(const Var& x, std::int64_t channels) {
  require(channels > 0 && (x.shape().last() == channels || x.shape().last() == 4 * channels), "batch_stats",
          "x is {}, expected {} channels, or 4 times as many for phases", x.shape().str(), channels);
  const DType dtype = parameter_dtype(x.dtype());
  BatchStats stats{Tensor::empty(x.backend(), {channels}, dtype), Tensor::empty(x.backend(), {channels}, dtype)};
  x.backend().norm_stats(stats.mean, stats.var, x.value());
  return stats;
}

Var norm_act(const Var& x, const BatchStats& stats, const Var& gamma, const Var& beta, const NormAct& p) {
  check(x, stats, gamma, beta, p);
  Tensor y = empty_as(x, spatial_shape(x.shape(), p.from));
  x.backend().norm_act(y, x.value(), stats.mean, stats.var, gamma.value(), beta.value(), p);
  return record("norm_act", y, {x, gamma, beta},
                [x, mean = Var(stats.mean), var = Var(stats.var), gamma, beta, p](const Var& dy, Needs) -> Grads {
                  if (Tape::current() != nullptr) return composed_grad(x, gamma, beta, dy, p);
                  Tensor dx = empty_like(x);
                  Tensor dgamma = empty_like(gamma), dbeta = empty_like(beta);
                  x.backend().norm_act_grad(dx, dgamma, dbeta, dy.value(), x.value(), mean.value(), var.value(),
                                            gamma.value(), beta.value(), p);
                  return {dx, dgamma, dbeta};
                });
}

Var norm_act_fixed(const Var& x, const BatchStats& stats, const Var& gamma, const Var& beta, const NormAct& p) {
  check(x, stats, gamma, beta, p);
  Tensor y = empty_as(x, spatial_shape(x.shape(), p.from));
  x.backend().norm_act(y, x.value(), stats.mean, stats.var, gamma.value(), beta.value(), p);
  return record("norm_act_fixed", y, {x, gamma, beta},
                [x, mean = Var(stats.mean), var = Var(stats.var), gamma, beta, p](const Var& dy, Needs) -> Grads {
                  const Var joined = cast(p.from == Phases::none ? x : join_phases(x, p.from), gamma.dtype());
                  const auto spread = [&](const Var& v) { return channel_broadcast(v, joined.shape()); };
                  const Var deviation = sqrt(affine(var, {.shift = p.eps}));
                  const Var h = (joined - spread(mean)) / spread(deviation);
                  const Var g = leaky_relu_grad(cast(dy, gamma.dtype()), h * spread(gamma) + spread(beta), p.slope);
                  const Var dx = cast(g * spread(gamma / deviation), x.dtype());
                  return {p.from == Phases::none ? dx : split_phases(dx, p.from), channel_sum(g * h), channel_sum(g)};
                });
}

}  // namespace pastiche
