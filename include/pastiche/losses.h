#pragma once
// Adversarial losses on logits, distances of pictures, and penalties on weights. All are scalars, f32 where x is bf16.
#include <span>
#include <string>

#include "pastiche/nn.h"

namespace pastiche {

// Of both sides, by one name. Logits of any shape, averaged over all elements. `smoothing` is one-sided label smoothing (Salimans et al.,
// 2016): what real pictures should reach is 1 - smoothing. The table in losses.cpp has the formulas.
struct AdversarialLoss {
  const char* name;
  Var (*discriminator)(const Var& real_logits, const Var& fake_logits, double smoothing);
  Var (*generator)(const Var& fake_logits);
};
std::span<const AdversarialLoss> adversarial_losses();
const AdversarialLoss& adversarial_loss(const std::string& name);  // Error(usage) where there is none of that name

// mean |a - b|, for a and b of one shape.
Var l1_loss(const Var& a, const Var& b);

// l1 * sum |w| + l2 * sum w^2 over the weights, not over biases and norms: Keras's kernel_regularizer. Undefined where both are 0.
Var weight_penalty(const Parameters& parameters, double l1, double l2);

}  // namespace pastiche
