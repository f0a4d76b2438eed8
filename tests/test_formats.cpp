#include <gif_lib.h>
#include <gtest/gtest.h>
#ifdef PASTICHE_TIFF
#include <tiffio.h>
#endif
#ifdef PASTICHE_WEBP
#include <webp/encode.h>
#endif

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>

#include "dirty_folder.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using dirty::Bytes;
using dirty::bytes_of;
using dirty::join;

// The message of the Error(bad_file) that decoding must throw.
std::string refusal(const Bytes& file, const DecodeOptions& options = {}) {
  try {
    decode_picture(file, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bad_file) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

int largest_difference(const Image& a, const Image& b) {
  if (a.height != b.height || a.width != b.width || a.channels != b.channels) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) largest = std::max(largest, std::abs(a.pixels[i] - b.pixels[i]));
  return largest;
}

bool is_built_in(const std::string& name) {
  const std::string ending = fs::path(name).extension();
#ifndef PASTICHE_WEBP
  if (ending == ".webp") return false;
#endif
#ifndef PASTICHE_TIFF
  if (ending == ".tif") return false;
#endif
#ifndef PASTICHE_HEIF
  if (ending == ".heic" || ending == ".avif") return false;
#endif
  return true;
}

// Pictures of 32x24 with a red, a green, a blue and a whitish quarter, in all formats.
std::vector<dirty::File> quarters() {
  std::vector<dirty::File> files;
  for (const auto& entry : fs::directory_iterator(std::string(PASTICHE_TEST_DIR) + "/data/formats")) {
    const dirty::File file{entry.path().filename(), read_file(entry.path(), 1 << 20)};
    if (is_built_in(file.name)) files.push_back(file);
    else EXPECT_NE(refusal(file.bytes).find("-dev and build again"), std::string::npos) << file.name;
  }
  EXPECT_GE(files.size(), 2u);
  return files;
}

[[maybe_unused]] Bytes little_endian(std::uint32_t value, int count) {
  Bytes bytes = dirty::big_endian(value, count);
  std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

TEST(Formats, ShowTheSamePicture) {
  constexpr std::uint8_t expected[4][3] = {{200, 30, 30}, {30, 180, 40}, {40, 50, 190}, {230, 220, 210}};
  for (const dirty::File& file : quarters()) {
    SCOPED_TRACE(file.name);
    if (file.name == "fax.tif") continue;
    const Image image = decode_picture(file.bytes);
    ASSERT_EQ(std::pair(image.height, image.width), std::pair(24, 32));
    const bool alpha = file.name.starts_with("alpha") || file.name == "animated.webp";  // half seen, seen, seen, not seen
    EXPECT_EQ(image.channels, alpha ? 4 : 3);
    for (int quarter = 0; quarter < 4; ++quarter) {
      const std::uint8_t* pixel = image.pixels.data() + ((quarter / 2 * 12 + 6) * 32 + quarter % 2 * 16 + 8) * image.channels;
      const int opacity = alpha ? pixel[3] : 255;
      const bool hidden = alpha && quarter == 3;
      EXPECT_NEAR(opacity, hidden ? 0 : alpha && quarter == 1 ? 128 : 255, 2) << quarter;
      for (int c = 0; c < 3 && !hidden; ++c) EXPECT_NEAR(pixel[c], expected[quarter][c], 9) << "quarter " << quarter << " channel " << c;
    }
  }
}

TEST(Formats, SayWhatTheyAre) {
  const std::map<std::string, std::string> expected{
      {"10-bit.heic", "heic rgb 10-bit"},
      {"12-bit.avif", "avif rgb 12-bit"},
      {"alpha.avif", "avif rgba 8-bit"},
      {"alpha.heic", "heic rgba 8-bit"},
      {"alpha.webp", "webp rgba 8-bit"},
      {"animated.gif", "gif palette 2-bit animated"},
      {"animated.webp", "webp rgba 8-bit animated"},
      {"cmyk.tif", "tiff cmyk 8-bit"},
      {"fax.tif", "tiff gray 1-bit"},
      {"interlaced.gif", "gif palette 2-bit"},
      {"lab.tif", "tiff rgb 8-bit"},
      {"lossy.webp", "webp rgb 8-bit"},
      {"palette.tif", "tiff palette 8-bit"},
      {"rgb.heic", "heic rgb 8-bit"},
      {"subsampled.tif", "tiff rgb 8-bit"},
      {"tiled-16-bit.tif", "tiff rgb 16-bit"},
      {"turned.heic", "heic rgb 8-bit"},
      {"ycbcr.tif", "tiff rgb 8-bit"},
  };
  for (const dirty::File& file : quarters()) {
    EXPECT_EQ(to_string(probe_picture(file.bytes)), expected.at(file.name));
    EXPECT_TRUE(is_picture(std::span(file.bytes).first(64))) << file.name;
  }
  EXPECT_FALSE(is_picture(bytes_of("%PDF-1.4")));
}

// Cut anywhere, each is decoded or refused in one line, and no library writes to the terminal. (Of what is spoiled within,
// the decoders that libheif calls do.)
TEST(Formats, CutFilesAreRefused) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  int whole = 0;
  for (const dirty::File& file : quarters()) {
    if (file.name == "lab.tif") continue;  // whose colours take 10 ms each time
    const Image image = decode_picture(file.bytes);
    for (std::size_t size = 0; size < file.bytes.size(); ++size) {
      const Bytes cut(file.bytes.begin(), file.bytes.begin() + static_cast<std::ptrdiff_t>(size));
      if (refusal(cut) != "") continue;
      ++whole;
      EXPECT_EQ(decode_picture(cut), image) << file.name << " of " << size;  // what is missing is none of its pixels
    }
    // Nor does a byte that changes do worse than show something else.
    if (file.name.ends_with(".heic") || file.name.ends_with(".avif")) continue;
    for (std::size_t at = 0; at < file.bytes.size(); at += 3) {
      Bytes changed = file.bytes;
      changed[at] ^= std::byte{0x40};
      refusal(changed, {.max_pixels = 1 << 20});
    }
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_GT(whole, 0);  // a GIF without its end
}

TEST(Formats, RefuseWhatIsTooLarge) {
  for (const dirty::File& file : quarters()) {
    EXPECT_EQ(refusal(file.bytes, {.max_pixels = 768}), "") << file.name;
    EXPECT_NE(refusal(file.bytes, {.max_pixels = 767}).find("32x24"), std::string::npos) << file.name;
  }
}

TEST(Formats, OthersAreRefusedByName) {
  const std::vector<std::array<std::string, 3>> others{
      {"BM123456789", "BMP", "ffmpeg -i IN.bmp OUT.png"},
      {"\xff\x0a JPEG XL", "JPEG XL", "ffmpeg"},
      {"8BPS\1", "PSD", "ffmpeg"},
      {"%PDF-1.4", "PDF", "pdftoppm"},
      {"<svg xmlns", "SVG", "rsvg-convert"},
      {std::string(4, '\0') + "ftypcrx ", "camera raw", "darktable-cli"},
      {"FUJIFILMCCD-RAW 0201", "camera raw", "darktable-cli"},
      {"some text", "no picture", "PNG"},
  };
  for (const auto& [content, name, command] : others) {
    const std::string message = refusal(bytes_of(content));
    EXPECT_TRUE(message.starts_with(name)) << message;
    EXPECT_NE(message.find(command), std::string::npos) << message;
  }
}

TEST(Formats, FoldersKnowThemByNameAndContent) {
  const dirty::TemporaryFolder folder;
  std::size_t count = 0;
  for (const dirty::File& file : quarters()) {
    dirty::write(folder / fs::path(file.name).stem().concat(std::to_string(count++)).string(), file.bytes);
  }
  dirty::write(folder / "x.CR2", bytes_of("raw"));
  dirty::write(folder / "x.bmp", bytes_of("BM"));
  dirty::write(folder / "notes", bytes_of("text"));
  for (const char* name : {"x.svg", "y.SVG", "x.tga", "x.ppm"}) dirty::write(folder / name, bytes_of("<svg"));
  const DatasetReport report = check_dataset(folder.path());
  EXPECT_EQ(report.usable, static_cast<std::int64_t>(count));
  EXPECT_EQ(report.left_out, (LeftOut{{"camera raw", 1}, {"drawings to be converted to PNG", 2}, {"other formats to be converted to PNG", 2}}));
  ASSERT_EQ(report.unusable.size(), 1u);
  EXPECT_EQ(report.unusable[0].file, "x.bmp");
  EXPECT_TRUE(report.modes.contains("gif palette 2-bit animated"));
}

// ---- GIF -------------------------------------------------------------------------------------------------------------

struct GifSpec {
  int left = 0, top = 0, canvas_width = 7, canvas_height = 9;  // the picture has 7x9
  bool interlaced = false;
  int transparent = NO_TRANSPARENT_COLOR;
};

Bytes make_gif(const GifSpec& spec) {
  Bytes bytes;
  GifFileType* const gif = EGifOpen(
      &bytes,
      [](GifFileType* file, const GifByteType* data, int count) {
        auto& out = *static_cast<Bytes*>(file->UserData);
        const auto* begin = reinterpret_cast<const std::byte*>(data);
        out.insert(out.end(), begin, begin + count);
        return count;
      },
      nullptr);
  EGifSetGifVersion(gif, true);
  ColorMapObject* const map = GifMakeMapObject(64, nullptr);
  for (int i = 0; i < 64; ++i) {
    map->Colors[i] = {static_cast<GifByteType>(i), static_cast<GifByteType>(2 * i), static_cast<GifByteType>(255 - i)};
  }
  EGifPutScreenDesc(gif, spec.canvas_width, spec.canvas_height, 6, 0, map);
  const GraphicsControlBlock control{.DisposalMode = 0, .UserInputFlag = false, .DelayTime = 0, .TransparentColor = spec.transparent};
  std::array<GifByteType, 4> extension;
  EGifGCBToExtension(&control, extension.data());
  EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, 4, extension.data());
  EGifPutImageDesc(gif, spec.left, spec.top, 7, 9, spec.interlaced, nullptr);
  std::vector<int> rows;
  for (const auto& [first, step] :
       spec.interlaced ? std::vector{std::pair(0, 8), std::pair(4, 8), std::pair(2, 4), std::pair(1, 2)} : std::vector{std::pair(0, 1)}) {
    for (int y = first; y < 9; y += step) rows.push_back(y);
  }
  for (const int y : rows) {
    std::array<GifPixelType, 7> row;
    for (int x = 0; x < 7; ++x) row[x] = static_cast<GifPixelType>(y * 7 + x);
    EGifPutLine(gif, row.data(), 7);
  }
  EGifCloseFile(gif, nullptr);
  GifFreeMapObject(map);
  return bytes;
}

TEST(Formats, GifPlacesItsFirstPicture) {
  const std::vector<GifSpec> specs{{},
                                   {.interlaced = true},
                                   {.transparent = 5},
                                   {.left = 2, .top = 3, .canvas_width = 20, .canvas_height = 15},
                                   {.left = 2, .top = 3, .canvas_width = 0, .canvas_height = 1}};
  for (const GifSpec& spec : specs) {
    const Image image = decode_picture(make_gif(spec), {.channels = 4});
    EXPECT_EQ(image.width, std::max(spec.canvas_width, spec.left + 7));
    EXPECT_EQ(image.height, std::max(spec.canvas_height, spec.top + 9));
    for (int y = 0; y < image.height; ++y) {
      for (int x = 0; x < image.width; ++x) {
        const int i = (y - spec.top) * 7 + x - spec.left;
        const bool within = x >= spec.left && x < spec.left + 7 && y >= spec.top && y < spec.top + 9;
        const std::uint8_t* pixel = &image.pixels[(std::size_t(y) * image.width + x) * 4];
        EXPECT_EQ(pixel[3], within && i != spec.transparent ? 255 : 0);
        if (within) {
          EXPECT_EQ(std::tuple(pixel[0], pixel[1], pixel[2]), std::tuple(i, 2 * i, 255 - i));
        }
      }
    }
  }
  EXPECT_EQ(decode_picture(make_gif({})).channels, 3);
  EXPECT_NE(refusal(make_gif({.canvas_width = 65535, .canvas_height = 65535})).find("too large (65535x65535)"), std::string::npos);
}

// ---- WebP ------------------------------------------------------------------------------------------------------------

#ifdef PASTICHE_WEBP
TEST(Formats, WebpIsNear) {
  Image image{40, 61, 4, {}};
  for (int i = 0; i < 40 * 61; ++i) {
    image.pixels.insert(image.pixels.end(),
                        {std::uint8_t(i / 61 * 6), std::uint8_t(i % 61 * 4), std::uint8_t(i / 10), std::uint8_t(255 - i / 20)});
  }
  const Image decoded = decode_picture(encode_webp(image));
  EXPECT_LE(largest_difference(decoded, image), 16);
  for (std::size_t i = 3; i < image.pixels.size(); i += 4) EXPECT_EQ(decoded.pixels[i], image.pixels[i]);
  EXPECT_EQ(encode_webp(image), encode_webp(image));
  EXPECT_LT(encode_webp(image, 30).size(), encode_webp(image).size());
  const Image rgb = convert(image, 3), gray = convert(image, 1);
  EXPECT_LE(largest_difference(decode_picture(encode_webp(rgb)), rgb), 16);
  EXPECT_LE(largest_difference(decode_picture(encode_webp(gray)), convert(gray, 3)), 8);
  EXPECT_THROW(encode_webp({2, 2, 3, {}}), Error);
  EXPECT_THROW(encode_webp({1, 17000, 1, std::vector<std::uint8_t>(17000)}), Error);
}

Bytes webp_chunk(std::string_view name, const Bytes& data) {
  return join({bytes_of(name), little_endian(static_cast<std::uint32_t>(data.size()), 4), data, Bytes(data.size() % 2)});
}

Bytes webp_file(const std::vector<Bytes>& chunks) {
  Bytes body = bytes_of("WEBP");
  for (const Bytes& chunk : chunks) body = join({body, chunk});
  return join({bytes_of("RIFF"), little_endian(static_cast<std::uint32_t>(body.size()), 4), body});
}

Bytes lossless_chunk(const Image& image) {
  std::uint8_t* memory = nullptr;
  const std::size_t size = WebPEncodeLosslessRGB(image.pixels.data(), image.width, image.height, image.width * 3, &memory);
  const auto* begin = reinterpret_cast<const std::byte*>(memory);
  const Bytes chunk(begin + 12, begin + size);
  WebPFree(memory);
  return chunk;
}

Bytes webp_header(int flags, int width, int height) {
  return webp_chunk("VP8X",
                    join({little_endian(static_cast<std::uint32_t>(flags), 4), little_endian(static_cast<std::uint32_t>(width - 1), 3),
                          little_endian(static_cast<std::uint32_t>(height - 1), 3)}));
}

TEST(Formats, WebpFollowsExifAndPlacesItsFirstFrame) {
  const Image image = dirty::noise(4, 6, 3, 7);
  for (const std::string_view marker : {std::string_view(), std::string_view("Exif\0\0", 6)}) {
    const Bytes turned =
        webp_file({webp_header(8, 6, 4), lossless_chunk(image), webp_chunk("EXIF", join({bytes_of(marker), dirty::exif(2, true)}))});
    EXPECT_EQ(decode_picture(turned), mirror(image));
  }
  const Bytes frame = join({little_endian(1, 3), little_endian(2, 3), little_endian(5, 3), little_endian(3, 3), little_endian(10, 3),
                            little_endian(0, 1), lossless_chunk(image)});
  const Bytes film =
      webp_file({webp_header(2, 12, 10), webp_chunk("ANIM", Bytes(6)), webp_chunk("ANMF", frame), webp_chunk("ANMF", frame)});
  const Image placed = decode_picture(film);  // at (2, 4)
  EXPECT_TRUE(probe_picture(film).animated);
  ASSERT_EQ(std::tuple(placed.height, placed.width, placed.channels), std::tuple(10, 12, 4));
  EXPECT_EQ(convert(crop(placed, 4, 2, 4, 6), 3), image);
  EXPECT_EQ(placed.pixels[3], 0);
  EXPECT_EQ(placed.pixels[(4 * 12 + 2) * 4 + 3], 255);
}
#endif

// ---- TIFF ------------------------------------------------------------------------------------------------------------

#ifdef PASTICHE_TIFF
struct TiffSpec {
  int photometric = PHOTOMETRIC_RGB, bits = 8, samples = 3;
  bool planar = false, tiled = false, big_endian = false;
  int compression = COMPRESSION_NONE;
  int extra = -1;  // EXTRASAMPLE_...
  int orientation = ORIENTATION_TOPLEFT;
  std::uint32_t subfile = 0;
};
constexpr int tiff_width = 21, tiff_height = 18;

struct TiffFile {
  Bytes bytes;
  std::size_t at = 0;
};

// The sample that is stored.
std::uint32_t tiff_sample(const TiffSpec& spec, int y, int x, int sample) {
  const std::uint32_t most = (1u << spec.bits) - 1;
  const bool is_alpha = spec.extra > 0 && sample == spec.samples - 1;
  const std::uint32_t value =
      (static_cast<std::uint32_t>(y) * 977 + static_cast<std::uint32_t>(x) * 3571 + static_cast<std::uint32_t>(sample) * 12345) %
      (most + 1);
  return is_alpha ? std::max(value, most / 2) : spec.extra == EXTRASAMPLE_ASSOCALPHA ? value / 2 : value;
}

void set(Bytes& block, std::size_t bit, int bits, std::uint32_t value) {
  if (bits == 16) {
    const auto native = static_cast<std::uint16_t>(value);
    std::memcpy(block.data() + bit / 8, &native, 2);
    return;
  }
  for (int b = 0; b < bits; ++b) {
    if (value >> (bits - 1 - b) & 1) block[(bit + b) / 8] |= std::byte(0x80 >> (bit + b) % 8);
  }
}

Bytes make_tiff(const TiffSpec& spec) {
  TiffFile file;
  const auto of = [](thandle_t handle) -> TiffFile& { return *static_cast<TiffFile*>(handle); };
  static const auto access = of;
  TIFF* const tiff = TIFFClientOpen(
      "t", spec.big_endian ? "wb" : "wl", &file,
      [](thandle_t h, void* out, tmsize_t count) {
        TiffFile& f = access(h);
        const std::size_t taken = std::min(static_cast<std::size_t>(count), f.bytes.size() - std::min(f.at, f.bytes.size()));
        if (taken > 0) std::memcpy(out, f.bytes.data() + f.at, taken);
        f.at += taken;
        return static_cast<tmsize_t>(taken);
      },
      [](thandle_t h, void* data, tmsize_t count) {
        TiffFile& f = access(h);
        f.bytes.resize(std::max(f.bytes.size(), f.at + static_cast<std::size_t>(count)));
        std::memcpy(f.bytes.data() + f.at, data, static_cast<std::size_t>(count));
        f.at += static_cast<std::size_t>(count);
        return count;
      },
      [](thandle_t h, toff_t offset, int whence) {
        TiffFile& f = access(h);
        f.at = (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? f.at : f.bytes.size()) + offset;
        return toff_t{f.at};
      },
      [](thandle_t) { return 0; }, [](thandle_t h) { return toff_t{access(h).bytes.size()}; }, nullptr, nullptr);
  TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, tiff_width);
  TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, tiff_height);
  TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, spec.photometric);
  TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, spec.bits);
  TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, spec.samples);
  TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, spec.planar ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
  TIFFSetField(tiff, TIFFTAG_COMPRESSION, spec.compression);
  TIFFSetField(tiff, TIFFTAG_ORIENTATION, spec.orientation);
  if (spec.subfile != 0) TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, spec.subfile);
  if (spec.extra >= 0) {
    const auto kind = static_cast<std::uint16_t>(spec.extra);
    TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &kind);
  }
  if (spec.photometric == PHOTOMETRIC_PALETTE) {
    std::array<std::vector<std::uint16_t>, 3> maps;
    for (int c = 0; c < 3; ++c) {
      for (int i = 0; i < 1 << spec.bits; ++i) maps[c].push_back(static_cast<std::uint16_t>(((i * (c + 3) * 11) % 256) * 257));
    }
    TIFFSetField(tiff, TIFFTAG_COLORMAP, maps[0].data(), maps[1].data(), maps[2].data());
  }
  const int block_width = spec.tiled ? 16 : tiff_width, block_height = spec.tiled ? 16 : 5;
  if (spec.tiled) {
    TIFFSetField(tiff, TIFFTAG_TILEWIDTH, block_width);
    TIFFSetField(tiff, TIFFTAG_TILELENGTH, block_height);
  } else {
    TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, block_height);
  }
  for (int plane = 0; plane < (spec.planar ? spec.samples : 1); ++plane) {
    for (int top = 0; top < tiff_height; top += block_height) {
      for (int left = 0; left < tiff_width; left += block_width) {
        const auto row_bytes = static_cast<std::size_t>(spec.tiled ? TIFFTileRowSize(tiff) : TIFFScanlineSize(tiff));
        const int rows = spec.tiled ? block_height : std::min(block_height, tiff_height - top);
        Bytes block(row_bytes * rows);
        for (int y = 0; y < std::min(rows, tiff_height - top); ++y) {
          for (int x = 0; x < std::min(block_width, tiff_width - left); ++x) {
            const int samples = spec.planar ? 1 : spec.samples;
            for (int s = 0; s < samples; ++s) {
              set(block, y * row_bytes * 8 + std::size_t(x * samples + s) * spec.bits, spec.bits,
                  tiff_sample(spec, top + y, left + x, spec.planar ? plane : s));
            }
          }
        }
        const auto x = static_cast<std::uint32_t>(left), y = static_cast<std::uint32_t>(top);
        const auto sample = static_cast<std::uint16_t>(plane);
        const auto bytes = static_cast<tmsize_t>(block.size());
        if (spec.tiled) TIFFWriteEncodedTile(tiff, TIFFComputeTile(tiff, x, y, 0, sample), block.data(), bytes);
        else TIFFWriteEncodedStrip(tiff, TIFFComputeStrip(tiff, y, sample), block.data(), bytes);
      }
    }
  }
  TIFFClose(tiff);
  return file.bytes;
}

