// The implicit GEMM of conv.cu on tensor cores: y[pixel, k] = the sum over taps t and channels c of x[pixel + t, c] w[k, t, c], x and w in
// bf16, or in f32 as TF32. The reduction goes tap by tap, the channels of each filled up with zeros to whole slices. Which taps a pixel
// sees stands in bits, made once: what remains to be asked for a chunk is one operation.
// Policy: sums in f32; their order follows from the weights' shape. Weights are folded in f32 and rounded once, to nearest; f32 activations
// are cut to TF32 (mma_tile.cuh): a product is off by at most 1.5 2^-10 of itself. The epilogue, a bias with LeakyReLU or the statistics of
// a norm, works on the sums in registers, without shared memory or a barrier.
#include <algorithm>

#include "conv_mma.cuh"
#include "mma_tile.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

// A tap sees line `top + i` and column `left + j` of x, from where its window stands: bits i and 16 + j. The other two are never inside.
constexpr std::uint32_t nothing = 1u << window_extent;

struct MmaTap {
  int offset;  // in bytes of x, from where the window stands
  std::uint32_t bits;
};

template <class T> struct MmaGather : GatherShape {
  const T *x, *w;
  T* y;
  const float* bias;    // what MmaEpilogue has, on the device
  float slope;
  float* parts;
  int chunks;           // of a class
  float last_weight;    // 1 / pixels of the last
  int tops[max_classes], lefts[max_classes];
  // Of a class, and two that see nothing, for the slices that are on their way when it ends.
  MmaTap taps[max_taps + 2 * max_classes];
};

// The left operand: a line is what a pixel of the result sees of x. Lines past the last repeat it.
template <class T, int Extent> class MmaWindows {
 public:
  static constexpr bool along_k = true;
  using Slice = MmaSlice<T, Extent, true>;

  __device__ MmaWindows(const MmaGather<T>& p, int index, int first_pixel) : p_(p), tap_(p.classes[index].first_tap) {
    const PixelClass& pixels = p.classes[index];
    const int picture = static_cast<int>(pixels.picture(static_cast<std::uint32_t>(first_pixel)));
    from_ = reinterpret_cast<const char*>(p.x + std::int64_t{picture} * p.from.n * p.x_channels);
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) {
      const PixelIndex at(min(first_pixel + Slice::line(i), pixels.pixels - 1), pixels);
      const int h = at.h * p.stride, w = at.w * p.stride;
      const int pixel = (at.n - picture) * p.from.n + h * p.from.h + w * p.from.w;
      offset_[i] = static_cast<std::uint32_t>(pixel * p.x_channels * bytes + Slice::chunk() * chunk_bytes);
      outside_[i] = ~(bits_inside(h + p.tops[index], p.height) | bits_inside(w + p.lefts[index], p.width) << 16);
    }
  }
  __device__ void copy(SharedAddress to) {
    const MmaTap tap = p_.taps[tap_];
    const std::uint32_t bits = channel_ + Slice::chunk() * chunk_elements<T> < p_.x_channels ? tap.bits : nothing;
    const char* const from = from_ + (tap.offset + channel_ * bytes);
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) copy_async(to + i * copy_step, from + offset_[i], (outside_[i] & bits) == 0);
    channel_ += mma_depth<T>;
    if (channel_ >= p_.x_channels) {
      channel_ = 0;
      ++tap_;
    }
  }

 private:
  static constexpr int bytes = sizeof(T);
  const MmaGather<T>& p_;
  const char* from_;
  std::uint32_t offset_[Slice::copies], outside_[Slice::copies];
  int tap_, channel_ = 0;
};

