// Huang et al., 2024 (arXiv 2501.05441): residual blocks without norms, a relativistic loss, and R1 and R2 to hold the discriminator. The blocks
// are the paper's; there are fewer and narrower ones, one at each size.
#include <cmath>

#include "methods/gan.h"
#include "ops/check.h"

namespace pastiche {
namespace {

constexpr double slope = 0.2;
constexpr Activation leaky{Activation::Kind::leaky_relu, slope};

// Weights that keep the variance: He et al., 2015.
Init keeps_variance(std::int64_t fan_in, double gain = 1) { return Init::normal(0, gain / std::sqrt(static_cast<double>(fan_in))); }

// A filter of each channel alone, [1,2,1] on both axes, for steps of 2 pixels; its weights sum to `sum`.
Tensor binomial(Backend& backend, std::int64_t channels, double sum, DType dtype) {
  std::vector<float> weights;
  for (std::int64_t c = 0; c < channels; ++c) {
    for (const double row : {1, 2, 1}) {
      for (const double column : {1, 2, 1}) weights.push_back(static_cast<float>(row * column * sum / 16));
    }
  }
  return cast(Tensor::from_host(backend, {channels, 3, 3, 1}, weights.data()), parameter_dtype(dtype)).value();
}

Conv halving_conv(std::int64_t channels) { return {.stride = 2, .pad = 1, .groups = channels}; }

// x + 1x1(3x3(1x1(x))) with twice the channels within, of which 16 at a time are mixed by the 3x3. The last weights begin at 0.
class ResidualBlock {
 public:
  ResidualBlock(Parameters& parameters, const std::string& name, std::int64_t channels, std::size_t blocks)
      : widen_(parameters, name + ".widen", {.in = channels, .out = 2 * channels, .kernel = 1, .weight = keeps_variance(channels, gain(blocks))}),
        mix_(parameters, name + ".mix",
             {.in = 2 * channels, .out = 2 * channels, .kernel = 3, .conv = {.pad = 1, .groups = groups(2 * channels)},
              .weight = keeps_variance(9 * 2 * channels / groups(2 * channels), gain(blocks))}),
        narrow_(parameters, name + ".narrow", {.in = 2 * channels, .out = channels, .kernel = 1, .bias = Bias::no, .weight = Init::constant(0)}) {}

  Var operator()(const Var& x) const { return x + narrow_(mix_(widen_(x, leaky), leaky)); }

 private:
  static std::int64_t groups(std::int64_t channels) { return channels % 16 == 0 ? channels / 16 : 1; }
  // Of LeakyReLU, and so that the sum of all blocks varies as much whatever their number: Zhang et al., 2019.
  static double gain(std::size_t blocks) { return std::sqrt(2 / (1 + slope * slope)) * std::pow(static_cast<double>(blocks), -0.25); }

