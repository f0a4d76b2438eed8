// Binary cross-entropy with logits, and its gradient. The formulas stand in kernels.def.
// Policy: the loss of each block's elements is summed in f32, thread by thread and in a tree, then over the blocks in f64
// (sums.cuh). The gradient as in elementwise.cuh.
#include "backends/cuda/cuda.h"
#include "elementwise.cuh"
#include "sums.cuh"

namespace pastiche::PASTICHE_TARGET {

template <class T>
__global__ __launch_bounds__(walk_threads) void bce_logits_kernel(float* parts, const T* x, float target, ChannelWalk walk) {
  const ChannelPlace place(walk);
  float sum[1] = {};
  for (std::int64_t i = place.row; i < place.end; i += walk.repeat) {
    const float v = to_float(x[i]);
    const float linear = v > 0.0f ? fmaf(-target, v, v) : -target * v;  // max(v, 0) - v target
    sum[0] += linear + log1pf(expf(-fabsf(v)));
  }
  add_lanes(sum, walk, place.lane);
  if (place.inside && place.lane == 0) parts[place.chunk] = sum[0];
}

void CudaBackend::launch_bce_logits(Tensor& loss, const Tensor& x, double target) {
  const ChannelWalk walk = sum_walk(1, x.elements(), 1);
  Tensor parts = Tensor::empty(*this, {walk.chunks});
  with_float(x.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(bce_logits_kernel<T>, {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads},
                               parts.mutable_data<float>(), x.data<T>(), static_cast<float>(target), walk));
  });
  finish_sums(stream(), loss, parts.data<float>(), 1, walk.chunks, 1, static_cast<double>(x.elements()));
}

struct BceLogitsGrad {
  const float* dloss;
  float elements, target, rest;  // rest = 1 - target

  __device__ float operator()(float v) const {
    // With e = exp -|v|, sigmoid(v) - t is 1 - t - e / (1 + e) or e / (1 + e) - t: no cancellation where v is large.
    const float e = expf(-fabsf(v)), tail = e / (1.0f + e);
    return *dloss / elements * (v > 0.0f ? rest - tail : tail - target);
  }
};

void CudaBackend::launch_bce_logits_grad(Tensor& dx, const Tensor& dloss, const Tensor& x, double target) {
  map(stream(), dx,
      BceLogitsGrad{dloss.data<float>(), static_cast<float>(x.elements()), static_cast<float>(target),
                    static_cast<float>(1 - target)},
      x);
}

}  // namespace pastiche::PASTICHE_TARGET
