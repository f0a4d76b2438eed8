#include "device.h"

#include <fmt/format.h>
#include <omp.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>

#ifdef PASTICHE_BENCH_CUDA
#include "cuda_device.h"
#endif

namespace pastiche::bench {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The best of some runs.
template <class F> double best_of(int runs, F run) {
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    const double begin = now();
    run();
    best = std::min(best, now() - begin);
  }
  return best;
}

#if defined(__x86_64__)
// 12 chains of dependent multiply-adds hide the latency of any processor's two units. The sum keeps them from being dropped.
__attribute__((target("avx2,fma"))) float multiply_add_256(long rounds) {
  __m256 a[12];
  for (__m256& each : a) each = _mm256_set1_ps(1);
  const __m256 b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
  for (long i = 0; i < rounds; ++i)
    for (__m256& each : a) each = _mm256_fmadd_ps(each, b, c);
  for (int i = 1; i < 12; ++i) a[0] = _mm256_add_ps(a[0], a[i]);
  return _mm256_cvtss_f32(a[0]);
}

__attribute__((target("avx512f"))) float multiply_add_512(long rounds) {
  __m512 a[12];
  for (__m512& each : a) each = _mm512_set1_ps(1);
  const __m512 b = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(0.001f);
  for (long i = 0; i < rounds; ++i)
    for (__m512& each : a) each = _mm512_fmadd_ps(each, b, c);
  for (int i = 1; i < 12; ++i) a[0] = _mm512_add_ps(a[0], a[i]);
  return _mm512_cvtss_f32(a[0]);
}

double processor_flop_rate(int threads) {
  constexpr long rounds = 2'000'000;
  const bool wide = __builtin_cpu_supports("avx512f") != 0;
  volatile float sink = 0;
  const double seconds = best_of(5, [&] {
#pragma omp parallel num_threads(threads)
    sink = wide ? multiply_add_512(rounds) : multiply_add_256(rounds);
  });
  return threads * rounds * 12.0 * 2 * (wide ? 16 : 8) / seconds;
}

void flush_from_caches(const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  for (std::size_t i = 0; i < bytes; i += 64) _mm_clflush(at + i);
}
#else
double processor_flop_rate(int) { return 0; }

void flush_from_caches(const void*, std::size_t) {
  static std::vector<char> large(std::size_t{64} << 20);
  for (char& each : large) ++each;
}
#endif

class HostDevice final : public Device {
 public:
  HostDevice(const std::string& name, int threads, const KernelChoice& kernels)
      : Device(name), threads_(threads), kernels_(kernels) {}

  Backend& backend() override {
    if (!backend_) backend_ = make_backend(name(), threads_, kernels_);
    return *backend_;
  }
  bool supports(DType dtype) override { return name() == "cuda" || backend().supports(dtype); }  // rows of a GPU are listed in any build

  void wait() override {
    if (!byte_.defined()) byte_ = Tensor::full(backend(), {1}, 0);
    float ignored = 0;
    byte_.copy_to_host(&ignored);
  }

  std::unique_ptr<Timer> timer(const Program& program) override { return std::make_unique<HostTimer>(*this, program); }

  Roofline measure_roofline() override {
    if (name() != "cpu") return {};
    const double flop = processor_flop_rate(threads_ > 0 ? threads_ : omp_get_max_threads());
    return {.f32_flop = std::max(flop, gemm_flop_rate(*this, DType::f32, 1024)),
            .bf16_flop = std::max(flop, gemm_flop_rate(*this, DType::bf16, 1024)),
            .bytes = copy_rate(*this, std::size_t{256} << 20)};
  }

 private:
  class HostTimer final : public Timer {
   public:
    HostTimer(HostDevice& device, const Program& program) : device_(device), program_(program) {}

    double warm() override {
      const double begin = now();
      program_.run();
      device_.wait();
      return now() - begin;
    }

    double cold() override {
      for (const Tensor& x : program_.tensors()) flush_from_caches(x.raw(), x.bytes());
      return warm();
    }

   private:
    HostDevice& device_;
    const Program& program_;
  };

  int threads_;
  KernelChoice kernels_;
  std::unique_ptr<Backend> backend_;
  Tensor byte_;
};

}  // namespace

double Roofline::seconds(const Launch& launch) const {
  const double peak = launch.dtype == DType::bf16 ? bf16_flop : f32_flop;
  if (peak == 0 || bytes == 0) return 0;
  return std::max(launch.flop / peak, launch.bytes / bytes);
}

double gemm_flop_rate(Device& device, DType dtype, std::int64_t extent) {
  Recorder recorder;
  const Tensor a = Tensor::empty(recorder, {extent, extent}, dtype), b = Tensor::empty(recorder, {extent, extent}, dtype);
  Tensor y = Tensor::empty(recorder, {extent, extent}, dtype);
  recorder.gemm(y, a, b, {});
  const Program program(device.backend(), recorder, recorder.launches);
  program.run();
  const auto timer = device.timer(program);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) best = std::min(best, timer->warm());
  return recorder.launches.front().flop / best;
}

double copy_rate(Device& device, std::size_t bytes) {
  Recorder recorder;
  const Shape shape{static_cast<std::int64_t>(bytes / sizeof(float))};
  const Tensor x = Tensor::empty(recorder, shape);
  Tensor y = Tensor::empty(recorder, shape);
  recorder.affine(y, x, {.scale = 2});
  const Program program(device.backend(), recorder, recorder.launches);
  program.run();
  const auto timer = device.timer(program);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) best = std::min(best, timer->warm());
  return recorder.launches.front().bytes / best;
}

std::unique_ptr<Device> make_device(const std::string& name, int threads, const KernelChoice& kernels) {
#ifdef PASTICHE_BENCH_CUDA
  if (name == "cuda" || name.starts_with("cudnn")) return make_cuda_device(name, kernels);
#endif
  return std::make_unique<HostDevice>(name, threads, kernels);
}

std::vector<std::string> vendors_of([[maybe_unused]] std::string_view name) {
#ifdef PASTICHE_BENCH_CUDNN
  if (name == "cuda") return {"cudnn", "cudnn-tf32"};
#endif
  return {};
}

}  // namespace pastiche::bench
