// Convolution by its definition. One walk over pixels and taps serves the three kernels: they differ in which of x, y and w
// they sum into.
#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

namespace {

// Calls f(x offset, y offset, tap) for every output pixel and every tap of it that lies inside the picture. The offsets are
// those of the pixels' channels in x [N,H,W,C] and y [N,P,Q,K]; tap is r S + s.
template <class F> void for_each_tap(const Shape& x, const Shape& y, const Shape& w, const Conv& p, F f) {
  const std::int64_t height = x[1], width = x[2];
  for (std::int64_t n = 0; n < y[0]; ++n)
    for (std::int64_t oh = 0; oh < y[1]; ++oh)
      for (std::int64_t ow = 0; ow < y[2]; ++ow)
        for (std::int64_t r = 0; r < w[1]; ++r) {
          const std::int64_t h = oh * p.stride - p.pad + r * p.dilation;
          if (h < 0 || h >= height) continue;
          for (std::int64_t s = 0; s < w[2]; ++s) {
            const std::int64_t v = ow * p.stride - p.pad + s * p.dilation;
            if (v < 0 || v >= width) continue;
            f(((n * height + h) * width + v) * x[3], ((n * y[1] + oh) * y[2] + ow) * y[3], r * w[2] + s);
          }
        }
}

// Calls f(k, c) for every output channel and the first input channel of its group.
template <class F> void for_each_output(std::int64_t outputs, std::int64_t group_inputs, std::int64_t groups, F f) {
  for (std::int64_t k = 0; k < outputs; ++k) f(k, k / (outputs / groups) * group_inputs);
}

Array forward(const Array& x, const Array& w, const Shape& y_shape, const Conv& p) {
  const std::int64_t outputs = w.shape[0], taps = w.shape[1] * w.shape[2], inputs = w.shape[3];  // inputs of one group
  Array y(y_shape);
  for_each_tap(x.shape, y_shape, w.shape, p, [&](std::int64_t at_x, std::int64_t at_y, std::int64_t tap) {
    for_each_output(outputs, inputs, p.groups, [&](std::int64_t k, std::int64_t first) {
      const double* a = &x.values[at_x + first];
      const double* b = &w.values[(k * taps + tap) * inputs];
      double sum = 0;
      for (std::int64_t c = 0; c < inputs; ++c) sum += a[c] * b[c];
      y[at_y + k] += sum;
    });
  });
  return y;
}

Array data_gradient(const Array& dy, const Array& w, const Shape& x_shape, const Conv& p) {
  const std::int64_t outputs = w.shape[0], taps = w.shape[1] * w.shape[2], inputs = w.shape[3];
  Array dx(x_shape);
  for_each_tap(x_shape, dy.shape, w.shape, p, [&](std::int64_t at_x, std::int64_t at_y, std::int64_t tap) {
    for_each_output(outputs, inputs, p.groups, [&](std::int64_t k, std::int64_t first) {
      double* a = &dx.values[at_x + first];
      const double* b = &w.values[(k * taps + tap) * inputs];
      for (std::int64_t c = 0; c < inputs; ++c) a[c] += dy[at_y + k] * b[c];
    });
  });
  return dx;
}

Array weight_gradient(const Array& x, const Array& dy, const Shape& w_shape, const Conv& p) {
  const std::int64_t outputs = w_shape[0], taps = w_shape[1] * w_shape[2], inputs = w_shape[3];
  Array dw(w_shape);
  for_each_tap(x.shape, dy.shape, w_shape, p, [&](std::int64_t at_x, std::int64_t at_y, std::int64_t tap) {
    for_each_output(outputs, inputs, p.groups, [&](std::int64_t k, std::int64_t first) {
      const double* a = &x.values[at_x + first];
      double* b = &dw.values[(k * taps + tap) * inputs];
      for (std::int64_t c = 0; c < inputs; ++c) b[c] += dy[at_y + k] * a[c];
    });
  });
  return dw;
}

}  // namespace

// Where upsample is 2 the convolution sees u, the upsampled x.
void ReferenceBackend::conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p) {
  const Array u = reference::upsample(load(x), p.upsample);
  store(y, reference::split_phases(forward(u, load(w), joined_shape(y.shape(), p.out), p), p.out));
}

void ReferenceBackend::conv2d_norm_stats(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& w, const Conv& p,
                                         const NormAct& s) {
  conv2d(y, x, w, p);
  norm_stats(mean, var, y, s);
}

void ReferenceBackend::conv2d_bias_act(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias, const Conv& p,
                                       const Activation& a) {
  Tensor sums = Tensor::empty(*this, y.shape(), DType::f64);  // so that y is rounded once
  conv2d(sums, x, w, p);
  bias_act(y, sums, bias, a);
}

void ReferenceBackend::conv2d_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p) {
  const Array joined = reference::join_phases(load(dy), p.out);
  const Array du = data_gradient(joined, load(w), upsampled_shape(dx.shape(), p.upsample), p);
  store(dx, reference::upsample_grad(du, p.upsample));
}

void ReferenceBackend::conv2d_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p) {
  const Array u = reference::upsample(load(x), p.upsample);
  store(dw, weight_gradient(u, reference::join_phases(load(dy), p.out), dw.shape(), p));
}

}  // namespace pastiche
