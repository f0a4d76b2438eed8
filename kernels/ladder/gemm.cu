// y[M,N] = a b^T, of a [M,K] and b [N,K] in f32, in steps from the naive kernel to the one in gemm.cu.
// Policy: each result is summed by one thread, k ascending, one fmaf each: the bits are the same on every rung, and those of rung 4 where
// that does not cut the sum.
// Figures are of 256 x 512 x 256: sectors of global memory and wavefronts of shared memory for each 32 multiplications, which one FFMA of a
// warp makes, and how much of the main loop for sm_80 is FFMA. `tools/kernel_facts BUILD --ladder` prints them.
#include <algorithm>

#include "ladder/ladder.cuh"
#include "launch.cuh"
#include "tile.cuh"

namespace pastiche::PASTICHE_TARGET {
namespace {

struct Product {
  const float *a, *b;  // [M,K], [N,K]
  float* y;            // [M,N]
  int m, n, k;
  int tiles_n;
  __device__ const float* row(int i) const { return a + static_cast<std::int64_t>(i) * k; }
  __device__ const float* column(int j) const { return b + static_cast<std::int64_t>(j) * k; }
  __device__ void write(int i, int j, float sum) const {
    if (i < m && j < n) y[static_cast<std::int64_t>(i) * n + j] = sum;
  }
};

// The block's first row and column of y.
template <int TileM, int TileN> struct Corner {
  int m, n;
  __device__ explicit Corner(const Product& p)
      : m(static_cast<int>(blockIdx.x) / p.tiles_n * TileM), n(static_cast<int>(blockIdx.x) % p.tiles_n * TileN) {}
};

// ---- 0 naive ---------------------------------------------------------------------------------------------------------
// A thread a result. The lanes of a warp have neighbouring columns: an element of a is one word for all of them, and those of b lie in 32
// lines, so that a request reads 32 sectors and uses 4 bytes of each. 33 sectors for each FFMA; 28% of the loop.
constexpr int naive_m = 8, naive_n = 32;

__global__ __launch_bounds__(naive_m* naive_n) void gemm_naive_kernel(const Product p) {
  const Corner<naive_m, naive_n> at(p);
  const int i = at.m + static_cast<int>(threadIdx.x) / naive_n, j = at.n + static_cast<int>(threadIdx.x) % naive_n;
  if (i >= p.m || j >= p.n) return;
  const float *a = p.row(i), *b = p.column(j);
  float sum = 0;
  for (int k = 0; k < p.k; ++k) sum = fmaf(a[k], b[k], sum);
  p.write(i, j, sum);
}

// ---- 1 shared tile ---------------------------------------------------------------------------------------------------
// A block computes 32 x 32 results, and brings what they need into shared memory, 32 k at a time: each element is read from global memory
// once a block, and a warp reads 32 neighbours. 0.27 sectors. Now each fmaf takes two words from shared memory: 2.06 wavefronts, and FFMA
// are no more than 26% of the loop. Lines are 33 words long, so that the 32 lines that a warp reads at one k are in 32 banks.
constexpr int shared_tile = 32, shared_depth = 32;

__global__ __launch_bounds__(shared_tile* shared_tile) void gemm_shared_kernel(const Product p) {
  __shared__ float left[shared_tile][shared_depth + 1], right[shared_tile][shared_depth + 1];
  const Corner<shared_tile, shared_tile> at(p);
  const int i = static_cast<int>(threadIdx.x) / shared_tile, j = static_cast<int>(threadIdx.x) % shared_tile;
  float sum = 0;
  for (int k0 = 0; k0 < p.k; k0 += shared_depth) {
    const int k = k0 + j;  // thread (i, j) brings element j of line i of both
    left[i][j] = at.m + i < p.m && k < p.k ? p.row(at.m + i)[k] : 0;
    right[i][j] = at.n + i < p.n && k < p.k ? p.column(at.n + i)[k] : 0;
    __syncthreads();
    PASTICHE_UNROLL
    for (int d = 0; d < shared_depth; ++d) sum = fmaf(left[i][d], right[j][d], sum);
    __syncthreads();
  }
  p.write(at.m + i, at.n + j, sum);
}

// ---- 2 register tile -------------------------------------------------------------------------------------------------
// A thread computes 4 x 4 results, the block 64 x 64: 8 words from shared memory serve 16 fmaf, 0.53 wavefronts, and an element that a
// block reads from global memory serves twice as many results, 0.14 sectors. 57% of the loop. The rows and columns of a thread are 16
// apart, so that lanes read neighbouring lines.
constexpr int register_tile = 64, register_depth = 32, register_threads = 256, of_thread = 4, apart = register_tile / of_thread;
constexpr int register_lines = register_tile * register_depth / register_threads;  // that a thread brings an element of
constexpr int register_step = register_tile / register_lines;                      // how far apart they are

__global__ __launch_bounds__(register_threads) void gemm_register_kernel(const Product p) {
  __shared__ float left[register_tile][register_depth + 1], right[register_tile][register_depth + 1];
  const Corner<register_tile, register_tile> at(p);
  const int i0 = static_cast<int>(threadIdx.x) / apart, j0 = static_cast<int>(threadIdx.x) % apart;
  const int line = static_cast<int>(threadIdx.x) / register_depth, depth = static_cast<int>(threadIdx.x) % register_depth;
  float sums[of_thread][of_thread] = {};
  for (int k0 = 0; k0 < p.k; k0 += register_depth) {
    const int k = k0 + depth;
    PASTICHE_UNROLL
    for (int e = 0; e < register_lines; ++e) {
      const int l = line + e * register_step;
      left[l][depth] = at.m + l < p.m && k < p.k ? p.row(at.m + l)[k] : 0;
      right[l][depth] = at.n + l < p.n && k < p.k ? p.column(at.n + l)[k] : 0;
    }
    __syncthreads();
    PASTICHE_UNROLL
    for (int d = 0; d < register_depth; ++d) {
      float a[of_thread], b[of_thread];
      PASTICHE_UNROLL
      for (int e = 0; e < of_thread; ++e) a[e] = left[i0 + e * apart][d], b[e] = right[j0 + e * apart][d];
      PASTICHE_UNROLL
      for (int i = 0; i < of_thread; ++i) {
        PASTICHE_UNROLL
        for (int j = 0; j < of_thread; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  PASTICHE_UNROLL
  for (int i = 0; i < of_thread; ++i) {
    PASTICHE_UNROLL
    for (int j = 0; j < of_thread; ++j) p.write(at.m + i0 + i * apart, at.n + j0 + j * apart, sums[i][j]);
  }
}

// ---- 3 vector loads --------------------------------------------------------------------------------------------------
// The same tile, with four words an instruction: four k of a line from global memory, where K is a multiple of four, and four lines at one
// k from shared memory, which therefore has slices the other way about (SliceLayout). Two loads serve 16 fmaf: as many sectors in a quarter
// of the requests, 0.22 wavefronts, 79% of the loop.
constexpr int vector_depth = slice_depth, vector_lanes = vector_depth / 4;  // that share a line
static_assert(register_threads / vector_lanes == register_tile);            // each thread brings four k of one line of both

__global__ __launch_bounds__(register_threads) void gemm_vector_kernel(const Product p) {
  using Layout = SliceLayout<register_tile>;
  alignas(16) __shared__ float left[Layout::size], right[Layout::size];
  const Corner<register_tile, register_tile> at(p);
  const int i0 = static_cast<int>(threadIdx.x) / apart * of_thread, j0 = static_cast<int>(threadIdx.x) % apart * of_thread;
  const int line = static_cast<int>(threadIdx.x) / vector_lanes, k4 = static_cast<int>(threadIdx.x) % vector_lanes;
  float sums[of_thread][of_thread] = {};
  for (int k0 = 0; k0 < p.k; k0 += vector_depth) {
    const int k = k0 + k4 * 4;
    Vector<float, 4> a{}, b{};
    if (at.m + line < p.m && k < p.k) a = load_vector<4>(p.row(at.m + line) + k);
    if (at.n + line < p.n && k < p.k) b = load_vector<4>(p.column(at.n + line) + k);
    PASTICHE_UNROLL
    for (int e = 0; e < 4; ++e) {
      left[Layout::at(k4, e, line)] = a.at[e];
      right[Layout::at(k4, e, line)] = b.at[e];
    }
    __syncthreads();
    PASTICHE_UNROLL
    for (int d = 0; d < vector_depth; ++d) {
      a = load_vector<4>(left + Layout::at(d / 4, d % 4, i0));
      b = load_vector<4>(right + Layout::at(d / 4, d % 4, j0));
      PASTICHE_UNROLL
      for (int i = 0; i < of_thread; ++i) {
        PASTICHE_UNROLL
        for (int j = 0; j < of_thread; ++j) sums[i][j] = fmaf(a.at[i], b.at[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  PASTICHE_UNROLL
  for (int i = 0; i < of_thread; ++i) {
    if (at.m + i0 + i >= p.m) return;
    float* const to = p.y + (static_cast<std::int64_t>(at.m + i0 + i) * p.n + at.n + j0);
    store_four(to, {{sums[i][0], sums[i][1], sums[i][2], sums[i][3]}}, p.n - at.n - j0, p.n % 4 == 0);
  }
}

// ---- 4 double buffer, 5 tensor core ----------------------------------------------------------------------------------
// gemm_kernel (gemm.cu, tile.cuh): up to 8 x 8 results a thread, and while a slice is multiplied the next one is on its way through
// registers to the other half of the buffer: one barrier a slice instead of two. 0.08 sectors, 0.08 wavefronts, 89% of the loop, for 136
// registers where the rungs below have at most 64.
// gemm_mma_kernel (gemm_mma.cu, mma_tile.cuh): in bf16, 16 x 8 x 16 multiplications an instruction, and three slices on their way past the
// registers. Elements are half as wide: 0.04 sectors and 0.03 wavefronts.

struct Step {
  void (*kernel)(Product);
  int m, n, threads;
  int multiple;  // of which K must be one
};
constexpr Step steps[] = {
    {gemm_naive_kernel, naive_m, naive_n, naive_m * naive_n, 1},
    {gemm_shared_kernel, shared_tile, shared_tile, shared_tile * shared_tile, 1},
    {gemm_register_kernel, register_tile, register_tile, register_threads, 1},
    {gemm_vector_kernel, register_tile, register_tile, register_threads, 4},
};

}  // namespace

void gemm_rung(const CudaBackend& backend, int rung, Tensor& y, const Tensor& a, const Tensor& b) {
  const auto m = static_cast<int>(y.shape()[0]), n = static_cast<int>(y.shape()[1]), k = static_cast<int>(a.shape()[1]);
  const Step* step = steps + std::min<std::size_t>(static_cast<std::size_t>(rung), std::size(steps) - 1);
  while (k % step->multiple != 0) --step;
  const Product p{.a = a.data<float>(), .b = b.data<float>(), .y = y.mutable_data<float>(), .m = m, .n = n, .k = k,
                  .tiles_n = static_cast<int>(ceil_div(n, step->n))};
  const dim3 blocks = grid(ceil_div(m, step->m) * p.tiles_n);
  PASTICHE_CUDA_CHECK(launch(step->kernel, {.stream = backend.stream(), .blocks = blocks, .threads = step->threads}, p));
}

}  // namespace pastiche::PASTICHE_TARGET
