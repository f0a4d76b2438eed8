#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace pastiche {

// A picture of 8 bits a sample, [H,W,C]: C is 1 (gray), 3 (RGB) or 4 (RGB and alpha, not premultiplied).
struct Image {
  int height = 0;
  int width = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;

  bool operator==(const Image&) const = default;
};

enum class PictureFormat { png, jpeg, gif, webp, tiff, heic, avif };
enum class ColorMode { gray, gray_alpha, palette, rgb, rgba, cmyk };

// What a file's header says, without decoding its pixels.
struct PictureInfo {
  PictureFormat format = PictureFormat::png;
  ColorMode mode = ColorMode::rgb;
  int height = 0;  // as shown, so after `orientation`
  int width = 0;
  int bit_depth = 8;
  int orientation = 1;  // EXIF, 1 to 8
  bool has_alpha = false;
  bool animated = false;  // decoding gives the first picture, and of an APNG the default one

  bool is_gray() const { return mode == ColorMode::gray || mode == ColorMode::gray_alpha; }
};

std::string to_string(const PictureInfo& info);  // such as "png palette 4-bit tRNS"

// No picture of more pixels than this is decoded (16,384x16,384; cameras and phones have up to 200 million), and none for which memory is short.
inline constexpr std::int64_t default_max_pixels = std::int64_t{1} << 28;

struct DecodeOptions {
  int channels = 0;  // 1, 3 or 4; 0: 4 with alpha, else 1 for gray and 3 for colour
  std::array<std::uint8_t, 3> background{255, 255, 255};  // what shows through alpha where channels < 4
  std::int64_t max_pixels = default_max_pixels;           // larger pictures are refused before anything is allocated
};

// PNG, JPEG, GIF and, where their libraries were there when this was built, WebP, TIFF, HEIC and AVIF, told apart by content. Every variety
// comes out as 8 bits upright: palette, 1 to 16 bits, tRNS, Adam7, progressive, CMYK and YCCK (inverted where Adobe's marker says so), Lab,
// EXIF orientation. Of several pages or frames it is the first. An ICC profile is followed to sRGB, unless it is broken or of over 4 MiB (one
// of a PNG); gamma is ignored. Throw Error(bad_file) for anything truncated, corrupt, too large or of another format, and
// Error(out_of_memory), before anything is allocated, where the machine has not the 12 bytes a pixel that decoding a large one may take.
bool is_picture(std::span<const std::byte> head);  // by the first 64 bytes, of one of these formats
bool is_picture_file(const std::filesystem::path& path);  // false too where there is no file that can be read
PictureInfo probe_picture(std::span<const std::byte> file, std::int64_t max_pixels = default_max_pixels);
Image decode_picture(std::span<const std::byte> file, const DecodeOptions& options = {});
Image read_picture(const std::filesystem::path& path, const DecodeOptions& options = {});

// No picture file larger than this is read.
inline constexpr std::size_t max_picture_bytes = std::size_t{512} << 20;

// Keyword (1 to 79 printable ASCII characters) and value (UTF-8), such as the seed and the model that drew a picture.
using PictureText = std::vector<std::pair<std::string, std::string>>;

// The same picture gives the same bytes.
std::vector<std::byte> encode_png(const Image& image, const PictureText& text = {});
// Gray or RGB; alpha is composed over white. `quality` is libjpeg's, 1 to 100; colour is as sharp as lightness.
std::vector<std::byte> encode_jpeg(const Image& image, int quality = 95);
// `quality` is libwebp's, 0 to 100; alpha is kept. Throws Error(bad_file) where WebP is not built in.
std::vector<std::byte> encode_webp(const Image& image, int quality = 96);
// Every tEXt, zTXt and iTXt chunk, before the pixels and behind, in the order of the file, each of at most 1 MiB.
// Throws Error(bad_file) where one is broken.
PictureText read_png_text(std::span<const std::byte> file);

// Animations that repeat for ever; all frames have one shape. A GIF's delay is rounded to 10 ms, its alpha is dropped,
// and its one palette is exact where all frames together have at most 256 colours (median cut where they have more).
std::vector<std::byte> encode_apng(std::span<const Image> frames, int delay_ms);
std::vector<std::byte> encode_gif(std::span<const Image> frames, int delay_ms);

enum class Filter { box, bilinear, bicubic, lanczos };

// Antialiased, by Pillow's rules to the last bit: the filter widens when it reduces, first the width and then the
// height with 8 bits between, fixed-point weights, colour premultiplied by alpha.
Image resize(const Image& image, int height, int width, Filter filter);
// The largest centred rectangle of the target's aspect, then resize with Filter::lanczos.
Image fit(const Image& image, int height, int width);
Image crop(const Image& image, int top, int left, int height, int width);  // must lie within the picture
Image mirror(const Image& image);                                          // left to right
// Pictures of one shape in a white grid, row by row; `padding` pixels between them and around.
Image tile(std::span<const Image> images, int columns, int padding);

// To 1, 3 or 4 channels: gray is ITU-R 601 luma, alpha is composed over the background where it is dropped.
Image convert(Image image, int channels, std::array<std::uint8_t, 3> background = {255, 255, 255});

}  // namespace pastiche
