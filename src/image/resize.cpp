#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "codec.h"

// The rules of Pillow's Image.resize(), so that data prepared here and there is the same to the last bit. (Pillow 13
// begins with the height where that shrinks much more than the width; up to 12 the width is first, as here.)
namespace pastiche {
namespace {

constexpr int precision = 32 - 8 - 2;  // bits after the point of a weight: 8 for a sample, 2 for sums above 1

double support_of(Filter filter) {
  switch (filter) {
    case Filter::box: return 0.5;
    case Filter::bilinear: return 1;
    case Filter::bicubic: return 2;
    default: return 3;
  }
}

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }

double weight_at(Filter filter, double x) {
  const double a = std::abs(x);
  switch (filter) {
    case Filter::box: return x > -0.5 && x <= 0.5 ? 1 : 0;
    case Filter::bilinear: return std::max(0.0, 1 - a);
    case Filter::bicubic:  // Keys, 1981, with a = -1/2
      if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
      return a < 2 ? ((a - 5) * a + 8) * a * -0.5 + 2 : 0;
    default: return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
}

// Which samples each output sample is a weighted sum of.
struct Weights {
  int count = 0;            // room for one output sample
  std::vector<int> first;   // [output size]
  std::vector<int> length;  // [output size]
  std::vector<int> values;  // [output size, count]
};

Weights weights_of(int in_size, int out_size, Filter filter) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double stretch = std::max(scale, 1.0);
  const double support = support_of(filter) * stretch;
  Weights result;
  result.count = 2 * static_cast<int>(std::ceil(support)) + 1;
  result.first.resize(out_size);
  result.length.resize(out_size);
  result.values.resize(std::size_t(out_size) * result.count);
  std::vector<double> row(result.count);
  for (int i = 0; i < out_size; ++i) {
    const double centre = (i + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int length = std::min(in_size, static_cast<int>(centre + support + 0.5)) - first;
    double sum = 0;
    for (int k = 0; k < length; ++k) sum += row[k] = weight_at(filter, (k + first - centre + 0.5) / stretch);
    int* values = result.values.data() + std::size_t(i) * result.count;
    for (int k = 0; k < length; ++k) {
      const double weight = sum == 0 ? row[k] : row[k] / sum;
      values[k] = static_cast<int>(weight * (1 << precision) + (weight < 0 ? -0.5 : 0.5));
    }
    result.first[i] = first;
    result.length[i] = length;
  }
  return result;
}

std::uint8_t round_to_byte(int sum) { return static_cast<std::uint8_t>(std::clamp(sum >> precision, 0, 255)); }

// The channels are a constant so that the compiler keeps one sum each in a register.
template <int channels>
void resize_row(const std::uint8_t* row, const Weights& weights, std::uint8_t* out) {
  for (std::size_t x = 0; x < weights.first.size(); ++x, out += channels) {
    const int* w = weights.values.data() + x * weights.count;
    const std::uint8_t* in = row + std::size_t(weights.first[x]) * channels;
    int sums[channels];
    std::fill_n(sums, channels, 1 << (precision - 1));
    for (int k = 0; k < weights.length[x]; ++k, in += channels) {
      for (int c = 0; c < channels; ++c) sums[c] += in[c] * w[k];
    }
    std::transform(sums, sums + channels, out, round_to_byte);
  }
}

Image resize_width(const Image& image, int width, Filter filter) {
  const Weights weights = weights_of(image.width, width, filter);
  const std::size_t stride = std::size_t(image.width) * image.channels;
  const std::size_t out_stride = std::size_t(width) * image.channels;
  Image result{image.height, width, image.channels, std::vector<std::uint8_t>(image.height * out_stride)};
  const auto resize = image.channels == 1 ? resize_row<1> : image.channels == 3 ? resize_row<3> : resize_row<4>;
  for (int y = 0; y < image.height; ++y) {
    resize(image.pixels.data() + y * stride, weights, result.pixels.data() + y * out_stride);
  }
  return result;
}

Image resize_height(const Image& image, int height, Filter filter) {
  const Weights weights = weights_of(image.height, height, filter);
  const std::size_t stride = std::size_t(image.width) * image.channels;
  Image result{height, image.width, image.channels, std::vector<std::uint8_t>(height * stride)};
  std::vector<int> sums(stride);
  for (int y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (precision - 1));
    for (int k = 0; k < weights.length[y]; ++k) {
      const int weight = weights.values[std::size_t(y) * weights.count + k];
      const std::uint8_t* in = image.pixels.data() + (weights.first[y] + k) * stride;
      for (std::size_t i = 0; i < stride; ++i) sums[i] += in[i] * weight;
    }
    std::transform(sums.begin(), sums.end(), result.pixels.begin() + y * stride, round_to_byte);
  }
  return result;
}

// Else the colour of transparent pixels would bleed into their neighbours.
void premultiply(Image& image) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 4) {
    for (std::size_t c = i; c < i + 3; ++c) {
      image.pixels[c] = static_cast<std::uint8_t>((image.pixels[c] * image.pixels[i + 3] + 127) / 255);
    }
  }
}

