#pragma once
// How the loops of this backend are written: load to f32, compute, store rounded; one body for f32 and bf16, free of branches
// so that compilers vectorise it. Contraction is off: a fused multiply-add is written std::fma, so that a vector loop and its
// scalar remainder agree in every bit.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "pastiche/backend.h"

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed"  // a build with sanitizers does not vectorise, and need not
#endif

namespace pastiche::cpu {

inline float load(const float* p, std::int64_t i) { return p[i]; }
inline float load(const BFloat16* p, std::int64_t i) { return std::bit_cast<float>(std::uint32_t{p[i].bits} << 16); }

inline void store(float* p, std::int64_t i, float value) { p[i] = value; }
inline void store(BFloat16* p, std::int64_t i, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;  // to nearest, ties to even
  const std::uint32_t nan = bits >> 16 | 0x40u;
  p[i].bits = static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

// Calls body with a value of the storage type: float or BFloat16.
template <class Body> void with_float(DType dtype, Body body) {
  switch (dtype) {
    case DType::f32: return body(float{});
    case DType::bf16: return body(BFloat16{});
    default:
      throw Error(ExitCode::usage,
                  fmt::format("the cpu backend computes in f32 and bf16, not {}; f64 is for the reference backend",
                              dtype_name(dtype)));
  }
}
template <class Body> void with_float(DType first, DType second, Body body) {
  with_float(first, [&](auto a) { with_float(second, [&](auto b) { body(a, b); }); });
}
template <class Body> void with_float(const Tensor& x, Body body) { with_float(x.dtype(), body); }
template <class Body> void with_float(const Tensor& x, const Tensor& y, Body body) { with_float(x.dtype(), y.dtype(), body); }

constexpr std::int64_t serial_below = 32768;  // elements: less is done before a second thread has started

// body(i) for every element; iterations must not depend on each other.
template <class Body> void for_elements(int threads, std::int64_t n, Body body) {
#pragma omp parallel for simd schedule(static) num_threads(threads) if (parallel : n > serial_below) firstprivate(body)
  for (std::int64_t i = 0; i < n; ++i) body(i);
}

// body(i) for every item, an item being `cost` elements of work. Little work stands in no parallel region, not even in one of a single
// thread: there a product of oneDNN's would start threads of its own, which wait for those that spin.
template <class Body> void for_items(int threads, std::int64_t items, std::int64_t cost, Body body) {
  if (items < 2 || items * cost <= serial_below) {
    for (std::int64_t i = 0; i < items; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(threads) firstprivate(body)
  for (std::int64_t i = 0; i < items; ++i) body(i);
}

// Memory of the backend's pool for the length of a kernel.
template <class T> class Scratch {
 public:
  Scratch(Backend& backend, std::int64_t count)
      : backend_(backend),
        bytes_(static_cast<std::size_t>(count) * sizeof(T)),
        data_(static_cast<T*>(backend.allocate(bytes_))) {}
  ~Scratch() { backend_.release(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator T*() { return data_; }
  T* get() { return data_; }

 private:
  Backend& backend_;
  std::size_t bytes_;
  T* data_;
};

// ---- functions of one float, within 3 units in the last place (coefficients: Cephes, Moshier, 1992) ------------------
inline float exp_of(float x) {
  x = x > 89.0f ? 89.0f : x;      // beyond: infinity
  x = x < -104.0f ? -104.0f : x;  // beyond: 0
  constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer
  const float shifted = std::fma(x, 1.44269504f, to_integer);
  const float n = shifted - to_integer;
  float r = std::fma(n, -0.693359375f, x);
  r = std::fma(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = std::fma(p, r, 1.3981999507e-3f);
  p = std::fma(p, r, 8.3334519073e-3f);
  p = std::fma(p, r, 4.1665795894e-2f);
  p = std::fma(p, r, 1.6666665459e-1f);
  p = std::fma(p, r, 5.0000001201e-1f);
  p = std::fma(p, r * r, r) + 1.0f;
  // 2^n in two halves, since n reaches from -150 to 128.
  const std::int32_t exponent = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(to_integer);
  const std::int32_t half = exponent >> 1;
  return p * std::bit_cast<float>((half + 127) << 23) * std::bit_cast<float>((exponent - half + 127) << 23);
}

inline float log_of(float x) {
  const bool subnormal = x < 0x1p-126f;
  const float scaled = subnormal ? x * 0x1p23f : x;
  // So that the mantissa is in [sqrt 1/2, sqrt 2).
  const auto bits = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(scaled) - 0x3f3504f3u);
  const float e = static_cast<float>(bits >> 23) - (subnormal ? 23.0f : 0.0f);
  const float f = std::bit_cast<float>((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  const float f2 = f * f;
  float p = 7.0376836292e-2f;
  p = std::fma(p, f, -1.1514610310e-1f);
  p = std::fma(p, f, 1.1676998740e-1f);
  p = std::fma(p, f, -1.2420140846e-1f);
  p = std::fma(p, f, 1.4249322787e-1f);
  p = std::fma(p, f, -1.6668057665e-1f);
  p = std::fma(p, f, 2.0000714765e-1f);
  p = std::fma(p, f, -2.4999993993e-1f);
  p = std::fma(p, f, 3.3333331174e-1f);
  p = std::fma(p * f, f2, -2.12194440e-4f * e);
  p = std::fma(-0.5f, f2, p);
  const float y = std::fma(0.693359375f, e, f + p);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float edge = x == 0.0f ? -infinity : x < 0.0f ? std::numeric_limits<float>::quiet_NaN() : x;
  return x > 0.0f && x < infinity ? y : edge;
}

// ln(1 + x) for x in [0, 1]: the logarithm of the rounded sum, and what was rounded away.
inline float log1p_of(float x) {
  const float sum = 1.0f + x;
  return log_of(sum) + (x - (sum - 1.0f)) / sum;
}

inline float sigmoid_of(float x) {
  const float e = exp_of(-std::fabs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

inline float tanh_of(float x) {
  const float x2 = x * x;
  float p = -5.70498872745e-3f;
  p = std::fma(p, x2, 2.06390887954e-2f);
  p = std::fma(p, x2, -5.37397155531e-2f);
  p = std::fma(p, x2, 1.33314422036e-1f);
  p = std::fma(p, x2, -3.33332819422e-1f);
  const float near_zero = std::fma(p * x2, x, x);
  const float far = std::copysign(1.0f - 2.0f / (exp_of(2.0f * std::fabs(x)) + 1.0f), x);
  return std::fabs(x) < 0.625f ? near_zero : far;
}

}  // namespace pastiche::cpu
