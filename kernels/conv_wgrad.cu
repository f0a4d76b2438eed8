// The weight gradient of a convolution,
//   dw[k, t, c] = the sum over pixels of dy[pixel, k] x[pixel + t, c],
// an implicit GEMM [K, pixels] x [pixels, taps C] whose right factor, the im2col matrix, is never stored. Where the input is upsampled,
// each phase has its own gradient of folded weights, and those are unfolded at the end. Where the window is the whole picture,
// this is a GEMM already.
// Policy: sums in f32. Split-K over the pixels: blocks of their own sum each part, and a second kernel adds the parts in order; how many there
// are follows from the shape alone. Up to 4 output channels: no shared memory for x, each thread sums its four columns over every
// fourth pixel. Where channels are not a multiple of four, elements are read one by one and no wider. bf16, and f32 as TF32,
// go to tensor cores where they can (conv_wgrad_mma.cu).
#include <algorithm>

#include "conv_wgrad_mma.cuh"
#include "split.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

// Where a block is.
template <class T> struct Position {
  OutputPixels pixels;
  int group, begin, end;
  std::int64_t first;  // of dw: output 0 of the group, in this class and part
  __device__ explicit Position(const WeightGradient<T>& p) {
    const int group_class = static_cast<int>(blockIdx.y), part = static_cast<int>(blockIdx.z);
    const int index = group_class / p.groups;
    pixels = p.pixel_classes[index];
    group = group_class - index * p.groups;
    begin = part * p.part;
    end = min(begin + p.part, p.pixels);
    first = ((std::int64_t{part} * p.classes + index) * p.groups + group) * p.outputs * p.columns;
  }
};

// One output channel over pixels.
template <class T> struct OutputChannel {
  using Element = T;
  struct Place {
    int row;  // the pixel of dy
    bool inside;
  };
  const WeightGradient<T>* p;
  const T* from;  // of the class's first pixel
  int end;

  __device__ OutputChannel(const WeightGradient<T>& gradient, const Position<T>& at, int output, int width)
      : p(&gradient), end(at.end) {
    from = gradient.dy + (std::int64_t{at.pixels.first} * gradient.dy_channels + at.group * gradient.outputs +
                          min(output, gradient.outputs - width));
  }
  __device__ Place place(int pixel) const {
    const auto line = static_cast<int>(p->line(static_cast<std::uint32_t>(pixel)));
    return {pixel * p->dy_step + line * p->dy_line, pixel < end};
  }
  __device__ bool has(const Place& place) const { return place.inside; }
  __device__ const T* at(const Place& place) const { return further(from, place.row, p->dy_bytes); }
};

// One column (tap, input channel) over pixels.
template <class T> struct TapChannel {
  using Element = T;
  struct Place {
    int row;   // the pixel of x where the window stands
    int h, w;  // likewise
    bool inside;
  };
  const WeightGradient<T>* p;
  const T* from;  // of a window at pixel 0
  int h, w, end;  // of the tap in the window

  __device__ TapChannel(const WeightGradient<T>& gradient, const Position<T>& at, int column, int width)
      : p(&gradient), end(at.end) {
    const int index = min(column, gradient.columns - width);
    const auto tap = static_cast<int>(gradient.channel(static_cast<std::uint32_t>(index)));
    const auto r = static_cast<int>(gradient.tap_column(static_cast<std::uint32_t>(tap)));
    h = at.pixels.top + r * gradient.dilation;
    w = at.pixels.left + (tap - r * static_cast<int>(gradient.tap_column.divisor)) * gradient.dilation;
    from = gradient.x + (std::int64_t{h * gradient.width + w} * gradient.x_channels + (at.group - tap) * gradient.inputs + index);
  }
  __device__ Place place(int pixel) const {
    const std::uint32_t index = static_cast<std::uint32_t>(pixel), line = p->line(index), picture = p->lines(line);
    const int row = static_cast<int>(line - picture * p->lines.divisor) * p->stride;
    const int column = static_cast<int>(index - line * p->line.divisor) * p->stride;
    return {(static_cast<int>(picture) * p->height + row) * p->width + column, row, column, pixel < end};
  }
  __device__ bool has(const Place& place) const {
    return place.inside & (static_cast<unsigned>(h + place.h) < static_cast<unsigned>(p->height)) &
           (static_cast<unsigned>(w + place.w) < static_cast<unsigned>(p->width));
  }
  __device__ const T* at(const Place& place) const { return further(from, place.row, p->x_bytes); }
};

