// Normally distributed numbers, dropout and pixels, drawn from Philox (philox.h). The formulas stand in kernels.def.
// Policy: 256 threads a block, one vector of 16 bytes a thread, which is one group of Philox numbers in f32 and two in bf16. Of
// pixels, four channels of one pixel a thread (one, where the number of channels is no multiple of four), each of which draws
// again; in the adjoint a thread asks which sample its pixel could be, so that every element is written once.
// Compiled without contraction: the bits are those of every other backend.
#include "backends/cuda/cuda.h"
#include "backends/pixel_draw.h"
#include "indexing.cuh"

namespace pastiche::PASTICHE_TARGET {

constexpr int random_threads = 256;
template <class T> constexpr int random_width = 16 / static_cast<int>(sizeof(T));

template <class T>
__global__ __launch_bounds__(random_threads) void random_normal_kernel(T* y, std::int64_t n, RandomKey key,
                                                                       const StepState* state) {
  constexpr int width = random_width<T>;
  const std::int64_t first = (std::int64_t{blockIdx.x} * random_threads + threadIdx.x) * width;
  if (first >= n) return;
  const auto step = static_cast<std::uint64_t>(state->step);
  Vector<T, width> out;
#pragma unroll
  for (int group = 0; group < width; group += 4) {
    float four[4];
    normal4(key, step, static_cast<std::uint64_t>(first + group) / 4, four);
    for (int j = 0; j < 4; ++j) out.at[group + j] = from_float<T>(four[j]);
  }
  if (first + width <= n) {
    store_vector(y + first, out);
  } else {
#pragma unroll
    for (int j = 0; j < width; ++j) {
      if (first + j < n) y[first + j] = out.at[j];
    }
  }
}

// x / (1 - p) as the other backends round it: in f64, then to f32.
template <class T>
__global__ __launch_bounds__(random_threads) void dropout_kernel(T* y, const T* x, std::int64_t n, Dropout p,
                                                                 const StepState* state) {
  constexpr int width = random_width<T>;
  const std::int64_t first = (std::int64_t{blockIdx.x} * random_threads + threadIdx.x) * width;
  if (first >= n) return;
  const auto step = static_cast<std::uint64_t>(state->step);
  const double keep = 1 - p.p;
  const bool whole = first + width <= n;
  Vector<T, width> values{};
  if (whole) {
    values = load_vector<width>(x + first);
  } else {
#pragma unroll
    for (int j = 0; j < width; ++j) {
      if (first + j < n) values.at[j] = x[first + j];
    }
  }
#pragma unroll
  for (int group = 0; group < width; group += 4) {
    const Philox4 words = philox4x32(p.key, step, static_cast<std::uint64_t>(first + group) / 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool kept = static_cast<double>(uniform_from(words.word[j])) >= p.p;
      const double value = static_cast<double>(to_float(values.at[group + j]));
      values.at[group + j] = from_float<T>(kept ? static_cast<float>(value / keep) : 0.0f);
    }
  }
  if (whole) {
    store_vector(y + first, values);
  } else {
#pragma unroll
    for (int j = 0; j < width; ++j) {
      if (first + j < n) y[first + j] = values.at[j];
    }
  }
}

// y [samples of all pictures, channels] in units of N
template <class T, int N>
__global__ __launch_bounds__(random_threads) void sample_pixels_kernel(T* y, const T* x, std::uint32_t units, Divider channels,
                                                                       Divider samples, PixelDraw draw,
                                                                       const StepState* state) {
  const std::uint32_t unit = blockIdx.x * random_threads + threadIdx.x;
  if (unit >= units) return;
  const std::uint32_t sample = channels(unit), c = unit - sample * channels.divisor, n = samples(sample);
  const auto step = static_cast<std::uint64_t>(state->step);
  const std::int64_t pixel = n * draw.pixels + draw.drawn(step, n, sample - n * samples.divisor);
  store_unit(y + std::int64_t{unit} * N, load_unit<N>(x + (pixel * channels.divisor + c) * N));
}

// dx [pixels of all pictures, channels] in units of N
template <class T, int N>
__global__ __launch_bounds__(random_threads) void sample_pixels_grad_kernel(T* dx, const T* dy, std::uint32_t units,
                                                                            Divider channels, Divider pixels, PixelDraw draw,
                                                                            const StepState* state) {
  const std::uint32_t unit = blockIdx.x * random_threads + threadIdx.x;
  if (unit >= units) return;
  const std::uint32_t row = channels(unit), c = unit - row * channels.divisor, n = pixels(row);
  const std::int64_t pixel = row - n * pixels.divisor, s = draw.sample_of(pixel);
  Vector<T, N> out{};
  if (draw.drawn(static_cast<std::uint64_t>(state->step), n, s) == pixel) {
    out = load_unit<N>(dy + ((n * draw.count + s) * channels.divisor + c) * N);
  }
  store_unit(dx + std::int64_t{unit} * N, out);
}

namespace {

const StepState* state_of(const Tensor& state) { return reinterpret_cast<const StepState*>(state.data<std::uint8_t>()); }

}  // namespace

void CudaBackend::launch_random_normal(Tensor& y, RandomKey key, const Tensor& state) {
  const std::int64_t n = y.elements();
  if (n == 0) return;
  with_float(y.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(random_normal_kernel<T>,
                               {.stream = stream(),
                                .blocks = grid(ceil_div(n, random_threads * random_width<T>)),
                                .threads = random_threads},
                               y.mutable_data<T>(), n, key, state_of(state)));
  });
}

