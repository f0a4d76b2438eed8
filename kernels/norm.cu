// Batch, instance and group normalisation: statistics, application with LeakyReLU, gradient, running statistics. The formulas
// stand in kernels.def.
// Policy: 256 threads a block; a thread keeps its four channels (one, where the number of channels is no multiple of four) and
// goes through rows, reading and writing the phases of an upsampling convolution where they lie. Statistics: a mean and a sum of
// squared deviations for each thread (Welford, "Note on a method for calculating corrected sums of squares and products", 1962),
// joined in a tree within the block and in f64 over the blocks (Chan, Golub and LeVeque, "Updating formulae and a pairwise
// algorithm for computing sample variances", 1979), so that nothing cancels where the mean is much greater than the deviation.
// Other sums as in sums.cuh. Where each picture has statistics of its own, it is one of the `outer` of a walk, and what belongs
// to a statistic is [outer, channels]; a group's come of its channels', in a small kernel. Many parts, as convolutions on tensor
// cores leave them (conv_mma.cu), are joined 32 at a time first.
#include "backends/cuda/cuda.h"
#include "elementwise.cuh"
#include "norm.cuh"
#include "sums.cuh"

namespace pastiche::PASTICHE_TARGET {

// ---- statistics ------------------------------------------------------------------------------------------------------
// parts [2, outer, chunks, channels]: mean, and sum of squared deviations from it
template <class T, int N>
__global__ __launch_bounds__(walk_threads) void norm_stats_kernel(float* parts, const T* x, ChannelWalk walk) {
  __shared__ float counts[walk_threads], means[N][walk_threads], squares[N][walk_threads];
  const ChannelPlace place(walk);
  float count = 0, mean[N] = {}, square[N] = {};
  for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
    const Vector<T, N> in = load_unit<N>(x + (row * walk.units + place.unit) * N);
    count += 1.0f;
    const float weight = 1.0f / count;
    for (int j = 0; j < N; ++j) {
      const float v = to_float(in.at[j]), d = v - mean[j];
      mean[j] = fmaf(d, weight, mean[j]);
      square[j] = fmaf(d, v - mean[j], square[j]);
    }
  }
  const int thread = static_cast<int>(threadIdx.x);
  counts[thread] = count;
  for (int j = 0; j < N; ++j) {
    means[j][thread] = mean[j];
    squares[j][thread] = square[j];
  }
  int half = 1;
  while (2 * half < walk.repeat) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (place.lane >= half || place.lane + half >= walk.repeat) continue;
    const int other = thread + half * walk.width;
    const float added = counts[other], all = count + added;
    if (added == 0.0f) continue;
    const float weight = added / all;
    for (int j = 0; j < N; ++j) {
      const float d = means[j][other] - mean[j];
      means[j][thread] = mean[j] = fmaf(d, weight, mean[j]);
      squares[j][thread] = square[j] = fmaf(d * d, count * weight, square[j] + squares[j][other]);
    }
    counts[thread] = count = all;
  }
  if (!place.inside || place.lane != 0) return;
  Vector<float, N> m, s;
  for (int j = 0; j < N; ++j) {
    m.at[j] = mean[j];
    s.at[j] = square[j];
  }
  float* const at = parts + ((place.outer * walk.chunks + place.chunk) * walk.units + place.unit) * N;
  store_unit(at, m);
  store_unit(at + walk.outer * walk.chunks * walk.units * N, s);
}

// mean, var [outer, channels] of parts [2, pieces, outer, chunks, channels]: what belongs to a statistic may be in several places.
__global__ __launch_bounds__(walk_threads) void norm_stats_parts_kernel(float* mean, float* var, const float* parts, int pieces,
                                                                        std::int64_t outer, std::int64_t rows,
                                                                        std::int64_t rows_per_chunk, int chunks,
                                                                        std::int64_t channels, int width) {
  const PartsPlace place(width);
  const bool inside = place.channel < outer * channels;
  const std::int64_t o = place.channel / channels, c = place.channel - o * channels, step = outer * chunks * channels;
  const float* const means = parts + o * chunks * channels + c;
  const float* const squares = means + pieces * step;
  const auto count = [=](int k) { return static_cast<double>(min(rows_per_chunk, rows - k * rows_per_chunk)); };
  const double all = static_cast<double>(pieces) * static_cast<double>(rows);
  const int end = inside ? chunks : 0;
  double sum = 0;
  for (const float* of_mean = means; of_mean < squares; of_mean += step) {
#pragma unroll 1
    for (int k = place.lane; k < end; k += place.lanes) sum += count(k) * static_cast<double>(of_mean[k * channels]);
  }
  const double average = sum_over_lanes(sum, width) / all;
  double square = 0;
  for (const float* of_mean = means; of_mean < squares; of_mean += step) {
#pragma unroll 1
    for (int k = place.lane; k < end; k += place.lanes) {
      const double d = static_cast<double>(of_mean[k * channels]) - average;
      square += static_cast<double>(of_mean[pieces * step + k * channels]) + count(k) * d * d;
    }
  }
  square = sum_over_lanes(square, width);
  if (!inside || place.lane != 0) return;
  mean[place.channel] = static_cast<float>(average);
  var[place.channel] = static_cast<float>(square / all);
}

