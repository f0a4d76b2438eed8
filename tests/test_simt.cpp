// The simulated GPU does what CUDA promises, and no more: work that nobody waited for has not been done.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "simt/engine.h"
#include "simt/include/cuda_runtime.h"

namespace {

// ---- kernels ---------------------------------------------------------------------------------------------------------

__global__ void indices_kernel(uint3* thread, uint3* block, dim3* shape) {
  const unsigned in_block = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned i = b * blockDim.x * blockDim.y * blockDim.z + in_block;
  thread[i] = threadIdx;
  block[i] = blockIdx;
  shape[i] = gridDim;
}

// Each round a thread passes on what its neighbour had.
__global__ void ring_kernel(int* y, int rounds) {
  __shared__ int value[1024];
  const unsigned t = threadIdx.x, n = blockDim.x;
  value[t] = static_cast<int>(t);
  for (int round = 0; round < rounds; ++round) {
    __syncthreads();
    const int next = value[(t + 1) % n];
    __syncthreads();
    value[t] = next;
  }
  y[blockIdx.x * n + t] = value[t];
}

__global__ void dynamic_kernel(int* y) {
  int* const value = static_cast<int*>(simt_dynamic_shared());
  value[threadIdx.x] = static_cast<int>(threadIdx.x * (blockIdx.x + 1));
  __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = value[blockDim.x - 1 - threadIdx.x];
}

__global__ void predicates_kernel(int* y) {
  const int t = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(t % 3 == 0);
  const int any = __syncthreads_or(t == 50) * 1 + __syncthreads_or(0) * 2;
  const int all = __syncthreads_and(1) * 1 + __syncthreads_and(t != 50) * 2;
  y[3 * t] = count;
  y[3 * t + 1] = any;
  y[3 * t + 2] = all;
}

__global__ void shuffles_kernel(double* y) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned all = 0xffffffffu;
  y[lane] = __shfl_sync(all, 0.5 * lane, 5);
  y[32 + lane] = __shfl_sync(all, lane, lane + 3, 8);
  y[64 + lane] = static_cast<double>(__shfl_up_sync(all, static_cast<float>(lane), 2u));
  y[96 + lane] = __shfl_up_sync(all, lane, 3u, 16);
  y[128 + lane] = __shfl_down_sync(all, lane, 5u);
  y[160 + lane] = __shfl_down_sync(all, lane, 1u, 4);
  y[192 + lane] = __shfl_xor_sync(all, lane, 7);
  y[224 + lane] = __shfl_xor_sync(all, lane, 16, 16);
}

__global__ void votes_kernel(unsigned* y) {
  const int lane = static_cast<int>(threadIdx.x);
  y[lane] = __ballot_sync(0xffffffffu, lane % 4 == 0);
  const int any = __any_sync(0xffffffffu, lane == 7) + 2 * __any_sync(0xffffffffu, 0);
  const int all = __all_sync(0xffffffffu, 1) + 2 * __all_sync(0xffffffffu, lane != 7);
  y[32 + lane] = static_cast<unsigned>(any + 4 * all);
  y[64 + lane] = __activemask();
  __syncwarp();
}

// The halves of a warp, and the five lanes of the last one, go their own ways.
__global__ void halves_kernel(int* y) {
  const int t = static_cast<int>(threadIdx.x), lane = t % 32;
  const unsigned mask = t >= 32 ? 0x1fu : lane < 16 ? 0xffffu : 0xffff0000u;
  int sum = 0;
  for (int i = 0; i < (lane < 16 ? 3 : 5); ++i) {
    sum += __popc(__ballot_sync(mask, 1));
    __syncwarp(mask);
  }
  y[t] = sum;
}

__global__ void atomics_kernel(int* sum, unsigned* minimum, unsigned long long* maximum, unsigned* bits, int* turns,
                               unsigned* last) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(sum, static_cast<int>(i));
  atomicMin(minimum, i + 7);
  atomicMax(maximum, 1000ull + i);
  atomicOr(bits, 1u << i % 32);
  atomicExch(last, i);
  int seen = *turns;
  for (int expected = -1; seen != expected;) {
    expected = seen;
    seen = atomicCAS(turns, expected, expected + 2);
  }
}

