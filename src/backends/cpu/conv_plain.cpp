#include "backends/cpu/conv_plain.h"

#include <algorithm>

#include "backends/cpu/winograd.h"

namespace pastiche::cpu {
namespace {

using Pass = ConvShape::Pass;

// to [C,taps,K] = from [K,taps,C], the taps backwards
void reverse_weights(int threads, float* to, const float* from, std::int64_t k, std::int64_t taps, std::int64_t c) {
  constexpr std::int64_t tile = 16;
  for_items(threads, (c + tile - 1) / tile, tile * taps * k, [=](std::int64_t item) {
    const std::int64_t c0 = item * tile, c1 = std::min(c, c0 + tile);
    for (std::int64_t k0 = 0; k0 < k; k0 += tile) {
      const std::int64_t k1 = std::min(k, k0 + tile);
      for (std::int64_t t = 0; t < taps; ++t) {
        for (std::int64_t i = c0; i < c1; ++i) {
          for (std::int64_t j = k0; j < k1; ++j) to[(i * taps + taps - 1 - t) * k + j] = from[(j * taps + t) * c + i];
        }
      }
    }
  });
}

Tensor reverse_weights(OneDnn& dnn, const Tensor& w, const ConvShape& s) {
  Tensor turned = Tensor::empty(dnn.memory, {s.c, s.r, s.s, s.k});
  reverse_weights(dnn.threads, turned.mutable_data<float>(), w.data<float>(), s.k, s.r * s.s, s.c);
  return turned;
}

// A primitive computes 16 channels where fewer are written.
bool is_thin(const ConvRules& rules, std::int64_t written, std::int64_t read, DType dtype) {
  return written <= (dtype == DType::bf16 ? rules.scatter_bf16 : rules.scatter_f32) && read >= 16;
}

}  // namespace

bool can_reverse(const ConvShape& s) {
  return s.stride == 1 && s.groups == 1 && s.top <= (s.r - 1) * s.dilation && s.left <= (s.s - 1) * s.dilation;
}

ConvShape reversed(const ConvShape& s, Pass pass) {
  ConvShape t = s;
  t.pass = pass;
  t.h = s.p, t.w = s.q, t.c = s.k;
  t.p = s.h, t.q = s.w, t.k = s.c;
  t.top = (s.r - 1) * s.dilation - s.top, t.left = (s.s - 1) * s.dilation - s.left;
  t.reversed = !s.reversed;
  return t;
}

void conv_data(OneDnn& dnn, const ConvShape& shape, const Target& to, const Source& from, const Tensor& w,
               const std::function<Tensor()>& weights) {
  const bool forward = shape.pass == Pass::forward, turn = can_reverse(shape);
  if (shape.groups == 1 && !shape.accumulate && (turn || !forward) &&
      is_thin(dnn.rules, forward ? shape.k : shape.c, forward ? shape.c : shape.k, shape.dtype)) {
    const Tensor plain = weights();
    if (forward) {
      conv_scatter(dnn, reversed(shape, Pass::dgrad), to, from, reverse_weights(dnn, plain, shape));
    } else {
      conv_scatter(dnn, shape, to, from, plain);
    }
    return;
  }
  if (takes_winograd(dnn, shape)) {
    winograd_data(dnn, shape, to, from, w, weights);
    return;
  }
  const bool as_forward = !forward && turn;  // a primitive's forward is faster than its data gradient
  const ConvShape computed = as_forward ? reversed(shape, Pass::forward) : shape;
  ConvPlan& plan = dnn.conv(computed);
  if (!plan.packed(w)) {
    const Tensor plain = weights();
    plan.pack(w, as_forward ? reverse_weights(dnn, plain, shape) : plain);
  }
  const Operand input(dnn.memory, dnn.threads, from, shape.dtype);
  Result result(dnn.memory, dnn.threads, to, shape.result);
  plan.run(input.data(), result.data());
  result.finish();
}

void conv_weights(OneDnn& dnn, const ConvShape& shape, float* dw, const Source& x, const Source& dy) {
  if (takes_winograd(dnn, shape)) {
    winograd_weights(dnn, shape, dw, x, dy);
    return;
  }
  const Operand input(dnn.memory, dnn.threads, x, shape.dtype);
  const Operand gradient(dnn.memory, dnn.threads, dy, shape.dtype);
  // A primitive rounds the channels of dy up to 16, those of x it takes as they are.
  if (shape.k < std::min<std::int64_t>(16, shape.c) && can_reverse(shape)) {
    const std::int64_t taps = shape.r * shape.s;
    Scratch<float> turned(dnn.memory, shape.k * taps * shape.c);
    dnn.conv(reversed(shape, Pass::wgrad)).run_wgrad(gradient.data(), input.data(), turned);
    reverse_weights(dnn.threads, dw, turned, shape.c, taps, shape.k);
    return;
  }
  dnn.conv(shape).run_wgrad(input.data(), gradient.data(), dw);
}

}  // namespace pastiche::cpu
