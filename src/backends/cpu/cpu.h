#pragma once
// The backend for ordinary processors: oneDNN for convolution and GEMM, vectorised loops for the rest, bf16 where oneDNN has
// it in this processor and through f32 elsewhere. The same thread count gives the same bits; the loops (not oneDNN) give
// them for any thread count.
#include "backends/cpu/conv_rules.h"
#include "backends/host_memory.h"

namespace pastiche {

class OneDnn;

class CpuBackend final : public HostBackend {
 public:
  explicit CpuBackend(int threads, const ConvRules& rules = conv_rules);  // threads as threads_for() takes them
  ~CpuBackend() override;

  std::string_view name() const override { return "cpu"; }
  bool supports(DType dtype) const override { return dtype != DType::f64; }
  std::string fingerprint() const override;

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

 private:
  int threads_;
  std::unique_ptr<OneDnn> dnn_;
};

}  // namespace pastiche
