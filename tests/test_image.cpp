#include <gif_lib.h>
#include <gtest/gtest.h>
#include <lcms2.h>
#include <sys/stat.h>
#include <zlib.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>

#include "dirty_folder.h"
#include "pastiche/error.h"
#include "pastiche/image.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using dirty::Bytes;
using dirty::JpegSpec;
using dirty::PngSpec;
using dirty::TemporaryFolder;

Image pattern(int height, int width, int channels) {
  Image image{height, width, channels, {}};
  image.pixels.resize(std::size_t(height) * width * channels);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i * 7 + i / 5);
  return image;
}

int largest_difference(const Image& a, const Image& b) {
  if (a.height != b.height || a.width != b.width || a.channels != b.channels) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

// The message of the Error(bad_file) that decoding must throw.
std::string refusal(const Bytes& file, const DecodeOptions& options = {}) {
  try {
    decode_picture(file, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bad_file);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

TEST(Image, DecodesEveryKindOfPng) {
  int cases = 0;
  const std::vector<std::pair<int, std::vector<int>>> kinds{{PNG_COLOR_TYPE_GRAY, {1, 2, 4, 8, 16}},
                                                            {PNG_COLOR_TYPE_PALETTE, {1, 2, 4, 8}},
                                                            {PNG_COLOR_TYPE_RGB, {8, 16}},
                                                            {PNG_COLOR_TYPE_GRAY_ALPHA, {8, 16}},
                                                            {PNG_COLOR_TYPE_RGB_ALPHA, {8, 16}}};
  for (const auto& [color, depths] : kinds) {
    for (const int depth : depths) {
      for (const bool adam7 : {false, true}) {
        for (const bool transparent : {false, true}) {
          const bool has_channel = (color & PNG_COLOR_MASK_ALPHA) != 0;
          if (has_channel && transparent) continue;
          for (const auto& [width, height] : {std::pair(13, 9), std::pair(1, 1), std::pair(3, 20)}) {
            if (transparent && width < 3) continue;
            const PngSpec spec{color, depth, adam7, transparent, width, height};
            SCOPED_TRACE(testing::Message() << "colour type " << color << " depth " << depth << " adam7 " << adam7
                                            << " tRNS " << transparent << " " << width << "x" << height);
            const Bytes file = dirty::make_png(spec);
            const Image expected = dirty::png_pixels(spec);
            EXPECT_EQ(decode_picture(file, {.channels = 4}), expected);
            const Image own = decode_picture(file);
            EXPECT_EQ(own.channels, has_channel || transparent ? 4 : color == PNG_COLOR_TYPE_GRAY ? 1 : 3);
            for (const int channels : {1, 3}) {
              const std::array<std::uint8_t, 3> background{10, 200, 60};
              EXPECT_EQ(decode_picture(file, {.channels = channels, .background = background}),
                        convert(expected, channels, background));
            }
            const PictureInfo info = probe_picture(file);
            EXPECT_EQ(info.format, PictureFormat::png);
            EXPECT_EQ(std::tuple(info.height, info.width, info.bit_depth), std::tuple(height, width, depth));
            EXPECT_EQ(info.has_alpha, has_channel || transparent);
            ++cases;
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 134);
}

TEST(Image, DecodesEveryKindOfJpeg) {
  for (const J_COLOR_SPACE space : {JCS_GRAYSCALE, JCS_RGB, JCS_YCbCr, JCS_CMYK, JCS_YCCK}) {
    for (const bool progressive : {false, true}) {
      for (const bool arithmetic : {false, true}) {
        for (const int sampling : {1, 2, 4}) {
          if (sampling == 4 && space == JCS_YCCK) continue;  // too many blocks
          for (const bool adobe : {true, false}) {
            if (!adobe && space != JCS_CMYK) continue;
            JpegSpec spec{.space = space, .progressive = progressive, .arithmetic = arithmetic, .adobe = adobe};
            const bool color = space == JCS_YCbCr || space == JCS_YCCK;
            if (sampling > 1 && !color) continue;
            spec.sampling = sampling;
            SCOPED_TRACE(testing::Message() << "space " << space << " progressive " << progressive << " arithmetic "
                                            << arithmetic << " sampling " << sampling << " adobe " << adobe);
            const Bytes file = dirty::make_jpeg(spec);
            EXPECT_LE(largest_difference(decode_picture(file, {.channels = 3}), dirty::jpeg_pixels(spec)),
                      sampling == 1 ? 6 : 40);
            EXPECT_EQ(decode_picture(file).channels, space == JCS_GRAYSCALE ? 1 : 3);
            const PictureInfo info = probe_picture(file);
            EXPECT_EQ(info.format, PictureFormat::jpeg);
            EXPECT_EQ(std::pair(info.height, info.width), std::pair(spec.height, spec.width));
            EXPECT_EQ(info.mode, space == JCS_GRAYSCALE                   ? ColorMode::gray
                                 : space == JCS_CMYK || space == JCS_YCCK ? ColorMode::cmyk
                                                                          : ColorMode::rgb);
          }
        }
      }
    }
  }
}

TEST(Image, TurnsExifOrientationUpright) {
  // What TIFF 6.0 says of a stored picture of two rows, "abc" and "def".
  const std::vector<std::pair<int, std::string>> expected{{2, "abcdef"}, {2, "cbafed"}, {2, "fedcba"}, {2, "defabc"},
                                                          {3, "adbecf"}, {3, "daebfc"}, {3, "fcebda"}, {3, "cfbead"}};
  const Image stored{2, 3, 1, {'a', 'b', 'c', 'd', 'e', 'f'}};
  const Bytes plain = encode_png(stored);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little_endian : {false, true}) {
      SCOPED_TRACE(orientation);
      const Bytes file = dirty::after_header(plain, dirty::png_chunk("eXIf", dirty::exif(orientation, little_endian)));
      const Image image = decode_picture(file);
      const auto& [height, pixels] = expected[orientation - 1];
      EXPECT_EQ(image.height, height);
      EXPECT_EQ(std::string(image.pixels.begin(), image.pixels.end()), pixels);
      EXPECT_EQ(probe_picture(file).orientation, orientation);
      EXPECT_EQ(probe_picture(file).height, height);
    }
    const JpegSpec spec{.orientation = orientation};
    const Image turned = decode_picture(dirty::make_jpeg(spec));
    const Image straight = decode_picture(dirty::make_jpeg({}));
    EXPECT_EQ(turned.height, orientation <= 4 ? straight.height : straight.width);
    if (orientation == 2) {
      EXPECT_EQ(turned, mirror(straight));
    }
  }
  for (const int nonsense : {0, 9, 65535}) {
    const Bytes file = dirty::after_header(plain, dirty::png_chunk("eXIf", dirty::exif(nonsense, true)));
    EXPECT_EQ(decode_picture(file), stored);
  }
  const Bytes whole = dirty::exif(6, true);
  for (std::size_t size = 0; size + 4 < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NO_THROW(decode_picture(dirty::after_header(plain, dirty::png_chunk("eXIf", cut))));
  }
}

// An ICC profile of these primaries and this gamma, as lcms2 makes it; gray where there are none.
Bytes make_profile(const cmsCIExyYTRIPLE* primaries, double gamma) {
  const cmsCIExyY d65{0.3127, 0.3290, 1};
  cmsToneCurve* const curve = cmsBuildGamma(nullptr, gamma);
  cmsToneCurve* const curves[] = {curve, curve, curve};
  const cmsHPROFILE profile = primaries == nullptr ? cmsCreateGrayProfile(&d65, curve) : cmsCreateRGBProfile(&d65, primaries, curves);
  cmsUInt32Number size = 0;
  cmsSaveProfileToMem(profile, nullptr, &size);
  Bytes bytes(size);
  cmsSaveProfileToMem(profile, bytes.data(), &size);
  cmsCloseProfile(profile);
  cmsFreeToneCurve(curve);
  return bytes;
}

Bytes png_with_profile(const Image& image, const Bytes& profile) {
  uLongf size = compressBound(profile.size());
  Bytes packed(size);
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(profile.data()), profile.size());
  packed.resize(size);
  const Bytes chunk = dirty::join({dirty::bytes_of(std::string_view("any\0\0", 5)), packed});
  return dirty::after_header(encode_png(image), dirty::png_chunk("iCCP", chunk));
}

Bytes jpeg_with_profile(const Bytes& jpeg, const Bytes& profile) {
  const Bytes marker = dirty::join({dirty::bytes_of(std::string_view("ICC_PROFILE\0\1\1", 14)), profile});
  return dirty::join({Bytes(jpeg.begin(), jpeg.begin() + 2), dirty::bytes_of("\xff\xe2"),
                      dirty::big_endian(static_cast<std::uint32_t>(marker.size()) + 2, 2), marker, Bytes(jpeg.begin() + 2, jpeg.end())});
}

constexpr cmsCIExyYTRIPLE adobe_rgb{{0.64, 0.33, 1}, {0.21, 0.71, 1}, {0.15, 0.06, 1}};

// Adobe RGB (1998): the same white and two of sRGB's primaries, so few terms remain of the matrix between the two.
std::array<double, 3> adobe_to_srgb(const std::uint8_t* rgb) {
  std::array<double, 3> linear;
  for (int c = 0; c < 3; ++c) linear[c] = std::pow(rgb[c] / 255.0, 2.19921875);
  const auto [r, g, b] = linear;
  std::array<double, 3> srgb{1.39836 * r - 0.39836 * g, g, 1.04293 * b - 0.04293 * g};
  for (double& v : srgb) {
    v = std::clamp(v, 0.0, 1.0);
    v = 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055);
  }
  return srgb;
}

TEST(Image, FollowsColourProfiles) {
  const Bytes adobe = make_profile(&adobe_rgb, 2.19921875);
  const Image rgb = pattern(20, 30, 3), rgba = pattern(20, 30, 4);
  const auto check = [](const Image& decoded, const Image& stored) {
    ASSERT_EQ(decoded.pixels.size(), stored.pixels.size());
    for (std::size_t i = 0; i < stored.pixels.size(); i += stored.channels) {
      const auto expected = adobe_to_srgb(&stored.pixels[i]);
      for (int c = 0; c < 3; ++c) EXPECT_NEAR(decoded.pixels[i + c], expected[c], 2.5) << i << " " << c;
      if (stored.channels == 4) {
        EXPECT_EQ(decoded.pixels[i + 3], stored.pixels[i + 3]);
      }
    }
  };
  check(decode_picture(png_with_profile(rgb, adobe)), rgb);
  check(decode_picture(png_with_profile(rgba, adobe)), rgba);
  const Bytes jpeg = dirty::make_jpeg({});
  check(decode_picture(jpeg_with_profile(jpeg, adobe)), decode_picture(jpeg));

  const Image gray = pattern(20, 30, 1);
  const Image lighter = decode_picture(png_with_profile(gray, make_profile(nullptr, 1)));
  EXPECT_EQ(lighter.channels, 1);
  for (std::size_t i = 0; i < gray.pixels.size(); ++i) {
    const double v = gray.pixels[i] / 255.0;
    EXPECT_NEAR(lighter.pixels[i], 255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055), 1);
  }
}

TEST(Image, LeavesPixelsAloneWhereAProfileSaysNothing) {
  const Image rgb = pattern(20, 30, 3), gray = pattern(20, 30, 1);
  const cmsHPROFILE srgb = cmsCreate_sRGBProfile();
  cmsUInt32Number size = 0;
  cmsSaveProfileToMem(srgb, nullptr, &size);
  Bytes bytes(size);
  cmsSaveProfileToMem(srgb, bytes.data(), &size);
  cmsCloseProfile(srgb);
  const Bytes adobe = make_profile(&adobe_rgb, 2.2), jpeg = dirty::make_jpeg({}), ink = dirty::make_jpeg({.space = JCS_CMYK});
  EXPECT_EQ(decode_picture(png_with_profile(rgb, bytes)), rgb);
  EXPECT_EQ(decode_picture(jpeg_with_profile(jpeg, bytes)), decode_picture(jpeg));
  EXPECT_EQ(decode_picture(png_with_profile(gray, adobe)), gray) << "of other colours than the picture";
  EXPECT_EQ(decode_picture(jpeg_with_profile(ink, adobe)), decode_picture(ink)) << "of other colours than the picture";
  for (const std::size_t cut : {adobe.size() / 2, std::size_t{100}, std::size_t{0}}) {
    const Bytes broken(adobe.begin(), adobe.begin() + static_cast<std::ptrdiff_t>(cut));
    EXPECT_EQ(decode_picture(png_with_profile(rgb, broken)), rgb) << cut;
    EXPECT_EQ(decode_picture(jpeg_with_profile(jpeg, broken)), decode_picture(jpeg)) << cut;
  }
}

TEST(Image, AcceptsUnusualFiles) {
  for (const dirty::File& file : dirty::unusual_pictures()) {
    SCOPED_TRACE(file.name);
    EXPECT_EQ(refusal(file.bytes), "");
  }
}

TEST(Image, RefusesBrokenFilesWithAReason) {
  for (const dirty::File& file : dirty::broken_pictures()) {
    SCOPED_TRACE(file.name);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_NE(refusal(file.bytes), "");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  }
}

TEST(Image, RefusesWhatIsTooLarge) {
  const Bytes png = dirty::make_png({.width = 100, .height = 50});
  const Bytes jpeg = dirty::make_jpeg({.width = 100, .height = 50});
  for (const Bytes& file : {png, jpeg}) {
    EXPECT_EQ(refusal(file, {.max_pixels = 5000}), "");
    EXPECT_NE(refusal(file, {.max_pixels = 4999}).find("100x50"), std::string::npos);
    EXPECT_THROW(probe_picture(file, 4999), Error);
  }
}

// What cameras of 50 and 100 megapixels take is no exception; a bomb is none that memory is spent on.
TEST(Image, LargePicturesAreBoundByMemory) {
  const Bytes sixty = dirty::make_png({.color = PNG_COLOR_TYPE_GRAY, .depth = 1, .width = 10000, .height = 6000});
  const Image image = decode_picture(sixty);
  EXPECT_EQ(std::pair(image.width, image.height), std::pair(10000, 6000));
  EXPECT_NE(refusal(dirty::claiming(sixty, 20000, 14000)).find("20000x14000"), std::string::npos);
}

TEST(Image, ReadsRegularFilesOnly) {
  const TemporaryFolder folder;
  ::mkfifo((folder / "a.png").c_str(), 0666);
  fs::create_directory(folder / "b.png");
  dirty::write(folder / "large.png", dirty::make_png({}));
  fs::resize_file(folder / "large.png", max_picture_bytes + 1);
  for (const char* name : {"a.png", "b.png", "absent.png", "large.png"}) {
    EXPECT_THROW(read_picture(folder / name), Error) << name;
  }
  dirty::write(folder / "text.png", dirty::bytes_of("text"));
  try {
    read_picture(folder / "text.png");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("text.png"), std::string::npos);
  }
}

TEST(Image, PngKeepsPixelsAndText) {
  const PictureText text{{"Software", "pastiche"},
                         {"seed", ""},
                         {"model", "Z\xc3\xbcrich \xe2\x82\xac"},
                         {"config", std::string(20000, 'x')}};
  for (const int channels : {1, 3, 4}) {
    for (const auto& [height, width] : {std::pair(1, 1), std::pair(17, 31), std::pair(64, 3)}) {
      const Image image = pattern(height, width, channels);
      const Bytes file = encode_png(image, text);
      EXPECT_EQ(decode_picture(file), image);
      EXPECT_EQ(read_png_text(file), text);
      EXPECT_EQ(encode_png(image, text), file);
    }
  }
  EXPECT_TRUE(read_png_text(encode_png(pattern(2, 2, 3))).empty());
  EXPECT_THROW(read_png_text(dirty::make_jpeg({})), Error);
  EXPECT_THROW(encode_png(pattern(2, 2, 3), {{"", "x"}}), Error);
  EXPECT_THROW(encode_png(pattern(2, 2, 3), {{std::string(80, 'k'), "x"}}), Error);
  EXPECT_THROW(encode_png({2, 2, 3, {}}), Error);
  EXPECT_THROW(encode_png({0, 0, 1, {}}), Error);
}

// ImageMagick writes text behind the pixels.
TEST(Image, PngTextIsFoundBehindThePixels) {
  Bytes png = dirty::after_header(dirty::make_png({.color = PNG_COLOR_TYPE_PALETTE}), dirty::png_chunk("tEXt", dirty::bytes_of(std::string("first\0in front", 14))));
  const Bytes end(png.end() - 12, png.end());
  png.resize(png.size() - 12);
  const Bytes text = dirty::png_chunk("tEXt", dirty::bytes_of(std::string("second\0behind", 13)));
  EXPECT_EQ(read_png_text(dirty::join({png, text, end})), (PictureText{{"first", "in front"}, {"second", "behind"}}));
  Bytes broken = text;
  broken.back() ^= std::byte{1};
  for (const Bytes& odd : {dirty::join({png, broken, end}), dirty::join({png, Bytes(text.begin(), text.end() - 4)})}) {
    EXPECT_EQ(read_png_text(odd), (PictureText{{"first", "in front"}})) << "a wrong CRC, or the end";
  }
}

TEST(Image, JpegIsNear) {
  Image image{40, 61, 3, {}};
  for (int i = 0; i < 40 * 61; ++i) {
    image.pixels.insert(image.pixels.end(), {std::uint8_t(i / 61 * 6), std::uint8_t(i % 61 * 4), std::uint8_t(i / 10)});
  }
  const Bytes file = encode_jpeg(image);
  EXPECT_LE(largest_difference(decode_picture(file), image), 16);
  EXPECT_EQ(encode_jpeg(image), file);
  EXPECT_LT(encode_jpeg(image, 30).size(), file.size());
  const Image gray = convert(image, 1);
  EXPECT_LE(largest_difference(decode_picture(encode_jpeg(gray)), gray), 16);
  EXPECT_EQ(decode_picture(encode_jpeg({1, 1, 4, {0, 0, 0, 0}})), (Image{1, 1, 3, {255, 255, 255}}));
  EXPECT_THROW(encode_jpeg({2, 2, 3, {}}), Error);
  EXPECT_THROW(encode_jpeg(pattern(1, 70000, 1)), Error);
}

TEST(Image, PngTextHasALimit) {
  const Bytes png = dirty::make_png({});
  Bytes claims_gigabyte = dirty::after_header(png, dirty::png_chunk("tEXt", dirty::bytes_of("key\0value")));
  claims_gigabyte[33] = std::byte{0x40};
  EXPECT_THROW(read_png_text(claims_gigabyte), Error);
  for (const dirty::File& file : dirty::unusual_pictures()) {
    if (file.name != "bomb-ztxt.png") continue;
    EXPECT_THROW(read_png_text(file.bytes), Error);
  }
}

TEST(Image, ApngHoldsEveryFrame) {
  std::vector<Image> frames;
  for (int i = 0; i < 3; ++i) frames.push_back(pattern(12, 10, 3)), frames.back().pixels[0] = std::uint8_t(i);
  const Bytes file = encode_apng(frames, 40);
  EXPECT_EQ(decode_picture(file), frames[0]);
  EXPECT_TRUE(probe_picture(file).animated);
  // Every frame again as a PNG of its own.
  std::size_t found = 0;
  std::uint32_t sequence = 0;
  for (std::size_t at = 8; at + 12 <= file.size();) {
    std::uint32_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | std::to_integer<std::uint32_t>(file[at + i]);
    const std::string type(dirty::text_of(file).substr(at + 4, 4));
    const Bytes data(file.begin() + static_cast<std::ptrdiff_t>(at) + 8,
                     file.begin() + static_cast<std::ptrdiff_t>(at + 8 + length));
    if (type == "fcTL" || type == "fdAT") {
      EXPECT_EQ(Bytes(data.begin(), data.begin() + 4), dirty::big_endian(sequence++));
    }
    if (type == "fcTL") ++found;
    if (type == "fdAT") {
      const Bytes header(file.begin(), file.begin() + 33);
      const Bytes alone = dirty::join(
          {header, dirty::png_chunk("IDAT", Bytes(data.begin() + 4, data.end())), dirty::png_chunk("IEND", {})});
      EXPECT_EQ(decode_picture(alone), frames[found - 1]);
    }
    at += 12 + length;
  }
  EXPECT_EQ(found, frames.size());
  EXPECT_EQ(encode_apng(frames, 40), file);
  EXPECT_THROW(encode_apng({}, 40), Error);
  EXPECT_THROW(encode_apng(frames, 0), Error);
  frames.push_back(pattern(3, 3, 3));
  EXPECT_THROW(encode_apng(frames, 40), Error);
}

struct GifSource {
  const Bytes& bytes;
  std::size_t at = 0;
};

std::vector<Image> decode_gif(const Bytes& bytes) {
  GifSource source{bytes};
  const auto read = [](GifFileType* gif, GifByteType* out, int count) {
    auto& from = *static_cast<GifSource*>(gif->UserData);
    count = std::min<int>(count, static_cast<int>(from.bytes.size() - from.at));
    std::memcpy(out, from.bytes.data() + from.at, static_cast<std::size_t>(count));
    from.at += static_cast<std::size_t>(count);
    return count;
  };
  GifFileType* gif = DGifOpen(&source, read, nullptr);
  EXPECT_EQ(DGifSlurp(gif), GIF_OK);
  std::vector<Image> frames;
  for (int i = 0; i < gif->ImageCount; ++i) {
    Image frame{gif->SHeight, gif->SWidth, 3, {}};
    for (int p = 0; p < frame.height * frame.width; ++p) {
      const GifColorType& color = gif->SColorMap->Colors[gif->SavedImages[i].RasterBits[p]];
      frame.pixels.insert(frame.pixels.end(), {color.Red, color.Green, color.Blue});
    }
    frames.push_back(frame);
  }
  DGifCloseFile(gif, nullptr);
  return frames;
}

TEST(Image, GifIsExactWithFewColours) {
  std::vector<Image> gray{pattern(20, 30, 1), mirror(pattern(20, 30, 1))};
  const Bytes file = encode_gif(gray, 50);
  const std::vector<Image> decoded = decode_gif(file);
  ASSERT_EQ(decoded.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(decoded[i], convert(gray[i], 3));
  EXPECT_EQ(encode_gif(gray, 50), file);
  const Image one{1, 1, 3, {9, 8, 7}};
  EXPECT_EQ(decode_gif(encode_gif(std::span(&one, 1), 50))[0], one);
}

TEST(Image, GifIsNearWithManyColours) {
  Image image{64, 64, 3, {}};
  for (int i = 0; i < 64 * 64; ++i) {
    image.pixels.insert(image.pixels.end(), {std::uint8_t(i / 64 * 4), std::uint8_t(i % 64 * 4), std::uint8_t(i / 32)});
  }
  const Image decoded = decode_gif(encode_gif(std::span(&image, 1), 50))[0];
  double sum = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i) sum += std::abs(image.pixels[i] - decoded.pixels[i]);
  EXPECT_LT(sum / static_cast<double>(image.pixels.size()), 5);
  EXPECT_THROW(encode_gif({}, 50), Error);
  EXPECT_THROW(encode_gif(std::vector<Image>{pattern(2, 2, 1), pattern(2, 3, 1)}, 50), Error);
}

TEST(Image, ResizesAsPillowDoes) {
  std::ifstream file(std::string(PASTICHE_TEST_DIR) + "/golden/resize.bin", std::ios::binary);
  ASSERT_TRUE(file);
  int cases = 0;
  std::array<std::int32_t, 6> header;
  while (file.read(reinterpret_cast<char*>(header.data()), sizeof header)) {
    const auto [height, width, channels, to_height, to_width, filter] = header;
    Image from = pattern(height, width, channels);
    Image to = pattern(to_height, to_width, channels);
    file.read(reinterpret_cast<char*>(from.pixels.data()), static_cast<std::streamsize>(from.pixels.size()));
    file.read(reinterpret_cast<char*>(to.pixels.data()), static_cast<std::streamsize>(to.pixels.size()));
    ASSERT_TRUE(file);
    EXPECT_EQ(largest_difference(resize(from, to_height, to_width, Filter(filter)), to), 0)
        << height << "x" << width << "x" << channels << " to " << to_height << "x" << to_width << " filter " << filter;
    ++cases;
  }
  EXPECT_EQ(cases, 60);
}

TEST(Image, FitsTheMiddle) {
  Image wide = pattern(4, 10, 3);
  const Image square = fit(wide, 4, 4);
  for (int y = 0; y < 4; ++y) {
    for (int i = 0; i < 12; ++i) EXPECT_EQ(square.pixels[y * 12 + i], wide.pixels[y * 30 + 9 + i]);
  }
  EXPECT_EQ(fit(wide, 4, 10), wide);
  const Image small = fit(pattern(90, 50, 4), 16, 16);
  EXPECT_EQ(std::tuple(small.height, small.width, small.channels), std::tuple(16, 16, 4));
  EXPECT_EQ(fit(pattern(1000, 1, 1), 8, 8).pixels.size(), 64u);
  EXPECT_EQ(fit(pattern(1, 1000, 1), 8, 8).pixels.size(), 64u);
  for (const auto& [height, width] : {std::pair(0, 4), std::pair(4, -1), std::pair(65536, 4)}) {
    EXPECT_THROW(fit(wide, height, width), Error);
    EXPECT_THROW(resize(wide, height, width, Filter::box), Error);
  }
}

TEST(Image, Crop) {
  const Image image{2, 3, 1, {1, 2, 3, 4, 5, 6}};
  EXPECT_EQ(crop(image, 0, 1, 2, 2), (Image{2, 2, 1, {2, 3, 5, 6}}));
  EXPECT_EQ(crop(image, 0, 0, 2, 3), image);
  for (const auto& [top, left, height, width] :
       std::vector<std::array<int, 4>>{{-1, 0, 1, 1}, {0, 2, 1, 2}, {1, 0, 2, 1}, {0, 0, 0, 1}, {0, 3, 1, 1}}) {
    EXPECT_THROW(crop(image, top, left, height, width), Error);
  }
}

TEST(Image, MirrorsAndTiles) {
  const Image image{2, 3, 1, {1, 2, 3, 4, 5, 6}};
  EXPECT_EQ(mirror(image).pixels, (std::vector<std::uint8_t>{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(mirror(mirror(pattern(5, 8, 4))), pattern(5, 8, 4));
  const std::vector<Image> images(3, Image{1, 2, 1, {7, 9}});
  const Image grid = tile(images, 2, 1);
  EXPECT_EQ(std::pair(grid.height, grid.width), std::pair(5, 7));
  const std::uint8_t w = 255;
  EXPECT_EQ(grid.pixels, (std::vector<std::uint8_t>{w, w, w, w, w, w, w, w, 7, 9, w, 7, 9, w, w, w, w, w,
                                                    w, w, w, w, 7, 9, w, w, w, w, w, w, w, w, w, w, w}));
  EXPECT_EQ(tile(std::vector<Image>{pattern(3, 4, 3)}, 1, 0), pattern(3, 4, 3));
  EXPECT_THROW(tile({}, 1, 0), Error);
  EXPECT_THROW(tile(images, 0, 0), Error);
  EXPECT_THROW(tile(std::vector<Image>{pattern(3, 4, 3), pattern(3, 4, 1)}, 2, 0), Error);
}

TEST(Image, ConvertsChannels) {
  const Image rgba{1, 3, 4, {200, 100, 50, 255, 200, 100, 50, 0, 200, 100, 50, 51}};
  EXPECT_EQ(convert(rgba, 3, {0, 0, 255}).pixels, (std::vector<std::uint8_t>{200, 100, 50, 0, 0, 255, 40, 20, 214}));
  EXPECT_EQ(convert({1, 2, 3, {255, 0, 0, 0, 255, 0}}, 1).pixels, (std::vector<std::uint8_t>{76, 150}));
  for (int gray = 0; gray < 256; ++gray) {
    const Image image{1, 1, 1, {std::uint8_t(gray)}};
    EXPECT_EQ(convert(convert(image, 3), 1), image);
    EXPECT_EQ(convert(convert(image, 4), 1), image);
  }
  EXPECT_THROW(convert(rgba, 2), Error);
}

TEST(Image, NamesWhatItFound) {
  EXPECT_EQ(
      to_string(probe_picture(dirty::make_png({.color = PNG_COLOR_TYPE_PALETTE, .depth = 4, .transparent = true}))),
      "png palette 4-bit tRNS");
  EXPECT_EQ(to_string(probe_picture(dirty::make_jpeg({.space = JCS_YCCK, .orientation = 8}))),
            "jpeg cmyk 8-bit rotated");
}

}  // namespace
}  // namespace pastiche
