// The fragments of kernels/mma.cuh, each where its comment says.
#include "launch.cuh"
#include "mma.cuh"
#include "seeded.h"

namespace pastiche::simt_seeded {
namespace {

__device__ float one_hot(int at) { return at == static_cast<int>(blockIdx.x) ? 1.0f : 0.0f; }

template <bool a_along, bool b_along> __global__ __launch_bounds__(warp_size) void fragments_kernel(float* y) {
  __shared__ __align__(16) BFloat16 a[16][16], b[16][16];  // [m][k] or [k][m]; [n][k] or [k][n]
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += warp_size) {
    const int m = i / 16, k = i % 16;
    a[a_along ? m : k][a_along ? k : m] = from_float<BFloat16>(one_hot(i));
    b[b_along ? k : m][b_along ? m : k] = from_float<BFloat16>(static_cast<float>(i + 1));  // i = k 16 + n
  }
  __syncwarp();
#ifdef PASTICHE_MMA
  // Matrices in the order of the registers: of A, the lower lines first, then the higher k; of B, the higher k first, then the lines.
  const int low = lane % 8, second = lane / 8 % 2 * 8, third = lane / 16 * 8;
  std::uint32_t left[4], right[4];
  if constexpr (a_along) load_matrices(left, shared_address(&a[low + second][third]));
  else load_matrices_transposed(left, shared_address(&a[low + third][second]));
  if constexpr (b_along) load_matrices(right, shared_address(&b[low + third][second]));
  else load_matrices_transposed(right, shared_address(&b[low + second][third]));
  for (int half = 0; half < 2; ++half) {
    float sums[4] = {};
    mma_bf16(sums, left, right[2 * half], right[2 * half + 1]);
    for (int i = 0; i < 4; ++i) {
      y[static_cast<int>(blockIdx.x) * 256 + (lane / 4 + i / 2 * 8) * 16 + half * 8 + lane % 4 * 2 + i % 2] = sums[i];
    }
  }
#endif
}

__global__ __launch_bounds__(warp_size) void tf32_fragments_kernel(float* y) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, c = lane % 4;
#ifdef PASTICHE_MMA
  const auto a = [&](int m, int k) { return __float_as_uint(one_hot(m * 8 + k)); };
  const auto b = [&](int k, int n) { return __float_as_uint(static_cast<float>(k * 8 + n + 1)); };
  const std::uint32_t left[4] = {a(g, c), a(g + 8, c), a(g, c + 4), a(g + 8, c + 4)};
  float sums[4] = {};
  mma_tf32(sums, left, b(c, g), b(c + 4, g));
  for (int i = 0; i < 4; ++i) y[static_cast<int>(blockIdx.x) * 128 + (g + i / 2 * 8) * 8 + c * 2 + i % 2] = sums[i];
#endif
}

}  // namespace

std::vector<float> run_fragments(const std::string& name) {
  const bool tf32 = name == "tf32";
  const int blocks = tf32 ? 128 : 256;
  std::vector<float> host(static_cast<std::size_t>(blocks * blocks));
  float* y = nullptr;
  cudaMalloc(&y, host.size() * sizeof(float));
  const auto kernel = name == "along along"    ? fragments_kernel<true, true>
                      : name == "along across" ? fragments_kernel<true, false>
                      : name == "across along" ? fragments_kernel<false, true>
                      : tf32                   ? tf32_fragments_kernel
                                               : fragments_kernel<false, false>;
  cudaError_t error = launch(kernel, {.stream = nullptr, .blocks = grid(blocks), .threads = warp_size}, y);
  if (error == cudaSuccess) error = cudaMemcpy(host.data(), y, host.size() * sizeof(float), cudaMemcpyDeviceToHost);
  cudaFree(y);
  if (error != cudaSuccess) throw Error(ExitCode::failed, cudaGetErrorString(error));
  return host;
}

}  // namespace pastiche::simt_seeded