template <class Block>
__global__ __launch_bounds__(Block::threads, Block::blocks)
void conv_mma_kernel(const __grid_constant__ MmaGather<typename Block::Element> p) {
#ifdef PASTICHE_MMA
  using T = typename Block::Element;
  const PixelClass& pixels = p.classes[blockIdx.y];
  const int tiles = (p.columns + Block::n - 1) / Block::n, row = static_cast<int>(blockIdx.x) / tiles;
  const int m0 = row * Block::m, n0 = (static_cast<int>(blockIdx.x) - row * tiles) * Block::n;
  if (m0 >= pixels.pixels) return;
  const int depth = pixels.taps * ((p.x_channels + mma_depth<T> - 1) / mma_depth<T>) * mma_depth<T>;
  MmaWindows<T, Block::m> a(p, static_cast<int>(blockIdx.y), m0);
  const int line_bytes = p.line_w * static_cast<int>(sizeof(T));
  MmaAlongK<T, Block::n> b(p.w + (std::int64_t{n0} * p.line_w + pixels.weights), line_bytes, p.columns - n0, depth);
  Block tile;
  tile.sum(a, b, depth / mma_depth<T>);
  if (p.bias != nullptr) {
    tile.each_pair([&](int n) {
      Vector<float, 2> bias{};
      if (n0 + n < p.columns) bias = load_vector<2>(p.bias + n0 + n);
      return [&p, bias](float v, int e) {
        const float sum = v + bias.at[e];
        return sum > 0.0f ? sum : p.slope * sum;
      };
    });
  }
  tile.each_pair([](int) { return [](float v, int) { return rounded<T>(v); }; });
  if (p.parts != nullptr) {
    const std::int64_t first = std::int64_t{blockIdx.y} * p.chunks + m0 / statistic_rows;
    const std::int64_t squares = std::int64_t{gridDim.y} * p.chunks * p.columns;
    using Pair = Vector<float, 2>;
    const auto write = [&](int part, int n, const Pair& mean, const Pair& square) {
      if (n0 + n >= p.columns) return;
      float* const at = p.parts + ((first + part) * p.columns + n0 + n);
      store_vector(at, mean);
      store_vector(at + squares, square);
    };
    tile.template each_statistic<statistic_rows>(pixels.pixels - m0, p.last_weight, write);
  }
  tile.each_four([&](int m, int n, const Vector<float, 4>& four) {
    if (m0 + m >= pixels.pixels || n0 + n >= p.columns) return;
    Vector<T, 4> stored;
    PASTICHE_UNROLL
    for (int e = 0; e < 4; ++e) stored.at[e] = as_stored<T>(four.at[e]);
    store_vector(p.y + (std::int64_t{p.place(pixels, m0 + m)} * p.y_channels + n0 + n), stored);
  });
#endif
}

// ---- host side -------------------------------------------------------------------------------------------------------
struct Window {
  int top, left, height, width;
  explicit Window(std::span<const Tap> taps) : top(0), left(0), height(0), width(0) {
    if (taps.empty()) return;
    const auto [low_h, high_h] = std::minmax_element(taps.begin(), taps.end(), [](const Tap& a, const Tap& b) { return a.h < b.h; });
    const auto [low_w, high_w] = std::minmax_element(taps.begin(), taps.end(), [](const Tap& a, const Tap& b) { return a.w < b.w; });
    top = low_h->h;
    left = low_w->w;
    height = high_h->h - top + 1;
    width = high_w->w - left + 1;
  }
};

template <class T> std::span<const Tap> taps_of(const Gather<T>& p, const PixelClass& c) {
  return {p.taps + c.first_tap, static_cast<std::size_t>(c.taps)};
}

}  // namespace

template <class T> bool can_conv_mma(const CudaBackend& backend, const Gather<T>& p, int classes) {
  if (std::is_same_v<T, float> && !backend.kernels().tf32) return false;
  if (backend.compute_capability() < 80 || p.groups != 1 || p.x_channels % 8 != 0 || p.y_channels % 8 != 0) return false;
  return std::all_of(p.classes, p.classes + classes, [&](const PixelClass& c) {
    const Window window(taps_of(p, c));
    return window.height <= window_extent && window.width <= window_extent;
  });
}

