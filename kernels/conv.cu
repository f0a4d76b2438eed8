// Convolution and its data gradient by one kernel, an implicit GEMM: every pixel of the result gathers, through a table of taps, the
// channels of some pixels of the source,
//   y[pixel, k] = the sum over taps t and channels c of x[pixel + t, c] w[k, t, c],
// as a GEMM [pixels, taps C] x [taps C, K] whose left factor, the im2col matrix, is never stored.
//   conv2d                   the taps of the kernel
//   conv2d, upsampled        four classes of pixels, the phases, each with its folded weights and its own window of x
//   conv2d_dgrad             stride^2 classes of pixels of dx by (h mod stride, w mod stride), each with the taps that reach it;
//                            the source is dy, the weights are turned
//   conv2d_dgrad, upsampled  one class; its taps are those of the four phases
// Where the window is the whole picture, this is a GEMM already.
// Policy: sums in f32, tap by tap, channel by channel; their order, and so the bits, follow from the weights' shape and not from
// the tile. Weights stay f32 (folded in f32). Up to 4 results a pixel: no shared memory, each thread sums some pixels over every
// fourth group of four channels. Where channels are not a multiple of four, elements are read one by one and no wider. bf16 goes to tensor
// cores where it can (conv_mma.cu).
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "conv_mma.cuh"
#include "ladder/ladder.cuh"
#include "norm.cuh"
#include "tile.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

// Where a block or thread is.
template <class T> struct Position {
  const PixelClass& pixels;
  int group;
  __device__ explicit Position(const Gather<T>& p)
      : pixels(p.classes[blockIdx.y / static_cast<unsigned>(p.groups)]), group(static_cast<int>(blockIdx.y) % p.groups) {}
};

// What one pixel of the result sees of x. The reduction index is (tap, channel).
template <class T> struct Window {
  using Element = T;
  struct Place {
    const T* from;  // the channel of the tap's pixel, for a window at pixel (0, 0) of the block's first picture
    int h, w;
    bool inside;
  };
  const Gather<T>* p;
  const T* block;  // x[first picture of the block, 0, 0, first channel of the group]
  int first_tap, depth;
  int offset, h, w;  // of pixel (h, w) of its picture

  Window() = default;
  __device__ Window(const Gather<T>& gather, const Position<T>& at, int first_pixel, int pixel)
      : p(&gather), first_tap(at.pixels.first_tap), depth(at.pixels.taps * gather.channels) {
    const int picture = static_cast<int>(at.pixels.picture(static_cast<std::uint32_t>(first_pixel)));
    const PixelIndex index(min(first_pixel + pixel, at.pixels.pixels - 1), at.pixels);
    block = gather.x + (std::int64_t{picture} * gather.from.n * gather.x_channels + at.group * gather.channels);
    h = index.h * gather.stride;
    w = index.w * gather.stride;
    offset = ((index.n - picture) * gather.from.n + h * gather.from.h + w * gather.from.w) * gather.x_channels;
  }
  __device__ Place place(int k) const {
    const auto index = static_cast<int>(p->channel(static_cast<std::uint32_t>(k)));
    const Tap tap = p->taps[first_tap + index];
    return {block + (std::int64_t{tap.offset} * p->x_channels + (k - index * p->channels)), tap.h, tap.w, k < depth};
  }
  __device__ bool has(const Place& place) const {
    return place.inside & (static_cast<unsigned>(h + place.h) < static_cast<unsigned>(p->height)) &
           (static_cast<unsigned>(w + place.w) < static_cast<unsigned>(p->width));
  }
  __device__ const T* at(const Place& place) const { return place.from + offset; }
};

// The weights of one result.
template <class T> struct Weights {
  using Element = float;
  struct Place {
    const float* from;
    bool inside;
  };
  const float* all;  // of the group
  int offset, depth;

  Weights() = default;
  __device__ Weights(const Gather<T>& p, const Position<T>& at, int column) : depth(at.pixels.taps * p.channels) {
    all = p.w + (at.group * p.columns * p.line_w + at.pixels.weights);
    offset = min(column, p.columns - 1) * p.line_w;
  }
  __device__ Place place(int k) const { return {all + k, k < depth}; }
  __device__ bool has(const Place& place) const { return place.inside; }
  __device__ const float* at(const Place& place) const { return place.from + offset; }
};

template <class T> __device__ T* result(const Gather<T>& p, const Position<T>& at, int pixel) {
  return p.y + (std::int64_t{p.place(at.pixels, pixel)} * p.y_channels + at.group * p.columns);
}

