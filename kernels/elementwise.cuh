#pragma once
// y[i] = f(x[i]) and y[i] = f(a[i], b[i]): what most kernels of arith, activation, loss and optim are.
// Policy: 256 threads a block, one vector a thread, of 16 bytes on the wider side; the elements after the last whole vector are
// done one by one by the thread whose turn they are. Arithmetic in f32, rounded once.
#include <algorithm>

#include "device.cuh"
#include "launch.cuh"

namespace pastiche::PASTICHE_TARGET {

constexpr int map_threads = 256;

template <class T, int Inputs> struct Sources {
  const T* at[Inputs];
};

template <class F, class To, class From, int Inputs>
__global__ __launch_bounds__(map_threads) void map_kernel(To* y, Sources<From, Inputs> x, std::int64_t n, F f) {
  constexpr int width = 16 / static_cast<int>(sizeof(To) > sizeof(From) ? sizeof(To) : sizeof(From));
  const std::int64_t first = (std::int64_t{blockIdx.x} * map_threads + threadIdx.x) * width;
  const auto value = [&](const From* values) {
    if constexpr (Inputs == 1) return from_float<To>(f(to_float(values[0])));
    else return from_float<To>(f(to_float(values[0]), to_float(values[1])));
  };
  if (first + width <= n) {
    Vector<From, width> in[Inputs];
    for (int k = 0; k < Inputs; ++k) in[k] = load_vector<width>(x.at[k] + first);
    Vector<To, width> out;
    for (int j = 0; j < width; ++j) {
      From values[Inputs];
      for (int k = 0; k < Inputs; ++k) values[k] = in[k].at[j];
      out.at[j] = value(values);
    }
    store_vector(y + first, out);
  } else {
#pragma unroll 1  // it has few turns
    for (std::int64_t i = first; i < n; ++i) {
      From values[Inputs];
      for (int k = 0; k < Inputs; ++k) values[k] = x.at[k][i];
      y[i] = value(values);
    }
  }
}

// y may be one of the inputs, which are all of type From.
template <class To, class From, class F, class... Inputs> void map_as(cudaStream_t stream, Tensor& y, F f, const Inputs&... x) {
  const std::int64_t n = y.elements();
  if (n == 0) return;
  constexpr int width = 16 / static_cast<int>(std::max(sizeof(To), sizeof(From)));
  PASTICHE_CUDA_CHECK(launch(map_kernel<F, To, From, sizeof...(x)>,
                             {.stream = stream, .blocks = grid(ceil_div(n, map_threads * width)), .threads = map_threads},
                             y.mutable_data<To>(), Sources<From, sizeof...(x)>{{x.template data<From>()...}}, n, f));
}

// The same where all are of y's type.
template <class F, class... Inputs> void map(cudaStream_t stream, Tensor& y, F f, const Inputs&... x) {
  with_float(y.dtype(), [&]<class T>(T) { map_as<T, T>(stream, y, f, x...); });
}

}  // namespace pastiche::PASTICHE_TARGET
