#pragma once
// Adversarial losses on logits (Goodfellow et al., 2014) and penalties on weights.
#include "pastiche/nn.h"

namespace pastiche {

// bce(real, 1 - smoothing) + bce(fake, 0); one-sided label smoothing as in Salimans et al., 2016.
Var discriminator_loss(const Var& real_logits, const Var& fake_logits, double smoothing = 0);

enum class GeneratorLoss : std::uint8_t {
  non_saturating,  // bce(fake, 1) = -mean ln D(G(z))
  minimax,         // -bce(fake, 0) = mean ln(1 - D(G(z))), the article's
};
Var generator_loss(const Var& fake_logits, GeneratorLoss kind);

// l1 * sum |w| + l2 * sum w^2 over the weights, not over biases and norms: Keras's kernel_regularizer. Undefined where both are 0.
Var weight_penalty(const Parameters& parameters, double l1, double l2);

}  // namespace pastiche
