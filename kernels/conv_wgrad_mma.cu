// The implicit GEMM of conv_wgrad.cu on tensor cores: dw[k, t, c] = the sum over pixels of dy[pixel, k] x[pixel + t, c], of bf16, or of f32
// as TF32. Both operands lie across the reduction. What a pixel of dy sees of x is computed once, into a table, so that the loop divides nothing.
// Policy: as in conv_wgrad.cu: split-K over the pixels, parts added in order.
#include <algorithm>

#include "conv_wgrad_mma.cuh"
#include "mma_tile.cuh"
#include "split.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

// A pixel of dy: where its window stands in x, and which taps are outside: bits r dilation and 16 + s dilation. The other two are set
// for what sees nothing, and for what is no pixel.
struct WindowPlace {
  static constexpr std::uint32_t nothing = 1u << 31, no_pixel = 1u << 15;
  int pixel;
  std::uint32_t outside;
};
template <class T> constexpr int spare_places = 3 * mma_depth<T>;  // the loop looks that far

template <class T> struct MmaGradient : GradientShape {
  const T *x, *dy;
  float* dw;                  // [parts, classes, K, taps, inputs]
  const WindowPlace* places;  // [classes, class_places]
  int class_places;
};

constexpr int place_threads = 256;

__global__ __launch_bounds__(place_threads) void window_places_kernel(WindowPlace* places, const __grid_constant__ GradientShape p,
                                                                      int class_places) {
  const int index = static_cast<int>(blockIdx.x) * place_threads + static_cast<int>(threadIdx.x);
  if (index >= class_places) return;
  Vector<std::uint32_t, 2> place{{0, ~0u}};  // a WindowPlace
  if (index < p.pixels) {
    const OutputPixels& pixels = p.pixel_classes[blockIdx.y];
    const std::uint32_t at = static_cast<std::uint32_t>(index), line = p.line(at), picture = p.lines(line);
    const int h = static_cast<int>(line - picture * p.lines.divisor) * p.stride;
    const int w = static_cast<int>(at - line * p.line.divisor) * p.stride;
    place.at[0] = static_cast<std::uint32_t>((static_cast<int>(picture) * p.height + h) * p.width + w);
    const std::uint32_t inside = bits_inside(h + pixels.top, p.height) | bits_inside(w + pixels.left, p.width) << 16;
    place.at[1] = (~inside & ~WindowPlace::no_pixel) | WindowPlace::nothing;
  }
  store_vector(reinterpret_cast<std::uint32_t*>(places + (std::int64_t{blockIdx.y} * class_places + index)), place);
}

// The places of the pixels that this thread copies, of the slice that comes next.
template <class T, int Extent> class MmaPlaces {
 public:
  using Slice = MmaSlice<T, Extent, false>;
  __device__ MmaPlaces(const WindowPlace* from, int pixels) : from_(from + Slice::k(0)), left_(pixels) { fetch(); }
  __device__ const WindowPlace& operator[](int i) const { return places_[i]; }
  __device__ bool any() const { return left_ > 0; }  // of the part
  __device__ void go_on() {
    left_ -= mma_depth<T>;
    fetch();
  }

 private:
  __device__ void fetch() {
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) {
      const auto words = load_vector<2>(reinterpret_cast<const std::uint32_t*>(from_ + (Slice::k(i) - Slice::k(0))));
      places_[i] = {static_cast<int>(words.at[0]), words.at[1]};
    }
    from_ += mma_depth<T>;
  }
  const WindowPlace* from_;
  WindowPlace places_[Slice::copies];
  int left_;
};

// The left operand: dy, whose pixels are evenly apart.
template <class T, int Extent> class MmaOutputs {
 public:
  static constexpr bool along_k = false;
  using Slice = MmaSlice<T, Extent, false>;
  __device__ MmaOutputs(const MmaPlaces<T, Extent>& places, const T* from, int pixel_bytes, int lines)
      : places_(places), pixel_bytes_(pixel_bytes) {
    from_ = further(from + min(Slice::chunk() * chunk_elements<T>, lines - chunk_elements<T>), Slice::k(0), pixel_bytes);
  }
  __device__ void copy(SharedAddress to) {
    const std::uint32_t bits = places_.any() ? WindowPlace::no_pixel : WindowPlace::nothing;
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) {
      copy_async(to + i * copy_step, further(from_, Slice::k(i) - Slice::k(0), pixel_bytes_), (places_[i].outside & bits) == 0);
    }
    from_ = further(from_, mma_depth<T>, pixel_bytes_);
  }

 private:
  const MmaPlaces<T, Extent>& places_;
  const T* from_;
  int pixel_bytes_;
};

// The right operand: x under each tap. A thread keeps to a chunk of the channels of one tap.
template <class T, int Extent> class MmaTaps {
 public:
  static constexpr bool along_k = false;
  using Slice = MmaSlice<T, Extent, false>;
  __device__ MmaTaps(MmaPlaces<T, Extent>& places, const MmaGradient<T>& p, const OutputPixels& pixels, int first_column)
      : places_(places), pixel_bytes_(p.x_bytes) {
    const int column = min(first_column + Slice::chunk() * chunk_elements<T>, p.columns - chunk_elements<T>);
    const auto tap = static_cast<int>(p.channel(static_cast<std::uint32_t>(column)));
    const auto r = static_cast<int>(p.tap_column(static_cast<std::uint32_t>(tap)));
    const int h = r * p.dilation, w = (tap - r * static_cast<int>(p.tap_column.divisor)) * p.dilation;
    bits_ = 1u << h | 1u << (16 + w) | WindowPlace::no_pixel;
    const std::int64_t pixel = std::int64_t{pixels.top + h} * p.width + (pixels.left + w);
    from_ = p.x + (pixel * p.inputs + (column - tap * p.inputs));
  }
  __device__ void copy(SharedAddress to) {
    const std::uint32_t bits = places_.any() ? bits_ : WindowPlace::nothing;
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) {
      copy_async(to + i * copy_step, further(from_, places_[i].pixel, pixel_bytes_), (places_[i].outside & bits) == 0);
    }
    places_.go_on();
  }

 private:
  MmaPlaces<T, Extent>& places_;
  const T* from_;
  std::uint32_t bits_;
  int pixel_bytes_;
};

