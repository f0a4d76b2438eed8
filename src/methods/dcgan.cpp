// Radford et al., 2016 (arXiv 1511.06434), with nearest x2 and a 5x5 convolution in place of transposed ones, which leave a checkerboard (Odena
// et al., 2016): the size is halved until the smaller side is at most 7.
#include "methods/gan.h"

namespace pastiche {
namespace {

struct DcganOptions final : OptionsOf<DcganOptions> {
  bool d_norm = false;

  template <class Visitor>
  void each(Visitor&& visit) {
    visit({"d-norm", OptionGroup::network, option::Any{}, "batch norm in the discriminator"}, d_norm);
  }
};

constexpr double slope = 0.2;
constexpr Activation leaky{Activation::Kind::leaky_relu, slope};

// Weights N(0, 0.02), scales N(1, 0.02) as in the paper; otherwise PyTorch's defaults.

const Init dcgan_weight = Init::normal(0, 0.02);
const Init dcgan_scale = Init::normal(1, 0.02);

class DcganGenerator final : public Generator {
 public:
  DcganGenerator(Backend& backend, const ModelConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : Generator(backend, config, std::move(prefix), seed, dtype),
        stages_(halvings(config.height, config.width).size() - 1),
        base_(halvings(config.height, config.width).back()),
        base_channels_(doubled(config.ngf, stages_)),
        project_(parameters_, "project",
                 {.in = config.nz, .out = base_.height * base_.width * base_channels_, .bias = Bias::no, .weight = dcgan_weight,
                  .out_picture = {base_.height, base_.width, base_channels_}}),
        project_norm_(parameters_, "project_norm", {.channels = base_channels_, .gamma = dcgan_scale}) {
    std::int64_t in = base_channels_;
    for (std::size_t i = 0; i < stages_; ++i) {
      const std::int64_t out = doubled(config.ngf, stages_ - i - 1);
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
    const std::vector<Sides> sides = halvings(config.height, config.width);
    std::int64_t in = config.channels;
    for (std::size_t i = 1; i < std::max<std::size_t>(sides.size(), 2); ++i) {
      const std::int64_t out = doubled(config.ndf, i - 1);
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

class Dcgan final : public GanMethodOf<DcganGenerator, DcganDiscriminator> {
 public:
  const char* name() const override { return "dcgan"; }
  const char* summary() const override { return "New pictures like those of a folder"; }
  const char* source() const override { return "Radford et al., 2016"; }
  std::vector<std::string_view> shared_options() const override { return {"nz", "ngf", "ndf", "dropout", "step", "penalty", "gamma", "lambda-gp", "penalty-every"}; }
  std::unique_ptr<MethodOptions> own_options() const override { return std::make_unique<DcganOptions>(); }
  void set_defaults(TrainConfig&) const override {}
  std::vector<ImageSize> bench_sizes() const override { return {{28, 28}, {64, 64}, {128, 128}}; }

  void set_own(ModelConfig& model, const TrainConfig& config) const override { model.d_norm = options_of<DcganOptions>(config).d_norm; }
};

}  // namespace

const GanMethod& dcgan_method() {
  static const Dcgan method;
  return method;
}

}  // namespace pastiche