// From the statistics of each channel those of its group of neighbours, for each of them; a warp a group, which has few turns.
__global__ __launch_bounds__(walk_threads) void norm_group_stats_kernel(float* mean, float* var, const float* means,
                                                                        const float* vars, std::int64_t groups,
                                                                        std::int64_t members) {
  const std::int64_t group = (std::int64_t{blockIdx.x} * walk_threads + threadIdx.x) / warp_size;
  const std::int64_t begin = group * members + threadIdx.x % warp_size, end = group < groups ? (group + 1) * members : 0;
  double sum = 0, square = 0;
#pragma unroll 1
  for (std::int64_t c = begin; c < end; c += warp_size) sum += static_cast<double>(means[c]);
  const double average = warp_sum(sum) / static_cast<double>(members);
#pragma unroll 1
  for (std::int64_t c = begin; c < end; c += warp_size) {
    const double d = static_cast<double>(means[c]) - average;
    square += static_cast<double>(vars[c]) + d * d;
  }
  square = warp_sum(square) / static_cast<double>(members);
#pragma unroll 1
  for (std::int64_t c = begin; c < end; c += warp_size) {
    mean[c] = static_cast<float>(average);
    var[c] = static_cast<float>(square);
  }
}

// Chunks that are joined by one thread.
constexpr int joined_chunks = 32;

// Parts of more rows: to [2, outer, ceil(chunks / joined_chunks), channels] of from [2, outer, chunks, channels].
__global__ __launch_bounds__(walk_threads) void norm_stats_join_kernel(float* to, const float* from, std::int64_t outer,
                                                                       std::int64_t rows, std::int64_t rows_per_chunk,
                                                                       std::int64_t chunks, std::int64_t channels) {
  const std::int64_t joined = (chunks + joined_chunks - 1) / joined_chunks, all = outer * joined * channels;
  const std::int64_t at = std::int64_t{blockIdx.x} * walk_threads + threadIdx.x;
  if (at >= all) return;
  const std::int64_t part = at / channels, c = at - part * channels, o = part / joined, first = (part - o * joined) * joined_chunks;
  const std::int64_t squares = outer * chunks * channels, end = min(first + joined_chunks, chunks);
  float count = 0, mean = 0, square = 0;
#pragma unroll 4
  for (std::int64_t k = first; k < end; ++k) {
    const float* const chunk = from + ((o * chunks + k) * channels + c);
    const float added = static_cast<float>(min(rows_per_chunk, rows - k * rows_per_chunk)), d = *chunk - mean;
    const float weight = added / (count + added);
    square = fmaf(d * d, count * weight, square + chunk[squares]);
    mean = fmaf(d, weight, mean);
    count += added;
  }
  to[at] = mean;
  to[all + at] = square;
}

void finish_norm_stats(CudaBackend& backend, Tensor& mean, Tensor& var, const Tensor& parts, std::int64_t rows,
                       std::int64_t rows_per_chunk, const NormAct& p) {
  const std::int64_t outer = outer_of(mean), pieces = parts.shape()[1] / outer, chunks = parts.shape()[2], channels = parts.shape()[3];
  // A thread of the last kernel goes through all chunks that are left to its lane, one after the other.
  if (pieces * chunks > 8 * joined_chunks && chunks > 1) {
    Tensor fewer = Tensor::empty(backend, {2, pieces * outer, ceil_div(chunks, joined_chunks), channels});
    const dim3 blocks = grid(ceil_div(fewer.elements() / 2, walk_threads));
    PASTICHE_CUDA_CHECK(launch(norm_stats_join_kernel, {.stream = backend.stream(), .blocks = blocks, .threads = walk_threads},
                               fewer.mutable_data<float>(), parts.data<float>(), pieces * outer, rows, rows_per_chunk, chunks, channels));
    return finish_norm_stats(backend, mean, var, fewer, rows, rows_per_chunk * joined_chunks, p);
  }
  Tensor means = p.group == 1 ? mean : Tensor::empty(backend, mean.shape());
  Tensor vars = p.group == 1 ? var : Tensor::empty(backend, var.shape());
  const int width = parts_width(outer * channels);
  PASTICHE_CUDA_CHECK(launch(norm_stats_parts_kernel,
                             {.stream = backend.stream(), .blocks = grid(ceil_div(outer * channels, width)), .threads = walk_threads},
                             means.mutable_data<float>(), vars.mutable_data<float>(), parts.data<float>(), static_cast<int>(pieces), outer,
                             rows, rows_per_chunk, static_cast<int>(chunks), channels, width));
  if (p.group == 1) return;
  const std::int64_t groups = mean.elements() / p.group;
  PASTICHE_CUDA_CHECK(launch(norm_group_stats_kernel,
                             {.stream = backend.stream(),
                              .blocks = grid(ceil_div(groups * warp_size, walk_threads)),
                              .threads = walk_threads},
                             mean.mutable_data<float>(), var.mutable_data<float>(), means.data<float>(), vars.data<float>(),
                             groups, p.group));
}

