#include <algorithm>

#include "backends/cpu/cpu.h"
#include "backends/cpu/vectorise.h"

namespace pastiche {

using namespace cpu;

namespace {

const StepState& read(const Tensor& state) { return *reinterpret_cast<const StepState*>(state.data<std::uint8_t>()); }
StepState& write(Tensor& state) { return *reinterpret_cast<StepState*>(state.mutable_data<std::uint8_t>()); }

struct AdamStep {
  float beta1, beta2, one_minus_beta1, one_minus_beta2, step_size, inverse_root, eps, ema_step;
};

// One part of one tensor. ema is nullptr where there is none.
void adam_part(std::int64_t n, float* w, const float* g, float* m, float* v, float* ema, const AdamStep& p) {
  const auto moved = [=](std::int64_t i) {
    m[i] = std::fma(p.one_minus_beta1, g[i], p.beta1 * m[i]);
    v[i] = std::fma(p.one_minus_beta2 * g[i], g[i], p.beta2 * v[i]);
    return w[i] - p.step_size * m[i] / std::fma(std::sqrt(v[i]), p.inverse_root, p.eps);
  };
  if (ema == nullptr) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) w[i] = moved(i);
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
      w[i] = moved(i);
      ema[i] = std::fma(p.ema_step, w[i] - ema[i], ema[i]);
    }
  }
}

bool any_nonfinite(int threads, const Tensor& x) {
  std::uint32_t found = 0;
  const std::int64_t n = x.elements();
  with_float(x, [&]<class T>(T) {
    const T* const values = x.data<T>();
#pragma omp parallel for simd schedule(static) num_threads(threads) if (parallel : n > serial_below) reduction(| : found)
    for (std::int64_t i = 0; i < n; ++i) {
      found |= (std::bit_cast<std::uint32_t>(load(values, i)) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
    }
  });
  return found != 0;
}

}  // namespace

void CpuBackend::adam_ema(const AdamTensors& tensors, const Adam& p, const Tensor& state) {
  const StepState::Optim now = read(state).optim[p.slot];
  const auto t = static_cast<double>(now.t);
  const AdamStep step{static_cast<float>(p.beta1),
                      static_cast<float>(p.beta2),
                      static_cast<float>(1 - p.beta1),
                      static_cast<float>(1 - p.beta2),
                      static_cast<float>(now.lr / (1 - std::pow(p.beta1, t))),
                      static_cast<float>(1 / std::sqrt(1 - std::pow(p.beta2, t))),
                      static_cast<float>(p.eps),
                      static_cast<float>(read(state).ema_step)};
  struct Part {
    std::int64_t n;
    float* w;
    const float* g;
    float *m, *v, *ema;
  };
  constexpr std::int64_t part_elements = 16384;
  std::vector<Part> parts;  // of all tensors, so that small ones share a thread
  for (std::size_t i = 0; i < tensors.value.size(); ++i) {
    float* const w = tensors.value[i].mutable_data<float>();
    const float* const g = tensors.grad[i].data<float>();
    float* const m = tensors.m[i].mutable_data<float>();
    float* const v = tensors.v[i].mutable_data<float>();
    float* const ema = tensors.ema.empty() ? nullptr : tensors.ema[i].mutable_data<float>();
    const std::int64_t n = tensors.value[i].elements();
    for (std::int64_t at = 0; at < n; at += part_elements) {
      parts.push_back({std::min(part_elements, n - at), w + at, g + at, m + at, v + at, ema == nullptr ? nullptr : ema + at});
    }
  }
  for_items(threads_, static_cast<std::int64_t>(parts.size()), part_elements, [&parts, &step](std::int64_t i) {
    const Part& part = parts[static_cast<std::size_t>(i)];
    adam_part(part.n, part.w, part.g, part.m, part.v, part.ema, step);
  });
}

void CpuBackend::ema(Tensor& y, const Tensor& x, const Tensor& state) {
  const auto part = static_cast<float>(read(state).ema_step);
  with_float(y, x, [&]<class To, class From>(To, From) {
    for_elements(threads_, y.elements(), [=, from = x.data<From>(), to = y.mutable_data<To>()](std::int64_t i) {
      const float before = load(to, i);
      store(to, i, std::fma(part, load(from, i) - before, before));
    });
  });
}

void CpuBackend::find_nonfinite(Tensor& state, std::span<const Tensor> tensors, int first_id) {
  StepState& found = write(state);
  for (std::size_t i = 0; i < tensors.size() && found.nonfinite < 0; ++i) {
    if (any_nonfinite(threads_, tensors[i])) found.nonfinite = first_id + static_cast<int>(i);
  }
}

void CpuBackend::store_metric(Tensor& state, const Tensor& x, int slot) {
  with_float(x, [&]<class T>(T) { write(state).metric[slot] = static_cast<double>(load(x.data<T>(), 0)); });
}

}  // namespace pastiche
