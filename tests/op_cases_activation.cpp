#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_activation_cases(std::vector<OpCase>& cases) {
  const double slopes[] = {0.25, 0, 0.5, -1, 1, 0.125};  // exact on integers
  std::size_t count = 0;
  for (const Shape& s : elementwise_shapes()) {
    const double slope = slopes[count++ % std::size(slopes)];
    const Input x{s, Values::away}, any{s};
    const std::string detail = fmt::format("slope {}", slope);
    cases.push_back({.op = "leaky_relu", .detail = detail, .inputs = {x},
                     .run = [=](const OpRun& r) { return leaky_relu(r[0], slope); }, .many_zeros = slope == 0});
    cases.push_back({.op = "leaky_relu", .detail = "slope 0.2", .inputs = {x},
                     .run = [](const OpRun& r) { return leaky_relu(r[0], 0.2); }, .bound = 1e-6});
    cases.push_back({.op = "leaky_relu_grad", .detail = detail, .inputs = {any, x},
                     .run = [=](const OpRun& r) { return leaky_relu_grad(r[0], r[1], slope); },
                     .many_zeros = slope == 0});
    cases.push_back({.op = "relu", .inputs = {x}, .run = unary(relu), .many_zeros = true});
    cases.push_back({.op = "tanh", .inputs = {any}, .run = unary(tanh), .bound = 1e-6});
    cases.push_back({.op = "tanh_grad", .inputs = {any, any}, .run = binary(tanh_grad),
                     .bound = 1e-6});
    cases.push_back({.op = "tanh", .detail = "wide", .inputs = {{s, Values::wide}}, .run = unary(tanh),
                     .bound = 1e-6, .floor = 1.2e-7});
    cases.push_back({.op = "sigmoid", .inputs = {any}, .run = unary(sigmoid), .bound = 1e-6});
    cases.push_back({.op = "sigmoid_grad", .inputs = {any, any}, .run = binary(sigmoid_grad),
                     .bound = 1e-6});
    cases.push_back({.op = "sigmoid", .detail = "wide", .inputs = {{s, Values::wide}},
                     .run = unary(sigmoid), .bound = 1e-6, .floor = 1.2e-7});
  }
  using Kind = Activation::Kind;
  const std::pair<Activation, const char*> activations[] = {{{.kind = Kind::identity}, "identity"},
                                                            {{.kind = Kind::leaky_relu, .slope = 0.25}, "leaky_relu"},
                                                            {{.kind = Kind::tanh}, "tanh"},
                                                            {{.kind = Kind::sigmoid}, "sigmoid"}};
  const Shape shapes[] = {{1, 1},       {5, 3},        {1, 64},       {33, 17},      {7, 1},        {1, 1, 1, 1},
                          {2, 5, 7, 3}, {2, 9, 1, 16}, {1, 28, 28, 1}, {3, 4, 4, 33}, {1, 7, 7, 64}};
  for (const Shape& s : shapes) {
    for (const auto& [p, name] : activations) {
      const bool exact = p.kind == Kind::identity || p.kind == Kind::leaky_relu;
      cases.push_back({.op = "bias_act", .detail = name,
                       .inputs = {{s, Values::away}, {{s.last()}, Values::small, Role::parameter}},
                       .run = [p = p](const OpRun& r) { return bias_act(r[0], r[1], p); },
                       .bound = exact ? 0 : 1e-6});
    }
  }
}

}  // namespace pastiche
