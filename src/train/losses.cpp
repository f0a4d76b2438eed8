#include "pastiche/losses.h"

#include "ops/check.h"

namespace pastiche {
namespace {

Var wide_mean(const Var& x) { return mean(cast(x, parameter_dtype(x.dtype()))); }

// mean (x - target)^2
Var squared_error(const Var& x, double target) {
  const Var difference = affine(cast(x, parameter_dtype(x.dtype())), {.shift = -target});
  return mean(difference * difference);
}

}  // namespace

Var discriminator_loss(const Var& real_logits, const Var& fake_logits, double smoothing) {
  return bce_logits(real_logits, 1 - smoothing) + bce_logits(fake_logits, 0);
}

Var generator_loss(const Var& fake_logits, GeneratorLoss kind) {
  return kind == GeneratorLoss::non_saturating ? bce_logits(fake_logits, 1) : -bce_logits(fake_logits, 0);
}

Var discriminator_loss(const Var& real_logits, const Var& fake_logits, AdversarialLoss kind) {
  switch (kind) {
    case AdversarialLoss::bce: return discriminator_loss(real_logits, fake_logits);
    case AdversarialLoss::lsgan: return squared_error(real_logits, 1) + squared_error(fake_logits, 0);
    default: {
      const Var real = relu(affine(real_logits, {.scale = -1, .shift = 1})), fake = relu(affine(fake_logits, {.shift = 1}));
      return wide_mean(real) + wide_mean(fake);
    }
  }
}

Var generator_loss(const Var& fake_logits, AdversarialLoss kind) {
  switch (kind) {
    case AdversarialLoss::bce: return generator_loss(fake_logits, GeneratorLoss::non_saturating);
    case AdversarialLoss::lsgan: return squared_error(fake_logits, 1);
    default: return -wide_mean(fake_logits);
  }
}

Var l1_loss(const Var& a, const Var& b) { return wide_mean(abs(a - b)); }

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
