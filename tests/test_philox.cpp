// philox.h: the published vectors, and how near its polynomials come to a math library.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "pastiche/philox.h"

namespace pastiche {
namespace {

// Runs philox4x32 on a raw counter and key. Its counter is (block low, step high 16 : block high 16, step low, stream), so
// every raw counter is some (stream, step, block).
Philox4 on_counter(const std::uint32_t counter[4], const std::uint32_t key[2]) {
  const std::uint64_t block = counter[0] | static_cast<std::uint64_t>(counter[1] & 0xffffu) << 32;
  const std::uint64_t step = counter[2] | static_cast<std::uint64_t>(counter[1] >> 16) << 32;
  return philox4x32({.seed = key[0] | static_cast<std::uint64_t>(key[1]) << 32, .stream = counter[3]}, step, block);
}

// Random123, kat_vectors: counter, key, result.
TEST(Philox, KnownAnswers) {
  struct {
    std::uint32_t counter[4], key[2], result[4];
  } const vectors[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const auto& [counter, key, result] : vectors) {
    const Philox4 words = on_counter(counter, key);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(words.word[i], result[i]);
  }
}

TEST(Philox, UniformIsInsideTheUnitInterval) {
  EXPECT_EQ(uniform_from(0), 0x1p-24f);
  EXPECT_EQ(uniform_from(0xffffffffu), 1 - 0x1p-24f);
  EXPECT_EQ(uniform_from(0x80000000u), 0.5f + 0x1p-24f);
}

TEST(Philox, WordsAreThoseOfTheirGroups) {
  const RandomKey key{.seed = 5, .stream = 6};
  for (std::uint64_t i = 0; i < 12; ++i) EXPECT_EQ(philox_word(key, 7, i), philox4x32(key, 7, i / 4).word[i % 4]);
}

TEST(Philox, IntegersStayBelowTheirExtent) {
  for (const std::int64_t extent : {1, 2, 3, 7, 1000, (1 << 24) + 1, (1 << 29) - 1}) {
    for (const std::uint32_t word : {0u, 1u << 9, 0x7fffffffu, 0x80000000u, 0xfffffdffu, 0xffffffffu}) {
      const std::int64_t i = integer_below(extent, word);
      EXPECT_LT(i, extent);
      EXPECT_EQ(static_cast<double>(i), std::floor(static_cast<double>(uniform_from(word)) * static_cast<double>(extent)));
    }
  }
  EXPECT_EQ(integer_below(std::int64_t{1} << 39, 0xffffffffu), (std::int64_t{1} << 39) - (1 << 15));
}

// All 2^23 numbers that uniform_from gives.
TEST(Philox, LogarithmOfEveryUniformNumber) {
  double worst = 0;
  for (std::uint32_t cell = 0; cell < (1u << 23); ++cell) {
    const float u = uniform_from(cell << 9);
    const double exact = std::log(static_cast<double>(u));
    worst = std::max(worst, std::abs((log_from_bits(u) - exact) / exact));
  }
  EXPECT_LT(worst, 3e-7);
}

TEST(Philox, SineAndCosineOfEveryUniformNumber) {
  double worst = 0;
  for (std::uint32_t cell = 0; cell < (1u << 23); ++cell) {
    const float u = uniform_from(cell << 9);
    const SinCos got = sincos_turns(u);
    const double angle = 2 * std::numbers::pi * u;
    worst = std::max({worst, std::abs(got.sin - std::sin(angle)), std::abs(got.cos - std::cos(angle))});
  }
  EXPECT_LT(worst, 2e-7);
}

TEST(Philox, NormalHasTheMomentsOfTheNormalDistribution) {
  constexpr int blocks = 250'000, count = 4 * blocks;
  double power[5] = {}, neighbours = 0;
  for (int block = 0; block < blocks; ++block) {
    float x[4];
    normal4({.seed = 42, .stream = 3}, 7, static_cast<std::uint64_t>(block), x);
    for (int i = 0; i < 4; ++i) {
      for (int k = 1; k <= 4; ++k) power[k] += std::pow(x[i], k) / count;
    }
    neighbours += (x[0] * x[1] + x[1] * x[2] + x[2] * x[3]) / (3.0 * blocks);
  }
  // Four standard errors of the mean of a million: sqrt of the variances 1, 2, 15, 96 of the powers.
  EXPECT_NEAR(power[1], 0, 4 * std::sqrt(1.0 / count));
  EXPECT_NEAR(power[2], 1, 4 * std::sqrt(2.0 / count));
  EXPECT_NEAR(power[3], 0, 4 * std::sqrt(15.0 / count));
  EXPECT_NEAR(power[4], 3, 4 * std::sqrt(96.0 / count));
  EXPECT_NEAR(neighbours, 0, 4 * std::sqrt(1.0 / (3 * blocks)));
}

TEST(Philox, KeysStepsAndBlocksDiffer) {
  const auto first = [](std::uint64_t seed, std::uint32_t stream, std::uint64_t step, std::uint64_t block) {
    return philox4x32({.seed = seed, .stream = stream}, step, block).word[0];
  };
  const std::uint32_t base = first(1, 2, 3, 4);
  EXPECT_EQ(base, first(1, 2, 3, 4));
  EXPECT_NE(base, first(2, 2, 3, 4));
  EXPECT_NE(base, first(1 + (std::uint64_t{1} << 32), 2, 3, 4));
  EXPECT_NE(base, first(1, 3, 3, 4));
  EXPECT_NE(base, first(1, 2, 4, 4));
  EXPECT_NE(base, first(1, 2, 3 + (std::uint64_t{1} << 40), 4));
  EXPECT_NE(base, first(1, 2, 3, 5));
  EXPECT_NE(base, first(1, 2, 3, 4 + (std::uint64_t{1} << 40)));
}

}  // namespace
}  // namespace pastiche