void CudaBackend::launch_norm_stats(Tensor& mean, Tensor& var, const Tensor& x, const NormAct& p) {
  if (mean.elements() == 0) return;
  const std::int64_t channels = mean.shape().last(), outer = outer_of(mean);
  const std::int64_t pieces = outer > 1 && p.from == Phases::outer ? 4 : 1;  // of a picture
  const std::int64_t rows = x.elements() / (pieces * outer * channels);  // phases: in any order
  with_float(x.dtype(), [&]<class T>(T) {
    with_unit(channels, [&]<int N>(std::integral_constant<int, N>) {
      const ChannelWalk walk = sum_walk(pieces * outer, rows, channels / N);
      Tensor parts = Tensor::empty(*this, {2, pieces * outer, walk.chunks, channels});
      PASTICHE_CUDA_CHECK(launch(norm_stats_kernel<T, N>, {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads},
                                 parts.mutable_data<float>(), x.data<T>(), walk));
      finish_norm_stats(*this, mean, var, parts, rows, walk.rows_per_chunk, p);
    });
  });
}

// ---- application -----------------------------------------------------------------------------------------------------
struct NormArguments {
  const float *mean, *var, *gamma, *beta;
  float eps, slope;
};

// What N channels of it come to.
template <int N> struct NormChannels {
  __device__ NormChannels(const NormArguments& p, std::int64_t statistic, std::int64_t channel) {
    mean = load_unit<N>(p.mean + statistic);
    beta = load_unit<N>(p.beta + channel);
    scale = load_unit<N>(p.gamma + channel);
    const Vector<float, N> var = load_unit<N>(p.var + statistic);
    for (int j = 0; j < N; ++j) scale.at[j] /= sqrtf(var.at[j] + p.eps);
  }
  // Before the activation; d is x - mean.
  __device__ float operator()(int j, float d) const { return fmaf(d, scale.at[j], beta.at[j]); }

  Vector<float, N> mean, scale, beta;
};

template <class T, int N>
__global__ __launch_bounds__(walk_threads) void norm_act_kernel(T* y, const T* x, NormArguments p, ChannelWalk walk,
                                                                PixelOrder order) {
  const ChannelPlace place(walk);
  if (place.row >= place.end) return;
  const NormChannels<N> norm(p, (place.outer * walk.units + place.unit) * N, place.unit * N);
  for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
    const PixelOrder::Pixel at = order(row);
    const Vector<T, N> in = load_unit<N>(x + (at.x * walk.units + place.unit) * N);
    Vector<T, N> out;
    for (int j = 0; j < N; ++j) {
      const float pre = norm(j, to_float(in.at[j]) - norm.mean.at[j]);
      out.at[j] = from_float<T>(pre > 0.0f ? pre : p.slope * pre);
    }
    store_unit(y + (at.y * walk.units + place.unit) * N, out);
  }
}

namespace {

NormArguments norm_arguments(const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta, const NormAct& p) {
  return {mean.data<float>(),  var.data<float>(),         gamma.data<float>(),
          beta.data<float>(), static_cast<float>(p.eps), static_cast<float>(p.slope)};
}

}  // namespace

void CudaBackend::launch_norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                                  const Tensor& beta, const NormAct& p) {
  const std::int64_t channels = mean.shape().last(), outer = outer_of(mean);
  if (y.elements() == 0) return;
  with_float(x.dtype(), [&]<class T>(T) {
    with_unit(channels, [&]<int N>(std::integral_constant<int, N>) {
      const ChannelWalk walk = map_walk(outer, y.shape().rows() / outer, channels / N);
      PASTICHE_CUDA_CHECK(launch(norm_act_kernel<T, N>, {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads},
                                 y.mutable_data<T>(), x.data<T>(), norm_arguments(mean, var, gamma, beta, p), walk,
                                 PixelOrder(p.from, y.shape())));
    });
  });
}

