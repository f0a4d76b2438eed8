#pragma once
// Convolution without upsampling: which algorithm computes it. The choice is a rule on channels, kernel, stride and dtype,
// never on the number or the size of the pictures and never on a measured time, so that a seed gives the same bits.
#include <functional>

#include "backends/cpu/onednn.h"
#include "backends/cpu/operand.h"

namespace pastiche::cpu {

// With stride 1 a convolution's adjoint is a convolution: x and y change roles, and so do the two channels of the weights,
// whose taps are read backwards.
bool can_reverse(const ConvShape& shape);
ConvShape reversed(const ConvShape& shape, ConvShape::Pass pass);

// forward: to = y, from = x; dgrad: to = dx, from = dy. The weights are weights(), [K,R,S,C / groups] in f32, made from `w`:
// they are asked for only where w has changed since the last time. `to` is converted from shape.result
// where that is another dtype, but not with shape.accumulate, which adds to it.
void conv_data(OneDnn& dnn, const ConvShape& shape, const Target& to, const Source& from, const Tensor& w,
               const std::function<Tensor()>& weights);

// dw [K,R,S,C / groups]
void conv_weights(OneDnn& dnn, const ConvShape& shape, float* dw, const Source& x, const Source& dy);

// The data gradient of few channels: dx [N,H,W,C] from dy [N,P,Q,K] and w [K,R,S,C]. A primitive computes 16 channels for
// each of these; here one GEMM gives what every pixel of dy adds through every tap, and the taps' planes are added up,
// shifted.
void conv_scatter(OneDnn& dnn, const ConvShape& shape, const Target& dx, const Source& dy, const Tensor& w);

}  // namespace pastiche::cpu