// As 8 bits; what TIFF 6.0 says of it.
Image tiff_pixels(const TiffSpec& spec) {
  const double most = (1 << spec.bits) - 1;
  const bool ink = spec.photometric == PHOTOMETRIC_SEPARATED, palette = spec.photometric == PHOTOMETRIC_PALETTE;
  const bool gray = spec.photometric == PHOTOMETRIC_MINISBLACK || spec.photometric == PHOTOMETRIC_MINISWHITE;
  const bool alpha = spec.extra > 0;
  Image image{tiff_height, tiff_width, alpha ? 4 : gray ? 1 : 3, {}};
  for (int y = 0; y < tiff_height; ++y) {
    for (int x = 0; x < tiff_width; ++x) {
      const auto stored = [&](int s) { return tiff_sample(spec, y, x, s) / most; };
      const double opacity = alpha ? stored(spec.samples - 1) : 1;
      const int colors = image.channels == 4 ? 3 : image.channels;
      for (int c = 0; c < colors; ++c) {
        double value = stored(gray ? 0 : c);
        if (spec.extra == EXTRASAMPLE_ASSOCALPHA) value /= opacity;
        if (spec.photometric == PHOTOMETRIC_MINISWHITE) value = 1 - value;
        if (ink) value = (1 - value) * (1 - stored(3));
        if (palette) value = static_cast<double>(tiff_sample(spec, y, x, 0) * static_cast<std::uint32_t>(c + 3) * 11 % 256) / 255;
        image.pixels.push_back(static_cast<std::uint8_t>(std::min(value, 1.0) * 255 + 0.5));
      }
      if (alpha) image.pixels.push_back(static_cast<std::uint8_t>(opacity * 255 + 0.5));
    }
  }
  return image;
}

