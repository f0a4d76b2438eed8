#pragma once
// The specification of every kernel, in code: plain loops in double, whatever the tensors hold, each result rounded once.
#include "backends/host_memory.h"

namespace pastiche {

class ReferenceBackend : public HostBackend {
 public:
  ~ReferenceBackend() override { release_pool(); }

  std::string_view name() const override { return "reference"; }
  bool supports(DType) const override { return true; }
  std::string fingerprint() const override { return "reference"; }

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL
};

}  // namespace pastiche
