#ifdef PASTICHE_TIFF
#include <tiffio.h>
#endif

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

#include "codec.h"

namespace pastiche::codec {

bool is_tiff(Bytes file) {
  const std::uint32_t magic = file.size() >= 8 ? big_endian(file, 4) : 0;
  return magic == 0x49492a00 || magic == 0x4d4d002a || magic == 0x49492b00 || magic == 0x4d4d002b;  // the latter two are BigTIFF
}

#ifdef PASTICHE_TIFF
namespace {

constexpr std::size_t max_block_bytes = 64 << 20;  // of a strip or tile that is larger than its picture

// What libtiff reads from. It tells errors and warnings to a handler of each file, and prints nothing.
struct Reader {
  Bytes file;
  std::size_t at = 0;
  std::array<char, 200> error{};  // the first
  bool lost_palette = false;
  std::unique_ptr<TIFF, decltype(&TIFFClose)> tiff{nullptr, TIFFClose};

  explicit Reader(Bytes bytes) : file(bytes) {
    const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(TIFFOpenOptionsAlloc(), TIFFOpenOptionsFree);
    if (options == nullptr) throw std::bad_alloc();
    TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), tmsize_t{1} << 30);
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), on_error, this);
    TIFFOpenOptionsSetWarningHandlerExtR(options.get(), on_warning, this);
    tiff.reset(TIFFClientOpenExt(
        "TIFF", "r", this, on_read, [](thandle_t, void*, tmsize_t) { return tmsize_t{0}; }, on_seek, [](thandle_t) { return 0; },
        [](thandle_t reader) { return toff_t{of(reader).file.size()}; },
        [](thandle_t reader, void** base, toff_t* size) {
          *base = const_cast<std::byte*>(of(reader).file.data());
          *size = of(reader).file.size();
          return 1;
        },
        [](thandle_t, void*, toff_t) {}, options.get()));
    if (tiff == nullptr) fail();
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  [[noreturn]] void fail() const { broken("TIFF", error[0] == '\0' ? "its pixels can't be decoded" : error.data()); }

  // Of a tag that has a default.
  template <class T>
  T get(std::uint32_t tag) const {
    T value{};
    TIFFGetFieldDefaulted(tiff.get(), tag, &value);
    return value;
  }

 private:
  static Reader& of(void* reader) { return *static_cast<Reader*>(reader); }

  static int on_error(TIFF*, void* reader, const char*, const char* format, va_list arguments) {
    auto& text = of(reader).error;
    if (text[0] == '\0') std::vsnprintf(text.data(), text.size(), format, arguments);
    return 1;
  }

  // Indices without their palette libtiff calls gray, and what is missing of a JPEG it paints gray.
  static int on_warning(TIFF* tiff, void* reader, const char* module, const char* format, va_list arguments) {
    if (module != nullptr && std::strcmp(module, "JPEGLib") == 0) return on_error(tiff, reader, module, format, arguments);
    std::array<char, 200> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    if (std::strstr(text.data(), "\"ColorMap\"") != nullptr) of(reader).lost_palette = true;
    return 1;
  }

  static tmsize_t on_read(thandle_t handle, void* out, tmsize_t count) {
    Reader& reader = of(handle);
    const std::size_t left = reader.file.size() - std::min(reader.at, reader.file.size());
    const std::size_t taken = std::min(left, static_cast<std::size_t>(count));
    if (taken > 0) std::memcpy(out, reader.file.data() + reader.at, taken);
    reader.at += taken;
    return static_cast<tmsize_t>(taken);
  }

  static toff_t on_seek(thandle_t handle, toff_t offset, int whence) {
    Reader& reader = of(handle);
    reader.at = (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? reader.at : reader.file.size()) + offset;
    return reader.at;
  }
};

// What the tags say of how pixels are stored.
struct Layout {
  int height, width, bits, samples, photometric, colors;
  int alpha = 0;  // EXTRASAMPLE_...; 0: none
  bool planar, by_library, lab;

