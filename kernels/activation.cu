// Activations and their gradients, alone and with a bias. The formulas stand in kernels.def.
// Policy: alone, as in elementwise.cuh. With a bias: 256 threads a block, a thread keeps its four channels (one, where the number
// of channels is no multiple of four) and goes through rows; the bias' gradient is summed on the way, as in sums.cuh.
#include "backends/cuda/cuda.h"
#include "elementwise.cuh"
#include "sums.cuh"

namespace pastiche::PASTICHE_TARGET {

// Which activation it is does not vary over a launch, and costs less than a kernel for each.
struct Activate {
  Activation::Kind kind;
  float slope;

  Activate(Activation::Kind kind_, double slope_ = 0) : kind(kind_), slope(static_cast<float>(slope_)) {}

  __device__ float operator()(float x) const {
    switch (kind) {
      case Activation::Kind::leaky_relu: return x > 0.0f ? x : slope * x;
      case Activation::Kind::tanh: return tanhf(x);
      case Activation::Kind::sigmoid: {
        const float e = expf(-fabsf(x));
        return (x < 0.0f ? e : 1.0f) / (1.0f + e);
      }
      case Activation::Kind::identity: break;
    }
    return x;
  }
  // v is the output; for leaky_relu the input does as well, as it has the same sign.
  __device__ float operator()(float dy, float v) const {
    switch (kind) {
      case Activation::Kind::leaky_relu: return v > 0.0f ? dy : slope * dy;
      case Activation::Kind::tanh: return dy * fmaf(-v, v, 1.0f);
      case Activation::Kind::sigmoid: return dy * (v * (1.0f - v));
      case Activation::Kind::identity: break;
    }
    return dy;
  }
};

void CudaBackend::launch_leaky_relu(Tensor& y, const Tensor& x, double slope) {
  map(stream(), y, Activate(Activation::Kind::leaky_relu, slope), x);
}
void CudaBackend::launch_leaky_relu_grad(Tensor& dx, const Tensor& dy, const Tensor& x, double slope) {
  map(stream(), dx, Activate(Activation::Kind::leaky_relu, slope), dy, x);
}
void CudaBackend::launch_tanh(Tensor& y, const Tensor& x) { map(stream(), y, Activate(Activation::Kind::tanh), x); }
void CudaBackend::launch_tanh_grad(Tensor& dx, const Tensor& dy, const Tensor& y) {
  map(stream(), dx, Activate(Activation::Kind::tanh), dy, y);
}
void CudaBackend::launch_sigmoid(Tensor& y, const Tensor& x) { map(stream(), y, Activate(Activation::Kind::sigmoid), x); }
void CudaBackend::launch_sigmoid_grad(Tensor& dx, const Tensor& dy, const Tensor& y) {
  map(stream(), dx, Activate(Activation::Kind::sigmoid), dy, y);
}

// ---- with a bias -----------------------------------------------------------------------------------------------------
template <class T, int N>
__global__ __launch_bounds__(walk_threads) void bias_act_kernel(T* y, const T* x, const float* bias, Activate act,
                                                                ChannelWalk walk) {
  const ChannelPlace place(walk);
  if (place.row >= place.end) return;
  const Vector<float, N> b = load_unit<N>(bias + place.unit * N);
  for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
    const std::int64_t at = (row * walk.units + place.unit) * N;
    const Vector<T, N> in = load_unit<N>(x + at);
    Vector<T, N> out;
    for (int j = 0; j < N; ++j) out.at[j] = from_float<T>(act(to_float(in.at[j]) + b.at[j]));
    store_unit(y + at, out);
  }
}

template <class T, int N>
__global__ __launch_bounds__(walk_threads) void bias_act_grad_kernel(T* dx, float* parts, const T* dy, const T* y, Activate act,
                                                                     ChannelWalk walk) {
  const ChannelPlace place(walk);
  float sums[N] = {};
  for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
    const std::int64_t at = (row * walk.units + place.unit) * N;
    const Vector<T, N> gradient = load_unit<N>(dy + at), value = load_unit<N>(y + at);
    Vector<T, N> out;
    for (int j = 0; j < N; ++j) {
      const float d = act(to_float(gradient.at[j]), to_float(value.at[j]));
      out.at[j] = from_float<T>(d);
      sums[j] += d;
    }
    store_unit(dx + at, out);
  }
  add_lanes(sums, walk, place.lane);
  if (!place.inside || place.lane != 0) return;
  Vector<float, N> out;
  for (int j = 0; j < N; ++j) out.at[j] = sums[j];
  store_unit(parts + (place.chunk * walk.units + place.unit) * N, out);
}

void CudaBackend::launch_bias_act(Tensor& y, const Tensor& x, const Tensor& bias, const Activation& p) {
  if (y.elements() == 0) return;
  with_float(x.dtype(), [&]<class T>(T) {
    with_unit(x.shape().last(), [&]<int N>(std::integral_constant<int, N>) {
      const ChannelWalk walk = map_walk(1, x.shape().rows(), x.shape().last() / N);
      PASTICHE_CUDA_CHECK(launch(bias_act_kernel<T, N>, {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads},
                                 y.mutable_data<T>(), x.data<T>(), bias.data<float>(), Activate(p.kind, p.slope), walk));
    });
  });
}

void CudaBackend::launch_bias_act_grad(Tensor& dx, Tensor& dbias, const Tensor& dy, const Tensor& y, const Activation& p) {
  const std::int64_t channels = dbias.elements();
  if (channels == 0) return;
  with_float(y.dtype(), [&]<class T>(T) {
    with_unit(channels, [&]<int N>(std::integral_constant<int, N>) {
      const ChannelWalk walk = sum_walk(1, y.shape().rows(), channels / N);
      Tensor parts = Tensor::empty(*this, {walk.chunks, channels});
      PASTICHE_CUDA_CHECK(launch(bias_act_grad_kernel<T, N>,
                                 {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads}, dx.mutable_data<T>(),
                                 parts.mutable_data<float>(), dy.data<T>(), y.data<T>(), Activate(p.kind, p.slope), walk));
      finish_sums(stream(), dbias, parts.data<float>(), 1, walk.chunks, channels);
    });
  });
}

}  // namespace pastiche::PASTICHE_TARGET
