#include <algorithm>
#include <cmath>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

void ReferenceBackend::adam_ema(const AdamTensors& tensors, const Adam& p, const Tensor& state) {
  const auto [lr, t] = read_step_state(state).optim[p.slot];
  const double correction1 = 1 - std::pow(p.beta1, static_cast<double>(t));
  const double correction2 = 1 - std::pow(p.beta2, static_cast<double>(t));
  for (std::size_t i = 0; i < tensors.value.size(); ++i) {
    const Array g = load(tensors.grad[i]);
    Array w = load(tensors.value[i]), m = load(tensors.m[i]), v = load(tensors.v[i]);
    for (std::int64_t j = 0; j < w.size(); ++j) {
      m[j] = p.beta1 * m[j] + (1 - p.beta1) * g[j];
      v[j] = p.beta2 * v[j] + (1 - p.beta2) * g[j] * g[j];
      w[j] -= lr / correction1 * m[j] / (std::sqrt(v[j] / correction2) + p.eps);
    }
    store(tensors.m[i], m);
    store(tensors.v[i], v);
    store(tensors.value[i], w);
    if (!tensors.ema.empty()) ema(tensors.ema[i], tensors.value[i], state);
  }
}

void ReferenceBackend::ema(Tensor& y, const Tensor& x, const Tensor& state) {
  const double step = read_step_state(state).ema_step;
  map(y, y, x, [&](double from, double to) { return from + step * (to - from); });
}

void ReferenceBackend::find_nonfinite(Tensor& state, std::span<const Tensor> tensors, int first_id) {
  StepState now = read_step_state(state);
  for (std::size_t i = 0; i < tensors.size() && now.nonfinite < 0; ++i) {
    const Array x = load(tensors[i]);
    const bool finite = std::all_of(x.values.begin(), x.values.end(), [](double v) { return std::isfinite(v); });
    if (!finite) now.nonfinite = first_id + static_cast<int>(i);
  }
  write_step_state(state, now);
}

void ReferenceBackend::store_metric(Tensor& state, const Tensor& x, int slot) {
  StepState now = read_step_state(state);
  now.metric[slot] = load(x)[0];
  write_step_state(state, now);
}

}  // namespace pastiche
