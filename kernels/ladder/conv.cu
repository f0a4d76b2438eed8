// Convolution in f32, in steps from the naive kernel to the one in conv.cu, which says what a gathering is:
//   y[pixel, column] = the sum over k of window[pixel, k] w[column, k],
// where k counts the taps, and in each the channels. Stride, dilation, groups and upsampling are in the tables of taps and classes.
// Policy: each result is summed by one thread, k ascending, one fmaf each: the bits are the same on every rung, and those of rung 4 where
// that has more than 4 results a pixel.
// Figures are of 4 pictures of 16 x 16 with 64 channels, 3 x 3 taps, 64 results a pixel: what they count is in ladder/gemm.cu.
#include <algorithm>

#include "ladder/ladder.cuh"
#include "launch.cuh"
#include "tile.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

// ---- where things are ------------------------------------------------------------------------------------------------
// The block's tile of results: which class and group of channels, its first pixel and column.
template <int TileM, int TileN> struct Corner {
  const PixelClass& pixels;
  int group, m, n, depth;
  __device__ explicit Corner(const Gather<float>& p)
      : pixels(p.classes[blockIdx.y / static_cast<unsigned>(p.groups)]), group(static_cast<int>(blockIdx.y) % p.groups) {
    const int tiles_n = (p.columns + TileN - 1) / TileN;
    m = static_cast<int>(blockIdx.x) / tiles_n * TileM;
    n = static_cast<int>(blockIdx.x) % tiles_n * TileN;
    depth = pixels.taps * p.channels;
  }
};

// Element k of every window, as seen from where a window stands.
struct Depth {
  int offset;  // in elements of x
  int h, w;    // in pixels
  bool inside;
  __device__ Depth(const Gather<float>& p, const PixelClass& pixels, int k, int depth) : inside(k < depth) {
    const auto t = static_cast<int>(p.channel(static_cast<std::uint32_t>(k)));
    const Tap tap = p.taps[pixels.first_tap + t];
    offset = tap.offset * p.x_channels + (k - t * p.channels);
    h = tap.h;
    w = tap.w;
  }
};

// What one pixel of the result sees of x; past the last pixel, what the last one sees.
struct Window {
  const float* from;
  int h, w;
  Window() = default;
  __device__ Window(const Gather<float>& p, const PixelClass& pixels, int group, int pixel) {
    const PixelIndex at(min(pixel, pixels.pixels - 1), pixels);
    h = at.h * p.stride;
    w = at.w * p.stride;
    from = p.x + ((static_cast<std::int64_t>(at.n) * p.from.n + h * p.from.h + w * p.from.w) * p.x_channels + group * p.channels);
  }
  __device__ bool has(const Gather<float>& p, const Depth& d) const {
    return d.inside & (static_cast<unsigned>(h + d.h) < static_cast<unsigned>(p.height)) &
           (static_cast<unsigned>(w + d.w) < static_cast<unsigned>(p.width));
  }
};

// The weights of one result; past the last column, those of the last.
__device__ inline const float* weights_of(const Gather<float>& p, const PixelClass& pixels, int group, int column) {
  return p.w + (static_cast<std::int64_t>(group * p.columns + min(column, p.columns - 1)) * p.line_w + pixels.weights);
}

// The results of a pixel, of the group.
__device__ inline float* results_of(const Gather<float>& p, const PixelClass& pixels, int group, int pixel) {
  return p.y + (static_cast<std::int64_t>(p.place(pixels, pixel)) * p.y_channels + group * p.columns);
}

// ---- 0 naive ---------------------------------------------------------------------------------------------------------
// A thread a result, its taps and channels one after the other; taps beside the picture are left out. The lanes of a warp have neighbouring
// columns: they read one word of x together, and 32 lines of w. 30 sectors for each FFMA, which is 13% of the loop.
constexpr int naive_m = 8, naive_n = 32;

__global__ __launch_bounds__(naive_m* naive_n) void conv_naive_kernel(const __grid_constant__ Gather<float> p) {
  const Corner<naive_m, naive_n> at(p);
  const int pixel = at.m + static_cast<int>(threadIdx.x) / naive_n, column = at.n + static_cast<int>(threadIdx.x) % naive_n;
  if (pixel >= at.pixels.pixels || column >= p.columns) return;
  const Window window(p, at.pixels, at.group, pixel);
  const float* w = weights_of(p, at.pixels, at.group, column);
  float sum = 0;
  for (int k = 0; k < at.depth; k += p.channels) {
    const Depth tap(p, at.pixels, k, at.depth);
    if (!window.has(p, tap)) continue;
    for (int c = 0; c < p.channels; ++c) sum = fmaf(window.from[tap.offset + c], w[k + c], sum);
  }
  results_of(p, at.pixels, at.group, pixel)[column] = sum;
}

