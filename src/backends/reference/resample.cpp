#include <algorithm>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {
namespace reference {
namespace {

// Calls f(offset in the small picture, offset in the large one) for every value of the large one.
template <class F> void for_each_copy(const Shape& small, std::int64_t factor, F f) {
  const std::int64_t channels = small[3];
  for (std::int64_t n = 0; n < small[0]; ++n)
    for (std::int64_t h = 0; h < factor * small[1]; ++h)
      for (std::int64_t w = 0; w < factor * small[2]; ++w)
        for (std::int64_t c = 0; c < channels; ++c)
          f(((n * small[1] + h / factor) * small[2] + w / factor) * channels + c,
            ((n * factor * small[1] + h) * factor * small[2] + w) * channels + c);
}

// Calls f(offset among the phases, offset in the picture) for every value of a picture [N,2H,2W,K].
template <class F> void for_each_phase(const Shape& picture, Phases form, F f) {
  const std::int64_t batch = picture[0], height = picture[1] / 2, width = picture[2] / 2, channels = picture[3];
  for (std::int64_t n = 0; n < batch; ++n)
    for (std::int64_t y = 0; y < 2 * height; ++y)
      for (std::int64_t x = 0; x < 2 * width; ++x)
        for (std::int64_t k = 0; k < channels; ++k) {
          const std::int64_t phase = 2 * (y % 2) + x % 2;
          const std::int64_t inner = ((n * height + y / 2) * width + x / 2) * 4 * channels + phase * channels + k;
          const std::int64_t outer = (((phase * batch + n) * height + y / 2) * width + x / 2) * channels + k;
          f(form == Phases::inner ? inner : outer, ((n * 2 * height + y) * 2 * width + x) * channels + k);
        }
}

// Calls f(offset in the picture, offset in the padded one) for every value of the padded one.
template <class F> void for_each_padded(const Shape& picture, const Pad& p, F f) {
  const auto source = [&](std::int64_t i, std::int64_t extent) {
    if (p.mode == Pad::Mode::replicate) return std::clamp<std::int64_t>(i, 0, extent - 1);
    return i < 0 ? -i : i < extent ? i : 2 * (extent - 1) - i;
  };
  const std::int64_t height = p.top + picture[1] + p.bottom, width = p.left + picture[2] + p.right, channels = picture[3];
  for (std::int64_t n = 0; n < picture[0]; ++n)
    for (std::int64_t h = 0; h < height; ++h)
      for (std::int64_t w = 0; w < width; ++w)
        for (std::int64_t c = 0; c < channels; ++c)
          f(((n * picture[1] + source(h - p.top, picture[1])) * picture[2] + source(w - p.left, picture[2])) * channels + c,
            ((n * height + h) * width + w) * channels + c);
}

}  // namespace

Shape upsampled_shape(const Shape& x, std::int64_t factor) { return x.with(1, factor * x[1]).with(2, factor * x[2]); }

Shape joined_shape(const Shape& x, Phases from) {
  switch (from) {
    case Phases::inner: return {x[0], 2 * x[1], 2 * x[2], x[3] / 4};
    case Phases::outer: return {x[0] / 4, 2 * x[1], 2 * x[2], x[3]};
    case Phases::none: break;
  }
  return x;
}

Array upsample(const Array& x, std::int64_t factor) {
  Array y(upsampled_shape(x.shape, factor));
  for_each_copy(x.shape, factor, [&](std::int64_t small, std::int64_t large) { y[large] = x[small]; });
  return y;
}

Array upsample_grad(const Array& dy, std::int64_t factor) {
  Array dx(dy.shape.with(1, dy.shape[1] / factor).with(2, dy.shape[2] / factor));
  for_each_copy(dx.shape, factor, [&](std::int64_t small, std::int64_t large) { dx[small] += dy[large]; });
  return dx;
}

Array join_phases(const Array& x, Phases from) {
  if (from == Phases::none) return x;
  Array y(joined_shape(x.shape, from));
  for_each_phase(y.shape, from, [&](std::int64_t phases, std::int64_t picture) { y[picture] = x[phases]; });
  return y;
}

Array split_phases(const Array& x, Phases to) {
  if (to == Phases::none) return x;
  const Shape& s = x.shape;
  Array y(to == Phases::inner ? Shape{s[0], s[1] / 2, s[2] / 2, 4 * s[3]} : Shape{4 * s[0], s[1] / 2, s[2] / 2, s[3]});
  for_each_phase(s, to, [&](std::int64_t phases, std::int64_t picture) { y[phases] = x[picture]; });
  return y;
}

}  // namespace reference

using reference::load;
using reference::store;

void ReferenceBackend::upsample(Tensor& y, const Tensor& x, std::int64_t factor) {
  store(y, reference::upsample(load(x), factor));
}
void ReferenceBackend::upsample_grad(Tensor& dx, const Tensor& dy, std::int64_t factor) {
  store(dx, reference::upsample_grad(load(dy), factor));
}
void ReferenceBackend::pad(Tensor& y, const Tensor& x, const Pad& p) {
  const reference::Array in = load(x);
  reference::Array out(y.shape());
  reference::for_each_padded(in.shape, p, [&](std::int64_t picture, std::int64_t padded) { out[padded] = in[picture]; });
  store(y, out);
}
void ReferenceBackend::pad_grad(Tensor& dx, const Tensor& dy, const Pad& p) {
  const reference::Array in = load(dy);
  reference::Array out(dx.shape());
  reference::for_each_padded(out.shape, p, [&](std::int64_t picture, std::int64_t padded) { out[picture] += in[padded]; });
  store(dx, out);
}
void ReferenceBackend::join_phases(Tensor& y, const Tensor& x, Phases from) {
  store(y, reference::join_phases(load(x), from));
}
void ReferenceBackend::split_phases(Tensor& y, const Tensor& x, Phases to) {
  store(y, reference::split_phases(load(x), to));
}

}  // namespace pastiche