template <class Block>
__global__ __launch_bounds__(Block::threads, Block::blocks)
void conv_wgrad_mma_kernel(const __grid_constant__ MmaGradient<typename Block::Element> p) {
#ifdef PASTICHE_MMA
  using T = typename Block::Element;
  static_assert(Block::m == Block::n, "both operands take the same pixels");
  const int index = static_cast<int>(blockIdx.y), part = static_cast<int>(blockIdx.z), row = static_cast<int>(blockIdx.x) / p.tiles_n;
  const int m0 = row * Block::m, n0 = (static_cast<int>(blockIdx.x) - row * p.tiles_n) * Block::n;
  const int begin = part * p.part, count = min(p.part, p.pixels - begin);
  const OutputPixels& pixels = p.pixel_classes[index];
  const std::int64_t first = pixels.first + std::int64_t{begin} * p.dy_step;
  MmaPlaces<T, Block::m> places(p.places + (std::int64_t{index} * p.class_places + begin), count);
  MmaOutputs<T, Block::m> a(places, p.dy + (first * p.outputs + m0), p.dy_step * p.dy_bytes, p.outputs - m0);
  MmaTaps<T, Block::n> b(places, p, pixels, n0);
  Block tile;
  tile.sum(a, b, (count + mma_depth<T> - 1) / mma_depth<T>);
  float* const to = p.dw + (std::int64_t{part} * p.classes + index) * p.outputs * p.columns;
  tile.each_four([&](int m, int n, const Vector<float, 4>& four) {
    m += m0;
    n += n0;
    if (m < p.outputs) store_four(to + (std::int64_t{m} * p.columns + n), four, p.columns - n, true);
  });
#endif
}

}  // namespace

template <class T> bool can_wgrad_mma(const CudaBackend& backend, const WeightGradient<T>& p) {
  if (std::is_same_v<T, float> && !backend.kernels().tf32) return false;
  const int width = static_cast<int>(p.tap_column.divisor), height = p.columns / p.inputs / width;
  const int window = (std::max(width, height) - 1) * p.dilation + 1;
  return backend.compute_capability() >= 80 && p.groups == 1 && p.inputs % 8 == 0 && p.outputs % 8 == 0 &&
         window <= window_extent;
}

template <class T> void wgrad_mma(CudaBackend& backend, Tensor& dw, const WeightGradient<T>& gradient) {
  MmaGradient<T> p{};
  static_cast<GradientShape&>(p) = gradient;
  p.x = gradient.x;
  p.dy = gradient.dy;
  p.class_places = static_cast<int>(ceil_div(p.pixels, mma_depth<T>) * mma_depth<T>) + spare_places<T>;
  Tensor places = Tensor::empty(backend, Shape{p.classes, p.class_places, 2}, DType::i32);
  p.places = static_cast<const WindowPlace*>(places.raw());
  const dim3 place_blocks(grid(ceil_div(p.class_places, place_threads)).x, static_cast<unsigned>(p.classes));
  PASTICHE_CUDA_CHECK(launch(window_places_kernel, {.stream = backend.stream(), .blocks = place_blocks, .threads = place_threads},
                             static_cast<WindowPlace*>(places.mutable_raw()), p, p.class_places));
  checked_index(std::int64_t{mma_depth<T>} * p.dy_step * p.dy_bytes, "bytes of a slice");

  const auto launch_tiles = [&]<class Block>(Block) {
    p.tiles_n = static_cast<int>(ceil_div(p.columns, Block::n));
    const std::int64_t tiles = ceil_div(p.outputs, Block::m) * p.tiles_n;
    // So many parts that some 256 blocks share the work, each with 256 pixels at least.
    const std::int64_t parts = std::min<std::int64_t>(ceil_div(256, tiles * p.classes), p.pixels / 256);
    const Split split(p.pixels, std::max<std::int64_t>(parts, 1), mma_depth<T>);
    p.part = split.length;
    Tensor sums = split.count > 1 ? Tensor::empty(backend, {split.count * dw.elements()}) : dw;
    p.dw = sums.mutable_data<float>();
    const dim3 blocks(grid(tiles).x, static_cast<unsigned>(p.classes), checked_extent(split.count));
    PASTICHE_CUDA_CHECK(launch(conv_wgrad_mma_kernel<Block>, {.stream = backend.stream(), .blocks = blocks, .threads = Block::threads,
                                                              .shared = Block::shared_bytes}, p));
    if (split.count > 1) sum_parts(backend, dw, sums.data<float>(), split.count);
  };
  // By the weights alone, as the number of parts, and so the bits, depend on it.
  if (p.outputs > SmallMmaTile<T>::m && p.columns > SmallMmaTile<T>::n) launch_tiles(LargeMmaTile<T>{});
  else launch_tiles(SmallMmaTile<T>{});
}

template bool can_wgrad_mma(const CudaBackend&, const WeightGradient<float>&);
template bool can_wgrad_mma(const CudaBackend&, const WeightGradient<BFloat16>&);
template void wgrad_mma(CudaBackend&, Tensor&, const WeightGradient<float>&);
template void wgrad_mma(CudaBackend&, Tensor&, const WeightGradient<BFloat16>&);

}  // namespace pastiche::PASTICHE_TARGET
