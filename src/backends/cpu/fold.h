#pragma once
// Convolution after nearest-neighbour upsampling, folded. Output pixel (2h + i, 2w + j) sees, through tap (r, s), the input
// pixel (h + floor((i - pad + r) / 2), w + floor((j - pad + s) / 2)): several taps fall on one pixel, and their weights add up
// beforehand. With 5 taps w0..w4 an axis has 3: [w0+w1, w2+w3, w4] for phase 0, [w0, w1+w2, w3+w4] for phase 1.
//
// All phases together are one convolution with 4 K outputs (phase, channel), the same window for each: `folded_taps` wide,
// symmetric. One phase alone may need fewer taps (2 of 3 where R is 3): `phase_window`.
#include "pastiche/backend.h"

namespace pastiche::cpu {

struct Window {
  std::int64_t first, taps;  // offsets of input pixels: first .. first + taps - 1
};

// pad is (R - 1) / 2 of the unfolded kernel.
inline Window folded_window(std::int64_t pad) { return {-((pad + 1) / 2), 2 * ((pad + 1) / 2) + 1}; }
inline Window phase_window(std::int64_t pad, std::int64_t phase) {
  const std::int64_t first = (phase - pad) >> 1, last = (phase + pad) >> 1;  // shifted, so that it rounds down
  return {first, last - first + 1};
}

// to [K,T,T,C] = the weights of phase 2 i + j of w [K,R,R,C], T taps in each window.
void fold_phase(int threads, float* to, const Tensor& w, std::int64_t phase, Window rows, Window columns);

// The adjoint: dw = the sum over the four phases, each gradient [K,T,T,C] in its windows.
struct PhaseGradient {
  const float* values;
  Window rows, columns;
};
void unfold_gradient(int threads, Tensor& dw, const PhaseGradient (&phases)[4]);

}  // namespace pastiche::cpu
