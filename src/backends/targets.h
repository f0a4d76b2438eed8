#pragma once
// The CUDA backend as each target has it, for who must not include CUDA's headers.
#include <memory>

#include "pastiche/backend.h"

namespace pastiche {

// On the first device that the target has. Error(usage): it does not run one of the kernels that are chosen.
namespace cuda {
std::unique_ptr<Backend> make_cuda_backend(const KernelChoice& = {});
}
namespace simt {
std::unique_ptr<Backend> make_cuda_backend(const KernelChoice& = {});
}
namespace ptx {
std::unique_ptr<Backend> make_cuda_backend(const KernelChoice& = {});
}

}  // namespace pastiche