TEST(Formats, DecodesEveryKindOfTiff) {
  struct Kind {
    int photometric, samples, extra;
    std::vector<int> bits;
  };
  const std::vector<Kind> kinds{{PHOTOMETRIC_MINISBLACK, 1, -1, {1, 2, 4, 8, 12, 16}},
                                {PHOTOMETRIC_MINISWHITE, 1, -1, {1, 4, 8, 16}},
                                {PHOTOMETRIC_MINISBLACK, 2, EXTRASAMPLE_UNASSALPHA, {8, 16}},
                                {PHOTOMETRIC_RGB, 3, -1, {4, 8, 16}},
                                {PHOTOMETRIC_RGB, 4, EXTRASAMPLE_UNASSALPHA, {8, 16}},
                                {PHOTOMETRIC_RGB, 4, EXTRASAMPLE_ASSOCALPHA, {8, 16}},
                                {PHOTOMETRIC_RGB, 4, EXTRASAMPLE_UNSPECIFIED, {8}},
                                {PHOTOMETRIC_PALETTE, 1, -1, {1, 4, 8}},
                                {PHOTOMETRIC_SEPARATED, 4, -1, {8, 16}}};
  int cases = 0;
  for (const Kind& kind : kinds) {
    for (const int bits : kind.bits) {
      for (const int way : {0, 1, 2, 3}) {
        for (const int compression : {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS}) {
          const TiffSpec spec{.photometric = kind.photometric,
                              .bits = bits,
                              .samples = kind.samples,
                              .planar = way % 2 == 1,
                              .tiled = way >= 2,
                              .big_endian = compression == COMPRESSION_LZW,
                              .compression = compression,
                              .extra = kind.extra};
          SCOPED_TRACE(testing::Message() << "photometric " << kind.photometric << " samples " << kind.samples << " extra " << kind.extra
                                          << " bits " << bits << " planar " << spec.planar << " tiled " << spec.tiled << " compression "
                                          << compression);
          const Bytes file = make_tiff(spec);
          EXPECT_LE(largest_difference(decode_picture(file), tiff_pixels(spec)), kind.photometric == PHOTOMETRIC_SEPARATED ? 1 : 0);
          const PictureInfo info = probe_picture(file);
          EXPECT_EQ(std::tuple(info.format, info.height, info.width, info.bit_depth, info.has_alpha),
                    std::tuple(PictureFormat::tiff, tiff_height, tiff_width, bits, kind.extra > 0));
          ++cases;
        }
      }
    }
  }
  EXPECT_EQ(cases, 25 * 16);
}

