#include "pastiche/models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "io/json.h"

namespace pastiche {
namespace {

constexpr double slope = 0.2;
constexpr Activation leaky{Activation::Kind::leaky_relu, slope};
constexpr Activation to_unit{Activation::Kind::tanh};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::string numbered(const char* name, std::size_t i) { return name + std::to_string(i + 1); }

// ---- article ---------------------------------------------------------------------------------------------------------
// Keras: Glorot uniform weights, BatchNormalization(momentum 0.99, epsilon 1e-3), which normalises a Dense output per unit.

Init glorot_conv(std::int64_t in, std::int64_t out) { return Init::glorot(25 * in, 25 * out); }

BatchNormOptions keras_norm(std::int64_t channels) {
  return {.channels = channels, .eps = 1e-3, .momentum = 0.01, .running_var = BatchNormOptions::RunningVar::biased};
}

ConvOptions keras_conv(std::int64_t in, std::int64_t out, Conv conv, Bias bias) {
  return {.in = in, .out = out, .kernel = 5, .conv = conv, .bias = bias, .weight = glorot_conv(in, out)};
}

constexpr Conv same_conv{.pad = 2};
constexpr Conv up_conv{.pad = 2, .upsample = 2, .out = Phases::inner};

class ArticleGenerator final : public Generator {
 public:
  ArticleGenerator(Backend& backend, const ModelConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : Generator(backend, config, std::move(prefix), seed, dtype),
        base_height_(config.base > 0 ? config.base : ceil_div(config.height, 4)),
        base_width_(config.base > 0 ? config.base : ceil_div(config.width, 4)),
        project_(parameters_, "project",
                 {.in = config.nz, .out = units(), .bias = Bias::no, .weight = Init::glorot(config.nz, units()),
                  .out_picture = {base_height_, base_width_, 256}}),
        project_norm_(parameters_, "project_norm", unit_norm()),
        conv1_(parameters_, "conv1", keras_conv(256, 128, up_conv, Bias::no)),
        norm1_(parameters_, "norm1", keras_norm(128)),
        conv2_(parameters_, "conv2", keras_conv(128, 64, up_conv, Bias::no)),
        norm2_(parameters_, "norm2", keras_norm(64)),
        to_image_(parameters_, "to_image", keras_conv(64, config.channels, same_conv, Bias::yes)) {}

  Var operator()(const Var& z, const Pass& pass) const override {
    Var x = project_norm_(project_(z), slope, pass);                     // [N,h w 256]
    x = reshape(x, {z.shape()[0], base_height_, base_width_, 256});      // [N,h,w,256]
    x = norm1_(conv1_, x, slope, pass);                                  // [N,2h,2w,128]
    x = norm2_(conv2_, x, slope, pass);                                  // [N,4h,4w,64]
    return crop_center(to_image_(x, to_unit), config_.height, config_.width);  // [N,H,W,C]
  }

 private:
  std::int64_t units() const { return base_height_ * base_width_ * 256; }
  BatchNormOptions unit_norm() const {
    BatchNormOptions options = keras_norm(units());
    options.picture = {base_height_, base_width_, 256};
    return options;
  }

  std::int64_t base_height_, base_width_;
  Linear project_;
  BatchNorm project_norm_;
  Conv2d conv1_;
  BatchNorm norm1_;
  Conv2d conv2_;
  BatchNorm norm2_;
  Conv2d to_image_;
};

class ArticleDiscriminator final : public Discriminator {
 public:
  ArticleDiscriminator(Backend& backend, const ModelConfig& config, std::uint64_t seed, DType dtype)
      : Discriminator(backend, config, seed, dtype),
        head_(parameters_, "head",
              {.in = config.height * config.width * config.channels, .out = 1,
               .weight = Init::glorot(config.height * config.width * config.channels, 1),
               .in_picture = {config.height, config.width, config.channels}}) {}

  Var operator()(const Var& pictures, const Pass&) const override { return head_(flatten(pictures)); }

