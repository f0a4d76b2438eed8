#include <algorithm>
#include <cmath>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

void ReferenceBackend::fill(Tensor& y, double value) {
  Array a(y.shape());
  std::fill(a.values.begin(), a.values.end(), value);
  store(y, a);
}

void ReferenceBackend::cast(Tensor& y, const Tensor& x) { store(y, load(x)); }

void ReferenceBackend::add(Tensor& y, const Tensor& a, const Tensor& b) {
  map(y, a, b, [](double p, double q) { return p + q; });
}
void ReferenceBackend::sub(Tensor& y, const Tensor& a, const Tensor& b) {
  map(y, a, b, [](double p, double q) { return p - q; });
}
void ReferenceBackend::mul(Tensor& y, const Tensor& a, const Tensor& b) {
  map(y, a, b, [](double p, double q) { return p * q; });
}
void ReferenceBackend::div(Tensor& y, const Tensor& a, const Tensor& b) {
  map(y, a, b, [](double p, double q) { return p / q; });
}

void ReferenceBackend::affine(Tensor& y, const Tensor& x, const Affine& p) {
  map(y, x, [&](double v) { return p.scale * v + p.shift; });
}

void ReferenceBackend::exp(Tensor& y, const Tensor& x) {
  map(y, x, [](double v) { return std::exp(v); });
}
void ReferenceBackend::log(Tensor& y, const Tensor& x) {
  map(y, x, [](double v) { return std::log(v); });
}
void ReferenceBackend::sqrt(Tensor& y, const Tensor& x) {
  map(y, x, [](double v) { return std::sqrt(v); });
}

void ReferenceBackend::sum(Tensor& y, const Tensor& x, int axis) {
  const AxisView view(x.shape(), axis);
  const Array in = load(x);
  Array out(y.shape());
  for (std::int64_t o = 0; o < view.outer; ++o)
    for (std::int64_t e = 0; e < view.extent; ++e)
      for (std::int64_t i = 0; i < view.inner; ++i) out[o * view.inner + i] += in[(o * view.extent + e) * view.inner + i];
  store(y, out);
}

void ReferenceBackend::broadcast(Tensor& y, const Tensor& x, int axis) {
  const AxisView view(y.shape(), axis);
  const Array in = load(x);
  Array out(y.shape());
  for (std::int64_t o = 0; o < view.outer; ++o)
    for (std::int64_t e = 0; e < view.extent; ++e)
      for (std::int64_t i = 0; i < view.inner; ++i) out[(o * view.extent + e) * view.inner + i] = in[o * view.inner + i];
  store(y, out);
}

void ReferenceBackend::slice(Tensor& y, const Tensor& x, const Slice& p) {
  const AxisView from(x.shape(), p.axis), to(y.shape(), p.axis);
  const Array in = load(x);
  Array out(y.shape());
  for (std::int64_t o = 0; o < to.outer; ++o)
    for (std::int64_t e = 0; e < to.extent; ++e)
      for (std::int64_t i = 0; i < to.inner; ++i)
        out[(o * to.extent + e) * to.inner + i] = in[(o * from.extent + p.begin + e) * to.inner + i];
  store(y, out);
}

void ReferenceBackend::unslice(Tensor& y, const Tensor& x, const Slice& p) {
  const AxisView from(x.shape(), p.axis), to(y.shape(), p.axis);
  const Array in = load(x);
  Array out(y.shape());
  for (std::int64_t o = 0; o < to.outer; ++o)
    for (std::int64_t e = 0; e < from.extent; ++e)
      for (std::int64_t i = 0; i < to.inner; ++i)
        out[(o * to.extent + p.begin + e) * to.inner + i] = in[(o * from.extent + e) * to.inner + i];
  store(y, out);
}

void ReferenceBackend::concat(Tensor& y, std::span<const Tensor> parts, int axis) {
  const AxisView to(y.shape(), axis);
  Array out(y.shape());
  std::int64_t begin = 0;
  for (const Tensor& part : parts) {
    const AxisView from(part.shape(), axis);
    const Array in = load(part);
    for (std::int64_t o = 0; o < to.outer; ++o)
      for (std::int64_t e = 0; e < from.extent; ++e)
        for (std::int64_t i = 0; i < to.inner; ++i)
          out[(o * to.extent + begin + e) * to.inner + i] = in[(o * from.extent + e) * to.inner + i];
    begin += from.extent;
  }
  store(y, out);
}

void ReferenceBackend::dequantize(Tensor& y, const Tensor& x) {
  map(y, x, [](double v) { return v / 127.5 - 1; });
}

void ReferenceBackend::quantize(Tensor& y, const Tensor& x) {
  map(y, x, [](double v) {
    const double level = std::nearbyint(127.5 * (v + 1));
    return level > 0 ? std::min(level, 255.0) : 0;  // NaN is black
  });
}

}  // namespace pastiche
