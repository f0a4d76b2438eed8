#pragma once
// Public figures of GPUs, for the bound model.
#include <string_view>

namespace pastiche::bench {

struct Gpu {
  std::string_view name, full_name;
  int arch;                  // sm_80: 80
  int multiprocessors;
  double clock;              // MHz, boost
  double f32, bf16;          // TFLOP/s, dense; bf16 with f32 sums
  double l2, dram;           // GB/s
  std::string_view sources;
};

// Where the maker gives no rate of the second-level cache and no measurement is cited, it is 64 bytes a clock for each multiprocessor,
// which is what one takes at most: the cache itself may give less.
constexpr double port(int multiprocessors, double mhz) { return 64e-3 * multiprocessors * mhz; }

constexpr Gpu gpus[] = {
    {"a100", "A100 SXM4 80 GB", 80, 108, 1410, 19.5, 312, 7219, 2039,
     "NVIDIA A100 data sheet (2021); NVIDIA A100 Tensor Core GPU Architecture, V1.0: 5,120 bytes a clock of the L2 cache"},
    {"a6000", "RTX A6000", 86, 84, 1800, 38.7, 154.8, port(84, 1800), 768,
     "NVIDIA RTX A6000 data sheet; NVIDIA Ampere GA102 GPU Architecture, V2.0: bf16 without sparsity; "
     "L2: 64 bytes a clock and multiprocessor"},
    {"rtx3090", "GeForce RTX 3090", 86, 82, 1695, 35.6, 71.2, port(82, 1695), 936,
     "NVIDIA Ampere GA102 GPU Architecture, V2.0; L2: 64 bytes a clock and multiprocessor"},
    {"rtx4090", "GeForce RTX 4090", 89, 128, 2520, 82.6, 165.2, port(128, 2520), 1008,
     "NVIDIA Ada GPU Architecture, V2.0; L2: 64 bytes a clock and multiprocessor"},
    {"l40s", "L40S", 89, 142, 2520, 91.6, 362, port(142, 2520), 864,
     "NVIDIA L40S data sheet; L2: 64 bytes a clock and multiprocessor"},
    // mma.sync reaches 62.9 % of the 989.4 TFLOP/s that Hopper's own wgmma has.
    {"h100", "H100 SXM5", 90, 132, 1980, 66.9, 0.629 * 989.4, 6650, 3352,
     "NVIDIA H100 Tensor Core GPU Architecture, V1.04; 62.9% of its bf16 for mma.sync: Luo et al., arXiv 2402.13499; "
     "L2: measured, in OpenXLA's cost model of matrix products, gpu_dot_fusion_cost_model.cc"},
    {"h200", "H200 SXM", 90, 132, 1980, 66.9, 0.629 * 989.4, 6650, 4800,
     "as h100; memory: NVIDIA H200 data sheet"},
};

}  // namespace pastiche::bench
