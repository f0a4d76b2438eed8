#include <algorithm>
#include <vector>

#include "backends/cpu/conv_plain.h"
#include "backends/cpu/cpu.h"
#include "backends/cpu/fold.h"

namespace pastiche {

using namespace cpu;
using Pass = ConvShape::Pass;

namespace {

ConvShape plain_shape(const OneDnn& dnn, Pass pass, const Tensor& x, const Tensor& y, const Shape& w, const Conv& p) {
  const DType dtype = dnn.compute_dtype(x, y);
  return {.pass = pass, .dtype = dtype, .result = dtype,
          .n = x.shape()[0], .h = x.shape()[1], .w = x.shape()[2], .c = x.shape()[3],
          .p = y.shape()[1], .q = y.shape()[2], .k = w[0], .r = w[1], .s = w[2],
          .stride = p.stride, .top = p.pad, .left = p.pad, .dilation = p.dilation, .groups = p.groups};
}

// ---- upsample = 2 ----------------------------------------------------------------------------------------------------
// An upsampling convolution at low resolution, one convolution for each entry of `parts`: all phases at once, or each into its
// own [N,H,W,K] where a phase needs fewer taps than all together (3 x 3: four times 2 x 2 instead of 3 x 3 for each).
struct Upsampling {
  struct Part {
    std::int64_t phase, phases;  // the first, how many
    Window rows, columns;
  };
  std::vector<Part> parts;
  Phases form;  // of y: inner with one part, outer with four

  explicit Upsampling(const Conv& p) {
    const Window all = folded_window(p.pad);
    if (phase_window(p.pad, 0).taps == all.taps) {
      parts = {{0, 4, all, all}};
      form = Phases::inner;
    } else {
      for (std::int64_t f = 0; f < 4; ++f) parts.push_back({f, 1, phase_window(p.pad, f / 2), phase_window(p.pad, f % 2)});
      form = Phases::outer;
    }
  }

  Shape y(const Shape& x, const Shape& w) const {
    return form == Phases::inner ? Shape{x[0], x[1], x[2], 4 * w[0]} : Shape{4 * x[0], x[1], x[2], w[0]};
  }
};

ConvShape part_shape(const OneDnn& dnn, Pass pass, const Upsampling::Part& part, const Tensor& x, const Tensor& y,
                     const Shape& w) {
  const DType dtype = dnn.compute_dtype(x, y);
  return {.pass = pass, .dtype = dtype, .result = dtype,
          .n = x.shape()[0], .h = x.shape()[1], .w = x.shape()[2], .c = x.shape()[3],
          .p = x.shape()[1], .q = x.shape()[2], .k = part.phases * w[0], .r = part.rows.taps, .s = part.columns.taps,
          .stride = 1, .top = -part.rows.first, .left = -part.columns.first, .dilation = 1, .groups = 1};
}

// The weights for part_shape: [phases K,T,T,C].
Tensor fold(const OneDnn& dnn, const Upsampling::Part& part, const Tensor& w) {
  const std::int64_t k = w.shape()[0], c = w.shape()[3];
  Tensor folded = Tensor::empty(dnn.memory, {part.phases * k, part.rows.taps, part.columns.taps, c});
  float* const to = folded.mutable_data<float>();
  for (std::int64_t f = 0; f < part.phases; ++f) {
    fold_phase(dnn.threads, to + f * folded.elements() / part.phases, w, part.phase + f, part.rows, part.columns);
  }
  return folded;
}

// to = from, one of them [N,H,W,4K] and the other [4N,H,W,K]
void swap_phases(int threads, Tensor& to, const Tensor& from, Phases to_form) {
  const bool to_inner = to_form == Phases::inner;
  const std::int64_t k = (to_inner ? from : to).shape().last(), pixels = to.elements() / (4 * k);
  with_float(to, [&]<class T>(T) {
    for_items(threads, pixels, 4 * k, [=, source = from.data<T>(), target = to.mutable_data<T>()](std::int64_t pixel) {
      for (std::int64_t f = 0; f < 4; ++f) {
        const std::int64_t inner = (pixel * 4 + f) * k, outer = (f * pixels + pixel) * k;
        std::copy_n(source + (to_inner ? outer : inner), k, target + (to_inner ? inner : outer));
      }
    });
  });
}

// dy, in the form that the parts read
Tensor in_form(CpuBackend& backend, int threads, const Upsampling& up, const Tensor& dy, const Shape& x, const Shape& w,
               Phases form) {
  if (form == up.form) return dy;
  Tensor phases = Tensor::empty(backend, up.y(x, w), dy.dtype());
  if (form == Phases::none) backend.split_phases(phases, dy, up.form);
  else swap_phases(threads, phases, dy, up.form);
  return phases;
}

}  // namespace

void CpuBackend::conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p) {
  const OneDnn::Use use(*dnn_);
  if (p.upsample == 1) {
    conv_data(*dnn_, plain_shape(*dnn_, Pass::forward, x, y, w.shape(), p), y, x, w, [&] { return w; });
    return;
  }
  const Upsampling up(p);
  Tensor phases = p.out == up.form ? y : Tensor::empty(*this, up.y(x.shape(), w.shape()), y.dtype());
  const std::int64_t parts = std::ssize(up.parts);
  for (std::int64_t i = 0; i < parts; ++i) {
    const Upsampling::Part& part = up.parts[static_cast<std::size_t>(i)];
    conv_data(*dnn_, part_shape(*dnn_, Pass::forward, part, x, y, w.shape()), Target(phases, i, parts), x, w,
              [&] { return fold(*dnn_, part, w); });
  }
  if (p.out == Phases::none) join_phases(y, phases, up.form);
  else if (p.out != up.form) swap_phases(threads_, y, phases, p.out);
}

