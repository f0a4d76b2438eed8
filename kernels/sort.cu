// Sorting along an axis, and moving elements by the order found. The formulas stand in kernels.def.
// Policy: a stable radix sort, least significant digit first (Merrill and Grimshaw, "High performance and scalable radix sorting", 2011),
// of all lines at once. Lines are transposed so that each is in one piece, as unsigned keys in the order of the numbers. For each digit
// of 8 bits, a block counts the digits of a tile of its line, one block a line adds the counts up to where each tile's digits
// begin, and the tiles scatter their keys there. A warp ranks 32 keys at a time: lanes with the same digit find each other by votes, so
// that no counter needs an atomic and the order is that of the line. gather and scatter take one element a thread.
#include "backends/axis_view.h"
#include "backends/cuda/cuda.h"
#include "indexing.cuh"

namespace pastiche::PASTICHE_TARGET {

constexpr int sort_threads = 256, sort_warps = sort_threads / warp_size, sort_rounds = 8;
constexpr int sort_tile = sort_threads * sort_rounds;  // keys of a block
constexpr int digit_bits = 8, digits = 1 << digit_bits;
static_assert(digits == sort_threads);  // a thread has a digit where counts are added

// ---- keys ------------------------------------------------------------------------------------------------------------
// Unsigned integers in the order of the numbers (totalOrder of IEEE 754), and back; those of bf16 have 16 zeros below.
struct KeyOf {
  template <class T> __device__ std::uint32_t operator()(T v) const {
    const std::uint32_t bits = __float_as_uint(to_float(v));
    return bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
  }
};
template <class T> struct ValueOf {
  __device__ T operator()(std::uint32_t key) const {
    return as_stored<T>(__uint_as_float(key ^ (key >> 31 != 0 ? 0x80000000u : 0xffffffffu)));
  }
};
struct AsIs {
  __device__ std::int32_t operator()(std::int32_t v) const { return v; }
};

// ---- transpose -------------------------------------------------------------------------------------------------------
constexpr int edge = warp_size, edge_lines = sort_threads / edge;

// to[outer, columns, rows] = convert(from[outer, rows, columns])
struct TransposePlan {
  Divider tiles_across, tiles_down;
  std::uint32_t rows, columns;
};

template <class To, class From, class Convert>
__global__ __launch_bounds__(sort_threads) void transpose_kernel(To* to, const From* from, TransposePlan plan, Convert convert) {
  constexpr bool early = sizeof(To) >= sizeof(From);  // what lies in shared memory has four bytes, one bank each
  __shared__ std::conditional_t<early, To, From> tile[edge][edge + 1];
  const std::uint32_t set = plan.tiles_across(blockIdx.x), outer = plan.tiles_down(set);
  const std::uint32_t column0 = (blockIdx.x - set * plan.tiles_across.divisor) * edge, row0 = (set - outer * plan.tiles_down.divisor) * edge;
  const std::uint32_t x = threadIdx.x % edge, y = threadIdx.x / edge;
  const std::int64_t first = std::int64_t{outer} * plan.rows * plan.columns;
  for (std::uint32_t i = y; i < edge; i += edge_lines) {
    const std::uint32_t row = row0 + i, column = column0 + x;
    if (row >= plan.rows || column >= plan.columns) continue;
    const From value = from[first + std::int64_t{row} * plan.columns + column];
    if constexpr (early) tile[i][x] = convert(value);
    else tile[i][x] = value;
  }
  __syncthreads();
  for (std::uint32_t i = y; i < edge; i += edge_lines) {
    const std::uint32_t column = column0 + i, row = row0 + x;
    if (row >= plan.rows || column >= plan.columns) continue;
    To& value = to[first + std::int64_t{column} * plan.rows + row];
    if constexpr (early) value = tile[x][i];
    else value = convert(tile[x][i]);
  }
}

// ---- one digit -------------------------------------------------------------------------------------------------------
// keys [lines, n], in tiles; counts [lines, tiles, digits]
struct DigitPlan {
  Divider tiles;  // of a line
  std::uint32_t n;
  int shift;  // of the digit in a key
};

// For each key of this thread's, round by round: visit(round, key, its digit, how many of its warp's keys with that digit stand
// before it). counts[warp] are then how many there are of each.
template <class Visit>
__device__ inline void rank_digits(std::uint32_t (&counts)[sort_warps][digits], const std::uint32_t* line, std::uint32_t tile, const DigitPlan& plan,
                                   Visit visit) {
  const std::uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const std::uint32_t first = tile * sort_tile + warp * (warp_size * sort_rounds) + lane;
  const unsigned below = (1u << lane) - 1;
  for (int i = 0; i < sort_warps; ++i) counts[i][threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < sort_rounds; ++round) {
    const std::uint32_t index = first + round * warp_size;
    const bool inside = index < plan.n;
    const std::uint32_t key = inside ? line[index] : 0;
    const std::uint32_t digit = inside ? key >> plan.shift & (digits - 1) : digits;  // those outside are their own peers
    unsigned peers = all_lanes;
#pragma unroll
    for (int bit = 0; bit <= digit_bits; ++bit) {
      const bool set = (digit >> bit & 1u) != 0;
      const unsigned votes = __ballot_sync(all_lanes, set);
      peers &= set ? votes : ~votes;
    }
    const std::uint32_t before = __popc(peers & below), counted = inside ? counts[warp][digit] : 0;
    __syncwarp();
    if (inside && before == 0) counts[warp][digit] = counted + __popc(peers);
    __syncwarp();
    if (inside) visit(round, key, digit, counted + before);
  }
  __syncthreads();
}

__global__ __launch_bounds__(sort_threads) void sort_count_kernel(std::uint32_t* tile_counts, const std::uint32_t* keys, DigitPlan plan) {
  __shared__ std::uint32_t counts[sort_warps][digits];
  const std::uint32_t line = plan.tiles(blockIdx.x), tile = blockIdx.x - line * plan.tiles.divisor;
  rank_digits(counts, keys + std::int64_t{line} * plan.n, tile, plan, [](int, std::uint32_t, std::uint32_t, std::uint32_t) {});
  std::uint32_t sum = 0;
  for (int warp = 0; warp < sort_warps; ++warp) sum += counts[warp][threadIdx.x];
  tile_counts[std::int64_t{blockIdx.x} * digits + threadIdx.x] = sum;
}

// Counts become where, in the line, the digits of each tile begin. A block has a line, a thread a digit.
__global__ __launch_bounds__(sort_threads) void sort_scan_kernel(std::uint32_t* tile_counts, std::uint32_t tiles) {
  __shared__ std::uint32_t sums[2][digits];
  std::uint32_t* const of_digit = tile_counts + std::int64_t{blockIdx.x} * tiles * digits + threadIdx.x;
  std::uint32_t total = 0;
  for (std::uint32_t tile = 0; tile < tiles; ++tile) total += of_digit[std::int64_t{tile} * digits];
  sums[0][threadIdx.x] = total;
  int from = 0;
  for (std::uint32_t distance = 1; distance < digits; distance *= 2) {
    __syncthreads();
    sums[1 - from][threadIdx.x] = sums[from][threadIdx.x] + (threadIdx.x >= distance ? sums[from][threadIdx.x - distance] : 0);
    from = 1 - from;
  }
  std::uint32_t begin = sums[from][threadIdx.x] - total;
  for (std::uint32_t tile = 0; tile < tiles; ++tile) {
    const std::uint32_t count = of_digit[std::int64_t{tile} * digits];
    of_digit[std::int64_t{tile} * digits] = begin;
    begin += count;
  }
}

// order: of each key, the index that its number had; none for the first digit, where it is that of the key
__global__ __launch_bounds__(sort_threads) void sort_scatter_kernel(std::uint32_t* keys_out, std::int32_t* order_out, const std::uint32_t* keys,
                                                                    const std::int32_t* order, const std::uint32_t* begins, DigitPlan plan) {
  __shared__ std::uint32_t counts[sort_warps][digits];
  const std::uint32_t line = plan.tiles(blockIdx.x), tile = blockIdx.x - line * plan.tiles.divisor;
  const std::int64_t first = std::int64_t{line} * plan.n;
  std::uint32_t key[sort_rounds], digit[sort_rounds], rank[sort_rounds];
  for (std::uint32_t& d : digit) d = digits;
  rank_digits(counts, keys + first, tile, plan, [&](int round, std::uint32_t its_key, std::uint32_t its_digit, std::uint32_t its_rank) {
    key[round] = its_key;
    digit[round] = its_digit;
    rank[round] = its_rank;
  });
  std::uint32_t begin = begins[std::int64_t{blockIdx.x} * digits + threadIdx.x];
  for (int warp = 0; warp < sort_warps; ++warp) {
    const std::uint32_t count = counts[warp][threadIdx.x];
    counts[warp][threadIdx.x] = begin;
    begin += count;
  }
  __syncthreads();
  const std::uint32_t warp = threadIdx.x / warp_size;
  const std::uint32_t index0 = tile * sort_tile + warp * (warp_size * sort_rounds) + threadIdx.x % warp_size;
#pragma unroll
  for (int round = 0; round < sort_rounds; ++round) {
    if (digit[round] == digits) continue;
    const std::uint32_t index = index0 + round * warp_size;
    const std::int64_t to = first + counts[warp][digit[round]] + rank[round];
    keys_out[to] = key[round];
    order_out[to] = order == nullptr ? static_cast<std::int32_t>(index) : order[first + index];
  }
}

// ---- gather and scatter ----------------------------------------------------------------------------------------------
// Elements [outer, extent, inner], each of which moves within its line.
struct ReorderPlan {
  std::uint32_t elements;
  Divider inner, extent;
};

template <class T, bool gathers>
__global__ __launch_bounds__(sort_threads) void reorder_kernel(T* y, const T* x, const std::int32_t* order, ReorderPlan plan) {
  const std::uint32_t at = blockIdx.x * sort_threads + threadIdx.x;
  if (at >= plan.elements) return;
  const std::uint32_t row = plan.inner(at), outer = plan.extent(row);
  const std::uint32_t first = outer * plan.extent.divisor * plan.inner.divisor + (at - row * plan.inner.divisor);
  const std::uint32_t ordered = first + static_cast<std::uint32_t>(order[at]) * plan.inner.divisor;
  if constexpr (gathers) y[at] = x[ordered];
  else y[ordered] = x[at];
}

namespace {

template <class To, class From, class Convert>
void transpose(cudaStream_t stream, To* to, const From* from, std::int64_t outer, std::int64_t rows, std::int64_t columns, Convert convert) {
  const std::int64_t across = ceil_div(columns, edge), down = ceil_div(rows, edge);
  const TransposePlan plan{.tiles_across = Divider(checked_index(across, "tiles of a transposition")),
                           .tiles_down = Divider(checked_index(down, "tiles of a transposition")),
                           .rows = checked_index(rows, "rows of a transposition"),
                           .columns = checked_index(columns, "columns of a transposition")};
  PASTICHE_CUDA_CHECK(launch(transpose_kernel<To, From, Convert>, {.stream = stream, .blocks = grid(outer * across * down), .threads = sort_threads},
                             to, from, plan, convert));
}

template <bool gathers> void reorder(cudaStream_t stream, Tensor& y, const Tensor& x, const Tensor& order, int axis) {
  if (y.elements() == 0) return;
  const AxisView view(x.shape(), axis);
  const ReorderPlan plan{.elements = checked_index(y.elements(), "elements of a tensor"),
                         .inner = Divider(static_cast<std::uint32_t>(view.inner)),
                         .extent = Divider(static_cast<std::uint32_t>(view.extent))};
  with_float(x.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(reorder_kernel<T, gathers>,
                               {.stream = stream, .blocks = grid(ceil_div(plan.elements, sort_threads)), .threads = sort_threads},
                               y.mutable_data<T>(), x.data<T>(), order.data<std::int32_t>(), plan));
  });
}

}  // namespace

