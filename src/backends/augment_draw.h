#pragma once
// What diff_augment draws for a picture, for processors and for GPUs: the same bits everywhere. The formulas stand in kernels.def.
#include "pastiche/backend.h"

namespace pastiche {

// One axis of a picture: place i of the result shows pixel i + shift.
struct AugmentAxis {
  std::int32_t extent, shift, hole, hole_end;  // the hole is [hole, hole_end), partly outside of the picture, or empty

  PASTICHE_HOST_DEVICE bool inside(std::int32_t i) const { return i >= 0 && i < extent; }
  PASTICHE_HOST_DEVICE bool cuts(std::int32_t i) const { return i >= hole && i < hole_end; }
};

struct AugmentDraw {
  float brightness, saturation, contrast;  // 0, 1 and 1 where they are not asked for
  AugmentAxis down, across;

  PASTICHE_HOST_DEVICE bool cuts(std::int32_t h, std::int32_t w) const { return down.cuts(h) && across.cuts(w); }
  // Whether place (h, w) of the result shows a pixel, which then is (h + down.shift, w + across.shift).
  PASTICHE_HOST_DEVICE bool shows(std::int32_t h, std::int32_t w) const {
    return !cuts(h, w) && down.inside(h + down.shift) && across.inside(w + across.shift);
  }
  // Whether a place shows pixel (h, w), which then is (h - down.shift, w - across.shift).
  PASTICHE_HOST_DEVICE bool shown(std::int32_t h, std::int32_t w) const {
    h -= down.shift;
    w -= across.shift;
    return down.inside(h) && across.inside(w) && !cuts(h, w);
  }
};

namespace augment {

// Uniform in 0 .. count - 1.
PASTICHE_HOST_DEVICE inline std::int32_t pick(std::uint32_t word, std::int32_t count) {
  return static_cast<std::int32_t>(std::uint64_t{word} * static_cast<std::uint32_t>(count) >> 32);
}

PASTICHE_HOST_DEVICE inline AugmentAxis draw_axis(const DiffAugment& p, std::int32_t extent, std::uint32_t shift, std::uint32_t hole) {
  AugmentAxis axis{extent, 0, 0, 0};
  const std::int32_t most = (extent + 4) / 8, side = (extent + 1) / 2;
  if (p.translation) axis.shift = pick(shift, 2 * most + 1) - most;
  if (p.cutout) {
    axis.hole = pick(hole, extent + 1 - side % 2) - side / 2;
    axis.hole_end = axis.hole + side;
  }
  return axis;
}

}  // namespace augment

// Of picture `n` of a batch, [height, width].
PASTICHE_HOST_DEVICE inline AugmentDraw draw_augment(const DiffAugment& p, std::int64_t step, std::int64_t n, std::int64_t height,
                                                     std::int64_t width) {
  const auto block = 2 * static_cast<std::uint64_t>(n);
  const Philox4 color = philox4x32(p.key, static_cast<std::uint64_t>(step), block);
  const Philox4 place = philox4x32(p.key, static_cast<std::uint64_t>(step), block + 1);
  return {p.brightness ? uniform_from(color.word[0]) - 0.5f : 0.0f,
          p.saturation ? 2.0f * uniform_from(color.word[1]) : 1.0f,
          p.contrast ? uniform_from(color.word[2]) + 0.5f : 1.0f,
          augment::draw_axis(p, static_cast<std::int32_t>(height), place.word[0], place.word[2]),
          augment::draw_axis(p, static_cast<std::int32_t>(width), place.word[1], place.word[3])};
}

}  // namespace pastiche
