#pragma once
// A backend without memory and without arithmetic that keeps what is launched on it, so that the same can be launched on others:
// what a training step, or a row of the op table, asks of a backend is found by running it here and not listed by hand.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/launch_cost.h"
#include "backends/plan.h"

namespace pastiche::bench {

// What a tensor of a recording is on another backend.
using TensorMap = std::function<Tensor(const Tensor&)>;

struct Launch : LaunchCost {
  std::vector<Tensor> tensors;
  std::function<std::function<void()>(Backend& on, const TensorMap&)> bind;  // the same launch, there
};

class Recorder final : public PlanBackend {
 public:
  std::string_view name() const override { return "recorder"; }
  std::string fingerprint() const override { return "recorder"; }

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  void copy_from_host(void* to, const void* from, std::size_t bytes) override;
  void copy_to_host(void* to, const void* from, std::size_t bytes) override;

  // What the host last wrote to a tensor; nullptr where it did not, or wrote so much that it can't be worth keeping.
  const std::vector<std::byte>* written(const Tensor& x) const;

  std::vector<Launch> launches;

 private:
  template <class Kernel> auto call(const char* name, Kernel kernel);

  std::map<const void*, std::vector<std::byte>> written_;
};

// Launches of a recording on a backend, on tensors of their own.
class Program {
 public:
  Program(Backend& backend, const Recorder& recorder, const std::vector<Launch>& launches);
  void run() const {
    for (const auto& launch : launches_) launch();
  }
  const std::vector<Tensor>& tensors() const { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
  std::vector<std::function<void()>> launches_;
};

}  // namespace pastiche::bench
