#include <algorithm>

#include "ops/check.h"

namespace pastiche {
namespace {

void check(std::string_view op, const Pad& p, const Shape& picture) {
  const bool reflect = p.mode == Pad::Mode::reflect;
  const auto fits = [&](std::int64_t before, std::int64_t after, std::int64_t extent) {
    return before >= 0 && after >= 0 && extent > 0 && (!reflect || std::max(before, after) < extent);
  };
  require(fits(p.top, p.bottom, picture[1]) && fits(p.left, p.right, picture[2]), op,
          "top {}, bottom {}, left {}, right {} around {}, expected at least 0{}", p.top, p.bottom, p.left, p.right, picture.str(),
          reflect ? ", and to reflect less than its height and width" : ", and a picture that is not empty");
}

}  // namespace

Var upsample(const Var& x, std::int64_t factor) {
  require_inputs("upsample", {&x});
  require_rank("upsample", "x", x.shape(), 4);
  require(factor >= 1, "upsample", "factor {}, expected at least 1", factor);
  Tensor y = empty_as(x, x.shape().with(1, factor * x.shape()[1]).with(2, factor * x.shape()[2]));
  x.backend().upsample(y, x.value(), factor);
  return record("upsample", y, {x}, [factor](const Var& dy, Needs) -> Grads { return {upsample_grad(dy, factor)}; });
}

Var upsample_grad(const Var& dy, std::int64_t factor) {
  require_inputs("upsample_grad", {&dy});
  const Shape& shape = dy.shape();
  require_rank("upsample_grad", "dy", shape, 4);
  require(factor >= 1 && shape[1] % factor == 0 && shape[2] % factor == 0, "upsample_grad",
          "dy is {}, expected height and width that {} divides", shape.str(), factor);
  Tensor dx = empty_as(dy, shape.with(1, shape[1] / factor).with(2, shape[2] / factor));
  dy.backend().upsample_grad(dx, dy.value(), factor);
  return record("upsample_grad", dx, {dy}, [factor](const Var& ddx, Needs) -> Grads { return {upsample(ddx, factor)}; });
}

Var pad(const Var& x, const Pad& p) {
  require_inputs("pad", {&x});
  const Shape& shape = x.shape();
  require_rank("pad", "x", shape, 4);
  check("pad", p, shape);
  Tensor y = empty_as(x, shape.with(1, p.top + shape[1] + p.bottom).with(2, p.left + shape[2] + p.right));
  x.backend().pad(y, x.value(), p);
  return record("pad", y, {x}, [p](const Var& dy, Needs) -> Grads { return {pad_grad(dy, p)}; });
}

Var pad_grad(const Var& dy, const Pad& p) {
  require_inputs("pad_grad", {&dy});
  const Shape& shape = dy.shape();
  require_rank("pad_grad", "dy", shape, 4);
  const Shape picture = shape.with(1, shape[1] - p.top - p.bottom).with(2, shape[2] - p.left - p.right);
  check("pad_grad", p, picture);
  Tensor dx = empty_as(dy, picture);
  dy.backend().pad_grad(dx, dy.value(), p);
  return record("pad_grad", dx, {dy}, [p](const Var& ddx, Needs) -> Grads { return {pad(ddx, p)}; });
}

Var join_phases(const Var& x, Phases from) {
  require_inputs("join_phases", {&x});
  const Shape& s = x.shape();
  require_rank("join_phases", "x", s, 4);
  require(from == Phases::inner ? s[3] % 4 == 0 : from == Phases::outer && s[0] % 4 == 0, "join_phases",
          "x is {}, expected {}", s.str(), from == Phases::inner ? "[N,H,W,4K]" : "[4N,H,W,K]");
  Tensor y = from == Phases::inner ? empty_as(x, {s[0], 2 * s[1], 2 * s[2], s[3] / 4})
                                   : empty_as(x, {s[0] / 4, 2 * s[1], 2 * s[2], s[3]});
  x.backend().join_phases(y, x.value(), from);
  return record("join_phases", y, {x}, [from](const Var& dy, Needs) -> Grads { return {split_phases(dy, from)}; });
}

Var split_phases(const Var& x, Phases to) {
  require_inputs("split_phases", {&x});
  const Shape& s = x.shape();
  require_rank("split_phases", "x", s, 4);
  require(to != Phases::none && s[1] % 2 == 0 && s[2] % 2 == 0, "split_phases", "x is {}, expected [N,2H,2W,K]", s.str());
  Tensor y = to == Phases::inner ? empty_as(x, {s[0], s[1] / 2, s[2] / 2, 4 * s[3]})
                                 : empty_as(x, {4 * s[0], s[1] / 2, s[2] / 2, s[3]});
  x.backend().split_phases(y, x.value(), to);
  return record("split_phases", y, {x}, [to](const Var& dy, Needs) -> Grads { return {join_phases(dy, to)}; });
}

}  // namespace pastiche