  Conv2d widen_, mix_, narrow_;
};

// A learned map of each channel.
Parameter& add_basis(Parameters& parameters, const Sides& sides, std::int64_t channels) {
  const Shape shape{sides.height, sides.width, channels};
  const TorchLayout layout{.height = sides.height, .width = sides.width, .channels = channels, .shape = {channels, sides.height, sides.width}};
  return parameters.add("basis", shape, Init::normal(0, 1), layout);
}

class R3ganGenerator final : public Generator {
 public:
  R3ganGenerator(Backend& backend, const ModelConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : Generator(backend, config, std::move(prefix), seed, dtype),
        stages_(halvings(config.height, config.width).size()),
        channels_(doubled(config.ngf, stages_ - 1)),
        basis_(add_basis(parameters_, halvings(config.height, config.width).back(), channels_)),
        project_(parameters_, "project", {.in = config.nz, .out = channels_, .bias = Bias::no, .weight = keeps_variance(config.nz)}) {
    std::int64_t in = channels_;
    for (std::size_t i = 0; i < stages_; ++i) {
      const std::int64_t out = doubled(config.ngf, stages_ - 1 - i);
      if (i > 0) {
        convs_.emplace_back(parameters_, numbered("conv", i - 1),
                            ConvOptions{.in = in, .out = out, .kernel = 1, .bias = Bias::no, .weight = keeps_variance(in)});
        filters_.push_back(binomial(backend, out, 4, dtype));
      }
      blocks_.emplace_back(parameters_, numbered("block", i), out, stages_);
      in = out;
    }
    to_image_.emplace_back(parameters_, "to_image", ConvOptions{.in = in, .out = config.channels, .kernel = 1, .weight = keeps_variance(in)});
  }

  Var operator()(const Var& z, const Pass&) const override {
    const std::int64_t n = z.shape()[0];
    const Var basis = basis_.var();  // [h,w,C]
    const Shape map{n, basis.shape()[0], basis.shape()[1], channels_};
    const Var weight = reshape(broadcast(project_(z), 1, map[1] * map[2]), map);
    Var x = blocks_[0](broadcast(cast(basis, weight.dtype()), 0, n) * weight);  // [N,h,w,C]
    for (std::size_t i = 1; i < stages_; ++i) {
      const Var narrow = convs_[i - 1](x);
      x = blocks_[i](conv_transpose2d(narrow, filters_[i - 1], halving_conv(narrow.shape()[3]), 1));
    }
    return crop_center(to_image_.front()(x, to_unit), config_.height, config_.width);  // [N,H,W,C]
  }

 private:
  std::size_t stages_;
  std::int64_t channels_;
  Parameter& basis_;
  Linear project_;
  std::vector<Conv2d> convs_;
  std::vector<Tensor> filters_;
  std::vector<ResidualBlock> blocks_;
  std::vector<Conv2d> to_image_;  // one
};

class R3ganDiscriminator final : public Discriminator {
 public:
  R3ganDiscriminator(Backend& backend, const ModelConfig& config, std::uint64_t seed, DType dtype)
      : Discriminator(backend, config, seed, dtype),
        from_image_(parameters_, "from_image", {.in = config.channels, .out = config.ndf, .kernel = 1, .weight = keeps_variance(config.channels)}) {
    const std::vector<Sides> sides = halvings(config.height, config.width);
    std::int64_t in = config.ndf;
    for (std::size_t i = 0; i < sides.size(); ++i) {
      const std::int64_t out = doubled(config.ndf, i);
      if (i > 0) {
        filters_.push_back(binomial(backend, in, 1, dtype));
        convs_.emplace_back(parameters_, numbered("conv", i - 1),
                            ConvOptions{.in = in, .out = out, .kernel = 1, .bias = Bias::no, .weight = keeps_variance(in)});
      }
      blocks_.emplace_back(parameters_, numbered("block", i), out, sides.size());
      in = out;
    }
    basis_ = &add_basis(parameters_, sides.back(), in);
    head_.emplace_back(parameters_, "head", LinearOptions{.in = in, .out = 1, .bias = Bias::no, .weight = keeps_variance(in)});
  }

  Var operator()(const Var& pictures, const Pass&) const override {
    Var x = blocks_[0](from_image_(pictures));  // [N,H,W,C]
    for (std::size_t i = 1; i < blocks_.size(); ++i) x = blocks_[i](convs_[i - 1](conv2d(x, filters_[i - 1], halving_conv(x.shape()[3]))));
    const std::int64_t n = x.shape()[0], pixels = x.shape()[1] * x.shape()[2], channels = x.shape()[3];
    const Var seen = x * broadcast(cast(basis_->var(), x.dtype()), 0, n);
    const Var mean_of_map = 1 / std::sqrt(static_cast<double>(pixels)) * sum(reshape(seen, {n, pixels, channels}), 1);
    return head_.front()(mean_of_map);  // [N,1]
  }

 private:
  Conv2d from_image_;
  std::vector<Conv2d> convs_;
  std::vector<Tensor> filters_;
  std::vector<ResidualBlock> blocks_;
  Parameter* basis_ = nullptr;
  std::vector<Linear> head_;  // one
};

class R3gan final : public GanMethodOf<R3ganGenerator, R3ganDiscriminator> {
 public:
  const char* name() const override { return "r3gan"; }
  const char* summary() const override { return "New pictures like those of a folder, by residual networks without norms"; }
  const char* source() const override { return "Huang et al., 2024"; }
  std::vector<std::string_view> shared_options() const override { return {"nz", "ngf", "ndf", "step", "penalty", "gamma", "lambda-gp", "penalty-every"}; }
  void set_defaults(TrainConfig&) const override {}
  std::vector<ImageSize> bench_sizes() const override { return {{28, 28}, {64, 64}, {128, 128}}; }
};

}  // namespace

const GanMethod& r3gan_method() {
  static const R3gan method;
  return method;
}

}  // namespace pastiche