__global__ void scale_kernel(float* x, float factor, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] *= factor;
}

__global__ void deep_kernel(int* y) {
  volatile int local[10000];
  for (int i = 0; i < 10000; ++i) local[i] = i + static_cast<int>(threadIdx.x);
  __syncthreads();
  int sum = 0;
  for (int i = 0; i < 10000; ++i) sum += local[i] - i;
  y[threadIdx.x] = sum;
}

__global__ void leaves_kernel(int leaver) {
  if (static_cast<int>(threadIdx.x) == leaver) return;
  __syncthreads();
}

template <class T> __global__ void wrong_mask_kernel(T* y) { *y = __shfl_sync(0xffu, *y, 9); }

// ---- the host's side -------------------------------------------------------------------------------------------------

template <class T> class Device {
 public:
  explicit Device(std::size_t n, T value = T()) : n_(n) {
    EXPECT_EQ(cudaMalloc(&data_, n * sizeof(T)), cudaSuccess);
    const std::vector<T> host(n, value);
    EXPECT_EQ(cudaMemcpy(data_, host.data(), n * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~Device() { cudaFree(data_); }
  operator T*() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> v(n_);
    EXPECT_EQ(cudaMemcpy(v.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return v;
  }

 private:
  std::size_t n_;
  T* data_ = nullptr;
};

template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
                   std::type_identity_t<P>... arguments) {
  void* pointers[] = {&arguments..., nullptr};
  return cudaLaunchKernel(kernel, grid, block, pointers, shared, stream);
}

class Simt : public ::testing::Test {
 protected:
  void SetUp() override {
    set_threads(3);
    allocations_ = live_allocations();
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
    EXPECT_EQ(live_allocations(), allocations_);
    machine() = {};
    set_threads(0);
  }
  cudaStream_t stream_ = nullptr;

 private:
  std::size_t allocations_ = 0;
};

TEST_F(Simt, IndicesOfBlocksAndGrids) {
  const dim3 grid(3, 2, 4), block(5, 4, 2);
  const std::size_t n = 24 * 40;
  Device<uint3> thread(n, uint3{9, 9, 9}), blocks(n, uint3{9, 9, 9});
  Device<dim3> shape(n);
  ASSERT_EQ(launch(indices_kernel, grid, block, 0, nullptr, thread, blocks, shape), cudaSuccess);
  const auto t = thread.host(), b = blocks.host();
  for (std::size_t i = 0; i < n; ++i) {
    EXPECT_EQ(t[i].x + 5 * (t[i].y + 4 * t[i].z), i % 40);
    EXPECT_EQ(b[i].x + 3 * (b[i].y + 2 * b[i].z), i / 40);
    EXPECT_EQ(shape.host()[i].z, 4u);
    if (HasFailure()) break;
  }
}

TEST_F(Simt, BarriersInALoop) {
  for (const int threads : {1, 31, 33, 256, 1024}) {
    Device<int> y(static_cast<std::size_t>(threads) * 40);
    ASSERT_EQ(launch(ring_kernel, 40, static_cast<unsigned>(threads), 0, nullptr, y, 17), cudaSuccess);
    const auto host = y.host();
    for (std::size_t i = 0; i < host.size(); ++i) ASSERT_EQ(host[i], (static_cast<int>(i) % threads + 17) % threads) << threads;
  }
}

TEST_F(Simt, DynamicSharedMemory) {
  Device<int> y(128 * 50);
  ASSERT_EQ(launch(dynamic_kernel, 50, 128, 128 * sizeof(int), nullptr, y), cudaSuccess);
  const auto host = y.host();
  for (int i = 0; i < 128 * 50; ++i) ASSERT_EQ(host[static_cast<std::size_t>(i)], (127 - i % 128) * (i / 128 + 1));
}

TEST_F(Simt, BarriersThatCount) {
  Device<int> y(3 * 100);
  ASSERT_EQ(launch(predicates_kernel, 1, 100, 0, nullptr, y), cudaSuccess);
  const auto host = y.host();
  for (std::size_t t = 0; t < 100; ++t) {
    ASSERT_EQ(host[3 * t], 34);
    ASSERT_EQ(host[3 * t + 1], 1);
    ASSERT_EQ(host[3 * t + 2], 1);
  }
}

TEST_F(Simt, Shuffles) {
  Device<double> y(256);
  ASSERT_EQ(launch(shuffles_kernel, 1, 32, 0, nullptr, y), cudaSuccess);
  const auto host = y.host();
  for (int lane = 0; lane < 32; ++lane) {
    const auto of = [&](int row) { return host[static_cast<std::size_t>(32 * row + lane)]; };
    EXPECT_EQ(of(0), 2.5);
    EXPECT_EQ(of(1), lane / 8 * 8 + (lane + 3) % 8);
    EXPECT_EQ(of(2), lane < 2 ? lane : lane - 2);
    EXPECT_EQ(of(3), lane % 16 < 3 ? lane : lane - 3);
    EXPECT_EQ(of(4), lane + 5 < 32 ? lane + 5 : lane);
    EXPECT_EQ(of(5), lane % 4 < 3 ? lane + 1 : lane);
    EXPECT_EQ(of(6), lane ^ 7);
    EXPECT_EQ(of(7), lane < 16 ? lane : lane - 16) << "a lane of an earlier part can be read, one of a later part not";
  }
}

TEST_F(Simt, Votes) {
  Device<unsigned> y(96);
  ASSERT_EQ(launch(votes_kernel, 1, 32, 0, nullptr, y), cudaSuccess);
  const auto host = y.host();
  for (std::size_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(host[lane], 0x11111111u);
    EXPECT_EQ(host[32 + lane], 1u + 4u);
    EXPECT_EQ(host[64 + lane], 0xffffffffu);
  }
}

TEST_F(Simt, PartsOfAWarpMeetByThemselves) {
  Device<int> y(37);
  ASSERT_EQ(launch(halves_kernel, 1, 37, 0, nullptr, y), cudaSuccess);
  const auto host = y.host();
  for (std::size_t t = 0; t < 37; ++t) EXPECT_EQ(host[t], t >= 32 ? 3 * 5 : t < 16 ? 3 * 16 : 5 * 16);
}

TEST_F(Simt, Atomics) {
  Device<int> sum(1), turns(1);
  Device<unsigned> minimum(1, 1000u), bits(1), last(1);
  Device<unsigned long long> maximum(1);
  const int n = 200 * 64;
  ASSERT_EQ(launch(atomics_kernel, 200, 64, 0, nullptr, sum, minimum, maximum, bits, turns, last), cudaSuccess);
  EXPECT_EQ(sum.host()[0], n / 2 * (n - 1));
  EXPECT_EQ(minimum.host()[0], 7u);
  EXPECT_EQ(maximum.host()[0], 1000ull + n - 1);
  EXPECT_EQ(bits.host()[0], 0xffffffffu);
  EXPECT_EQ(turns.host()[0], 2 * n);
  EXPECT_LT(last.host()[0], static_cast<unsigned>(n));
}

TEST_F(Simt, FibersHaveRoom) {
  Device<int> y(64);
  ASSERT_EQ(launch(deep_kernel, 1, 64, 0, nullptr, y), cudaSuccess);
  for (int t = 0; t < 64; ++t) EXPECT_EQ(y.host()[static_cast<std::size_t>(t)], 10000 * t);
}

TEST_F(Simt, Arithmetic) {
  EXPECT_EQ(min(2, -3), -3);
  EXPECT_EQ(max(2.5f, -3.0f), 2.5f);
  EXPECT_EQ(max(std::int64_t{1} << 40, std::int64_t{5}), std::int64_t{1} << 40);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffs(8), 4);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__umulhi(0x80000000u, 6u), 3u);
  EXPECT_EQ(rsqrtf(4.0f), 0.5f);
  EXPECT_EQ(__uint_as_float(__float_as_uint(-1.5f)), -1.5f);
}

// ---- launches that fail ----------------------------------------------------------------------------------------------

TEST_F(Simt, ConfigurationsThatNoGpuTakes) {
  Device<float> x(4);
  EXPECT_EQ(launch(scale_kernel, 0, 32, 0, stream_, x, 1.0f, 4), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(scale_kernel, 1, 0, 0, stream_, x, 1.0f, 4), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(scale_kernel, 1, 1025, 0, stream_, x, 1.0f, 4), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(scale_kernel, 1, dim3(32, 33), 0, stream_, x, 1.0f, 4), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(scale_kernel, dim3(1, 65536), 32, 0, stream_, x, 1.0f, 4), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(scale_kernel, 1, 32, 49153, stream_, x, 1.0f, 4), cudaErrorInvalidValue);
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(scale_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 << 10), cudaSuccess);
  EXPECT_EQ(launch(scale_kernel, 1, 32, 49153, stream_, x, 1.0f, 4), cudaSuccess);
  EXPECT_EQ(cudaFuncSetAttribute(scale_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 << 10), cudaErrorInvalidValue);
  cudaFuncAttributes attributes;
  EXPECT_EQ(cudaFuncGetAttributes(&attributes, scale_kernel), cudaSuccess);
  EXPECT_EQ(attributes.maxDynamicSharedSizeBytes, 64 << 10);
}

