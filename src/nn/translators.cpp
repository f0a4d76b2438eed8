#include "pastiche/translators.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "io/json.h"

namespace pastiche {
namespace {

constexpr double leaky_slope = 0.2;
constexpr std::int64_t norm_groups = 8;  // of a U-Net
constexpr Activation leaky{Activation::Kind::leaky_relu, leaky_slope};
constexpr Activation to_unit{Activation::Kind::tanh};
const Init weight = Init::normal(0, 0.02);  // as in the papers

Conv2d conv_without_bias(Parameters& parameters, const std::string& name, std::int64_t in, std::int64_t out, std::int64_t kernel,
                         const Conv& conv) {
  return {parameters, name, {.in = in, .out = out, .kernel = kernel, .conv = conv, .bias = Bias::no, .weight = weight}};
}

// Nearest-neighbour upsampling and a 3x3 convolution.
constexpr Conv up_conv{.pad = 1, .upsample = 2, .out = Phases::outer};

// ---- resnet ----------------------------------------------------------------------------------------------------------

Var reflect(const Var& x, std::int64_t by) { return pad(x, {.top = by, .bottom = by, .left = by, .right = by}); }

class ResnetTranslator final : public Translator {
 public:
  ResnetTranslator(Backend& backend, const TranslatorConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : Translator(backend, config, std::move(prefix), seed, dtype) {
    const std::int64_t c = config.ngf;
    add("stem", config.channels, c, 7, {});
    add("down1", c, 2 * c, 3, {.stride = 2, .pad = 1});
    add("down2", 2 * c, 4 * c, 3, {.stride = 2, .pad = 1});
    for (std::int64_t i = 1; i <= config.blocks; ++i) {
      add(fmt::format("block{}.conv1", i), 4 * c, 4 * c, 3, {});
      add(fmt::format("block{}.conv2", i), 4 * c, 4 * c, 3, {});
    }
    add("up1", 4 * c, 2 * c, 3, up_conv);
    add("up2", 2 * c, c, 3, up_conv);
    convs_.emplace_back(parameters_, "to_image", ConvOptions{.in = c, .out = config.channels, .kernel = 7, .conv = {}, .weight = weight});
    for (const std::int64_t channels : {c, 2 * c, 4 * c}) feature_channels_.push_back(channels);
    if (encoded_blocks() > 0) feature_channels_.push_back(4 * c);
  }

  std::vector<Var> encode(const Var& x, const Pass& pass) const override {
    check_sides(x);
    std::vector<Var> features{x};                                     // [N,H,W,C]
    features.push_back(layer(0, reflect(x, 3), 0, pass));             // [N,H,W,ngf]
    features.push_back(layer(1, features.back(), 0, pass));           // [N,H/2,W/2,2 ngf]
    features.push_back(layer(2, features.back(), 0, pass));           // [N,H/4,W/4,4 ngf]
    if (encoded_blocks() > 0) features.push_back(blocks(features.back(), 0, encoded_blocks(), pass));
    return features;
  }

  Var decode(std::vector<Var> features, const Pass& pass) const override {
    Var x = std::move(features.back());
    features.clear();  // the large ones are not needed any more
    x = blocks(std::move(x), encoded_blocks(), config_.blocks, pass);            // [N,H/4,W/4,4 ngf]
    const auto up1 = static_cast<std::size_t>(3 + 2 * config_.blocks);
    const Var y = layer(up1 + 1, layer(up1, x, 0, pass), 0, pass);    // [N,H,W,ngf]
    return convs_.back()(reflect(y, 3), to_unit);                     // [N,H,W,C]
  }

 private:
  void add(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t kernel, const Conv& conv) {
    convs_.push_back(conv_without_bias(parameters_, name, in, out, kernel, conv));
    norms_.emplace_back(parameters_, name + ".norm", InstanceNormOptions{.channels = out});
  }

  Var layer(std::size_t i, const Var& x, double slope, const Pass& pass) const {
    return norms_[i](convs_[i], x, slope, pass);
  }

  // The first half of the residual blocks stands in the encoder, so that features of patches reach as far.
  std::int64_t encoded_blocks() const { return config_.blocks / 2; }

  Var blocks(Var x, std::int64_t begin, std::int64_t end, const Pass& pass) const {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto conv1 = static_cast<std::size_t>(3 + 2 * i);
      const Var inner = layer(conv1, reflect(x, 1), 0, pass);
      x = x + layer(conv1 + 1, reflect(inner, 1), 1, pass);
    }
    return x;
  }

