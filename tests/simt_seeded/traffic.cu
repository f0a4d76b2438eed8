// Kernels whose requests can be counted by hand: one warp, one request a line.
#include "device.cuh"
#include "launch.cuh"
#include "seeded.h"

namespace pastiche::simt_seeded {
namespace {

template <int Pitch> __global__ __launch_bounds__(warp_size) void column_kernel(float* y, const float* x) {
  __shared__ float tile[warp_size][Pitch];
  const int lane = threadIdx.x;
  for (int row = 0; row < warp_size; ++row) tile[row][lane] = x[row * warp_size + lane];
  __syncwarp();
  y[lane] = tile[lane][3];
}

__global__ __launch_bounds__(warp_size) void strided_kernel(float* y, const float* x, int stride) {
  const int lane = threadIdx.x;
  y[lane] = x[lane * stride];
}

__global__ __launch_bounds__(warp_size) void vector_traffic_kernel(float* y, const float* x) {
  __shared__ __align__(16) float tile[4 * warp_size];
  const int lane = threadIdx.x;
  store_vector(&tile[4 * lane], load_vector<4>(x + 4 * lane));
  __syncwarp();
  store_vector(y + 4 * lane, load_vector<4>(&tile[4 * (lane ^ 1)]));
}

// Lanes that take another path, and another number of turns, are in requests of their own.
__global__ __launch_bounds__(warp_size) void paths_kernel(float* y, const float* x) {
  const int lane = threadIdx.x;
  float sum = 0;
  if (lane < 16) {
    for (int i = 0; i < 1 + lane / 8; ++i) sum += x[i * warp_size + lane];
  } else {
    sum = x[2 * warp_size + lane];
  }
  y[lane] = sum;
}

}  // namespace

void run_traffic(const std::string& name, int parameter) {
  float *x = nullptr, *y = nullptr;
  cudaMalloc(&x, 1 << 16);
  cudaMalloc(&y, 1 << 16);
  cudaMemset(x, 0, 1 << 16);
  const LaunchShape warp = {.stream = nullptr, .blocks = 1, .threads = warp_size};
  cudaError_t error = cudaErrorInvalidValue;
  if (name == "column" && parameter == 32) error = launch(column_kernel<32>, warp, y, x);
  if (name == "column" && parameter == 33) error = launch(column_kernel<33>, warp, y, x);
  if (name == "strided") error = launch(strided_kernel, warp, y, x, parameter);
  if (name == "vector") error = launch(vector_traffic_kernel, warp, y, x);
  if (name == "paths") error = launch(paths_kernel, warp, y, x);
  cudaFree(x);
  cudaFree(y);
  if (error != cudaSuccess) throw Error(ExitCode::failed, cudaGetErrorString(error));
}

}  // namespace pastiche::simt_seeded
