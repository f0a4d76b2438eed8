#include <fmt/format.h>

#include "ops/check.h"
#include "pastiche/nn.h"

namespace pastiche {
namespace {

Parameter* add_bias(Parameters& parameters, const std::string& name, std::int64_t channels, Bias bias) {
  if (bias == Bias::no) return nullptr;
  return &parameters.add(name + ".bias", {channels}, Init::constant(0), TorchLayout::same({channels}));
}

TorchLayout linear_layout(const LinearOptions& o) {
  const Shape shape{o.out, o.in};
  if (o.out_picture.rank() == 3) {
    return {.height = o.out_picture[0], .width = o.out_picture[1], .channels = o.out_picture[2], .inner = o.in, .shape = shape};
  }
  if (o.in_picture.rank() == 3) {
    return {.outer = o.out, .height = o.in_picture[0], .width = o.in_picture[1], .channels = o.in_picture[2], .shape = shape};
  }
  return TorchLayout::same(shape);
}

TorchLayout unit_layout(const BatchNormOptions& o) {
  if (o.picture.rank() != 3) return TorchLayout::same({o.channels});
  return {.height = o.picture[0], .width = o.picture[1], .channels = o.picture[2], .shape = {o.channels}};
}

}  // namespace

Linear::Linear(Parameters& parameters, const std::string& name, const LinearOptions& o)
    : weight_(parameters.add(name + ".weight", {o.out, o.in}, o.weight, linear_layout(o))),
      bias_(add_bias(parameters, name, o.out, o.bias)) {}

Var Linear::operator()(const Var& x) const {
  const Var y = linear(x, weight_.var());
  return bias_ == nullptr ? y : bias_act(y, bias_->var(), {});
}

Conv2d::Conv2d(Parameters& parameters, const std::string& name, const ConvOptions& o)
    : conv_(o.conv),
      weight_(parameters.add(name + ".weight", {o.out, o.kernel, o.kernel, o.in / o.conv.groups}, o.weight,
                             TorchLayout::conv({o.out, o.kernel, o.kernel, o.in / o.conv.groups}))),
      bias_(add_bias(parameters, name, o.out, o.bias)) {}

Var Conv2d::operator()(const Var& x, const Activation& act) const {
  if (bias_ != nullptr) return conv2d_bias_act(x, weight_.var(), bias_->var(), conv_, act);
  const Var y = conv2d(x, weight_.var(), conv_);
  switch (act.kind) {
    case Activation::Kind::leaky_relu: return leaky_relu(y, act.slope);
    case Activation::Kind::tanh: return tanh(y);
    case Activation::Kind::sigmoid: return sigmoid(y);
    default: return y;
  }
}

void Conv2d::require_no_bias() const {
  if (bias_ != nullptr) throw Error(ExitCode::failed, fmt::format("{}: a norm follows, which takes it out again", bias_->name));
}

ConvStats Conv2d::with_batch_stats(const Var& x) const {
  require_no_bias();
  return conv2d_batch_stats(x, weight_.var(), conv_);
}

ConvStats Conv2d::with_group_stats(const Var& x, std::int64_t group) const {
  require_no_bias();
  return conv2d_group_stats(x, weight_.var(), conv_, group);
}

BatchNorm::BatchNorm(Parameters& parameters, const std::string& name, const BatchNormOptions& o)
    : options_(o),
      gamma_(parameters.add(name + ".weight", {o.channels}, o.gamma, unit_layout(o))),
      beta_(parameters.add(name + ".bias", {o.channels}, Init::constant(0), unit_layout(o))),
      running_mean_(parameters.add(name + ".running_mean", {o.channels}, Init::constant(0), unit_layout(o),
                                   Parameters::Kind::running)),
      running_var_(parameters.add(name + ".running_var", {o.channels}, Init::constant(1), unit_layout(o),
                                  Parameters::Kind::running)) {}

Var BatchNorm::operator()(const Var& x, double slope, const Pass& pass) const {
  const NormAct p{.eps = options_.eps, .slope = slope};
  if (pass.mode == Mode::eval) return by_running_stats(x, p);
  return normalized(x, batch_stats(x, options_.channels), p);
}

Var BatchNorm::operator()(const Conv2d& conv, const Var& x, double slope, const Pass& pass) const {
  const NormAct p{.eps = options_.eps, .slope = slope, .from = conv.geometry().out};
  if (pass.mode == Mode::eval) return by_running_stats(conv(x), p);
  const auto [y, stats] = conv.with_batch_stats(x);
  return normalized(y, stats, p);
}

Var BatchNorm::by_running_stats(const Var& x, const NormAct& p) const {
  return norm_act_fixed(x, {running_mean_.value, running_var_.value}, gamma_.var(), beta_.var(), p);
}

Var BatchNorm::normalized(const Var& x, const NormStats& stats, const NormAct& p) const {
  const double count = static_cast<double>(x.shape().elements() / options_.channels);
  const bool unbiased = options_.running_var == BatchNormOptions::RunningVar::unbiased && count > 1;
  x.backend().update_running_stats(running_mean_.value, running_var_.value, stats.mean, stats.var,
                                   {.momentum = options_.momentum, .var_scale = unbiased ? count / (count - 1) : 1.0});
  return norm_act(x, stats, gamma_.var(), beta_.var(), p);
}

GroupNorm::GroupNorm(Parameters& parameters, const std::string& name, const GroupNormOptions& o) : options_(o) {
  if (o.groups < 1 || o.channels % o.groups != 0) {
    throw Error(ExitCode::failed, fmt::format("{}: {} channels in {} groups", name, o.channels, o.groups));
  }
  const Shape shape{o.channels};
  if (o.affine) {
    weight_ = &parameters.add(name + ".weight", shape, Init::constant(1), TorchLayout::same(shape));
    bias_ = add_bias(parameters, name, o.channels, Bias::yes);
  } else {
    const DType dtype = parameter_dtype(parameters.dtype());
    ones_ = Tensor::full(parameters.backend(), shape, 1, dtype);
    zeros_ = Tensor::full(parameters.backend(), shape, 0, dtype);
  }
}

Var GroupNorm::operator()(const Conv2d& conv, const Var& x, double slope, const Pass& pass) const {
  NormAct p{.eps = options_.eps, .slope = slope, .from = conv.geometry().out};
  const Var gamma = options_.affine ? weight_->var() : Var(ones_), beta = options_.affine ? bias_->var() : Var(zeros_);
  NormConstants* constants = pass.constants;
  if (constants != nullptr && constants->complete) {
    if (constants->next == constants->stats.size()) constants->next = 0;  // of the next pass
    return norm_act_fixed(conv(x), constants->stats[constants->next++], gamma, beta, p);
  }
  p.group = options_.channels / options_.groups;
  const auto [y, stats] = conv.with_group_stats(x, p.group);
  if (constants != nullptr) {
    const Shape all{options_.channels};
    constants->stats.push_back({stats.mean.reshaped(all), stats.var.reshaped(all)});  // throws unless it was one picture
  }
  return norm_act(y, stats, gamma, beta, p);
}

}  // namespace pastiche
