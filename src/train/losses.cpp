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

AdversarialLoss adversarial_loss(const std::string& name) {
  if (name == "non-saturating") return AdversarialLoss::non_saturating;
  if (name == "minimax") return AdversarialLoss::minimax;
  if (name == "lsgan") return AdversarialLoss::lsgan;
  if (name == "hinge") return AdversarialLoss::hinge;
  throw Error(ExitCode::usage, "unknown loss '" + name + "', expected non-saturating, minimax, lsgan or hinge");
}

Var discriminator_loss(const Var& real_logits, const Var& fake_logits, AdversarialLoss kind, double smoothing) {
  const double target = 1 - smoothing;
  switch (kind) {
    case AdversarialLoss::lsgan: return squared_error(real_logits, target) + squared_error(fake_logits, 0);
    case AdversarialLoss::hinge: {
      const Var real = relu(affine(real_logits, {.scale = -1, .shift = target})), fake = relu(affine(fake_logits, {.shift = 1}));
      return wide_mean(real) + wide_mean(fake);
    }
    case AdversarialLoss::non_saturating:
    case AdversarialLoss::minimax: break;
  }
  return bce_logits(real_logits, target) + bce_logits(fake_logits, 0);
}

Var generator_loss(const Var& fake_logits, AdversarialLoss kind) {
  switch (kind) {
    case AdversarialLoss::minimax: return -bce_logits(fake_logits, 0);
    case AdversarialLoss::lsgan: return squared_error(fake_logits, 1);
    case AdversarialLoss::hinge: return -wide_mean(fake_logits);
    case AdversarialLoss::non_saturating: break;
  }
  return bce_logits(fake_logits, 1);
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
