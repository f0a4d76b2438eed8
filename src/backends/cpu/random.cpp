#include <algorithm>

#include "backends/cpu/cpu.h"
#include "backends/cpu/vectorise.h"
#include "backends/pixel_draw.h"

namespace pastiche {

using namespace cpu;

namespace {

std::uint64_t step_of(const Tensor& state) {
  return static_cast<std::uint64_t>(reinterpret_cast<const StepState*>(state.data<std::uint8_t>())->step);
}

}  // namespace

void CpuBackend::random_normal(Tensor& y, RandomKey key, const Tensor& state) {
  const std::uint64_t step = step_of(state);
  const std::int64_t n = y.elements();
  with_float(y, [&]<class T>(T) {
    for_items(threads_, (n + 3) / 4, 64, [=, to = y.mutable_data<T>()](std::int64_t block) {
      float four[4];
      normal4(key, step, static_cast<std::uint64_t>(block), four);
      for (std::int64_t i = 0; i < std::min<std::int64_t>(4, n - 4 * block); ++i) store(to, 4 * block + i, four[i]);
    });
  });
}

void CpuBackend::dropout(Tensor& y, const Tensor& x, const Dropout& p, const Tensor& state) {
  const std::uint64_t step = step_of(state);
  const std::int64_t n = y.elements();
  const double keep = 1 - p.p;
  with_float(x, [&]<class T>(T) {
    for_items(threads_, (n + 3) / 4, 64,
              [=, key = p.key, zero_below = p.p, from = x.data<T>(), to = y.mutable_data<T>()](std::int64_t block) {
                const Philox4 words = philox4x32(key, step, static_cast<std::uint64_t>(block));
                for (std::int64_t i = 0; i < std::min<std::int64_t>(4, n - 4 * block); ++i) {
                  const bool kept = static_cast<double>(uniform_from(words.word[i])) >= zero_below;
                  store(to, 4 * block + i, kept ? static_cast<float>(load(from, 4 * block + i) / keep) : 0.0f);
                }
              });
  });
}

void CpuBackend::sample_pixels(Tensor& y, const Tensor& x, const SamplePixels& p, const Tensor& state) {
  const PixelDraw draw(p, x.shape());
  const std::uint64_t step = step_of(state);
  const std::int64_t c = x.shape()[3];
  with_float(x, [&]<class T>(T) {
    for_items(threads_, x.shape()[0] * p.count, c, [=, from = x.data<T>(), to = y.mutable_data<T>()](std::int64_t sample) {
      const std::int64_t n = sample / draw.count, pixel = n * draw.pixels + draw.drawn(step, n, sample % draw.count);
      std::copy_n(from + pixel * c, c, to + sample * c);
    });
  });
}

// One sample writes all of its stratum.
void CpuBackend::sample_pixels_grad(Tensor& dx, const Tensor& dy, const SamplePixels& p, const Tensor& state) {
  const PixelDraw draw(p, dx.shape());
  const std::uint64_t step = step_of(state);
  const std::int64_t c = dx.shape()[3], samples = dx.shape()[0] * p.count;
  with_float(dx, [&]<class T>(T) {
    for_items(threads_, samples, draw.pixels / draw.count * c,
              [=, from = dy.data<T>(), to = dx.mutable_data<T>()](std::int64_t sample) {
                const std::int64_t n = sample / draw.count, s = sample % draw.count;
                T* const picture = to + n * draw.pixels * c;
                std::fill(picture + draw.begin(s) * c, picture + draw.begin(s + 1) * c, T{});
                std::copy_n(from + sample * c, c, picture + draw.drawn(step, n, s) * c);
              });
  });
}

}  // namespace pastiche
