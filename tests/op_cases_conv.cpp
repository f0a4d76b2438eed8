#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {
namespace {

struct Geometry {
  Shape x, w;
  Conv p;
  bool many_zeros = false;  // of some kernel: more padding than picture, or a stride that skips pixels
  double bound = 0;
};

constexpr double winograd_bound = 2e-5;

std::string describe(const Conv& p) {
  static constexpr const char* forms[] = {"none", "inner", "outer"};
  if (p.upsample != 1)
    return fmt::format("upsample {} pad {} out {}", p.upsample, p.pad, forms[static_cast<int>(p.out)]);
  return fmt::format("stride {} pad {} dilation {} groups {}", p.stride, p.pad, p.dilation, p.groups);
}

std::int64_t multiplications(const Geometry& g) {
  const Shape y = conv2d_shape(g.x, g.w, g.p);
  return y.elements() * g.w[1] * g.w[2] * g.w[3];
}

// The three kernels on one geometry.
void add(std::vector<OpCase>& cases, const Geometry& g) {
  const auto& [x, w, p, many_zeros, bound] = g;
  const Input weight{w, Values::any, Role::parameter}, dy{conv2d_shape(x, w, p)};
  const bool twice = multiplications(g) <= 20'000;
  cases.push_back({.op = "conv2d", .detail = describe(p), .inputs = {{x}, weight},
                   .run = [p = p](const OpRun& r) { return conv2d(r[0], r[1], p); },
                   .bound = bound, .twice = twice, .many_zeros = many_zeros});
  cases.push_back({.op = "conv2d_dgrad", .detail = "to " + x.str() + " " + describe(p), .inputs = {dy, weight},
                   .run = [p = p, x = x](const OpRun& r) { return conv2d_dgrad(r[0], r[1], p, x); },
                   .bound = bound, .twice = twice, .many_zeros = many_zeros});
  cases.push_back({.op = "conv2d_wgrad", .detail = "to " + w.str() + " " + describe(p), .inputs = {{x}, dy},
                   .run = [p = p, w = w](const OpRun& r) { return conv2d_wgrad(r[0], r[1], p, w); },
                   .bound = bound, .twice = twice, .many_zeros = many_zeros});
}

// x [N,H,W,C], w [K,R,S,C / groups]
const Geometry geometries[] = {
    {{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
    {{3, 1, 1, 16}, {7, 1, 1, 16}, {}},
    {{1, 1, 1, 1}, {1, 3, 3, 1}, {.pad = 1}, true},
    {{1, 7, 5, 4}, {3, 1, 1, 4}, {}},
    {{2, 5, 7, 3}, {4, 3, 3, 3}, {.pad = 1}},
    {{2, 4, 4, 3}, {16, 3, 3, 3}, {}},
    {{1, 8, 8, 16}, {17, 3, 3, 16}, {.stride = 2, .pad = 1}},
    {{1, 9, 9, 7}, {1, 5, 5, 7}, {.pad = 2}},
    {{2, 7, 7, 3}, {5, 1, 1, 3}, {.stride = 3}, true},
    {{1, 9, 8, 4}, {3, 2, 2, 4}, {.stride = 4}, true},
    {{1, 3, 3, 2}, {2, 3, 3, 2}, {.pad = 3}, true},
    {{1, 2, 3, 2}, {3, 1, 1, 2}, {.pad = 2}, true},
    {{1, 7, 9, 8}, {8, 3, 3, 2}, {.pad = 1, .groups = 4}},
    {{2, 6, 6, 12}, {9, 3, 3, 4}, {.stride = 2, .pad = 1, .groups = 3}},
    {{1, 8, 8, 6}, {6, 3, 3, 1}, {.pad = 1, .groups = 6}},
    {{1, 5, 5, 3}, {6, 3, 3, 1}, {.pad = 1, .groups = 3}},
    {{1, 11, 11, 3}, {4, 3, 3, 3}, {.pad = 2, .dilation = 2}},
    {{1, 13, 9, 3}, {4, 3, 3, 3}, {.stride = 2, .pad = 3, .dilation = 3}, true},
    {{1, 10, 10, 33}, {64, 1, 1, 33}, {}},
    {{2, 16, 16, 3}, {16, 4, 4, 3}, {.stride = 2, .pad = 1}},
    {{1, 8, 8, 64}, {33, 4, 4, 64}, {.stride = 2, .pad = 1}},
    {{4, 4, 4, 64}, {1, 4, 4, 64}, {}},
    {{2, 28, 28, 1}, {16, 5, 5, 1}, {.stride = 2, .pad = 2}},
    {{1, 28, 28, 17}, {1, 5, 5, 17}, {.pad = 2}},
    {{1, 14, 14, 16}, {16, 5, 5, 16}, {.pad = 2}},
    {{1, 5, 9, 4}, {4, 3, 1, 4}, {}},
    {{1, 9, 5, 4}, {4, 1, 3, 4}, {.pad = 1}},
    {{3, 7, 7, 1}, {1, 7, 7, 1}, {.pad = 3}},
    {{1, 12, 12, 4}, {8, 2, 2, 4}, {.stride = 2}},
    {{1, 12, 12, 32}, {32, 3, 3, 32}, {.pad = 1}},
    {{1, 6, 4, 64}, {48, 3, 3, 64}, {.pad = 1}},
    {{1, 40, 40, 8}, {68, 3, 3, 8}, {.stride = 2, .pad = 1}},
    {{2, 23, 19, 8}, {12, 5, 5, 8}, {.stride = 5, .pad = 2}},
    {{1, 33, 33, 16}, {3, 5, 5, 16}, {.pad = 2}},
    // Channels that are multiples of 8, for tensor cores.
    {{1, 20, 20, 8}, {8, 3, 3, 8}, {.pad = 8, .dilation = 8}, true},
    {{1, 11, 11, 16}, {24, 3, 3, 16}, {.pad = 2, .dilation = 2}},
    {{2, 10, 12, 24}, {40, 4, 4, 24}, {.stride = 2, .pad = 1}},
    {{1, 13, 9, 40}, {72, 5, 5, 40}, {.stride = 2, .pad = 2}},
    {{1, 9, 8, 8}, {16, 2, 2, 8}, {.stride = 4}, true},
    {{2, 33, 31, 16}, {136, 3, 3, 16}, {.pad = 1}},
};

// Channels and kernels that a backend may compute by Winograd's algorithm, which integers do not come out of exactly. Rows and
// columns leave every remainder by the 4 outputs of its tiles.
const std::vector<Geometry>& winograd_geometries() {
  static const std::vector<Geometry> all = [] {
    std::vector<Geometry> rows = {
        {{1, 6, 4, 64}, {64, 3, 3, 64}, {.pad = 1}},
        {{1, 7, 5, 64}, {64, 3, 3, 64}, {.pad = 1}},
        {{2, 1, 2, 96}, {64, 3, 3, 96}, {.pad = 1}},
        {{1, 9, 6, 64}, {64, 3, 3, 64}, {}},
        {{1, 3, 3, 64}, {96, 3, 3, 64}, {.pad = 2}},
        {{1, 9, 8, 64}, {64, 5, 5, 64}, {.stride = 2, .pad = 2}},
        {{2, 6, 5, 64}, {64, 5, 5, 64}, {.stride = 2, .pad = 1}},
        {{1, 8, 10, 64}, {64, 6, 6, 64}, {.stride = 2, .pad = 2}},
    };
    const std::pair<Shape, std::int64_t> maps[] = {{{1, 3, 4, 64}, 16}, {{2, 2, 1, 64}, 32}, {{1, 7, 1, 64}, 16}};
    for (const auto& [x, k] : maps)
      for (const Phases out : {Phases::none, Phases::inner, Phases::outer})
        rows.push_back({x, {k, 5, 5, x[3]}, {.pad = 2, .upsample = 2, .out = out}});
    for (Geometry& g : rows) g.bound = winograd_bound;
    return rows;
  }();
  return all;
}

// Convolutions that end in more than a convolution. On tensor cores, statistics are of 32 pixels at a time, of one picture where each has
// its own: maps have whole parts, or a last one of few, or of all.
const std::vector<Geometry>& epilogue_geometries() {
  static const std::vector<Geometry> all = [] {
    std::vector<Geometry> rows = {
        {{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
        {{3, 1, 1, 16}, {7, 1, 1, 16}, {}},
        {{2, 5, 7, 3}, {4, 3, 3, 3}, {.pad = 1}},
        {{1, 8, 8, 16}, {17, 3, 3, 16}, {.stride = 2, .pad = 1}},
        {{1, 7, 9, 8}, {8, 3, 3, 2}, {.pad = 1, .groups = 4}},
        {{2, 4, 4, 16}, {8, 4, 4, 16}, {}},
        // For tensor cores.
        {{2, 8, 8, 8}, {8, 3, 3, 8}, {.pad = 1}},
        {{2, 8, 4, 16}, {24, 3, 3, 16}, {.pad = 1}},
        {{1, 3, 2, 8}, {16, 1, 1, 8}, {}},
        {{2, 10, 12, 24}, {40, 4, 4, 24}, {.stride = 2, .pad = 1}},
        {{1, 13, 9, 40}, {72, 5, 5, 40}, {.stride = 2, .pad = 2}},
        {{3, 16, 8, 16}, {64, 4, 4, 16}, {.stride = 2, .pad = 1}},
        {{2, 33, 31, 16}, {136, 3, 3, 16}, {.pad = 1}},
        {{2, 32, 32, 8}, {72, 3, 3, 8}, {.pad = 1}},
        {{1, 97, 97, 8}, {8, 1, 1, 8}, {}},  // 295 parts, which are joined first
    };
    const std::pair<Shape, std::int64_t> maps[] = {{{1, 2, 3, 3}, 4}, {{2, 4, 8, 8}, 16}, {{1, 5, 4, 16}, 8}};
    for (const auto& [x, k] : maps)
      for (const std::int64_t taps : {3, 5})
        for (const Phases out : {Phases::none, Phases::inner, Phases::outer})
          rows.push_back({x, {k, taps, taps, x[3]}, {.pad = taps / 2, .upsample = 2, .out = out}});
    rows.push_back({{2, 14, 13, 16}, {136, 5, 5, 16}, {.pad = 2, .upsample = 2, .out = Phases::inner}});
    rows.push_back({{1, 40, 64, 8}, {8, 3, 3, 8}, {.pad = 1, .upsample = 2, .out = Phases::outer}});
    return rows;
  }();
  return all;
}

// The result, which is exact, and the statistics, which are not.
void add_stats_cases(std::vector<OpCase>& cases, const char* op, const Geometry& g, const std::string& detail,
                     ConvStats (*run)(const OpRun&, const Conv&, std::int64_t), std::int64_t group) {
  const std::vector<Input> inputs{{g.x}, {g.w, Values::any, Role::parameter}};
  cases.push_back({.op = op, .detail = detail, .inputs = inputs,
                   .run = [=, p = g.p](const OpRun& r) { return run(r, p, group).y; },
                   .differentiable = multiplications(g) <= 1'000'000, .twice = multiplications(g) <= 20'000});
  cases.push_back({.op = op, .detail = detail + ", statistics", .inputs = inputs,
                   .run = [=, p = g.p](const OpRun& r) -> Outputs {
                     const auto [mean, var] = run(r, p, group).stats;
                     return {mean, var};
                   },
                   .bound = 1e-5, .differentiable = false});
}

void add_epilogue_cases(std::vector<OpCase>& cases, const Geometry& g) {
  const auto& [x, w, p, many_zeros, bound] = g;
  const std::int64_t k = w[0];
  add_stats_cases(cases, "conv2d_batch_stats", g, describe(p),
                  [](const OpRun& r, const Conv& conv, std::int64_t) { return conv2d_batch_stats(r[0], r[1], conv); }, 0);
  for (const std::int64_t group : {std::int64_t{1}, k % 8 == 0 ? k / 4 : k}) {
    if (group == 1 && k == 1) continue;
    add_stats_cases(cases, "conv2d_group_stats", g, fmt::format("{} groups of {}", describe(p), group),
                    [](const OpRun& r, const Conv& conv, std::int64_t of) { return conv2d_group_stats(r[0], r[1], conv, of); }, group);
  }
  if (p.out == Phases::inner) return;
  using Kind = Activation::Kind;
  const std::pair<Activation, const char*> activations[] = {{{.kind = Kind::identity}, "identity"},
                                                            {{.kind = Kind::leaky_relu, .slope = 0.25}, "leaky_relu"},
                                                            {{.kind = Kind::tanh}, "tanh"},
                                                            {{.kind = Kind::sigmoid}, "sigmoid"}};
  for (const auto& [act, name] : activations) {
    const bool exact = act.kind == Kind::identity || act.kind == Kind::leaky_relu;
    const bool many = multiplications(g) > 1'000'000;  // so many sums that some are at the kink
    if (many && act.kind != Kind::leaky_relu) continue;
    cases.push_back({.op = "conv2d_bias_act", .detail = fmt::format("{} {}", describe(p), name),
                     .inputs = {{x}, {w, Values::small, Role::parameter}, {{k}, Values::away, Role::parameter}},
                     .run = [p = p, act = act](const OpRun& r) { return conv2d_bias_act(r[0], r[1], r[2], p, act); },
                     .bound = exact ? 0 : 2e-6, .differentiable = !many, .twice = multiplications(g) <= 20'000, .rounds_twice = true});
  }
}

struct TransposedGeometry {
  Shape x, w;  // x [N,H,W,I], w [I,R,S,O / groups]
  Conv p;
  std::int64_t output_padding = 0;
  bool many_zeros = false;
};

const TransposedGeometry transposed[] = {
    {{1, 1, 1, 1}, {1, 1, 1, 1}, {}},
    {{2, 1, 1, 100}, {100, 4, 4, 16}, {}},
    {{1, 4, 4, 64}, {64, 4, 4, 16}, {.stride = 2, .pad = 1}},
    {{2, 7, 7, 16}, {16, 4, 4, 3}, {.stride = 2, .pad = 1}},
    {{1, 14, 14, 7}, {7, 4, 4, 1}, {.stride = 2, .pad = 1}},
    {{1, 7, 7, 16}, {16, 5, 5, 4}, {.stride = 2, .pad = 2}, 1},
    {{1, 3, 5, 4}, {4, 3, 3, 2}, {.stride = 2, .pad = 1}, 1},
    {{1, 5, 3, 4}, {4, 3, 3, 2}, {.stride = 2, .pad = 1}},
    {{1, 4, 4, 3}, {3, 3, 3, 5}, {}},
    {{1, 4, 4, 3}, {3, 3, 3, 5}, {.pad = 1}},
    {{2, 3, 3, 4}, {4, 2, 2, 4}, {.stride = 2}},
    {{1, 3, 3, 4}, {4, 1, 1, 3}, {.stride = 2}, 0, true},
    {{1, 2, 3, 4}, {4, 2, 2, 3}, {.stride = 3}, 2, true},
    {{1, 5, 5, 8}, {8, 3, 3, 2}, {.stride = 2, .pad = 1, .groups = 4}, 1},
    {{1, 5, 5, 6}, {6, 3, 3, 1}, {.pad = 1, .groups = 6}},
    {{1, 6, 6, 3}, {3, 3, 3, 4}, {.pad = 2, .dilation = 2}},
    {{1, 5, 4, 3}, {3, 3, 3, 4}, {.stride = 2, .pad = 1, .dilation = 2}, 1, true},
    {{1, 4, 7, 33}, {33, 1, 1, 17}, {}},
    {{1, 4, 6, 3}, {3, 1, 3, 2}, {.stride = 2}, 1, true},
    {{1, 6, 4, 3}, {3, 3, 1, 2}, {}},
    {{3, 1, 7, 2}, {2, 4, 4, 2}, {.stride = 2, .pad = 1}},
    {{1, 8, 8, 17}, {17, 7, 7, 1}, {.pad = 3}},
};

}  // namespace

void add_conv_cases(std::vector<OpCase>& cases) {
  for (const Geometry& g : geometries) add(cases, g);
  for (const Geometry& g : winograd_geometries()) add(cases, g);
  // [N,H,W,C] and K of upsampling convolutions
  const std::pair<Shape, std::int64_t> maps[] = {{{1, 1, 1, 1}, 1},  {{1, 2, 3, 3}, 4},  {{2, 3, 2, 4}, 3},
                                                 {{1, 5, 4, 16}, 7}, {{1, 7, 7, 17}, 1}, {{1, 4, 4, 33}, 16},
                                                 {{2, 5, 3, 24}, 40}};
  for (const auto& [x, k] : maps)
    for (const std::int64_t taps : {1, 3, 5, 7})
      for (const Phases out : {Phases::none, Phases::inner, Phases::outer})
        add(cases, {x, {k, taps, taps, x[3]}, {.pad = (taps - 1) / 2, .upsample = 2, .out = out},
                    x[1] == 1 && taps > 3});
  add(cases, {{2, 14, 13, 16}, {136, 5, 5, 16}, {.pad = 2, .upsample = 2, .out = Phases::inner}});
  for (const Geometry& g : epilogue_geometries()) add_epilogue_cases(cases, g);
  for (const auto& [x, w, p, output_padding, many_zeros] : transposed) {
    cases.push_back({.op = "conv_transpose2d",
                     .detail = fmt::format("{} output padding {}", describe(p), output_padding),
                     .inputs = {{x}, {w, Values::any, Role::parameter}},
                     .run = [p = p, extra = output_padding](const OpRun& r) {
                       return conv_transpose2d(r[0], r[1], p, extra);
                     },
                     .twice = x.elements() * w.without(0).elements() <= 20'000,
                     .many_zeros = many_zeros});
  }
}

}  // namespace pastiche
