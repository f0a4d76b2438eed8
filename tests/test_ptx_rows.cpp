#include "test_ptx_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "simt/engine.h"

namespace pastiche {

Results run_row(const std::string& name, const OpCase& row, DType dtype, Fill fill, std::int64_t mark) {
  static std::map<std::string, std::unique_ptr<Backend>> backends;
  auto& backend = backends[name + std::to_string(simt_runtime::machine().major)];
  if (!backend) {
    backend = make_tested_backend(name);
    backend->poison_new_buffers(true);
    backend->pool_buffers(false);  // so that every buffer has bounds
  }
  Tape tape;
  const Recording recording(&tape);
  std::vector<Var> vars, leaves;
  for (std::size_t i = 0; i < row.inputs.size(); ++i) {
    Tensor input = make_input(*backend, row, i, dtype, fill);
    if (mark > 0 && row.inputs[i].role == Role::activation && input.dtype() != DType::u8) {
      const std::vector<double> before = host_values(input);
      std::vector<float> values(before.begin(), before.end());
      for (std::size_t j = 0; j < values.size(); j += static_cast<std::size_t>(mark)) values[j] = std::nanf("");
      backend->cast(input, Tensor::from_host(*backend, input.shape(), values.data()));
    }
    const bool leaf = row.differentiable && input.dtype() != DType::u8 && row.inputs[i].role != Role::statistic;
    vars.push_back(leaf ? tape.leaf(input) : Var(input));
    if (leaf) leaves.push_back(vars.back());
  }
  const Outputs y = row.run({*backend, dtype, vars});
  Results all;
  for (const Var& v : y) all.push_back(host_values(v.value()));
  if (!row.differentiable) return all;
  const bool twice = row.twice && dtype == DType::f32 && fill != Fill::integers;
  const auto random_like = [&](const Var& v) { return make_random(*backend, v.shape(), v.dtype(), fill, 1); };
  for (const Var& g : grad(y[0], leaves, {.create_graph = twice ? CreateGraph::yes : CreateGraph::no, .cotangent = random_like(y[0])})) {
    all.push_back(host_values(g.value()));
    if (!twice) continue;
    for (const Var& second : grad(g, leaves, {.cotangent = random_like(g)})) all.push_back(host_values(second.value()));
  }
  return all;
}

namespace {

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

}  // namespace

Expected expected_of(const OpCase& row, DType dtype, Fill fill) {
  Expected e{.values = run_row("reference", row, dtype, fill), .magnitudes = {}, .floor = row.floor};
  if (fill == Fill::integers) return e;
  e.magnitudes = run_row("reference", row, dtype, Fill::magnitudes);
  e.bound = dtype == DType::bf16 ? 1e-2 : std::max(1e-5, 3 * row.bound);  // gradients of gradients round more than once
  return e;
}

std::string difference(const Results& got, const Expected& expected) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    std::vector<double> error(got[i].size());
    for (std::size_t j = 0; j < error.size(); ++j) error[j] = got[i][j] == expected.values[i][j] ? 0 : got[i][j] - expected.values[i][j];
    const double size = std::max(norm(expected.values[i]), expected.magnitudes.empty() ? 0 : norm(expected.magnitudes[i]));
    const double allowed = expected.bound * size + (expected.bound == 0 ? 0 : expected.floor * std::sqrt(static_cast<double>(error.size())));
    if (norm(error) <= allowed) continue;
    return fmt::format("result {}: an error of {:.3g}, {:.3g} is allowed", i, norm(error), allowed);
  }
  return "";
}

std::size_t lost_nans(const Results& got, const Results& expected) {
  std::size_t lost = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (std::size_t j = 0; j < got[i].size(); ++j) lost += std::isnan(expected[i][j]) && !std::isnan(got[i][j]);
  }
  return lost;
}

std::vector<OpCase> tile_rows() {
  std::vector<OpCase> rows;
  const auto conv_row = [&](const Shape& x, std::int64_t outputs) {
    rows.push_back({.op = "conv2d", .detail = "tile", .inputs = {{x}, {{outputs, 3, 3, x[3]}, Values::any, Role::parameter}},
                    .run = [](const OpRun& r) { return conv2d(r[0], r[1], {.pad = 1}); }});
  };
  const auto gemm_row = [&](std::int64_t m, std::int64_t n, std::int64_t k, bool ta, bool tb) {
    const Gemm p{.a = Transpose{ta}, .b = Transpose{tb}};
    rows.push_back({.op = "gemm", .detail = "tile", .inputs = {{ta ? Shape{k, m} : Shape{m, k}}, {tb ? Shape{n, k} : Shape{k, n}}},
                    .run = [=](const OpRun& r) { return gemm(r[0], r[1], p); }});
  };
  conv_row({1, 12, 11, 14}, 66);
  conv_row({1, 12, 11, 16}, 68);
  conv_row({2, 17, 16, 4}, 68);
  conv_row({1, 9, 7, 40}, 72);  // on tensor cores
  conv_row({2, 17, 16, 24}, 136);
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      gemm_row(66, 66, 18, ta, tb);
      gemm_row(68, 68, 20, ta, tb);
      gemm_row(388, 132, 20, ta, tb);
      gemm_row(72, 72, 40, ta, tb);  // on tensor cores
      gemm_row(392, 264, 40, ta, tb);
    }
    gemm_row(68, 66, 20, ta, true);
  }
  for (OpCase& row : rows) row.twice = false;
  return rows;
}

