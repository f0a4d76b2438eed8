#pragma once
// Counter-based random numbers, the same bits on every backend: Philox4x32-10 of Salmon et al., "Parallel Random Numbers:
// As Easy as 1, 2, 3", SC 2011. There is no state to save: a number is a function of (seed, stream, step, index).
// The normal distribution uses our own polynomials and explicit fma, so that no two math libraries can differ in a bit;
// whatever includes this file is compiled with floating-point contraction off.
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define PASTICHE_HOST_DEVICE __host__ __device__
#else
#define PASTICHE_HOST_DEVICE
#endif

namespace pastiche {

struct Philox4 {
  std::uint32_t word[4];
};

// Who draws: two draws with different seed or stream are independent. A stream belongs to one use (latents of G, dropout
// of one layer, order of an epoch, ...).
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
};

// Four random words for the `block`-th group of four of `step`.
PASTICHE_HOST_DEVICE inline Philox4 philox4x32(RandomKey key, std::uint64_t step, std::uint64_t block) {
  // Stream and step share the counter with the block index: 32 + 48 + 48 bits.
  std::uint32_t c0 = static_cast<std::uint32_t>(block);
  std::uint32_t c1 = static_cast<std::uint32_t>((block >> 32) & 0xffffu) | (static_cast<std::uint32_t>(step >> 32) << 16);
  std::uint32_t c2 = static_cast<std::uint32_t>(step);
  std::uint32_t c3 = key.stream;
  std::uint32_t k0 = static_cast<std::uint32_t>(key.seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in (0, 1): the middle of one of 2^23 cells, so neither end occurs and every value is exact.
PASTICHE_HOST_DEVICE inline float uniform_from(std::uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f;
}

// The word for number `index` of `step`: one of its group of four.
PASTICHE_HOST_DEVICE inline std::uint32_t philox_word(RandomKey key, std::uint64_t step, std::uint64_t index) {
  const Philox4 words = philox4x32(key, step, index / 4);
  // Chosen by conditions: an array under a variable index would lie in a GPU thread's local memory.
  const std::uint32_t even = (index & 2) != 0 ? words.word[2] : words.word[0];
  const std::uint32_t odd = (index & 2) != 0 ? words.word[3] : words.word[1];
  return (index & 1) != 0 ? odd : even;
}

// floor(uniform_from(word) extent) without rounding, so always below the extent, which is at least 1 and at most 2^39.
PASTICHE_HOST_DEVICE inline std::int64_t integer_below(std::int64_t extent, std::uint32_t word) {
  return ((2 * static_cast<std::int64_t>(word >> 9) + 1) * extent) >> 24;
}

// Natural logarithm of a normal float in (0, 1]; relative error below 3e-7. ln(m 2^e) = e ln 2 + 2 atanh((m-1)/(m+1)).
PASTICHE_HOST_DEVICE inline float log_from_bits(float x) {
  union { float f; std::uint32_t u; } bits{x};
  int exponent = static_cast<int>(bits.u >> 23) - 127;
  bits.u = (bits.u & 0x007fffffu) | 0x3f800000u;  // mantissa in [1, 2)
  if (bits.f > 1.41421356f) {
    bits.f *= 0.5f;
    ++exponent;
  }
  const float s = (bits.f - 1.0f) / (bits.f + 1.0f);
  const float s2 = s * s;
  float p = fmaf(s2, 2.0f / 9.0f, 2.0f / 7.0f);
  p = fmaf(s2, p, 2.0f / 5.0f);
  p = fmaf(s2, p, 2.0f / 3.0f);
  p = fmaf(s2, p, 2.0f);
  return fmaf(static_cast<float>(exponent), 0.693147181f, s * p);
}

struct SinCos {
  float sin, cos;
};

// sin and cos of 2 pi t for t in (0, 1): Taylor polynomials on a quarter turn; absolute error below 2e-7.
PASTICHE_HOST_DEVICE inline SinCos sincos_turns(float t) {
  const int quadrant = static_cast<int>(fmaf(t, 4.0f, 0.5f)) & 3;
  const float turn = t - 0.25f * static_cast<float>(static_cast<int>(fmaf(t, 4.0f, 0.5f)));  // in [-1/8, 1/8]
  const float a = 6.28318531f * turn;
  const float a2 = a * a;
  float s = fmaf(a2, 1.0f / 362880.0f, -1.0f / 5040.0f);
  s = fmaf(a2, s, 1.0f / 120.0f);
  s = fmaf(a2, s, -1.0f / 6.0f);
  s = fmaf(a2 * a, s, a);
  float c = fmaf(a2, 1.0f / 40320.0f, -1.0f / 720.0f);
  c = fmaf(a2, c, 1.0f / 24.0f);
  c = fmaf(a2, c, -0.5f);
  c = fmaf(a2, c, 1.0f);
  switch (quadrant) {
    case 0: return {s, c};
    case 1: return {c, -s};
    case 2: return {-s, -c};
    default: return {-c, s};
  }
}

// Number `index` of the standard normal distribution (Box and Muller, 1958): two words make two numbers, so a group of
// four words serves the indices 4 block .. 4 block + 3.
PASTICHE_HOST_DEVICE inline void normal4(RandomKey key, std::uint64_t step, std::uint64_t block, float out[4]) {
  const Philox4 words = philox4x32(key, step, block);
  for (int pair = 0; pair < 2; ++pair) {
    const float radius = sqrtf(-2.0f * log_from_bits(uniform_from(words.word[2 * pair])));
    const SinCos angle = sincos_turns(uniform_from(words.word[2 * pair + 1]));
    out[2 * pair] = radius * angle.cos;
    out[2 * pair + 1] = radius * angle.sin;
  }
}

}  // namespace pastiche
