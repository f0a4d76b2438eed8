#include "backends/cpu/conv_plain.h"
#include "backends/cpu/cpu.h"
#include "backends/cpu/fold.h"
#include "backends/cpu/vectorise.h"

namespace pastiche {

using namespace cpu;
using Pass = ConvShape::Pass;

namespace {

ConvShape plain_shape(const OneDnn& dnn, Pass pass, const Tensor& x, const Tensor& y, const Shape& w, const Conv& p) {
  return {.pass = pass, .dtype = dnn.compute_dtype(x, y),
          .n = x.shape()[0], .h = x.shape()[1], .w = x.shape()[2], .c = x.shape()[3],
          .p = y.shape()[1], .q = y.shape()[2], .k = w[0], .r = w[1], .s = w[2],
          .stride = p.stride, .top = p.pad, .left = p.pad, .dilation = p.dilation, .groups = p.groups};
}

// The convolution at low resolution that gives all phases at once.
ConvShape folded_shape(const OneDnn& dnn, Pass pass, const Tensor& x, const Tensor& y, const Shape& w, const Conv& p) {
  const Window window = folded_window(p.pad);
  return {.pass = pass, .dtype = dnn.compute_dtype(x, y),
          .n = x.shape()[0], .h = x.shape()[1], .w = x.shape()[2], .c = x.shape()[3],
          .p = x.shape()[1], .q = x.shape()[2], .k = 4 * w[0], .r = window.taps, .s = window.taps,
          .stride = 1, .top = -window.first, .left = -window.first, .dilation = 1, .groups = 1};
}

// The weights for folded_shape: [4K,T,T,C].
Tensor fold(const OneDnn& dnn, const Tensor& w, const Conv& p) {
  const Window window = folded_window(p.pad);
  Tensor folded = Tensor::empty(dnn.memory, {4 * w.shape()[0], window.taps, window.taps, w.shape()[3]});
  float* const to = folded.mutable_data<float>();
  for (std::int64_t f = 0; f < 4; ++f) fold_phase(dnn.threads, to + f * folded.elements() / 4, w, f, window, window);
  return folded;
}

// dy [4N,H,W,K] or [N,H,W,4K], moved into the other order of phases.
template <class T> void swap_phases(int threads, T* to, const T* from, std::int64_t pixels, std::int64_t k, Phases to_form) {
  for_items(threads, pixels, 4 * k, [=](std::int64_t pixel) {
    for (std::int64_t f = 0; f < 4; ++f) {
      const std::int64_t inner = (pixel * 4 + f) * k, outer = (f * pixels + pixel) * k;
      const T* const source = from + (to_form == Phases::inner ? outer : inner);
      T* const target = to + (to_form == Phases::inner ? inner : outer);
      for (std::int64_t m = 0; m < k; ++m) target[m] = source[m];
    }
  });
}
void swap_phases(int threads, Tensor& to, const Tensor& from, const Shape& inner, Phases to_form) {
  with_float(to, [&]<class T>(T) {
    swap_phases(threads, to.mutable_data<T>(), from.data<T>(), inner.rows(), inner.last() / 4, to_form);
  });
}

Shape inner_shape(const Shape& x, const Shape& w) { return {x[0], x[1], x[2], 4 * w[0]}; }

// An output gradient of an upsampling convolution, as [N,H,W,4K].
Tensor as_inner(CpuBackend& backend, int threads, const Tensor& dy, const Shape& x, const Shape& w, Phases form) {
  if (form == Phases::inner) return dy;
  Tensor inner = Tensor::empty(backend, inner_shape(x, w), dy.dtype());
  if (form == Phases::none) backend.split_phases(inner, dy, Phases::inner);
  else swap_phases(threads, inner, dy, inner.shape(), Phases::inner);
  return inner;
}

}  // namespace

void CpuBackend::conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p) {
  const OneDnn::Use use(*dnn_);
  if (p.upsample == 1) {
    conv_data(*dnn_, plain_shape(*dnn_, Pass::forward, x, y, w.shape(), p), y, x, w, [&] { return w; });
    return;
  }
  const ConvShape shape = folded_shape(*dnn_, Pass::forward, x, y, w.shape(), p);
  Tensor inner = p.out == Phases::inner ? y : Tensor::empty(*this, inner_shape(x.shape(), w.shape()), y.dtype());
  conv_data(*dnn_, shape, inner, x, w, [&] { return fold(*dnn_, w, p); });
  if (p.out == Phases::none) join_phases(y, inner, Phases::inner);
  if (p.out == Phases::outer) swap_phases(threads_, y, inner, inner.shape(), Phases::outer);
}

void CpuBackend::conv2d_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p) {
  const OneDnn::Use use(*dnn_);
  if (p.upsample == 1) {
    conv_data(*dnn_, plain_shape(*dnn_, Pass::dgrad, dx, dy, w.shape(), p), dx, dy, w, [&] { return w; });
    return;
  }
  const Tensor inner = as_inner(*this, threads_, dy, dx.shape(), w.shape(), p.out);
  conv_data(*dnn_, folded_shape(*dnn_, Pass::dgrad, dx, dy, w.shape(), p), dx, inner, w, [&] { return fold(*dnn_, w, p); });
}

void CpuBackend::conv2d_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p) {
  const OneDnn::Use use(*dnn_);
  if (p.upsample == 1) {
    conv_weights(*dnn_, plain_shape(*dnn_, Pass::wgrad, x, dy, dw.shape(), p), dw.mutable_data<float>(), x, dy);
    return;
  }
  const Window window = folded_window(p.pad);
  const std::int64_t phase = dw.shape()[0] * window.taps * window.taps * dw.shape()[3];
  Scratch<float> folded(*this, 4 * phase);
  conv_weights(*dnn_, folded_shape(*dnn_, Pass::wgrad, x, dy, dw.shape(), p), folded, x,
            as_inner(*this, threads_, dy, x.shape(), dw.shape(), p.out));
  const float* const d = folded;
  unfold_gradient(threads_, dw, {{d, window, window}, {d + phase, window, window}, {d + 2 * phase, window, window},
                                 {d + 3 * phase, window, window}});
}

}  // namespace pastiche