std::vector<OpCase> further_rows() {
  std::vector<OpCase> rows = tile_rows();
  const auto add_row = [&](const char* op, std::vector<Input> inputs, std::function<Outputs(const OpRun&)> run, bool differentiable = true) {
    rows.push_back({.op = op, .detail = "further", .inputs = std::move(inputs), .run = std::move(run), .bound = 1e-5,
                    .differentiable = differentiable});
  };
  const auto gemm_row = [&](std::int64_t m, std::int64_t n, std::int64_t k, bool ta, bool tb, Role role = Role::activation) {
    const Gemm p{.a = Transpose{ta}, .b = Transpose{tb}};
    add_row("gemm", {{ta ? Shape{k, m} : Shape{m, k}}, {tb ? Shape{n, k} : Shape{k, n}, Values::any, role}},
            [=](const OpRun& r) { return gemm(r[0], r[1], p); });
  };
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      for (const Role role : {Role::activation, Role::parameter}) {
        for (const std::int64_t n : {64, 65, 67, 68, 70, 72}) {
          gemm_row(1024, n, 40, ta, tb, role);
          gemm_row(100, n, 40, ta, tb, role);
          gemm_row(100, n, 37, ta, tb, role);
        }
      }
      gemm_row(8, 8, 2048, ta, tb);
      gemm_row(1028, 132, 520, ta, tb);
      gemm_row(9, 5, 0, ta, tb);
      gemm_row(1028, 128, 0, ta, tb);
      for (const std::int64_t m : {100, 1024}) {  // f32 of bf16
        for (const std::int64_t n : {67, 72}) {
          const Gemm p{.a = Transpose{ta}, .b = Transpose{tb}};
          add_row("gemm", {{ta ? Shape{40, m} : Shape{m, 40}}, {tb ? Shape{n, 40} : Shape{40, n}}}, [=](const OpRun& r) {
            Tensor y = Tensor::empty(r.backend, {m, n});
            r.backend.gemm(y, r[0].value(), r[1].value(), p);
            return Var(y);
          }, false);
        }
      }
    }
  }
  for (const std::int64_t outputs : {3, 4, 72, 70}) {
    const Conv p{.pad = 1};
    add_row("conv2d", {{{4, 32, 32, 16}}, {{outputs, 3, 3, 16}, Values::any, Role::parameter}}, [=](const OpRun& r) { return conv2d(r[0], r[1], p); });
    add_row("conv2d", {{{2, 16, 16, outputs}}, {{68, 3, 3, outputs}, Values::any, Role::parameter}}, [=](const OpRun& r) { return conv2d(r[0], r[1], p); });
  }
  for (const std::int64_t channels : {3, 8}) {
    for (const std::int64_t factor : {4, 5, 7}) {
      add_row("upsample_grad", {{{2, 4 * factor, 4 * factor, channels}}}, [=](const OpRun& r) { return upsample_grad(r[0], factor); });
    }
    for (const Pad::Mode mode : {Pad::Mode::reflect, Pad::Mode::replicate}) {
      const Pad p{.top = 5, .bottom = 5, .left = 5, .right = 5, .mode = mode};
      add_row("pad", {{{2, 6, 7, channels}}}, [=](const OpRun& r) { return pad(r[0], p); });
    }
    for (const Phases form : {Phases::none, Phases::inner, Phases::outer}) {
      const Shape large{8, 48, 48, channels};
      const NormAct p{.slope = 0.2, .from = form};
      add_row("norm_act", {{form == Phases::inner ? large.with(3, 4 * channels) : large, Values::two_sided},
                           {{channels}, Values::positive, Role::parameter}, {{channels}, Values::small, Role::parameter}},
              [=](const OpRun& r) { return norm_act(r[0], batch_stats(r[0], channels), r[1], r[2], p); });
    }
    using Kind = Activation::Kind;
    for (const Kind kind : {Kind::identity, Kind::leaky_relu, Kind::tanh, Kind::sigmoid}) {
      add_row("bias_act", {{{7000, channels}, Values::wide}, {{channels}, Values::away, Role::parameter}},
              [=](const OpRun& r) { return bias_act(r[0], r[1], {.kind = kind, .slope = 0.2}); });
    }
    add_row("sum", {{{3, 40, channels}}}, [](const OpRun& r) { return sum(r[0], 1); });
    add_row("channel_sum", {{{7000, channels}}}, [](const OpRun& r) { return channel_sum(r[0]); });
  }
  for (const Shape& s : {Shape{3}, Shape{5006}, Shape{20003}}) {
    add_row("bce_logits", {{s, Values::wide}}, [](const OpRun& r) { return bce_logits(r[0], 0.9); });
    add_row("ema", {{s}, {s}}, [](const OpRun& r) {
      Tensor y = Tensor::empty(r.backend, r[0].shape(), r.dtype);
      r.backend.cast(y, r[0].value());
      Tensor state = make_step_state(r.backend);
      StepState now;
      now.ema_step = 0.3;
      write_step_state(state, now);
      r.backend.ema(y, r[1].value(), state);
      return Var(y);
    }, false);
    add_row("find_nonfinite", {{s}}, [](const OpRun& r) {
      Tensor state = make_step_state(r.backend);
      r.backend.find_nonfinite(state, std::vector{r[0].value()}, 5);
      return Var(state);
    }, false);
  }
  add_row("slice", {{{5, 7}, Values::bytes}}, [](const OpRun& r) {
    Tensor y = Tensor::empty(r.backend, {5, 3}, DType::u8);
    r.backend.slice(y, r[0].value(), {.axis = 1, .begin = 2});
    return Var(y);
  }, false);
  for (OpCase& row : rows) row.twice = false;  // a gradient without a graph runs the fused kernels
  return rows;
}

}  // namespace pastiche