template <class T> void conv_mma(CudaBackend& backend, const Gather<T>& gather, int classes, const Tensor& weights, const MmaEpilogue& epilogue) {
  constexpr int bytes = sizeof(T), depth = mma_depth<T>;
  MmaGather<T> p{};
  static_cast<GatherShape&>(p) = gather;
  p.x = gather.x;
  p.y = gather.y;
  p.bias = epilogue.bias == nullptr ? nullptr : epilogue.bias->data<float>();
  p.slope = epilogue.slope;
  const Tensor packed = pack_weights<T>(backend, weights, p.x_channels, depth);
  p.w = packed.data<T>();
  const auto in_packed = [&](int place) {
    return static_cast<int>(checked_index(place / p.x_channels * ceil_div(p.x_channels, depth) * depth, "weights"));
  };
  p.line_w = in_packed(p.line_w);
  checked_index(std::int64_t{LargeMmaTile<T>::n} * p.line_w * bytes, "bytes of a tile's weights");
  int taps = 0, most_pixels = 0;
  for (int i = 0; i < classes; ++i) {
    PixelClass& c = p.classes[i];
    c.weights = in_packed(c.weights);
    const Window window(taps_of(gather, c));
    p.tops[i] = window.top;
    p.lefts[i] = window.left;
    const int first = taps;
    for (const Tap& tap : taps_of(gather, c)) {
      checked_index(std::abs(std::int64_t{tap.offset}) * p.x_channels * bytes, "bytes of a window");
      p.taps[taps++] = {.offset = tap.offset * p.x_channels * bytes, .bits = 1u << (tap.h - window.top) | 1u << (16 + tap.w - window.left)};
    }
    for (int end = 0; end < 2; ++end) p.taps[taps++] = {.offset = 0, .bits = nothing};
    c.first_tap = first;
    const std::int64_t pictures = LargeMmaTile<T>::m / c.picture.divisor + 2;
    checked_index(pictures * p.from.n * p.x_channels * bytes, "bytes of a tile's pictures");
    most_pixels = std::max(most_pixels, c.pixels);
  }
  if (epilogue.parts != nullptr) {
    p.chunks = static_cast<int>(ceil_div(most_pixels, statistic_rows));
    p.last_weight = 1.0f / static_cast<float>(most_pixels - (p.chunks - 1) * statistic_rows);
    *epilogue.parts = Tensor::empty(backend, Shape{2, classes, p.chunks, p.columns});
    p.parts = epilogue.parts->mutable_data<float>();
  }
  const auto launch_tiles = [&]<class Block>(Block) {
    const dim3 all(grid(ceil_div(most_pixels, Block::m) * ceil_div(p.columns, Block::n)).x, static_cast<unsigned>(classes));
    PASTICHE_CUDA_CHECK(launch(conv_mma_kernel<Block>, {.stream = backend.stream(), .blocks = all, .threads = Block::threads,
                                                        .shared = Block::shared_bytes}, p));
  };
  // The tiles give the same bits: the large one is taken where it is not half empty and gives every multiprocessor a block.
  const std::int64_t large = ceil_div(most_pixels, LargeMmaTile<T>::m) * ceil_div(p.columns, LargeMmaTile<T>::n) * classes;
  if (p.columns > SmallMmaTile<T>::n && large >= backend.multiprocessors()) launch_tiles(LargeMmaTile<T>{});
  else launch_tiles(SmallMmaTile<T>{});
}

template bool can_conv_mma(const CudaBackend&, const Gather<float>&, int);
template bool can_conv_mma(const CudaBackend&, const Gather<BFloat16>&, int);
template void conv_mma(CudaBackend&, const Gather<float>&, int, const Tensor&, const MmaEpilogue&);
template void conv_mma(CudaBackend&, const Gather<BFloat16>&, int, const Tensor&, const MmaEpilogue&);

}  // namespace pastiche::PASTICHE_TARGET
