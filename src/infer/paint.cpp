#include "pastiche/paint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "infer/luma.h"
#include "pastiche/losses.h"
#include "pastiche/optim.h"

namespace pastiche {
namespace {

constexpr std::int64_t patch = 7;        // pixels a side, at every scale
constexpr std::int64_t skip = 2;         // of the patches that a step looks at, in both directions
constexpr int steps_per_scale = 120;
constexpr double finer = 1.6;            // a scale's sides over those of the one before
constexpr double first_rate = 0.03, last_rate = 0.001;  // of Adam, at each scale; pixels are -1 to 1
constexpr std::int64_t least_side = 16;  // of what is painted

using Pixels = Tensor;  // [1,H,W,3], -1 to 1

struct Size {
  std::int64_t height, width;
  std::int64_t pixels() const { return height * width; }
};

Size scaled(Size size, double factor) {
  const auto side = [factor](std::int64_t extent) { return std::max(least_side, static_cast<std::int64_t>(std::llround(factor * static_cast<double>(extent)))); };
  return {side(size.height), side(size.width)};
}

// That of a painting beside a picture of this size: of the same area, so that its strokes are as large in it.
Size painting_size(const Image& painting, Size picture) {
  const Size own{painting.height, painting.width};
  return scaled(own, std::sqrt(static_cast<double>(picture.pixels()) / static_cast<double>(own.pixels())));
}

bool transparent(const Image& image) {
  if (image.channels != 4) return false;
  for (std::size_t i = 3; i < image.pixels.size(); i += 4) {
    if (image.pixels[i] != 0) return false;
  }
  return true;
}

std::uint8_t to_byte(float v) { return static_cast<std::uint8_t>(std::lrint(std::clamp(v, 0.0f, 255.0f))); }

Image resized(const Image& image, Size size) {
  if (image.height == size.height && image.width == size.width) return image;
  return resize(image, static_cast<int>(size.height), static_cast<int>(size.width), Filter::lanczos);
}

Pixels upload(Backend& backend, const Image& rgb) {
  const Shape shape{1, rgb.height, rgb.width, 3};
  Pixels x = Tensor::empty(backend, shape);
  backend.dequantize(x, Tensor::from_host(backend, shape, rgb.pixels.data()));
  return x;
}

Image download(const Pixels& x) {
  Tensor bytes = Tensor::empty(x.backend(), x.shape(), DType::u8);
  x.backend().quantize(bytes, x);
  Image image{static_cast<int>(x.shape()[1]), static_cast<int>(x.shape()[2]), 3, std::vector<std::uint8_t>(static_cast<std::size_t>(x.elements()))};
  bytes.copy_to_host(image.pixels.data());
  return image;
}

// ---- colours ---------------------------------------------------------------------------------------------------------
// A rotation of three dimensions, each as likely as any other: Gram and Schmidt on normally distributed vectors. Row by row.
std::array<float, 9> random_rotation(std::uint64_t seed, int number) {
  float normal[12];
  for (std::uint64_t i = 0; i < 3; ++i) normal4({seed, streams::paint_colors}, static_cast<std::uint64_t>(number), i, normal + 4 * i);
  std::array<float, 9> q;
  std::copy_n(normal, 9, q.begin());
  for (std::size_t i = 0; i < 3; ++i) {
    float* const row = &q[3 * i];
    for (std::size_t j = 0; j < i; ++j) {
      const float along = std::inner_product(row, row + 3, &q[3 * j], 0.0f);
      for (std::size_t c = 0; c < 3; ++c) row[c] -= along * q[3 * j + c];
    }
    const float length = std::sqrt(std::inner_product(row, row + 3, row, 0.0f));
    for (std::size_t c = 0; c < 3; ++c) row[c] /= length;
  }
  return q;
}

// Pixels that had one colour get one again, the mean: without this, a plain area would show how equal numbers happen to be sorted.
void even_out(Image& recolored, const Image& before) {
  std::vector<std::size_t> order(before.pixels.size() / 3);
  std::iota(order.begin(), order.end(), 0);
  const auto color = [&](std::size_t i) { return before.pixels[3 * i] << 16 | before.pixels[3 * i + 1] << 8 | before.pixels[3 * i + 2]; };
  std::ranges::sort(order, {}, color);
  for (auto begin = order.begin(); begin != order.end();) {
    const auto end = std::find_if(begin, order.end(), [&](std::size_t i) { return color(i) != color(*begin); });
    for (std::size_t c = 0; c < 3; ++c) {
      const double sum = std::accumulate(begin, end, 0.0, [&](double so_far, std::size_t i) { return so_far + recolored.pixels[3 * i + c]; });
      const std::uint8_t mean = to_byte(static_cast<float>(sum / static_cast<double>(end - begin)));
      for (auto i = begin; i != end; ++i) recolored.pixels[3 * *i + c] = mean;
    }
    begin = end;
  }
}

// The picture with the colours of `like` [1,H W,3]: iterated transport along the axes of random rotations (Pitie, Kokaram and Dahyot,
// "N-dimensional probability density function transfer and its application to colour transfer", ICCV 2005). First along many at a time, which
// together go the shortest way, so that what was light does not become dark.
Image with_colors_of(const Image& image, const Var& like, std::uint64_t seed) {
  const Pixels x = upload(like.backend(), image);
  const Shape rows{x.shape()[1] * x.shape()[2], 3};
  Var from = x.reshaped(rows);
  const Var to = reshape(like, rows);
  int rotation = 0;
  for (const int rotations : {4, 4, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1}) {
    std::vector<float> directions;
    for (int i = 0; i < rotations; ++i) {
      const std::array<float, 9> q = random_rotation(seed, rotation++);
      directions.insert(directions.end(), q.begin(), q.end());
    }
    const Var q = Tensor::from_host(x.backend(), {3 * rotations, 3}, directions.data());
    const Var along = gemm(from, q, {.b = Transpose::yes});
    const Var wanted = scatter(sort(gemm(to, q, {.b = Transpose::yes}), 0).values, sort(along, 0).order, 0);
    from = from + 1.0 / rotations * gemm(wanted - along, q);
  }
  Image recolored = download(from.value().reshaped(x.shape()));
  even_out(recolored, image);
  return recolored;
}

// ---- patches ---------------------------------------------------------------------------------------------------------
// [1,count,C] of x [1,H,W,C], drawn evenly from all of it; where there are fewer pixels, some several times.
Var draw_pixels(const Var& x, std::int64_t count, RandomKey key, const Tensor& state) {
  const std::int64_t all = x.shape()[1] * x.shape()[2], copies = (count + all - 1) / all;
  Var drawn;
  for (std::int64_t i = 0; i < copies; ++i) {
    const std::int64_t part = count * (i + 1) / copies - count * i / copies;
    const Var pixels = sample_pixels(x, {.count = part, .key = key}, state);
    drawn = i == 0 ? pixels : concat(std::array{drawn, pixels}, 1);
  }
  return drawn;
}

// Each of w [K,R,S,C] divided by its length.
Var unit_length(const Var& w) {
  const std::int64_t elements = w.shape().elements() / w.shape()[0];
  const Var rows = reshape(w, {w.shape()[0], elements});
  return reshape(div(rows, broadcast(sqrt(sum(rows * rows, 1)), 1, elements)), w.shape());
}

class Painter {
 public:
  Painter(Backend& backend, const Image& photo, std::span<const Painting> paintings, const PaintOptions& options);