void CpuBackend::conv2d_norm_stats(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& w, const Conv& p,
                                   const NormAct& s) {
  conv2d(y, x, w, p);
  norm_stats(mean, var, y, s);
}

void CpuBackend::conv2d_bias_act(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias, const Conv& p, const Activation& a) {
  conv2d(y, x, w, p);
  bias_act(y, y, bias, a);
}

void CpuBackend::conv2d_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p) {
  const OneDnn::Use use(*dnn_);
  if (p.upsample == 1) {
    conv_data(*dnn_, plain_shape(*dnn_, Pass::dgrad, dx, dy, w.shape(), p), dx, dy, w, [&] { return w; });
    return;
  }
  const Upsampling up(p);
  const Tensor phases = in_form(*this, threads_, up, dy, dx.shape(), w.shape(), p.out);
  const std::int64_t parts = std::ssize(up.parts);
  const bool narrow = parts > 1 && dx.dtype() != DType::f32;  // the parts' gradients add up in f32 and are rounded once
  Tensor sum = narrow ? Tensor::empty(*this, dx.shape()) : dx;
  for (std::int64_t i = 0; i < parts; ++i) {
    const Upsampling::Part& part = up.parts[static_cast<std::size_t>(i)];
    ConvShape shape = part_shape(*dnn_, Pass::dgrad, part, dx, dy, w.shape());
    if (narrow) shape.result = DType::f32;
    shape.accumulate = i > 0;
    conv_data(*dnn_, shape, sum, Source(phases, i, parts), w, [&] { return fold(*dnn_, part, w); });
  }
  if (narrow) cast(dx, sum);
}

void CpuBackend::conv2d_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p) {
  const OneDnn::Use use(*dnn_);
  if (p.upsample == 1) {
    conv_weights(*dnn_, plain_shape(*dnn_, Pass::wgrad, x, dy, dw.shape(), p), dw.mutable_data<float>(), x, dy);
    return;
  }
  const Upsampling up(p);
  const Tensor phases = in_form(*this, threads_, up, dy, x.shape(), dw.shape(), p.out);
  const std::int64_t parts = std::ssize(up.parts);
  const std::int64_t phase = dw.shape()[0] * up.parts[0].rows.taps * up.parts[0].columns.taps * dw.shape()[3];
  Scratch<float> folded(*this, 4 * phase);
  PhaseGradient gradients[4];
  for (std::int64_t i = 0; i < parts; ++i) {
    const Upsampling::Part& part = up.parts[static_cast<std::size_t>(i)];
    conv_weights(*dnn_, part_shape(*dnn_, Pass::wgrad, part, x, dy, dw.shape()), folded + part.phase * phase, x,
                 Source(phases, i, parts));
    for (std::int64_t f = part.phase; f < part.phase + part.phases; ++f) {
      gradients[f] = {folded + f * phase, part.rows, part.columns};
    }
  }
  unfold_gradient(threads_, dw, gradients);
}

}  // namespace pastiche
