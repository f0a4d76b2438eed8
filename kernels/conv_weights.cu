// Weights put in order for the convolution kernels: folded where the input is upsampled, and their gradient unfolded; transposed for
// the data gradient. Small against the convolution, so plain: one element a thread, or 32 x 32 through shared memory.
#include "conv.cuh"
#include "mma.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

constexpr int threads = 256;

// Thread i of [4,K,T,T,C]: adds up the up to four weights that fall on its tap.
__global__ __launch_bounds__(threads) void fold_weights_kernel(float* folded, const float* w, Fold fold, Divider c, Divider k,
                                                               std::uint32_t count) {
  const std::uint32_t index = blockIdx.x * threads + threadIdx.x;
  if (index >= count) return;
  const auto taps = static_cast<std::uint32_t>(fold.taps);
  const std::uint32_t at = c(index), channel = index - at * c.divisor;  // [4,K,T,T]
  const std::uint32_t line = at / taps, column = at - line * taps, filter = line / taps, row = line - filter * taps;
  const std::uint32_t phase = k(filter), first = filter - phase * k.divisor;  // of w
  const int i = static_cast<int>(phase / 2), j = static_cast<int>(phase % 2);
  float sum = 0;
  for (int r = 0; r < fold.unfolded; ++r) {
    if (fold.place(i, r) != static_cast<int>(row)) continue;
    for (int s = 0; s < fold.unfolded; ++s) {
      if (fold.place(j, s) != static_cast<int>(column)) continue;
      sum += w[(std::int64_t{first} * fold.unfolded * fold.unfolded + r * fold.unfolded + s) * c.divisor + channel];
    }
  }
  folded[index] = sum;
}

// Thread i of [K,R,R,C]: every phase has one tap that its weight is part of.
__global__ __launch_bounds__(threads) void unfold_weights_kernel(float* dw, const float* folded, Fold fold, Divider c,
                                                                 std::uint32_t filters, std::uint32_t count) {
  const std::uint32_t index = blockIdx.x * threads + threadIdx.x;
  if (index >= count) return;
  const auto taps = static_cast<std::uint32_t>(fold.unfolded);
  const std::uint32_t at = c(index), channel = index - at * c.divisor;  // [K,R,R]
  const std::uint32_t line = at / taps, s = at - line * taps, filter = line / taps, r = line - filter * taps;
  float part[4];
  for (int phase = 0; phase < 4; ++phase) {
    const int row = fold.place(phase / 2, static_cast<int>(r)), column = fold.place(phase % 2, static_cast<int>(s));
    const std::int64_t tap = ((std::int64_t{phase} * filters + filter) * fold.taps + row) * fold.taps + column;
    part[phase] = folded[tap * c.divisor + channel];
  }
  dw[index] = (part[0] + part[1]) + (part[2] + part[3]);
}

// Thread i: four of the packed weights.
template <class T>
__global__ __launch_bounds__(threads) void pack_weights_kernel(T* packed, const float* w, Divider row_fours, int channels,
                                                               std::uint32_t count) {
  const std::uint32_t index = blockIdx.x * threads + threadIdx.x;
  if (index >= count) return;
  const std::uint32_t row = row_fours(index);
  const int channel = static_cast<int>(index - row * row_fours.divisor) * 4;
  Vector<float, 4> four{};
  if (channel < channels) four = load_vector<4>(w + (std::int64_t{row} * channels + channel));
  Vector<T, 4> rounded;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    if constexpr (std::is_same_v<T, float>) rounded.at[e] = round_to_tf32(four.at[e]);
    else rounded.at[e] = from_float<T>(four.at[e]);
  }
  store_vector(packed + std::int64_t{index} * 4, rounded);
}

constexpr int turn_edge = 32, max_turned = 256;

// to[o, c, place[m], r] = from[o, r, m, c], for some of the m: matrices of rows x columns, each turned.
struct Turn {
  int outer, rows, middle, columns;
  std::int64_t to_outer, to_column;  // how far apart neighbouring o and c are in `to`
  int first, count;                  // of the m
  int place[max_turned];             // from `first` on
};

__global__ __launch_bounds__(threads, 4) void turn_kernel(float* to, const float* from, const __grid_constant__ Turn t) {
  constexpr int lines = threads / turn_edge, turns = turn_edge / lines;  // of the tile at a time
  __shared__ float tile[turn_edge][turn_edge + 1];
  const int x = static_cast<int>(threadIdx.x) % turn_edge, y = static_cast<int>(threadIdx.x) / turn_edge;
  const int across = (t.columns + turn_edge - 1) / turn_edge, down = (t.rows + turn_edge - 1) / turn_edge;
  const int matrix = static_cast<int>(blockIdx.x) / (across * down), in_matrix = static_cast<int>(blockIdx.x) % (across * down);
  const std::int64_t o = matrix / t.count;
  const int m = matrix % t.count, row = in_matrix / across * turn_edge, column = in_matrix % across * turn_edge;
#pragma unroll
  for (int turn = 0; turn < turns; ++turn) {
    const int i = y + turn * lines;
    if (row + i < t.rows && column + x < t.columns) {
      tile[i][x] = from[((o * t.rows + row + i) * t.middle + t.first + m) * t.columns + column + x];
    }
  }
  __syncthreads();
#pragma unroll
  for (int turn = 0; turn < turns; ++turn) {
    const int i = y + turn * lines;
    if (row + x < t.rows && column + i < t.columns) {
      to[o * t.to_outer + (column + i) * t.to_column + std::int64_t{t.place[m]} * t.rows + row + x] = tile[x][i];
    }
  }
}

