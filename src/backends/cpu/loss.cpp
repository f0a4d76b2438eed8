#include "backends/cpu/channels.h"
#include "backends/cpu/cpu.h"

namespace pastiche {

using namespace cpu;

void CpuBackend::bce_logits(Tensor& loss, const Tensor& x, double target) {
  const std::int64_t n = x.elements();
  const auto t = static_cast<float>(target);
  double sum = 0;
  with_float(x, [&]<class T>(T) {
    channel_sums<1>(*this, threads_, Walk(n, 1), &sum,
                    [=, from = x.data<T>()](std::int64_t i, std::int64_t, std::int64_t) {
                      const float v = load(from, i);
                      const float part = v > 0.0f ? std::fma(-t, v, v) : -t * v;  // max(v, 0) - v t
                      return Terms{part + log1p_of(exp_of(-std::fabs(v)))};
                    });
  });
  *loss.mutable_data<float>() = static_cast<float>(sum / static_cast<double>(n));
}

void CpuBackend::bce_logits_grad(Tensor& dx, const Tensor& dloss, const Tensor& x, double target) {
  const std::int64_t n = x.elements();
  const auto t = static_cast<float>(target), rest = static_cast<float>(1.0 - target);
  const auto weight = static_cast<float>(*dloss.data<float>() / static_cast<double>(n));
  with_float(x, [&]<class T>(T) {
    for_elements(threads_, n, [=, from = x.data<T>(), to = dx.mutable_data<T>()](std::int64_t i) {
      // With e = exp -|v|, sigmoid(v) - t is 1 - t - e / (1 + e) or e / (1 + e) - t: no cancellation where v is large.
      const float v = load(from, i), e = exp_of(-std::fabs(v)), tail = e / (1.0f + e);
      store(to, i, weight * (v > 0.0f ? rest - tail : tail - t));
    });
  });
}

}  // namespace pastiche
