// One kernel a bug: the template parameter says whether it is in.
#include <map>
#include <vector>

#include "device.cuh"
#include "launch.cuh"
#include "mma.cuh"
#include "seeded.h"
#include "simt/engine.h"

namespace pastiche::simt_seeded {
namespace {

constexpr int threads = 256;

// ---- shared memory ---------------------------------------------------------------------------------------------------

template <bool Bug> __global__ __launch_bounds__(threads) void barrier_kernel(float* y, const float* x) {
  __shared__ float tile[threads];
  const int t = threadIdx.x, block = threads * static_cast<int>(blockIdx.x);
  tile[t] = x[block + t];
  if constexpr (!Bug) __syncthreads();
  y[block + t] = tile[threads - 1 - t];
}

// The second round overwrites what slow threads of the first may still read.
template <bool Bug> __global__ __launch_bounds__(threads) void second_barrier_kernel(float* y, const float* x) {
  __shared__ float tile[threads];
  const int t = threadIdx.x;
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    tile[t] = x[t] + static_cast<float>(round);
    __syncthreads();
    sum += tile[threads - 1 - t];
    if constexpr (!Bug) __syncthreads();
  }
  y[t] = sum;
}

// A shuffle makes the lanes meet, but does not order their memory.
template <bool Bug> __global__ __launch_bounds__(warp_size) void warp_barrier_kernel(float* y, const float* x) {
  __shared__ float tile[warp_size];
  const int lane = threadIdx.x;
  tile[lane] = x[lane];
  if constexpr (Bug) {
    __shfl_xor_sync(all_lanes, lane, 1);
  } else {
    __syncwarp();
  }
  y[lane] = tile[warp_size - 1 - lane];
}

// A copy that goes on beside the thread: one too few of the groups is waited for.
template <bool Bug> __global__ __launch_bounds__(warp_size) void async_wait_kernel(float* y, const float* x) {
  __shared__ __align__(16) float tile[2][4 * warp_size];
  const int lane = threadIdx.x;
#ifdef PASTICHE_MMA
  for (int group = 0; group < 2; ++group) {
    copy_async(shared_address(&tile[group][4 * lane]), x + (group * warp_size + lane) * 4, true);
    copy_async_commit();
  }
  copy_async_wait<Bug ? 1 : 0>();
#endif
  y[lane] = tile[0][4 * lane] + tile[1][4 * lane];
}

constexpr int copy_threads = 128;

// What a thread waited for, others see only after a barrier.
template <bool Bug> __global__ __launch_bounds__(copy_threads) void async_barrier_kernel(float* y, const float* x) {
  __shared__ __align__(16) float tile[4 * copy_threads];
  const int t = threadIdx.x;
#ifdef PASTICHE_MMA
  copy_async(shared_address(&tile[4 * t]), x + 4 * t, true);
  copy_async_commit();
  copy_async_wait<0>();
#endif
  if constexpr (!Bug) __syncthreads();
  y[t] = tile[4 * (copy_threads - 1 - t)];
}

// A copy into what others still read, though it is waited for only after the barrier.
template <bool Bug> __global__ __launch_bounds__(copy_threads) void async_reuse_kernel(float* y, const float* x) {
  __shared__ __align__(16) float tile[4 * copy_threads];
  const int t = threadIdx.x;
  for (int i = 0; i < 4; ++i) tile[i * copy_threads + t] = 0;
  __syncthreads();
  float sum = tile[4 * (copy_threads - 1 - t)];
  if constexpr (!Bug) __syncthreads();
#ifdef PASTICHE_MMA
  copy_async(shared_address(&tile[4 * t]), x + 4 * t, true);
  copy_async_commit();
  __syncthreads();
  copy_async_wait<0>();
#endif
  y[t] = sum + tile[4 * t];
}

template <bool Bug> __global__ __launch_bounds__(threads) void unwritten_shared_kernel(float* y, const float* x, int n) {
  __shared__ float tile[threads];
  const int t = threadIdx.x;
  if (t < n) tile[t] = x[t];
  if constexpr (!Bug) {
    if (t >= n) tile[t] = 0;
  }
  __syncthreads();
  y[t] = tile[threads - 1 - t];
}

template <bool Bug> __global__ __launch_bounds__(threads) void static_overrun_kernel(float* y, const float* x) {
  __shared__ float tile[threads];
  const int t = threadIdx.x;
  tile[Bug ? t + 1 : t] = x[t];
  __syncthreads();
  y[t] = tile[t == 0 ? 1 : t];
}

template <bool Bug> __global__ __launch_bounds__(threads) void dynamic_overrun_kernel(float* y, const float* x) {
  float* const tile = dynamic_shared<float>();  // threads floats
  const int t = threadIdx.x;
  tile[Bug ? t + 1 : t] = x[t];
  __syncthreads();
  y[t] = tile[t == 0 ? 1 : t];
}

// ---- global memory ---------------------------------------------------------------------------------------------------

template <bool Bug> __global__ __launch_bounds__(threads) void guard_kernel(float* y, const float* x, int n) {
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  if (Bug || i < n) y[i] = x[i];
}

// One block a row; rows overlap.
template <bool Bug> __global__ __launch_bounds__(threads) void stride_kernel(float* y, const float* x) {
  const int stride = Bug ? threads - 1 : threads;
  y[static_cast<int>(blockIdx.x) * stride + static_cast<int>(threadIdx.x)] = x[threadIdx.x];
}

template <bool Bug> __global__ __launch_bounds__(threads) void count_kernel(int* counts) {
  int* const to = &counts[threadIdx.x];
  if constexpr (Bug) {
    *to += 1;
  } else {
    atomicAdd(to, 1);
  }
}

template <bool Bug> __global__ __launch_bounds__(threads) void scratch_kernel(float* y, float* scratch) {
  const int t = threadIdx.x;
  scratch[t] = static_cast<float>(t);
  if constexpr (!Bug) __syncthreads();
  y[t] = scratch[threads - 1 - t];
}

template <bool Bug> __global__ __launch_bounds__(threads) void vector_kernel(float* y, const float* x) {
  const int t = threadIdx.x;
  if (t < threads / 4 - 1) store_vector(y + 4 * t, load_vector<4>(x + 4 * t + (Bug ? 1 : 0)));
}

// Its bugs are in what it is given.
template <bool Bug> __global__ __launch_bounds__(threads) void copy_kernel(float* y, const float* x) {
  y[threadIdx.x] = x[threadIdx.x];
}

// ---- barriers and collectives ----------------------------------------------------------------------------------------

template <bool Bug> __global__ __launch_bounds__(threads) void divergent_kernel(float* y) {
  __shared__ float tile[threads];
  const int t = threadIdx.x;
  tile[t] = static_cast<float>(t);
  if (Bug && t < threads / 2) {
    __syncthreads();
    y[t] = tile[threads - 1 - t];
  } else {
    __syncthreads();
    y[t] = 2 * tile[threads - 1 - t];
  }
}

template <bool Bug> __global__ __launch_bounds__(threads) void early_exit_kernel(float* y, int n) {
  if (Bug && static_cast<int>(threadIdx.x) >= n) return;
  y[threadIdx.x] = block_sum<threads>(1.0f);
}

template <bool Bug> __global__ __launch_bounds__(warp_size) void absent_lane_kernel(float* y) {
  const int lane = threadIdx.x;
  if (lane >= 16) return;
  y[lane] = __shfl_xor_sync(Bug ? all_lanes : 0xffffu, static_cast<float>(lane), 1);
}

template <bool Bug> __global__ __launch_bounds__(warp_size) void caller_mask_kernel(float* y) {
  const int lane = threadIdx.x;
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  y[lane] = static_cast<float>(__ballot_sync(Bug ? 0xffffu : half, lane % 2));
}

// ---- to run them -----------------------------------------------------------------------------------------------------

class Buffer {
 public:
  explicit Buffer(int n, bool written = true) {
    cudaMalloc(&data_, sizeof(float) * static_cast<std::size_t>(n));
    if (written) cudaMemset(data_, 0, sizeof(float) * static_cast<std::size_t>(n));
  }
  ~Buffer() { cudaFree(data_); }
  operator float*() const { return data_; }
  void release() {
    cudaFree(data_);
    data_ = nullptr;
  }

