#pragma once
// The GEMM of a Winograd convolution, on blocks that its transforms leave in the order in which they are read.
#include <cstdint>

namespace pastiche::cpu {

// c[8][32] = the sum over s of a[8](s) b[s][32], or c plus that sum. The steps s come in `runs` of `steps`. Each element is one
// chain of fused multiply-adds in the order of s, so that its bits depend on nothing but a and b.
struct BlockProduct {
  static constexpr std::int64_t rows = 8, columns = 32;
  std::int64_t runs, steps;
  std::int64_t a_run, a_step, a_row;  // how far apart they are
  std::int64_t b_run;
  bool add = false;
};

using MultiplyBlock = void (*)(const BlockProduct& p, const float* a, const float* b, float* c);
MultiplyBlock multiply_block(bool avx512);

}  // namespace pastiche::cpu
