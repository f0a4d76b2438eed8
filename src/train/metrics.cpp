#include "pastiche/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "data/parallel.h"
#include "pastiche/backend.h"
#include "pastiche/error.h"
#include "pastiche/streams.h"

namespace pastiche {
namespace {

constexpr int side = 7;
constexpr int least_level = 16;

struct Plane {  // [H,W,C]
  int height, width, channels;
  std::vector<float> values;
  float& at(int y, int x, int c) { return values[(static_cast<std::size_t>(y) * width + x) * channels + c]; }
  float at(int y, int x, int c) const { return values[(static_cast<std::size_t>(y) * width + x) * channels + c]; }
};

constexpr float binomial[5] = {1 / 16.f, 4 / 16.f, 6 / 16.f, 4 / 16.f, 1 / 16.f};

int reflect(int i, int n) {
  if (n == 1) return 0;
  while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
  return i;
}

// A 5-tap binomial blur at every second pixel.
Plane reduce(const Plane& p) {
  Plane half{(p.height + 1) / 2, (p.width + 1) / 2, p.channels, {}};
  half.values.resize(static_cast<std::size_t>(half.height) * half.width * half.channels);
  for (int y = 0; y < half.height; ++y) {
    for (int x = 0; x < half.width; ++x) {
      for (int c = 0; c < p.channels; ++c) {
        float sum = 0;
        for (int i = 0; i < 5; ++i) {
          for (int j = 0; j < 5; ++j) {
            sum += binomial[i] * binomial[j] * p.at(reflect(2 * y + i - 2, p.height), reflect(2 * x + j - 2, p.width), c);
          }
        }
        half.at(y, x, c) = sum;
      }
    }
  }
  return half;
}

// p minus its reduced self interpolated back: what the next level does not hold.
Plane detail(const Plane& p, const Plane& half) {
  Plane d = p;
  for (int y = 0; y < p.height; ++y) {
    for (int x = 0; x < p.width; ++x) {
      const int y1 = std::min(y / 2 + y % 2, half.height - 1), x1 = std::min(x / 2 + x % 2, half.width - 1);
      for (int c = 0; c < p.channels; ++c) {
        d.at(y, x, c) -= 0.25f * (half.at(y / 2, x / 2, c) + half.at(y / 2, x1, c) + half.at(y1, x / 2, c) + half.at(y1, x1, c));
      }
    }
  }
  return d;
}

std::vector<Plane> pyramid(const Image& image) {
  Plane p{image.height, image.width, image.channels, std::vector<float>(image.pixels.begin(), image.pixels.end())};
  std::vector<Plane> levels;
  while (std::min(p.height, p.width) / 2 >= least_level) {
    Plane half = reduce(p);
    levels.push_back(detail(p, half));
    p = std::move(half);
  }
  levels.push_back(std::move(p));
  return levels;
}

// Patches of one level of all pictures, [patch][7 * 7 * C], each channel with mean 0 and deviation 1 over the set.
std::vector<float> descriptors(const std::vector<std::vector<Plane>>& pyramids, std::size_t level, const SwdOptions& options) {
  const Plane& first = pyramids.front()[level];
  const int channels = first.channels;
  const int ys = std::max(1, first.height - side + 1), xs = std::max(1, first.width - side + 1);
  std::vector<float> all;
  all.reserve(pyramids.size() * options.patches * side * side * channels);
  for (std::size_t i = 0; i < pyramids.size(); ++i) {
    const Plane& p = pyramids[i][level];
    for (int k = 0; k < options.patches; ++k) {
      const Philox4 words = philox4x32({options.seed, streams::swd_patches + static_cast<std::uint32_t>(level)}, i, static_cast<std::uint64_t>(k));
      const int y0 = static_cast<int>(words.word[0] % ys), x0 = static_cast<int>(words.word[1] % xs);
      for (int y = 0; y < side; ++y) {
        for (int x = 0; x < side; ++x) {
          for (int c = 0; c < channels; ++c) all.push_back(p.at(reflect(y0 + y, p.height), reflect(x0 + x, p.width), c));
        }
      }
    }
  }
  for (int c = 0; c < channels; ++c) {
    double sum = 0, square = 0;
    const double count = static_cast<double>(all.size()) / channels;
    for (std::size_t i = c; i < all.size(); i += channels) {
      sum += all[i];
      square += static_cast<double>(all[i]) * all[i];
    }
    const double mean = sum / count, deviation = std::sqrt(std::max(1e-12, square / count - mean * mean));
    for (std::size_t i = c; i < all.size(); i += channels) all[i] = static_cast<float>((all[i] - mean) / deviation);
  }
  return all;
}

std::vector<float> direction(std::uint64_t seed, int index, std::size_t length) {
  std::vector<float> d((length + 3) / 4 * 4);
  for (std::size_t i = 0; i < length; i += 4) normal4({seed, streams::swd_directions}, static_cast<std::uint64_t>(index), i / 4, &d[i]);
  d.resize(length);
  double norm = 0;
  for (float v : d) norm += static_cast<double>(v) * v;
  for (float& v : d) v = static_cast<float>(v / std::sqrt(norm));
  return d;
}

std::vector<float> projected(const std::vector<float>& descriptors, const std::vector<float>& direction) {
  const std::size_t length = direction.size();
  std::vector<float> values(descriptors.size() / length);
  for (std::size_t i = 0; i < values.size(); ++i) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::size_t k = 0; k < length; ++k) dot += descriptors[i * length + k] * direction[k];
    values[i] = dot;
  }
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace

SwdResult sliced_wasserstein(std::span<const Image> a, std::span<const Image> b, const SwdOptions& options) {
  if (a.empty() || a.size() != b.size()) {
    throw Error(ExitCode::failed, fmt::format("sliced_wasserstein: {} and {} pictures, expected two equal numbers above 0", a.size(), b.size()));
  }
  std::vector<std::vector<Plane>> pyramids_a, pyramids_b;
  for (const Image& image : a) pyramids_a.push_back(pyramid(image));
  for (const Image& image : b) pyramids_b.push_back(pyramid(image));
  SwdResult result;
  for (std::size_t level = 0; level < pyramids_a.front().size(); ++level) {
    const std::vector<float> da = descriptors(pyramids_a, level, options), db = descriptors(pyramids_b, level, options);
    const std::size_t length = static_cast<std::size_t>(side) * side * a.front().channels;
    std::vector<double> distances(options.projections);
    const auto observer = [&](std::int64_t done, std::int64_t of) {
      if (options.observer) options.observer(static_cast<std::int64_t>(level) * of + done, static_cast<std::int64_t>(pyramids_a.front().size()) * of);
    };
    parallel_for(options.projections, [&](std::int64_t p) {
      const std::vector<float> d = direction(options.seed, static_cast<int>(p), length);
      const std::vector<float> pa = projected(da, d), pb = projected(db, d);
      double sum = 0;
      for (std::size_t i = 0; i < pa.size(); ++i) sum += std::abs(static_cast<double>(pa[i]) - pb[i]);
      distances[static_cast<std::size_t>(p)] = sum / static_cast<double>(pa.size());
    }, observer);
    double sum = 0;
    for (double d : distances) sum += d;
    result.levels.push_back(1e3 * sum / options.projections);
    result.mean += result.levels.back();
  }
  result.mean /= static_cast<double>(result.levels.size());
  return result;
}

namespace {

constexpr int window = least_distance_side;

std::array<double, window> gaussian() {
  std::array<double, window> weights{};
  double sum = 0;
  for (int i = 0; i < window; ++i) sum += weights[i] = std::exp(-(i - window / 2) * (i - window / 2) / (2 * 1.5 * 1.5));
  for (double& w : weights) w /= sum;
  return weights;
}

// The weighted mean of f over each window of an [H,W] plane: rows first, then columns.
template <class F>
std::vector<double> window_means(int height, int width, F&& f) {
  static const std::array<double, window> weights = gaussian();
  const int columns = width - window + 1, rows = height - window + 1;
  std::vector<double> along(static_cast<std::size_t>(height) * columns), means(static_cast<std::size_t>(rows) * columns);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < columns; ++x) {
      double& mean = along[static_cast<std::size_t>(y) * columns + x];
      for (int i = 0; i < window; ++i) mean += weights[i] * f(y, x + i);
    }
  }
  for (int y = 0; y < rows; ++y) {
    for (int x = 0; x < columns; ++x) {
      double& mean = means[static_cast<std::size_t>(y) * columns + x];
      for (int i = 0; i < window; ++i) mean += weights[i] * along[static_cast<std::size_t>(y + i) * columns + x];
    }
  }
  return means;
}

