#pragma once
// Convolution with 3x3 taps by Toom and Cook's way of multiplying polynomials (Winograd, 1980; Lavin and Gray, 2016): 4x4 outputs
// take 36 multiplications a channel instead of 144, 3x3 take 25 instead of 81. Inputs and weights are evaluated at points, one
// GEMM multiplies them at each, and what comes out is interpolated. 5x5 and 6x6 taps with stride 2 become 3x3 ones on the four
// phases of the input. Not exact on integers. A picture's bits depend neither on the rest of its batch nor on the threads.
#include <functional>

#include "backends/cpu/onednn.h"
#include "backends/cpu/operand.h"

namespace pastiche::cpu {

// Whether the two functions below are to compute it.
bool takes_winograd(const OneDnn& dnn, const ConvShape& shape);

// As conv_data and conv_weights. shape.pass may be forward or dgrad.
void winograd_data(OneDnn& dnn, const ConvShape& shape, const Target& to, const Source& from, const Tensor& w,
                   const std::function<Tensor()>& weights);
void winograd_weights(OneDnn& dnn, const ConvShape& shape, float* dw, const Source& x, const Source& dy);

}  // namespace pastiche::cpu