TEST(Formats, TiffIsUprightAndNoRawFile) {
  const Image straight = decode_picture(make_tiff({}));
  EXPECT_EQ(decode_picture(make_tiff({.orientation = ORIENTATION_TOPRIGHT})), mirror(straight));
  EXPECT_EQ(decode_picture(make_tiff({.orientation = ORIENTATION_RIGHTTOP})).height, straight.width);
  EXPECT_NE(refusal(make_tiff({.subfile = FILETYPE_REDUCEDIMAGE})).find("camera raw"), std::string::npos);
  EXPECT_NE(refusal(make_tiff({.photometric = PHOTOMETRIC_CFA, .samples = 1})).find("is not read"), std::string::npos);
}

TEST(Formats, FaxIsBlackAndWhite) {
  const Image image = decode_picture(read_file(std::string(PASTICHE_TEST_DIR) + "/data/formats/fax.tif", 1 << 20));
  EXPECT_EQ(std::tuple(image.height, image.width, image.channels), std::tuple(24, 32, 1));
  int white = 0;  // of the lightest quarter, as Pillow shows it
  for (int y = 12; y < 24; ++y) white += static_cast<int>(std::count(&image.pixels[y * 32 + 16], &image.pixels[y * 32] + 32, 255));
  EXPECT_EQ(white, 172);
}