void unpremultiply(Image& image) {
  for (std::size_t i = 0; i < image.pixels.size(); i += 4) {
    const int alpha = image.pixels[i + 3];
    if (alpha == 0) continue;
    for (std::size_t c = i; c < i + 3; ++c) {
      image.pixels[c] = static_cast<std::uint8_t>(std::min(255, 255 * image.pixels[c] / alpha));
    }
  }
}

}  // namespace

Image resize(const Image& image, int height, int width, Filter filter) {
  codec::require_image(image);
  if (height < 1 || width < 1 || height > 65535 || width > 65535) {
    throw Error(ExitCode::usage, fmt::format("a size of {}x{} pixels, expected 1 to 65535 each", width, height));
  }
  if (height == image.height && width == image.width) return image;
  Image result = image;
  if (image.channels == 4) premultiply(result);
  if (width != image.width) result = resize_width(result, width, filter);
  if (height != image.height) result = resize_height(result, height, filter);
  if (image.channels == 4) unpremultiply(result);
  return result;
}

Image fit(const Image& image, int height, int width) {
  codec::require_image(image);
  if (height == image.height && width == image.width) return image;
  // The side that is too long for the target's aspect is cut on both ends.
  const std::int64_t full_height = std::int64_t{image.width} * height / std::max(width, 1);
  const std::int64_t full_width = std::int64_t{image.height} * width / std::max(height, 1);
  const int crop_height = static_cast<int>(std::clamp<std::int64_t>(full_height, 1, image.height));
  const int crop_width = static_cast<int>(std::clamp<std::int64_t>(full_width, 1, image.width));
  if (crop_height == image.height && crop_width == image.width) return resize(image, height, width, Filter::lanczos);
  const int top = (image.height - crop_height) / 2;
  const int left = (image.width - crop_width) / 2;
  return resize(crop(image, top, left, crop_height, crop_width), height, width, Filter::lanczos);
}

Image crop(const Image& image, int top, int left, int height, int width) {
  codec::require_image(image);
  if (top < 0 || left < 0 || height < 1 || width < 1 || height > image.height - top || width > image.width - left) {
    throw Error(ExitCode::usage, fmt::format("a crop of {}x{} at {},{}, expected one within {}x{} pixels", width,
                                             height, left, top, image.width, image.height));
  }
  const std::size_t stride = std::size_t(width) * image.channels;
  Image result{height, width, image.channels, std::vector<std::uint8_t>(height * stride)};
  for (int y = 0; y < height; ++y) {
    std::copy_n(image.pixels.data() + (std::size_t(top + y) * image.width + left) * image.channels, stride,
                result.pixels.data() + y * stride);
  }
  return result;
}

Image mirror(const Image& image) {
  codec::require_image(image);
  Image result = image;
  const std::size_t count = std::size_t(image.height) * image.width;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t column = i % image.width;
    std::copy_n(image.pixels.data() + i * image.channels, image.channels,
                result.pixels.data() + (i - column + (image.width - 1 - column)) * image.channels);
  }
  return result;
}

Image tile(std::span<const Image> images, int columns, int padding) {
  if (images.empty() || columns < 1 || padding < 0) {
    throw Error(ExitCode::usage, fmt::format("a grid of {} pictures in {} columns with {} pixels between, expected at "
                                             "least 1, 1 and 0",
                                             images.size(), columns, padding));
  }
  const Image& first = images[0];
  columns = std::min<int>(columns, static_cast<int>(images.size()));
  const int rows = (static_cast<int>(images.size()) + columns - 1) / columns;
  Image grid{
      rows * (first.height + padding) + padding, columns * (first.width + padding) + padding, first.channels, {}};
  grid.pixels.assign(std::size_t(grid.height) * grid.width * grid.channels, 255);
  const std::size_t stride = std::size_t(first.width) * first.channels;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const Image& image = images[i];
    codec::require_image(image);
    if (image.height != first.height || image.width != first.width || image.channels != first.channels) {
      throw Error(ExitCode::usage, "a grid of pictures that differ in shape; resize() and convert() them first");
    }
    const std::size_t top = padding + i / columns * (first.height + padding);
    const std::size_t left = padding + i % columns * (first.width + padding);
    for (int y = 0; y < first.height; ++y) {
      std::copy_n(image.pixels.data() + y * stride, stride,
                  grid.pixels.data() + ((top + y) * grid.width + left) * grid.channels);
    }
  }
  return grid;
}

}  // namespace pastiche
