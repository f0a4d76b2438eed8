#include "backends/augment_draw.h"
#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

namespace {

// Calls f(n, draw, first element of a place, first element of the pixel that it shows) for all places that show one.
template <class F> void for_each_shown(const Shape& shape, const DiffAugment& p, const Tensor& state, F f) {
  const std::int64_t step = read_step_state(state).step, height = shape[1], width = shape[2], channels = shape[3];
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    const AugmentDraw draw = draw_augment(p, step, n, height, width);
    for (std::int64_t h = 0; h < height; ++h)
      for (std::int64_t w = 0; w < width; ++w) {
        const std::int64_t y = h + draw.down.shift, x = w + draw.across.shift;
        const bool cut = h >= draw.down.hole && h < draw.down.hole_end && w >= draw.across.hole && w < draw.across.hole_end;
        if (cut || y < 0 || y >= height || x < 0 || x >= width) continue;
        f(n, draw, ((n * height + h) * width + w) * channels, ((n * height + y) * width + x) * channels);
      }
  }
}

}  // namespace

void ReferenceBackend::diff_augment(Tensor& y, const Tensor& x, const Tensor& mean, const DiffAugment& p, const Tensor& state) {
  const Array in = load(x), means = load(mean);
  const std::int64_t channels = x.shape()[3];
  Array out(y.shape());
  for_each_shown(x.shape(), p, state, [&](std::int64_t n, const AugmentDraw& draw, std::int64_t place, std::int64_t pixel) {
    double of_pixel = draw.brightness;
    for (std::int64_t c = 0; c < channels; ++c) of_pixel += in[pixel + c] / static_cast<double>(channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      double v = in[pixel + c] + draw.brightness;
      if (p.saturation) v = (v - of_pixel) * draw.saturation + of_pixel;
      if (p.contrast) {
        const double of_picture = means[n * channels + c] + draw.brightness;
        v = (v - of_picture) * draw.contrast + of_picture;
      }
      out[place + c] = v;
    }
  });
  store(y, out);
}

void ReferenceBackend::diff_augment_unmove(Tensor& dx, const Tensor& dy, const DiffAugment& p, const Tensor& state) {
  const Array in = load(dy);
  const std::int64_t channels = dy.shape()[3];
  Array out(dx.shape());
  for_each_shown(dy.shape(), p, state, [&](std::int64_t, const AugmentDraw&, std::int64_t place, std::int64_t pixel) {
    for (std::int64_t c = 0; c < channels; ++c) out[pixel + c] = in[place + c];
  });
  store(dx, out);
}

}  // namespace pastiche
