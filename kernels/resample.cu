// Nearest-neighbour upsampling and padding, their adjoints, and the phases of an upsampling convolution. The formulas stand in
// kernels.def.
// Policy: what only moves elements is copy_runs (arith.cu), told in the order that goes through both sides in whole lines. The
// adjoint of upsampling: 256 threads a block, four channels of one pixel a thread (one, where the number of channels is no
// multiple of four), its block of dy added up line by line in f32. Where a pixel is less than a sector of 32 bytes, the loads of
// neighbouring pixels share sectors: the first fetches them, the next finds them in L1. Padding and its adjoint: the same threads;
// a pixel of dx is the sum, in f32, of the places of dy that show it, line by line.
#include "backends/cuda/cuda.h"
#include "backends/pad_axis.h"
#include "copy.cuh"
#include "indexing.cuh"

namespace pastiche::PASTICHE_TARGET {

void CudaBackend::launch_upsample(Tensor& y, const Tensor& x, std::int64_t factor) {
  const std::int64_t lines = x.shape()[0] * x.shape()[1], w = x.shape()[2];
  const std::int64_t pixel = x.shape()[3] * static_cast<std::int64_t>(dtype_bytes(x.dtype())), line = w * pixel;
  copy_runs(stream(), y.mutable_raw(), x.raw(),
            {{lines, factor * factor * line, line}, {factor, factor * line, 0}, {w, factor * pixel, pixel}, {factor, pixel, 0}},
            pixel);
}

namespace {

// Either way between a picture [N,2H,2W,K] and its phases.
void copy_phases(cudaStream_t stream, Tensor& y, const Tensor& x, Phases form, const Shape& picture, bool join) {
  const std::int64_t lines = picture[0] * picture[1] / 2, w = picture[2] / 2;
  const std::int64_t pixel = picture[3] * static_cast<std::int64_t>(dtype_bytes(x.dtype())), line = 2 * w * pixel;
  const std::int64_t phase = lines * w * pixel;
  const auto axis = [=](std::int64_t extent, std::int64_t in_picture, std::int64_t in_phases) {
    return join ? CopyAxis{extent, in_picture, in_phases} : CopyAxis{extent, in_phases, in_picture};
  };
  if (form == Phases::inner) {  // in the order of the phases: two pixels of a line, then the two below them
    copy_runs(stream, y.mutable_raw(), x.raw(),
              {axis(lines, 2 * line, 2 * line), axis(w, 2 * pixel, 4 * pixel), axis(2, line, 2 * pixel)}, 2 * pixel);
  } else {  // in the order of the picture
    copy_runs(stream, y.mutable_raw(), x.raw(),
              {axis(lines, 2 * line, line / 2), axis(2, line, 2 * phase), axis(w, 2 * pixel, pixel), axis(2, pixel, phase)},
              pixel);
  }
}

}  // namespace

void CudaBackend::launch_join_phases(Tensor& y, const Tensor& x, Phases from) {
  copy_phases(stream(), y, x, from, y.shape(), true);
}
void CudaBackend::launch_split_phases(Tensor& y, const Tensor& x, Phases to) {
  copy_phases(stream(), y, x, to, x.shape(), false);
}

// ---- the adjoint of upsample -----------------------------------------------------------------------------------------
constexpr int pixel_threads = 256;

// dx [lines, width, channels] in units of N
template <class T, int N>
__global__ __launch_bounds__(pixel_threads) void upsample_grad_kernel(T* dx, const T* dy, std::uint32_t units, Divider channels,
                                                                        Divider width, int factor) {
  const std::uint32_t unit = blockIdx.x * pixel_threads + threadIdx.x;
  if (unit >= units) return;
  const std::uint32_t pixel = channels(unit), c = unit - pixel * channels.divisor;
  const std::uint32_t line = width(pixel), w = pixel - line * width.divisor;
  const std::int64_t step = std::int64_t{channels.divisor} * N, dy_line = factor * step * width.divisor;
  const T* const block = dy + line * dy_line * factor + w * factor * step + c * N;
  float sums[N] = {};
  for (int a = 0; a < factor; ++a) {
    for (int b = 0; b < factor; ++b) {
      const Vector<T, N> v = load_unit<N>(block + a * dy_line + b * step);
      for (int j = 0; j < N; ++j) sums[j] += to_float(v.at[j]);
    }
  }
  Vector<T, N> out;
  for (int j = 0; j < N; ++j) out.at[j] = from_float<T>(sums[j]);
  store_unit(dx + std::int64_t{unit} * N, out);
}

void CudaBackend::launch_upsample_grad(Tensor& dx, const Tensor& dy, std::int64_t factor) {
  if (dx.elements() == 0) return;
  const Shape& shape = dx.shape();
  with_float(dx.dtype(), [&]<class T>(T) {
    with_unit(shape[3], [&]<int N>(std::integral_constant<int, N>) {
      const std::uint32_t units = checked_index(dx.elements() / N, "units of a gradient");
      PASTICHE_CUDA_CHECK(launch(upsample_grad_kernel<T, N>,
                                 {.stream = stream(),
                                  .blocks = grid(ceil_div(units, pixel_threads)),
                                  .threads = pixel_threads},
                                 dx.mutable_data<T>(), dy.data<T>(), units, Divider(static_cast<std::uint32_t>(shape[3] / N)),
                                 Divider(static_cast<std::uint32_t>(shape[2])), static_cast<int>(factor)));
    });
  });
}

// ---- padding ---------------------------------------------------------------------------------------------------------
// Which pixel a thread has, of pictures [N,H,W,C] in units of some of the channels.
struct PixelUnits {
  explicit PixelUnits(const Shape& shape, int unit)
      : units(checked_index(shape.elements() / unit, "units of a picture")),
        channels(static_cast<std::uint32_t>(shape[3] / unit)),
        width(static_cast<std::uint32_t>(shape[2])),
        height(static_cast<std::uint32_t>(shape[1])) {}
  dim3 blocks() const { return grid(ceil_div(units, pixel_threads)); }

