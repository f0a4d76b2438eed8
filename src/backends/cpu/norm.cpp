#include "backends/cpu/channels.h"
#include "backends/cpu/cpu.h"

namespace pastiche {

using namespace cpu;

namespace {

// Pictures with statistics of their own: none of [C], all of [N,C].
std::int64_t sections(const Tensor& stats) { return stats.shape().rank() == 1 ? 1 : stats.shape()[0]; }

}  // namespace

void CpuBackend::norm_stats(Tensor& mean, Tensor& var, const Tensor& x, const NormAct& p) {
  const std::int64_t channels = mean.shape().last(), pictures = sections(mean), group = p.group;
  const std::int64_t rows = x.elements() / (pictures * channels);
  const bool apart = p.from == Phases::outer && pictures > 1;  // a picture is in four places
  const Walk walk = apart ? Walk(p.from, {pictures, 2 * x.shape()[1], 2 * x.shape()[2], channels}, pictures)
                          : Walk(rows, channels, pictures);  // phases: four rows, in any order
  Scratch<float> shift(*this, pictures * walk.wide());
  Scratch<double> sums(*this, pictures * 2 * channels);
  float* const m = mean.mutable_data<float>();
  float* const v = var.mutable_data<float>();
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    // Shifted by the mean of a few rows, so that nothing cancels where the mean is much greater than the deviation.
    const std::int64_t together = apart ? rows / 4 : rows, samples = std::min<std::int64_t>(together, 32);
    walk.spread(shift, [=](std::int64_t at) {
      const std::int64_t first = at / channels * together * channels + at % channels;
      double sum = 0;
      for (std::int64_t s = 0; s < samples; ++s)
        sum += static_cast<double>(load(from, first + s * together / samples * channels));
      return static_cast<float>(sum / static_cast<double>(samples));
    });
    channel_sums<2>(*this, threads_, walk, sums,
                    [=, center = shift.get()](std::int64_t i, std::int64_t, std::int64_t j) {
                      const double d = static_cast<double>(load(from, i)) - static_cast<double>(center[j]);
                      return Terms{d, d * d};
                    });
  });
  const auto count = static_cast<double>(rows), members = static_cast<double>(group);
  for (std::int64_t n = 0; n < pictures; ++n) {
    // In place: the mean and the variance of each channel, then of each group of them.
    double *const means = sums + n * 2 * channels, *const vars = means + channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      const double offset = means[c] / count;
      means[c] = static_cast<double>(shift[n * walk.wide() + c]) + offset;
      vars[c] = std::max(0.0, vars[c] / count - offset * offset);
    }
    for (std::int64_t first = 0; first < channels; first += group) {
      double average = 0, square = 0;
      for (std::int64_t c = first; c < first + group; ++c) average += means[c];
      average /= members;
      for (std::int64_t c = first; c < first + group; ++c) square += vars[c] + (means[c] - average) * (means[c] - average);
      std::fill_n(m + n * channels + first, group, static_cast<float>(average));
      std::fill_n(v + n * channels + first, group, static_cast<float>(square / members));
    }
  }
}

void CpuBackend::norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                          const Tensor& beta, const NormAct& p) {
  const Walk walk(p.from, y.shape(), sections(mean));
  const std::int64_t channels = walk.channels(), tables = walk.sections() * walk.wide();
  Scratch<float> table(*this, 3 * tables);
  float* const means = table;
  float* const scales = means + tables;
  float* const shifts = scales + tables;
  const float *const m = mean.data<float>(), *const v = var.data<float>(), *const g = gamma.data<float>();
  walk.spread(means, [=](std::int64_t s) { return m[s]; });
  walk.spread(scales, [=, eps = p.eps](std::int64_t s) { return static_cast<float>(g[s % channels] / std::sqrt(v[s] + eps)); });
  walk.spread(shifts, [=, b = beta.data<float>()](std::int64_t s) { return b[s % channels]; });
  const auto slope = static_cast<float>(p.slope);
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.mutable_data<T>();
    walk.all_by_section(threads_, [=](std::int64_t at, std::int64_t ix, std::int64_t iy, std::int64_t width) {
      const float *const center = means + at, *const scale = scales + at, *const shift = shifts + at;
#pragma omp simd
      for (std::int64_t j = 0; j < width; ++j) {
        const float pre = std::fma(load(from, ix + j) - center[j], scale[j], shift[j]);
        store(to, iy + j, pre > 0.0f ? pre : slope * pre);
      }
    });
  });
}

