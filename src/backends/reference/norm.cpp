#include <cmath>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

void ReferenceBackend::norm_stats(Tensor& mean, Tensor& var, const Tensor& x) {
  const Array in = load(x);
  const std::int64_t channels = mean.elements();  // channel f C + c of Phases::inner is c modulo C
  const double count = static_cast<double>(in.size() / channels);
  Array m(mean.shape()), v(var.shape());
  for (std::int64_t i = 0; i < in.size(); ++i) m[i % channels] += in[i] / count;
  for (std::int64_t i = 0; i < in.size(); ++i) {
    const double deviation = in[i] - m[i % channels];
    v[i % channels] += deviation * deviation / count;
  }
  store(mean, m);
  store(var, v);
}

void ReferenceBackend::norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                                const Tensor& beta, const NormAct& p) {
  const Array m = load(mean), v = load(var), g = load(gamma), b = load(beta);
  Array out = reference::join_phases(load(x), p.from);
  for (std::int64_t i = 0; i < out.size(); ++i) {
    const std::int64_t c = i % m.size();
    out[i] = reference::leaky_relu(g[c] * (out[i] - m[c]) / std::sqrt(v[c] + p.eps) + b[c], p.slope);
  }
  store(y, out);
}

void ReferenceBackend::norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x,
                                     const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                                     const NormAct& p) {
  const Array m = load(mean), v = load(var), scale = load(gamma), shift = load(beta);
  Array h = reference::join_phases(load(x), p.from), g = load(dy);
  const std::int64_t channels = m.size();
  const double count = static_cast<double>(h.size() / channels);
  Array sum_g(dbeta.shape()), sum_gh(dgamma.shape());
  for (std::int64_t i = 0; i < h.size(); ++i) {
    const std::int64_t c = i % channels;
    h[i] = (h[i] - m[c]) / std::sqrt(v[c] + p.eps);
    g[i] *= leaky_relu_slope(scale[c] * h[i] + shift[c], p.slope);
    sum_g[c] += g[i];
    sum_gh[c] += g[i] * h[i];
  }
  for (std::int64_t i = 0; i < h.size(); ++i) {
    const std::int64_t c = i % channels;
    g[i] = scale[c] / std::sqrt(v[c] + p.eps) * (g[i] - sum_g[c] / count - h[i] * sum_gh[c] / count);
  }
  store(dx, reference::split_phases(g, p.from));
  store(dgamma, sum_gh);
  store(dbeta, sum_g);
}

void ReferenceBackend::update_running_stats(Tensor& running_mean, Tensor& running_var, const Tensor& mean, const Tensor& var,
                                            const RunningStats& p) {
  map(running_mean, running_mean, mean, [&](double running, double now) { return running + p.momentum * (now - running); });
  map(running_var, running_var, var,
      [&](double running, double now) { return running + p.momentum * (p.var_scale * now - running); });
}

}  // namespace pastiche