  Image run();

 private:
  Pixels with_details(const Pixels& coarse, Size coarse_size, Size size) const;
  void optimise(Pixels& picture);
  Var draw(std::span<const Var> from, std::int64_t count) const;
  Image finished(const Pixels& picture) const;

  Backend& backend_;
  const Image& photo_;
  const PaintOptions& options_;
  Image content_;                // the photo in RGB, of the last scale's size, in the paintings' colours unless it keeps its own
  std::vector<Image> paintings_;  // RGB
  std::vector<double> weights_;   // their sum is 1
  std::vector<Size> scales_;      // the coarsest first
  Tensor state_;
  StepState now_;
  double done_ = 0, work_ = 0;  // in pixels
  bool stopped_ = false;
};

void check(const Image& photo, std::span<const Painting> paintings, const PaintOptions& o) {
  const auto require = [](bool condition, ExitCode code, const std::string& text) {
    if (!condition) throw Error(code, text);
  };
  require(o.strength >= 0 && o.strength <= 1, ExitCode::usage, fmt::format("a strength of {}, expected 0 to 1", o.strength));
  require(o.stroke >= 0.25 && o.stroke <= 4, ExitCode::usage, fmt::format("strokes of {} times their size, expected 0.25 to 4", o.stroke));
  require(!paintings.empty(), ExitCode::usage, "no painting was given");
  for (const Painting& p : paintings) {
    require(p.weight > 0 && std::isfinite(p.weight), ExitCode::usage, fmt::format("a painting's weight of {}, expected more than 0", p.weight));
    require(std::min(p.image.height, p.image.width) >= least_side, ExitCode::bad_data,
            fmt::format("a painting of {}x{} pixels, expected at least {}x{}", p.image.width, p.image.height, least_side, least_side));
    require(!transparent(p.image), ExitCode::bad_data, "the painting is transparent everywhere");
  }
  require(!transparent(photo), ExitCode::bad_data, "the photo is transparent everywhere");
  require(o.mask.pixels.empty() || (o.mask.height == photo.height && o.mask.width == photo.width), ExitCode::bad_data,
          fmt::format("a mask of {}x{} pixels for a photo of {}x{}, expected one of the same size", o.mask.width, o.mask.height, photo.width, photo.height));
}

Painter::Painter(Backend& backend, const Image& photo, std::span<const Painting> paintings, const PaintOptions& options)
    : backend_(backend), photo_(photo), options_(options), state_(make_step_state(backend)) {
  const Size full{photo.height, photo.width};
  const double reduced = std::sqrt(static_cast<double>(painted_pixels) / static_cast<double>(full.pixels()));
  const Size finest = scaled(full, std::min(1.0, reduced));
  // The coarsest scale's sides over those of the finest. Its patches are what can move: a third of the picture at full strength.
  const double coarsest = std::pow(std::min(1.0, 3.0 * patch / static_cast<double>(std::min(finest.height, finest.width))), options.strength);
  const auto steps = std::lround(std::log(1 / coarsest) / std::log(finer));
  for (long i = 0; i <= steps; ++i) {
    scales_.push_back(scaled(finest, steps == 0 ? 1 : std::pow(coarsest, 1 - static_cast<double>(i) / static_cast<double>(steps))));
    work_ += static_cast<double>(scales_.back().pixels()) * steps_per_scale;
  }

  double sum = 0;
  for (const Painting& p : paintings) sum += p.weight;
  for (const Painting& p : paintings) {
    weights_.push_back(p.weight / sum);
    paintings_.push_back(convert(p.image, 3));
    const Size size = painting_size(paintings_.back(), finest);
    if (size.height < p.image.height) paintings_.back() = resized(paintings_.back(), scaled(size, std::max(1.0, options.stroke)));
  }
  content_ = resized(convert(photo, 3), finest);
  if (!options.keep_colors) {
    std::vector<Var> colors;
    for (const Image& painting : paintings_) colors.emplace_back(upload(backend, painting));
    content_ = with_colors_of(content_, draw(colors, finest.pixels()), options.seed);
    return;
  }
  // What is painted is the photo's luma, by paintings that take its histogram.
  const auto gray = [](const Image& image) { return convert(convert(image, 1), 3); };
  content_ = gray(content_);
  const Var own = upload(backend, content_);
  for (Image& painting : paintings_) painting = with_colors_of(gray(painting), draw({&own, 1}, Size{painting.height, painting.width}.pixels()), options.seed);
}

// So many pixels of several pictures [1,H,W,C], each with its share.
Var Painter::draw(std::span<const Var> from, std::int64_t count) const {
  Var drawn;
  std::int64_t so_far = 0;
  double share = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    share += from.size() == 1 ? 1 : weights_[i];
    const std::int64_t end = i + 1 == from.size() ? count : static_cast<std::int64_t>(std::llround(share * static_cast<double>(count)));
    if (end == so_far) continue;
    const Var pixels = draw_pixels(from[i], end - so_far, {options_.seed, streams::paint_pixels}, state_);
    drawn = drawn.defined() ? concat(std::array{drawn, pixels}, 1) : pixels;
    so_far = end;
  }
  return drawn;
}

// A scale begins with what the one before made, and with what the photo has that is too fine for that.
Pixels Painter::with_details(const Pixels& coarse, Size coarse_size, Size size) const {
  const Var blurred = upload(backend_, resized(resized(content_, coarse_size), size));
  return (Var(upload(backend_, resized(download(coarse), size))) + (Var(upload(backend_, resized(content_, size))) - blurred)).value();
}

// The sliced Wasserstein distance of the picture's patches to the paintings', in other directions at each step.
void Painter::optimise(Pixels& picture) {
  const Size size{picture.shape()[1], picture.shape()[2]};
  const std::int64_t directions = size.pixels() <= painted_pixels / 2 ? 64 : 32;
  std::vector<Pixels> paintings;
  for (const Image& painting : paintings_) {
    const Size wanted = scaled(painting_size(painting, size), options_.stroke);
    paintings.push_back(upload(backend_, resized(painting, wanted)));
  }
  Parameters parameters(backend_, "paint.", 0);
  Parameter& pixels = parameters.add("picture", picture.shape(), Init::constant(0), TorchLayout::same(picture.shape()));
  backend_.cast(pixels.value, picture);
  AdamOptimizer adam(parameters, {.slot = 0, .beta1 = 0.9, .beta2 = 0.99});
  Tape tape;
  for (int step = 0; step < steps_per_scale && !stopped_; ++step) {
    const double rest = 1 - static_cast<double>(step) / steps_per_scale;
    ++now_.step;
    now_.optim[0] = {.lr = last_rate + (first_rate - last_rate) * rest, .t = step + 1};
    write_step_state(state_, now_);
    tape.reset();
    const Recording recording(&tape);
    Tensor w = Tensor::empty(backend_, {directions, patch, patch, 3});
    backend_.random_normal(w, {options_.seed, streams::paint_directions}, state_);
    const Var direction = unit_length(w);
    // Every other patch of every other row, at each step of other ones: neighbours have nearly all pixels in common.
    const std::uint32_t word = philox_word({options_.seed, streams::paint_offsets}, static_cast<std::uint64_t>(now_.step), 0);
    const std::int64_t top = word & 1, left = word >> 1 & 1;
    constexpr std::int64_t around = patch / 2;
    const Var patches = conv2d(pad(pixels.var(), {.top = around - top, .bottom = around, .left = around - left, .right = around}), direction, {.stride = skip});
    std::vector<Var> painted;
    for (const Pixels& painting : paintings) {
      const Var from = slice(slice(painting, 1, top, painting.shape()[1] - top), 2, left, painting.shape()[2] - left);
      painted.push_back(conv2d(from, direction, {.stride = skip * std::max<std::int64_t>(1, static_cast<std::int64_t>(options_.stroke))}));
    }
    const std::int64_t count = patches.shape()[1] * patches.shape()[2];
    const Var wanted = sort(draw(painted, count), 1).values;
    const Var loss = l1_loss(sort(reshape(patches, wanted.shape()), 1).values, wanted);
    adam.step(grad(loss, {pixels.var()}), state_);
    done_ += static_cast<double>(size.pixels());
    if (options_.on_step) options_.on_step(done_ / work_);
    stopped_ = options_.stop && options_.stop();
  }
  picture = pixels.value;
}

// Of the photo's size, with what it has that is finer than the picture, its alpha, and what the mask leaves of it.
Image Painter::finished(const Pixels& picture) const {
  const Size full{photo_.height, photo_.width}, size{picture.shape()[1], picture.shape()[2]};
  Image result = resized(download(picture), full);
  const Image rgb = convert(photo_, 3);
  if (size.height != full.height || size.width != full.width) {
    const Image blurred = resized(resized(rgb, size), full);
    for (std::size_t i = 0; i < result.pixels.size(); i += 3) {
      const float detail = luma(&rgb.pixels[i]) - luma(&blurred.pixels[i]);
      for (std::size_t c = i; c < i + 3; ++c) result.pixels[c] = to_byte(static_cast<float>(result.pixels[c]) + detail);
    }
  }
  if (options_.keep_colors) {
    for (std::size_t i = 0; i < result.pixels.size(); i += 3) {
      const float change = luma(&result.pixels[i]) - luma(&rgb.pixels[i]);
      for (std::size_t c = i; c < i + 3; ++c) result.pixels[c] = to_byte(static_cast<float>(rgb.pixels[c]) + change);
    }
  }
  if (!options_.mask.pixels.empty()) {
    const Image mask = convert(options_.mask, 1);
    for (std::size_t i = 0; i < result.pixels.size(); ++i) {
      const float share = static_cast<float>(mask.pixels[i / 3]) / 255, own = rgb.pixels[i];
      result.pixels[i] = to_byte(own + share * (static_cast<float>(result.pixels[i]) - own));
    }
  }
  if (photo_.channels == 1 && options_.keep_colors) return convert(std::move(result), 1);
  if (photo_.channels != 4) return result;
  result = convert(std::move(result), 4);
  for (std::size_t i = 3; i < result.pixels.size(); i += 4) result.pixels[i] = photo_.pixels[i];
  return result;
}

Image Painter::run() {
  Pixels picture;
  for (std::size_t i = 0; i < scales_.size() && !stopped_; ++i) {
    picture = i == 0 ? upload(backend_, resized(content_, scales_[0])) : with_details(picture, scales_[i - 1], scales_[i]);
    optimise(picture);
    if (options_.on_scale && i + 1 < scales_.size()) options_.on_scale([&] { return finished(picture); });
  }
  return finished(picture);
}

}  // namespace

Image paint(Backend& backend, const Image& photo, std::span<const Painting> paintings, const PaintOptions& options) {
  check(photo, paintings, options);
  return Painter(backend, photo, paintings, options).run();
}

}  // namespace pastiche
