#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "codec.h"
#include "core/system.h"
#include "pastiche/files.h"

namespace pastiche {
namespace codec {

int exif_orientation(Bytes tiff) {
  if (tiff.size() < 8) return 1;
  const bool little = text_of(tiff).starts_with("II");
  if (!little && !text_of(tiff).starts_with("MM")) return 1;
  const auto number = [&](std::size_t at, int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) {
      value = value << 8 | std::to_integer<std::uint32_t>(tiff[at + (little ? count - 1 - i : i)]);
    }
    return value;
  };
  const std::size_t directory = number(4, 4);
  if (directory > tiff.size() - 2) return 1;
  const std::size_t entries = number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) return 1;
    if (number(entry, 2) != 0x0112) continue;
    const std::uint32_t value = number(entry + 8, 2);
    return number(entry + 2, 2) == 3 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

namespace {

// Row 0 and column 0 of the stored picture are shown at: 1 top left, 2 top right, 3 bottom right, 4 bottom left, and
// 5 to 8 the same with rows and columns swapped: left top, right top, right bottom, left bottom (TIFF 6.0, tag 274).
Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool swapped = orientation >= 5;
  const bool flip_rows = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool flip_columns = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Image result{image.height, image.width, image.channels, {}};
  if (swapped) std::swap(result.height, result.width);
  result.pixels.resize(image.pixels.size());
  std::uint8_t* out = result.pixels.data();
  for (int y = 0; y < result.height; ++y) {
    for (int x = 0; x < result.width; ++x) {
      int row = swapped ? x : y;
      int column = swapped ? y : x;
      if (flip_rows) row = image.height - 1 - row;
      if (flip_columns) column = image.width - 1 - column;
      const std::uint8_t* in = image.pixels.data() + (std::size_t(row) * image.width + column) * image.channels;
      out = std::copy_n(in, image.channels, out);
    }
  }
  return result;
}

// Throws Error(out_of_memory) where there is too little for a large picture. Large ones are decoded one at a time, as each counts on all that
// is free.
std::unique_lock<std::mutex> turn_of(const PictureInfo& info) {
  static std::mutex large_pictures;
  constexpr std::size_t large = std::size_t{1} << 24, bytes_a_pixel = 12;  // 4 samples as stored, in other channels, and turned
  const std::size_t pixels = std::size_t(info.height) * static_cast<std::size_t>(info.width);
  if (pixels < large) return {};
  std::unique_lock turn(large_pictures);
  const std::size_t free = free_memory().with_swap;
  if (bytes_a_pixel * pixels <= free) return turn;
  throw Error(ExitCode::out_of_memory, fmt::format("too large ({}x{}): decoding it may take {} MiB, and {} MiB are free; make it smaller", info.width,
                                                   info.height, bytes_a_pixel * pixels >> 20, free >> 20));
}

struct Format {
  const char* name;
  bool (*fits)(Bytes);
  PictureInfo (*probe)(Bytes);
  Image (*decode)(Bytes);
};
constexpr Format formats[] = {  // in the order of PictureFormat
    {"png", is_png, probe_png, decode_png},     {"jpeg", is_jpeg, probe_jpeg, decode_jpeg}, {"gif", is_gif, probe_gif, decode_gif},
    {"webp", is_webp, probe_webp, decode_webp}, {"tiff", is_tiff, probe_tiff, decode_tiff}, {"heic", is_heic, probe_heif, decode_heif},
    {"avif", is_avif, probe_heif, decode_heif},
};

const Format* format_of(Bytes file) {
  const auto found = std::find_if(std::begin(formats), std::end(formats), [&](const Format& format) { return format.fits(file); });
  return found == std::end(formats) ? nullptr : found;
}

// Refuses what is not read by its name, so far as that can be told.
[[noreturn]] void refuse(Bytes file) {
  if (file.empty()) bad_picture("empty file; remove it");
  using namespace std::literals;
  static constexpr struct {
    std::size_t at;
    std::string_view magic, format, command;
  } known[] = {
      {0, "BM", "BMP", "ffmpeg -i IN.bmp OUT.png"},
      {0, "\xff\x0a", "JPEG XL", "ffmpeg -i IN.jxl OUT.png"},
      {0, "\0\0\0\x0cJXL "sv, "JPEG XL", "ffmpeg -i IN.jxl OUT.png"},
      {0, "\0\0\0\x0cjP  "sv, "JPEG 2000", "ffmpeg -i IN.jp2 OUT.png"},
      {0, "\xff\x4f\xff\x51", "JPEG 2000", "ffmpeg -i IN.j2k OUT.png"},
      {0, "8BPS", "PSD", "ffmpeg -i IN.psd OUT.png"},
      {0, "\x76\x2f\x31\x01", "OpenEXR", "ffmpeg -i IN.exr OUT.png"},
      {0, "qoif", "QOI", "ffmpeg -i IN.qoi OUT.png"},
      {0, "\0\0\1\0"sv, "ICO", "ffmpeg -i IN.ico OUT.png"},
      {0, "gimp xcf", "XCF", "convert IN.xcf -flatten OUT.png"},
      {4, "ftypcrx ", "camera raw", raw_command},
      {0, "FUJIFILMCCD-RAW", "camera raw", raw_command},
      {0, "IIRO", "camera raw", raw_command},
      {0, "IIU\0"sv, "camera raw", raw_command},
      {0, "%PDF", "PDF", "pdftoppm -png -r 150 IN.pdf OUT"},
      {0, "%!PS", "PostScript", "gs -sDEVICE=png16m -r150 -o OUT.png IN.eps"},
      {0, "<svg", "SVG", "rsvg-convert IN.svg -o OUT.png"},
      {0, "<?xml", "SVG", "rsvg-convert IN.svg -o OUT.png"},
  };
  for (const auto& [at, magic, format, command] : known) {
    if (file.size() >= at && text_of(file.subspan(at)).starts_with(magic)) unread(format, command);
  }
  const std::string_view text = text_of(file).substr(0, 64);
  if (text.starts_with("<!") || text.starts_with("<h") || text.starts_with("<H")) bad_picture("a web page and not a picture; download the picture itself");
  if (text.starts_with("version https://git-lfs")) bad_picture("a pointer of Git LFS and not the picture itself; `git lfs pull` fetches that");
  bad_picture("no picture of a format that is known; make a PNG of it or remove it");
}

std::uint8_t luma(int red, int green, int blue) {
  return static_cast<std::uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}

}  // namespace
}  // namespace codec

