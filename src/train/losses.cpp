#include "pastiche/losses.h"

#include <algorithm>

#include "ops/check.h"

namespace pastiche {
namespace {

Var wide_mean(const Var& x) { return mean(cast(x, parameter_dtype(x.dtype()))); }

// mean (x - target)^2
Var squared_error(const Var& x, double target) {
  const Var difference = affine(cast(x, parameter_dtype(x.dtype())), {.shift = -target});
  return mean(difference * difference);
}

Var bce_of_both(const Var& real, const Var& fake, double smoothing) { return bce_logits(real, 1 - smoothing) + bce_logits(fake, 0); }

// A line a loss: D's, then G's. s is the smoothing.
constexpr AdversarialLoss losses[] = {
    // bce(real, 1 - s) + bce(fake, 0); bce(fake, 1) = -mean ln D(G(z)) (Goodfellow et al., 2014)
    {"non-saturating", bce_of_both, [](const Var& fake) { return bce_logits(fake, 1); }},
    // the same; -bce(fake, 0) = mean ln(1 - D(G(z))), the article's
    {"minimax", bce_of_both, [](const Var& fake) { return -bce_logits(fake, 0); }},
    // mean (real - (1 - s))^2 + mean fake^2; mean (fake - 1)^2 (Mao et al., 2017, without their halves)
    {"lsgan", [](const Var& real, const Var& fake, double smoothing) { return squared_error(real, 1 - smoothing) + squared_error(fake, 0); },
     [](const Var& fake) { return squared_error(fake, 1); }},
    // mean max(0, 1 - s - real) + mean max(0, 1 + fake); -mean fake (Lim and Ye, 2017)
    {"hinge",
     [](const Var& real, const Var& fake, double smoothing) {
       const Var of_real = relu(affine(real, {.scale = -1, .shift = 1 - smoothing})), of_fake = relu(affine(fake, {.shift = 1}));
       return wide_mean(of_real) + wide_mean(of_fake);
     },
     [](const Var& fake) { return -wide_mean(fake); }},
};

}  // namespace

std::span<const AdversarialLoss> adversarial_losses() { return losses; }

const AdversarialLoss& adversarial_loss(const std::string& name) {
  const auto* const found = std::ranges::find(losses, name, &AdversarialLoss::name);
  if (found == std::end(losses)) throw Error(ExitCode::usage, "unknown loss '" + name + "'");
  return *found;
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