// vector: channels are a multiple of four.
template <class T, class Block, bool vector>
__global__ __launch_bounds__(Block::threads, Block::blocks) void conv_gather_kernel(const __grid_constant__ Gather<T> p) {
  const Position<T> at(p);
  const int tiles = (p.columns + Block::n - 1) / Block::n, row = static_cast<int>(blockIdx.x) / tiles;
  const int m0 = row * Block::m, n0 = (static_cast<int>(blockIdx.x) - row * tiles) * Block::n;
  if (m0 >= at.pixels.pixels) return;
  using A = std::conditional_t<vector, typename Block::template AlongKOfA<Window<T>, true>,
                               typename Block::template AlongOuterOfA<Window<T>, false>>;
  using B = typename Block::template AlongKOfB<Weights<T>, vector>;
  A a([&](int i) { return Window<T>(p, at, m0, i); });
  B b([&](int i) { return Weights<T>(p, at, n0 + i); });
  Block tile;
  tile.sum(a, b, 0, at.pixels.taps * p.channels);
  tile.each_four([&](int m, int n, const Vector<float, 4>& four) {
    if (m0 + m >= at.pixels.pixels) return;
    store_four(result(p, at, m0 + m) + n0 + n, four, p.columns - n0 - n, p.columns % 4 == 0);
  });
}

// Up to four results a pixel, channels a multiple of four. Four lanes share a pixel: each sums a quarter of the channels. A
// thread has four pixels.
constexpr int thin_threads = 128, thin_lanes = 4, thin_pixels = 4, thin_columns = 4;

template <class T> __global__ __launch_bounds__(thin_threads, 4) void conv_thin_kernel(const __grid_constant__ Gather<T> p) {
  const Position<T> at(p);
  const int lane = static_cast<int>(threadIdx.x) % thin_lanes, line = static_cast<int>(threadIdx.x) / thin_lanes;
  const int first = static_cast<int>(blockIdx.x) * (thin_threads / thin_lanes * thin_pixels);
  Window<T> windows[thin_pixels];
  Weights<T> weights[thin_columns];
  PASTICHE_UNROLL
  for (int i = 0; i < thin_pixels; ++i) windows[i] = Window<T>(p, at, first, line + i * (thin_threads / thin_lanes));
  PASTICHE_UNROLL
  for (int n = 0; n < thin_columns; ++n) weights[n] = Weights<T>(p, at, n);
  float sums[thin_pixels][thin_columns] = {};
  const int depth = at.pixels.taps * p.channels;
  for (int k = lane * 4; k < depth; k += thin_lanes * 4) {
    Vector<float, 4> w[thin_columns];
    PASTICHE_UNROLL
    for (int n = 0; n < thin_columns; ++n) {
      w[n] = {};
      if (n < p.columns) w[n] = load_vector<4>(weights[n].at(weights[n].place(k)));
    }
    const auto place = windows[0].place(k);
    PASTICHE_UNROLL
    for (int i = 0; i < thin_pixels; ++i) {
      Vector<T, 4> x{};
      if (windows[i].has(place)) x = load_vector<4>(windows[i].at(place));
      PASTICHE_UNROLL
      for (int n = 0; n < thin_columns; ++n) {
        PASTICHE_UNROLL
        for (int e = 0; e < 4; ++e) sums[i][n] = fmaf(to_float(x.at[e]), w[n].at[e], sums[i][n]);
      }
    }
  }
  PASTICHE_UNROLL
  for (int i = 0; i < thin_pixels; ++i) {
    PASTICHE_UNROLL
    for (int n = 0; n < thin_columns; ++n) {
      PASTICHE_UNROLL
      for (int distance = thin_lanes / 2; distance > 0; distance /= 2) {
        sums[i][n] += __shfl_xor_sync(all_lanes, sums[i][n], distance);
      }
    }
    const int pixel = first + line + i * (thin_threads / thin_lanes);
    if (lane == i && pixel < at.pixels.pixels) {
      store_four(result(p, at, pixel), {{sums[i][0], sums[i][1], sums[i][2], sums[i][3]}}, p.columns, p.columns % 4 == 0);
    }
  }
}