TEST_F(Simt, DeadlockIsToldAndStays) {
  Device<float> x(4, 1.0f);
  EXPECT_EQ(launch(leaves_kernel, 2, 64, 0, stream_, 5), cudaSuccess) << "nothing has run yet";
  EXPECT_EQ(launch(scale_kernel, 1, 32, 0, stream_, x, 2.0f, 4), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaErrorLaunchFailure);
  EXPECT_NE(last_report().find("leaves_kernel, block ("), std::string::npos) << last_report();
  EXPECT_NE(last_report().find("thread (5,0,0): left the kernel"), std::string::npos) << last_report();
  EXPECT_NE(last_report().find("thread (0,0,0) and 62 more: waits at __syncthreads"), std::string::npos) << last_report();
  EXPECT_EQ(last_report(), cudaGetErrorString(cudaErrorLaunchFailure));
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
  EXPECT_EQ(launch(scale_kernel, 1, 32, 0, stream_, x, 2.0f, 4), cudaErrorLaunchFailure);
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, 4), cudaErrorLaunchFailure);
  clear_error();
  EXPECT_EQ(x.host()[0], 1.0f) << "what stood behind it in the stream is dropped";
  EXPECT_EQ(launch(scale_kernel, 1, 32, 0, stream_, x, 2.0f, 4), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(x.host()[0], 2.0f);
}