void CudaBackend::launch_dropout(Tensor& y, const Tensor& x, const Dropout& p, const Tensor& state) {
  const std::int64_t n = y.elements();
  if (n == 0) return;
  with_float(x.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(dropout_kernel<T>,
                               {.stream = stream(),
                                .blocks = grid(ceil_div(n, random_threads * random_width<T>)),
                                .threads = random_threads},
                               y.mutable_data<T>(), x.data<T>(), n, p, state_of(state)));
  });
}

void CudaBackend::launch_sample_pixels(Tensor& y, const Tensor& x, const SamplePixels& p, const Tensor& state) {
  if (y.elements() == 0) return;
  const PixelDraw draw(p, x.shape());
  const std::int64_t channels = x.shape()[3];
  with_float(y.dtype(), [&]<class T>(T) {
    with_unit(channels, [&]<int N>(std::integral_constant<int, N>) {
      const std::uint32_t units = checked_index(y.elements() / N, "units of samples");
      PASTICHE_CUDA_CHECK(launch(sample_pixels_kernel<T, N>,
                                 {.stream = stream(),
                                  .blocks = grid(ceil_div(units, random_threads)),
                                  .threads = random_threads},
                                 y.mutable_data<T>(), x.data<T>(), units, Divider(static_cast<std::uint32_t>(channels / N)),
                                 Divider(static_cast<std::uint32_t>(draw.count)), draw, state_of(state)));
    });
  });
}

void CudaBackend::launch_sample_pixels_grad(Tensor& dx, const Tensor& dy, const SamplePixels& p, const Tensor& state) {
  if (dx.elements() == 0) return;
  const PixelDraw draw(p, dx.shape());
  const std::int64_t channels = dx.shape()[3];
  with_float(dx.dtype(), [&]<class T>(T) {
    with_unit(channels, [&]<int N>(std::integral_constant<int, N>) {
      const std::uint32_t units = checked_index(dx.elements() / N, "units of a gradient");
      PASTICHE_CUDA_CHECK(launch(sample_pixels_grad_kernel<T, N>,
                                 {.stream = stream(),
                                  .blocks = grid(ceil_div(units, random_threads)),
                                  .threads = random_threads},
                                 dx.mutable_data<T>(), dy.data<T>(), units, Divider(static_cast<std::uint32_t>(channels / N)),
                                 Divider(static_cast<std::uint32_t>(draw.pixels)), draw, state_of(state)));
    });
  });
}

}  // namespace pastiche::PASTICHE_TARGET
