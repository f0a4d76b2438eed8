#include "pastiche/optim.h"

#include "ops/check.h"

namespace pastiche {
namespace {

// Of networks that are averaged or copied.
void require_alike(const Parameters& a, const Parameters& b) {
  require(a.all().size() == b.all().size(), "parameters", "{} and {} of two networks, expected as many", a.all().size(), b.all().size());
  for (std::size_t i = 0; i < a.all().size(); ++i) {
    const Tensor &x = a.all()[i].value, &y = b.all()[i].value;
    require(x.shape() == y.shape(), "parameters", "{} is {}, and {} is {}", x.name(), x.shape().str(), y.name(), y.shape().str());
  }
}

void add_moments(Parameters& moments, const Parameters& parameters) {
  for (const Parameter& p : parameters.all()) {
    if (p.trainable) moments.add(p.name, p.value.shape(), Init::constant(0), p.layout);
  }
}

}  // namespace

AdamOptimizer::AdamOptimizer(Parameters& parameters, const Adam& settings, Parameters* averaged)
    : parameters_(parameters),
      settings_(settings),
      averaged_(averaged),
      m_(parameters.backend(), parameters.prefix() + "adam_m.", 0, parameters.dtype()),
      v_(parameters.backend(), parameters.prefix() + "adam_v.", 0, parameters.dtype()) {
  if (averaged != nullptr) require_alike(*averaged, parameters);
  add_moments(m_, parameters);
  add_moments(v_, parameters);
}

void AdamOptimizer::step(std::span<const Var> gradients, double lr, double ema_decay) {
  if (!own_state_.defined()) own_state_ = make_step_state(parameters_.backend());
  StepState state;
  state.optim[settings_.slot] = {.lr = lr, .t = ++steps_};
  state.ema_step = 1 - ema_decay;
  write_step_state(own_state_, state);
  step(gradients, own_state_);
}

void AdamOptimizer::step(std::span<const Var> gradients, const Tensor& state) {
  std::vector<Tensor> value = parameters_.values(), m = m_.values(), v = v_.values(), ema, grad;
  if (averaged_ != nullptr) ema = averaged_->values();
  for (const Var& g : gradients) grad.push_back(g.value());
  require(grad.size() == value.size(), "AdamOptimizer", "{} gradients, expected one for each of {} parameters", grad.size(), value.size());
  for (std::size_t i = 0; i < grad.size(); ++i) {
    require(grad[i].shape() == value[i].shape() && grad[i].dtype() == value[i].dtype() && &grad[i].backend() == &value[i].backend(), "AdamOptimizer",
            "the gradient of {} is {} {}, expected {} {} on its backend", value[i].name(), dtype_name(grad[i].dtype()), grad[i].shape().str(),
            dtype_name(value[i].dtype()), value[i].shape().str());
  }
  parameters_.backend().adam_ema({.value = value, .grad = grad, .m = m, .v = v, .ema = ema}, settings_, state);
}

void average_running_stats(Parameters& averaged, const Parameters& network, const Tensor& state) {
  for (std::size_t i = 0; i < network.all().size(); ++i) {
    if (!network.all()[i].trainable) averaged.backend().ema(averaged.all()[i].value, network.all()[i].value, state);
  }
}

void copy_parameters(Parameters& to, const Parameters& from) {
  require_alike(to, from);
  for (std::size_t i = 0; i < from.all().size(); ++i) to.backend().cast(to.all()[i].value, from.all()[i].value);
}

}  // namespace pastiche
