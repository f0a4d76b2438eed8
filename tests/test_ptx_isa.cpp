// What the translator makes of PTX: each instruction on the values where it is likely to be wrong, and the kernels of ptx_kernels/isa.cu.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <limits>
#include <map>

#include "pastiche/error.h"
#include "ptx_kernels/isa.h"
#include "simt/engine.h"

namespace pastiche::ptx_isa {
namespace {

using s8 = std::int8_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

// ---- what is expected, in other words than in ptx.h ------------------------------------------------------------------

int bits_set(u32 v) {
  int n = 0;
  for (; v != 0; v &= v - 1) ++n;
  return n;
}

u64 reversed(u64 v, int width) {
  u64 result = 0;
  for (int i = 0; i < width; ++i) result |= (v >> i & 1) << (width - 1 - i);
  return result;
}

// Bit by bit, as the ISA has it.
u64 bit_field(u64 a, u64 at, u64 count, u64 width, bool is_signed) {
  const u64 last = std::min(at + count - 1, width - 1);
  const bool sign = is_signed && count != 0 && (a >> last & 1) != 0;
  u64 result = 0;
  for (u64 i = 0; i < width; ++i) {
    const bool bit = i < count && at + i <= width - 1 ? (a >> (at + i) & 1) != 0 : sign;
    result |= u64{bit} << i;
  }
  return result;
}

u64 with_field(u64 into, u64 from, u64 at, u64 count, u64 width) {
  for (u64 i = 0; i < count && at + i < width; ++i) into = (into & ~(u64{1} << (at + i))) | (from >> i & 1) << (at + i);
  return into;
}

u32 permuted(u32 a, u32 b, u32 selector) {
  std::uint8_t bytes[8], result[4];
  for (int i = 0; i < 4; ++i) {
    bytes[i] = static_cast<std::uint8_t>(a >> 8 * i);
    bytes[4 + i] = static_cast<std::uint8_t>(b >> 8 * i);
  }
  for (int i = 0; i < 4; ++i) {
    const u32 s = selector >> 4 * i & 15;
    result[i] = s < 8 ? bytes[s] : bytes[s - 8] < 128 ? 0 : 255;
  }
  return std::bit_cast<u32>(result);
}

// The host's own arithmetic, in another mode, which the compiler does not know of.
template <class T> struct Hidden {
  explicit Hidden(T value) : v(value) {}
  volatile T v;
};
template <class F> f32 as(int mode, F f) {
  std::fesetround(mode);
  volatile const f32 result = f();
  std::fesetround(FE_TONEAREST);
  return result;
}
f32 fma_as(int mode, f32 a, f32 b, f32 c) { return as(mode, [x = Hidden(a), y = Hidden(b), z = Hidden(c)] { return std::fma(x.v, y.v, z.v); }); }
f32 product_as(int mode, f32 a, f32 b) { return as(mode, [x = Hidden(a), y = Hidden(b)] { return x.v * y.v; }); }
f32 narrowed_as(int mode, double a) { return as(mode, [x = Hidden(a)] { return static_cast<f32>(x.v); }); }

f32 without_small(f32 v) { return std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v; }
double clamped_integer(double v, double least, double most) { return std::isnan(v) ? 0 : std::clamp(v, least, most); }
std::uint16_t nearest_f16(f32 v) { return std::isnan(v) ? 0x7fff : std::bit_cast<std::uint16_t>(static_cast<_Float16>(v)); }
std::uint16_t nearest_bf16(f32 v) {
  if (std::isnan(v)) return 0x7fff;
  if (std::isinf(v)) return static_cast<std::uint16_t>(std::bit_cast<u32>(v) >> 16);
  const u32 bits = std::bit_cast<u32>(v), down = bits & 0xffff0000u, rest = bits & 0xffffu;
  return static_cast<std::uint16_t>((rest > 0x8000u || (rest == 0x8000u && (down & 0x10000u) != 0) ? down + 0x10000u : down) >> 16);
}
f32 rounded_tf32(f32 v) {
  if (std::isnan(v) || std::isinf(v)) return v;
  const u32 bits = std::bit_cast<u32>(v), down = bits & ~0x1fffu;
  return std::bit_cast<f32>((bits & 0x1000u) != 0 ? down + 0x2000u : down);
}

// ---- single instructions ---------------------------------------------------------------------------------------------

template <class T> std::vector<T> values() {
  if constexpr (std::is_same_v<T, f32>) {
    constexpr f32 inf = std::numeric_limits<f32>::infinity(), most = std::numeric_limits<f32>::max();
    return {0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -1.5f, 2.5f, 1.0f / 3, -255.7f, 3.1415927f, 65519.9f, 65520.0f, 2147483648.0f, -2147483904.0f, 4294967040.0f,
            1e-8f, -6e-8f, 1.1754942e-38f, 1e-42f, -1e-45f, 16777216.0f, 16777215.0f, 1.00000012f, 1e20f, most, -most, inf, -inf, std::nanf("")};
  } else if constexpr (std::is_same_v<T, u32>) {
    return {0, 1, 2, 5, 7, 8, 31, 32, 33, 64, 255, 256, 0x5410u, 0xfedcu, 0x7fffu, 0x8000u, 0x3f80u, 0x7fffffffu, 0x80000000u, 0x80000001u, 0x12345678u,
            0xdeadbeefu, 0xffff0000u, 0xfffffffeu, 0xffffffffu, 16777217u};
  } else {
    return {0, 1, 2, 5, 31, 32, 33, 63, 64, 65, 255, 0x7fffffffu, 0x80000000u, 0xffffffffu, u64{1} << 32, 0x123456789abcdef0ull, 0xdeadbeefcafef00dull,
            u64{1} << 63, (u64{1} << 63) - 1, ~u64{0} - 1, ~u64{0}};
  }
}

bool same(f32 a, f32 b) { return (std::isnan(a) && std::isnan(b)) || std::bit_cast<u32>(a) == std::bit_cast<u32>(b); }
template <class T> bool same(T a, T b) { return a == b; }

template <class R, class I, class Run, class Expected> void check(Run run, Expected expected) {
  const std::vector<I> each = values<I>();
  std::vector<I> a, b, c;
  for (const I x : each) {
    for (const I y : each) {
      for (const I z : each) a.push_back(x), b.push_back(y), c.push_back(z);
    }
  }
  const std::vector<R> got = run(a, b, c);
  int wrong = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const R want = expected(a[i], b[i], c[i]);
    if (same(got[i], want) || ++wrong > 5) continue;
    ADD_FAILURE() << "of " << a[i] << ", " << b[i] << ", " << c[i] << ": " << got[i] << " instead of " << want;
  }
  EXPECT_EQ(wrong, 0);
}

#define PTX_OPERATION(name, R, r, I, i, text, expected)                                                                       \
  TEST(PtxInstruction, name) {                                                                                                \
    check<R, I>(ptx_isa::name, []([[maybe_unused]] I a, [[maybe_unused]] I b, [[maybe_unused]] I c) -> R { return expected; }); \
  }
#include "ptx_kernels/isa.def"
#undef PTX_OPERATION

// ---- kernels ---------------------------------------------------------------------------------------------------------

std::vector<u32> some(std::size_t n, u32 below = ~0u) {
  std::vector<u32> x(n);
  u32 state = 12345;
  for (u32& v : x) v = (state = state * 1664525u + 1013904223u) >> 4 % 28, v %= below;
  return x;
}

TEST(PtxKernel, Tables) {
  std::vector<u32> x(32);
  for (u32 i = 0; i < 32; ++i) x[i] = i * 5 + 3;
  const std::vector<u32> y = run("tables", x, 32);
  const u32 primes[] = {2, 3, 5, 7, 11, 13, 17, 19}, squares[] = {1, 4, 9, 16};
  u32 local[8];
  for (u32 i = 0; i < 8; ++i) local[x[i] % 8] = i * 10 + squares[i % 4];
  for (u32 i = 0; i < 32; ++i) EXPECT_EQ(y[i], local[x[i] % 8] + primes[x[i % 8] % 8]) << i;
}

TEST(PtxKernel, StaticSharedMemoryBesideDynamic) {
  for (const u32 first : {0u, 1u}) {
    std::vector<u32> x = some(64);
    x[0] = first;
    const std::vector<u32> y = run("shared", x, 64);
    for (u32 t = 0; t < 64; ++t) EXPECT_EQ(y[t], x[63 - t] + (first == 0 ? x[63 - t] * 3 : x[t])) << t;
  }
}

TEST(PtxKernel, SharedMemoryThatNobodyWroteIsNaN) {
  std::vector<u32> x(32, 7);
  run("unwritten", x, 32);  // what an earlier block left is not there
  x[5] = 0;
  const std::vector<u32> y = run("unwritten", x, 32);
  for (u32 i = 0; i < 32; ++i) EXPECT_EQ(y[i], i == 5 ? ~0u : 7u) << i;
}

TEST(PtxKernel, Vectors) {
  const std::vector<u32> x = some(128);
  const std::vector<u32> y = run("vectors", x, 128);
  const auto byte = [&](u32 i) { return x[i / 4] >> 8 * (i % 4) & 255; };
  const auto half = [&](u32 i) { return x[i / 2] >> 16 * (i % 2) & 0xffff; };
  for (u32 t = 0; t < 32; ++t) {
    EXPECT_EQ(y[4 * t], x[4 * t + 3]);
    EXPECT_EQ(y[4 * t + 1], byte(4 * t) + byte(4 * t + 3));
    EXPECT_EQ(y[4 * t + 2], half(8 * t + 1) + half(8 * t + 7));
    EXPECT_EQ(y[4 * t + 3], x[4 * t]);
  }
}

TEST(PtxKernel, Atomics) {
  const std::vector<u32> x = some(64);
  const std::vector<u32> y = run("atomics", x, 80);
  u32 sum = 0, bits = 0, odd = 0, counted = 0, down = 0;
  s32 most = 0;
  for (const u32 v : x) {
    sum += v, bits |= v, odd ^= v, most = std::max(most, s32(v));
    counted = counted >= 10 ? 0 : counted + 1;
    down = down == 0 || down > 10 ? 10 : down - 1;
  }
  EXPECT_EQ(y[0], sum);
  EXPECT_EQ(y[1], 0u);
  EXPECT_EQ(y[2], u32(most));
  EXPECT_EQ(y[3], 0u);
  EXPECT_EQ(y[4], bits);
  EXPECT_EQ(y[5], odd);
  EXPECT_EQ(y[6], counted);
  EXPECT_EQ(y[7], down);
  EXPECT_EQ(y[8], 0u);
  EXPECT_EQ(y[9], 128u);
  EXPECT_EQ(y[10], y[11] + 1);
  EXPECT_EQ(y[13], 1u);
  EXPECT_EQ(y[14], 64u);
  std::vector<u32> placed(y.begin() + 16, y.end()), all = x;
  std::sort(placed.begin(), placed.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(placed, all);
}

TEST(PtxKernel, CallsOfFunctions) {
  const std::vector<u32> x = some(32, 1000);
  const std::vector<u32> y = run("call", x, 32);
  const auto collatz = [](u32 n, u32 limit) {
    u32 steps = 0;
    for (; n != 1 && steps < limit; ++steps) n = n % 2 == 0 ? n / 2 : 3 * n + 1;
    return steps;
  };
  for (u32 i = 0; i < 32; ++i) EXPECT_EQ(y[i], collatz(x[i] + 1, 1000) + collatz(i + 1, 3)) << i;
}

TEST(PtxKernel, JumpsByIndex) {
  const std::vector<u32> x = some(32);
  const std::vector<u32> y = run("jump", x, 32), z = run("switch", x, 32);
  for (u32 i = 0; i < 32; ++i) {
    EXPECT_EQ(y[i], 10 * (x[i] % 3 + 1)) << i;
    const u32 v = x[i], cases[] = {v + 1, v * v, v ^ 0x55, v / 3, ~v, v << 4, 7, v - 1};
    EXPECT_EQ(z[i], cases[v % 8]) << i;
  }
}

TEST(PtxKernel, AssertionsAndTrapsFailTheLaunch) {
  EXPECT_EQ(run("failing", std::vector<u32>(32, 0), 32), std::vector<u32>(32, 0));
  for (const auto& [how, why] : {std::pair{1u, "an assertion does not hold at isa.cu:"}, std::pair{2u, "a trap at isa.cu:"}}) {
    try {
      run("failing", std::vector<u32>(32, how), 32);
      ADD_FAILURE() << "it went on";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
    simt_runtime::clear_error();
  }
}

// As the ISA's pseudocode has it.
TEST(PtxKernel, ShufflesTellWhetherTheLaneWasInside) {
  for (const std::string mode : {"up", "down", "bfly", "idx"}) {
    for (const u32 width : {32u, 16u, 8u, 4u}) {
      for (const u32 step : {0u, 1u, 3u, 8u, 17u}) {
        std::vector<u32> x(96);
        const u32 segment = 32 - width;
        for (u32 lane = 0; lane < 32; ++lane) {
          x[lane] = 1000 + lane;
          x[32 + lane] = mode == "idx" ? (lane + step) % 32 : step;
          x[64 + lane] = (mode == "up" ? 0 : 31) | segment << 8;
        }
        const std::vector<u32> y = run("shuffle " + mode, x, 64);
        for (int lane = 0; lane < 32; ++lane) {
          const int base = lane / static_cast<int>(width) * static_cast<int>(width), end = base + static_cast<int>(width), b = static_cast<int>(x[32 + lane]);
          const int from = mode == "up" ? lane - b : mode == "down" ? lane + b : mode == "bfly" ? lane ^ b : base + b % static_cast<int>(width);
          const bool inside = mode == "up" ? from >= base : from < end;
          EXPECT_EQ(y[lane], 1000u + static_cast<u32>(inside ? from : lane)) << mode << " " << width << " " << step << " lane " << lane;
          EXPECT_EQ(y[32 + lane], inside) << mode << " " << width << " " << step << " lane " << lane;
        }
      }
    }
  }
}

TEST(PtxKernel, Votes) {
  for (const u32 pattern : {0u, ~0u, 0x0000ffffu, 0x12345678u}) {
    std::vector<u32> x(32);
    for (u32 i = 0; i < 32; ++i) x[i] = pattern >> i & 1;
    const std::vector<u32> y = run("votes", x, 192);
    for (u32 lane = 0; lane < 32; ++lane) {
      const u32 mask = lane < 16 ? 0xffffu : 0xffff0000u;
      EXPECT_EQ(y[lane], pattern);
      EXPECT_EQ(y[32 + lane], (pattern & mask) != 0);
      EXPECT_EQ(y[64 + lane], (pattern & mask) == mask);
      EXPECT_EQ(y[96 + lane], pattern & mask);
      EXPECT_EQ(y[128 + lane], pattern == 0 || pattern == ~0u);
      EXPECT_EQ(y[160 + lane], (u64{1} << lane) - 1);
    }
  }
}

TEST(PtxKernel, BarriersThatCount) {
  for (const u32 yes : {0u, 1u, 50u, 96u}) {
    std::vector<u32> x(96);
    std::fill(x.begin(), x.begin() + yes, 1);
    const std::vector<u32> y = run("counts", x, 288);
    for (u32 t = 0; t < 96; ++t) {
      EXPECT_EQ(y[t], yes);
      EXPECT_EQ(y[96 + t], yes > 0);
      EXPECT_EQ(y[192 + t], yes == 96);
    }
  }
}

TEST(PtxKernel, AsynchronousCopies) {
  const std::vector<u32> x = some(3 * 32 * 4);
  for (const bool early : {false, true}) {
    const std::vector<u32> y = run(early ? "early copies" : "copies", x, 96);
    for (u32 lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(y[lane], x[lane * 4 + 3]);
      EXPECT_EQ(y[32 + lane], early ? ~0u : x[(32 + lane) * 4 + 1]) << "a copy is made when the thread waits for it, and not before";
      EXPECT_EQ(y[64 + lane], x[(64 + lane) * 4] & 0xffffffu);
    }
  }
}

// ---- matrices --------------------------------------------------------------------------------------------------------

std::vector<f32> product(const std::string& name, const std::vector<f32>& a, const std::vector<f32>& b) {
  std::vector<u32> x;
  for (const auto* matrix : {&a, &b}) {
    for (const f32 v : *matrix) x.push_back(std::bit_cast<u32>(v));
  }
  std::vector<f32> y;
  for (const u32 v : run("mma " + name, x, 128)) y.push_back(std::bit_cast<f32>(v));
  return y;
}

class PtxMatrix : public testing::TestWithParam<const char*> {
 protected:
  std::string name() const { return GetParam(); }
  std::size_t depth() const { return std::stoul(name().substr(name().rfind(' ') + 1)); }
};

// A has a single one: a row of the result is a row of B.
TEST_P(PtxMatrix, OneHot) {
  const std::size_t k = depth();
  std::vector<f32> b(k * 8);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<f32>(i + 1);
  for (std::size_t at = 0; at < 16 * k; ++at) {
    std::vector<f32> a(16 * k), expected(128);
    a[at] = 1;
    std::copy_n(b.begin() + static_cast<std::ptrdiff_t>(at % k * 8), 8, expected.begin() + static_cast<std::ptrdiff_t>(at / k * 8));
    ASSERT_EQ(product(name(), a, b), expected) << "row " << at / k << ", k " << at % k;
  }
}

TEST_P(PtxMatrix, Integers) {
  const std::size_t k = depth();
  std::vector<f32> a(16 * k), b(k * 8), expected(128);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<f32>(static_cast<int>(i * 7 % 17) - 8);
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<f32>(static_cast<int>(i * 5 % 13) - 6);
  for (std::size_t m = 0; m < 16; ++m) {
    for (std::size_t n = 0; n < 8; ++n) {
      for (std::size_t i = 0; i < k; ++i) expected[m * 8 + n] += a[m * k + i] * b[i * 8 + n];
    }
  }
  EXPECT_EQ(product(name(), a, b), expected);
}

INSTANTIATE_TEST_SUITE_P(All, PtxMatrix, testing::Values("bf16 16", "bf16 8", "f16 16", "f16 8", "f16 sums 16", "tf32 8", "tf32 4"), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

}  // namespace
}  // namespace pastiche::ptx_isa
