#include "ops/check.h"

namespace pastiche {

namespace {

// The product in the dtype asked for: the gradient of an f32 weight is f32, though both factors may be bf16.
Var gemm_to(DType dtype, const Var& a, const Var& b, const Gemm& p) {
  const bool ta = p.a == Transpose::yes, tb = p.b == Transpose::yes;
  Tensor y = Tensor::empty(a.backend(), {a.shape()[ta ? 1 : 0], b.shape()[tb ? 0 : 1]}, dtype);  // [M,N]
  a.backend().gemm(y, a.value(), b.value(), p);
  return record("gemm", y, {a, b}, [a, b, p, ta, tb](const Var& dy, Needs need) -> Grads {
    // With A = op(a), B = op(b): dA = dy B^T, dB = A^T dy; where op transposes, the transpose of these.
    const Transpose b_as_is = p.b, b_flipped = tb ? Transpose::no : Transpose::yes;
    const Transpose a_as_is = p.a, a_flipped = ta ? Transpose::no : Transpose::yes;
    Grads grads;
    grads.push_back(!need[0] ? Var{}
                    : ta     ? gemm_to(a.dtype(), b, dy, {.a = b_as_is, .b = Transpose::yes})
                             : gemm_to(a.dtype(), dy, b, {.a = Transpose::no, .b = b_flipped}));
    grads.push_back(!need[1] ? Var{}
                    : tb     ? gemm_to(b.dtype(), dy, a, {.a = Transpose::yes, .b = a_as_is})
                             : gemm_to(b.dtype(), a, dy, {.a = a_flipped, .b = Transpose::no}));
    return grads;
  });
}

}  // namespace

Var gemm(const Var& a, const Var& b, const Gemm& p) {
  require_inputs("gemm", {&a, &b});
  require_rank("gemm", "a", a.shape(), 2);
  require_rank("gemm", "b", b.shape(), 2);
  const bool ta = p.a == Transpose::yes, tb = p.b == Transpose::yes;
  require(a.shape()[ta ? 0 : 1] == b.shape()[tb ? 1 : 0], "gemm", "a {}{} and b {}{} do not fit", a.shape().str(),
          ta ? " transposed" : "", b.shape().str(), tb ? " transposed" : "");
  return gemm_to(a.dtype(), a, b, p);
}

Var linear(const Var& x, const Var& w) {
  require_inputs("linear", {&x, &w});
  require_rank("linear", "x", x.shape(), 2);
  require_rank("linear", "w", w.shape(), 2);
  require(x.shape()[1] == w.shape()[1], "linear", "x is {}, w is {}, expected [N,I] and [O,I]", x.shape().str(), w.shape().str());
  return gemm(x, w, {.b = Transpose::yes});
}

}  // namespace pastiche
