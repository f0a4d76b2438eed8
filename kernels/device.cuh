#pragma once
// What all kernels share: element types, vector accesses, shared memory, warp and block sums.
#include <cuda_runtime.h>

#include <type_traits>

#include "pastiche/philox.h"
#include "pastiche/tensor.h"

namespace pastiche::PASTICHE_TARGET {

constexpr int warp_size = 32;
constexpr unsigned all_lanes = 0xffffffffu;

// ---- elements --------------------------------------------------------------------------------------------------------
PASTICHE_HOST_DEVICE inline float to_float(float v) { return v; }
PASTICHE_HOST_DEVICE inline float to_float(std::uint8_t v) { return static_cast<float>(v); }
PASTICHE_HOST_DEVICE inline float to_float(BFloat16 v) {
  union { std::uint32_t u; float f; } bits{std::uint32_t{v.bits} << 16};
  return bits.f;
}

// Rounded to nearest, ties to even; a NaN stays one.
template <class T> PASTICHE_HOST_DEVICE inline T from_float(float v) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    union { float f; std::uint32_t u; } bits{v};
    if (v != v) return {static_cast<std::uint16_t>(bits.u >> 16 | 0x40u)};
    return {static_cast<std::uint16_t>((bits.u + 0x7fffu + (bits.u >> 16 & 1u)) >> 16)};
  } else {
    return static_cast<T>(v);
  }
}

// v as it is stored in a T, and what is stored of such numbers.
template <class T> PASTICHE_HOST_DEVICE inline float rounded(float v) { return to_float(from_float<T>(v)); }
template <class T> PASTICHE_HOST_DEVICE inline T as_stored(float rounded) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    union { float f; std::uint32_t u; } bits{rounded};
    return {static_cast<std::uint16_t>(bits.u >> 16)};
  } else {
    return rounded;
  }
}

// ---- vector accesses -------------------------------------------------------------------------------------------------
// N elements that are read or written by one instruction, of 4, 8 or 16 bytes; the address is a multiple of that.
template <class T, int N> struct alignas(sizeof(T) * N) Vector {
  T at[N];
};

template <int N, class T> __device__ inline Vector<T, N> load_vector(const T* from) {
#ifdef __CUDACC__
  return *reinterpret_cast<const Vector<T, N>*>(from);
#else
  Vector<T, N> v;
  simt_load(&v, from, sizeof v);
  return v;
#endif
}

template <int N, class T> __device__ inline void store_vector(T* to, const Vector<T, N>& v) {
#ifdef __CUDACC__
  *reinterpret_cast<Vector<T, N>*>(to) = v;
#else
  simt_store(to, &v, sizeof v);
#endif
}

// ---- shared memory ---------------------------------------------------------------------------------------------------
// The dynamic shared memory of the block, aligned to 16 bytes.
template <class T> __device__ inline T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) unsigned char pastiche_dynamic_shared[];
  return reinterpret_cast<T*>(pastiche_dynamic_shared);
#else
  return static_cast<T*>(simt_dynamic_shared());
#endif
}

// ---- sums ------------------------------------------------------------------------------------------------------------
// All lanes get the sum over the warp, in a fixed order.
template <class T> __device__ inline T warp_sum(T v) {
  for (int distance = warp_size / 2; distance > 0; distance /= 2) v += __shfl_xor_sync(all_lanes, v, distance);
  return v;
}

// All threads of the block get the sum over it, in a fixed order; Threads is a multiple of 32, at most 1024.
template <int Threads, class T> __device__ inline T block_sum(T v) {
  constexpr int warps = Threads / warp_size;
  __shared__ T of_warp[warps];
  v = warp_sum(v);
  __syncthreads();  // an earlier sum may still be read
  if (threadIdx.x % warp_size == 0) of_warp[threadIdx.x / warp_size] = v;
  __syncthreads();
  T sum = of_warp[0];
  for (int i = 1; i < warps; ++i) sum += of_warp[i];
  return sum;
}

// ---- host side -------------------------------------------------------------------------------------------------------
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// f(T{}) for the C++ type of a tensor of activations.
template <class F> void with_float(DType dtype, F f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::bf16: return f(BFloat16{});
    default: throw Error(ExitCode::failed, std::string(dtype_name(dtype)) + " is not a type of this backend's activations");
  }
}

}  // namespace pastiche::PASTICHE_TARGET
