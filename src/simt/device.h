#pragma once
// The language of device code, for the host compiler: qualifiers, built-in variables, barriers, warp collectives, atomics and
// the arithmetic functions that CUDA adds to <cmath>.
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifndef __global__
#define __global__
#endif
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
// A worker thread runs one block at a time.
#define __shared__ static thread_local

namespace pastiche::simt_runtime {

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

extern constinit thread_local uint3 threadIdx, blockIdx;
extern constinit thread_local uint3 blockDim, gridDim;
constexpr int warpSize = 32;

// What the inline functions below stand on (block.cpp). Every call suspends the fiber until the others have come.
enum class Wait : std::uint8_t { none, barrier, shuffle, vote, warp_barrier, matrix };
int wait_for_block(int predicate);                                                            // how many threads said true
std::uint64_t wait_for_warp(Wait, unsigned mask, std::uint64_t value, int from);  // lane from's value, or the votes
int lane_index();
unsigned present_lanes();
void* simt_dynamic_shared();
void watched_load(void* to, const void* from, std::size_t bytes);  // tell the checker
void watched_store(void* to, const void* from, std::size_t bytes);
// Instructions of sm_80 (warp.h), as kernels/mma.cuh has them.
void simt_copy_async(void* to, const void* from, unsigned bytes_of_source);  // 16 bytes
void simt_copy_async_commit();
void simt_copy_async_wait(unsigned others);
void simt_ldmatrix_x4(std::uint32_t (&to)[4], const void* row);
void simt_ldmatrix_x4_trans(std::uint32_t (&to)[4], const void* row);
void simt_mma_bf16(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);  // 16 x 8 x 16
void simt_mma_tf32(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);  // 16 x 8 x 8

// The checked form of a template must not be merged with the plain one.
#ifdef PASTICHE_SIMT_CHECKED
inline namespace checked {
#else
inline namespace plain {
#endif

#define PASTICHE_SIMT_INLINE inline __attribute__((always_inline))
// The caller is known by the address to which a call returns, which a call in the last place would not leave.
#define PASTICHE_SIMT_RETURNS_HERE asm volatile("")

// ---- barriers --------------------------------------------------------------------------------------------------------
PASTICHE_SIMT_INLINE int __syncthreads_count(int predicate) {
  const int count = wait_for_block(predicate != 0);
  PASTICHE_SIMT_RETURNS_HERE;
  return count;
}
PASTICHE_SIMT_INLINE void __syncthreads() { __syncthreads_count(0); }
PASTICHE_SIMT_INLINE int __syncthreads_or(int predicate) { return __syncthreads_count(predicate) != 0; }
PASTICHE_SIMT_INLINE int __syncthreads_and(int predicate) { return __syncthreads_count(!predicate) == 0; }
PASTICHE_SIMT_INLINE void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
PASTICHE_SIMT_INLINE void __threadfence_block() {}

// ---- warp collectives ------------------------------------------------------------------------------------------------
PASTICHE_SIMT_INLINE std::uint64_t collective(Wait kind, unsigned mask, std::uint64_t value, int from) {
  const std::uint64_t result = wait_for_warp(kind, mask, value, from);
  PASTICHE_SIMT_RETURNS_HERE;
  return result;
}
PASTICHE_SIMT_INLINE void __syncwarp(unsigned mask = 0xffffffffu) { collective(Wait::warp_barrier, mask, 0, lane_index()); }
template <class T> PASTICHE_SIMT_INLINE T shuffle(unsigned mask, T value, int from) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<T>(static_cast<Bits>(collective(Wait::shuffle, mask, std::bit_cast<Bits>(value), from)));
}
template <class T> PASTICHE_SIMT_INLINE T __shfl_sync(unsigned mask, T value, int from, int width = warpSize) {
  return shuffle(mask, value, (lane_index() & ~(width - 1)) | (from & (width - 1)));
}
template <class T> PASTICHE_SIMT_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int lane = lane_index(), d = static_cast<int>(delta);
  return shuffle(mask, value, (lane & (width - 1)) >= d ? lane - d : lane);
}
template <class T> PASTICHE_SIMT_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  const int lane = lane_index(), d = static_cast<int>(delta);
  return shuffle(mask, value, (lane & (width - 1)) + d < width ? lane + d : lane);
}
template <class T> PASTICHE_SIMT_INLINE T __shfl_xor_sync(unsigned mask, T value, int bits, int width = warpSize) {
  const int lane = lane_index(), from = lane ^ bits;
  return shuffle(mask, value, from < (lane & ~(width - 1)) + width ? from : lane);
}
PASTICHE_SIMT_INLINE unsigned __ballot_sync(unsigned mask, int predicate) {
  return static_cast<unsigned>(collective(Wait::vote, mask, predicate != 0, lane_index()));
}
PASTICHE_SIMT_INLINE int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
PASTICHE_SIMT_INLINE int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
PASTICHE_SIMT_INLINE unsigned __activemask() { return present_lanes(); }

