#pragma once
// The CUDA backend as each target has it, for who must not include CUDA's headers.
#include <memory>

#include "pastiche/backend.h"

namespace pastiche {

// On the first device that the target has.
namespace cuda {
std::unique_ptr<Backend> make_cuda_backend();
}
namespace simt {
std::unique_ptr<Backend> make_cuda_backend();
}
namespace ptx {
std::unique_ptr<Backend> make_cuda_backend();
}

}  // namespace pastiche
