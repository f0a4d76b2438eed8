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

// A pixel that a window sees.
struct Tap {
  int offset;  // in pixels of x, from where the window stands
  int h, w;    // the same, to see whether it is in the picture
};

// Pixels of the result that see the same taps.
struct PixelClass {
  int first_tap, taps;
  int pixels;
  Divider picture, line;  // pixels of one picture, of one line of it
  int weights;            // where its weights begin, of each result
  int first;              // its first pixel in y
};

// More taps than these, of all classes, take several launches. The loops look a little past the last tap.
constexpr int max_taps = 256, max_classes = 16, spare_taps = 32;

struct PixelIndex {
  int n, h, w;
  __device__ PixelIndex(int pixel, const PixelClass& c) {
    const auto index = static_cast<std::uint32_t>(pixel);
    const std::uint32_t picture = c.picture(index), rest = index - picture * c.picture.divisor, line = c.line(rest);
    n = static_cast<int>(picture);
    h = static_cast<int>(line);
    w = static_cast<int>(rest - line * c.line.divisor);
  }
};

// What a gathering kernel is told (conv.cu).
struct GatherShape {
  int height, width;       // of x
  PixelSteps from, to;     // of x and y
  int stride;              // how far windows are apart
  int x_channels, y_channels;
  int channels, columns;   // of one group
  int groups;
  int line_w;              // how far apart the weights of two results are
  PixelClass classes[max_classes];

  // Where a pixel of a class is in y.
  __device__ int place(const PixelClass& c, int pixel) const {
    const PixelIndex index(pixel, c);
    return c.first + index.n * to.n + index.h * to.h + index.w * to.w;
  }
};
template <class T> struct Gather : GatherShape {
  const T* x;
  const float* w;          // a result's weights lie together, in the order of its taps
  T* y;
  Divider channel;         // channels
  Tap taps[max_taps + spare_taps];
};

// For tensor cores: where a window is at most so many pixels high and wide, which of its lines and columns are in the picture is told
// by bits.
constexpr int window_extent = 15;
// Bits i of 0 .. 14 with 0 <= from + i < extent.
__device__ inline std::uint32_t bits_inside(int from, int extent) {
  const int begin = min(max(-from, 0), window_extent), end = min(max(extent - from, 0), window_extent);
  return ((1u << end) - 1) & ~((1u << begin) - 1);
}

// The pixels of dy that a block may be given: all, or those of one phase.
struct OutputPixels {
  int first;      // in dy
  int top, left;  // where the window of its pixel (0, 0) begins in x
};

// What a kernel for weight gradients is told (conv_wgrad.cu).
struct GradientShape {
  int height, width;            // of x
  int x_channels, dy_channels;
  int inputs, outputs, groups;  // channels of a group
  int stride, dilation;
  int pixels, part;             // of one class, of one part of them
  int dy_step, dy_line;         // pixel i of a class, on line l, is pixel i dy_step + l dy_line of dy
  int x_bytes, dy_bytes;        // of a pixel
  Divider line, lines;          // pixels of a line of a class, lines of a picture
  Divider channel, tap_column;  // inputs, S
  int columns;                  // taps inputs
  int tiles_n, classes;
  OutputPixels pixel_classes[4];
};
template <class T> struct WeightGradient : GradientShape {
  const T* x;
  const T* dy;
  float* dw;                    // [parts, classes, K, taps, inputs]
};

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

// w, rows of `channels`, rounded for tensor cores to bf16, or (T: float) to TF32, each row filled up with zeros to a multiple of
// `multiple`; both are multiples of 4
template <class T> Tensor pack_weights(CudaBackend& backend, const Tensor& w, std::int64_t channels, std::int64_t multiple);

// The weights of a data gradient, which sums over output channels:
// [groups,C,R S,K] of w [groups K,R,S,C], tap t being at places[t]
Tensor turn_weights(CudaBackend& backend, const Tensor& w, std::int64_t groups, std::span<const int> places);
// [C,4,T,T,K] of [4,K,T,T,C]
Tensor turn_folded_weights(CudaBackend& backend, const Tensor& folded);

}  // namespace pastiche::PASTICHE_TARGET
