#include <algorithm>

#include "backends/cpu/conv_plain.h"

namespace pastiche::cpu {
namespace {

// Where a tap moves the pixels of one axis: pixel p of dy goes to pixel stride (p + shift) + phase of dx.
struct Shift {
  std::int64_t phase, shift, begin, end;  // of the pixels that arrive inside: begin <= p < end
};
Shift shift_of(std::int64_t offset, std::int64_t stride, std::int64_t to, std::int64_t from) {
  const std::int64_t phase = (offset % stride + stride) % stride, shift = (offset - phase) / stride;
  const std::int64_t arrive = (to - phase + stride - 1) / stride;  // pixels of dx in this phase
  return {phase, shift, std::max<std::int64_t>(0, -shift), std::min(from, arrive - shift)};
}

// Rows h0..h1 of one picture's dx, and the rows of dy that arrive there. h0 is a multiple of the stride.
struct Part {
  std::int64_t h0, h1, begin, end;

  Part(const ConvShape& s, std::int64_t rows, std::int64_t i)
      : h0(i * rows),
        h1(std::min(s.h, h0 + rows)),
        begin((std::max<std::int64_t>(0, h0 + s.top - (s.r - 1) * s.dilation) + s.stride - 1) / s.stride),
        end(std::min(s.p, (h1 - 1 + s.top) / s.stride + 1)) {}
};

// The planes of a part of dx: [C][stride][stride][rows][columns], every phase of the stride with its own.
struct Planes {
  std::int64_t stride, rows, columns;
  std::int64_t at(std::int64_t c, std::int64_t i, std::int64_t j) const {
    return ((c * stride + i) * stride + j) * rows * columns;
  }
};

// Adds `taps` [R,S,C][p1 - p0][Q], what the rows p0..p1 of dy give to the part through each tap. From the last tap on, so that
// each pixel of dx gets the rows of dy in their order, wherever bands of them begin: its bits do not depend on its place.
void add_taps(const ConvShape& s, const Planes& planes, float* sums, const float* taps, const Part& part, std::int64_t p0,
              std::int64_t p1) {
  for (std::int64_t r = s.r - 1; r >= 0; --r) {
    const Shift down = shift_of(r * s.dilation - s.top, s.stride, part.h1, s.p);
    const std::int64_t above = part.h0 / s.stride - down.shift;  // of the part's first row
    for (std::int64_t t = 0; t < s.s; ++t) {
      const Shift right = shift_of(t * s.dilation - s.left, s.stride, s.w, s.q);
      const std::int64_t width = right.end - right.begin;
      for (std::int64_t c = 0; c < s.c; ++c) {
        const float* const tap = taps + ((r * s.s + t) * s.c + c) * (p1 - p0) * s.q;
        float* const plane = sums + planes.at(c, down.phase, right.phase);
        for (std::int64_t p = std::max({p0, down.begin, above}); p < std::min(p1, down.end); ++p) {
          const float* const from = tap + (p - p0) * s.q + right.begin;
          float* const to = plane + (p - above) * planes.columns + right.begin + right.shift;
#pragma omp simd
          for (std::int64_t q = 0; q < width; ++q) to[q] += from[q];
        }
      }
    }
  }
}

}  // namespace

void conv_scatter(OneDnn& dnn, const ConvShape& s, const Target& dx, const Source& dy, const Tensor& w) {
  const std::int64_t taps = s.r * s.s * s.c;
  // Where there are fewer pictures than threads, these share a picture.
  const std::int64_t parts = (dnn.threads + s.n - 1) / s.n;
  const std::int64_t part_rows = ((s.h + parts - 1) / parts + s.stride - 1) / s.stride * s.stride;
  const Planes planes{s.stride, part_rows / s.stride, (s.w + s.stride - 1) / s.stride};
  const std::int64_t plane_elements = s.c * s.stride * s.stride * planes.rows * planes.columns;
  const std::int64_t band = std::clamp<std::int64_t>(32768 / (taps * s.q), 1, s.p);  // rows of dy that fit a cache
  const std::int64_t each = plane_elements + band * s.q * (taps + s.k);
  Scratch<float> scratch(dnn.memory, dnn.threads * each), by_tap(dnn.memory, taps * s.k);
  for (std::int64_t k = 0; k < s.k; ++k) {
    for (std::int64_t t = 0; t < taps; ++t) by_tap[t * s.k + k] = w.data<float>()[k * taps + t];
  }
  with_float(dy.dtype, dx.dtype, [&]<class T, class To>(T, To) {
    const auto* const from = static_cast<const T*>(dy.data);
    auto* const to = static_cast<To*>(dx.data);
    for_items(dnn.threads, dnn.threads, s.n * s.p * s.q * taps, [&, from, to](std::int64_t thread) {
      float* const sums = scratch.get() + thread * each;
      float* const products = sums + plane_elements;  // [R,S,C][band][Q]
      float* const wide = products + band * s.q * taps;
      for (std::int64_t item = thread * s.n * parts / dnn.threads; item < (thread + 1) * s.n * parts / dnn.threads; ++item) {
        const std::int64_t n = item / parts;
        const Part part(s, part_rows, item % parts);
        std::fill_n(sums, plane_elements, 0.0f);
        for (std::int64_t p0 = part.begin; p0 < part.end; p0 += band) {
          const std::int64_t p1 = std::min(part.end, p0 + band), pixels = (p1 - p0) * s.q;
          const T* const rows = from + (n * s.p + p0) * s.q * s.k;
          const float* operand = wide;
          if constexpr (std::is_same_v<T, float>) operand = rows;
          else for (std::int64_t i = 0; i < pixels * s.k; ++i) wide[i] = load(rows, i);
          dnnl::sgemm('N', 'T', taps, pixels, s.k, 1.0f, by_tap.get(), s.k, operand, s.k, 0.0f, products, pixels);
          add_taps(s, planes, sums, products, part, p0, p1);
        }
        To* const picture = to + n * s.h * s.w * s.c;
        for (std::int64_t h = part.h0; h < part.h1; ++h) {
          for (std::int64_t c = 0; c < s.c; ++c) {
            for (std::int64_t j = 0; j < s.stride; ++j) {
              const float* const row = sums + planes.at(c, h % s.stride, j) + (h - part.h0) / s.stride * planes.columns;
              for (std::int64_t v = j; v < s.w; v += s.stride) store(picture, (h * s.w + v) * s.c + c, row[v / s.stride]);
            }
          }
        }
      }
    });
  });
}

}  // namespace pastiche::cpu
