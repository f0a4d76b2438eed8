#pragma once
// Networks that turn pictures of one domain into pictures of another: generators that see a picture instead of noise,
// and discriminators that judge patches.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/nn.h"

namespace pastiche {

// A translator is built from this and from nothing else. All normalise each picture by itself, so its result does not depend on
// the others of its batch, and decode by nearest-neighbour upsampling and convolution, which leaves no checkerboard (Odena et
// al., 2016).
//   unet    Ronneberger et al., 2015, as in pix2pix (Isola et al., 2017): `depth` halvings by 4x4 convolutions, each joined to
//           the decoder at its size, the picture itself too, before a last 3x3. Group norm of 8 groups, as an instance norm
//           takes the mean of every channel out of a picture, and with it what colour it is to have.
//   resnet  Johnson et al., 2016, as in CycleGAN (Zhu et al., 2017): 7x7, two halvings, `blocks` residual blocks, two
//           doublings, 7x7; reflection padding.
struct TranslatorConfig {
  std::string name = "resnet";
  std::int64_t height = 64, width = 64;  // learned at; the network takes others too
  std::int64_t channels = 3;             // 1, 3 or 4
  std::int64_t ngf = 32;                 // channels of the outermost layer; doubled inwards, a unet's up to 8 times that
  std::int64_t blocks = 4;               // resnet
  std::int64_t depth = 4;                // unet
  double dropout = 0;                    // unet: after the three innermost decoders, in training
};

std::string translator_config_to_json(const TranslatorConfig&);
// Error(bad_file) for what is no translator config, or one of a network that this version does not know.
TranslatorConfig translator_config_from_json(std::string_view json);
std::vector<std::string> translator_names();
std::int64_t side_multiple(const TranslatorConfig&);  // what the sides of a picture must be a multiple of
std::int64_t least_side(const TranslatorConfig&);     // and at least

// How a picture may be cut into tiles whose results have the bytes of the whole one's, where norms are constants: tiles begin
// and end at multiples of `step` or at the picture's borders, and what lies nearer than `halo` to an edge within the picture is
// not used. A unet has none: its innermost layers see the whole picture.
struct Tiling {
  std::int64_t step, halo;
};
std::optional<Tiling> tiling(const TranslatorConfig&);

class Translator {
 public:
  virtual ~Translator() = default;

  // [N,H,W,C] -> [N,H,W,C] in [-1, 1]. Throws Error(usage) for sides that are not what side_multiple() and least_side() say.
  Var operator()(const Var& x, const Pass& pass) const { return decode(encode(x, pass), pass); }
  // Its two halves. The features begin with the picture itself; all but the first are maps of feature_channels().
  virtual std::vector<Var> encode(const Var& x, const Pass& pass) const = 0;
  virtual Var decode(std::vector<Var> features, const Pass& pass) const = 0;
  std::vector<std::int64_t> feature_channels() const { return feature_channels_; }  // of every feature, the picture's first

  Parameters& parameters() { return parameters_; }
  const TranslatorConfig& config() const { return config_; }

 protected:
  Translator(Backend& backend, const TranslatorConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : config_(config), parameters_(backend, std::move(prefix), seed, dtype), feature_channels_{config.channels} {}
  void check_sides(const Var& x) const;

  TranslatorConfig config_;
  Parameters parameters_;
  std::vector<std::int64_t> feature_channels_;
};

std::unique_ptr<Translator> make_translator(Backend&, const TranslatorConfig&, std::uint64_t seed, std::string prefix = "G.",
                                            DType dtype = DType::f32);

// Isola et al., 2017: logits of overlapping patches, from 4x4 convolutions, `layers` of them with stride 2 and two without.
class PatchDiscriminator {
 public:
  struct Options {
    std::int64_t channels = 3;  // of what it judges
    std::int64_t ndf = 32;      // of the first layer; doubled up to 8 times that
    std::int64_t layers = 2;
  };
  // Pixels a side of the patch that one logit sees: 16, 34 and 70 with 1, 2 and 3 layers.
  static std::int64_t receptive_field(std::int64_t layers);
  // The most layers whose patch is about half a picture of that smaller side, from 1 to 3.
  static std::int64_t layers_for(std::int64_t side) { return side >= 128 ? 3 : side >= 48 ? 2 : 1; }

  PatchDiscriminator(Backend& backend, const Options& options, std::uint64_t seed, std::string prefix = "D.",
                     DType dtype = DType::f32);
  Var operator()(const Var& pictures) const;  // [N,H,W,channels] -> logits [N,h,w,1]
  Parameters& parameters() { return parameters_; }

 private:
  Parameters parameters_;
  std::vector<Conv2d> convs_;
  std::vector<InstanceNorm> norms_;
};

}  // namespace pastiche