  struct Place {
    std::int64_t n, h, w, c;
  };
  __device__ Place operator()(std::uint32_t unit) const {
    const std::uint32_t pixel = channels(unit), line = width(pixel), n = height(line);
    return {n, line - n * height.divisor, pixel - line * width.divisor, unit - pixel * channels.divisor};
  }

  std::uint32_t units;
  Divider channels, width, height;
};

template <class T, int N>
__global__ __launch_bounds__(pixel_threads) void pad_kernel(T* y, const T* x, PixelUnits place, PadAxis down, PadAxis across) {
  const std::uint32_t unit = blockIdx.x * pixel_threads + threadIdx.x;
  if (unit >= place.units) return;
  const PixelUnits::Place at = place(unit);
  const std::int64_t pixel = (at.n * down.extent + down.source(at.h)) * across.extent + across.source(at.w);
  store_unit(y + std::int64_t{unit} * N, load_unit<N>(x + (pixel * place.channels.divisor + at.c) * N));
}

template <class T, int N>
__global__ __launch_bounds__(pixel_threads) void pad_grad_kernel(T* dx, const T* dy, PixelUnits place, PadAxis down,
                                                                   PadAxis across) {
  const std::uint32_t unit = blockIdx.x * pixel_threads + threadIdx.x;
  if (unit >= place.units) return;
  const PixelUnits::Place at = place(unit);
  float sums[N] = {};
  down.each_place(at.h, [&](std::int64_t h) {
    across.each_place(at.w, [&](std::int64_t w) {
      const std::int64_t pixel = (at.n * down.padded() + h) * across.padded() + w;
      const Vector<T, N> v = load_unit<N>(dy + (pixel * place.channels.divisor + at.c) * N);
      for (int j = 0; j < N; ++j) sums[j] += to_float(v.at[j]);
    });
  });
  Vector<T, N> out;
  for (int j = 0; j < N; ++j) out.at[j] = from_float<T>(sums[j]);
  store_unit(dx + std::int64_t{unit} * N, out);
}

void CudaBackend::launch_pad(Tensor& y, const Tensor& x, const Pad& p) {
  if (y.elements() == 0) return;
  with_float(x.dtype(), [&]<class T>(T) {
    with_unit(x.shape()[3], [&]<int N>(std::integral_constant<int, N>) {
      const PixelUnits place(y.shape(), N);
      PASTICHE_CUDA_CHECK(launch(pad_kernel<T, N>, {.stream = stream(), .blocks = place.blocks(), .threads = pixel_threads},
                                 y.mutable_data<T>(), x.data<T>(), place, vertical(p, x.shape()[1]),
                                 horizontal(p, x.shape()[2])));
    });
  });
}

void CudaBackend::launch_pad_grad(Tensor& dx, const Tensor& dy, const Pad& p) {
  if (dx.elements() == 0) return;
  with_float(dx.dtype(), [&]<class T>(T) {
    with_unit(dx.shape()[3], [&]<int N>(std::integral_constant<int, N>) {
      const PixelUnits place(dx.shape(), N);
      PASTICHE_CUDA_CHECK(launch(pad_grad_kernel<T, N>,
                                 {.stream = stream(), .blocks = place.blocks(), .threads = pixel_threads}, dx.mutable_data<T>(),
                                 dy.data<T>(), place, vertical(p, dx.shape()[1]), horizontal(p, dx.shape()[2])));
    });
  });
}

}  // namespace pastiche::PASTICHE_TARGET
