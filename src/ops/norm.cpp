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

void check(const Var& x, const NormStats& stats, const Var& gamma, const Var& beta, const NormAct& p) {
  const Shape map = spatial_shape(x.shape(), p.from), channels{map.last()};
  const bool each_picture = stats.mean.shape().rank() == 2;
  const Shape expected = each_picture ? Shape{map[0], map.last()} : channels;
  require(stats.mean.shape() == expected && stats.var.shape() == expected, "norm_act",
          "x is {}: expected statistics {}, got {} and {}", x.shape().str(), expected.str(), stats.mean.shape().str(),
          stats.var.shape().str());
  for (const Shape& shape : {gamma.shape(), beta.shape()}) {
    require(shape == channels, "norm_act", "x is {}: expected gamma and beta {}, got {}", x.shape().str(), channels.str(),
            shape.str());
  }
  require(p.group > 0 && map.last() % p.group == 0 && (p.group == 1 || each_picture), "norm_act",
          "groups of {} channels, x is {}, statistics are {}", p.group, x.shape().str(), expected.str());
  require(p.slope >= 0, "norm_act", "slope {}, expected at least 0", p.slope);
}

// What a channel has, [C] or [N,C], at each of its pixels.
Var spread(const Var& v, const Shape& map) {
  if (v.shape().rank() == 1) return channel_broadcast(v, map);
  return reshape(broadcast(v, 1, map.rows() / map[0]), map);
}

// The average of a map over what a statistic of this shape is of.
Var average(const Var& map, const Shape& stats, std::int64_t group) {
  if (stats.rank() == 1) return (1.0 / static_cast<double>(map.shape().rows())) * channel_sum(map);
  const std::int64_t pixels = map.shape().elements() / stats.elements();
  Var total = sum(reshape(map, {stats[0], pixels, stats[1]}), 1);
  if (group > 1) total = reshape(broadcast(sum(reshape(total, {stats.elements() / group, group}), 1), 1, group), stats);
  return (1.0 / static_cast<double>(pixels * group)) * total;
}

// The gradient by ops that can be differentiated again: the formula above norm_act_grad in kernels.def, with the statistics
// as functions of x.
Grads composed_grad(const Var& x_form, const Shape& stats, const Var& gamma, const Var& beta, const Var& dy, const NormAct& p) {
  const Var x = cast(p.from == Phases::none ? x_form : join_phases(x_form, p.from), parameter_dtype(x_form.dtype()));
  const Shape& map = x.shape();
  const Var centered = x - spread(average(x, stats, p.group), map);
  const Var deviation = spread(sqrt(affine(average(centered * centered, stats, p.group), {.shift = p.eps})), map);
  const Var h = centered / deviation;
  const Var pre = h * spread(gamma, map) + spread(beta, map);
  const Var g = p.slope == 1 ? cast(dy, x.dtype()) : leaky_relu_grad(cast(dy, x.dtype()), pre, p.slope);
  const Var scaled = g * spread(gamma, map);
  const Var of_mean = spread(average(scaled, stats, p.group), map);
  const Var of_var = spread(average(scaled * h, stats, p.group), map);
  const Var dx = cast((scaled - of_mean - h * of_var) / deviation, x_form.dtype());
  return {p.from == Phases::none ? dx : split_phases(dx, p.from), channel_sum(g * h), channel_sum(g)};
}

}  // namespace

NormStats batch_stats(const Var& x, std::int64_t channels) {
  require_inputs("batch_stats", {&x});
  require(channels > 0 && (x.shape().last() == channels || x.shape().last() == 4 * channels), "batch_stats",
          "x is {}, expected {} channels, or 4 times as many for phases", x.shape().str(), channels);
  const DType dtype = parameter_dtype(x.dtype());
  NormStats stats{Tensor::empty(x.backend(), {channels}, dtype), Tensor::empty(x.backend(), {channels}, dtype)};
  x.backend().norm_stats(stats.mean, stats.var, x.value(), {});
  return stats;
}

NormStats group_stats(const Var& x, const NormAct& p) {
  require_inputs("group_stats", {&x});
  require(x.shape().rank() == 4 || (x.shape().rank() >= 2 && p.from == Phases::none), "group_stats", "x is {}, expected {}",
          x.shape().str(), p.from == Phases::none ? "[N,...,C]" : "rank 4 for phases");
  const Shape map = spatial_shape(x.shape(), p.from);
  require(map.elements() > 0 && p.group > 0 && map.last() % p.group == 0, "group_stats",
          "x is {}, expected channels in groups of {}", x.shape().str(), p.group);
  const Shape shape{map[0], map.last()};
  const DType dtype = parameter_dtype(x.dtype());
  NormStats stats{Tensor::empty(x.backend(), shape, dtype), Tensor::empty(x.backend(), shape, dtype)};
  x.backend().norm_stats(stats.mean, stats.var, x.value(), p);
  return stats;
}

Var norm_act(const Var& x, const NormStats& stats, const Var& gamma, const Var& beta, const NormAct& p) {
  require_inputs("norm_act", {&x, &gamma, &beta});
  check(x, stats, gamma, beta, p);
  Tensor y = empty_as(x, spatial_shape(x.shape(), p.from));
  x.backend().norm_act(y, x.value(), stats.mean, stats.var, gamma.value(), beta.value(), p);
  return record("norm_act", y, {x, gamma, beta},
                [x, mean = Var(stats.mean), var = Var(stats.var), gamma, beta, p](const Var& dy, Needs) -> Grads {
                  if (Tape::current() != nullptr) return composed_grad(x, mean.shape(), gamma, beta, dy, p);
                  Tensor dx = empty_like(x);
                  Tensor dgamma = empty_like(gamma), dbeta = empty_like(beta);
                  x.backend().norm_act_grad(dx, dgamma, dbeta, dy.value(), x.value(), mean.value(), var.value(),
                                            gamma.value(), beta.value(), p);
                  return {dx, dgamma, dbeta};
                });
}

Var norm_act_fixed(const Var& x, const NormStats& stats, const Var& gamma, const Var& beta, const NormAct& p) {
  require_inputs("norm_act_fixed", {&x, &gamma, &beta});
  check(x, stats, gamma, beta, p);
  Tensor y = empty_as(x, spatial_shape(x.shape(), p.from));
  x.backend().norm_act(y, x.value(), stats.mean, stats.var, gamma.value(), beta.value(), p);
  return record("norm_act_fixed", y, {x, gamma, beta},
                [x, mean = Var(stats.mean), var = Var(stats.var), gamma, beta, p](const Var& dy, Needs) -> Grads {
                  const Var joined = cast(p.from == Phases::none ? x : join_phases(x, p.from), gamma.dtype());
                  const Shape& map = joined.shape();
                  const Var deviation = spread(sqrt(affine(var, {.shift = p.eps})), map);
                  const Var h = (joined - spread(mean, map)) / deviation, scale = spread(gamma, map);
                  const Var g = leaky_relu_grad(cast(dy, gamma.dtype()), h * scale + spread(beta, map), p.slope);
                  const Var dx = cast(g * scale / deviation, x.dtype());
                  return {p.from == Phases::none ? dx : split_phases(dx, p.from), channel_sum(g * h), channel_sum(g)};
                });
}

}  // namespace pastiche
