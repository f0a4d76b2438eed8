#include "cuda_device.h"

#include <algorithm>

#include "backends/cuda/check.h"
#include "backends/cuda/cuda.h"
#ifdef PASTICHE_BENCH_CUDNN
#include "cudnn_backend.h"
#endif

namespace pastiche::bench {
namespace {

using cuda::CudaBackend;

// Seconds on the GPU between two points of its stream.
class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    PASTICHE_CUDA_CHECK(cudaEventCreate(&begin_));
    PASTICHE_CUDA_CHECK(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    cudaEventDestroy(end_);
    cudaEventDestroy(begin_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void start() { PASTICHE_CUDA_CHECK(cudaEventRecord(begin_, stream_)); }
  double stop() {
    PASTICHE_CUDA_CHECK(cudaEventRecord(end_, stream_));
    PASTICHE_CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    PASTICHE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return 1e-3 * milliseconds;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(const std::string& name, const KernelChoice& kernels = {}) : Device(name), kernels_(kernels) {}

  CudaBackend& backend() override {
    if (backend_ == nullptr) backend_ = make();
    return *backend_;
  }
  bool supports(DType dtype) override { return dtype != DType::f64; }
  void wait() override { PASTICHE_CUDA_CHECK(cudaStreamSynchronize(backend().stream())); }
  std::unique_ptr<Timer> timer(const Program& program) override { return std::make_unique<CudaTimer>(*this, program); }

  // The peak in f32, or where it multiplies so in TF32, and in bf16 is what the vendor's GEMM reaches, where it is at hand.
  Roofline measure_roofline() override {
#ifdef PASTICHE_BENCH_CUDNN
    const std::unique_ptr<Device> vendor = make_cuda_device(kernels_.tf32 ? "cudnn-tf32" : "cudnn", {});
    Device& multiplier = *vendor;
#else
    Device& multiplier = *this;
#endif
    return {.f32_flop = gemm_flop_rate(multiplier, DType::f32, 4096), .bf16_flop = gemm_flop_rate(multiplier, DType::bf16, 4096),
            .bytes = copy_rate(*this, std::size_t{1} << 29)};
  }

 protected:
  virtual std::unique_ptr<CudaBackend> make() const { return std::make_unique<CudaBackend>(0, kernels_); }

 private:
  // Launches are recorded and replayed, so that the time of launching them stays out.
  class CudaTimer final : public Timer {
   public:
    CudaTimer(CudaDevice& device, const Program& program)
        : backend_(device.backend()), stopwatch_(backend_.stream()), flushed_(device.flush_buffer()) {
      once_ = backend_.record([&] { program.run(); });
      once_->run();
      stopwatch_.start();
      once_->run();
      constexpr double enough = 1e-4;  // seconds, beside which what lies between two events is little
      runs_ = std::clamp(static_cast<int>(enough / stopwatch_.stop()), 1, 32);
      many_ = backend_.record([&] {
        for (int i = 0; i < runs_; ++i) program.run();
      });
      many_->run();
    }

    double warm() override {
      stopwatch_.start();
      many_->run();
      return stopwatch_.stop() / runs_;
    }

    // While the large buffer is written, what follows it is launched.
    double cold() override {
      backend_.fill(flushed_, 0);
      stopwatch_.start();
      once_->run();
      return stopwatch_.stop();
    }

   private:
    CudaBackend& backend_;
    Stopwatch stopwatch_;
    Tensor& flushed_;
    int runs_ = 1;
    std::unique_ptr<Backend::Replay> once_, many_;
  };

  // Larger than any GPU's cache.
  Tensor& flush_buffer() {
    if (!flush_buffer_.defined()) flush_buffer_ = Tensor::empty(backend(), {std::int64_t{64} << 20});
    return flush_buffer_;
  }

  KernelChoice kernels_;
  std::unique_ptr<CudaBackend> backend_;
  Tensor flush_buffer_;
};

#ifdef PASTICHE_BENCH_CUDNN
class CudnnDevice final : public CudaDevice {
 public:
  CudnnDevice(const std::string& name, Tf32 tf32) : CudaDevice(name), tf32_(tf32) {}

  bool is_vendor() const override { return true; }

  // With TF32 only products differ.
  bool serves(const std::vector<Launch>& launches) const override {
    return std::any_of(launches.begin(), launches.end(), [this](const Launch& launch) {
      if (tf32_ == Tf32::yes && launch.dtype == DType::bf16) return false;
      if (launch.kernel == "gemm" || launch.kernel.starts_with("conv2d")) return true;
      return tf32_ == Tf32::no && launch.kernel.starts_with("norm_act");
    });
  }
  long stand_ins() override { return static_cast<CudnnBackend&>(backend()).stand_ins(); }

 protected:
  std::unique_ptr<CudaBackend> make() const override {
    return std::make_unique<CudnnBackend>(CudnnOptions{.tf32 = tf32_, .phases_hold_the_map = true});
  }

 private:
  Tf32 tf32_;
};
#endif

}  // namespace

std::unique_ptr<Device> make_cuda_device(const std::string& name, const KernelChoice& kernels) {
#ifdef PASTICHE_BENCH_CUDNN
  if (name == "cudnn") return std::make_unique<CudnnDevice>(name, Tf32::no);
  if (name == "cudnn-tf32") return std::make_unique<CudnnDevice>(name, Tf32::yes);
#endif
  return std::make_unique<CudaDevice>(name, kernels);
}

}  // namespace pastiche::bench