// ---- host side -------------------------------------------------------------------------------------------------------
// Collects classes and launches them, as many as fit at a time.
template <class T> class Gathering {
 public:
  // rung: the highest to take (pastiche/rungs.h).
  Gathering(CudaBackend& backend, Gather<T>& p, const Tensor& weights, int rung = top_rung)
      : backend_(backend), p_(p), weights_(weights), rung_(rung) {
    p.w = weights.data<float>();
    p.channel = divider(p.channels);
  }

  void add(PixelClass pixels, const std::vector<Tap>& taps) {
    if (pixels.pixels == 0) return;
    if (std::ssize(taps) > max_taps) {
      throw Error(ExitCode::failed, "a convolution whose pixels see " + std::to_string(taps.size()) +
                                        " taps; this backend has room for " + std::to_string(max_taps));
    }
    if (classes_ == max_classes || taps_ + std::ssize(taps) > max_taps) launch_collected();
    // Within a block, places are counted in int.
    const std::int64_t pictures = LargeTile::m / pixels.picture.divisor + 2;
    checked_index(pictures * p_.from.n * p_.x_channels, "elements of a tile's pictures");
    pixels.first_tap = taps_;
    pixels.taps = static_cast<int>(std::ssize(taps));
    checked_index(std::int64_t{pixels.taps} * p_.channels + spare_taps, "products of a sum");
    std::copy(taps.begin(), taps.end(), p_.taps + taps_);
    p_.classes[classes_++] = pixels;
    taps_ += pixels.taps;
    most_pixels_ = std::max(most_pixels_, pixels.pixels);
  }

  // Whether the epilogue was done with it: not where there were launches before, or no tensor cores.
  bool launch_collected(const MmaEpilogue& epilogue = {}) {
    const bool only = std::exchange(first_, false);
    const bool mma = classes_ > 0 && launched_mma(only ? epilogue : MmaEpilogue{});
    if (classes_ > 0 && !mma && !launched_rung()) {
      // The tiles give the same bits: the large one is taken where it gives every multiprocessor a block.
      const bool vector = p_.channels % 4 == 0;
      if (vector && p_.columns <= thin_columns) {
        launch_thin();
      } else if (p_.columns <= 16) {
        vector ? launch_tiles<NarrowTile, true>() : launch_tiles<NarrowTile, false>();
      } else if (vector && blocks<LargeTile>() >= backend_.multiprocessors()) {
        launch_tiles<LargeTile, true>();
      } else {
        vector ? launch_tiles<SmallTile, true>() : launch_tiles<SmallTile, false>();
      }
    }
    classes_ = taps_ = most_pixels_ = 0;
    return mma && only;
  }

 private:
  using NarrowTile = Tile<128, 16, 4, 4>;
  using SmallTile = Tile<64, 64, 8, 4>;
  using LargeTile = Tile<128, 64, 8, 8>;

  bool launched_mma(const MmaEpilogue& epilogue) {
    if (rung_ < top_rung || !can_conv_mma(backend_, p_, classes_)) return false;
    conv_mma(backend_, p_, classes_, weights_, epilogue);
    return true;
  }

  bool launched_rung() const {
    if constexpr (std::is_same_v<T, float>) {
      if (rung_ >= double_buffer_rung) return false;
      conv_rung(backend_, rung_, p_, classes_, most_pixels_);
      return true;
    }
    return false;
  }

  template <class Block> std::int64_t tiles() const { return ceil_div(most_pixels_, Block::m) * ceil_div(p_.columns, Block::n); }
  template <class Block> std::int64_t blocks() const { return tiles<Block>() * classes_ * p_.groups; }

  void launch_kernel(void (*kernel)(Gather<T>), std::int64_t tiles, int threads) const {
    const dim3 all(grid(tiles).x, checked_extent(std::int64_t{classes_} * p_.groups));
    PASTICHE_CUDA_CHECK(launch(kernel, {.stream = backend_.stream(), .blocks = all, .threads = threads}, p_));
  }

  template <class Block, bool vector> void launch_tiles() const {
    launch_kernel(conv_gather_kernel<T, Block, vector>, tiles<Block>(), Block::threads);
  }
  void launch_thin() const {
    const std::int64_t tiles = ceil_div(most_pixels_, thin_threads / thin_lanes * thin_pixels);
    launch_kernel(conv_thin_kernel<T>, tiles, thin_threads);
  }

  CudaBackend& backend_;
  Gather<T>& p_;
  const Tensor& weights_;
  const int rung_;
  int classes_ = 0, taps_ = 0, most_pixels_ = 0;
  bool first_ = true;
};

// Pixels of the class: n pictures of h x w.
PixelClass pixel_class(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t weights, int first) {
  return {.first_tap = 0, .taps = 0, .pixels = static_cast<int>(n * h * w), .picture = divider(h * w),
          .line = divider(w), .weights = static_cast<int>(weights), .first = first};
}

