#pragma once
// Which pixels sample_pixels draws of a picture, for processors and for GPUs. The formula stands in kernels.def.
#include "pastiche/backend.h"

namespace pastiche {

struct PixelDraw {
  PixelDraw(const SamplePixels& p, const Shape& x) : pixels(x[1] * x[2]), count(p.count), key(p.key) {}  // x [N,H,W,C]

  // Sample s is one of the pixels begin(s) to begin(s + 1) - 1.
  PASTICHE_HOST_DEVICE std::int64_t begin(std::int64_t s) const { return s * pixels / count; }
  // The sample that could be this pixel.
  PASTICHE_HOST_DEVICE std::int64_t sample_of(std::int64_t pixel) const { return ((pixel + 1) * count - 1) / pixels; }
  // The pixel that sample s of picture n is.
  PASTICHE_HOST_DEVICE std::int64_t drawn(std::uint64_t step, std::int64_t n, std::int64_t s) const {
    const std::uint32_t word = philox_word(key, step, static_cast<std::uint64_t>(n * count + s));
    return begin(s) + integer_below(begin(s + 1) - begin(s), word);
  }

  std::int64_t pixels, count;  // of a picture, and how many of them are drawn
  RandomKey key;
};

}  // namespace pastiche
