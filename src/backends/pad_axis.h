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

  // f(place) for all that show pixel i, in order: a run of them, or up to three.
  template <class F> PASTICHE_HOST_DEVICE void each_place(std::int64_t i, F f) const {
    const std::int64_t last = extent - 1, middle = before + i;
    const bool run = mode == Pad::Mode::replicate;
    std::int64_t begin = middle, end = middle;
    if (run && i == 0) begin = 0;
    if (run && i == last) end = padded() - 1;
    if (!run && i > 0 && i <= before) begin = before - i;
    if (!run && i < last && i >= last - after) end = before + 2 * last - i;
    const std::int64_t to_middle = run ? 1 : middle - begin, from_middle = run || end == middle ? 1 : end - middle;
    for (std::int64_t place = begin; place <= end; place += place < middle ? to_middle : from_middle) f(place);
  }
};

inline PadAxis vertical(const Pad& p, std::int64_t height) { return {height, p.top, p.bottom, p.mode}; }
inline PadAxis horizontal(const Pad& p, std::int64_t width) { return {width, p.left, p.right, p.mode}; }

}  // namespace pastiche
