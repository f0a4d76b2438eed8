#pragma once
// The backend for NVIDIA GPUs. It is compiled once a target (PASTICHE_TARGET): `cuda` by nvcc for the GPU, `simt` and
// `simt_checked` by the host compiler over src/simt, which runs the same kernels on the processor. Every kernel of kernels.def is a
// launcher, a member launch_NAME that stands with its kernels in kernels/*.cu.
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include "pastiche/backend.h"

namespace pastiche::PASTICHE_TARGET {

// Shows the op in a profiler's timeline.
class NvtxRange {
 public:
  explicit NvtxRange(const char* name) { nvtxRangePushA(name); }
  ~NvtxRange() { nvtxRangePop(); }
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
};

struct MmaEpilogue;  // kernels/conv_mma.cuh

class CudaBackend : public Backend {
 public:
  // Error(device): no driver, no such GPU, or one that this build has no code for. Error(usage): it does not run a kernel of `kernels`.
  explicit CudaBackend(int device = 0, const KernelChoice& kernels = {});
  ~CudaBackend() override;

  std::string_view name() const override;
  bool supports(DType dtype) const override { return dtype != DType::f64; }
  std::string fingerprint() const override;

#define PASTICHE_KERNEL(name, parameters, arguments) \
  void name parameters override {                    \
    const NvtxRange range(#name);                    \
    launch_##name arguments;                         \
  }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  void copy_from_host(void* to, const void* from, std::size_t bytes) override;
  void copy_to_host(void* to, const void* from, std::size_t bytes) override;
  void prefetch_from_host(void* to, const void* from, std::size_t bytes) override;
  std::unique_ptr<Replay> record(const std::function<void()>& body) override;
  std::size_t available_bytes() const override;

  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }  // of the GPU: how many blocks fill it
  int compute_capability() const { return compute_capability_; }  // 80: sm_80
  const KernelChoice& kernels() const { return kernels_; }

 protected:
  void* system_allocate(std::size_t bytes) override;
  void system_release(void* data, std::size_t bytes) override;

 private:
#define PASTICHE_KERNEL(name, parameters, arguments) void launch_##name parameters;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  // conv2d. True where the epilogue was done with it.
  bool convolve(Tensor& y, const Tensor& x, const Tensor& w, const Conv& conv, const MmaEpilogue& epilogue);

  class Graph;
  // Pinned memory that the copy stream reads while the host goes on.
  struct Staging {
    void* data = nullptr;
    std::size_t bytes = 0;
    cudaEvent_t copied = nullptr;
  };

  KernelChoice kernels_;
  int multiprocessors_ = 0, compute_capability_ = 0;
  std::string device_name_;  // with its architecture
  cudaStream_t stream_ = nullptr, copy_stream_ = nullptr;
  Staging staging_[2];
  int next_staging_ = 0;
};

}  // namespace pastiche::PASTICHE_TARGET
