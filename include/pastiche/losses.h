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
  Var (*generator)(const Var& real_logits, const Var& fake_logits);  // real_logits is undefined unless the loss is relativistic
  bool relativistic = false;  // judges each real picture against a made one, and neither alone: its logits have no zero
  bool critic = false;        // of logits without bounds or a target, which need a penalty

  // `real_logits()` lets the discriminator judge the real pictures as it is by now. Only a relativistic loss calls it.
  template <class RealLogits>
  Var generator_loss(const RealLogits& real_logits, const Var& fake_logits) const {
    Var real;
    if (relativistic) {
      const Recording off(nullptr);  // no gradient goes through them
      real = real_logits();
    }
    return generator(real, fake_logits);
  }
};
std::span<const AdversarialLoss> adversarial_losses();
const AdversarialLoss& adversarial_loss(const std::string& name);  // Error(usage) where there is none of that name

// Penalties on the discriminator's gradient by the pictures that it judged, averaged over the pictures: f32 scalars, or f64. `pictures`
// [N,...] are a leaf of the tape or a Var on it, `logits` the discriminator's of them. Their own gradient needs second derivatives.
Var zero_centered_penalty(const Var& logits, const Var& pictures);  // |grad|^2: R1 of real pictures, R2 of made ones (Mescheder et al., 2018)
Var one_centered_penalty(const Var& logits, const Var& pictures);   // (|grad| - 1)^2 (WGAN-GP; Gulrajani et al., 2017)

// mean |a - b|, for a and b of one shape.
Var l1_loss(const Var& a, const Var& b);

// l1 * sum |w| + l2 * sum w^2 over the weights, not over biases and norms: Keras's kernel_regularizer. Undefined where both are 0.
Var weight_penalty(const Parameters& parameters, double l1, double l2);

}  // namespace pastiche
