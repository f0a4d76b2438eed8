#pragma once
// What translated PTX consists of. The names of the PTX ISA, where they are words.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <type_traits>
#include <utility>

#include "ptx/kernel.h"

#define PTX_INLINE inline __attribute__((always_inline))

namespace pastiche::ptx_runtime {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;
using f32 = float;
using f64 = double;
using simt_runtime::Access;
using simt_runtime::Wait;

#ifdef PASTICHE_PTX_CHECKED
inline namespace checked {
#define PTX_FORM ".checked"
#define PTX_COUNT(n) ++counters[n]
#define PTX_CHANGED(n) (can_change(n, places[n].change) && changed == (n))
#else
inline namespace plain {
#define PTX_FORM ".plain"
#define PTX_COUNT(n)
#define PTX_CHANGED(n) false
#endif
#define PTX_PLACE(n) (&places[n])

// In a translated file, after its tables; and for each of its kernels, at the end.
#ifdef PASTICHE_PTX_CHECKED
#define PTX_MODULE(name, counts)                                                               \
  constinit u64 counters[counts] = {};                                                         \
  constinit u32 changed = std::size(places);                                                   \
  constinit const Module this_module = {name, files, locations, places, counters, &changed};   \
  const Registered registered_module(this_module);
#define PTX_KERNEL(number, name, ...)                                                          \
  extern Kernel entry_##number __asm__(name);                                                  \
  static constinit const Kernel checked_##number = PTX_KERNEL_VALUE(number, name, __VA_ARGS__); \
  static const Registered registered_##number(entry_##number, checked_##number);
#else
#define PTX_MODULE(name, counts)                                                               \
  constinit const Module this_module = {name, files, locations, places, nullptr, nullptr};     \
  const Registered registered_module(this_module);
#define PTX_KERNEL(number, name, ...)                                                          \
  extern Kernel entry_##number __asm__(name);                                                  \
  constinit Kernel entry_##number = PTX_KERNEL_VALUE(number, name, __VA_ARGS__);
#endif
#define PTX_KERNEL_VALUE(number, mangled, first, count, parameters, statics, threads, variables)                                  \
  {.name = mangled, .module = &this_module, .first_place = first, .places = count, .parameter_bytes = parameters,                 \
   .static_shared_bytes = statics, .max_threads = threads, .shared = variables, .run = kernel_##number}

PTX_INLINE u32 bits(f32 v) { return std::bit_cast<u32>(v); }
PTX_INLINE u64 bits(f64 v) { return std::bit_cast<u64>(v); }
PTX_INLINE f32 f32_of(u32 v) { return std::bit_cast<f32>(v); }
PTX_INLINE f64 f64_of(u64 v) { return std::bit_cast<f64>(v); }

// ---- memory ----------------------------------------------------------------------------------------------------------
// What a thread sees of the machine.
struct Thread {
  u8* shared = static_cast<u8*>(simt_runtime::simt_dynamic_shared());
  simt_runtime::uint3 tid = simt_runtime::threadIdx, ctaid = simt_runtime::blockIdx, ntid = simt_runtime::blockDim, nctaid = simt_runtime::gridDim;
};

PTX_INLINE u8* pointer(u64 address) { return reinterpret_cast<u8*>(address); }
PTX_INLINE u64 address(const void* at) { return reinterpret_cast<u64>(at); }

PTX_INLINE void watch(const void* at, std::size_t bytes, Access access, const Place* place) {
#ifdef PASTICHE_PTX_CHECKED
  simt_runtime::report_access(at, bytes, access, place);
#else
  static_cast<void>(at), static_cast<void>(bytes), static_cast<void>(access), static_cast<void>(place);
#endif
}
// Several accesses to neighbouring places, which are one if they are aligned as one.
template <int Count> PTX_INLINE void watch_parts(const u8* at, std::size_t bytes, Access access, const Place* place) {
#ifdef PASTICHE_PTX_CHECKED
  if (address(at) % (Count * bytes) == 0) return watch(at, Count * bytes, access, place);
  for (int i = 0; i < Count; ++i) watch(at + i * bytes, bytes, access, place);
#endif
}
template <class T> PTX_INLINE T get(const void* at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  return v;
}
template <class T> PTX_INLINE void put(void* at, T v) { std::memcpy(at, &v, sizeof v); }
template <class T> PTX_INLINE T load(const void* at, const Place* place) {
  watch(at, sizeof(T), Access::read, place);
  return get<T>(at);
}
template <class T> PTX_INLINE void store(void* at, T v, const Place* place) {
  watch(at, sizeof(T), Access::write, place);
  put<T>(at, v);
}

// at becomes f of what it was, which is returned.
template <class T, class F> PTX_INLINE T update(void* at, const Place* place, F f) {
  watch(at, sizeof(T), Access::atomic, place);
  using Bits = std::conditional_t<sizeof(T) == 4, u32, u64>;
  auto* const to = static_cast<Bits*>(at);
  Bits old = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(to, &old, std::bit_cast<Bits>(static_cast<T>(f(std::bit_cast<T>(old)))), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return std::bit_cast<T>(old);
}

// ---- the threads of a block and of a warp ----------------------------------------------------------------------------
PTX_INLINE u32 laneid() { return static_cast<u32>(simt_runtime::lane_index()); }
PTX_INLINE int barrier(bool predicate, const Place* place) { return simt_runtime::wait_for_block(predicate, place); }
PTX_INLINE u64 meet(Wait kind, u32 mask, u64 value, u32 from, const Place* place) {
  return simt_runtime::wait_for_warp(kind, mask, value, static_cast<int>(from), place);
}
PTX_INLINE u32 ballot(bool predicate, u32 mask, const Place* place) { return static_cast<u32>(meet(Wait::vote, mask, predicate, laneid(), place)); }

struct Shuffled {
  u32 value;
  bool inside;  // the lane it comes from is of the segment
};
enum class Shuffle : u8 { up, down, bfly, idx };
PTX_INLINE Shuffled shuffle(Shuffle mode, u32 value, u32 b, u32 c, u32 mask, const Place* place) {
  const u32 lane = laneid(), segment = c >> 8 & 31, clamp = c & 31;
  const u32 most = (lane & segment) | (clamp & ~segment), least = lane & segment;
  b &= 31;
  u32 from = lane;
  bool inside = false;
  switch (mode) {
    case Shuffle::up: from = lane - b; inside = static_cast<s32>(from) >= static_cast<s32>(most); break;
    case Shuffle::down: from = lane + b; inside = from <= most; break;
    case Shuffle::bfly: from = lane ^ b; inside = from <= most; break;
    case Shuffle::idx: from = least | (b & ~segment); inside = from <= most; break;
  }
  if (!inside) from = lane;
  return {static_cast<u32>(meet(Wait::shuffle, mask, value, from, place)), inside};
}

// ---- integers --------------------------------------------------------------------------------------------------------
template <class T> constexpr int width = 8 * sizeof(T);

// Of a division by zero the ISA says nothing; a GPU gives all ones.
template <class T> PTX_INLINE T quotient(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(a));
  return a / b;
}
template <class T> PTX_INLINE T remainder(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
  return a % b;
}
template <class T> PTX_INLINE T mul_hi(T a, T b) {
  using Wide = std::conditional_t<sizeof(T) == 8, std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
                                  std::conditional_t<std::is_signed_v<T>, s64, u64>>;
  return static_cast<T>(static_cast<Wide>(a) * static_cast<Wide>(b) >> width<T>);
}
template <class T> PTX_INLINE T shl(T a, u32 n) { return n < width<T> ? static_cast<T>(a << n) : T{0}; }
template <class T> PTX_INLINE T shr(T a, u32 n) { return n < width<T> ? static_cast<T>(a >> n) : static_cast<T>(a < 0 ? -1 : 0); }
template <class T> PTX_INLINE T bfe(T a, u32 at, u32 count) {
  at &= 255, count &= 255;
  using U = std::make_unsigned_t<T>;
  if (count == 0) return 0;
  const bool sign = std::is_signed_v<T> && (a >> std::min<u32>(at + count - 1, width<T> - 1) & 1) != 0;
  const U low = shr<U>(static_cast<U>(a), at), mask = static_cast<U>(shl<U>(1, count) - 1);
  const u32 have = at < width<T> ? width<T> - at : 0;
  const U field = low & mask;
  return static_cast<T>(sign ? field | static_cast<U>(~(have < count ? static_cast<U>(shl<U>(1, have) - 1) : mask)) : field);
}
template <class T> PTX_INLINE T bfi(T field, T into, u32 at, u32 count) {
  const T mask = shl<T>(static_cast<T>(shl<T>(1, count & 255) - 1), at & 255);
  return static_cast<T>((shl<T>(field, at & 255) & mask) | (into & ~mask));
}
PTX_INLINE u32 brev(u32 v) {
  v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
  v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
  v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(v);
}
PTX_INLINE u64 brev(u64 v) { return u64{brev(static_cast<u32>(v))} << 32 | brev(static_cast<u32>(v >> 32)); }
PTX_INLINE u32 prmt(u32 a, u32 b, u32 selector) {
  const u64 both = u64{b} << 32 | a;
  u32 result = 0;
  for (int i = 0; i < 4; ++i) {
    const u32 s = selector >> 4 * i, byte = static_cast<u32>(both >> 8 * (s & 7)) & 255;
    result |= ((s & 8) != 0 ? (byte >> 7) * 255u : byte) << 8 * i;
  }
  return result;
}
PTX_INLINE u32 lop3(u32 a, u32 b, u32 c, u32 table) {
  u32 result = 0;
  for (u32 i = 0; i < 8; ++i) result |= (table >> i & 1) != 0 ? ((i & 4) != 0 ? a : ~a) & ((i & 2) != 0 ? b : ~b) & ((i & 1) != 0 ? c : ~c) : 0;
  return result;
}
PTX_INLINE u32 shf_l(u32 low, u32 high, u32 n) { return static_cast<u32>((u64{high} << 32 | low) << n >> 32); }
PTX_INLINE u32 shf_r(u32 low, u32 high, u32 n) { return static_cast<u32>((u64{high} << 32 | low) >> n); }

// ---- floating point --------------------------------------------------------------------------------------------------
PTX_INLINE f32 ftz(f32 v) { return std::fabs(v) < std::numeric_limits<f32>::min() ? std::copysign(0.0f, v) : v; }
template <class T> PTX_INLINE T saturate(T v) { return v > 0 ? (v < 1 ? v : T{1}) : T{0}; }  // of a NaN, 0

// A NaN gives way to a number, and -0 is less than 0.
template <class T> PTX_INLINE T minimum(T a, T b) { return a < b || b != b || (a == b && std::signbit(a)) ? a : b; }
template <class T> PTX_INLINE T maximum(T a, T b) { return a > b || b != b || (a == b && !std::signbit(a)) ? a : b; }

enum class Rounding : u8 { zero, down, up };
// high + low as a float, where low is less than high's last digit.
PTX_INLINE f32 rounded(Rounding mode, f64 high, f64 low) {
  const f32 nearest = static_cast<f32>(high);
  const f64 above = nearest - high;  // by how much it is too large, exact where it matters
  const bool too_large = above > low, too_small = above < low;
  if (mode == Rounding::zero) mode = high > 0 ? Rounding::down : Rounding::up;
  if (mode == Rounding::down && too_large) return std::nextafterf(nearest, -std::numeric_limits<f32>::infinity());
  if (mode == Rounding::up && too_small) return std::nextafterf(nearest, std::numeric_limits<f32>::infinity());
  return nearest;
}
// a b + c: the product of two floats is exact in f64, and what the sum loses is known (Knuth).
PTX_INLINE f32 fma(Rounding mode, f32 a, f32 b, f32 c) {
  const f64 product = f64{a} * b, sum = product + c, of_c = sum - product;
  if (sum == 0 && mode == Rounding::down && std::signbit(product) != std::signbit(c)) return -0.0f;
  return rounded(mode, sum, (product - (sum - of_c)) + (c - of_c));
}

// A float as an integer: values that it can't hold give the nearest, NaN gives 0 (of 64 bits, the least).
template <class To, class From> PTX_INLINE To integer(From v) {
  constexpr To least = std::numeric_limits<To>::min(), most = std::numeric_limits<To>::max();
  if (v != v) return sizeof(To) == 8 ? static_cast<To>(u64{1} << 63) : To{0};
  if (v <= static_cast<From>(least)) return least;
  if (v >= static_cast<From>(most)) return most;
  return static_cast<To>(v);
}
// An integer as a smaller one.
template <class To, class From> PTX_INLINE To clamped(From v) {
  if (std::cmp_less(v, std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (std::cmp_greater(v, std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(v);
}

PTX_INLINE f32 f32_of_bf16(u16 v) { return f32_of(u32{v} << 16); }
PTX_INLINE u16 bf16_of(f32 v) {
  const u32 u = bits(v);
  return v != v ? u16{0x7fff} : static_cast<u16>((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}
PTX_INLINE f32 f32_of_f16(u16 v) {
  const u32 sign = u32{v & 0x8000u} << 16, rest = v & 0x7fffu;
  if (rest >= 0x7c00u) return f32_of(sign | 0x7f800000u | rest << 13);
  return f32_of(sign | bits(f32_of(rest << 13) * 0x1p112f));
}
PTX_INLINE u16 f16_of(f32 v) {
  const u32 sign = bits(v) >> 16 & 0x8000u;
  const f32 size = std::fabs(v);
  if (v != v) return 0x7fff;
  if (size >= 65520.0f) return static_cast<u16>(sign | 0x7c00u);
  if (size < 0x1p-14f) return static_cast<u16>(sign | static_cast<u32>(std::nearbyintf(size * 0x1p24f)));  // a subnormal: in steps of 2^-24
  const u32 u = bits(size);
  return static_cast<u16>(sign | (((u + 0xfffu + (u >> 13 & 1)) >> 13) - (112u << 10)));
}
PTX_INLINE u32 tf32_of(f32 v) { return v != v ? 0x7fffffffu : (bits(v) + 0x1000u) & ~0x1fffu; }  // ties away from zero

}  // namespace checked or plain
}  // namespace pastiche::ptx_runtime
