#include "pastiche/losses.h"

namespace pastiche {

Var discriminator_loss(const Var& real_logits, const Var& fake_logits, double smoothing) {
  return bce_logits(real_logits, 1 - smoothing) + bce_logits(fake_logits, 0);
}

Var generator_loss(const Var& fake_logits, GeneratorLoss kind) {
  return kind == GeneratorLoss::non_saturating ? bce_logits(fake_logits, 1) : -bce_logits(fake_logits, 0);
}

Var weight_penalty(const Parameters& parameters, double l1, double l2) {
  Var penalty;
  const auto include = [&](double factor, const Var& term) {
    const Var scaled = factor * sum(term);
    penalty = penalty.defined() ? penalty + scaled : scaled;
  };
  for (const Parameter& p : parameters.all()) {
    if (p.value.shape().rank() < 2) continue;
    const Var w = p.var();
    if (l1 > 0) include(l1, abs(w));
    if (l2 > 0) include(l2, w * w);
  }
  return penalty;
}

}  // namespace pastiche
