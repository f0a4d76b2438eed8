#pragma once
// A backend without memory and without arithmetic that writes down what is launched on it, so that the same can be launched on
// others: what a training step, or a row of the op table, asks of a backend is found by running it here and not listed by hand.
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche::bench {

// What a tensor of a recording is on another backend.
using TensorMap = std::function<Tensor(const Tensor&)>;

struct Launch {
  std::string kernel;
  std::string
      shapes;  // of its tensors, outputs first, and what else decides its speed: "[4,8,8,64] [4,8,8,32] [64,5,5,32] pad 2"
  DType dtype;         // bf16 where any tensor is, else f32
  double flop = 0;     // of convolution and GEMM; of an upsampling convolution what its folded form takes
  double bytes = 0;    // of its tensors, each moved once, or twice where it is read and written
  std::vector<Tensor> tensors;
  std::function<std::function<void()>(Backend& on, const TensorMap&)> bind;  // the same launch, there
};

class Recorder final : public Backend {
 public:
  ~Recorder() override {
    launches.clear();
    release_pool();
  }

  std::string_view name() const override { return "recorder"; }
  bool supports(DType) const override { return true; }
  std::string fingerprint() const override { return "recorder"; }

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  void copy_from_host(void* to, const void* from, std::size_t bytes) override;
  void copy_to_host(void* to, const void* from, std::size_t bytes) override;
  std::size_t available_bytes() const override { return SIZE_MAX; }

  // What the host last wrote to a tensor; nullptr where it did not, or wrote so much that it can't be worth keeping.
  const std::vector<std::byte>* written(const Tensor& x) const;

  std::vector<Launch> launches;

 protected:
  void* system_allocate(std::size_t) override { return reinterpret_cast<void*>(next_ += 64); }
  void system_release(void*, std::size_t) override {}

 private:
  template <class Kernel> auto call(const char* name, Kernel kernel);

  std::uintptr_t next_ = 0;  // an address of nothing
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
