// Pictures through a translator: tiles equal the whole, and what becomes of odd sizes, alpha, gray and the source's colours.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/plan.h"
#include "dirty_folder.h"
#include "op_cases.h"
#include "pastiche/stylize.h"
#include "refusal.h"

namespace pastiche {
namespace {

const TranslatorConfig tiny{.ngf = 4, .blocks = 1}, tiny_gray{.channels = 1, .ngf = 4, .blocks = 1};

Image stylize(const TranslatorConfig& config, const Image& source, const StylizeOptions& options = {}, const char* device = "cpu") {
  const auto backend = make_backend(device, 2);
  const auto network = make_translator(*backend, config, 3);
  return Stylizer(*network, options)(source);
}

// Soft, as pictures are, with some noise.
Image picture(int height, int width, int channels) {
  Image image = resize(dirty::noise(height / 16 + 2, width / 16 + 2, channels, 5), height, width, Filter::bicubic);
  const Image noise = dirty::noise(height, width, channels, 6);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>((3 * image.pixels[i] + noise.pixels[i]) / 4);
  return image;
}

std::size_t differing(const Image& a, const Image& b) {
  EXPECT_EQ(std::tuple(a.height, a.width, a.channels), std::tuple(b.height, b.width, b.channels));
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) count += a.pixels[i] != b.pixels[i];
  return count;
}

// Of the floats in the middle of a tile, those that are not the whole picture's. A byte would hide most of what rounding does.
std::size_t differing_floats(const char* device, const TranslatorConfig& config, std::int64_t top, std::int64_t left, std::int64_t side) {
  const auto backend = make_backend(device, 2);
  const auto network = make_translator(*backend, config, 3);
  const std::int64_t halo = tiling(config)->halo;
  const std::int64_t height = top + side, width = left + side + 32;  // the tile ends at the lower border
  const Image source = picture(static_cast<int>(height), static_cast<int>(width), 3);
  Tensor x = Tensor::empty(*backend, {1, height, width, 3});
  backend->dequantize(x, Tensor::from_host(*backend, x.shape(), source.pixels.data()));
  NormConstants look;
  (*network)(x, {.constants = &look});
  look.complete = true;
  const Var whole = (*network)(x, {.constants = &look});
  const Var tile = (*network)(slice(slice(x, 1, top, side), 2, left, side), {.constants = &look});
  const std::int64_t rows = side - halo, columns = side - 2 * halo;
  const auto a = host_values(slice(slice(whole, 1, top + halo, rows), 2, left + halo, columns).value());
  const auto b = host_values(slice(slice(tile, 1, halo, rows), 2, halo, columns).value());
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  EXPECT_GT(a.size(), 0u);
  return count;
}

TEST(Stylize, FloatsOfATileAreThoseOfTheWhole) {
  // 32 and 16: by Winograd's algorithm. 4: few channels, the direct way.
  EXPECT_EQ(differing_floats("cpu", {.ngf = 32, .blocks = 2}, 32, 48, 224), 0u);
  EXPECT_EQ(differing_floats("cpu", {.ngf = 16, .blocks = 1}, 16, 16, 160), 0u);
  EXPECT_EQ(differing_floats("cpu", {.ngf = 4, .blocks = 1}, 48, 32, 160), 0u);
  EXPECT_EQ(differing_floats("simt", {.ngf = 4, .blocks = 0}, 16, 16, 48), 0u);
}

TEST(Stylize, TilesGiveTheBytesOfTheWhole) {
  struct Case {
    int height, width;
    std::int64_t ngf, blocks, tile;
  };
  for (const Case& c : {Case{333, 517, 16, 1, 160}, Case{150, 301, 4, 1, 64}, Case{150, 201, 40, 0, 20}}) {
    for (const DType precision : {DType::f32, DType::bf16}) {
      const TranslatorConfig config{.ngf = c.ngf, .blocks = c.blocks};
      const Image source = picture(c.height, c.width, 3);
      const Image whole = stylize(config, source, {.tile = 0, .precision = precision});
      EXPECT_EQ(differing(stylize(config, source, {.tile = c.tile, .precision = precision}), whole), 0u)
          << c.width << "x" << c.height << " ngf " << c.ngf << " tile " << c.tile << " " << dtype_name(precision);
      EXPECT_GT(differing(whole, source), source.pixels.size() / 2);
    }
  }
  const TranslatorConfig flat{.ngf = 4, .blocks = 0};
  const Image source = picture(50, 67, 3);
  EXPECT_EQ(stylize(flat, source, {.tile = 16}, "simt"), stylize(flat, source, {.tile = 0}, "simt"));
}

// Over a megapixel tiles come by themselves: a narrow picture keeps them small.
TEST(Stylize, LargePicturesAreTiled) {
  const TranslatorConfig config{.ngf = 4, .blocks = 0};
  const Image source = picture(24, 42000, 3);
  EXPECT_EQ(differing(stylize(config, source), stylize(config, source, {.tile = 4000})), 0u);
}

TEST(Stylize, AnySizeIsPaddedAndCropped) {
  for (const char* name : {"resnet", "unet"}) {
    TranslatorConfig config = tiny;
    config.name = name;
    const Image large = picture(64, 64, 3);
    for (const auto& [height, width] : {std::pair(1, 1), std::pair(1, 40), std::pair(7, 3), std::pair(33, 47), std::pair(64, 64)}) {
      const Image source = crop(large, 0, 0, height, width);
      const Image result = stylize(config, source);
      EXPECT_EQ(std::tuple(result.height, result.width, result.channels), std::tuple(height, width, 3)) << name;
      // What is mirrored at the right and below changes nothing else: it is what a picture that holds it would be.
      if (height == 33) {
        Image mirrored{48, 48, 3, {}};
        for (int y = 0; y < 48; ++y) {
          for (int x = 0; x < 48; ++x) {
            const std::size_t from = static_cast<std::size_t>((y < 33 ? y : 64 - y) * 47 + (x < 47 ? x : 92 - x)) * 3;
            mirrored.pixels.insert(mirrored.pixels.end(), &source.pixels[from], &source.pixels[from] + 3);
          }
        }
        const Image cropped = config.name == "unet" ? mirrored : crop(mirrored, 0, 0, 36, 48);
        EXPECT_EQ(crop(stylize(config, cropped), 0, 0, 33, 47), result) << name;
      }
    }
  }
}

TEST(Stylize, StrengthBlendsFromTheSource) {
  for (const int channels : {1, 3, 4}) {
    const Image source = picture(20, 36, channels);
    const Image own = channels == 1 ? convert(source, 3) : source, result = stylize(tiny, source);
    EXPECT_EQ(stylize(tiny, source, {.strength = 0}), own);
    const Image half = stylize(tiny, source, {.strength = 0.5});
    for (std::size_t i = 0; i < half.pixels.size(); ++i) EXPECT_NEAR(half.pixels[i], (own.pixels[i] + result.pixels[i]) / 2.0, 0.5);
  }
  const Image source = picture(8, 8, 3);
  for (const double strength : {-0.1, 1.1, std::nan("")}) {
    EXPECT_NE(refusal(ExitCode::usage, [&] { stylize(tiny, source, {.strength = strength}); }).find("strength"), std::string::npos);
  }
  EXPECT_NE(refusal(ExitCode::usage, [&] { stylize(tiny, source, {.tile = -1}); }).find("tile"), std::string::npos);
}

TEST(Stylize, AlphaIsKeptAndShowsWhite) {
  const Image source = picture(24, 32, 4), over_white = convert(source, 3);
  const Image result = stylize(tiny, source), plain = stylize(tiny, over_white);
  ASSERT_EQ(result.channels, 4);
  for (std::size_t i = 0; i < source.pixels.size() / 4; ++i) {
    for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(result.pixels[4 * i + c], plain.pixels[3 * i + c]);
    EXPECT_EQ(result.pixels[4 * i + 3], source.pixels[4 * i + 3]);
  }
  // One that learned alpha makes its own.
  const TranslatorConfig with_alpha{.channels = 4, .ngf = 4, .blocks = 1};
  EXPECT_EQ(stylize(with_alpha, over_white).channels, 4);
  EXPECT_EQ(stylize(with_alpha, source, {.strength = 0}), source);
  EXPECT_NE(stylize(with_alpha, source).pixels[3], source.pixels[3]);
}

TEST(Stylize, GrayNetworksSeeLuma) {
  const Image color = picture(24, 32, 3), luma = convert(color, 1);
  const Image gray = stylize(tiny_gray, luma);
  EXPECT_EQ(gray.channels, 1);
  EXPECT_EQ(stylize(tiny_gray, color), gray);
  EXPECT_EQ(stylize(tiny, luma), stylize(tiny, convert(luma, 3))) << "and colour networks see gray in three channels";
  const Image transparent = stylize(tiny_gray, convert(color, 4));
  EXPECT_EQ(transparent, convert(gray, 4));
}

TEST(Stylize, KeepsTheSourcesChroma) {
  const auto luma = [](const std::uint8_t* p) { return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]; };
  const Image source = picture(24, 32, 3);
  for (const TranslatorConfig& config : {tiny, tiny_gray}) {
    const Image styled = convert(stylize(config, source), 3), kept = stylize(config, source, {.keep_colors = true});
    ASSERT_EQ(kept.channels, 3);
    int within = 0;
    for (std::size_t i = 0; i < source.pixels.size(); i += 3) {
      const std::uint8_t *const p = &kept.pixels[i], *const own = &source.pixels[i];
      if (std::min({p[0], p[1], p[2]}) == 0 || std::max({p[0], p[1], p[2]}) == 255) continue;  // clamped
      ++within;
      EXPECT_NEAR(luma(p), luma(&styled.pixels[i]), 1.5);
      EXPECT_NEAR(p[0] - luma(p), own[0] - luma(own), 1.5);  // Cr and Cb but for their scales
      EXPECT_NEAR(p[2] - luma(p), own[2] - luma(own), 1.5);
    }
    EXPECT_GT(within, 200);
  }
  const Image gray = picture(24, 32, 1);
  EXPECT_EQ(stylize(tiny_gray, gray, {.keep_colors = true}), stylize(tiny_gray, gray));
}