// A tap that sees the pixel (h, w) further on, of the phase that begins at `first`.
Tap tap(const PixelSteps& from, std::int64_t h, std::int64_t w, int first = 0) {
  checked_index(std::max(std::abs(h), std::abs(w)), "pixels of padding");
  return {.offset = static_cast<int>(h * from.h + w * from.w + first), .h = static_cast<int>(h), .w = static_cast<int>(w)};
}

// For the data gradient: pixel h of x is reached by the taps r with h + pad - r dilation a multiple of the stride, so pixels fall
// into stride classes an axis.
struct ReachingTaps {
  struct Class {
    int first = 0;                          // place of its first tap, where the taps of all classes stand one after the other
    std::vector<std::pair<int, int>> taps;  // r, s
  };
  std::map<std::pair<int, int>, Class> classes;  // by h and w mod stride; absent: no taps
  std::vector<int> places;                       // of tap r S + s

  ReachingTaps(const Shape& w, const Conv& conv) : places(static_cast<std::size_t>(w[1] * w[2])) {
    const auto residue = [&](std::int64_t tap) {
      const std::int64_t rest = (tap * conv.dilation - conv.pad) % conv.stride;
      return static_cast<int>(rest < 0 ? rest + conv.stride : rest);
    };
    for (int r = 0; r < w[1]; ++r) {
      for (int s = 0; s < w[2]; ++s) classes[{residue(r), residue(s)}].taps.emplace_back(r, s);
    }
    int place = 0;
    for (auto& [at, c] : classes) {
      c.first = place;
      for (const auto& [r, s] : c.taps) places[static_cast<std::size_t>(r * w[2] + s)] = place++;
    }
  }
};

}  // namespace

bool CudaBackend::convolve(Tensor& y, const Tensor& x, const Tensor& w, const Conv& conv, const MmaEpilogue& epilogue) {
  if (y.elements() == 0) return false;
  const int rung = kernels_.conv2d.value_or(top_rung);
  if (rung < double_buffer_rung) require_dtype({.conv2d = rung}, x.dtype());
  // The rungs of kernels/ladder/ compute this as any other convolution, where there is room for its taps.
  const bool may_be_product = rung >= double_buffer_rung || w.shape()[1] * w.shape()[2] > max_taps;
  if (may_be_product && is_linear(x.shape(), w.shape(), conv)) {
    Tensor result = as_matrix(y);
    launch_gemm(result, as_matrix(x), as_matrix(w), {.b = Transpose::yes});
    return false;
  }
  const Shape& from = x.shape();
  checked_index(4 * w.elements(), "weights");
  bool with_epilogue = false;
  const Tensor weights = conv.upsample == 2 ? fold_weights(*this, w) : w;
  with_float(x.dtype(), [&]<class T>(T) {
    Gather<T> p{};
    p.x = x.data<T>();
    p.y = y.mutable_data<T>();
    p.height = static_cast<int>(from[1]);
    p.width = static_cast<int>(from[2]);
    p.from = plain_steps(from);
    p.stride = static_cast<int>(conv.stride);
    p.x_channels = static_cast<int>(from[3]);
    p.y_channels = static_cast<int>(w.shape()[0]);
    p.groups = static_cast<int>(conv.groups);
    p.channels = p.x_channels / p.groups;
    p.columns = p.y_channels / p.groups;
    Gathering<T> gathering(*this, p, weights, rung);
    std::vector<Tap> taps;
    if (conv.upsample == 1) {
      p.to = plain_steps(y.shape());
      p.line_w = static_cast<int>(w.shape()[1] * w.shape()[2] * w.shape()[3]);
      for (std::int64_t r = 0; r < w.shape()[1]; ++r) {
        for (std::int64_t s = 0; s < w.shape()[2]; ++s) {
          taps.push_back(tap(p.from, r * conv.dilation - conv.pad, s * conv.dilation - conv.pad));
        }
      }
      gathering.add(pixel_class(y.shape()[0], y.shape()[1], y.shape()[2], 0, 0), taps);
    } else {
      const Fold fold(w.shape()[1]);
      p.to = phase_steps(conv.out, from);
      p.line_w = fold.taps * fold.taps * p.channels;
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          taps.clear();
          for (int t = 0; t < fold.taps; ++t) {
            for (int u = 0; u < fold.taps; ++u) taps.push_back(tap(p.from, fold.first(i) + t, fold.first(j) + u));
          }
          const std::int64_t first_weight = weights.elements() / 4 * (2 * i + j);
          gathering.add(pixel_class(from[0], from[1], from[2], first_weight, first_of_phase(conv.out, from, i, j)), taps);
        }
      }
    }
    with_epilogue = gathering.launch_collected(epilogue);
  });
  return with_epilogue;
}

void CudaBackend::launch_conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Conv& conv) { convolve(y, x, w, conv, {}); }

