#pragma once
// Every kernel on a backend and on `reference`, on the same inputs.
#include <memory>
#include <string>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche {

// All runs of a kernel in one dtype: bf16 where any of its tensors is, else f32.
struct KernelCheck {
  std::string kernel;
  DType dtype = DType::f32;
  long runs = 0;
  std::string shapes;  // of the run that came out worst
  double error = 0;    // of its worst output: relative, in the L2 norm; infinite where something is not a number
  double bound = 0;    // how large it may be
  bool ok() const { return runs > 0 && error <= bound; }
};

double allowed_error(DType);  // the bound of every kernel

// Takes training steps of small models and calls what those leave out. Every kernel is in the result once a dtype that the device
// supports, in the order of kernels.def; what only exists in f32 is there once.
std::vector<KernelCheck> check_kernels(std::unique_ptr<Backend> device);

}  // namespace pastiche
