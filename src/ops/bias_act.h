#pragma once
// What bias_act shares with the convolution that ends in it.
#include "ops/check.h"

namespace pastiche {

inline void require_bias_act(std::string_view op, const Shape& y, const Var& bias, const Activation& p) {
  require(bias.shape() == Shape{y.last()}, op, "bias is {}, expected [{}] for {}", bias.shape().str(), y.last(), y.str());
  require(p.slope >= 0, op, "slope {}, expected at least 0", p.slope);
}

struct BiasActGrads {
  Var dx, dbias;  // the bias' is undefined where it was not needed
};
// Told from y. By ops that can be differentiated again where a tape is current.
BiasActGrads bias_act_grad(const Var& dy, const Var& y, const Var& bias, const Activation& p, bool need_bias);

}  // namespace pastiche
