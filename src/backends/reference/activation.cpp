#include <cmath>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

double reference::sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

namespace {

double activate(double x, const Activation& p) {
  switch (p.kind) {
    case Activation::Kind::leaky_relu: return reference::leaky_relu(x, p.slope);
    case Activation::Kind::tanh: return std::tanh(x);
    case Activation::Kind::sigmoid: return reference::sigmoid(x);
    case Activation::Kind::identity: break;
  }
  return x;
}

// The derivative, told from y = act(x).
double derivative(double y, const Activation& p) {
  switch (p.kind) {
    case Activation::Kind::leaky_relu: return leaky_relu_slope(y, p.slope);
    case Activation::Kind::tanh: return 1 - y * y;
    case Activation::Kind::sigmoid: return y * (1 - y);
    case Activation::Kind::identity: break;
  }
  return 1;
}

}  // namespace

void ReferenceBackend::leaky_relu(Tensor& y, const Tensor& x, double slope) {
  map(y, x, [&](double v) { return reference::leaky_relu(v, slope); });
}
void ReferenceBackend::leaky_relu_grad(Tensor& dx, const Tensor& dy, const Tensor& x, double slope) {
  map(dx, dy, x, [&](double d, double v) { return d * leaky_relu_slope(v, slope); });
}

void ReferenceBackend::tanh(Tensor& y, const Tensor& x) {
  map(y, x, [](double v) { return std::tanh(v); });
}
void ReferenceBackend::tanh_grad(Tensor& dx, const Tensor& dy, const Tensor& y) {
  map(dx, dy, y, [](double d, double v) { return d * (1 - v * v); });
}

void ReferenceBackend::sigmoid(Tensor& y, const Tensor& x) { map(y, x, reference::sigmoid); }
void ReferenceBackend::sigmoid_grad(Tensor& dx, const Tensor& dy, const Tensor& y) {
  map(dx, dy, y, [](double d, double v) { return d * v * (1 - v); });
}

void ReferenceBackend::bias_act(Tensor& y, const Tensor& x, const Tensor& bias, const Activation& p) {
  const Array b = load(bias);
  Array out = load(x);
  for (std::int64_t i = 0; i < out.size(); ++i) out[i] = activate(out[i] + b[i % b.size()], p);
  store(y, out);
}

void ReferenceBackend::bias_act_grad(Tensor& dx, Tensor& dbias, const Tensor& dy, const Tensor& y, const Activation& p) {
  const Array out = load(y);
  Array d = load(dy), sum(dbias.shape());
  for (std::int64_t i = 0; i < d.size(); ++i) {
    d[i] *= derivative(out[i], p);
    sum[i % sum.size()] += d[i];
  }
  store(dx, d);
  store(dbias, sum);
}

}  // namespace pastiche