// ---- 1 shared tile ---------------------------------------------------------------------------------------------------
// A block computes 32 pixels x 32 columns, 32 k at a time, and reads each element of a window once, as neighbours of a line: 0.25 sectors.
// A pixel that several windows see is read for each of them. To find element k, taps are divided out and looked up, by each thread for its
// k alone. As in the product, 2.06 wavefronts follow; 21% of the loop.
constexpr int shared_tile = 32, shared_depth = 32;

__global__ __launch_bounds__(shared_tile* shared_tile) void conv_shared_kernel(const __grid_constant__ Gather<float> p) {
  __shared__ float left[shared_tile][shared_depth + 1], right[shared_tile][shared_depth + 1];
  const Corner<shared_tile, shared_tile> at(p);
  if (at.m >= at.pixels.pixels) return;
  const int i = static_cast<int>(threadIdx.x) / shared_tile, j = static_cast<int>(threadIdx.x) % shared_tile;
  const Window window(p, at.pixels, at.group, at.m + i);
  const float* const w = weights_of(p, at.pixels, at.group, at.n + i);
  float sum = 0;
  for (int k0 = 0; k0 < at.depth; k0 += shared_depth) {
    const Depth d(p, at.pixels, k0 + j, at.depth);  // thread (i, j) brings element j of line i of both
    left[i][j] = window.has(p, d) ? window.from[d.offset] : 0;
    right[i][j] = d.inside ? w[k0 + j] : 0;
    __syncthreads();
    PASTICHE_UNROLL
    for (int k = 0; k < shared_depth; ++k) sum = fmaf(left[i][k], right[j][k], sum);
    __syncthreads();
  }
  if (at.m + i < at.pixels.pixels && at.n + j < p.columns) results_of(p, at.pixels, at.group, at.m + i)[at.n + j] = sum;
}

// ---- 2 register tile -------------------------------------------------------------------------------------------------
// A thread computes 4 x 4 results, the block 64 x 64: 0.53 wavefronts, 0.13 sectors. A thread brings its k of 8 windows and of 8 columns,
// of which it asks 8 times whether the tap is in the picture, and finds k once: 42% of the loop.
constexpr int register_tile = 64, register_depth = 32, register_threads = 256, of_thread = 4, apart = register_tile / of_thread;
constexpr int register_lines = register_tile * register_depth / register_threads;  // that a thread brings an element of
constexpr int register_step = register_tile / register_lines;                      // how far apart they are

