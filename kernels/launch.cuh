#pragma once
// The one place where kernels are launched: arguments are converted to the kernel's own parameter types, and the caller checks
// what comes back:
//   PASTICHE_CUDA_CHECK(launch(leaky_relu_kernel<float, 4>, {.stream = stream(), .blocks = dim3(n), .threads = 256}, y, x, slope));
#include <cuda_runtime.h>

#include "backends/cuda/check.h"
#include "pastiche/tensor.h"

namespace pastiche::PASTICHE_TARGET {

struct LaunchShape {
  cudaStream_t stream;
  dim3 blocks;
  int threads;             // a block; what the kernel's __launch_bounds__ say
  std::size_t shared = 0;  // bytes of dynamic shared memory, at most 48 KiB
};

// So many blocks, in one dimension.
inline dim3 grid(std::int64_t blocks) {
  if (blocks > 0x7fffffff) throw Error(ExitCode::failed, std::to_string(blocks) + " blocks are more than a launch can have");
  return dim3(static_cast<unsigned>(blocks));
}

template <class... Parameters>
[[nodiscard]] cudaError_t launch(void (*kernel)(Parameters...), const LaunchShape& shape,
                                 std::type_identity_t<Parameters>... arguments) {
  void* pointers[] = {&arguments...};
  return cudaLaunchKernel(kernel, shape.blocks, dim3(static_cast<unsigned>(shape.threads)), pointers, shape.shared, shape.stream);
}

}  // namespace pastiche::PASTICHE_TARGET
