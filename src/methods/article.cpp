// The article's networks: Keras layers with Keras's defaults. The generator: Dense -> base x base x 256, batch norm, LeakyReLU(0.2), then twice
// nearest x2 and a 5x5 convolution (128, 64; batch norm, LeakyReLU), and a 5x5 convolution to the picture, tanh. The discriminator:
// Flatten -> Dense(1). The article's base of 4 makes 16x16 pictures for a discriminator of 28x28; a quarter of the size puts that right.
#include <fmt/format.h>

#include <algorithm>

#include "methods/gan.h"

namespace pastiche {
namespace {

struct ArticleOptions final : OptionsOf<ArticleOptions> {
  int base = 0;

  template <class Visitor>
  void each(Visitor&& visit) {
    visit({"base", OptionGroup::network, option::Range{0, 1024}, "side of the generator's first feature map; 0: a quarter of the size"}, base);
  }
};

constexpr double slope = 0.2;

// Keras: Glorot uniform weights, BatchNormalization(momentum 0.99, epsilon 1e-3), which normalises a Dense output per unit.

Init glorot_conv(std::int64_t in, std::int64_t out) { return Init::glorot(25 * in, 25 * out); }

BatchNormOptions keras_norm(std::int64_t channels) {
  return {.channels = channels, .eps = 1e-3, .momentum = 0.01, .running_var = BatchNormOptions::RunningVar::biased};
}

ConvOptions keras_conv(std::int64_t in, std::int64_t out, Conv conv, Bias bias) {
  return {.in = in, .out = out, .kernel = 5, .conv = conv, .bias = bias, .weight = glorot_conv(in, out)};
}

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

class Article final : public GanMethodOf<ArticleGenerator, ArticleDiscriminator> {
 public:
  const char* name() const override { return "article"; }
  const char* summary() const override { return "New pictures, by the small networks of the article: to compare with"; }
  const char* source() const override { return "the article, with Keras's defaults"; }
  std::vector<std::string_view> shared_options() const override { return {"nz", "step", "penalty", "gamma", "lambda-gp", "penalty-every"}; }
  std::unique_ptr<MethodOptions> own_options() const override { return std::make_unique<ArticleOptions>(); }
  void set_defaults(TrainConfig& config) const override {
    config.lr_g = config.lr_d = 2e-4;  // its discriminator is one linear layer, which larger steps throw about
    config.decay_from = 1;
    config.loss = "non-saturating";
    config.beta1 = 0.5;
    config.beta2 = 0.999;
  }
  std::vector<ImageSize> bench_sizes() const override { return {{28, 28}}; }

  void set_own(ModelConfig& model, const TrainConfig& config) const override { model.base = options_of<ArticleOptions>(config).base; }
  ImageSize default_size(const TrainConfig& config) const override {
    const int side = 4 * options_of<ArticleOptions>(config).base;  // what that base makes
    return {side, side};
  }
  void check(const ModelConfig& c) const override {
    if (c.base == 0 || (4 * c.base >= c.height && 4 * c.base >= c.width)) return;
    throw Error(ExitCode::usage, fmt::format("base {} makes pictures of {} x {}, smaller than the {} x {} asked for: use --size {}, or --base {}", c.base,
                                             4 * c.base, 4 * c.base, c.width, c.height, 4 * c.base, ceil_div(std::max(c.height, c.width), 4)));
  }
};

}  // namespace

const GanMethod& article_method() {
  static const Article method;
  return method;
}

}  // namespace pastiche
