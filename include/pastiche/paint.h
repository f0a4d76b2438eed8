#pragma once
// One photo in the manner of one painting, without a model: the photo's pixels are optimised until its patches are distributed as those
// of the painting (Elnekave and Weiss, "Generating Natural Images with Direct Patch Distributions Matching", ECCV 2022).
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pastiche/backend.h"
#include "pastiche/image.h"

namespace pastiche {

struct Painting {
  Image image;        // 1, 3 or 4 channels; alpha is composed over white
  double weight = 1;  // its share of the patches, relative to the others'; above 0
};

struct PaintOptions {
  double strength = 0.5;     // 0: strokes are laid over the photo; 1: only the largest things are still where they were
  double stroke = 1;         // size of the strokes, relative to those of the painting at the photo's size: 0.25 to 4
  bool keep_colors = false;  // the painting's strokes in luma alone, with the photo's chroma (ITU-R 601 YCbCr)
  Image mask = {};             // of the photo's size, by its luma: white is painted, black stays the photo; none: all of it
  std::uint64_t seed = 0;
  std::function<void(double done)> on_step = {};                  // after each step, with the share of the work that is done
  std::function<void(const std::function<Image()>&)> on_scale = {};  // after each scale but the last, with what makes the result so far
  std::function<bool()> stop = {};                             // true: what there is becomes the result
};

// The photo's size and channels (a gray photo becomes RGB, but for keep_colors), its alpha as it was. The same inputs and seed give the
// same bytes on one backend, for the same number of threads. Above `painted_pixels` the patches are those of the picture at that size, and
// what is finer comes from the photo. Throws Error(usage) for options out of range, Error(bad_data) for a picture that is too small or
// shows nothing.
Image paint(Backend& backend, const Image& photo, std::span<const Painting> paintings, const PaintOptions& options = {});

inline constexpr std::int64_t painted_pixels = 1 << 20;

}  // namespace pastiche
