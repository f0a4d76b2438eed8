#include <algorithm>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

namespace {

// f(row of a sample, row of its pixel) for all that are drawn from pictures x.
template <class F> void for_each_drawn(const Shape& x, const SamplePixels& p, const Tensor& state, F f) {
  const auto step = static_cast<std::uint64_t>(read_step_state(state).step);
  const std::int64_t pixels = x[1] * x[2];
  for (std::int64_t n = 0; n < x[0]; ++n) {
    for (std::int64_t s = 0; s < p.count; ++s) {
      const std::int64_t sample = n * p.count + s, begin = s * pixels / p.count, end = (s + 1) * pixels / p.count;
      const double u = uniform_from(philox_word(p.key, step, static_cast<std::uint64_t>(sample)));
      f(sample, n * pixels + begin + static_cast<std::int64_t>(u * static_cast<double>(end - begin)));
    }
  }
}

}  // namespace

void ReferenceBackend::random_normal(Tensor& y, RandomKey key, const Tensor& state) {
  const auto step = static_cast<std::uint64_t>(read_step_state(state).step);
  Array out(y.shape());
  for (std::int64_t i = 0; i < out.size(); i += 4) {
    float group[4];
    normal4(key, step, static_cast<std::uint64_t>(i / 4), group);
    for (std::int64_t j = i; j < std::min(i + 4, out.size()); ++j) out[j] = group[j - i];
  }
  store(y, out);
}

void ReferenceBackend::dropout(Tensor& y, const Tensor& x, const Dropout& p, const Tensor& state) {
  const auto step = static_cast<std::uint64_t>(read_step_state(state).step);
  Array out = load(x);
  for (std::int64_t i = 0; i < out.size(); i += 4) {
    const Philox4 words = philox4x32(p.key, step, static_cast<std::uint64_t>(i / 4));
    for (std::int64_t j = i; j < std::min(i + 4, out.size()); ++j) {
      out[j] = uniform_from(words.word[j - i]) >= p.p ? out[j] / (1 - p.p) : 0;
    }
  }
  store(y, out);
}

void ReferenceBackend::sample_pixels(Tensor& y, const Tensor& x, const SamplePixels& p, const Tensor& state) {
  const Array in = load(x);
  Array out(y.shape());
  const std::int64_t c = y.shape()[2];
  for_each_drawn(in.shape, p, state, [&](std::int64_t sample, std::int64_t pixel) {
    for (std::int64_t i = 0; i < c; ++i) out[sample * c + i] = in[pixel * c + i];
  });
  store(y, out);
}

void ReferenceBackend::sample_pixels_grad(Tensor& dx, const Tensor& dy, const SamplePixels& p, const Tensor& state) {
  const Array in = load(dy);
  Array out(dx.shape());
  const std::int64_t c = dy.shape()[2];
  for_each_drawn(out.shape, p, state, [&](std::int64_t sample, std::int64_t pixel) {
    for (std::int64_t i = 0; i < c; ++i) out[pixel * c + i] = in[sample * c + i];
  });
  store(dx, out);
}

}  // namespace pastiche
