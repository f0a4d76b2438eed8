#pragma once
// A backend that forwards to another and writes down what is launched: for profiles and for tests. It has its own pool, over
// the other's, and is for one thread.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche {

struct TracedLaunch {
  std::string_view kernel;
  double seconds;  // on the host's clock, until the kernel's function returns, or with Wait::yes until the kernel has ended
};

class TracedBackend : public Backend {
 public:
  enum class Wait : bool { no, yes };  // for each kernel's end, so that its time is its own
  explicit TracedBackend(std::unique_ptr<Backend> inner, Wait wait = Wait::no) : inner_(std::move(inner)) {
    if (wait == Wait::yes) waited_for_ = Tensor::full(*inner_, {1}, 0);
  }
  ~TracedBackend() override { release_pool(); }

  std::string_view name() const override { return inner_->name(); }
  bool supports(DType dtype) const override { return inner_->supports(dtype); }
  std::string fingerprint() const override { return inner_->fingerprint(); }

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  void copy_from_host(void* to, const void* from, std::size_t bytes) override { inner_->copy_from_host(to, from, bytes); }
  void copy_to_host(void* to, const void* from, std::size_t bytes) override { inner_->copy_to_host(to, from, bytes); }
  std::size_t available_bytes() const override { return inner_->available_bytes(); }

  Backend& inner() { return *inner_; }
  const std::vector<TracedLaunch>& launches() const { return launches_; }
  void clear() { launches_.clear(); }
  std::int64_t calls(std::string_view kernel) const {
    return std::count_if(launches_.begin(), launches_.end(), [&](const TracedLaunch& each) { return each.kernel == kernel; });
  }

 protected:
  void* system_allocate(std::size_t bytes) override { return inner_->allocate(bytes); }
  void system_release(void* data, std::size_t bytes) override { inner_->release(data, bytes); }

 private:
  template <class Launch> void timed(const char* kernel, Launch launch);

  std::unique_ptr<Backend> inner_;
  Tensor waited_for_;  // of inner_: to read it back is to wait
  std::vector<TracedLaunch> launches_;
};

}  // namespace pastiche
