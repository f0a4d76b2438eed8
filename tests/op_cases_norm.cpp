#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {
namespace {

struct NormCase {
  Shape x;
  std::int64_t channels;
  NormAct p;
};

// Few values a channel cancel almost entirely; a larger eps keeps the result well conditioned.
const NormCase norm_cases[] = {
    {{1, 1, 1, 1}, 1, {.eps = 0.1}},
    {{2, 1, 1, 7}, 7, {.eps = 0.1, .slope = 0.2}},
    {{3, 1, 1, 4}, 4, {.eps = 0.1}},
    {{4, 33}, 33, {.eps = 0.1, .slope = 0.2}},
    {{64, 1}, 1, {}},
    {{100, 17}, 17, {.slope = 0.2}},
    {{33, 98}, 98, {}},
    {{1, 5, 7, 3}, 3, {}},
    {{2, 5, 3, 3}, 3, {.slope = 0.2}},
    {{2, 3, 7, 3}, 3, {.slope = 0}},
    {{1, 9, 1, 16}, 16, {.slope = 0.01}},
    {{2, 7, 7, 16}, 16, {.slope = 0.2}},
    {{4, 4, 4, 64}, 64, {}},
    {{1, 14, 14, 33}, 33, {.slope = 0.2}},
    {{3, 3, 3, 1}, 1, {.eps = 1e-3, .slope = 0.3}},
    {{2, 28, 28, 4}, 4, {.slope = 0.2}},
    {{1, 2, 3, 4}, 1, {.slope = 0.2, .from = Phases::inner}},
    {{1, 3, 3, 12}, 3, {.from = Phases::inner}},
    {{2, 4, 5, 64}, 16, {.slope = 0.2, .from = Phases::inner}},
    {{1, 7, 5, 28}, 7, {.slope = 0, .from = Phases::inner}},
    {{3, 2, 2, 132}, 33, {.slope = 0.2, .from = Phases::inner}},
    {{4, 2, 3, 1}, 1, {.slope = 0.2, .from = Phases::outer}},
    {{4, 3, 3, 3}, 3, {.from = Phases::outer}},
    {{8, 4, 5, 16}, 16, {.slope = 0.2, .from = Phases::outer}},
    {{4, 5, 7, 7}, 7, {.slope = 0, .from = Phases::outer}},
    {{12, 2, 2, 33}, 33, {.slope = 0.2, .from = Phases::outer}},
};

std::string describe(const NormAct& p) {
  static constexpr const char* forms[] = {"none", "inner", "outer"};
  return fmt::format("eps {} slope {} from {}", p.eps, p.slope, forms[static_cast<int>(p.from)]);
}

}  // namespace

void add_norm_cases(std::vector<OpCase>& cases) {
  for (const auto& [x, channels, p] : norm_cases) {
    const Shape c{channels};
    const double floor = x.elements() == channels ? 1.2e-7 : 0;  // one value a channel: its gradient is zero
    const Input picture{x, Values::two_sided};
    const Input gamma{c, Values::positive, Role::parameter}, beta{c, Values::small, Role::parameter};
    cases.push_back({.op = "batch_stats", .detail = fmt::format("{} channels", channels), .inputs = {{x}},
                     .run = [channels = channels](const OpRun& r) -> Outputs {
                       const auto [mean, var] = batch_stats(r[0], channels);
                       return {mean, var};
                     },
                     .bound = 2e-6, .differentiable = false});
    cases.push_back({.op = "norm_act", .detail = describe(p), .inputs = {picture, gamma, beta},
                     .run = [channels = channels, p = p](const OpRun& r) {
                       return norm_act(r[0], batch_stats(r[0], channels), r[1], r[2], p);
                     },
                     .bound = 2e-6, .floor = floor, .twice = x.elements() <= 2'000, .many_zeros = p.slope == 0});
    cases.push_back({.op = "norm_act_fixed", .detail = describe(p),
                     .inputs = {{x, Values::away}, gamma, beta, {c, Values::small, Role::statistic},
                                {c, Values::positive, Role::statistic}},
                     .run = [p = p](const OpRun& r) {
                       return norm_act_fixed(r[0], {r[3].value(), r[4].value()}, r[1], r[2], p);
                     },
                     .bound = 2e-6, .floor = floor, .twice = x.elements() <= 2'000, .many_zeros = p.slope == 0});
    const RunningStats running{.momentum = 0.1, .var_scale = x.elements() > channels ? 1.25 : 1};
    const Input any{c, Values::any, Role::statistic}, positive{c, Values::positive, Role::statistic};
    cases.push_back({.op = "update_running_stats",
                     .detail = fmt::format("var_scale {}, row {}", running.var_scale, x.str()),
                     .inputs = {any, positive, any, positive},
                     .run = [running](const OpRun& r) -> Outputs {
                       Tensor mean = r[0].value(), var = r[1].value();
                       r.backend.update_running_stats(mean, var, r[2].value(), r[3].value(), running);
                       return {mean, var};
                     },
                     .bound = 1e-6, .bf16 = false, .differentiable = false});
  }
}

}  // namespace pastiche
