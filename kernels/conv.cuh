#pragma once
// What the convolution kernels share: where pixels are, and how weights fold where the input is upsampled.
#include <algorithm>

#include "backends/cuda/cuda.h"
#include "indexing.cuh"

namespace pastiche::PASTICHE_TARGET {

// Division by an extent, which an empty tensor may have as 0.
inline Divider divider(std::int64_t extent) {
  return Divider(checked_index(std::max<std::int64_t>(extent, 1), "pixels or channels"));
}

// The second and third extent of a grid.
inline unsigned checked_extent(std::int64_t blocks) {
  if (blocks > 0xffff) throw Error(ExitCode::failed, std::to_string(blocks) + " groups are more than a launch can have");
  return static_cast<unsigned>(blocks);
}

// Where the window is the whole picture, convolution is a product of matrices [N,RSC] and [RSC,K].
inline bool is_linear(const Shape& x, const Shape& w, const Conv& p) {
  return p.upsample == 1 && p.groups == 1 && p.pad == 0 && p.dilation == 1 && x[1] == w[1] && x[2] == w[2];
}
inline Tensor as_matrix(const Tensor& x) {
  const Shape& s = x.shape();
  return x.reshaped({s[0], s[1] * s[2] * s[3]});
}

// How far apart, in pixels of all their channels, neighbours of a tensor of pictures are; of one phase of it, where it has those.
struct PixelSteps {
  int n, h, w;
};

// [N,H,W,.]
inline PixelSteps plain_steps(const Shape& x) {
  checked_index(x.rows() + 256, "pixels");  // and a tile past the last
  return {static_cast<int>(x[1] * x[2]), static_cast<int>(x[2]), 1};
}

// y in its form, for x [N,H,W,C]; a pixel has K channels.
inline PixelSteps phase_steps(Phases form, const Shape& x) {
  checked_index(4 * x.rows(), "pixels");
  const auto height = static_cast<int>(x[1]), width = static_cast<int>(x[2]);
  if (form == Phases::outer) return {height * width, width, 1};
  return {4 * height * width, 4 * width, form == Phases::none ? 2 : 4};
}
// Its first pixel of phase 2 i + j.
inline int first_of_phase(Phases form, const Shape& x, int i, int j) {
  switch (form) {
    case Phases::none: return i * 2 * static_cast<int>(x[2]) + j;
    case Phases::inner: return 2 * i + j;
    default: return (2 * i + j) * static_cast<int>(x.rows());
  }
}

// Convolution after nearest-neighbour upsampling, folded. Output pixel (2h + i, 2w + j) sees, through tap (r, s), the input pixel
// (h + floor((i - pad + r) / 2), w + floor((j - pad + s) / 2)): two taps or one of an axis fall on one pixel, and their weights
// add up beforehand. Each phase has its own window of (R + 1) / 2 taps an axis, where the unfolded kernel has R, odd, and pad
// (R - 1) / 2.
struct Fold {
  int unfolded, taps;  // an axis
  explicit Fold(std::int64_t r) : unfolded(static_cast<int>(r)), taps((unfolded + 1) / 2) {}
  // The first pixel of the window, rounded down.
  PASTICHE_HOST_DEVICE int first(int phase) const { return (phase - (unfolded - 1) / 2) >> 1; }
  // Where tap r of the unfolded kernel falls in the window.
  PASTICHE_HOST_DEVICE int place(int phase, int r) const { return ((phase - (unfolded - 1) / 2 + r) >> 1) - first(phase); }
};

// [4,K,T,T,C], by phase, of w [K,R,R,C]
Tensor fold_weights(CudaBackend& backend, const Tensor& w);
// dw [K,R,R,C] = the adjoint of that, of `folded`
void unfold_weights(const CudaBackend& backend, Tensor& dw, const float* folded);

// The weights of a data gradient, which sums over output channels:
// [groups,C,R S,K] of w [groups K,R,S,C], tap t being at places[t]
Tensor turn_weights(CudaBackend& backend, const Tensor& w, std::int64_t groups, std::span<const int> places);
// [C,4,T,T,K] of [4,K,T,T,C]
Tensor turn_folded_weights(CudaBackend& backend, const Tensor& folded);

}  // namespace pastiche::PASTICHE_TARGET