  explicit Layout(const Reader& reader) {
    const auto tag = [&](std::uint32_t name) { return reader.get<std::uint16_t>(name); };
    const auto w = reader.get<std::uint32_t>(TIFFTAG_IMAGEWIDTH), h = reader.get<std::uint32_t>(TIFFTAG_IMAGELENGTH);
    if (w < 1 || h < 1 || w > INT32_MAX || h > INT32_MAX) broken("TIFF", fmt::format("size {}x{}", w, h));
    height = static_cast<int>(h);
    width = static_cast<int>(w);
    bits = tag(TIFFTAG_BITSPERSAMPLE);
    samples = tag(TIFFTAG_SAMPLESPERPIXEL);
    planar = tag(TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE;
    std::uint16_t value = PHOTOMETRIC_MINISBLACK;
    TIFFGetField(reader.tiff.get(), TIFFTAG_PHOTOMETRIC, &value);
    photometric = value;
    const int compression = tag(TIFFTAG_COMPRESSION);
    if (photometric == PHOTOMETRIC_YCBCR && compression == COMPRESSION_JPEG && !planar) {
      TIFFSetField(reader.tiff.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      photometric = PHOTOMETRIC_RGB;
    }
    by_library = photometric == PHOTOMETRIC_YCBCR;
    lab = photometric == PHOTOMETRIC_CIELAB || photometric == PHOTOMETRIC_ICCLAB;
    colors = photometric == PHOTOMETRIC_SEPARATED ? 4 : photometric == PHOTOMETRIC_RGB || by_library || lab ? 3 : 1;

    const int format = tag(TIFFTAG_SAMPLEFORMAT);
    const bool known = photometric == PHOTOMETRIC_MINISWHITE || photometric == PHOTOMETRIC_MINISBLACK || photometric == PHOTOMETRIC_RGB ||
                       photometric == PHOTOMETRIC_PALETTE || by_library || lab ||
                       (photometric == PHOTOMETRIC_SEPARATED && tag(TIFFTAG_INKSET) == INKSET_CMYK);
    if (!known || bits < 1 || bits > 16 || (format != SAMPLEFORMAT_UINT && format != SAMPLEFORMAT_VOID)) {
      unread(fmt::format("TIFF of {} bits a sample, sample format {} and colour space {}", bits, format, photometric),
             "convert 'IN.tif[0]' OUT.png");
    }
    if (!TIFFIsCODECConfigured(static_cast<std::uint16_t>(compression))) {
      unread(fmt::format("TIFF of compression {}", compression), "convert 'IN.tif[0]' OUT.png");
    }
    if (reader.lost_palette) broken("TIFF", "its palette can't be read");
    if (samples < colors) broken("TIFF", fmt::format("{} samples a pixel", samples));

    std::uint16_t extras = 0;
    std::uint16_t* kinds = nullptr;
    TIFFGetField(reader.tiff.get(), TIFFTAG_EXTRASAMPLES, &extras, &kinds);  // or it leaves them as they are
    const bool may_have_alpha =
        photometric == PHOTOMETRIC_RGB || photometric == PHOTOMETRIC_MINISBLACK || photometric == PHOTOMETRIC_MINISWHITE;
    // What is beside the colours without being said to be alpha is a mask that was saved with them, unless nothing is said.
    if (may_have_alpha && samples > colors) {
      if (extras > 0 && kinds[0] <= EXTRASAMPLE_UNASSALPHA) alpha = kinds[0];
      else if (samples == colors + 1) alpha = EXTRASAMPLE_UNASSALPHA;
    }
  }

  int used() const { return colors + (alpha != 0); }
};

// A sample of a row, of `bits` bits, as one of 16; as it is where it stands for a colour of a palette.
class Unpacker {
 public:
  Unpacker(int bits, bool is_index) : bits_(bits), most_((1 << bits) - 1), is_index_(is_index) {}

  std::uint16_t operator()(const std::uint8_t* row, std::size_t sample) const {
    if (bits_ == 8) return static_cast<std::uint16_t>(is_index_ ? row[sample] : row[sample] * 257);
    if (bits_ == 16) {
      std::uint16_t native;
      std::memcpy(&native, row + 2 * sample, 2);
      return native;
    }
    std::uint32_t value = 0;
    for (std::size_t bit = sample * bits_, end = bit + bits_; bit < end; ++bit) value = value << 1 | (row[bit / 8] >> (7 - bit % 8) & 1);
    return static_cast<std::uint16_t>(is_index_ ? value : value * 65535 / most_);
  }

 private:
  const int bits_;
  const std::uint32_t most_;
  const bool is_index_;
};

std::uint8_t to_8_bits(std::uint32_t value) { return static_cast<std::uint8_t>((value * 255 + 32767) / 65535); }

// From samples as they are stored to ours: gray, RGB, either with alpha, or four inks.
class Converter {
 public:
  Converter(const Reader& reader, const Layout& layout) : layout_(layout) {
    if (layout.photometric != PHOTOMETRIC_PALETTE) return;
    std::uint16_t* maps[3];
    if (!TIFFGetField(reader.tiff.get(), TIFFTAG_COLORMAP, &maps[0], &maps[1], &maps[2])) broken("TIFF", "no palette");
    const int count = 1 << layout.bits;
    const bool wide =
        std::ranges::any_of(maps, [&](const std::uint16_t* map) { return std::any_of(map, map + count, [](int v) { return v > 255; }); });
    palette_.resize(3 * static_cast<std::size_t>(count));
    for (int i = 0; i < 3 * count; ++i) palette_[i] = static_cast<std::uint8_t>(wide ? maps[i % 3][i / 3] >> 8 : maps[i % 3][i / 3]);
  }

  int channels() const { return layout_.photometric == PHOTOMETRIC_PALETTE ? 3 : layout_.used(); }

  void operator()(std::uint16_t* samples, std::uint8_t* out) const {
    if (!palette_.empty()) {
      std::copy_n(palette_.data() + 3 * std::size_t{samples[0]}, 3, out);
      return;
    }
    const std::uint32_t alpha = samples[layout_.colors];
    for (int c = 0; c < layout_.used(); ++c) {
      std::uint32_t value = samples[c];
      if (c < layout_.colors && layout_.alpha == EXTRASAMPLE_ASSOCALPHA && alpha > 0) {
        value = std::min(65535u, (value * 65535 + alpha / 2) / alpha);
      }
      if (c < layout_.colors && layout_.photometric == PHOTOMETRIC_MINISWHITE) value = 65535 - value;
      if (c > 0 && layout_.photometric == PHOTOMETRIC_CIELAB) value ^= 0x8000;  // a and b are signed
      out[c] = to_8_bits(value);
    }
  }

 private:
  const Layout& layout_;
  std::vector<std::uint8_t> palette_;
};

// Every strip or tile, of all planes that are used.
Image read_samples(const Reader& reader, const Layout& layout) {
  TIFF* const tiff = reader.tiff.get();
  const Converter converter(reader, layout);
  const Unpacker unpack(layout.bits, layout.photometric == PHOTOMETRIC_PALETTE);
  const bool tiled = TIFFIsTiled(tiff);
  const std::size_t height = static_cast<std::size_t>(layout.height), width = static_cast<std::size_t>(layout.width);
  const std::size_t block_height = tiled ? reader.get<std::uint32_t>(TIFFTAG_TILELENGTH)
                                         : std::min<std::size_t>(reader.get<std::uint32_t>(TIFFTAG_ROWSPERSTRIP), height);
  const std::size_t block_width = tiled ? reader.get<std::uint32_t>(TIFFTAG_TILEWIDTH) : width;
  const std::uint64_t bytes = tiled ? TIFFTileSize64(tiff) : TIFFStripSize64(tiff);
  const std::uint64_t row_bytes = tiled ? TIFFTileRowSize64(tiff) : TIFFScanlineSize64(tiff);
  const std::size_t planes = layout.planar ? static_cast<std::size_t>(layout.used()) : 1, pixels = height * width;
  if (bytes == 0 || block_width == 0 || block_height == 0 || row_bytes > bytes / block_height ||
      planes * bytes > std::max(max_block_bytes, 16 * pixels)) {
    broken("TIFF", fmt::format("blocks of {}x{} pixels and {} bytes", block_width, block_height, bytes));
  }
  Image image{layout.height, layout.width, converter.channels(), {}};
  image.pixels.resize(pixels * image.channels);
  std::vector<std::uint8_t> block(planes * bytes);
  const std::size_t step = layout.planar ? 1 : static_cast<std::size_t>(layout.samples);
  std::array<std::uint16_t, 6> samples{};
  for (std::size_t top = 0; top < height; top += block_height) {
    for (std::size_t left = 0; left < width; left += block_width) {
      const std::size_t rows = std::min(block_height, height - top), columns = std::min(block_width, width - left);
      const auto wanted = static_cast<tmsize_t>(tiled ? bytes : row_bytes * rows);
      for (std::size_t plane = 0; plane < planes; ++plane) {
        std::uint8_t* const to = block.data() + plane * bytes;
        const auto x = static_cast<std::uint32_t>(left), y = static_cast<std::uint32_t>(top);
        const auto sample = static_cast<std::uint16_t>(plane);
        const tmsize_t got = tiled ? TIFFReadEncodedTile(tiff, TIFFComputeTile(tiff, x, y, 0, sample), to, wanted)
                                   : TIFFReadEncodedStrip(tiff, TIFFComputeStrip(tiff, y, sample), to, wanted);
        if (got < wanted || reader.error[0] != '\0') reader.fail();
      }
      for (std::size_t y = 0; y < rows; ++y) {
        std::uint8_t* out = image.pixels.data() + ((top + y) * width + left) * image.channels;
        for (std::size_t x = 0; x < columns; ++x, out += image.channels) {
          for (int s = 0; s < layout.used(); ++s) {
            const std::uint8_t* row = block.data() + y * row_bytes + (layout.planar ? s * bytes : 0);
            samples[s] = unpack(row, x * step + (layout.planar ? 0 : s));
          }
          converter(samples.data(), out);
        }
      }
    }
  }
  return image;
}

// YCbCr, which libtiff turns to RGB.
Image read_by_library(const Reader& reader, const Layout& layout) {
  std::vector<std::uint32_t> raster(std::size_t(layout.height) * layout.width);
  const auto orientation = reader.get<std::uint16_t>(TIFFTAG_ORIENTATION);  // so that nothing is turned
  if (!TIFFReadRGBAImageOriented(reader.tiff.get(), static_cast<std::uint32_t>(layout.width), static_cast<std::uint32_t>(layout.height),
                                 raster.data(), orientation, 1)) {
    reader.fail();
  }
  Image image{layout.height, layout.width, 3, {}};
  image.pixels.reserve(3 * raster.size());
  for (const std::uint32_t pixel : raster) {
    for (const std::uint32_t value : {TIFFGetR(pixel), TIFFGetG(pixel), TIFFGetB(pixel)}) {
      image.pixels.push_back(static_cast<std::uint8_t>(value));
    }
  }
  return image;
}

Image ink_to_rgb(const Image& ink, Bytes profile) {
  Image image{ink.height, ink.width, 3, {}};
  image.pixels.resize(std::size_t(ink.height) * ink.width * 3);
  const ToSrgb to_srgb(profile, ProfilePixels::cmyk);
  for (std::size_t y = 0; y < static_cast<std::size_t>(ink.height); ++y) {
    const std::uint8_t* in = ink.pixels.data() + y * ink.width * 4;
    std::uint8_t* out = image.pixels.data() + y * ink.width * 3;
    if (to_srgb) to_srgb(in, out, static_cast<std::size_t>(ink.width));
    else cmyk_to_rgb(in, out, ink.width, false);
  }
  return image;
}

// Raw files of cameras begin with a small picture of what they hold.
void refuse_raw(const Reader& reader) {
  constexpr std::uint32_t dng_version = 50706;
  std::uint32_t kind = 0;
  const void* version = nullptr;
  TIFFGetField(reader.tiff.get(), TIFFTAG_SUBFILETYPE, &kind);
  if ((kind & FILETYPE_REDUCEDIMAGE) != 0 || TIFFGetField(reader.tiff.get(), dng_version, &version) ||
      text_of(reader.file.subspan(8)).starts_with("CR")) {
    unread("camera raw", raw_command);
  }
}

}  // namespace

PictureInfo probe_tiff(Bytes file) {
  Reader reader(file);
  refuse_raw(reader);
  const Layout layout(reader);
  PictureInfo info{.height = layout.height, .width = layout.width, .bit_depth = layout.bits, .has_alpha = layout.alpha != 0};
  switch (layout.photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK: info.mode = info.has_alpha ? ColorMode::gray_alpha : ColorMode::gray; break;
    case PHOTOMETRIC_PALETTE: info.mode = ColorMode::palette; break;
    case PHOTOMETRIC_SEPARATED: info.mode = ColorMode::cmyk; break;
    default: info.mode = info.has_alpha ? ColorMode::rgba : ColorMode::rgb;
  }
  const int orientation = reader.get<std::uint16_t>(TIFFTAG_ORIENTATION);
  info.orientation = orientation >= 1 && orientation <= 8 ? orientation : 1;
  return info;
}

Image decode_tiff(Bytes file) {
  Reader reader(file);
  const Layout layout(reader);
  reader.error[0] = '\0';  // what was wrong with a tag that nobody needs
  Image image = layout.by_library ? read_by_library(reader, layout) : read_samples(reader, layout);
  std::uint32_t profile_bytes = 0;
  const void* profile_data = nullptr;
  TIFFGetField(reader.tiff.get(), TIFFTAG_ICCPROFILE, &profile_bytes, &profile_data);  // or it leaves them as they are
  if (profile_bytes > max_profile_bytes) profile_bytes = 0;
  const Bytes profile(static_cast<const std::byte*>(profile_data), profile_bytes);
  if (layout.photometric == PHOTOMETRIC_SEPARATED) return ink_to_rgb(image, profile);
  if (!layout.lab) {
    to_srgb(profile, image);
  } else if (const ToSrgb lab_to_srgb({}, ProfilePixels::lab); lab_to_srgb) {
    lab_to_srgb(image.pixels.data(), image.pixels.data(), image.pixels.size() / 3);
  }
  return image;
}

#else
namespace {
[[noreturn]] void refuse() { not_built_in("TIFF", "libtiff-dev", "ffmpeg -i IN.tif OUT.png"); }
}  // namespace

PictureInfo probe_tiff(Bytes) { refuse(); }
Image decode_tiff(Bytes) { refuse(); }
#endif

}  // namespace pastiche::codec
