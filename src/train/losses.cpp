#include "pastiche/losses.h"

#include <algorithm>

#include "ops/check.h"

namespace pastiche {
namespace {

Var wide(const Var& x) { return cast(x, parameter_dtype(x.dtype())); }
Var wide_mean(const Var& x) { return mean(wide(x)); }

// mean (x - target)^2
Var squared_error(const Var& x, double target) {
  const Var difference = wide(x) - target;
  return mean(difference * difference);
}

Var bce_of_both(const Var& real, const Var& fake, double smoothing) { return bce_logits(real, 1 - smoothing) + bce_logits(fake, 0); }

// A line a loss: D's, then G's. s is the smoothing.
constexpr AdversarialLoss losses[] = {
    // bce(real, 1 - s) + bce(fake, 0); bce(fake, 1) = -mean ln D(G(z)) (Goodfellow et al., 2014)
    {"non-saturating", bce_of_both, [](const Var&, const Var& fake) { return bce_logits(fake, 1); }},
    // the same; -bce(fake, 0) = mean ln(1 - D(G(z))), the article's
    {"minimax", bce_of_both, [](const Var&, const Var& fake) { return -bce_logits(fake, 0); }},
    // mean (real - (1 - s))^2 + mean fake^2; mean (fake - 1)^2 (Mao et al., 2017, without their halves)
    {"lsgan", [](const Var& real, const Var& fake, double smoothing) { return squared_error(real, 1 - smoothing) + squared_error(fake, 0); },
     [](const Var&, const Var& fake) { return squared_error(fake, 1); }},
    // mean max(0, 1 - s - real) + mean max(0, 1 + fake); -mean fake (Lim and Ye, 2017)
    {"hinge",
     [](const Var& real, const Var& fake, double smoothing) {
       const Var of_real = relu(affine(real, {.scale = -1, .shift = 1 - smoothing})), of_fake = relu(affine(fake, {.shift = 1}));
       return wide_mean(of_real) + wide_mean(of_fake);
     },
     [](const Var&, const Var& fake) { return -wide_mean(fake); }},
    // mean fake - mean real; -mean fake (Arjovsky et al., 2017)
    {.name = "wgan", .discriminator = [](const Var& real, const Var& fake, double) { return wide_mean(fake) - wide_mean(real); },
     .generator = [](const Var&, const Var& fake) { return -wide_mean(fake); }, .critic = true},
    // bce(real - fake, 1 - s); bce(fake - real, 1) (Jolicoeur-Martineau, 2019, as Huang et al., 2024 pair them)
    {.name = "relativistic", .discriminator = [](const Var& real, const Var& fake, double smoothing) { return bce_logits(wide(real) - wide(fake), 1 - smoothing); },
     .generator = [](const Var& real, const Var& fake) { return bce_logits(wide(fake) - wide(real), 1); }, .relativistic = true},
};

// |grad_x D(x)|^2 of each picture: [N].
Var squared_gradients(const Var& logits, const Var& pictures) {
  const Var wrt[] = {pictures};
  const Var gradient = grad(sum(logits), wrt, {.create_graph = CreateGraph::yes})[0];
  const Var flat = flatten(wide(gradient));
  return sum(flat * flat, 1);
}

}  // namespace

std::span<const AdversarialLoss> adversarial_losses() { return losses; }

const AdversarialLoss& adversarial_loss(const std::string& name) {
  const auto* const found = std::ranges::find(losses, name, &AdversarialLoss::name);
  if (found == std::end(losses)) throw Error(ExitCode::usage, "unknown loss '" + name + "'");
  return *found;
}

Var zero_centered_penalty(const Var& logits, const Var& pictures) { return mean(squared_gradients(logits, pictures)); }

Var one_centered_penalty(const Var& logits, const Var& pictures) {
  constexpr double root_is_steep = 1e-12;  // the square root has no derivative at 0
  const Var excess = sqrt(squared_gradients(logits, pictures) + root_is_steep) - 1;
  return mean(excess * excess);
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
