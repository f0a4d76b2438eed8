#pragma once
// How near one set of pictures is to another.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "pastiche/image.h"

namespace pastiche {

struct SwdOptions {
  std::uint64_t seed = 0;
  int patches = 64;      // 7 x 7 patches of each picture and level
  int projections = 256;
  std::function<void(std::int64_t done, std::int64_t total)> observer = {};  // of projections, from any thread
};

struct SwdResult {
  std::vector<double> levels;  // from the finest down to 16 pixels
  double mean = 0;
};

// Sliced Wasserstein distance between the patches of two sets of pictures of one shape, at every level of their Laplacian
// pyramids (Karras et al., 2018, appendix 1), times 1000 as there; lower is nearer. Patches are normalised per channel by
// the mean and deviation of each set, so it sees texture and structure, not overall brightness. The sets must be equally large.
SwdResult sliced_wasserstein(std::span<const Image> a, std::span<const Image> b, const SwdOptions& options = {});

// How near pictures are to those they should be, each to its own, averaged over all. Samples count from 0 to 1.
struct PictureDistance {
  double l1 = 0;    // mean |a - b|
  double psnr = 0;  // dB, of the mean squared error over all; infinite where all are equal
  double ssim = 0;  // structural similarity, 1 where all are equal
};
// Wang et al., 2004: SSIM of each channel over Gaussian windows of 11x11 with deviation 1.5 that lie within the picture, K1 = 0.01,
// K2 = 0.03. Pictures are of one shape, at least 11 a side.
inline constexpr int least_distance_side = 11;
PictureDistance picture_distance(std::span<const Image> a, std::span<const Image> b);

}  // namespace pastiche