// vector: inputs and outputs are multiples of four.
template <class T, class Block, bool vector>
__global__ __launch_bounds__(Block::threads, Block::blocks) void conv_wgrad_kernel(const __grid_constant__ WeightGradient<T> p) {
  const Position<T> at(p);
  const int row = static_cast<int>(blockIdx.x) / p.tiles_n;
  const int m0 = row * Block::m, n0 = (static_cast<int>(blockIdx.x) - row * p.tiles_n) * Block::n;
  using A = typename Block::template AlongOuterOfA<OutputChannel<T>, vector>;
  using B = typename Block::template AlongOuterOfB<TapChannel<T>, vector>;
  constexpr int width = vector ? 4 : 1;
  A a([&](int i) { return OutputChannel<T>(p, at, m0 + i, width); });
  B b([&](int i) { return TapChannel<T>(p, at, n0 + i, width); });
  Block tile;
  tile.sum(a, b, at.begin, at.end);
  tile.each_four([&](int m, int n, const Vector<float, 4>& four) {
    m += m0;
    n += n0;
    if (m < p.outputs) store_four(p.dw + at.first + std::int64_t{m} * p.columns + n, four, p.columns - n, vector || p.columns % 4 == 0);
  });
}

// Up to four output channels, inputs a multiple of four. A lane has four columns; the warps of a block share the pixels.
constexpr int thin_threads = 128, thin_warps = thin_threads / warp_size, thin_outputs = 4;

template <class T>
__global__ __launch_bounds__(thin_threads, 4) void conv_wgrad_thin_kernel(const __grid_constant__ WeightGradient<T> p) {
  __shared__ float of_warp[thin_warps - 1][thin_outputs * 4][warp_size];
  const Position<T> at(p);
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int n = (static_cast<int>(blockIdx.x) * warp_size + lane) * 4;
  const OutputChannel<T> dy(p, at, 0, 1);
  const TapChannel<T> x(p, at, n, 4);
  float sums[thin_outputs][4] = {};
  for (int pixel = at.begin + warp; pixel < at.end; pixel += thin_warps) {
    const T* const outputs = dy.at(dy.place(pixel));
    const auto place = x.place(pixel);
    float right[4] = {};
    if (x.has(place)) {
      const Vector<T, 4> four = load_vector<4>(x.at(place));
      PASTICHE_UNROLL
      for (int e = 0; e < 4; ++e) right[e] = to_float(four.at[e]);
    }
    PASTICHE_UNROLL
    for (int m = 0; m < thin_outputs; ++m) {
      const float left = m < p.outputs ? to_float(outputs[m]) : 0.0f;
      PASTICHE_UNROLL
      for (int e = 0; e < 4; ++e) sums[m][e] = fmaf(left, right[e], sums[m][e]);
    }
  }
  if (warp > 0) {
    PASTICHE_UNROLL
    for (int i = 0; i < thin_outputs * 4; ++i) of_warp[warp - 1][i][lane] = sums[i / 4][i % 4];
  }
  __syncthreads();
  if (warp > 0 || n >= p.columns) return;
  PASTICHE_UNROLL
  for (int m = 0; m < thin_outputs; ++m) {
    if (m >= p.outputs) break;
    Vector<float, 4> four;
    PASTICHE_UNROLL
    for (int e = 0; e < 4; ++e) {
      four.at[e] = sums[m][e];
      for (int other = 0; other < thin_warps - 1; ++other) four.at[e] += of_warp[other][m * 4 + e][lane];
    }
    store_vector(p.dw + at.first + std::int64_t{m} * p.columns + n, four);
  }
}

// ---- host side -------------------------------------------------------------------------------------------------------
using NarrowTile = Tile<16, 128, 4, 4>;
using SmallTile = Tile<64, 64, 8, 4>;
using LargeTile = Tile<64, 128, 8, 8>;

