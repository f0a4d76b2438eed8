#pragma once
// The devices on an NVIDIA GPU: ours, and the vendor's.
#include "device.h"

namespace pastiche::bench {

// "cuda", and where cuDNN was found "cudnn" and "cudnn-tf32". Error(device) says why there is none.
std::unique_ptr<Device> make_cuda_device(const std::string& name, const KernelChoice& kernels);

}  // namespace pastiche::bench