TEST(Formats, SpoiledJpegInTiffIsRefused) {
  Bytes file = read_file(std::string(PASTICHE_TEST_DIR) + "/data/formats/ycbcr.tif", 1 << 20);
  const std::size_t end = dirty::text_of(file).rfind("\xff\xd9");
  ASSERT_NE(end, std::string_view::npos);
  file[end - 20] = std::byte{0xff};
  file[end - 19] = std::byte{0xd9};
  EXPECT_NE(refusal(file).find("Corrupt JPEG data"), std::string::npos);
}

// Nothing is allocated for what a header claims beyond its picture.
TEST(Formats, TiffBombsAreRefused) {
  const auto changed = [](Bytes file, std::uint16_t tag, std::uint32_t value) {
    const Bytes wanted = little_endian(tag, 2);
    const auto read = [&](std::size_t at) {
      return std::to_integer<std::size_t>(file[at]) | std::to_integer<std::size_t>(file[at + 1]) << 8;
    };
    const std::size_t directory = read(4) | read(6) << 16;
    for (std::size_t entry = directory + 2; entry < directory + 2 + 12 * read(directory); entry += 12) {
      if (!std::equal(wanted.begin(), wanted.end(), file.begin() + static_cast<std::ptrdiff_t>(entry))) continue;
      const Bytes four = little_endian(value, 4), type = little_endian(4, 2);
      std::copy(type.begin(), type.end(), file.begin() + static_cast<std::ptrdiff_t>(entry) + 2);
      std::copy(four.begin(), four.end(), file.begin() + static_cast<std::ptrdiff_t>(entry) + 8);
      return file;
    }
    ADD_FAILURE() << "no tag " << tag;
    return file;
  };
  const auto start = std::chrono::steady_clock::now();
  const Bytes tiled = make_tiff({.tiled = true, .compression = COMPRESSION_ADOBE_DEFLATE}),
              strips = make_tiff({.compression = COMPRESSION_LZW});
  EXPECT_NE(refusal(changed(tiled, TIFFTAG_TILEWIDTH, 1 << 28)), "");
  EXPECT_NE(refusal(changed(tiled, TIFFTAG_TILELENGTH, 0xfffffff0u)), "");
  EXPECT_NE(refusal(changed(strips, TIFFTAG_IMAGEWIDTH, 1 << 24)), "");
  EXPECT_NE(refusal(changed(changed(strips, TIFFTAG_IMAGEWIDTH, 100'000), TIFFTAG_IMAGELENGTH, 100'000)).find("100000x100000"),
            std::string::npos);
  EXPECT_NE(refusal(changed(strips, TIFFTAG_SAMPLESPERPIXEL, 65535)), "");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}
#endif

}  // namespace
}  // namespace pastiche