std::string to_string(const PictureInfo& info) {
  static constexpr const char* modes[] = {"gray", "gray+alpha", "palette", "rgb", "rgba", "cmyk"};
  std::string text = fmt::format("{} {} {}-bit", codec::formats[static_cast<int>(info.format)].name, modes[static_cast<int>(info.mode)],
                                 info.bit_depth);
  if (info.has_alpha && info.mode != ColorMode::gray_alpha && info.mode != ColorMode::rgba) {
    text += info.format == PictureFormat::png ? " tRNS" : " alpha";
  }
  if (info.animated) text += " animated";
  if (info.orientation != 1) text += " rotated";
  return text;
}

bool is_picture(std::span<const std::byte> head) { return codec::format_of(head) != nullptr; }

bool is_picture_file(const std::filesystem::path& path) {
  std::error_code error;
  std::array<std::byte, 64> head{};
  if (!std::filesystem::is_regular_file(path, error)) return false;  // of a FIFO nothing must be taken
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(head.data()), head.size());
  return is_picture(head);
}

PictureInfo probe_picture(std::span<const std::byte> file, std::int64_t max_pixels) {
  const codec::Format* const format = codec::format_of(file);
  if (format == nullptr) codec::refuse(file);
  PictureInfo info = format->probe(file);
  info.format = static_cast<PictureFormat>(format - codec::formats);
  if (info.orientation >= 5) std::swap(info.height, info.width);
  if (std::int64_t{info.height} * info.width > max_pixels) {
    codec::bad_picture(fmt::format("too large ({}x{}), expected at most {} pixels; make it smaller", info.width,
                                   info.height, max_pixels));
  }
  return info;
}

Image decode_picture(std::span<const std::byte> file, const DecodeOptions& options) {
  const PictureInfo info = probe_picture(file, options.max_pixels);
  const auto turn = codec::turn_of(info);
  Image image = codec::formats[static_cast<int>(info.format)].decode(file);
  const bool gray = image.channels <= 2;
  const bool alpha = image.channels == 2 || image.channels == 4;
  const int channels = options.channels != 0 ? options.channels : alpha ? 4 : gray ? 1 : 3;
  return codec::upright(convert(std::move(image), channels, options.background), info.orientation);
}

Image read_picture(const std::filesystem::path& path, const DecodeOptions& options) {
  const std::vector<std::byte> file = read_file(path, max_picture_bytes);
  try {
    return decode_picture(file, options);
  } catch (const Error& error) {
    throw Error(error.code(), quote(path.native()) + ": " + error.what());
  }
}

Image convert(Image image, int channels, std::array<std::uint8_t, 3> background) {
  if (channels != 1 && channels != 3 && channels != 4) {
    throw Error(ExitCode::usage, fmt::format("{} channels, expected 1, 3 or 4", channels));
  }
  if (image.channels == channels) return image;
  const bool gray = image.channels <= 2;
  const bool alpha = image.channels == 2 || image.channels == 4;
  Image result{image.height, image.width, channels, {}};
  const std::size_t count = std::size_t(image.height) * image.width;
  result.pixels.resize(count * channels);
  const std::uint8_t* in = image.pixels.data();
  std::uint8_t* out = result.pixels.data();
  for (std::size_t i = 0; i < count; ++i, in += image.channels, out += channels) {
    std::array<std::uint8_t, 3> rgb{in[0], in[gray ? 0 : 1], in[gray ? 0 : 2]};
    const int opacity = alpha ? in[image.channels - 1] : 255;
    if (channels < 4 && opacity < 255) {
      for (int c = 0; c < 3; ++c) {
        rgb[c] = static_cast<std::uint8_t>((rgb[c] * opacity + background[c] * (255 - opacity) + 127) / 255);
      }
    }
    if (channels == 1) {
      out[0] = codec::luma(rgb[0], rgb[1], rgb[2]);
    } else {
      std::copy(rgb.begin(), rgb.end(), out);
      if (channels == 4) out[3] = static_cast<std::uint8_t>(opacity);
    }
  }
  return result;
}

}  // namespace pastiche
