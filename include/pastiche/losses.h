#pragma once
// Adversarial losses on logits, distances of pictures, and penalties on weights. All are scalars, f32 where x is bf16.
#include "pastiche/nn.h"

namespace pastiche {

// Of both sides, by one name. Logits of any shape, averaged over all elements. s is one-sided label smoothing (Salimans et al.,
// 2016): what real pictures should reach is 1 - s.
enum class AdversarialLoss : std::uint8_t {
  non_saturating,  // D: bce(real, 1 - s) + bce(fake, 0); G: bce(fake, 1) = -mean ln D(G(z)) (Goodfellow et al., 2014)
  minimax,         // D: the same; G: -bce(fake, 0) = mean ln(1 - D(G(z))), the article's
  lsgan,           // D: mean (real - (1 - s))^2 + mean fake^2; G: mean (fake - 1)^2 (Mao et al., 2017, without their halves)
  hinge,           // D: mean max(0, 1 - s - real) + mean max(0, 1 + fake); G: -mean fake (Lim and Ye, 2017)
};
AdversarialLoss adversarial_loss(const std::string& name);  // "non-saturating", "minimax", "lsgan" or "hinge"
Var discriminator_loss(const Var& real_logits, const Var& fake_logits, AdversarialLoss kind, double smoothing = 0);
Var generator_loss(const Var& fake_logits, AdversarialLoss kind);

// mean |a - b|, for a and b of one shape.
Var l1_loss(const Var& a, const Var& b);

// l1 * sum |w| + l2 * sum w^2 over the weights, not over biases and norms: Keras's kernel_regularizer. Undefined where both are 0.
Var weight_penalty(const Parameters& parameters, double l1, double l2);

}  // namespace pastiche
