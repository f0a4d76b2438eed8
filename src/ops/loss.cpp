#include "ops/check.h"

namespace pastiche {

Var bce_logits(const Var& logits, double target) {
  require_inputs("bce_logits", {&logits});
  require(target >= 0 && target <= 1, "bce_logits", "target {}, expected 0 to 1", target);
  Tensor loss = Tensor::empty(logits.backend(), {}, parameter_dtype(logits.dtype()));
  logits.backend().bce_logits(loss, logits.value(), target);
  return record("bce_logits", loss, {logits}, [logits, target](const Var& dloss, Needs) -> Grads {
    return {bce_logits_grad(dloss, logits, target)};
  });
}

Var bce_logits_grad(const Var& dloss, const Var& logits, double target) {
  require_inputs("bce_logits_grad", {&dloss, &logits});
  require(dloss.shape() == Shape{}, "bce_logits_grad", "dloss is {}, expected a scalar", dloss.shape().str());
  Tensor dx = empty_like(logits);
  logits.backend().bce_logits_grad(dx, dloss.value(), logits.value(), target);
  return record("bce_logits_grad", dx, {dloss, logits}, [dloss, logits, target](const Var& ddx, Needs need) -> Grads {
    const double per_element = 1.0 / static_cast<double>(logits.shape().elements());
    const Var weight = per_element * cast(ddx, dloss.dtype());                        // [elements of logits]
    const Var probability = sigmoid(cast(logits, dloss.dtype()));
    Grads grads;
    grads.push_back(need[0] ? sum(weight * affine(probability, {.shift = -target})) : Var{});
    if (need[1]) {
      const Var spread = reshape(broadcast(dloss, 0, logits.shape().elements()), logits.shape());
      grads.push_back(cast(sigmoid_grad(weight * spread, probability), logits.dtype()));
    }
    return grads;
  });
}

}  // namespace pastiche