void CudaBackend::launch_sort(Tensor& y, Tensor& order, const Tensor& x, int axis) {
  if (y.elements() == 0) return;
  const AxisView view(x.shape(), axis);
  const std::int64_t lines = view.outer * view.inner, tiles = ceil_div(view.extent, sort_tile);
  checked_index(lines * tiles, "tiles to sort");
  struct Keys {
    Tensor keys, order;
  };
  const auto make = [&] {
    return Keys{Tensor::empty(*this, {lines, view.extent}, DType::i32), Tensor::empty(*this, {lines, view.extent}, DType::i32)};
  };
  const auto keys_of = [](Tensor& keys) { return reinterpret_cast<std::uint32_t*>(keys.mutable_data<std::int32_t>()); };
  Keys from = make(), to = make();
  Tensor counts = Tensor::empty(*this, {lines, tiles, digits}, DType::i32);
  DigitPlan plan{.tiles = Divider(static_cast<std::uint32_t>(tiles)), .n = static_cast<std::uint32_t>(view.extent), .shift = 0};
  const LaunchShape of_tiles{.stream = stream(), .blocks = grid(lines * tiles), .threads = sort_threads};
  with_float(x.dtype(), [&]<class T>(T) {
    transpose(stream(), keys_of(from.keys), x.data<T>(), view.outer, view.extent, view.inner, KeyOf{});
    constexpr int first_shift = sizeof(T) == 2 ? 16 : 0;
    for (plan.shift = first_shift; plan.shift < 32; plan.shift += digit_bits) {
      PASTICHE_CUDA_CHECK(launch(sort_count_kernel, of_tiles, keys_of(counts), keys_of(from.keys), plan));
      PASTICHE_CUDA_CHECK(launch(sort_scan_kernel, {.stream = stream(), .blocks = grid(lines), .threads = sort_threads}, keys_of(counts),
                                 static_cast<std::uint32_t>(tiles)));
      const std::int32_t* const before = plan.shift == first_shift ? nullptr : from.order.data<std::int32_t>();
      PASTICHE_CUDA_CHECK(launch(sort_scatter_kernel, of_tiles, keys_of(to.keys), to.order.mutable_data<std::int32_t>(), keys_of(from.keys), before,
                                 keys_of(counts), plan));
      std::swap(from, to);
    }
    transpose(stream(), y.mutable_data<T>(), keys_of(from.keys), view.outer, view.inner, view.extent, ValueOf<T>{});
  });
  transpose(stream(), order.mutable_data<std::int32_t>(), from.order.data<std::int32_t>(), view.outer, view.inner, view.extent, AsIs{});
}

void CudaBackend::launch_gather(Tensor& y, const Tensor& x, const Tensor& order, int axis) { reorder<true>(stream(), y, x, order, axis); }
void CudaBackend::launch_scatter(Tensor& y, const Tensor& x, const Tensor& order, int axis) { reorder<false>(stream(), y, x, order, axis); }

}  // namespace pastiche::PASTICHE_TARGET
