#include "backends/cuda/cuda.h"

#include <fmt/format.h>

#include <cstring>

#include "backends/cuda/check.h"

#ifndef PASTICHE_CUDA_ARCHITECTURES
#define PASTICHE_CUDA_ARCHITECTURES "any"  // the host compiler's code runs on the device that src/simt makes
#endif

namespace pastiche::PASTICHE_TARGET {
namespace {

#define PASTICHE_TEXT_OF(text) #text
#define PASTICHE_TEXT(macro) PASTICHE_TEXT_OF(macro)
constexpr std::string_view target = PASTICHE_TEXT(PASTICHE_TARGET);

void require_device(int device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && device < count) return;
  cudaGetLastError();
  throw Error(ExitCode::device, fmt::format("device '{}' can't be used: {}; this build has code for the architectures {}; use --device cpu", target,
                                            error == cudaSuccess ? fmt::format("there are {} GPUs, and number {} was asked for", count, device)
                                                                 : cudaGetErrorString(error), PASTICHE_CUDA_ARCHITECTURES));
}

}  // namespace

void throw_cuda_error(cudaError_t error, const char* call, const char* file, int line) {
  cudaGetLastError();  // or the next call would report this one
  throw Error(error == cudaErrorMemoryAllocation ? ExitCode::out_of_memory : ExitCode::device,
              fmt::format("{}: {} ({}) from {} at {}:{}", target, cudaGetErrorString(error), cudaGetErrorName(error), call, file, line));
}

CudaBackend::CudaBackend(int device, const KernelChoice& kernels) : kernels_(kernels) {
  require_device(device);
  PASTICHE_CUDA_CHECK(cudaSetDevice(device));
  cudaDeviceProp properties{};
  PASTICHE_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  device_name_ = fmt::format("{}, sm_{}{}", properties.name, properties.major, properties.minor);
  multiprocessors_ = properties.multiProcessorCount;
  compute_capability_ = properties.major * 10 + properties.minor;
  require_compute_capability(kernels_, compute_capability_);
  PASTICHE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  PASTICHE_CUDA_CHECK(cudaStreamCreateWithFlags(&copy_stream_, cudaStreamNonBlocking));
  for (Staging& staging : staging_) PASTICHE_CUDA_CHECK(cudaEventCreateWithFlags(&staging.copied, cudaEventDisableTiming));
  try {
    Tensor::full(*this, {1}, 0);
  } catch (const Error&) {
    throw Error(ExitCode::device, fmt::format("this build has code for the architectures {}, and none that runs on {}; build with "
                                              "-DCMAKE_CUDA_ARCHITECTURES=native, or use --device cpu",
                                              PASTICHE_CUDA_ARCHITECTURES, device_name_));
  }
}

// Errors on the way out have nobody to tell.
CudaBackend::~CudaBackend() {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  if (copy_stream_ != nullptr) cudaStreamSynchronize(copy_stream_);
  release_pool();
  for (Staging& staging : staging_) {
    cudaFreeHost(staging.data);
    cudaEventDestroy(staging.copied);
  }
  cudaStreamDestroy(copy_stream_);
  cudaStreamDestroy(stream_);
}

std::string_view CudaBackend::name() const { return target; }

std::string CudaBackend::fingerprint() const {
  const std::string chosen = kernels_.str();
  return fmt::format("{} {}{}{}", target, device_name_, chosen.empty() ? "" : ", " + chosen, kernels_.tf32 ? ", TF32" : "");
}

std::size_t CudaBackend::available_bytes() const {
  std::size_t free = 0, total = 0;
  PASTICHE_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return free;
}

void* CudaBackend::system_allocate(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  PASTICHE_CUDA_CHECK(error);
  return data;
}

// Given back where memory is short and at the end: what still runs may use it, and cudaFree waits for that.
void CudaBackend::system_release(void* data, std::size_t) { cudaFree(data); }

void CudaBackend::copy_from_host(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  PASTICHE_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  PASTICHE_CUDA_CHECK(cudaStreamSynchronize(stream_));
}

void CudaBackend::copy_to_host(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  PASTICHE_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
  PASTICHE_CUDA_CHECK(cudaStreamSynchronize(stream_));
}

void CudaBackend::prefetch_from_host(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  Staging& staging = staging_[next_staging_];
  next_staging_ = 1 - next_staging_;
  PASTICHE_CUDA_CHECK(cudaEventSynchronize(staging.copied));  // an earlier copy may still read the pinned memory
  if (staging.bytes < bytes) {
    PASTICHE_CUDA_CHECK(cudaFreeHost(staging.data));
    staging.data = nullptr;
    staging.bytes = 0;
    PASTICHE_CUDA_CHECK(cudaMallocHost(&staging.data, bytes));
    staging.bytes = bytes;
  }
  std::memcpy(staging.data, from, bytes);
  PASTICHE_CUDA_CHECK(cudaMemcpyAsync(to, staging.data, bytes, cudaMemcpyHostToDevice, copy_stream_));
  PASTICHE_CUDA_CHECK(cudaEventRecord(staging.copied, copy_stream_));
  PASTICHE_CUDA_CHECK(cudaStreamWaitEvent(stream_, staging.copied, 0));
}

// ---- recording -------------------------------------------------------------------------------------------------------

class CudaBackend::Graph final : public Replay {
 public:
  explicit Graph(CudaBackend& backend) : backend_(backend), arena_(backend.begin_arena()) {}
  ~Graph() override {
    if (executable_ != nullptr) {
      cudaStreamSynchronize(backend_.stream_);  // it may still run
      cudaGraphExecDestroy(executable_);
    }
    backend_.dissolve_arena(arena_);
  }

  void capture(const std::function<void()>& body) {
    PASTICHE_CUDA_CHECK(cudaStreamBeginCapture(backend_.stream_, cudaStreamCaptureModeRelaxed));
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(backend_.stream_, &graph);
      cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    PASTICHE_CUDA_CHECK(cudaStreamEndCapture(backend_.stream_, &graph));
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    PASTICHE_CUDA_CHECK(cudaGraphDestroy(graph));
    PASTICHE_CUDA_CHECK(error);
  }

  void run() override { PASTICHE_CUDA_CHECK(cudaGraphLaunch(executable_, backend_.stream_)); }

 private:
  CudaBackend& backend_;
  Arena arena_;
  cudaGraphExec_t executable_ = nullptr;
};

std::unique_ptr<Backend::Replay> CudaBackend::record(const std::function<void()>& body) {
  auto graph = std::make_unique<Graph>(*this);
  const struct EndArena {
    CudaBackend& backend;
    ~EndArena() { backend.end_arena(); }
  } end{*this};
  graph->capture(body);
  return graph;
}

std::unique_ptr<Backend> make_cuda_backend(const KernelChoice& kernels) { return std::make_unique<CudaBackend>(0, kernels); }

}  // namespace pastiche::PASTICHE_TARGET