TEST_F(Simt, WrongMaskIsTold) {
  Device<int> y(1);
  EXPECT_EQ(launch(wrong_mask_kernel<int>, 1, 32, 0, nullptr, y), cudaErrorLaunchFailure);
  EXPECT_NE(last_report().find("wrong_mask_kernel<int>"), std::string::npos) << last_report();
  EXPECT_NE(last_report().find("reads a lane that its mask does not name (0x000000ff)"), std::string::npos) << last_report();
  clear_error();
}

// ---- streams ---------------------------------------------------------------------------------------------------------

TEST_F(Simt, WorkWaitsUntilSomethingWaitsForIt) {
  Device<float> x(100, 3.0f);
  const std::int64_t before = kernels_run();
  ASSERT_EQ(launch(scale_kernel, 1, 128, 0, stream_, x, 2.0f, 100), cudaSuccess);
  EXPECT_EQ(kernels_run(), before);
  EXPECT_EQ(x.host()[0], 3.0f) << "a blocking copy does not wait for a non-blocking stream";
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(kernels_run(), before + 1);
  EXPECT_EQ(x.host()[99], 6.0f);
  cudaStream_t blocking = nullptr;
  ASSERT_EQ(cudaStreamCreate(&blocking), cudaSuccess);
  ASSERT_EQ(launch(scale_kernel, 1, 128, 0, blocking, x, 2.0f, 100), cudaSuccess);
  EXPECT_EQ(x.host()[0], 12.0f) << "but for the others";
  EXPECT_EQ(cudaStreamDestroy(blocking), cudaSuccess);
}

