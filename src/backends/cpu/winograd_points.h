#pragma once
// One axis of a Winograd convolution: from values to points and back. A span of 4 outputs reads 6 inputs and is computed at the
// points 0, 1, -1, 2, infinity, -2; a span of 3 reads 5 and leaves out -2. Then
//   y = Output(Weights(w) * Input(x)),   dw = WeightsAdjoint(OutputAdjoint(dy) * Input(x))
// for one channel. Weights holds the factors of a span of 4; Input3 makes up for the difference, so that the spans share weights.
#include <cstring>

#include "backends/cpu/vectorise.h"

namespace pastiche::cpu {

constexpr std::int64_t lanes = 32;  // channels that are computed together

// A few of them, in a register: what is written with arrays of floats, compilers do not vectorise here.
using Vector [[gnu::vector_size(32)]] = float;

inline Vector load_vector(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_vector(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

using Bits [[gnu::vector_size(32)]] = std::uint32_t;
using NarrowBits [[gnu::vector_size(16)]] = std::uint16_t;

inline Vector load_vector(const BFloat16* p) {
  NarrowBits bits;
  std::memcpy(&bits, p, sizeof bits);
  return std::bit_cast<Vector>(__builtin_convertvector(bits, Bits) << 16);
}
inline void store_vector(BFloat16* p, Vector v) {  // as store()
  const Bits bits = std::bit_cast<Bits>(v);
  const Bits rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16, nan = bits >> 16 | 0x40u;
  const Bits is_nan = std::bit_cast<Bits>((bits & 0x7fffffffu) > 0x7f800000u);
  const NarrowBits narrow = __builtin_convertvector((nan & is_nan) | (rounded & ~is_nan), NarrowBits);
  std::memcpy(p, &narrow, sizeof narrow);
}

struct Input4 {
  static constexpr int from = 6, to = 6;
  static void apply(const Vector* x, Vector* p) {
    const Vector even = x[4] - 4.0f * x[2], odd = x[3] - 4.0f * x[1];
    const Vector even2 = x[4] - x[2], odd2 = 2.0f * (x[3] - x[1]);
    p[0] = 4.0f * (x[0] - x[2]) + even2;
    p[1] = even + odd;
    p[2] = even - odd;
    p[3] = even2 + odd2;
    p[4] = 4.0f * (x[1] - x[3]) + (x[5] - x[3]);
    p[5] = even2 - odd2;
  }
};
struct Input3 {
  static constexpr int from = 5, to = 5;
  static void apply(const Vector* x, Vector* p) {
    const Vector right = x[3] - x[1];
    p[0] = 4.0f * (x[0] - x[2]) + 2.0f * right;
    p[1] = 3.0f * (right - (x[1] + x[2]));
    p[2] = 2.0f * (x[1] - x[2]) + (x[3] - x[2]);
    p[3] = 4.0f * right;
    p[4] = (x[4] - x[2]) - 2.0f * right;
  }
};

struct Output4 {
  static constexpr int from = 6, to = 4;
  static void apply(const Vector* p, Vector* y) {
    const Vector sum = p[1] + p[2], difference = p[1] - p[2], sum2 = p[3] + p[5], difference2 = p[3] - p[5];
    y[0] = p[0] + (sum + sum2);
    y[1] = difference + 2.0f * difference2;
    y[2] = sum + 4.0f * sum2;
    y[3] = (difference + 8.0f * difference2) + p[4];
  }
};
struct Output3 {
  static constexpr int from = 5, to = 3;
  static void apply(const Vector* p, Vector* y) {
    const Vector sum = p[1] + p[2];
    y[0] = p[0] + (sum + p[3]);
    y[1] = (p[1] - p[2]) + 2.0f * p[3];
    y[2] = (sum + 4.0f * p[3]) + p[4];
  }
};

struct OutputAdjoint4 {
  static constexpr int from = 4, to = 6;
  static void apply(const Vector* y, Vector* p) {
    const Vector even = y[0] + y[2], odd = y[1] + y[3];
    const Vector even2 = y[0] + 4.0f * y[2], odd2 = 2.0f * (y[1] + 4.0f * y[3]);
    p[0] = y[0];
    p[1] = even + odd;
    p[2] = even - odd;
    p[3] = even2 + odd2;
    p[4] = y[3];
    p[5] = even2 - odd2;
  }
};
struct OutputAdjoint3 {
  static constexpr int from = 3, to = 5;
  static void apply(const Vector* y, Vector* p) {
    const Vector even = y[0] + y[2];
    p[0] = y[0];
    p[1] = even + y[1];
    p[2] = even - y[1];
    p[3] = y[0] + 2.0f * (y[1] + 2.0f * y[2]);
    p[4] = y[2];
  }
};

struct Weights {
  static constexpr int from = 3, to = 6;
  static void apply(const Vector* w, Vector* p) {
    const Vector even = (w[0] + w[2]) * (-1.0f / 6), odd = w[1] * (-1.0f / 6);
    const Vector even2 = (w[0] + 4.0f * w[2]) * (1.0f / 24), odd2 = w[1] * (1.0f / 12);
    p[0] = 0.25f * w[0];
    p[1] = even + odd;
    p[2] = even - odd;
    p[3] = even2 + odd2;
    p[4] = w[2];
    p[5] = even2 - odd2;
  }
};
struct WeightsAdjoint {
  static constexpr int from = 6, to = 3;
  static void apply(const Vector* p, Vector* w) {
    const Vector sum = (p[1] + p[2]) * (-1.0f / 6), difference = (p[1] - p[2]) * (-1.0f / 6), sum2 = p[3] + p[5];
    w[0] = 0.25f * p[0] + (sum + sum2 * (1.0f / 24));
    w[1] = difference + (p[3] - p[5]) * (1.0f / 12);
    w[2] = (sum + sum2 * (1.0f / 6)) + p[4];
  }
};

// One axis of `lanes` channels: value i is the line from[i], result i the line to[i].
template <class Form, class From, class To> void on_lanes(const From* const* from, To* const* to) {
  for (std::int64_t lane = 0; lane < lanes; lane += 8) {
    Vector values[Form::from], results[Form::to];
    for (int i = 0; i < Form::from; ++i) values[i] = load_vector(from[i] + lane);
    Form::apply(values, results);
    for (int i = 0; i < Form::to; ++i) store_vector(to[i] + lane, results[i]);
  }
}

}  // namespace pastiche::cpu