  std::vector<Conv2d> convs_;         // in the order of the network
  std::vector<InstanceNorm> norms_;   // of all but the last
};

// ---- unet ------------------------------------------------------------------------------------------------------------

class UnetTranslator final : public Translator {
 public:
  UnetTranslator(Backend& backend, const TranslatorConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : Translator(backend, config, std::move(prefix), seed, dtype), seed_(seed), depth_(static_cast<std::size_t>(config.depth)) {
    for (std::size_t i = 0; i < depth_; ++i) feature_channels_.push_back(std::min(config.ngf << i, 8 * config.ngf));
    for (std::size_t i = 0; i < depth_; ++i) {
      const Conv halve{.stride = 2, .pad = 1};
      const bool norm = has_norm(i);
      downs_.emplace_back(parameters_, fmt::format("down{}", i + 1),
                          ConvOptions{.in = feature_channels_[i], .out = feature_channels_[i + 1], .kernel = 4, .conv = halve,
                                      .bias = norm ? Bias::no : Bias::yes, .weight = weight});
      if (norm) add_norm(down_norms_, fmt::format("down_norm{}", i + 1), feature_channels_[i + 1]);
    }
    for (std::size_t i = depth_; i-- > 0;) {
      const std::int64_t out = i > 0 ? feature_channels_[i] : config.ngf;
      ups_.push_back(conv_without_bias(parameters_, fmt::format("up{}", i + 1), decoder_in(i), out, 3, up_conv));
      add_norm(up_norms_, fmt::format("up_norm{}", i + 1), out);
    }
    // At full size, beside the picture itself: an upsampling convolution alone blurs lines of one pixel.
    const std::int64_t in = config.ngf + config.channels;
    to_image_.emplace(parameters_, "to_image",
                      ConvOptions{.in = in, .out = config.channels, .kernel = 3, .conv = {.pad = 1}, .weight = weight});
  }

  std::vector<Var> encode(const Var& x, const Pass& pass) const override {
    check_sides(x);
    std::vector<Var> features{x};  // feature i: [N,H/2^i,W/2^i,feature_channels_[i]]
    for (std::size_t i = 0; i < depth_; ++i) {
      const Var& below = features.back();
      features.push_back(has_norm(i) ? down_norms_[i - 1](downs_[i], below, leaky_slope, pass) : downs_[i](below, leaky));
    }
    return features;
  }

  Var decode(std::vector<Var> features, const Pass& pass) const override {
    Var y = features.back();
    for (std::size_t j = 0; j < depth_; ++j) {  // from the innermost
      y = up_norms_[j](ups_[j], y, 0, pass);
      if (config_.dropout > 0 && j < 3 && j + 1 < depth_ && pass.mode == Mode::train) {
        const std::uint32_t stream = streams::dropout + static_cast<std::uint32_t>(j) + 256 * pass.call;
        y = dropout(y, {.p = config_.dropout, .key = {seed_, stream}}, pass.state);
      }
      const Var joined[] = {y, features[depth_ - 1 - j]};
      y = concat(joined, 3);
    }
    return (*to_image_)(y, to_unit);
  }

 private:
  // Over groups of channels: an instance norm would take the mean of each channel, and with it the colour, out of every picture.
  void add_norm(std::vector<GroupNorm>& norms, const std::string& name, std::int64_t channels) {
    norms.emplace_back(parameters_, name, GroupNormOptions{.channels = channels, .groups = std::gcd(channels, norm_groups)});
  }

  // The papers leave the outermost layer and the innermost without.
  bool has_norm(std::size_t down) const { return down > 0 && down + 1 < depth_; }
  std::int64_t decoder_in(std::size_t i) const { return feature_channels_[i + 1] * (i + 1 == depth_ ? 1 : 2); }

  std::uint64_t seed_;
  std::size_t depth_;
  std::vector<Conv2d> downs_, ups_;  // from the picture inwards, and from there outwards
  std::vector<GroupNorm> down_norms_, up_norms_;
  std::optional<Conv2d> to_image_;
};

// ---- by name ---------------------------------------------------------------------------------------------------------

void check(const TranslatorConfig& c) {
  const auto in = [](std::int64_t value, std::int64_t least, std::int64_t most) { return value >= least && value <= most; };
  const auto names = translator_names();
  if (std::find(names.begin(), names.end(), c.name) == names.end()) {
    throw Error(ExitCode::bad_file, fmt::format("unknown network {}; known are: {}", quote(c.name), fmt::join(names, ", ")));
  }
  if (!in(c.height, 1, 4096) || !in(c.width, 1, 4096) || !(c.channels == 1 || c.channels == 3 || c.channels == 4) ||
      !in(c.ngf, 1, 4096) || !in(c.blocks, 0, 64) || !in(c.depth, 2, 12) || !(c.dropout >= 0 && c.dropout < 1)) {
    throw Error(ExitCode::bad_file, "network config out of range: " + translator_config_to_json(c));
  }
}

}  // namespace

std::vector<std::string> translator_names() { return {"unet", "resnet"}; }

std::int64_t side_multiple(const TranslatorConfig& c) { return c.name == "unet" ? std::int64_t{1} << c.depth : 4; }

std::int64_t least_side(const TranslatorConfig& c) { return c.name == "unet" ? std::int64_t{1} << c.depth : 8; }

std::optional<Tiling> tiling(const TranslatorConfig& c) {
  if (c.name == "unet") return std::nullopt;
  // Winograd's algorithm computes spans of 4 pixels of the residual blocks, 16 of the picture, from the 6 around them, and all 6
  // are in the last bits of each: so spans must begin where the whole picture's do, and a wrong pixel spoils one more span with
  // each convolution. One span is for all other layers.
  constexpr std::int64_t span = 16;
  return Tiling{.step = span, .halo = span * (2 * c.blocks + 1)};
}

void Translator::check_sides(const Var& x) const {
  const Shape& shape = x.shape();
  const std::int64_t multiple = side_multiple(config_), least = least_side(config_);
  if (shape.rank() == 4 && shape[3] == config_.channels && shape[1] >= least && shape[2] >= least && shape[1] % multiple == 0 &&
      shape[2] % multiple == 0) {
    return;
  }
  throw Error(ExitCode::usage, fmt::format("pictures are {}, expected [N,H,W,{}] with sides that are multiples of {}, and at least {}",
                                           shape.str(), config_.channels, multiple, least));
}

std::unique_ptr<Translator> make_translator(Backend& backend, const TranslatorConfig& config, std::uint64_t seed, std::string prefix,
                                            DType dtype) {
  check(config);
  if (config.name == "unet") return std::make_unique<UnetTranslator>(backend, config, std::move(prefix), seed, dtype);
  return std::make_unique<ResnetTranslator>(backend, config, std::move(prefix), seed, dtype);
}

std::string translator_config_to_json(const TranslatorConfig& c) {
  return nlohmann::ordered_json{{"name", c.name}, {"height", c.height}, {"width", c.width}, {"channels", c.channels}, {"ngf", c.ngf},
                                {"blocks", c.blocks}, {"depth", c.depth}, {"dropout", c.dropout}}.dump();
}

TranslatorConfig translator_config_from_json(std::string_view json) {
  const auto j = parse_json(json);
  if (!j) throw Error(ExitCode::bad_file, "not a network config: no JSON of its size");
  TranslatorConfig c{.name = text_member(*j, "name"), .height = whole_member(*j, "height"), .width = whole_member(*j, "width"),
                     .channels = whole_member(*j, "channels"), .ngf = whole_member(*j, "ngf"), .blocks = whole_member(*j, "blocks"),
                     .depth = whole_member(*j, "depth"), .dropout = number_member(*j, "dropout")};
  check(c);
  return c;
}

// ---- discriminator ---------------------------------------------------------------------------------------------------

std::int64_t PatchDiscriminator::receptive_field(std::int64_t layers) {
  std::int64_t side = 1;
  for (int i = 0; i < 2; ++i) side += 3;                            // 4x4, stride 1
  for (std::int64_t i = 0; i < layers; ++i) side = 2 * side + 2;    // 4x4, stride 2
  return side;
}

PatchDiscriminator::PatchDiscriminator(Backend& backend, const Options& o, std::uint64_t seed, std::string prefix, DType dtype)
    : parameters_(backend, std::move(prefix), seed, dtype) {
  std::int64_t in = o.channels;
  for (std::int64_t i = 0; i <= o.layers; ++i) {
    const std::int64_t out = std::min(o.ndf << i, 8 * o.ndf);
    const std::string name = fmt::format("conv{}", i + 1);
    const Conv conv{.stride = i < o.layers ? 2 : 1, .pad = 1};
    convs_.emplace_back(parameters_, name, ConvOptions{.in = in, .out = out, .kernel = 4, .conv = conv,
                                                       .bias = i == 0 ? Bias::yes : Bias::no, .weight = weight});
    if (i > 0) norms_.emplace_back(parameters_, name + ".norm", InstanceNormOptions{.channels = out});
    in = out;
  }
  convs_.emplace_back(parameters_, "head", ConvOptions{.in = in, .out = 1, .kernel = 4, .conv = {.pad = 1}, .weight = weight});
}

Var PatchDiscriminator::operator()(const Var& pictures) const {
  Var x = convs_.front()(pictures, leaky);
  for (std::size_t i = 1; i + 1 < convs_.size(); ++i) x = norms_[i - 1](convs_[i], x, leaky_slope);
  return convs_.back()(x);
}

}  // namespace pastiche