// ---- gradient --------------------------------------------------------------------------------------------------------
// With d = x - mean, r = 1 / sqrt(var + eps) and s = gamma r, h = d r: sums of g and g d, then
// dx = s g - avg(s g) - d r^2 avg(s g d).
// parts [2, outer, chunks, channels]
template <class T, int N>
__global__ __launch_bounds__(walk_threads) void norm_act_grad_sums_kernel(float* parts, const T* dy, const T* x, NormArguments p,
                                                                          ChannelWalk walk, PixelOrder order) {
  const ChannelPlace place(walk);
  float sums[2 * N] = {};
  if (place.row < place.end) {
    const NormChannels<N> norm(p, (place.outer * walk.units + place.unit) * N, place.unit * N);
    for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
      const PixelOrder::Pixel at = order(row);
      const Vector<T, N> in = load_unit<N>(x + (at.x * walk.units + place.unit) * N);
      const Vector<T, N> gradient = load_unit<N>(dy + (at.y * walk.units + place.unit) * N);
      for (int j = 0; j < N; ++j) {
        const float d = to_float(in.at[j]) - norm.mean.at[j], out = to_float(gradient.at[j]);
        const float g = norm(j, d) > 0.0f ? out : p.slope * out;
        sums[j] += g;
        sums[N + j] = fmaf(g, d, sums[N + j]);
      }
    }
  }
  add_lanes(sums, walk, place.lane);
  if (!place.inside || place.lane != 0) return;
  Vector<float, N> g, gd;
  for (int j = 0; j < N; ++j) {
    g.at[j] = sums[j];
    gd.at[j] = sums[N + j];
  }
  float* const at = parts + ((place.outer * walk.chunks + place.chunk) * walk.units + place.unit) * N;
  store_unit(at, g);
  store_unit(at + walk.outer * walk.chunks * walk.units * N, gd);
}

// affine [2, outer, channels]: dx = s g + affine[1] d + affine[0], where `count` elements share a statistic and there are no
// groups; dgamma, dbeta [outer, channels]
__global__ __launch_bounds__(walk_threads) void norm_act_grad_parts_kernel(float* dgamma, float* dbeta, float* affine,
                                                                           const float* parts, NormArguments p,
                                                                           std::int64_t outer, std::int64_t count,
                                                                           std::int64_t chunks, std::int64_t channels, int width) {
  const PartsPlace place(width);
  const std::int64_t all = outer * channels, o = place.channel / channels, c = place.channel - o * channels;
  const bool inside = place.channel < all;
  const float* const of_g = parts + o * chunks * channels + c;
  const float* const of_gd = of_g + all * chunks;
  const std::int64_t end = inside ? chunks : 0;
  double sum_g = 0, sum_gd = 0;
  for (std::int64_t k = place.lane; k < end; k += place.lanes) {
    sum_g += static_cast<double>(of_g[k * channels]);
    sum_gd += static_cast<double>(of_gd[k * channels]);
  }
  sum_g = sum_over_lanes(sum_g, width);
  sum_gd = sum_over_lanes(sum_gd, width);
  if (!inside || place.lane != 0) return;
  const double r = 1.0 / sqrt(static_cast<double>(p.var[place.channel]) + static_cast<double>(p.eps));
  const double s = static_cast<double>(p.gamma[c]) * r / static_cast<double>(count);
  dbeta[place.channel] = static_cast<float>(sum_g);
  dgamma[place.channel] = static_cast<float>(sum_gd * r);
  affine[place.channel] = static_cast<float>(-s * sum_g);
  affine[all + place.channel] = static_cast<float>(-s * r * r * sum_gd);
}

template <class T, int N>
__global__ __launch_bounds__(walk_threads) void norm_act_grad_kernel(T* dx, const T* dy, const T* x, const float* affine,
                                                                     NormArguments p, ChannelWalk walk, PixelOrder order) {
  const ChannelPlace place(walk);
  if (place.row >= place.end) return;
  const std::int64_t statistic = (place.outer * walk.units + place.unit) * N;
  const NormChannels<N> norm(p, statistic, place.unit * N);
  const Vector<float, N> constant = load_unit<N>(affine + statistic);
  const Vector<float, N> linear = load_unit<N>(affine + walk.outer * walk.units * N + statistic);
  for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
    const PixelOrder::Pixel at = order(row);
    const std::int64_t at_x = (at.x * walk.units + place.unit) * N;
    const Vector<T, N> in = load_unit<N>(x + at_x);
    const Vector<T, N> gradient = load_unit<N>(dy + (at.y * walk.units + place.unit) * N);
    Vector<T, N> result;
    for (int j = 0; j < N; ++j) {
      const float d = to_float(in.at[j]) - norm.mean.at[j], out = to_float(gradient.at[j]);
      const float g = norm(j, d) > 0.0f ? out : p.slope * out;
      result.at[j] = from_float<T>(fmaf(g, norm.scale.at[j], fmaf(d, linear.at[j], constant.at[j])));
    }
    store_unit(dx + at_x, result);
  }
}

