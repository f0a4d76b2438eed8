#pragma once
// Convolution by 3x3 taps with stride 1, by Toom and Cook's way of multiplying polynomials (Winograd, 1980; Lavin and Gray,
// 2016): 4x4 outputs take 36 multiplications a channel instead of 144, 3x3 take 25 instead of 81. Inputs and weights are
// evaluated at points, multiplied there, one GEMM a point, and what comes out is interpolated. Not exact on integers.
#include <functional>

#include "backends/cpu/onednn.h"
#include "backends/cpu/operand.h"

namespace pastiche::cpu {

// Whether the two functions below compute it. A rule on channels, kernel, stride and dtype, like every choice of an algorithm.
bool takes_winograd(const ConvShape& shape);

// As conv_data and conv_weights. shape.pass may be forward or dgrad.
void winograd_data(OneDnn& dnn, const ConvShape& shape, const Target& to, const Source& from, const Tensor& w,
                   const std::function<Tensor()>& weights);
void winograd_weights(OneDnn& dnn, const ConvShape& shape, float* dw, const Source& x, const Source& dy);

}  // namespace pastiche::cpu
