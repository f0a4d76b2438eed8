#pragma once
// Sums over rows, for each channel, in two kernels: the first gives each block's sums in f32 (parts [outer, chunks, channels]),
// the second adds them up in f64. The order follows from the shape alone.
#include "indexing.cuh"

namespace pastiche::PASTICHE_TARGET {

// How many rows a thread adds up, and how many blocks at most share the work.
constexpr std::int64_t sum_steps = 8, sum_blocks = 1024;

inline ChannelWalk sum_walk(std::int64_t outer, std::int64_t rows, std::int64_t units) {
  return ChannelWalk(outer, rows, units, sum_steps, sum_blocks);
}

// For the first kernel: adds what the `repeat` threads of each unit hold; that of lane 0 has the sums.
template <int Sums> __device__ inline void add_lanes(float (&sums)[Sums], const ChannelWalk& walk, int lane) {
  __shared__ float all[Sums][walk_threads];
  const int thread = static_cast<int>(threadIdx.x);
  for (int s = 0; s < Sums; ++s) all[s][thread] = sums[s];
  int half = 1;
  while (2 * half < walk.repeat) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half && lane + half < walk.repeat) {
      for (int s = 0; s < Sums; ++s) all[s][thread] = sums[s] += all[s][thread + half * walk.width];
    }
  }
}

// For the second: a block has `width` channels, a power of two, each shared by walk_threads / width lanes.
struct PartsPlace {
  __device__ explicit PartsPlace(int width)
      : channel(std::int64_t{blockIdx.x} * width + static_cast<int>(threadIdx.x) % width),
        lane(static_cast<int>(threadIdx.x) / width),
        lanes(walk_threads / width) {}
  std::int64_t channel;
  int lane, lanes;
};

inline int parts_width(std::int64_t channels) {
  return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(std::min<std::int64_t>(channels, warp_size))));
}

// All lanes of a channel get the sum over them.
__device__ inline double sum_over_lanes(double v, int width) {
  __shared__ double all[walk_threads];
  const int thread = static_cast<int>(threadIdx.x);
  __syncthreads();  // an earlier sum may still be read
  all[thread] = v;
  for (int half = walk_threads / 2; half >= width; half /= 2) {
    __syncthreads();
    if (thread < half) all[thread] += all[thread + half];
  }
  __syncthreads();
  return all[thread % width];
}

// y[outer, channels] = the sums of the parts over the chunks / divisor. In arith.cu.
void finish_sums(cudaStream_t stream, Tensor& y, const float* parts, std::int64_t outer, std::int64_t chunks,
                 std::int64_t channels, double divisor = 1);

}  // namespace pastiche::PASTICHE_TARGET