 private:
  Linear head_;
};

// ---- dcgan -----------------------------------------------------------------------------------------------------------
// Weights N(0, 0.02), scales N(1, 0.02) as in the paper; otherwise PyTorch's defaults.

constexpr std::int64_t most_channels = 512;
const Init dcgan_weight = Init::normal(0, 0.02);
const Init dcgan_scale = Init::normal(1, 0.02);

struct Sides {
  std::int64_t height, width;
};

// The sides after each halving, the picture's own first; odd ones are rounded up.
std::vector<Sides> halvings(const ModelConfig& config) {
  std::vector<Sides> sides{{config.height, config.width}};
  while (std::min(sides.back().height, sides.back().width) > 7) {
    sides.push_back({ceil_div(sides.back().height, 2), ceil_div(sides.back().width, 2)});
  }
  return sides;
}

// Channels after i halvings of the picture, i from 1.
std::int64_t channels_at(std::int64_t least, std::size_t i) {
  return std::min(most_channels, least << std::min<std::size_t>(i - 1, 10));
}

class DcganGenerator final : public Generator {
 public:
  DcganGenerator(Backend& backend, const ModelConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : Generator(backend, config, std::move(prefix), seed, dtype),
        stages_(halvings(config).size() - 1),
        base_(halvings(config).back()),
        base_channels_(channels_at(config.ngf, stages_ + 1)),
        project_(parameters_, "project",
                 {.in = config.nz, .out = base_.height * base_.width * base_channels_, .bias = Bias::no, .weight = dcgan_weight,
                  .out_picture = {base_.height, base_.width, base_channels_}}),
        project_norm_(parameters_, "project_norm", {.channels = base_channels_, .gamma = dcgan_scale}) {
    std::int64_t in = base_channels_;
    for (std::size_t i = 0; i < stages_; ++i) {
      const std::int64_t out = channels_at(config.ngf, stages_ - i);
      convs_.emplace_back(parameters_, numbered("conv", i),
                          ConvOptions{.in = in, .out = out, .kernel = 5, .conv = up_conv, .bias = Bias::no, .weight = dcgan_weight});
      norms_.emplace_back(parameters_, numbered("norm", i), BatchNormOptions{.channels = out, .gamma = dcgan_scale});
      in = out;
    }
    to_image_.emplace_back(parameters_, "to_image",
                           ConvOptions{.in = in, .out = config.channels, .kernel = 5, .conv = same_conv, .weight = dcgan_weight});
  }

  Var operator()(const Var& z, const Pass& pass) const override {
    Var x = reshape(project_(z), {z.shape()[0], base_.height, base_.width, base_channels_});  // [N,h,w,C]
    x = project_norm_(x, slope, pass);
    for (std::size_t i = 0; i < stages_; ++i) x = norms_[i](convs_[i], x, slope, pass);
    return crop_center(to_image_.front()(x, to_unit), config_.height, config_.width);  // [N,H,W,C]
  }

 private:
  std::size_t stages_;
  Sides base_;
  std::int64_t base_channels_;
  Linear project_;
  BatchNorm project_norm_;
  std::vector<Conv2d> convs_;
  std::vector<BatchNorm> norms_;
  std::vector<Conv2d> to_image_;  // one, made after the others so that files and seeds keep their order
};

class DcganDiscriminator final : public Discriminator {
 public:
  DcganDiscriminator(Backend& backend, const ModelConfig& config, std::uint64_t seed, DType dtype)
      : Discriminator(backend, config, seed, dtype), seed_(seed) {
    const std::vector<Sides> sides = halvings(config);
    std::int64_t in = config.channels;
    for (std::size_t i = 1; i < std::max<std::size_t>(sides.size(), 2); ++i) {
      const std::int64_t out = channels_at(config.ndf, i);
      const bool norm = config.d_norm && i > 1;  // the paper leaves the first layer without
      convs_.emplace_back(parameters_, numbered("conv", i - 1),
                          ConvOptions{.in = in, .out = out, .kernel = 5, .conv = {.stride = 2, .pad = 2},
                                      .bias = norm ? Bias::no : Bias::yes, .weight = dcgan_weight});
      if (norm) norms_.emplace_back(parameters_, numbered("norm", i - 1), BatchNormOptions{.channels = out, .gamma = dcgan_scale});
      in = out;
    }
    const Sides last = sides.size() > 1 ? sides.back() : Sides{ceil_div(config.height, 2), ceil_div(config.width, 2)};
    head_.emplace_back(parameters_, "head",
                       LinearOptions{.in = last.height * last.width * in, .out = 1, .weight = dcgan_weight,
                                     .in_picture = {last.height, last.width, in}});
  }

  Var operator()(const Var& pictures, const Pass& pass) const override {
    Var x = pictures;  // [N,H,W,C]
    for (std::size_t i = 0; i < convs_.size(); ++i) {
      const bool norm = config_.d_norm && i > 0;
      x = norm ? norms_[i - 1](convs_[i], x, slope, pass) : convs_[i](x, leaky);
      if (config_.dropout > 0 && pass.mode == Mode::train) {
        const std::uint32_t stream = streams::dropout + static_cast<std::uint32_t>(i) + 256 * pass.call;
        x = dropout(x, {.p = config_.dropout, .key = {seed_, stream}}, pass.state);
      }
    }
    return head_.front()(flatten(x));  // [N,1]
  }

