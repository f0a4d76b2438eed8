#pragma once
// Every call into CUDA goes through PASTICHE_CUDA_CHECK: what failed, where, and why.
#include <cuda_runtime.h>

namespace pastiche::PASTICHE_TARGET {

// Error(out_of_memory) for cudaErrorMemoryAllocation, Error(device) for every other failure.
[[noreturn]] void throw_cuda_error(cudaError_t error, const char* call, const char* file, int line);

}  // namespace pastiche::PASTICHE_TARGET

#define PASTICHE_CUDA_CHECK(...)                                                                               \
  do {                                                                                                         \
    const cudaError_t pastiche_error = (__VA_ARGS__);                                                          \
    if (pastiche_error != cudaSuccess)                                                                         \
      ::pastiche::PASTICHE_TARGET::throw_cuda_error(pastiche_error, #__VA_ARGS__, __FILE__, __LINE__);         \
  } while (false)