TEST_F(Simt, EventsOrderStreams) {
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess) << "never recorded";
  Device<float> x(1, 1.0f), y(1, 0.0f);
  ASSERT_EQ(launch(scale_kernel, 1, 1, 0, other, x, 5.0f, 1), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, other), cudaSuccess);
  ASSERT_EQ(launch(scale_kernel, 1, 1, 0, other, x, 100.0f, 1), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(y, x, 4, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(y.host()[0], 1.0f) << "nobody waited";
  ASSERT_EQ(cudaStreamWaitEvent(stream_, event), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(y, x, 4, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(y.host()[0], 5.0f) << "what follows the event has not run";
  ASSERT_EQ(cudaEventRecord(event, other), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(x.host()[0], 500.0f);
  EXPECT_EQ(cudaEventDestroy(event), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(other), cudaSuccess);
}

TEST_F(Simt, CopiesReadPinnedMemoryWhenTheyRun) {
  float* pinned = nullptr;
  ASSERT_EQ(cudaMallocHost(&pinned, 4), cudaSuccess);
  float pageable = 1;
  *pinned = 1;
  Device<float> x(2);
  ASSERT_EQ(cudaMemcpyAsync(x, &pageable, 4, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(x + 1, pinned, 4, cudaMemcpyHostToDevice, stream_), cudaSuccess);
  pageable = *pinned = 2;
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(x.host()[0], 1.0f);
  EXPECT_EQ(x.host()[1], 2.0f);
  ASSERT_EQ(launch(scale_kernel, 1, 2, 0, stream_, x, 10.0f, 2), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(pinned, x, 4, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(*pinned, 2.0f);
  ASSERT_EQ(cudaMemcpyAsync(&pageable, x, 4, cudaMemcpyDeviceToHost, stream_), cudaSuccess);
  EXPECT_EQ(pageable, 10.0f) << "a copy to pageable memory waits";
  EXPECT_EQ(*pinned, 10.0f);
  EXPECT_EQ(cudaFreeHost(pinned), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(nullptr), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(x, &pageable, 12, cudaMemcpyHostToDevice), cudaErrorInvalidValue) << "more than the allocation";
  EXPECT_EQ(cudaMemcpy(x, &pageable, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue) << "the wrong way";
  cudaGetLastError();
}

// ---- graphs ----------------------------------------------------------------------------------------------------------

TEST_F(Simt, CapturedWorkRunsWhenTheGraphDoes) {
  Device<float> x(10, 1.0f), y(10, 0.0f);
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), cudaSuccess);
  cudaStreamCaptureStatus status{};
  EXPECT_EQ(cudaStreamIsCapturing(stream_, &status), cudaSuccess);
  EXPECT_EQ(status, cudaStreamCaptureStatusActive);
  float factor = 2;
  ASSERT_EQ(launch(scale_kernel, 1, 32, 0, stream_, x, factor, 10), cudaSuccess);
  factor = 1000;
  ASSERT_EQ(cudaMemcpyAsync(y, x, 40, cudaMemcpyDeviceToDevice, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(x, 0, 4, stream_), cudaSuccess);
  void* meanwhile = nullptr;
  EXPECT_EQ(cudaMalloc(&meanwhile, 16), cudaSuccess);
  EXPECT_EQ(cudaFree(meanwhile), cudaSuccess);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(x.host()[1], 1.0f) << "capturing is not running";
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaGraphLaunch(executable, stream_), cudaSuccess);
  EXPECT_EQ(x.host()[1], 1.0f);
  EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess) << "what was launched still runs";
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(x.host(), (std::vector<float>{0, 8, 8, 8, 8, 8, 8, 8, 8, 8}));
  EXPECT_EQ(y.host(), (std::vector<float>{0, 8, 8, 8, 8, 8, 8, 8, 8, 8}));
}

TEST_F(Simt, CapturesRefuseWhatAGraphCannotHold) {
  Device<float> x(10, 1.0f);
  cudaGraph_t graph = nullptr;
  cudaEvent_t before = nullptr;
  float host = 0;
  void* data = nullptr;
  ASSERT_EQ(cudaEventCreate(&before), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(before, stream_), cudaSuccess);
  const auto refused = [&](cudaStreamCaptureMode mode, cudaError_t expected, const char* what, auto call) {
    ASSERT_EQ(cudaStreamBeginCapture(stream_, mode), cudaSuccess) << what;
    EXPECT_EQ(call(), expected) << what;
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureInvalidated) << what;
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  };
  const auto relaxed = cudaStreamCaptureModeRelaxed;
  refused(relaxed, cudaErrorStreamCaptureUnsupported, "synchronize", [&] { return cudaStreamSynchronize(stream_); });
  refused(relaxed, cudaErrorStreamCaptureUnsupported, "device", [&] { return cudaDeviceSynchronize(); });
  refused(relaxed, cudaErrorStreamCaptureUnsupported, "pageable",
          [&] { return cudaMemcpyAsync(x, &host, 4, cudaMemcpyHostToDevice, stream_); });
  refused(relaxed, cudaErrorStreamCaptureIsolation, "event", [&] { return cudaStreamWaitEvent(stream_, before); });
  refused(cudaStreamCaptureModeThreadLocal, cudaErrorStreamCaptureUnsupported, "malloc", [&] { return cudaMalloc(&data, 4); });
  refused(cudaStreamCaptureModeGlobal, cudaErrorStreamCaptureUnsupported, "malloc elsewhere", [&] {
    cudaError_t error = cudaSuccess;
    std::thread([&] { error = cudaMalloc(&data, 4); }).join();
    return error;
  });
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaErrorStreamCaptureUnmatched);
  cudaGetLastError();
  EXPECT_EQ(cudaEventDestroy(before), cudaSuccess);
}

// ---- memory and devices ----------------------------------------------------------------------------------------------

TEST_F(Simt, AllocationsFailWhenAsked) {
  void* data[3] = {};
  fail_allocations_after(2, 1);
  EXPECT_EQ(cudaMalloc(&data[0], 100), cudaSuccess);
  EXPECT_EQ(cudaMallocHost(&data[1], 100), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&data[2], 100), cudaErrorMemoryAllocation);
  EXPECT_EQ(data[2], nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaMalloc(&data[2], 100), cudaSuccess) << "one failure was asked for";
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data[2]) % 256, 0u);
  EXPECT_EQ(cudaFree(data[0]), cudaSuccess);
  EXPECT_EQ(cudaFreeHost(data[1]), cudaSuccess);
  EXPECT_EQ(cudaFree(data[2]), cudaSuccess);
  EXPECT_EQ(cudaFree(data[2]), cudaErrorInvalidValue) << "twice";
  cudaGetLastError();
}

