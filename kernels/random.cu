// Normally distributed numbers and dropout, drawn from Philox (philox.h). The formulas stand in kernels.def.
// Policy: 256 threads a block, one vector of 16 bytes a thread, which is one group of Philox numbers in f32 and two in bf16.
// Compiled without contraction: the bits are those of every other backend.
#include "backends/cuda/cuda.h"
#include "device.cuh"
#include "launch.cuh"

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

}  // namespace pastiche::PASTICHE_TARGET