 private:
  std::uint64_t seed_;
  std::vector<Conv2d> convs_;
  std::vector<BatchNorm> norms_;
  std::vector<Linear> head_;  // one
};

// ---- by name ---------------------------------------------------------------------------------------------------------

struct ModelFamily {
  const char* name;
  std::unique_ptr<Generator> (*generator)(Backend&, const ModelConfig&, std::string prefix, std::uint64_t seed, DType);
  std::unique_ptr<Discriminator> (*discriminator)(Backend&, const ModelConfig&, std::uint64_t seed, DType);
};

template <class G, class D>
constexpr ModelFamily family(const char* name) {
  return {name,
          [](Backend& backend, const ModelConfig& config, std::string prefix, std::uint64_t seed,
             DType dtype) -> std::unique_ptr<Generator> {
            return std::make_unique<G>(backend, config, std::move(prefix), seed, dtype);
          },
          [](Backend& backend, const ModelConfig& config, std::uint64_t seed, DType dtype) -> std::unique_ptr<Discriminator> {
            return std::make_unique<D>(backend, config, seed, dtype);
          }};
}

constexpr std::array families{family<ArticleGenerator, ArticleDiscriminator>("article"),
                              family<DcganGenerator, DcganDiscriminator>("dcgan")};

const ModelFamily& find_family(std::string_view name) {
  for (const ModelFamily& f : families) {
    if (name == f.name) return f;
  }
  throw Error(ExitCode::bad_file, fmt::format("unknown model {}; known are: {}", quote(name), fmt::join(model_names(), ", ")));
}

// A size that no picture has would only show as an allocation that fails.
void check(const ModelConfig& c) {
  const auto in = [](std::int64_t value, std::int64_t least, std::int64_t most) { return value >= least && value <= most; };
  if (in(c.height, 1, 4096) && in(c.width, 1, 4096) && (c.channels == 1 || c.channels == 3 || c.channels == 4) &&
      in(c.nz, 1, 65536) && in(c.ngf, 1, 4096) && in(c.ndf, 1, 4096) && in(c.base, 0, 1024) && c.dropout >= 0 && c.dropout < 1) {
    if (c.name == "article" && c.base > 0 && (4 * c.base < c.height || 4 * c.base < c.width)) {
      throw Error(ExitCode::usage, fmt::format("base {} makes pictures of {} x {}, smaller than the {} x {} asked for: use "
                                               "--size {}, or --base {}", c.base, 4 * c.base, 4 * c.base, c.width, c.height,
                                               4 * c.base, ceil_div(std::max(c.height, c.width), 4)));
    }
    return;
  }
  throw Error(ExitCode::bad_file, "model config out of range: " + model_config_to_json(c));
}

}  // namespace

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const ModelFamily& f : families) names.emplace_back(f.name);
  return names;
}

std::unique_ptr<Generator> make_generator(Backend& backend, const ModelConfig& config, std::uint64_t seed, std::string prefix,
                                          DType dtype) {
  check(config);
  return find_family(config.name).generator(backend, config, std::move(prefix), seed, dtype);
}

std::unique_ptr<Discriminator> make_discriminator(Backend& backend, const ModelConfig& config, std::uint64_t seed, DType dtype) {
  check(config);
  return find_family(config.name).discriminator(backend, config, seed, dtype);
}

std::string model_config_to_json(const ModelConfig& c) {
  return nlohmann::ordered_json{{"name", c.name}, {"height", c.height}, {"width", c.width}, {"channels", c.channels},
                                {"nz", c.nz}, {"ngf", c.ngf}, {"ndf", c.ndf}, {"base", c.base}, {"d_norm", c.d_norm},
                                {"dropout", c.dropout}}.dump();
}

ModelConfig model_config_from_json(std::string_view json) {
  const auto j = parse_json(json);
  if (!j) throw Error(ExitCode::bad_file, "not a model config: no JSON of its size");
  ModelConfig c{.name = text_member(*j, "name"), .height = whole_member(*j, "height"), .width = whole_member(*j, "width"),
                .channels = whole_member(*j, "channels"), .nz = whole_member(*j, "nz"), .ngf = whole_member(*j, "ngf"),
                .ndf = whole_member(*j, "ndf"), .base = whole_member(*j, "base"), .d_norm = bool_member(*j, "d_norm"),
                .dropout = number_member(*j, "dropout")};
  find_family(c.name);
  try {
    check(c);
  } catch (const Error& error) {
    throw Error(ExitCode::bad_file, error.what());  // also of what would be a wrong option
  }
  return c;
}

}  // namespace pastiche
