#pragma once
#include <cstdint>

namespace pastiche {

// ITU-R 601, of a pixel's R, G and B.
inline float luma(const std::uint8_t* rgb) { return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]; }

}  // namespace pastiche