// ---- atomics ---------------------------------------------------------------------------------------------------------
// On integers only: sums of floats in the order of arrival would change from run to run.
template <class T>
concept AtomicInteger = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

template <AtomicInteger T> T atomicAdd(T* at, std::type_identity_t<T> v) { return __atomic_fetch_add(at, v, __ATOMIC_RELAXED); }
template <AtomicInteger T> T atomicSub(T* at, std::type_identity_t<T> v) { return __atomic_fetch_sub(at, v, __ATOMIC_RELAXED); }
template <AtomicInteger T> T atomicOr(T* at, std::type_identity_t<T> v) { return __atomic_fetch_or(at, v, __ATOMIC_RELAXED); }
template <AtomicInteger T> T atomicAnd(T* at, std::type_identity_t<T> v) { return __atomic_fetch_and(at, v, __ATOMIC_RELAXED); }
template <AtomicInteger T> T atomicXor(T* at, std::type_identity_t<T> v) { return __atomic_fetch_xor(at, v, __ATOMIC_RELAXED); }
template <AtomicInteger T> T atomicExch(T* at, std::type_identity_t<T> v) { return __atomic_exchange_n(at, v, __ATOMIC_RELAXED); }
template <AtomicInteger T> T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  __atomic_compare_exchange_n(at, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <AtomicInteger T> T atomicMin(T* at, std::type_identity_t<T> v) {
  T old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (v < old && !__atomic_compare_exchange_n(at, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <AtomicInteger T> T atomicMax(T* at, std::type_identity_t<T> v) {
  T old = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (v > old && !__atomic_compare_exchange_n(at, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

// ---- vector accesses -------------------------------------------------------------------------------------------------
// One access of 4, 8 or 16 bytes, which the host compiler would split.
#ifdef PASTICHE_SIMT_CHECKED
PASTICHE_SIMT_INLINE void simt_load(void* to, const void* from, std::size_t bytes) {
  watched_load(to, from, bytes);
  PASTICHE_SIMT_RETURNS_HERE;
}
PASTICHE_SIMT_INLINE void simt_store(void* to, const void* from, std::size_t bytes) {
  watched_store(to, from, bytes);
  PASTICHE_SIMT_RETURNS_HERE;
}
#else
PASTICHE_SIMT_INLINE void simt_load(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
PASTICHE_SIMT_INLINE void simt_store(void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }
#endif
template <class T> T __ldg(const T* from) { return *from; }

}  // namespace checked or plain

// ---- arithmetic ------------------------------------------------------------------------------------------------------
#define PASTICHE_SIMT_MIN_MAX(T)                         \
  constexpr T min(T a, T b) { return b < a ? b : a; }    \
  constexpr T max(T a, T b) { return a < b ? b : a; }
PASTICHE_SIMT_MIN_MAX(int)
PASTICHE_SIMT_MIN_MAX(unsigned)
PASTICHE_SIMT_MIN_MAX(long)
PASTICHE_SIMT_MIN_MAX(unsigned long)
PASTICHE_SIMT_MIN_MAX(long long)
PASTICHE_SIMT_MIN_MAX(unsigned long long)
#undef PASTICHE_SIMT_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline int __popc(unsigned v) { return std::popcount(v); }
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline int __ffs(int v) { return v == 0 ? 0 : std::countr_zero(static_cast<unsigned>(v)) + 1; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }

// The fast functions of the GPU are approximations; here they are as good as the host's.
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline float __expf(float v) { return expf(v); }
inline float __logf(float v) { return logf(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fsqrt_rn(float v) { return sqrtf(v); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __float2int_rn(float v) { return static_cast<int>(rintf(v)); }
inline int __float2int_rz(float v) { return static_cast<int>(v); }

}  // namespace pastiche::simt_runtime
