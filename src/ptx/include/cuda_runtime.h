#pragma once
// src/simt's CUDA, for host code whose kernels were translated from PTX.

// The host compiler reads a kernel and emits nothing for it: its address is that of the ptx_runtime::Kernel under its name.
#define __global__ inline __attribute__((gnu_inline))
#define PASTICHE_PTX

#include <array>

#include "simt/include/cuda_runtime.h"

namespace pastiche::ptx_runtime {

struct Parameter {
  std::size_t bytes, align;
};
cudaError_t launch(const void* kernel, dim3 grid, dim3 block, std::span<const Parameter>, void** arguments, std::size_t shared, cudaStream_t);
cudaError_t set_attribute(const void* kernel, cudaFuncAttribute, int value);

}  // namespace pastiche::ptx_runtime

namespace pastiche::simt_runtime {
inline namespace ptx {

template <class... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, std::size_t shared = 0,
                             cudaStream_t stream = nullptr) {
  static constexpr std::array<ptx_runtime::Parameter, sizeof...(Parameters)> parameters{{{sizeof(Parameters), alignof(Parameters)}...}};
  return ptx_runtime::launch(reinterpret_cast<const void*>(kernel), grid, block, parameters, arguments, shared, stream);
}
template <class F> cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute attribute, int value) {
  return ptx_runtime::set_attribute(reinterpret_cast<const void*>(kernel), attribute, value);
}

}  // namespace ptx
}  // namespace pastiche::simt_runtime