void CudaBackend::launch_norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x,
                                       const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                                       const NormAct& p) {
  if (mean.elements() == 0) return;
  const std::int64_t channels = mean.shape().last(), outer = outer_of(mean), rows = dy.shape().rows() / outer;
  const NormArguments arguments = norm_arguments(mean, var, gamma, beta, p);
  const PixelOrder order(p.from, dy.shape());
  Tensor affine = Tensor::empty(*this, {2, outer, channels});
  Tensor dgammas = outer == 1 ? dgamma : Tensor::empty(*this, {outer, channels});
  Tensor dbetas = outer == 1 ? dbeta : Tensor::empty(*this, {outer, channels});
  with_float(x.dtype(), [&]<class T>(T) {
    with_unit(channels, [&]<int N>(std::integral_constant<int, N>) {
      const ChannelWalk walk = sum_walk(outer, rows, channels / N), apply = map_walk(outer, rows, channels / N);
      Tensor parts = Tensor::empty(*this, {2, outer, walk.chunks, channels});
      PASTICHE_CUDA_CHECK(launch(norm_act_grad_sums_kernel<T, N>,
                                 {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads},
                                 parts.mutable_data<float>(), dy.data<T>(), x.data<T>(), arguments, walk, order));
      const int width = parts_width(outer * channels);
      PASTICHE_CUDA_CHECK(launch(norm_act_grad_parts_kernel,
                                 {.stream = stream(), .blocks = grid(ceil_div(outer * channels, width)), .threads = walk_threads},
                                 dgammas.mutable_data<float>(), dbetas.mutable_data<float>(), affine.mutable_data<float>(),
                                 parts.data<float>(), arguments, outer, rows * p.group, walk.chunks, channels, width));
      if (outer > 1) {
        finish_sums(stream(), dgamma, dgammas.data<float>(), 1, outer, channels);
        finish_sums(stream(), dbeta, dbetas.data<float>(), 1, outer, channels);
      }
      if (p.group > 1) {
        const std::int64_t groups = affine.elements() / p.group;
        Tensor sums = Tensor::empty(*this, {groups}), spread = affine.reshaped({groups, p.group});
        launch_sum(sums, spread, 1);
        launch_broadcast(spread, sums, 1);
      }
      PASTICHE_CUDA_CHECK(launch(norm_act_grad_kernel<T, N>,
                                 {.stream = stream(), .blocks = apply.blocks(), .threads = walk_threads}, dx.mutable_data<T>(),
                                 dy.data<T>(), x.data<T>(), affine.data<float>(), arguments, apply, order));
    });
  });
}

// ---- running statistics ----------------------------------------------------------------------------------------------
__global__ __launch_bounds__(map_threads) void update_running_stats_kernel(float* running_mean, float* running_var,
                                                                           const float* mean, const float* var,
                                                                           std::int64_t channels, float momentum,
                                                                           float var_scale) {
  const std::int64_t c = std::int64_t{blockIdx.x} * map_threads + threadIdx.x;
  if (c >= channels) return;
  running_mean[c] = fmaf(momentum, mean[c] - running_mean[c], running_mean[c]);
  running_var[c] = fmaf(momentum, fmaf(var_scale, var[c], -running_var[c]), running_var[c]);
}

void CudaBackend::launch_update_running_stats(Tensor& running_mean, Tensor& running_var, const Tensor& mean, const Tensor& var,
                                              const RunningStats& p) {
  const std::int64_t channels = mean.elements();
  if (channels == 0) return;
  PASTICHE_CUDA_CHECK(launch(update_running_stats_kernel,
                             {.stream = stream(), .blocks = grid(ceil_div(channels, map_threads)), .threads = map_threads},
                             running_mean.mutable_data<float>(), running_var.mutable_data<float>(), mean.data<float>(),
                             var.data<float>(), channels, static_cast<float>(p.momentum), static_cast<float>(p.var_scale)));
}

}  // namespace pastiche::PASTICHE_TARGET