__global__ __launch_bounds__(register_threads) void conv_register_kernel(const __grid_constant__ Gather<float> p) {
  __shared__ float left[register_tile][register_depth + 1], right[register_tile][register_depth + 1];
  const Corner<register_tile, register_tile> at(p);
  if (at.m >= at.pixels.pixels) return;
  const int i0 = static_cast<int>(threadIdx.x) / apart, j0 = static_cast<int>(threadIdx.x) % apart;
  const int line = static_cast<int>(threadIdx.x) / register_depth, depth = static_cast<int>(threadIdx.x) % register_depth;
  Window windows[register_lines];
  PASTICHE_UNROLL
  for (int e = 0; e < register_lines; ++e) windows[e] = Window(p, at.pixels, at.group, at.m + line + e * register_step);
  float sums[of_thread][of_thread] = {};
  for (int k0 = 0; k0 < at.depth; k0 += register_depth) {
    const Depth d(p, at.pixels, k0 + depth, at.depth);
    PASTICHE_UNROLL
    for (int e = 0; e < register_lines; ++e) {
      const int l = line + e * register_step;
      left[l][depth] = windows[e].has(p, d) ? windows[e].from[d.offset] : 0;
      right[l][depth] = d.inside ? weights_of(p, at.pixels, at.group, at.n + l)[k0 + depth] : 0;
    }
    __syncthreads();
    PASTICHE_UNROLL
    for (int k = 0; k < register_depth; ++k) {
      float a[of_thread], b[of_thread];
      PASTICHE_UNROLL
      for (int e = 0; e < of_thread; ++e) a[e] = left[i0 + e * apart][k], b[e] = right[j0 + e * apart][k];
      PASTICHE_UNROLL
      for (int i = 0; i < of_thread; ++i) {
        PASTICHE_UNROLL
        for (int j = 0; j < of_thread; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  PASTICHE_UNROLL
  for (int i = 0; i < of_thread; ++i) {
    const int pixel = at.m + i0 + i * apart;
    if (pixel >= at.pixels.pixels) return;
    float* const to = results_of(p, at.pixels, at.group, pixel);
    PASTICHE_UNROLL
    for (int j = 0; j < of_thread; ++j) {
      const int column = at.n + j0 + j * apart;
      if (column < p.columns) to[column] = sums[i][j];
    }
  }
}

// ---- 3 vector loads --------------------------------------------------------------------------------------------------
// Four channels an instruction, where channels are a multiple of four: they share a tap, and so one question whether it is in the picture.
// Four lines at one k from shared memory, likewise. As many sectors in a quarter of the requests, 0.22 wavefronts, 77% of the loop.
constexpr int vector_depth = slice_depth, vector_lanes = vector_depth / 4;  // that share a line
static_assert(register_threads / vector_lanes == register_tile);            // each thread brings four k of one line of both

__global__ __launch_bounds__(register_threads) void conv_vector_kernel(const __grid_constant__ Gather<float> p) {
  using Layout = SliceLayout<register_tile>;
  alignas(16) __shared__ float left[Layout::size], right[Layout::size];
  const Corner<register_tile, register_tile> at(p);
  if (at.m >= at.pixels.pixels) return;
  const int i0 = static_cast<int>(threadIdx.x) / apart * of_thread, j0 = static_cast<int>(threadIdx.x) % apart * of_thread;
  const int line = static_cast<int>(threadIdx.x) / vector_lanes, k4 = static_cast<int>(threadIdx.x) % vector_lanes;
  const Window window(p, at.pixels, at.group, at.m + line);
  const float* const w = weights_of(p, at.pixels, at.group, at.n + line);
  float sums[of_thread][of_thread] = {};
  for (int k0 = 0; k0 < at.depth; k0 += vector_depth) {
    const int k = k0 + k4 * 4;
    const Depth d(p, at.pixels, k, at.depth);  // of all four: channels are a multiple of four
    Vector<float, 4> a{}, b{};
    if (window.has(p, d)) a = load_vector<4>(window.from + d.offset);
    if (d.inside) b = load_vector<4>(w + k);
    PASTICHE_UNROLL
    for (int e = 0; e < 4; ++e) {
      left[Layout::at(k4, e, line)] = a.at[e];
      right[Layout::at(k4, e, line)] = b.at[e];
    }
    __syncthreads();
    PASTICHE_UNROLL
    for (int s = 0; s < vector_depth; ++s) {
      a = load_vector<4>(left + Layout::at(s / 4, s % 4, i0));
      b = load_vector<4>(right + Layout::at(s / 4, s % 4, j0));
      PASTICHE_UNROLL
      for (int i = 0; i < of_thread; ++i) {
        PASTICHE_UNROLL
        for (int j = 0; j < of_thread; ++j) sums[i][j] = fmaf(a.at[i], b.at[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  PASTICHE_UNROLL
  for (int i = 0; i < of_thread; ++i) {
    const int pixel = at.m + i0 + i;
    if (pixel >= at.pixels.pixels) return;
    float* const to = results_of(p, at.pixels, at.group, pixel) + at.n + j0;
    store_four(to, {{sums[i][0], sums[i][1], sums[i][2], sums[i][3]}}, p.columns - at.n - j0, p.columns % 4 == 0);
  }
}

// ---- 4 double buffer, 5 tensor core ----------------------------------------------------------------------------------
// conv_gather_kernel (conv.cu, tile.cuh): up to 8 x 8 results a thread, and the next slice is on its way while one is multiplied. 0.10
// sectors, 0.09 wavefronts, 85% of the loop. Up to 4 results a pixel have conv_thin_kernel, without shared memory.
// conv_mma_kernel (conv_mma.cu, mma_tile.cuh): in bf16, which taps are in the picture told by bits that are made once. 0.06 sectors, 0.05
// wavefronts, in the tile of 64 x 64.

struct Step {
  void (*kernel)(Gather<float>);
  int m, n, threads;
  int multiple;  // of which channels must be one
};
constexpr Step steps[] = {
    {conv_naive_kernel, naive_m, naive_n, naive_m * naive_n, 1},
    {conv_shared_kernel, shared_tile, shared_tile, shared_tile * shared_tile, 1},
    {conv_register_kernel, register_tile, register_tile, register_threads, 1},
    {conv_vector_kernel, register_tile, register_tile, register_threads, 4},
};

}  // namespace

void conv_rung(const CudaBackend& backend, int rung, const Gather<float>& p, int classes, int most_pixels) {
  const Step* step = steps + std::min<std::size_t>(static_cast<std::size_t>(rung), std::size(steps) - 1);
  while (p.channels % step->multiple != 0) --step;
  const dim3 blocks(grid(ceil_div(most_pixels, step->m) * ceil_div(p.columns, step->n)).x, checked_extent(std::int64_t{classes} * p.groups));
  PASTICHE_CUDA_CHECK(launch(step->kernel, {.stream = backend.stream(), .blocks = blocks, .threads = step->threads}, p));
}

}  // namespace pastiche::PASTICHE_TARGET