Tensor turned(CudaBackend& backend, const Tensor& w, Turn t, std::span<const int> places) {
  Tensor to = Tensor::empty(backend, {w.elements()});
  const std::int64_t blocks = t.outer * ceil_div(t.rows, turn_edge) * ceil_div(t.columns, turn_edge);
  if (blocks == 0) return to;
  for (t.first = 0; t.first < t.middle; t.first += t.count) {
    t.count = std::min(t.middle - t.first, max_turned);
    for (int m = 0; m < t.count; ++m) {
      t.place[m] = places.empty() ? t.first + m : places[static_cast<std::size_t>(t.first + m)];
    }
    PASTICHE_CUDA_CHECK(launch(turn_kernel, {.stream = backend.stream(), .blocks = grid(blocks * t.count), .threads = threads},
                               to.mutable_data<float>(), w.data<float>(), t));
  }
  return to;
}

}  // namespace

Tensor fold_weights(CudaBackend& backend, const Tensor& w) {
  const Fold fold(w.shape()[1]);
  Tensor folded = Tensor::empty(backend, {4, w.shape()[0], std::int64_t{fold.taps} * fold.taps, w.shape()[3]});
  const std::uint32_t count = checked_index(folded.elements(), "folded weights");
  if (count > 0) {
    PASTICHE_CUDA_CHECK(launch(fold_weights_kernel, {.stream = backend.stream(), .blocks = grid(ceil_div(count, threads)),
                                                     .threads = threads},
                               folded.mutable_data<float>(), w.data<float>(), fold, divider(w.shape()[3]),
                               divider(w.shape()[0]), count));
  }
  return folded;
}

void unfold_weights(const CudaBackend& backend, Tensor& dw, const float* folded) {
  const std::uint32_t count = checked_index(dw.elements(), "weights");
  PASTICHE_CUDA_CHECK(launch(unfold_weights_kernel, {.stream = backend.stream(), .blocks = grid(ceil_div(count, threads)),
                                                     .threads = threads},
                             dw.mutable_data<float>(), folded, Fold(dw.shape()[1]), divider(dw.shape()[3]),
                             checked_index(dw.shape()[0], "channels"), count));
}

template <class T> Tensor pack_weights(CudaBackend& backend, const Tensor& w, std::int64_t channels, std::int64_t multiple) {
  const std::int64_t rows = w.elements() / channels, padded = ceil_div(channels, multiple) * multiple;
  Tensor packed = Tensor::empty(backend, {rows, padded}, std::is_same_v<T, float> ? DType::f32 : DType::bf16);
  const std::uint32_t count = checked_index(packed.elements(), "packed weights") / 4;
  PASTICHE_CUDA_CHECK(launch(pack_weights_kernel<T>, {.stream = backend.stream(), .blocks = grid(ceil_div(count, threads)),
                                                        .threads = threads},
                             packed.mutable_data<T>(), w.data<float>(), divider(padded / 4), static_cast<int>(channels), count));
  return packed;
}
template Tensor pack_weights<float>(CudaBackend&, const Tensor&, std::int64_t, std::int64_t);
template Tensor pack_weights<BFloat16>(CudaBackend&, const Tensor&, std::int64_t, std::int64_t);

Tensor turn_weights(CudaBackend& backend, const Tensor& w, std::int64_t groups, std::span<const int> places) {
  const std::int64_t k = w.shape()[0] / groups, taps = w.shape()[1] * w.shape()[2], c = w.shape()[3];
  Turn t{};
  t.outer = static_cast<int>(groups);
  t.rows = static_cast<int>(k);
  t.middle = static_cast<int>(taps);
  t.columns = static_cast<int>(c);
  t.to_outer = c * taps * k;
  t.to_column = taps * k;
  return turned(backend, w, t, places);
}

Tensor turn_folded_weights(CudaBackend& backend, const Tensor& folded) {
  const std::int64_t k = folded.shape()[1], taps = folded.shape()[2], c = folded.shape()[3];
  Turn t{};
  t.outer = 4;
  t.rows = static_cast<int>(k);
  t.middle = static_cast<int>(taps);
  t.columns = static_cast<int>(c);
  t.to_outer = taps * k;
  t.to_column = 4 * taps * k;
  return turned(backend, folded, t, {});
}

}  // namespace pastiche::PASTICHE_TARGET