// With d = x - mean, r = 1 / sqrt(var + eps) and s = gamma r, h = d r: sums of g and g d, then
// dx = s g - avg(s g) - d r^2 avg(s g d).
void CpuBackend::norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x,
                               const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                               const NormAct& p) {
  const Walk walk(p.from, dy.shape(), sections(mean));
  const std::int64_t channels = walk.channels(), pictures = walk.sections(), tables = pictures * walk.wide();
  Scratch<double> sums(*this, pictures * 2 * channels);
  Scratch<float> table(*this, 5 * tables);
  float* const means = table;
  float *const scales = means + tables, *const shifts = scales + tables;
  float *const constants = shifts + tables, *const slopes = constants + tables;
  const float *const m = mean.data<float>(), *const v = var.data<float>(), *const ga = gamma.data<float>();
  const auto inverse = [=, eps = p.eps](std::int64_t s) { return 1.0 / std::sqrt(v[s] + eps); };
  walk.spread(means, [=](std::int64_t s) { return m[s]; });
  walk.spread(scales, [=](std::int64_t s) { return static_cast<float>(ga[s % channels] * inverse(s)); });
  walk.spread(shifts, [=, b = beta.data<float>()](std::int64_t s) { return b[s % channels]; });
  const auto slope = static_cast<float>(p.slope);
  with_float(x, [&]<class T>(T) {
    const T *const input = x.data<T>(), *const gradient = dy.data<T>();
    channel_sums<2>(*this, threads_, walk, sums, [=](std::int64_t ix, std::int64_t iy, std::int64_t j) {
      const float d = load(input, ix) - means[j], out = load(gradient, iy);
      const float g = std::fma(d, scales[j], shifts[j]) > 0.0f ? out : slope * out;
      return Terms{g, g * d};
    });
  });
  // Of statistic s = [n, c].
  const auto sum_g = [&](std::int64_t s) -> double& { return sums[s / channels * 2 * channels + s % channels]; };
  const auto sum_gd = [&](std::int64_t s) -> double& { return sums[(s / channels * 2 + 1) * channels + s % channels]; };
  float *const dg = dgamma.mutable_data<float>(), *const db = dbeta.mutable_data<float>();
  for (std::int64_t c = 0; c < channels; ++c) {
    double of_gamma = 0, of_beta = 0;
    for (std::int64_t s = c; s < pictures * channels; s += channels) {
      of_gamma += sum_gd(s) * inverse(s);
      of_beta += sum_g(s);
    }
    dg[c] = static_cast<float>(of_gamma);
    db[c] = static_cast<float>(of_beta);
  }
  // In place: what goes into dx.
  for (std::int64_t first = 0; first < pictures * channels; first += p.group) {
    const double r = inverse(first);
    double of_mean = 0, of_var = 0;
    for (std::int64_t s = first; s < first + p.group; ++s) {
      of_mean -= ga[s % channels] * r * sum_g(s);
      of_var -= ga[s % channels] * r * r * r * sum_gd(s);
    }
    for (std::int64_t s = first; s < first + p.group; ++s) {
      sum_g(s) = of_mean;
      sum_gd(s) = of_var;
    }
  }
  const double count = static_cast<double>(walk.elements() / channels * p.group);
  walk.spread(constants, [&](std::int64_t s) { return static_cast<float>(sum_g(s) / count); });
  walk.spread(slopes, [&](std::int64_t s) { return static_cast<float>(sum_gd(s) / count); });
  with_float(x, [&]<class T>(T) {
    const T *const input = x.data<T>(), *const gradient = dy.data<T>();
    T* const to = dx.mutable_data<T>();
    walk.all_by_section(threads_, [=](std::int64_t at, std::int64_t ix, std::int64_t iy, std::int64_t width) {
      const float *const center = means + at, *const scale = scales + at, *const shift = shifts + at;
      const float *const constant = constants + at, *const linear = slopes + at;
#pragma omp simd
      for (std::int64_t j = 0; j < width; ++j) {
        const float d = load(input, ix + j) - center[j], out = load(gradient, iy + j);
        const float g = std::fma(d, scale[j], shift[j]) > 0.0f ? out : slope * out;
        store(to, ix + j, std::fma(g, scale[j], std::fma(d, linear[j], constant[j])));
      }
    });
  });
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
