#pragma once
// Adversarial losses on logits, distances of pictures, and penalties on weights. All are scalars, f32 where x is bf16.
#include "pastiche/nn.h"

namespace pastiche {

// Goodfellow et al., 2014: bce(real, 1 - smoothing) + bce(fake, 0); one-sided label smoothing as in Salimans et al., 2016.
Var discriminator_loss(const Var& real_logits, const Var& fake_logits, double smoothing = 0);

enum class GeneratorLoss : std::uint8_t {
  non_saturating,  // bce(fake, 1) = -mean ln D(G(z))
  minimax,         // -bce(fake, 0) = mean ln(1 - D(G(z))), the article's
};
Var generator_loss(const Var& fake_logits, GeneratorLoss kind);

// Losses of both sides by one name. Logits of any shape, averaged over all elements.
enum class AdversarialLoss : std::uint8_t {
  bce,    // D: bce(real, 1) + bce(fake, 0); G: bce(fake, 1), non-saturating
  lsgan,  // D: mean (real - 1)^2 + mean fake^2; G: mean (fake - 1)^2 (Mao et al., 2017, without their factors of 1/2)
  hinge,  // D: mean max(0, 1 - real) + mean max(0, 1 + fake); G: -mean fake (Lim and Ye, 2017)
};
Var discriminator_loss(const Var& real_logits, const Var& fake_logits, AdversarialLoss kind);
Var generator_loss(const Var& fake_logits, AdversarialLoss kind);

// mean |a - b|, for a and b of one shape.
Var l1_loss(const Var& a, const Var& b);

// l1 * sum |w| + l2 * sum w^2 over the weights, not over biases and norms: Keras's kernel_regularizer. Undefined where both are 0.
Var weight_penalty(const Parameters& parameters, double l1, double l2);

}  // namespace pastiche