TEST_F(Simt, MemoryHasAnEnd) {
  machine().memory = live_bytes() + 1000;
  std::size_t free = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 1000u);
  void *a = nullptr, *b = nullptr;
  EXPECT_EQ(cudaMalloc(&a, 600), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&b, 600), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaFree(a), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&b, 600), cudaSuccess);
  EXPECT_EQ(cudaFree(b), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&a, 0), cudaSuccess);
  EXPECT_EQ(a, nullptr);
  cudaGetLastError();
}

TEST_F(Simt, MachinesWithoutDriverDeviceOrCode) {
  int count = -1;
  machine().driver = false;
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  EXPECT_EQ(count, 0);
  machine() = {.devices = 0};
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorNoDevice), "cudaErrorNoDevice");
  EXPECT_STREQ(cudaGetErrorString(cudaErrorNoDevice), "no CUDA-capable device is detected");
  machine() = {.has_code = false, .major = 5, .minor = 2};
  EXPECT_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  EXPECT_EQ(count, 1);
  cudaDeviceProp properties;
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_EQ(properties.major, 5);
  EXPECT_EQ(launch(leaves_kernel, 1, 1, 0, stream_, 0), cudaErrorNoKernelImageForDevice);
  machine() = {};
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  cudaGetLastError();
}

}  // namespace
