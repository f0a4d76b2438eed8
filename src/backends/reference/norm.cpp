#include <cmath>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

namespace {

// Which statistic belongs to element i of a map: of [C], or of [N,C], which are equal within a group.
class Statistics {
 public:
  // [C]: the whole map is one picture. Channel f C + c of Phases::inner is c modulo C, so that any form will do.
  Statistics(const Shape& stats, std::int64_t group, std::int64_t elements)
      : channels_(stats.last()), group_(group), picture_(stats.rank() == 1 ? elements : elements / stats[0]) {}

  std::int64_t operator()(std::int64_t i) const { return i / picture_ * channels_ + i % channels_; }
  std::int64_t channel(std::int64_t i) const { return i % channels_; }

  // averages[s] = the average of value(i) over the elements i that statistic s is of
  template <class F> Array averages(const Shape& stats, std::int64_t elements, F value) const {
    Array all(stats);
    const double count = static_cast<double>(picture_ / channels_ * group_);
    const auto first = [&](std::int64_t s) { return s - s % group_; };
    for (std::int64_t i = 0; i < elements; ++i) all[first((*this)(i))] += value(i) / count;
    for (std::int64_t s = 0; s < all.size(); ++s) all[s] = all[first(s)];
    return all;
  }

 private:
  std::int64_t channels_, group_, picture_;
};

}  // namespace

void ReferenceBackend::norm_stats(Tensor& mean, Tensor& var, const Tensor& x, const NormAct& p) {
  const Array in = reference::join_phases(load(x), p.from);
  const Statistics of(mean.shape(), p.group, in.size());
  const Array m = of.averages(mean.shape(), in.size(), [&](std::int64_t i) { return in[i]; });
  store(mean, m);
  store(var, of.averages(var.shape(), in.size(), [&](std::int64_t i) { return (in[i] - m[of(i)]) * (in[i] - m[of(i)]); }));
}

void ReferenceBackend::norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                                const Tensor& beta, const NormAct& p) {
  const Array m = load(mean), v = load(var), scale = load(gamma), shift = load(beta);
  Array out = reference::join_phases(load(x), p.from);
  const Statistics of(mean.shape(), p.group, out.size());
  for (std::int64_t i = 0; i < out.size(); ++i) {
    const std::int64_t s = of(i), c = of.channel(i);
    out[i] = reference::leaky_relu(scale[c] * (out[i] - m[s]) / std::sqrt(v[s] + p.eps) + shift[c], p.slope);
  }
  store(y, out);
}

void ReferenceBackend::norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x,
                                     const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                                     const NormAct& p) {
  const Array m = load(mean), v = load(var), scale = load(gamma), shift = load(beta);
  Array h = reference::join_phases(load(x), p.from), g = load(dy);
  const Statistics of(mean.shape(), p.group, h.size());
  Array sum_g(dbeta.shape()), sum_gh(dgamma.shape());
  for (std::int64_t i = 0; i < h.size(); ++i) {
    const std::int64_t s = of(i), c = of.channel(i);
    h[i] = (h[i] - m[s]) / std::sqrt(v[s] + p.eps);
    g[i] *= leaky_relu_slope(scale[c] * h[i] + shift[c], p.slope);
    sum_g[c] += g[i];
    sum_gh[c] += g[i] * h[i];
    g[i] *= scale[c];
  }
  const Array of_mean = of.averages(mean.shape(), h.size(), [&](std::int64_t i) { return g[i]; });
  const Array of_var = of.averages(var.shape(), h.size(), [&](std::int64_t i) { return g[i] * h[i]; });
  for (std::int64_t i = 0; i < h.size(); ++i) {
    const std::int64_t s = of(i);
    g[i] = (g[i] - of_mean[s] - h[i] * of_var[s]) / std::sqrt(v[s] + p.eps);
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
