#include <fmt/format.h>

#include <limits>

#include "op_cases.h"

namespace pastiche {
namespace {

Outputs run_adam(const OpRun& r, const Adam& p, std::int64_t t, bool with_ema) {
  Tensor state = make_step_state(r.backend);
  StepState now;
  now.optim[p.slot] = {.lr = 2e-3, .t = t};
  now.ema_step = 0.01;
  write_step_state(state, now);
  std::vector<Tensor> value, grad, m, v, ema;
  for (std::size_t i = 0; i < r.inputs.size(); i += 5) {
    value.push_back(r[i].value());
    grad.push_back(r[i + 1].value());
    m.push_back(r[i + 2].value());
    v.push_back(r[i + 3].value());
    if (with_ema) ema.push_back(r[i + 4].value());
  }
  r.backend.adam_ema({.value = value, .grad = grad, .m = m, .v = v, .ema = ema}, p, state);
  Outputs all{};
  for (const auto* group : {&value, &m, &v, &ema}) all.insert(all.end(), group->begin(), group->end());
  return all;
}

// The state after a look at the inputs, one element of one of them made non-finite (at < 0: none).
Outputs run_find_nonfinite(const OpRun& r, std::int64_t at, float value, std::int32_t before) {
  std::vector<Tensor> tensors;
  for (const Var& input : r.inputs) {
    const Tensor& x = input.value();
    const std::vector<double> host = host_values(x);
    std::vector<float> planted(host.begin(), host.end());
    if (at >= 0 && at < std::ssize(planted)) planted[static_cast<std::size_t>(at)] = value;
    at -= std::ssize(planted);
    Tensor y = Tensor::empty(r.backend, x.shape(), x.dtype());
    r.backend.cast(y, Tensor::from_host(r.backend, x.shape(), planted.data()));
    tensors.push_back(y);
  }
  Tensor state = make_step_state(r.backend);
  StepState now;
  now.nonfinite = before;
  write_step_state(state, now);
  r.backend.find_nonfinite(state, tensors, 5);
  return Var(state);
}

}  // namespace

void add_optim_cases(std::vector<OpCase>& cases) {
  for (const Shape& s : elementwise_shapes()) {
    for (const std::int64_t t : {1, 1000}) {
      std::vector<Input> inputs;
      const std::size_t tensors = 1 + s.elements() % 3;
      for (std::size_t i = 0; i < tensors; ++i) {
        const Shape shape = i == 0 ? s : Shape{3 + 30 * static_cast<std::int64_t>(i)};
        for (const Values values : {Values::any, Values::any, Values::any, Values::positive, Values::any})
          inputs.push_back({shape, values, Role::parameter});  // w, g, m, v, ema
      }
      const bool with_ema = t > 1;
      const Adam p{.slot = static_cast<int>(s.elements() % 2), .beta1 = t > 1 ? 0.9 : 0.5};
      cases.push_back({.op = "adam_ema", .detail = fmt::format("t {} beta1 {}{}", t, p.beta1, with_ema ? " ema" : ""),
                       .inputs = inputs, .run = [=](const OpRun& r) { return run_adam(r, p, t, with_ema); },
                       .bound = 1e-6, .bf16 = false, .differentiable = false});
    }
    cases.push_back({.op = "ema", .detail = "by 0.25", .inputs = {{s, Values::any, Role::parameter}, {s, Values::any, Role::parameter}}, .run = [](const OpRun& r) {
                       Tensor state = make_step_state(r.backend);
                       StepState now;
                       now.ema_step = 0.25;
                       write_step_state(state, now);
                       Tensor y = r[0].value();
                       r.backend.ema(y, r[1].value(), state);
                       return Var(y);
                     }, .bf16 = false, .differentiable = false});
    const std::int64_t last = s.elements() - 1;
    const auto infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const auto& [at, value, before] : {std::tuple{std::int64_t{-1}, nan, -1}, std::tuple{last, nan, -1},
                                            std::tuple{last + 1, infinity, -1}, std::tuple{last + 3, -infinity, -1},
                                            std::tuple{last, nan, 2}}) {
      cases.push_back({.op = "find_nonfinite", .detail = fmt::format("{} at {}, before {}", value, at, before),
                       .inputs = {{s}, {{3}}},
                       .run = [at = at, value = value, before = before](const OpRun& r) {
                         return run_find_nonfinite(r, at, value, before);
                       },
                       .differentiable = false, .many_zeros = true});
    }
  }
  for (const Shape& scalar : {Shape{}, Shape{1}, Shape{1, 1, 1}}) {
    for (int slot = 0; slot < StepState::metrics; ++slot) {
      cases.push_back({.op = "store_metric", .detail = fmt::format("slot {}", slot), .inputs = {{scalar}},
                       .run = [=](const OpRun& r) {
                         Tensor state = make_step_state(r.backend);
                         r.backend.store_metric(state, r[0].value(), slot);
                         return Var(state);
                       },
                       .differentiable = false, .many_zeros = true});
    }
  }
}

}  // namespace pastiche
