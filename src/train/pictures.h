#pragma once
// Between pictures and what networks take and give.
#include <span>
#include <vector>

#include "pastiche/image.h"
#include "pastiche/tensor.h"

namespace pastiche {

Tensor to_tensor(Backend& backend, std::span<const Image> pictures);  // of one shape -> [N,H,W,C] in [-1, 1]
std::vector<Image> to_pictures(const Tensor& y);                      // the reverse

}  // namespace pastiche
