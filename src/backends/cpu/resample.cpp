#include <algorithm>

#include "backends/cpu/channels.h"
#include "backends/cpu/cpu.h"
#include "backends/pad_axis.h"

namespace pastiche {

using namespace cpu;

void CpuBackend::upsample(Tensor& y, const Tensor& x, std::int64_t factor) {
  const std::int64_t rows = x.shape()[0] * x.shape()[1], w = x.shape()[2], c = x.shape()[3];
  with_float(x, [&]<class T>(T) {
    for_items(threads_, rows, w * c * factor * factor,
              [=, from = x.data<T>(), to = y.mutable_data<T>()](std::int64_t row) {
                T* const first = to + row * factor * factor * w * c;  // `factor` equal rows of [factor w, c]
                for (std::int64_t i = 0; i < w * factor; ++i) {
                  const T* const pixel = from + (row * w + i / factor) * c;
                  for (std::int64_t j = 0; j < c; ++j) first[i * c + j] = pixel[j];
                }
                for (std::int64_t copy = 1; copy < factor; ++copy) {
                  std::copy_n(first, factor * w * c, first + copy * factor * w * c);
                }
              });
  });
}

void CpuBackend::upsample_grad(Tensor& dx, const Tensor& dy, std::int64_t factor) {
  const std::int64_t rows = dx.shape()[0] * dx.shape()[1], w = dx.shape()[2], c = dx.shape()[3];
  constexpr std::int64_t tile = 64;  // channels
  with_float(dx, [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.mutable_data<T>();
    for_items(threads_, rows, w * c * factor * factor, [=](std::int64_t row) {
      for (std::int64_t i = 0; i < w; ++i) {
        const T* const block = from + (row * factor * w + i) * factor * c;
        for (std::int64_t begin = 0; begin < c; begin += tile) {
          const std::int64_t width = std::min(tile, c - begin);
          float sums[tile] = {};
          for (std::int64_t a = 0; a < factor; ++a) {
            for (std::int64_t b = 0; b < factor; ++b) {
              const T* const pixel = block + (a * factor * w + b) * c + begin;
#pragma omp simd
              for (std::int64_t j = 0; j < width; ++j) sums[j] += load(pixel, j);
            }
          }
#pragma omp simd
          for (std::int64_t j = 0; j < width; ++j) store(to, (row * w + i) * c + begin + j, sums[j]);
        }
      }
    });
  });
}

// Lines of a padded picture are those of the picture with pixels copied around them.
void CpuBackend::pad(Tensor& y, const Tensor& x, const Pad& p) {
  const PadAxis down = vertical(p, x.shape()[1]), across = horizontal(p, x.shape()[2]);
  const std::int64_t c = x.shape()[3], width = y.shape()[2];
  with_float(x, [&]<class T>(T) {
    for_items(threads_, y.shape()[0] * y.shape()[1], width * c,
              [=, from = x.data<T>(), to = y.mutable_data<T>()](std::int64_t row) {
                const std::int64_t n = row / down.padded(), h = down.source(row % down.padded());
                const T* const in = from + (n * down.extent + h) * across.extent * c;
                T* const out = to + row * width * c;
                const auto copy = [=](std::int64_t w) { std::copy_n(in + across.source(w) * c, c, out + w * c); };
                for (std::int64_t w = 0; w < across.before; ++w) copy(w);
                std::copy_n(in, across.extent * c, out + across.before * c);
                for (std::int64_t w = across.before + across.extent; w < width; ++w) copy(w);
              });
  });
}

void CpuBackend::pad_grad(Tensor& dx, const Tensor& dy, const Pad& p) {
  const PadAxis down = vertical(p, dx.shape()[1]), across = horizontal(p, dx.shape()[2]);
  const std::int64_t c = dx.shape()[3], lines = dx.shape()[0] * down.extent, line = across.extent * c;
  with_float(dx, [&]<class T>(T) {
    const T* const from = dy.data<T>();
    T* const to = dx.mutable_data<T>();
    Scratch<float> sums(*this, lines * line);
    for_items(threads_, lines, line, [=, all = sums.get()](std::int64_t row) {
      float* const sum = all + row * line;
      std::fill_n(sum, line, 0.0f);
      const auto add = [=](const T* pixels, std::int64_t w, std::int64_t count) {
#pragma omp simd
        for (std::int64_t j = 0; j < count * c; ++j) sum[w * c + j] += load(pixels, j);
      };
      down.each_place(row % down.extent, [&](std::int64_t h) {
        const T* const in = from + (row / down.extent * down.padded() + h) * across.padded() * c;
        for (std::int64_t w = 0; w < across.before; ++w) add(in + w * c, across.source(w), 1);
        add(in + across.before * c, 0, across.extent);
        for (std::int64_t w = across.before + across.extent; w < across.padded(); ++w) add(in + w * c, across.source(w), 1);
      });
      for (std::int64_t j = 0; j < line; ++j) store(to, row * line + j, sum[j]);
    });
  });
}

void CpuBackend::join_phases(Tensor& y, const Tensor& x, Phases from) {
  with_float(x, [&]<class T>(T) {
    Walk(from, y.shape()).all(threads_, [source = x.data<T>(), to = y.mutable_data<T>()](
                                            std::int64_t ix, std::int64_t iy, std::int64_t width) {
      for (std::int64_t j = 0; j < width; ++j) to[iy + j] = source[ix + j];
    });
  });
}

void CpuBackend::split_phases(Tensor& y, const Tensor& x, Phases to) {
  with_float(x, [&]<class T>(T) {
    Walk(to, x.shape()).all(threads_, [source = x.data<T>(), target = y.mutable_data<T>()](
                                          std::int64_t iy, std::int64_t ix, std::int64_t width) {
      for (std::int64_t j = 0; j < width; ++j) target[iy + j] = source[ix + j];
    });
  });
}

}  // namespace pastiche
