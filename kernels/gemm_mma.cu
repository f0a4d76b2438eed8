// y[M,N] = op(a) op(b) on tensor cores: operands of which all last axes are multiples of 8, in bf16, or in f32 as TF32. Tiles at the edge
// repeat its lines, and their results are not written. Policy: as in gemm.cu; the tile changes no bits.
#include <algorithm>

#include "gemm_mma.cuh"
#include "mma_tile.cuh"
#include "split.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

template <class T> struct MmaGemm {
  const T *a, *b;
  void* y;                // [parts,M,N]
  bool y_bf16;
  int m, n, k;            // op(a) [m,k], op(b) [k,n]
  int a_bytes, b_bytes;   // of a row, as they are stored
  int part;               // length of a part of the reduction
  int tiles_n;
};

template <class Block, bool ta, bool tb>
__global__ __launch_bounds__(Block::threads, Block::blocks) void gemm_mma_kernel(const MmaGemm<typename Block::Element> p) {
#ifdef PASTICHE_MMA
  using T = typename Block::Element;
  using A = std::conditional_t<ta, MmaAcross<T, Block::m>, MmaAlongK<T, Block::m>>;
  using B = std::conditional_t<tb, MmaAlongK<T, Block::n>, MmaAcross<T, Block::n>>;
  const int tile_index = static_cast<int>(blockIdx.x);
  const int m0 = tile_index / p.tiles_n * Block::m, n0 = tile_index % p.tiles_n * Block::n;
  const int begin = static_cast<int>(blockIdx.y) * p.part, depth = min(p.part, p.k - begin);
  const std::int64_t a_first = ta ? std::int64_t{begin} * p.m + m0 : std::int64_t{m0} * p.k + begin;
  const std::int64_t b_first = tb ? std::int64_t{n0} * p.k + begin : std::int64_t{begin} * p.n + n0;
  A a(p.a + a_first, p.a_bytes, p.m - m0, depth);
  B b(p.b + b_first, p.b_bytes, p.n - n0, depth);
  Block tile;
  tile.sum(a, b, (depth + mma_depth<T> - 1) / mma_depth<T>);
  tile.each_four([&](int m, int n, const Vector<float, 4>& four) {
    m += m0;
    n += n0;
    if (m >= p.m) return;
    const std::int64_t at = (static_cast<std::int64_t>(blockIdx.y) * p.m + m) * p.n + n;
    if (std::is_same_v<T, BFloat16> && p.y_bf16) store_four(static_cast<BFloat16*>(p.y) + at, four, p.n - n, true);
    else store_four(static_cast<float*>(p.y) + at, four, p.n - n, true);
  });
#endif
}

template <class Block> void launch_tiles(const CudaBackend& backend, MmaGemm<typename Block::Element> p, int parts, bool ta, bool tb) {
  p.tiles_n = static_cast<int>(ceil_div(p.n, Block::n));
  const auto tiles = static_cast<unsigned>(ceil_div(p.m, Block::m) * p.tiles_n);
  const auto kernel = ta ? (tb ? gemm_mma_kernel<Block, true, true> : gemm_mma_kernel<Block, true, false>)
                         : (tb ? gemm_mma_kernel<Block, false, true> : gemm_mma_kernel<Block, false, false>);
  PASTICHE_CUDA_CHECK(launch(kernel, {.stream = backend.stream(), .blocks = dim3(tiles, static_cast<unsigned>(parts)),
                                      .threads = Block::threads, .shared = Block::shared_bytes}, p));
}

template <class T> void multiply(CudaBackend& backend, Tensor& y, const Tensor& a, const Tensor& b, const Gemm& how) {
  const bool ta = how.a == Transpose::yes, tb = how.b == Transpose::yes;
  const auto rows = [](const Tensor& t) { return static_cast<int>(t.shape()[0]); };
  const auto columns = [](const Tensor& t) { return static_cast<int>(t.shape()[1]); };
  constexpr int bytes = sizeof(T);
  MmaGemm<T> p{.a = a.data<T>(), .b = b.data<T>(), .y = nullptr, .y_bf16 = false, .m = rows(y), .n = columns(y),
               .k = ta ? rows(a) : columns(a), .a_bytes = columns(a) * bytes, .b_bytes = columns(b) * bytes, .part = 0, .tiles_n = 0};
  const std::int64_t parts = std::min(64 / ceil_div(p.n, SmallMmaTile<T>::n), std::int64_t{p.k} / 256);
  const Split split(p.k, std::max<std::int64_t>(parts, 1), mma_depth<T>);
  Tensor sums = split.count > 1 ? Tensor::empty(backend, {split.count, p.m, p.n}) : y;
  p.y = sums.mutable_raw();
  p.y_bf16 = sums.dtype() == DType::bf16;
  p.part = split.length;
  // As in gemm.cu: large tiles where none is half empty for want of rows or columns, and every multiprocessor gets one.
  const bool room = p.m > SmallMmaTile<T>::m && p.n > SmallMmaTile<T>::n;
  if (room && ceil_div(p.m, LargeMmaTile<T>::m) * ceil_div(p.n, LargeMmaTile<T>::n) * split.count >= backend.multiprocessors()) {
    launch_tiles<LargeMmaTile<T>>(backend, p, split.count, ta, tb);
  } else {
    launch_tiles<SmallMmaTile<T>>(backend, p, split.count, ta, tb);
  }
  if (split.count > 1) sum_parts(backend, y, sums.data<float>(), split.count);
}

}  // namespace

bool can_gemm_mma(const CudaBackend& backend, const Tensor& y, const Tensor& a, const Tensor& b) {
  const auto in_eights = [](const Tensor& t) { return t.shape()[1] % 8 == 0; };
  if (backend.compute_capability() < 80 || !in_eights(y) || !in_eights(a) || !in_eights(b)) return false;
  return a.dtype() == DType::bf16 || backend.kernels().tf32;
}

void gemm_mma(CudaBackend& backend, Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) {
  with_float(a.dtype(), [&]<class T>(T) { multiply<T>(backend, y, a, b, p); });
}

}  // namespace pastiche::PASTICHE_TARGET
