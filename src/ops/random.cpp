#include "ops/check.h"

namespace pastiche {

Var dropout(const Var& x, const Dropout& p, const Tensor& state) {
  require(p.p >= 0 && p.p < 1, "dropout", "probability {}, expected 0 or more and less than 1", p.p);
  if (p.p == 0) return x;
  Tensor y = empty_like(x);
  x.backend().dropout(y, x.value(), p, state);
  // The mask is drawn again: it is a function of the key, the step and the index.
  return record("dropout", y, {x}, [p, state](const Var& dy, Needs) -> Grads { return {dropout(dy, p, state)}; });
}

}  // namespace pastiche
