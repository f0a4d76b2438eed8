#include <algorithm>
#include <cmath>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

void ReferenceBackend::bce_logits(Tensor& loss, const Tensor& x, double target) {
  const Array in = load(x);
  Array average(loss.shape());
  for (double v : in.values) {
    average[0] += (std::max(v, 0.0) - v * target + std::log1p(std::exp(-std::abs(v)))) / static_cast<double>(in.size());
  }
  store(loss, average);
}

void ReferenceBackend::bce_logits_grad(Tensor& dx, const Tensor& dloss, const Tensor& x, double target) {
  const double weight = load(dloss)[0] / static_cast<double>(x.elements());
  map(dx, x, [&](double v) { return weight * (reference::sigmoid(v) - target); });
}

}  // namespace pastiche
