#pragma once
// Kernels of others whose speed was published, to check the bound model: what their main loops consist of, counted as ours are, in their
// sources compiled by nvcc 13.0; wavefronts of shared memory from the addresses of a warp.
#include "model.h"

namespace pastiche::bench {

struct Published {
  std::string_view gpu, kernel;
  double m, n, k;                    // of the product
  double tile_m, tile_n, tile_depth;
  double element_bytes, result_bytes;
  LoopCounts loop;                   // of one pass
  double flop_rate;                  // GFLOP/s
  std::string_view source;
};

constexpr std::string_view sgemm_cuda = "github.com/siboehm/SGEMM_CUDA, README";
constexpr std::string_view mma_matmul = "github.com/spatters/mma-matmul, README";
// The GPU is not named there; tensor cores that fast (min_cc 80), beside such f32, are those of an A100.
constexpr std::string_view cutlass_profiler = "github.com/NVIDIA/cutlass, media/docs/cpp/profiler.md; an A100 by its rates";

constexpr Published published[] = {
    {"a6000", "3: SMEM Caching", 4092, 4092, 4092, 32, 32, 32, 4, 4, {"", 86, 84, 0, 32, 42}, 2980.3, sgemm_cuda},
    {"a6000", "4: 1D Blocktiling", 4092, 4092, 4092, 64, 64, 8, 4, 4, {"", 86, 107, 0, 64, 26}, 8474.7, sgemm_cuda},
    {"a6000", "5: 2D Blocktiling", 4092, 4092, 4092, 128, 128, 8, 4, 4, {"", 86, 627, 0, 512, 120}, 15971.7, sgemm_cuda},
    {"a6000", "6: Vectorized Mem Access", 4092, 4092, 4092, 128, 128, 8, 4, 4, {"", 86, 579, 0, 512, 92}, 18237.3, sgemm_cuda},
    {"a6000", "7: Avoid Bank Conflicts (Linearize)", 4092, 4092, 4092, 128, 128, 8, 4, 4, {"", 86, 652, 0, 512, 96}, 16213.4, sgemm_cuda},
    {"a6000", "8: Avoid Bank Conflicts (Offset)", 4092, 4092, 4092, 128, 128, 8, 4, 4, {"", 86, 585, 0, 512, 128}, 16459.2, sgemm_cuda},
    {"a6000", "9: Autotuning", 4092, 4092, 4092, 128, 128, 16, 4, 4, {"", 86, 1158, 0, 1024, 200}, 19721, sgemm_cuda},
    {"a6000", "10: Warptiling", 4092, 4092, 4092, 128, 128, 16, 4, 4, {"", 86, 2242, 0, 2048, 208}, 21779.3, sgemm_cuda},
    {"rtx4090", "1.0: Naive mma", 4096, 4096, 4096, 32, 32, 16, 2, 4, {"", 89, 65, 2, 0, 56}, 29400, mma_matmul},
    {"rtx4090", "1.1: Naive + 2x tiling", 4096, 4096, 4096, 64, 64, 16, 2, 4, {"", 89, 57, 4, 0, 56}, 57300, mma_matmul},
    {"rtx4090", "2.0: Permuted shmem", 4096, 4096, 4096, 64, 64, 32, 2, 4, {"", 89, 72, 16, 0, 112}, 127300, mma_matmul},
    {"rtx4090", "2.1: Permuted shmem + register tweak", 4096, 4096, 4096, 64, 64, 32, 2, 4, {"", 89, 118, 32, 0, 160}, 133400, mma_matmul},
    {"rtx4090", "3.0: N-stage async pipeline", 4096, 4096, 4096, 64, 64, 32, 2, 4, {"", 89, 103, 16, 0, 64}, 137400, mma_matmul},
    {"rtx4090", "3.1: N-stage + 4x tiling", 4096, 4096, 4096, 128, 128, 32, 2, 4, {"", 89, 87, 32, 0, 64}, 153600, mma_matmul},
    {"a100", "simt_sgemm_128x128_8x2_nn_align1", 3456, 4096, 4096, 128, 128, 8, 4, 4, {"", 80, 625, 0, 512, 40}, 17218.4, cutlass_profiler},
    {"a100", "tensorop_s16816gemm_f16_256x128_32x3_nn", 3456, 4096, 8192, 256, 128, 32, 2, 4, {"", 80, 157, 64, 0, 88}, 235138,
     cutlass_profiler},
};

}  // namespace pastiche::bench
