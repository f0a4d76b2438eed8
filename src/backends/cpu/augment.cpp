#include <algorithm>

#include "backends/augment_draw.h"
#include "backends/cpu/cpu.h"
#include "backends/cpu/vectorise.h"

namespace pastiche {

using namespace cpu;

namespace {

// AugmentDraw of every picture.
void draw_all(AugmentDraw* draws, const Shape& shape, const DiffAugment& p, const Tensor& state) {
  const std::int64_t step = reinterpret_cast<const StepState*>(state.data<std::uint8_t>())->step;
  for (std::int64_t n = 0; n < shape[0]; ++n) draws[n] = draw_augment(p, step, n, shape[1], shape[2]);
}

// One pixel: saturation, contrast, brightness. Neither of the first two moves the mean that another takes.
template <class T>
void recolor(T* to, const T* from, std::int64_t channels, const DiffAugment& p, const AugmentDraw& draw, float of_picture) {
  float of_pixel = 0;
  if (p.saturation) {
    for (std::int64_t c = 0; c < channels; ++c) of_pixel += load(from, c);
    of_pixel /= static_cast<float>(channels);
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    float v = load(from, c);
    if (p.saturation) v = std::fma(draw.saturation, v - of_pixel, of_pixel);
    if (p.contrast) v = std::fma(draw.contrast, v - of_picture, of_picture);
    store(to, c, v + draw.brightness);
  }
}

}  // namespace

void CpuBackend::diff_augment(Tensor& y, const Tensor& x, const Tensor& mean, const DiffAugment& p, const Tensor& state) {
  const std::int64_t height = x.shape()[1], width = x.shape()[2], channels = x.shape()[3];
  Scratch<AugmentDraw> draws(*this, x.shape()[0]);
  draw_all(draws, x.shape(), p, state);
  with_float(x, [&]<class T>(T) {
    for_items(threads_, x.shape()[0] * height, width * channels,
              [=, all = draws.get(), means = mean.data<float>(), from = x.data<T>(), to = y.mutable_data<T>()](std::int64_t line) {
                const std::int64_t n = line / height, h = line % height;
                const AugmentDraw& draw = all[n];
                const float of_picture = p.contrast ? means[n * channels] : 0.0f;
                for (std::int64_t w = 0; w < width; ++w) {
                  T* const out = to + (line * width + w) * channels;
                  const std::int64_t pixel = (line + draw.down.shift) * width + w + draw.across.shift;
                  if (draw.shows(h, w)) recolor(out, from + pixel * channels, channels, p, draw, of_picture);
                  else std::fill_n(out, channels, T{});
                }
              });
  });
}

void CpuBackend::diff_augment_unmove(Tensor& dx, const Tensor& dy, const DiffAugment& p, const Tensor& state) {
  const std::int64_t height = dy.shape()[1], width = dy.shape()[2], channels = dy.shape()[3];
  Scratch<AugmentDraw> draws(*this, dy.shape()[0]);
  draw_all(draws, dy.shape(), p, state);
  with_float(dy, [&]<class T>(T) {
    for_items(threads_, dy.shape()[0] * height, width * channels,
              [=, all = draws.get(), from = dy.data<T>(), to = dx.mutable_data<T>()](std::int64_t line) {
                const AugmentDraw& draw = all[line / height];
                for (std::int64_t w = 0; w < width; ++w) {
                  T* const out = to + (line * width + w) * channels;
                  const std::int64_t place = (line - draw.down.shift) * width + w - draw.across.shift;
                  if (draw.shown(line % height, w)) std::copy_n(from + place * channels, channels, out);
                  else std::fill_n(out, channels, T{});
                }
              });
  });
}

}  // namespace pastiche
