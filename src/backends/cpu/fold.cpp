#include "backends/cpu/fold.h"

#include <algorithm>

#include "backends/cpu/vectorise.h"

namespace pastiche::cpu {
namespace {

// Where tap `tap` of an axis falls in the window.
std::int64_t place(std::int64_t tap, std::int64_t pad, std::int64_t phase, Window window) {
  return ((phase - pad + tap) >> 1) - window.first;
}

}  // namespace

void fold_phase(int threads, float* to, const Tensor& w, std::int64_t phase, Window rows, Window columns) {
  const std::int64_t taps = w.shape()[1], pad = (taps - 1) / 2, c = w.shape()[3], i = phase / 2, j = phase % 2;
  const std::int64_t folded = rows.taps * columns.taps * c;
  const float* const from = w.data<float>();
  for_items(threads, w.shape()[0], taps * taps * c, [=](std::int64_t k) {
    float* const sum = to + k * folded;
    std::fill_n(sum, folded, 0.0f);
    for (std::int64_t r = 0; r < taps; ++r) {
      for (std::int64_t s = 0; s < taps; ++s) {
        const float* const tap = from + ((k * taps + r) * taps + s) * c;
        float* const at = sum + (place(r, pad, i, rows) * columns.taps + place(s, pad, j, columns)) * c;
#pragma omp simd
        for (std::int64_t m = 0; m < c; ++m) at[m] += tap[m];
      }
    }
  });
}

void unfold_gradient(int threads, Tensor& dw, const PhaseGradient (&phases)[4]) {
  const std::int64_t taps = dw.shape()[1], pad = (taps - 1) / 2, c = dw.shape()[3];
  float* const to = dw.mutable_data<float>();
  for_items(threads, dw.shape()[0], 4 * taps * taps * c, [=, &phases](std::int64_t k) {
    for (std::int64_t r = 0; r < taps; ++r) {
      for (std::int64_t s = 0; s < taps; ++s) {
        const float* part[4];
        for (std::int64_t f = 0; f < 4; ++f) {
          const PhaseGradient& p = phases[f];
          part[f] = p.values + ((k * p.rows.taps + place(r, pad, f / 2, p.rows)) * p.columns.taps +
                                place(s, pad, f % 2, p.columns)) * c;
        }
        float* const sum = to + ((k * taps + r) * taps + s) * c;
#pragma omp simd
        for (std::int64_t m = 0; m < c; ++m) sum[m] = (part[0][m] + part[1][m]) + (part[2][m] + part[3][m]);
      }
    }
  });
}

}  // namespace pastiche::cpu
