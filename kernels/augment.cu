// DiffAugment: its numbers drawn from Philox (philox.h), color, translation and cutout in one pass; and the adjoint of the latter
// two. The formulas stand in kernels.def.
// Policy: 256 threads a block, which takes up to 1,024 elements of one picture; its first thread draws the numbers for it. The
// channels of a pixel, of which saturation takes the mean, are neighbours: the first load fetches them, the others find them in L1.
#include "backends/augment_draw.h"
#include "backends/cuda/cuda.h"
#include "indexing.cuh"

namespace pastiche::PASTICHE_TARGET {

constexpr int augment_threads = 256, augment_elements = 4 * augment_threads;  // of a block

// Pictures [N,H,W,C], cut up for blocks.
struct AugmentWalk {
  explicit AugmentWalk(const Shape& shape)
      : elements(checked_index(shape.elements() / shape[0], "elements of a picture")),
        parts(static_cast<std::uint32_t>(ceil_div(elements, augment_elements))),
        channels(static_cast<std::uint32_t>(shape[3])),
        width(static_cast<std::uint32_t>(shape[2])),
        height(static_cast<std::int32_t>(shape[1])) {}

  std::uint32_t elements;  // of a picture
  Divider parts, channels, width;
  std::int32_t height;
};

// mean: what contrast needs, [N,C]
template <class T>
__global__ __launch_bounds__(augment_threads) void diff_augment_kernel(T* y, const T* x, const float* mean, DiffAugment p,
                                                                       const StepState* state, AugmentWalk walk, bool unmove) {
  __shared__ AugmentDraw draw;
  const std::uint32_t n = walk.parts(blockIdx.x), part = blockIdx.x - n * walk.parts.divisor;
  const auto channels = static_cast<std::int32_t>(walk.channels.divisor), width = static_cast<std::int32_t>(walk.width.divisor);
  if (threadIdx.x == 0) {
    const AugmentDraw drawn = draw_augment(p, state->step, n, walk.height, width);
    draw = drawn;  // as a store that the instrumented form sees
  }
  __syncthreads();
  const std::int64_t picture = std::int64_t{n} * walk.elements;
  const float of_picture = p.contrast ? mean[std::int64_t{n} * channels] : 0.0f;
  const std::uint32_t begin = part * augment_elements, end = min(begin + augment_elements, walk.elements);
#pragma unroll 1
  for (std::uint32_t i = begin + threadIdx.x; i < end; i += augment_threads) {
    const std::uint32_t pixel = walk.channels(i), line = walk.width(pixel), c = i - pixel * walk.channels.divisor;
    const auto h = static_cast<std::int32_t>(line), w = static_cast<std::int32_t>(pixel - line * walk.width.divisor);
    float v = 0.0f;
    if (unmove ? draw.shown(h, w) : draw.shows(h, w)) {
      const std::int64_t shift = std::int64_t{draw.down.shift} * width + draw.across.shift;
      const T* const from = x + picture + (pixel + (unmove ? -shift : shift)) * channels;
      v = to_float(from[c]);
      if (p.saturation) {
        float of_pixel = 0.0f;
#pragma unroll 1
        for (std::int32_t j = 0; j < channels; ++j) of_pixel += to_float(from[j]);
        of_pixel /= static_cast<float>(channels);
        v = fmaf(draw.saturation, v - of_pixel, of_pixel);
      }
      if (p.contrast) v = fmaf(draw.contrast, v - of_picture, of_picture);
      v += draw.brightness;
    }
    y[picture + i] = from_float<T>(v);
  }
}

namespace {

void augment(cudaStream_t stream, Tensor& y, const Tensor& x, const float* mean, const DiffAugment& p, const Tensor& state,
             bool unmove) {
  const AugmentWalk walk(x.shape());
  with_float(x.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(diff_augment_kernel<T>,
                               {.stream = stream, .blocks = grid(x.shape()[0] * walk.parts.divisor), .threads = augment_threads},
                               y.mutable_data<T>(), x.data<T>(), mean, p,
                               reinterpret_cast<const StepState*>(state.data<std::uint8_t>()), walk, unmove));
  });
}

}  // namespace

void CudaBackend::launch_diff_augment(Tensor& y, const Tensor& x, const Tensor& mean, const DiffAugment& p, const Tensor& state) {
  augment(stream(), y, x, mean.data<float>(), p, state, false);
}

void CudaBackend::launch_diff_augment_unmove(Tensor& dx, const Tensor& dy, const DiffAugment& p, const Tensor& state) {
  DiffAugment moves = p;
  moves.brightness = moves.saturation = moves.contrast = false;
  augment(stream(), dx, dy, nullptr, moves, state, true);
}

}  // namespace pastiche::PASTICHE_TARGET
