#include "pastiche/stylize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "backends/plan.h"
#include "infer/luma.h"

namespace pastiche {
namespace {

constexpr std::int64_t megapixel = 1'000'000;
constexpr std::int64_t reduced_pixels = 512 * 512;
constexpr double tile_bytes = 512 << 20;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Pixels beyond the right and the lower border mirror those within, again and again where there are few.
Image mirrored_crop(const Image& image, std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width) {
  const auto mirrored = [](std::int64_t i, std::int64_t extent) {
    const std::int64_t period = std::max<std::int64_t>(1, 2 * (extent - 1));
    return std::min(i % period, period - i % period);
  };
  Image result{static_cast<int>(height), static_cast<int>(width), image.channels, {}};
  result.pixels.resize(static_cast<std::size_t>(height * width * image.channels));
  auto out = result.pixels.begin();
  for (std::int64_t y = top; y < top + height; ++y) {
    const auto row = image.pixels.begin() + mirrored(y, image.height) * image.width * image.channels;
    const std::int64_t within = std::clamp<std::int64_t>(image.width - left, 0, width);
    out = std::copy_n(row + left * image.channels, within * image.channels, out);
    for (std::int64_t x = left + within; x < left + width; ++x) {
      out = std::copy_n(row + mirrored(x, image.width) * image.channels, image.channels, out);
    }
  }
  return result;
}

// The network on bytes [1,H,W,C].
Tensor run(Translator& network, const Tensor& bytes, DType precision, NormConstants* constants) {
  Backend& backend = bytes.backend();
  Tensor x = Tensor::empty(backend, bytes.shape(), precision);
  backend.dequantize(x, bytes);
  const Var y = network(Var(std::move(x)), {.constants = constants});
  Tensor result = Tensor::empty(backend, bytes.shape(), DType::u8);
  backend.quantize(result, y.value());
  return result;
}

// From the source's pixel towards the network's, both of `channels`.
void blend(std::uint8_t* pixel, const std::uint8_t* styled, int channels, bool with_alpha, const StylizeOptions& options) {
  const int colors = std::min(channels, 3);
  const bool keep_colors = options.keep_colors && colors == 3;
  const float change = keep_colors ? luma(styled) - luma(pixel) : 0;  // of R, G and B alike: chroma stays
  const auto strength = static_cast<float>(options.strength);
  for (int c = 0; c < (with_alpha ? channels : colors); ++c) {
    const float own = pixel[c];
    const float target = keep_colors && c < 3 ? std::clamp(own + change, 0.0f, 255.0f) : styled[c];
    pixel[c] = static_cast<std::uint8_t>(std::lrint(own + strength * (target - own)));
  }
}

// What the tensors of a pass take of a backend's memory, found without taking any.
double bytes_per_pixel(const TranslatorConfig& config, DType precision) {
  PlanBackend plan;
  const auto network = make_translator(plan, config, 0);
  const std::size_t weights = plan.pool_stats().held_bytes;
  const std::int64_t side = round_up(512, side_multiple(config));
  run(*network, Tensor::empty(plan, {1, side, side, config.channels}, DType::u8), precision, nullptr);
  return static_cast<double>(plan.pool_stats().held_bytes - weights) / static_cast<double>(side * side);
}

}  // namespace

Stylizer::Stylizer(Translator& network, const StylizeOptions& options)
    : network_(network), options_(options), bytes_per_pixel_(bytes_per_pixel(network.config(), options.precision)) {
  if (!(options.strength >= 0 && options.strength <= 1)) {
    throw Error(ExitCode::usage, fmt::format("a strength of {}, expected 0 (the source) to 1 (the network's result)", options.strength));
  }
  if (options.tile.value_or(0) < 0) throw Error(ExitCode::usage, fmt::format("a tile of {} pixels, expected 0 or more", *options.tile));
}

Stylizer::Size Stylizer::padded(const Image& source, std::int64_t multiple) const {
  const std::int64_t least = round_up(least_side(network_.config()), multiple);
  return {std::max(least, round_up(source.height, multiple)), std::max(least, round_up(source.width, multiple))};
}

Image Stylizer::translate(const Image& source, Size top_left, Size size, NormConstants* constants) const {
  const auto channels = static_cast<int>(network_.config().channels);
  Image box = convert(mirrored_crop(source, top_left.height, top_left.width, size.height, size.width), channels);
  Backend& backend = network_.parameters().backend();
  const Tensor bytes = Tensor::from_host(backend, {1, size.height, size.width, channels}, box.pixels.data());
  run(network_, bytes, options_.precision, constants).copy_to_host(box.pixels.data());
  return box;
}

NormConstants Stylizer::reduced_look(const Image& source) const {
  const double pixels = static_cast<double>(source.height) * source.width;
  const double scale = std::min(1.0, std::sqrt(static_cast<double>(reduced_pixels) / pixels));
  const auto reduced_side = [=](int side) { return std::max(1, static_cast<int>(std::lround(side * scale))); };
  const Image reduced = resize(source, reduced_side(source.height), reduced_side(source.width), Filter::lanczos);
  NormConstants look;
  translate(reduced, {0, 0}, padded(reduced, side_multiple(network_.config())), &look);
  look.complete = true;
  return look;
}

std::int64_t Stylizer::tile_side(Size picture) const {
  const auto [step, halo] = *tiling(network_.config());
  if (options_.tile) return *options_.tile == 0 ? std::max(picture.height, picture.width) : round_up(*options_.tile, step);
  if (picture.height * picture.width <= megapixel) return std::max(picture.height, picture.width);
  const auto box = static_cast<std::int64_t>(std::sqrt(tile_bytes / bytes_per_pixel_));
  return std::max(2 * halo, (box - 2 * halo) / step * step);  // of less, most would be computed in vain
}

void Stylizer::require_memory(Size box) const {
  const Backend& backend = network_.parameters().backend();
  const auto needed = static_cast<std::size_t>(bytes_per_pixel_ * static_cast<double>(box.height * box.width));
  const Backend::PoolStats pool = backend.pool_stats();
  const std::size_t available = backend.available_bytes() + pool.held_bytes - pool.used_bytes;
  if (needed <= available) return;
  const bool whole_only = !tiling(network_.config());
  throw Error(ExitCode::out_of_memory, fmt::format("{}x{} pixels at once take {}, and {} are available: {}", box.width, box.height,
                                                   bytes_text(needed), bytes_text(available),
                                                   whole_only ? "a unet sees the whole picture, so make it smaller; a resnet works in tiles"
                                                              : "give a smaller --tile"));
}

Image Stylizer::operator()(const Image& source) {
  const TranslatorConfig& config = network_.config();
  const bool large = std::int64_t{source.height} * source.width > megapixel;
  const std::optional<Tiling> cut = large || options_.tile || options_.film ? tiling(config) : std::nullopt;
  if (!cut && !options_.film) look_.reset();
  else if (!options_.film || !look_) look_ = reduced_look(source);

  const Size size = padded(source, cut ? cut->step : side_multiple(config));
  const std::int64_t halo = cut ? cut->halo : 0;
  const std::int64_t side = cut ? tile_side(size) : std::max(size.height, size.width);
  // Boxes of one size, so that their memory is that of one: the last ones reach back, to end at the border.
  const Size box{std::min(size.height, side + 2 * halo), std::min(size.width, side + 2 * halo)};
  require_memory(box);

  // It begins as the source, and the network's pixels are blended in.
  const bool alpha = config.channels == 4 || source.channels == 4;
  const bool color = config.channels >= 3 || (options_.keep_colors && source.channels >= 3);
  Image result = convert(source, alpha ? 4 : color ? 3 : 1);
  if (alpha && !color) {
    for (std::size_t i = 0; i < result.pixels.size(); i += 4) {
      std::fill_n(&result.pixels[i], 3, static_cast<std::uint8_t>(std::lrint(luma(&result.pixels[i]))));
    }
  }
  // body(where the box begins, the first and the end of the pixels that it gives)
  const auto for_boxes = [&](std::int64_t extent, std::int64_t length, std::int64_t pixels, auto body) {
    for (std::int64_t at = 0;; at += side) {
      const bool last = at + length >= extent;
      const std::int64_t begin = at == 0 ? 0 : at + halo, end = std::min(pixels, last ? extent : at + halo + side);
      if (begin < end) body(last ? extent - length : at, begin, end);
      if (last) return;
    }
  };
  for_boxes(size.height, box.height, source.height, [&](std::int64_t top, std::int64_t first_row, std::int64_t last_row) {
    for_boxes(size.width, box.width, source.width, [&](std::int64_t left, std::int64_t first, std::int64_t last) {
      const Image styled = convert(translate(source, {top, left}, box, look_ ? &*look_ : nullptr), result.channels);
      for (std::int64_t y = first_row; y < last_row; ++y) {
        for (std::int64_t x = first; x < last; ++x) {
          blend(&result.pixels[static_cast<std::size_t>((y * source.width + x) * result.channels)],
                &styled.pixels[static_cast<std::size_t>(((y - top) * box.width + x - left) * result.channels)], result.channels,
                config.channels == 4, options_);
        }
      }
    });
  });
  return result;
}

}  // namespace pastiche
