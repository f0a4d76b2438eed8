#pragma once
// One axis of a padded picture, for processors and for GPUs. The formula stands in kernels.def.
#include "pastiche/backend.h"

namespace pastiche {

struct PadAxis {
  std::int64_t extent, before, after;  // of the picture, and of what is put around it
  Pad::Mode mode;

  PASTICHE_HOST_DEVICE std::int64_t padded() const { return before + extent + after; }

  // Which pixel place i of the padded axis shows.
  PASTICHE_HOST_DEVICE std::int64_t source(std::int64_t i) const {
    i -= before;
    const std::int64_t last = extent - 1;
    if (mode == Pad::Mode::replicate) return i < 0 ? 0 : i > last ? last : i;
    return i < 0 ? -i : i > last ? 2 * last - i : i;
  }

  // f(place) for all that show pixel i, in order.
  template <class F> PASTICHE_HOST_DEVICE void each_place(std::int64_t i, F f) const {
    const std::int64_t last = extent - 1, middle = before + i;
    if (mode == Pad::Mode::replicate) {
      const std::int64_t end = i == last ? padded() : middle + 1;
      for (std::int64_t place = i == 0 ? 0 : middle; place < end; ++place) f(place);
      return;
    }
    if (i > 0 && i <= before) f(before - i);
    f(middle);
    if (i < last && i >= last - after) f(before + 2 * last - i);
  }
};

inline PadAxis vertical(const Pad& p, std::int64_t height) { return {height, p.top, p.bottom, p.mode}; }
inline PadAxis horizontal(const Pad& p, std::int64_t width) { return {width, p.left, p.right, p.mode}; }

}  // namespace pastiche