void CudaBackend::launch_conv2d_norm_stats(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& w, const Conv& conv,
                                           const NormAct& p) {
  const std::int64_t pieces = conv.upsample * conv.upsample * outer_of(mean), channels = mean.shape().last();
  const std::int64_t rows = y.elements() / std::max<std::int64_t>(pieces * channels, 1);
  const bool whole = outer_of(mean) == 1 || rows % statistic_rows == 0;  // no part is of two pictures
  Tensor parts;
  if (!convolve(y, x, w, conv, {.parts = whole ? &parts : nullptr}) || !whole) return launch_norm_stats(mean, var, y, p);
  parts = parts.reshaped({2, pieces, ceil_div(rows, statistic_rows), channels});
  finish_norm_stats(*this, mean, var, parts, rows, statistic_rows, p);
}

void CudaBackend::launch_conv2d_bias_act(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias, const Conv& conv,
                                         const Activation& act) {
  const bool leaky = act.kind == Activation::Kind::leaky_relu, takes = leaky || act.kind == Activation::Kind::identity;
  const MmaEpilogue epilogue{.bias = takes ? &bias : nullptr, .slope = leaky ? static_cast<float>(act.slope) : 1.0f};
  if (!convolve(y, x, w, conv, epilogue) || !takes) launch_bias_act(y, y, bias, act);
}

void CudaBackend::launch_conv2d_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& conv) {
  if (dx.elements() == 0) return;
  if (is_linear(dx.shape(), w.shape(), conv)) {
    Tensor result = as_matrix(dx);
    return launch_gemm(result, as_matrix(dy), as_matrix(w), {});
  }
  const Shape& to = dx.shape();
  checked_index(4 * w.elements(), "weights");
  ReachingTaps reaching(w.shape(), conv);
  const Tensor weights = conv.upsample == 2 ? turn_folded_weights(*this, fold_weights(*this, w))
                                            : turn_weights(*this, w, conv.groups, reaching.places);
  with_float(dx.dtype(), [&]<class T>(T) {
    Gather<T> p{};
    p.x = dy.data<T>();
    p.y = dx.mutable_data<T>();
    const PixelSteps all = plain_steps(to);
    p.to = all;
    p.stride = 1;
    p.x_channels = static_cast<int>(w.shape()[0]);
    p.y_channels = static_cast<int>(to[3]);
    p.groups = static_cast<int>(conv.groups);
    p.channels = p.x_channels / p.groups;
    p.columns = p.y_channels / p.groups;
    Gathering<T> gathering(*this, p, weights);
    std::vector<Tap> taps;
    if (conv.upsample == 1) {
      p.height = static_cast<int>(dy.shape()[1]);
      p.width = static_cast<int>(dy.shape()[2]);
      p.from = plain_steps(dy.shape());
      p.line_w = static_cast<int>(w.shape()[1] * w.shape()[2] * p.channels);
      const int stride = static_cast<int>(conv.stride);
      p.to = {all.n, all.h * stride, all.w * stride};
      for (int i = 0; i < std::min<std::int64_t>(stride, to[1]); ++i) {
        for (int j = 0; j < std::min<std::int64_t>(stride, to[2]); ++j) {
          const auto& [first, reached_by] = reaching.classes[{i, j}];
          taps.clear();
          for (const auto& [r, s] : reached_by) {
            taps.push_back(tap(p.from, (i + conv.pad - r * conv.dilation) / stride, (j + conv.pad - s * conv.dilation) / stride));
          }
          gathering.add(pixel_class(to[0], ceil_div(to[1] - i, stride), ceil_div(to[2] - j, stride), first * p.channels,
                                    i * all.h + j * all.w), taps);
        }
      }
    } else {
      const Fold fold(w.shape()[1]);
      p.height = static_cast<int>(to[1]);
      p.width = static_cast<int>(to[2]);
      p.from = phase_steps(conv.out, to);
      p.line_w = 4 * fold.taps * fold.taps * p.channels;
      for (int i = 0; i < 2; ++i) {
        for (int j = 0; j < 2; ++j) {
          for (int t = 0; t < fold.taps; ++t) {
            for (int u = 0; u < fold.taps; ++u) {
              taps.push_back(tap(p.from, -(fold.first(i) + t), -(fold.first(j) + u), first_of_phase(conv.out, to, i, j)));
            }
          }
        }
      }
      gathering.add(pixel_class(to[0], to[1], to[2], 0, 0), taps);
    }
    gathering.launch_collected();
  });
}

}  // namespace pastiche::PASTICHE_TARGET
