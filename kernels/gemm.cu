// y[M,N] = op(a) op(b). Operands are read as they are stored: along the reduction where it is the last axis, else across it.
// Where the last axis of one is not a multiple of four, a slower kernel reads single elements, of any strides. bf16, and f32 as TF32, go to
// tensor cores where they can (gemm_mma.cu).
// Policy: sums in f32, in ascending order of the reduction. A long reduction with few columns is cut (split-K) into parts that depend on K
// and N alone, so that a row's bits do not depend on how many rows there are. The size of the tile changes no bits.
#include <algorithm>

#include "gemm_mma.cuh"
#include "ladder/ladder.cuh"
#include "launch.cuh"
#include "split.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

template <class T> struct GemmParameters {
  const T* a;
  const T* b;
  void* y;               // [parts,M,N]
  bool y_bf16;
  int m, n, k;           // op(a) [m,k], op(b) [k,n]
  int a_line, a_bytes;   // how far apart rows of op(a) are, and in bytes the elements of a row
  int b_line, b_bytes;   // likewise for columns of op(b)
  int part;              // length of a part of the reduction
  int tiles_n;
};

// A row of op(a) or a column of op(b). contiguous: its elements stand side by side.
template <class T, bool contiguous> struct MatrixLine {
  using Element = T;
  struct Place {
    const T* from;  // element k of the block's first line
    bool inside;
  };
  const T* block;  // the block's first line
  int line;        // how far this one is from it
  int bytes, end;  // between its elements; of the part

  __device__ Place place(int k) const { return {contiguous ? further(block, k) : further(block, k, bytes), k < end}; }
  __device__ bool has(const Place& place) const { return place.inside; }
  __device__ const T* at(const Place& place) const { return further(place.from, line); }
};

// aligned: n is known to be a multiple of four.
template <bool aligned, class T, class Block> __device__ void write_tile(const GemmParameters<T>& p, const Block& tile, int m0, int n0) {
  tile.each_four([&](int m, int n, const Vector<float, 4>& four) {
    m += m0;
    n += n0;
    if (m >= p.m) return;
    const std::int64_t at = (static_cast<std::int64_t>(blockIdx.y) * p.m + m) * p.n + n;
    if (p.y_bf16) store_four(static_cast<BFloat16*>(p.y) + at, four, p.n - n, aligned || p.n % 4 == 0);
    else store_four(static_cast<float*>(p.y) + at, four, p.n - n, aligned || p.n % 4 == 0);
  });
}

// The last axes of a and b are multiples of four. Lines past the edge repeat the last: what comes of them is not written.
template <class T, class Block, bool ta, bool tb>
__global__ __launch_bounds__(Block::threads, Block::blocks) void gemm_kernel(const GemmParameters<T> p) {
  using A = std::conditional_t<ta, typename Block::template AlongOuterOfA<MatrixLine<T, false>, true>,
                               typename Block::template AlongKOfA<MatrixLine<T, true>, true>>;
  using B = std::conditional_t<tb, typename Block::template AlongKOfB<MatrixLine<T, true>, true>,
                               typename Block::template AlongOuterOfB<MatrixLine<T, false>, true>>;
  const int tile_index = static_cast<int>(blockIdx.x);
  const int m0 = tile_index / p.tiles_n * Block::m, n0 = tile_index % p.tiles_n * Block::n;
  const int begin = static_cast<int>(blockIdx.y) * p.part, end = min(begin + p.part, p.k);
  const T* const rows = p.a + static_cast<std::int64_t>(m0) * p.a_line;
  const T* const columns = p.b + static_cast<std::int64_t>(n0) * p.b_line;
  A a([&](int i) { return typename A::Line{rows, min(i, p.m - m0 - (ta ? 4 : 1)) * (ta ? 1 : p.a_line), p.a_bytes, end}; });
  B b([&](int i) { return typename B::Line{columns, min(i, p.n - n0 - (tb ? 1 : 4)) * (tb ? p.b_line : 1), p.b_bytes, end}; });
  Block tile;
  tile.sum(a, b, begin, end);
  write_tile<!tb>(p, tile, m0, n0);
}

using SmallTile = Tile<64, 64, 8, 4>;
// One block a multiprocessor, at 130 to 157 registers. Held to 128, which two would need, it spills on all but sm_90.
using LargeTile = Tile<128, 128, 8, 8>;

template <class T>
__global__ __launch_bounds__(SmallTile::threads, SmallTile::blocks) void gemm_any_kernel(const GemmParameters<T> p) {
  const int tile_index = static_cast<int>(blockIdx.x);
  const int m0 = tile_index / p.tiles_n * SmallTile::m, n0 = tile_index % p.tiles_n * SmallTile::n;
  const int begin = static_cast<int>(blockIdx.y) * p.part, end = min(begin + p.part, p.k);
  using Line = MatrixLine<T, false>;
  const T* const rows = p.a + static_cast<std::int64_t>(m0) * p.a_line;
  const T* const columns = p.b + static_cast<std::int64_t>(n0) * p.b_line;
  SmallTile::AlongKOfA<Line, false> a([&](int i) {
    return Line{rows, min(i, p.m - m0 - 1) * p.a_line, p.a_bytes, end};
  });
  SmallTile::AlongKOfB<Line, false> b([&](int i) {
    return Line{columns, min(i, p.n - n0 - 1) * p.b_line, p.b_bytes, end};
  });
  SmallTile tile;
  tile.sum(a, b, begin, end);
  write_tile<false>(p, tile, m0, n0);
}

