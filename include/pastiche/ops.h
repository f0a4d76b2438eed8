#pragma once
// What the engine can do: the differentiable functions on Var. Shapes are checked here, once; a mismatch throws an Error that
// says what was given and what was expected. Everything is differentiable to any order; formulas stand in kernels.def.
#include <cstdint>
#include <span>

#include "pastiche/backend.h"
#include "pastiche/tape.h"

namespace pastiche {

// ---- arith: a and b have the same shape ------------------------------------------------------------------------------
Var add(const Var& a, const Var& b);
Var sub(const Var& a, const Var& b);
Var mul(const Var& a, const Var& b);
Var div(const Var& a, const Var& b);
Var affine(const Var& x, const Affine& p);  // scale x + shift
Var exp(const Var& x);
Var log(const Var& x);
Var sqrt(const Var& x);
Var abs(const Var& x);
Var cast(const Var& x, DType to);
inline Var operator+(const Var& a, const Var& b) { return add(a, b); }
inline Var operator-(const Var& a, const Var& b) { return sub(a, b); }
inline Var operator*(const Var& a, const Var& b) { return mul(a, b); }
inline Var operator/(const Var& a, const Var& b) { return div(a, b); }
inline Var operator*(double s, const Var& x) { return affine(x, {.scale = s}); }
inline Var operator*(const Var& x, double s) { return affine(x, {.scale = s}); }
inline Var operator/(const Var& x, double s) { return affine(x, {.scale = 1 / s}); }
inline Var operator+(const Var& x, double s) { return affine(x, {.shift = s}); }
inline Var operator+(double s, const Var& x) { return affine(x, {.shift = s}); }
inline Var operator-(const Var& x, double s) { return affine(x, {.shift = -s}); }
inline Var operator-(double s, const Var& x) { return affine(x, {.scale = -1, .shift = s}); }
inline Var operator-(const Var& x) { return affine(x, {.scale = -1}); }
inline Var pow(const Var& x, double exponent) { return exp(exponent * log(x)); }  // of x above 0

// ---- arith: shape ----------------------------------------------------------------------------------------------------
Var reshape(const Var& x, const Shape& shape);                           // the same elements
Var flatten(const Var& x);                                               // [N,...] -> [N,rest]
Var slice(const Var& x, int axis, std::int64_t begin, std::int64_t length);
Var unslice(const Var& x, int axis, std::int64_t begin, std::int64_t extent);  // zeros around x
Var concat(std::span<const Var> parts, int axis);                        // at most Grads::max_inputs parts
Var crop_center(const Var& x, std::int64_t height, std::int64_t width);  // [N,H,W,C] -> [N,height,width,C]

// ---- arith: reductions and their adjoints ----------------------------------------------------------------------------
Var sum(const Var& x, int axis);                                // the shape without that axis
Var broadcast(const Var& x, int axis, std::int64_t extent);     // a new axis, x repeated along it
Var sum(const Var& x);                                          // []
Var mean(const Var& x);                                         // []
Var channel_sum(const Var& x);                                  // [...,C] -> [C]
Var channel_broadcast(const Var& x, const Shape& shape);        // [C] -> [...,C]

// ---- gemm ------------------------------------------------------------------------------------------------------------
Var gemm(const Var& a, const Var& b, const Gemm& p = {});  // op(a) [M,K], op(b) [K,N] -> [M,N]
Var linear(const Var& x, const Var& w);                    // [N,I], [O,I] -> [N,O]

// ---- conv ------------------------------------------------------------------------------------------------------------
struct NormStats {
  Tensor mean, var;  // [C], or [N,C] where each picture has its own; biased variance
};
Shape conv2d_shape(const Shape& x, const Shape& w, const Conv& p);
Var conv2d(const Var& x, const Var& w, const Conv& p);                             // x [N,H,W,C], w [K,R,S,C / groups]
struct ConvStats {
  Var y;
  NormStats stats;  // of y, as batch_stats and group_stats have them
};
// conv2d and the statistics of its result, from one kernel: what norm_act takes.
ConvStats conv2d_batch_stats(const Var& x, const Var& w, const Conv& p);
ConvStats conv2d_group_stats(const Var& x, const Var& w, const Conv& p, std::int64_t group);  // of groups of so many channels
Var conv2d_bias_act(const Var& x, const Var& w, const Var& bias, const Conv& p, const Activation& a);  // bias [K]; p.out is not inner
Var conv2d_dgrad(const Var& dy, const Var& w, const Conv& p, const Shape& x);      // the adjoint in x
Var conv2d_wgrad(const Var& x, const Var& dy, const Conv& p, const Shape& w);      // the adjoint in w
// Transposed convolution, PyTorch's ConvTranspose2d with w [I,R,S,O / groups]; output_padding extends the far edges.
Var conv_transpose2d(const Var& x, const Var& w, const Conv& p, std::int64_t output_padding = 0);

// ---- norm ------------------------------------------------------------------------------------------------------------
NormStats batch_stats(const Var& x, std::int64_t channels);  // [C]: Ioffe and Szegedy, 2015
// [N,C]: instance norm (Ulyanov et al., 2016) where p.group is 1, group norm (Wu and He, 2018) of groups of p.group channels.
// x [N,...,C], or in the form p.from.
NormStats group_stats(const Var& x, const NormAct& p);
// The norm by the statistics of x itself, then LeakyReLU. gamma and beta are [C]. x in the form p.from, y spatial.
Var norm_act(const Var& x, const NormStats& stats, const Var& gamma, const Var& beta, const NormAct& p);
// The same by given statistics, which are constants.
Var norm_act_fixed(const Var& x, const NormStats& stats, const Var& gamma, const Var& beta, const NormAct& p);

// ---- activation ------------------------------------------------------------------------------------------------------
Var leaky_relu(const Var& x, double slope);
Var leaky_relu_grad(const Var& dy, const Var& x, double slope);
Var relu(const Var& x);
void require_bounds(double min, double max);  // Error(bad_shape) where they are not finite, or the wrong way round
// To within the rounding of max - min; the derivative is 1 inside and 0 outside.
inline Var clamp(const Var& x, double min, double max) {
  require_bounds(min, max);
  return max - relu((max - min) - relu(x - min));
}
Var tanh(const Var& x);
Var tanh_grad(const Var& dy, const Var& y);
Var sigmoid(const Var& x);
Var sigmoid_grad(const Var& dy, const Var& y);
Var bias_act(const Var& x, const Var& bias, const Activation& p);  // bias [C]

// ---- resample --------------------------------------------------------------------------------------------------------
Var upsample(const Var& x, std::int64_t factor);        // [N,H,W,C] -> [N,factor H,factor W,C]
Var upsample_grad(const Var& dy, std::int64_t factor);  // its adjoint
Var pad(const Var& x, const Pad& p);                    // [N,H,W,C] -> [N,top + H + bottom,left + W + right,C]
Var pad_grad(const Var& dy, const Pad& p);              // its adjoint
Var join_phases(const Var& x, Phases from);             // -> [N,2H,2W,K]
Var split_phases(const Var& x, Phases to);              // [N,2H,2W,K] ->

// ---- sort ------------------------------------------------------------------------------------------------------------
struct Sorted {
  Var values;
  Tensor order;  // i32: the index along the axis that each value had
};
Sorted sort(const Var& x, int axis);  // ascending; equal values keep their order
// order: permutations along the axis, of x's shape. A derivative of sort takes the order as a constant.
Var gather(const Var& x, const Tensor& order, int axis);   // y[..., i, ...] = x[..., order[..., i, ...], ...]
Var scatter(const Var& x, const Tensor& order, int axis);  // its adjoint, and its inverse

// ---- augment ---------------------------------------------------------------------------------------------------------
// state: the StepState whose step counts the draws
Var diff_augment(const Var& x, const DiffAugment& p, const Tensor& state);        // [N,H,W,C]; affine in x
Var diff_augment_grad(const Var& dy, const DiffAugment& p, const Tensor& state);  // the adjoint of its linear part

// ---- loss ------------------------------------------------------------------------------------------------------------
Var bce_logits(const Var& logits, double target);       // []; binary cross-entropy with logits, averaged
Var bce_logits_grad(const Var& dloss, const Var& logits, double target);

// ---- random ----------------------------------------------------------------------------------------------------------
// state: the StepState whose step counts the draws
Var dropout(const Var& x, const Dropout& p, const Tensor& state);
Var sample_pixels(const Var& x, const SamplePixels& p, const Tensor& state);  // [N,H,W,C] -> [N,p.count,C]
Var sample_pixels_grad(const Var& dy, const SamplePixels& p, const Tensor& state, const Shape& x);  // the adjoint

}  // namespace pastiche