// dw = the sum over all pixels
template <class T> void sum_pixels(CudaBackend& backend, Tensor& dw, WeightGradient<T>& p) {
  if (can_wgrad_mma(backend, p)) return wgrad_mma(backend, dw, p);
  const bool vector = p.inputs % 4 == 0 && p.outputs % 4 == 0;
  const bool thin = p.inputs % 4 == 0 && p.outputs <= thin_outputs, narrow = p.outputs <= 16;
  const int m = thin ? thin_outputs : narrow ? NarrowTile::m : vector ? LargeTile::m : SmallTile::m;
  const int n = thin ? warp_size * 4 : narrow ? NarrowTile::n : vector ? LargeTile::n : SmallTile::n;
  const int threads = thin ? thin_threads : narrow ? NarrowTile::threads : vector ? LargeTile::threads : SmallTile::threads;
  p.tiles_n = static_cast<int>(ceil_div(p.columns, n));
  const std::int64_t tiles = ceil_div(p.outputs, m) * p.tiles_n;
  // So many parts that some 512 blocks share the work, each with 256 pixels at least.
  const std::int64_t blocks = tiles * p.classes * p.groups;
  const Split split(p.pixels, std::max<std::int64_t>(std::min<std::int64_t>(ceil_div(512, blocks), p.pixels / 256), 1));
  p.part = split.length;
  Tensor parts = split.count > 1 ? Tensor::empty(backend, {split.count * dw.elements()}) : dw;
  p.dw = parts.mutable_data<float>();
  const auto kernel = thin     ? conv_wgrad_thin_kernel<T>
                      : narrow ? (vector ? conv_wgrad_kernel<T, NarrowTile, true> : conv_wgrad_kernel<T, NarrowTile, false>)
                      : vector ? conv_wgrad_kernel<T, LargeTile, true>
                               : conv_wgrad_kernel<T, SmallTile, false>;
  const dim3 grid_blocks(grid(tiles).x, checked_extent(std::int64_t{p.classes} * p.groups), static_cast<unsigned>(split.count));
  PASTICHE_CUDA_CHECK(launch(kernel, {.stream = backend.stream(), .blocks = grid_blocks, .threads = threads}, p));
  if (split.count > 1) sum_parts(backend, dw, parts.data<float>(), split.count);
}

}  // namespace

void CudaBackend::launch_conv2d_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& conv) {
  if (dw.elements() == 0) return;
  if (is_linear(x.shape(), dw.shape(), conv)) {
    Tensor result = as_matrix(dw);
    return launch_gemm(result, as_matrix(dy), as_matrix(x), {.a = Transpose::yes});
  }
  const Shape &from = x.shape(), &w = dw.shape(), &y = dy.shape();
  checked_index(4 * dw.elements(), "weights");
  with_float(x.dtype(), [&]<class T>(T) {
    WeightGradient<T> p{};
    p.x = x.data<T>();
    p.dy = dy.data<T>();
    p.height = static_cast<int>(from[1]);
    p.width = static_cast<int>(from[2]);
    p.x_channels = static_cast<int>(from[3]);
    p.dy_channels = static_cast<int>(w[0]);
    p.groups = static_cast<int>(conv.groups);
    p.inputs = p.x_channels / p.groups;
    p.outputs = p.dy_channels / p.groups;
    p.x_bytes = p.x_channels * static_cast<int>(sizeof(T));
    p.dy_bytes = p.dy_channels * static_cast<int>(sizeof(T));
    p.channel = divider(p.inputs);
    p.stride = static_cast<int>(conv.stride);
    p.dilation = static_cast<int>(conv.dilation);
    checked_index(from.rows() + (conv.pad + w[1] * conv.dilation) * (from[2] + 1), "pixels");
    if (conv.upsample == 1) {
      p.dy_step = 1;
      p.pixels = static_cast<int>(checked_index(y.rows(), "pixels"));
      p.lines = divider(y[1]);
      p.line = divider(y[2]);
      p.tap_column = divider(w[2]);
      p.columns = static_cast<int>(w[1] * w[2]) * p.inputs;
      p.classes = 1;
      p.pixel_classes[0] = {.first = 0, .top = static_cast<int>(-conv.pad), .left = static_cast<int>(-conv.pad)};
      sum_pixels(*this, dw, p);
    } else {
      const Fold fold(w[1]);
      p.pixels = static_cast<int>(from.rows());
      p.lines = divider(from[1]);
      p.line = divider(from[2]);
      p.tap_column = divider(fold.taps);
      p.columns = fold.taps * fold.taps * p.inputs;
      p.classes = 4;
      Phases form = conv.out;
      Tensor split;
      if (form == Phases::none && can_wgrad_mma(*this, p)) {  // which wants pixels that are evenly apart
        form = Phases::outer;
        split = Tensor::empty(*this, {4 * from[0], from[1], from[2], w[0]}, dy.dtype());
        launch_split_phases(split, dy, form);
        p.dy = split.data<T>();
      }
      const PixelSteps steps = phase_steps(form, from);
      p.dy_step = steps.w;
      p.dy_line = steps.h - steps.w * p.width;
      for (int f = 0; f < 4; ++f) {
        p.pixel_classes[f] = {
            .first = first_of_phase(form, from, f / 2, f % 2), .top = fold.first(f / 2), .left = fold.first(f % 2)};
      }
      Tensor folded = Tensor::empty(*this, {4 * w[0] * p.columns});
      sum_pixels(*this, folded, p);
      unfold_weights(*this, dw, folded.data<float>());
    }
  });
}

}  // namespace pastiche::PASTICHE_TARGET
