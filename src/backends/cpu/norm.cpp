#include "backends/cpu/channels.h"
#include "backends/cpu/cpu.h"

namespace pastiche {

using namespace cpu;

void CpuBackend::norm_stats(Tensor& mean, Tensor& var, const Tensor& x) {
  const std::int64_t channels = mean.elements(), rows = x.elements() / channels;  // phases: four rows, in any order
  const Walk walk(rows, channels);
  Scratch<float> shift(*this, walk.wide());
  Scratch<double> sums(*this, 2 * channels);
  float* const m = mean.mutable_data<float>();
  float* const v = var.mutable_data<float>();
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    // Shifted by the mean of a few rows, so that nothing cancels where the mean is much greater than the deviation.
    const std::int64_t samples = std::min<std::int64_t>(rows, 32);
    walk.spread(shift, [=](std::int64_t c) {
      double sum = 0;
      for (std::int64_t s = 0; s < samples; ++s) sum += static_cast<double>(load(from, s * rows / samples * channels + c));
      return static_cast<float>(sum / static_cast<double>(samples));
    });
    channel_sums<2>(*this, threads_, walk, sums,
                    [=, center = shift.get()](std::int64_t i, std::int64_t, std::int64_t j) {
                      const double d = static_cast<double>(load(from, i)) - static_cast<double>(center[j]);
                      return Terms{d, d * d};
                    });
  });
  for (std::int64_t c = 0; c < channels; ++c) {
    const double offset = sums[c] / static_cast<double>(rows);
    const double square = sums[channels + c] / static_cast<double>(rows);
    m[c] = static_cast<float>(static_cast<double>(shift[c]) + offset);
    v[c] = static_cast<float>(std::max(0.0, square - offset * offset));
  }
}

void CpuBackend::norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                          const Tensor& beta, const NormAct& p) {
  const Walk walk(p.from, y.shape());
  Scratch<float> table(*this, 3 * walk.wide());
  float* const means = table;
  float* const scales = means + walk.wide();
  float* const shifts = scales + walk.wide();
  const float *const m = mean.data<float>(), *const v = var.data<float>(), *const g = gamma.data<float>();
  walk.spread(means, [=](std::int64_t c) { return m[c]; });
  walk.spread(scales, [=, eps = p.eps](std::int64_t c) { return static_cast<float>(g[c] / std::sqrt(v[c] + eps)); });
  walk.spread(shifts, [b = beta.data<float>()](std::int64_t c) { return b[c]; });
  const auto slope = static_cast<float>(p.slope);
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.mutable_data<T>();
    walk.all(threads_, [=](std::int64_t ix, std::int64_t iy, std::int64_t width) {
#pragma omp simd
      for (std::int64_t j = 0; j < width; ++j) {
        const float pre = std::fma(load(from, ix + j) - means[j], scales[j], shifts[j]);
        store(to, iy + j, pre > 0.0f ? pre : slope * pre);
      }
    });
  });
}

// With d = x - mean and r = 1 / sqrt(var + eps), h = d r: sums of g and g d, then dx = s g - s avg(g) - d s r^2 avg(g d).
void CpuBackend::norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x,
                               const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                               const NormAct& p) {
  const Walk walk(p.from, dy.shape());
  const std::int64_t channels = walk.channels(), wide = walk.wide();
  Scratch<double> sums(*this, 2 * channels);
  Scratch<float> table(*this, 5 * wide);
  float* const means = table;
  float *const scales = means + wide, *const shifts = scales + wide;
  float *const constants = shifts + wide, *const slopes = constants + wide;
  const float *const m = mean.data<float>(), *const v = var.data<float>(), *const ga = gamma.data<float>();
  const auto inverse = [=, eps = p.eps](std::int64_t c) { return 1.0 / std::sqrt(v[c] + eps); };
  walk.spread(means, [=](std::int64_t c) { return m[c]; });
  walk.spread(scales, [=](std::int64_t c) { return static_cast<float>(ga[c] * inverse(c)); });
  walk.spread(shifts, [b = beta.data<float>()](std::int64_t c) { return b[c]; });
  const auto slope = static_cast<float>(p.slope);
  with_float(x, [&]<class T>(T) {
    const T *const input = x.data<T>(), *const gradient = dy.data<T>();
    T* const to = dx.mutable_data<T>();
    channel_sums<2>(*this, threads_, walk, sums, [=](std::int64_t ix, std::int64_t iy, std::int64_t j) {
      const float d = load(input, ix) - means[j], out = load(gradient, iy);
      const float g = std::fma(d, scales[j], shifts[j]) > 0.0f ? out : slope * out;
      return Terms{g, g * d};
    });
    const double count = static_cast<double>(walk.elements() / channels);
    walk.spread(constants, [&](std::int64_t c) { return static_cast<float>(-ga[c] * inverse(c) * sums[c] / count); });
    walk.spread(slopes, [&](std::int64_t c) {
      return static_cast<float>(-ga[c] * inverse(c) * inverse(c) * inverse(c) * sums[channels + c] / count);
    });
    walk.all(threads_, [=](std::int64_t ix, std::int64_t iy, std::int64_t width) {
#pragma omp simd
      for (std::int64_t j = 0; j < width; ++j) {
        const float d = load(input, ix + j) - means[j], out = load(gradient, iy + j);
        const float g = std::fma(d, scales[j], shifts[j]) > 0.0f ? out : slope * out;
        store(to, ix + j, std::fma(g, scales[j], std::fma(d, slopes[j], constants[j])));
      }
    });
  });
  float *const dg = dgamma.mutable_data<float>(), *const db = dbeta.mutable_data<float>();
  for (std::int64_t c = 0; c < channels; ++c) {
    dg[c] = static_cast<float>(sums[channels + c] * inverse(c));
    db[c] = static_cast<float>(sums[c]);
  }
}

void CpuBackend::update_running_stats(Tensor& running_mean, Tensor& running_var, const Tensor& mean, const Tensor& var,
                                      const RunningStats& p) {
  const float *const m = mean.data<float>(), *const v = var.data<float>();
  float *const rm = running_mean.mutable_data<float>(), *const rv = running_var.mutable_data<float>();
  for (std::int64_t c = 0; c < mean.elements(); ++c) {
    rm[c] = static_cast<float>(rm[c] + p.momentum * (m[c] - rm[c]));
    rv[c] = static_cast<float>(rv[c] + p.momentum * (p.var_scale * v[c] - rv[c]));
  }
}

}  // namespace pastiche
