#pragma once
#include <span>
#include <vector>

#include "pastiche/nn.h"

namespace pastiche {

// Adam over all parameters of one network in one kernel, and the exponential moving average of its weights in the same pass.
class AdamOptimizer {
 public:
  // `averaged` is a network of the same parameters that receives the average, or nullptr.
  AdamOptimizer(Parameters& parameters, const Adam& settings, Parameters* averaged = nullptr);

  // One update from gradients aligned with parameters.vars(), with a count of its own. The average moves by 1 - ema_decay.
  void step(std::span<const Var> gradients, double lr, double ema_decay = 0);
  // The same where learning rate and step count come from state.optim[slot], as in a recorded step.
  void step(std::span<const Var> gradients, const Tensor& state);

  const Adam& settings() const { return settings_; }
  // First and second moments, aligned with parameters.vars(), as parameters of their own: a checkpoint writes them.
  Parameters& m() { return m_; }
  Parameters& v() { return v_; }
  const Parameters& m() const { return m_; }
  const Parameters& v() const { return v_; }

 private:
  Parameters& parameters_;
  Adam settings_;
  Parameters* averaged_;
  Parameters m_, v_;
  std::int64_t steps_ = 0;  // of those that count here
  Tensor own_state_;
};

// averaged += state.ema_step (network - averaged) for what is not trained: the running statistics. state: a StepState.
void average_running_stats(Parameters& averaged, const Parameters& network, const Tensor& state);

// Copies all values from one network to another of the same parameters.
void copy_parameters(Parameters& to, const Parameters& from);

}  // namespace pastiche