double ssim(const Image& a, const Image& b, int channel) {
  const auto at = [&](const Image& image, int y, int x) {
    return image.pixels[(static_cast<std::size_t>(y) * image.width + x) * image.channels + channel] / 255.0;
  };
  const auto means_of = [&](auto&& f) {
    return window_means(a.height, a.width, [&](int y, int x) { return f(at(a, y, x), at(b, y, x)); });
  };
  const auto mean_a = means_of([](double p, double) { return p; }), mean_b = means_of([](double, double q) { return q; });
  const auto aa = means_of([](double p, double) { return p * p; }), bb = means_of([](double, double q) { return q * q; });
  const auto ab = means_of([](double p, double q) { return p * q; });
  constexpr double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
  double sum = 0;
  for (std::size_t i = 0; i < ab.size(); ++i) {
    const double p = mean_a[i], q = mean_b[i];
    const double variances = aa[i] - p * p + bb[i] - q * q, covariance = ab[i] - p * q;
    sum += (2 * p * q + c1) * (2 * covariance + c2) / ((p * p + q * q + c1) * (variances + c2));
  }
  return sum / static_cast<double>(ab.size());
}

}  // namespace

PictureDistance picture_distance(std::span<const Image> a, std::span<const Image> b) {
  if (a.empty() || a.size() != b.size()) {
    throw Error(ExitCode::usage, fmt::format("{} and {} pictures, expected as many of the one as of the other", a.size(), b.size()));
  }
  PictureDistance d;
  double squares = 0, samples = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].height != b[i].height || a[i].width != b[i].width || a[i].channels != b[i].channels || std::min(a[i].height, a[i].width) < window) {
      throw Error(ExitCode::usage, fmt::format("pictures of {}x{}x{} and {}x{}x{}, expected the same, and sides of at least {}", a[i].width,
                                               a[i].height, a[i].channels, b[i].width, b[i].height, b[i].channels, window));
    }
    for (std::size_t k = 0; k < a[i].pixels.size(); ++k) {
      const double difference = (a[i].pixels[k] - b[i].pixels[k]) / 255.0;
      d.l1 += std::abs(difference);
      squares += difference * difference;
    }
    samples += static_cast<double>(a[i].pixels.size());
    for (int c = 0; c < a[i].channels; ++c) d.ssim += ssim(a[i], b[i], c) / a[i].channels / static_cast<double>(a.size());
  }
  d.l1 /= samples;
  d.psnr = -10 * std::log10(squares / samples);
  return d;
}

}  // namespace pastiche
