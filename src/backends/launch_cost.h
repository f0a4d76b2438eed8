#pragma once
// What a launch of a kernel costs and how it is named, told from its arguments alone.
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche {

struct LaunchCost {
  std::string kernel;
  std::string shapes;  // of its tensors, outputs first, and what else decides its speed: "[4,8,8,64] [4,8,8,32] [64,5,5,32] pad 2"
  DType dtype = DType::f32;  // bf16 where any tensor is, else f32
  double flop = 0;           // of convolution and GEMM; of an upsampling convolution what its folded form takes
  double bytes = 0;          // of its tensors, each moved once, or twice where it is read and written
  Conv conv = {};            // of a convolution
  Shape weights = {};        // its w, [K,R,S,C / groups]
};

class LaunchCosting {
 public:
  explicit LaunchCosting(std::string_view kernel) : kernel_(kernel) {}

  void add(const Tensor&);
  void add(std::span<const Tensor>);
  void add(const AdamTensors&);
  void add(const Conv&);
  void add(const Gemm&);
  void add(const NormAct&);
  void add(Phases);
  void add(const Slice&);
  void add(std::int64_t factor);
  void add(int axis);
  template <class Other> void add(const Other&) {}  // of no consequence for the speed

  LaunchCost result() const;

 private:
  void tensor(const Tensor& x, double moves);
  void list(std::string_view what, std::span<const Tensor> all, double moves);

  std::string_view kernel_;
  std::string shapes_, rest_;
  std::vector<Shape> tensors_;
  std::set<std::uint64_t> seen_;
  bool bf16_ = false;
  Conv conv_ = {};
  Shape weights_ = {};
  double flop_ = 0, bytes_ = 0;
};

template <class... Arguments> LaunchCost cost_of(std::string_view kernel, const Arguments&... arguments) {
  LaunchCosting costing(kernel);
  (costing.add(arguments), ...);
  return costing.result();
}

}  // namespace pastiche
