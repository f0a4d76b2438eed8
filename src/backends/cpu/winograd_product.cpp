#include "backends/cpu/winograd_product.h"

#include <cmath>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pastiche::cpu {
namespace {

constexpr std::int64_t rows = BlockProduct::rows, columns = BlockProduct::columns;

#if defined(__x86_64__)

constexpr std::int64_t line = 16;  // floats of a cache line

// The blocks lie far apart: what comes next is asked for while this is computed.
inline void prefetch_block(const float* block) {
  for (std::int64_t i = 0; i < rows * columns; i += line) _mm_prefetch(block + i, _MM_HINT_T0);
}

[[gnu::target("avx512f")]] void multiply_avx512(const BlockProduct& p, const float* a, const float* b, float* c) {
  if (p.add) prefetch_block(c);
  __m512 sums[rows][2] = {};
  for (std::int64_t run = 0; run < p.runs; ++run) {
    const float *left = a + run * p.a_run, *right = b + run * p.b_run;
    prefetch_block(left + p.a_run);
    for (std::int64_t s = 0; s < p.steps; ++s, left += p.a_step, right += columns) {
      const __m512 first = _mm512_loadu_ps(right), second = _mm512_loadu_ps(right + 16);
#pragma GCC unroll 8
      for (std::int64_t i = 0; i < rows; ++i) {
        const __m512 factor = _mm512_set1_ps(left[i * p.a_row]);
        sums[i][0] = _mm512_fmadd_ps(factor, first, sums[i][0]);
        sums[i][1] = _mm512_fmadd_ps(factor, second, sums[i][1]);
      }
    }
  }
#pragma GCC unroll 8
  for (std::int64_t i = 0; i < rows; ++i) {
    float* const to = c + i * columns;
    if (p.add) {
      sums[i][0] = _mm512_add_ps(_mm512_loadu_ps(to), sums[i][0]);
      sums[i][1] = _mm512_add_ps(_mm512_loadu_ps(to + 16), sums[i][1]);
    }
    _mm512_storeu_ps(to, sums[i][0]);
    _mm512_storeu_ps(to + 16, sums[i][1]);
  }
}

// Sixteen registers hold a quarter of the block.
[[gnu::target("avx2,fma")]] void multiply_quarter(const BlockProduct& p, const float* a, const float* b, float* c) {
  constexpr std::int64_t half = rows / 2;
  __m256 sums[half][2] = {};
  for (std::int64_t run = 0; run < p.runs; ++run) {
    const float *left = a + run * p.a_run, *right = b + run * p.b_run;
    for (std::int64_t s = 0; s < p.steps; ++s, left += p.a_step, right += columns) {
      const __m256 first = _mm256_loadu_ps(right), second = _mm256_loadu_ps(right + 8);
#pragma GCC unroll 4
      for (std::int64_t i = 0; i < half; ++i) {
        const __m256 factor = _mm256_set1_ps(left[i * p.a_row]);
        sums[i][0] = _mm256_fmadd_ps(factor, first, sums[i][0]);
        sums[i][1] = _mm256_fmadd_ps(factor, second, sums[i][1]);
      }
    }
  }
#pragma GCC unroll 4
  for (std::int64_t i = 0; i < half; ++i) {
    float* const to = c + i * columns;
    if (p.add) {
      sums[i][0] = _mm256_add_ps(_mm256_loadu_ps(to), sums[i][0]);
      sums[i][1] = _mm256_add_ps(_mm256_loadu_ps(to + 8), sums[i][1]);
    }
    _mm256_storeu_ps(to, sums[i][0]);
    _mm256_storeu_ps(to + 8, sums[i][1]);
  }
}
void multiply_avx2(const BlockProduct& p, const float* a, const float* b, float* c) {
  if (p.add) prefetch_block(c);
  for (std::int64_t j = 0; j < columns; j += 16) {
    for (std::int64_t i = 0; i < rows; i += rows / 2) multiply_quarter(p, a + i * p.a_row, b + j, c + i * columns + j);
  }
}

#else

void multiply_plain(const BlockProduct& p, const float* a, const float* b, float* c) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      float sum = 0;
      for (std::int64_t run = 0; run < p.runs; ++run) {
        for (std::int64_t s = 0; s < p.steps; ++s) {
          sum = std::fma(a[run * p.a_run + s * p.a_step + i * p.a_row], b[run * p.b_run + s * columns + j], sum);
        }
      }
      c[i * columns + j] = p.add ? c[i * columns + j] + sum : sum;
    }
  }
}

#endif

}  // namespace

MultiplyBlock multiply_block([[maybe_unused]] bool avx512) {
#if defined(__x86_64__)
  return avx512 ? multiply_avx512 : multiply_avx2;
#else
  return multiply_plain;
#endif
}

}  // namespace pastiche::cpu