// With statistics of its own, a patch would change when something else in the picture does.
TEST(Stylize, FramesOfAFilmHaveOneLook) {
  const auto backend = make_backend("cpu", 2);
  const auto network = make_translator(*backend, tiny, 3);
  const Image first = picture(96, 160, 3);
  Image second = first;
  for (std::size_t y = 0; y < 96; ++y) std::fill_n(&second.pixels[(y * 160 + 120) * 3], 40 * 3, std::uint8_t{255});
  Stylizer film(*network, {.film = true}), apart(*network, {});
  const Image look = film(first);
  EXPECT_EQ(film(first), look);
  EXPECT_EQ(crop(film(second), 0, 0, 96, 64), crop(look, 0, 0, 96, 64));
  EXPECT_NE(crop(apart(second), 0, 0, 96, 64), crop(apart(first), 0, 0, 96, 64));
  EXPECT_EQ(look, apart(first));
}

class SmallMachine final : public PlanBackend {
 public:
  std::size_t available_bytes() const override { return std::size_t{64} << 20; }
};

TEST(Stylize, RefusesWhatMemoryCannotHold) {
  SmallMachine backend;
  const TranslatorConfig unet{.name = "unet", .ngf = 8};
  const auto network = make_translator(backend, unet, 3);
  Stylizer whole(*network, {});
  EXPECT_NO_THROW(whole(picture(64, 64, 3)));
  const std::string message = refusal(ExitCode::out_of_memory, [&] { whole(picture(1000, 2000, 3)); });
  EXPECT_NE(message.find("2000x1008 pixels at once take "), std::string::npos) << message;
  EXPECT_NE(message.find(" MiB are available: a unet sees the whole picture"), std::string::npos) << message;
  const auto resnet = make_translator(backend, tiny, 3);
  EXPECT_NE(refusal(ExitCode::out_of_memory, [&] { Stylizer(*resnet, {.tile = 0})(picture(1000, 2000, 3)); }).find("smaller --tile"), std::string::npos);
}

}  // namespace
}  // namespace pastiche