constexpr int sum_threads = 256;

template <class T>
__global__ __launch_bounds__(sum_threads) void sum_parts_kernel(T* y, const float* parts, int count, std::int64_t length) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * sum_threads + threadIdx.x;
  if (i >= length) return;
  float sum = parts[i];
  for (int part = 1; part < count; ++part) sum += parts[part * length + i];
  y[i] = from_float<T>(sum);
}

template <class T, class Block> void launch_tiles(const CudaBackend& backend, GemmParameters<T> p, int parts, bool ta, bool tb) {
  p.tiles_n = static_cast<int>(ceil_div(p.n, Block::n));
  const auto tiles = static_cast<unsigned>(ceil_div(p.m, Block::m) * p.tiles_n);
  const auto kernel = ta ? (tb ? gemm_kernel<T, Block, true, true> : gemm_kernel<T, Block, true, false>)
                         : (tb ? gemm_kernel<T, Block, false, true> : gemm_kernel<T, Block, false, false>);
  PASTICHE_CUDA_CHECK(launch(kernel, {.stream = backend.stream(), .blocks = dim3(tiles, static_cast<unsigned>(parts)),
                                      .threads = Block::threads}, p));
}

template <class T> void launch_any(const CudaBackend& backend, GemmParameters<T> p, int parts) {
  p.tiles_n = static_cast<int>(ceil_div(p.n, SmallTile::n));
  const auto tiles = static_cast<unsigned>(ceil_div(p.m, SmallTile::m) * p.tiles_n);
  PASTICHE_CUDA_CHECK(launch(gemm_any_kernel<T>, {.stream = backend.stream(), .blocks = dim3(tiles, static_cast<unsigned>(parts)),
                                                  .threads = SmallTile::threads}, p));
}

// Enough parts for some 64 blocks, were there one row of tiles, each at least 256 long.
std::int64_t wanted_parts(std::int64_t n, std::int64_t k) {
  return std::max<std::int64_t>(std::min(64 / ceil_div(n, SmallTile::n), k / 256), 1);
}

}  // namespace

void sum_parts(const CudaBackend& backend, Tensor& y, const float* parts, int count) {
  const std::int64_t length = y.elements();
  with_float(y.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(sum_parts_kernel<T>, {.stream = backend.stream(), .blocks = grid(ceil_div(length, sum_threads)),
                                                     .threads = sum_threads},
                               y.mutable_data<T>(), parts, count, length));
  });
}

void CudaBackend::launch_gemm(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) {
  const bool ta = p.a == Transpose::yes, tb = p.b == Transpose::yes;
  const int rung = tb && !ta ? kernels_.gemm.value_or(top_rung) : top_rung;
  for (const DType dtype : {y.dtype(), a.dtype(), b.dtype()}) {
    if (rung < double_buffer_rung) require_dtype({.gemm = rung}, dtype);
  }
  if (a.dtype() != b.dtype()) {  // narrowing a weight would round it: the other factor is widened
    const bool widen_a = a.dtype() == DType::bf16;
    Tensor wide = Tensor::empty(*this, (widen_a ? a : b).shape());
    launch_cast(wide, widen_a ? a : b);
    launch_gemm(y, widen_a ? wide : a, widen_a ? b : wide, p);
    return;
  }
  const auto m = static_cast<int>(checked_index(y.shape()[0], "rows"));
  const auto n = static_cast<int>(checked_index(y.shape()[1], "columns"));
  const auto k = static_cast<int>(checked_index(a.shape()[ta ? 0 : 1], "products of a sum"));
  if (m == 0 || n == 0) return;
  checked_index(4 * LargeTile::m * a.shape()[1], "bytes of a tile's rows");
  checked_index(4 * LargeTile::m * b.shape()[1], "bytes of a tile's rows");
  if (rung < double_buffer_rung) return gemm_rung(*this, rung, y, a, b);
  if (rung == top_rung && can_gemm_mma(*this, y, a, b)) return gemm_mma(*this, y, a, b, p);
  const Split split(k, wanted_parts(n, k));
  Tensor parts = split.count > 1 ? Tensor::empty(*this, {split.count, m, n}) : y;
  with_float(a.dtype(), [&]<class T>(T) {
    constexpr int bytes = sizeof(T);
    const GemmParameters<T> g{.a = a.data<T>(), .b = b.data<T>(),
                              .y = parts.mutable_raw(), .y_bf16 = parts.dtype() == DType::bf16,
                              .m = m, .n = n, .k = k,
                              .a_line = ta ? 1 : k, .a_bytes = (ta ? m : 1) * bytes,
                              .b_line = tb ? k : 1, .b_bytes = (tb ? 1 : n) * bytes,
                              .part = split.length, .tiles_n = 0};
    // Large tiles where none would be more than half empty for want of rows or columns, and every multiprocessor gets one.
    const bool large = m > SmallTile::m && n > SmallTile::n &&
                       ceil_div(m, LargeTile::m) * ceil_div(n, LargeTile::n) * split.count >= multiprocessors();
    if (a.shape()[1] % 4 != 0 || b.shape()[1] % 4 != 0) {
      launch_any(*this, g, split.count);
    } else if (large) {
      launch_tiles<T, LargeTile>(*this, g, split.count, ta, tb);
    } else {
      launch_tiles<T, SmallTile>(*this, g, split.count, ta, tb);
    }
  });
  if (split.count > 1) sum_parts(*this, y, parts.data<float>(), split.count);
}

}  // namespace pastiche::PASTICHE_TARGET
