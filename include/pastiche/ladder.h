#pragma once
// The ladder: the kernels of conv2d and gemm from the naive one to the final one (kernels/ladder/), in numbered rungs. The backend of CUDA
// kernels takes the highest one that supports what it is given, or is told to take none above a rung. Which there are is in rungs.h.
#include <optional>
#include <string>
#include <string_view>

#include "pastiche/tensor.h"

namespace pastiche {

// The highest rung to take, where one was chosen. A product in that form alone which a linear layer's forward has, y = a b^T, asks for
// gemm's: gradients take the default.
struct KernelChoice {
  std::optional<int> conv2d = {}, gemm = {};
  bool tf32 = false;  // --precision tf32: of f32 tensors, products on tensor cores may take their factors as TF32
  std::string str() const;  // of the rungs: "conv2d=4,gemm=2", what parse_kernels() reads
};

// Error(usage) for an op or a rung that there is not, and an op that stands twice. "" chooses nothing.
KernelChoice parse_kernels(std::string_view text);
// The form of that text, and all rungs, in words.
std::string expected_kernels();

// Error(usage) where a chosen rung, or TF32, has no kernel for activations of this type, for a GPU such as this, or for any (cpu,
// reference).
void require_dtype(const KernelChoice&, DType);
void require_compute_capability(const KernelChoice&, int compute_capability);
void require_none(const KernelChoice&, std::string_view device);

}  // namespace pastiche
