#pragma once
// A backend without memory and without arithmetic: a step that runs on it says how much memory and how many
// operations that step takes.
#include "pastiche/backend.h"

namespace pastiche {

class PlanBackend : public Backend {
 public:
  ~PlanBackend() override { release_pool(); }

  std::string_view name() const override { return "plan"; }
  bool supports(DType) const override { return true; }
  std::string fingerprint() const override { return "plan"; }

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  void copy_from_host(void*, const void*, std::size_t) override {}
  void copy_to_host(void* to, const void* from, std::size_t bytes) override;  // of a StepState: one without complaints
  std::size_t available_bytes() const override { return SIZE_MAX; }

  double flop() const { return flop_; }  // of all that was launched, as LaunchCost counts them

 protected:
  void count(double flop) { flop_ += flop; }
  void* system_allocate(std::size_t) override { return reinterpret_cast<void*>(next_ += 64); }
  void system_release(void*, std::size_t) override {}

 private:
  double flop_ = 0;
  std::uintptr_t next_ = 0;  // an address of nothing
};

}  // namespace pastiche
