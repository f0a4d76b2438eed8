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

// Statistics of each picture, of p.group channels.
const NormCase group_cases[] = {
    {{1, 1, 1, 1}, 1, {.eps = 0.1}},
    {{3, 1, 1, 4}, 4, {.eps = 0.1, .slope = 0.2}},
    {{2, 1, 1, 12}, 12, {.eps = 0.1, .group = 4}},
    {{5, 33}, 33, {.eps = 0.1, .slope = 0.2, .group = 11}},
    {{3, 7, 6}, 6, {.slope = 0.2, .group = 6}},
    {{1, 5, 7, 3}, 3, {}},
    {{2, 5, 3, 3}, 3, {.slope = 0.2}},
    {{2, 3, 7, 3}, 3, {.slope = 0, .group = 3}},
    {{3, 9, 1, 16}, 16, {.slope = 0.01, .group = 2}},
    {{2, 7, 7, 16}, 16, {.slope = 0.2}},
    {{4, 4, 4, 64}, 64, {.group = 8}},
    {{2, 14, 14, 33}, 33, {.slope = 0.2}},
    {{3, 3, 3, 1}, 1, {.eps = 1e-3, .slope = 0.3}},
    {{2, 28, 28, 4}, 4, {.slope = 0.2}},
    {{2, 28, 28, 12}, 12, {.slope = 0.2, .group = 3}},
    {{20, 3, 2, 8}, 8, {.slope = 0.2}},
    {{2, 90, 70, 4}, 4, {.slope = 0.2, .group = 2}},
    {{2, 2, 3, 4}, 1, {.slope = 0.2, .from = Phases::inner}},
    {{3, 3, 3, 12}, 3, {.from = Phases::inner, .group = 3}},
    {{2, 4, 5, 64}, 16, {.slope = 0.2, .from = Phases::inner}},
    {{3, 2, 2, 132}, 33, {.slope = 0.2, .from = Phases::inner, .group = 11}},
    {{4, 2, 3, 1}, 1, {.slope = 0.2, .from = Phases::outer}},
    {{8, 3, 3, 6}, 6, {.from = Phases::outer, .group = 2}},
    {{8, 4, 5, 16}, 16, {.slope = 0.2, .from = Phases::outer}},
    {{12, 5, 7, 7}, 7, {.slope = 0, .from = Phases::outer}},
    {{12, 2, 2, 33}, 33, {.slope = 0.2, .from = Phases::outer, .group = 33}},
};

std::string describe(const NormAct& p) {
  static constexpr const char* forms[] = {"none", "inner", "outer"};
  return fmt::format("eps {} slope {} from {}", p.eps, p.slope, forms[static_cast<int>(p.from)]);
}

// The rows of norm_act and norm_act_fixed by statistics of this shape, which stats(x) gives.
template <class Stats>
void add_act_cases(std::vector<OpCase>& cases, const NormCase& of, const std::string& detail, const Shape& statistics, Stats stats) {
  const auto& [x, channels, p] = of;
  const Shape c{channels};
  // One value a statistic: its gradient is zero.
  const double floor = x.elements() == statistics.elements() * p.group ? 1.2e-7 : 0;
  const Input gamma{c, Values::positive, Role::parameter}, beta{c, Values::small, Role::parameter};
  const bool twice = x.elements() <= 2'000, many_zeros = p.slope == 0;
  cases.push_back({.op = "norm_act", .detail = detail, .inputs = {{x, Values::two_sided}, gamma, beta},
                   .run = [stats, p = p](const OpRun& r) { return norm_act(r[0], stats(r[0]), r[1], r[2], p); },
                   .bound = 2e-6, .floor = floor, .twice = twice, .many_zeros = many_zeros});
  cases.push_back({.op = "norm_act_fixed", .detail = detail,
                   .inputs = {{x, Values::away}, gamma, beta, {statistics, Values::small, Role::statistic},
                              {statistics, Values::positive, Role::statistic}},
                   .run = [p = p](const OpRun& r) {
                     return norm_act_fixed(r[0], {r[3].value(), r[4].value()}, r[1], r[2], p);
                   },
                   .bound = 2e-6, .floor = floor, .twice = twice, .many_zeros = many_zeros});
}

}  // namespace

void add_norm_cases(std::vector<OpCase>& cases) {
  for (const NormCase& row : norm_cases) {
    const auto& [x, channels, p] = row;
    const Shape c{channels};
    const auto stats = [channels = channels](const Var& v) { return batch_stats(v, channels); };
    cases.push_back({.op = "batch_stats", .detail = fmt::format("{} channels", channels), .inputs = {{x}},
                     .run = [stats](const OpRun& r) -> Outputs {
                       const auto [mean, var] = stats(r[0]);
                       return {mean, var};
                     },
                     .bound = 2e-6, .differentiable = false});
    add_act_cases(cases, row, describe(p), c, stats);
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
  for (const NormCase& row : group_cases) {
    const auto& [x, channels, p] = row;
    const std::string detail = fmt::format("{} groups of {}", describe(p), p.group);
    const auto stats = [p = p](const Var& v) { return group_stats(v, p); };
    cases.push_back({.op = "group_stats", .detail = detail, .inputs = {{x}},
                     .run = [stats](const OpRun& r) -> Outputs {
                       const auto [mean, var] = stats(r[0]);
                       return {mean, var};
                     },
                     .bound = 2e-6, .differentiable = false});
    add_act_cases(cases, row, detail, {p.from == Phases::outer ? x[0] / 4 : x[0], channels}, stats);
  }
}

}  // namespace pastiche