 private:
  float* data_ = nullptr;
};

template <bool Bug> cudaError_t run_kernel(const std::string& name) {
  constexpr int blocks = 4, n = blocks * threads - 24;
  const LaunchShape one = {.stream = nullptr, .blocks = 1, .threads = threads};
  const LaunchShape warp = {.stream = nullptr, .blocks = 1, .threads = warp_size};
  const LaunchShape grid = {.stream = nullptr, .blocks = blocks, .threads = threads};
  const LaunchShape dynamic = {.stream = nullptr, .blocks = 1, .threads = threads, .shared = sizeof(float) * threads};
  Buffer x(n), y(n);
  if (name == "barrier") return launch(barrier_kernel<Bug>, {.stream = nullptr, .blocks = 3, .threads = threads}, y, x);
  if (name == "second_barrier") return launch(second_barrier_kernel<Bug>, one, y, x);
  if (name == "warp_barrier") return launch(warp_barrier_kernel<Bug>, warp, y, x);
  if (name == "async_wait") return launch(async_wait_kernel<Bug>, warp, y, x);
  if (name == "async_barrier") return launch(async_barrier_kernel<Bug>, {.stream = nullptr, .blocks = 1, .threads = copy_threads}, y, x);
  if (name == "async_reuse") return launch(async_reuse_kernel<Bug>, {.stream = nullptr, .blocks = 1, .threads = copy_threads}, y, x);
  if (name == "unwritten_shared") return launch(unwritten_shared_kernel<Bug>, one, y, x, 200);
  if (name == "static_overrun") return launch(static_overrun_kernel<Bug>, one, y, x);
  if (name == "dynamic_overrun") return launch(dynamic_overrun_kernel<Bug>, dynamic, y, x);
  if (name == "guard") return launch(guard_kernel<Bug>, grid, y, x, n);
  if (name == "stride") return launch(stride_kernel<Bug>, {.stream = nullptr, .blocks = 3, .threads = threads}, y, x);
  if (name == "count") return launch(count_kernel<Bug>, grid, reinterpret_cast<int*>(static_cast<float*>(y)));
  if (name == "scratch") return launch(scratch_kernel<Bug>, one, y, x);
  if (name == "vector") return launch(vector_kernel<Bug>, one, y, x);
  if (name == "released") {
    const float* const from = x;
    if (Bug) x.release();
    return launch(copy_kernel<Bug>, one, y, from);
  }
  if (name == "host") {
    const std::vector<float> host(threads);
    return launch(copy_kernel<Bug>, one, y, Bug ? host.data() : x);
  }
  if (name == "unwritten") {
    Buffer fresh(threads, !Bug);
    return launch(copy_kernel<Bug>, one, y, fresh);
  }
  if (name == "divergent") return launch(divergent_kernel<Bug>, one, y);
  if (name == "early_exit") return launch(early_exit_kernel<Bug>, one, y, 200);
  if (name == "absent_lane") return launch(absent_lane_kernel<Bug>, warp, y);
  if (name == "caller_mask") return launch(caller_mask_kernel<Bug>, warp, y);
  throw Error(ExitCode::failed, "no such kernel: " + name);
}

}  // namespace

std::string run(const std::string& name, bool with_bug) {
  const cudaError_t error = with_bug ? run_kernel<true>(name) : run_kernel<false>(name);
  const std::string why = error == cudaSuccess ? "" : cudaGetErrorString(error);
  simt_runtime::clear_error();
  return why;
}

}  // namespace pastiche::simt_seeded
