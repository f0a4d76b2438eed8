#include "dirty_folder.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>

namespace pastiche::dirty {
namespace {

namespace fs = std::filesystem;

int samples_of(int color) {
  return color == PNG_COLOR_TYPE_RGB          ? 3
         : color == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
         : color == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                              : 1;
}

// A pattern that differs between neighbours and channels.
int png_sample(const PngSpec& spec, int y, int x, int channel) {
  const int mask = (1 << spec.depth) - 1;
  return (spec.depth == 16 ? x * 4000 + y * 777 + channel * 13001 : x * 20 + y * 13 + channel * 50) & mask;
}

std::uint8_t palette_sample(int index, int channel) {
  return static_cast<std::uint8_t>(index * (37 + 54 * channel) + 5);
}
std::uint8_t palette_alpha(int index) { return static_cast<std::uint8_t>(index < 3 ? 100 * index : 255); }

Bytes zlib_compress(const Bytes& bytes) {
  uLongf size = compressBound(bytes.size());
  Bytes out(size);
  compress(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  out.resize(size);
  return out;
}

Bytes png_header(std::uint32_t width, std::uint32_t height, int depth, int color) {
  Bytes data = join({big_endian(width), big_endian(height)});
  for (const int value : {depth, color, 0, 0, 0}) data.push_back(std::byte(value));
  return join({bytes_of("\x89PNG\r\n\x1a\n"), png_chunk("IHDR", data)});
}

// A PNG of 8-bit gray, 4x4, whose compressed data holds `rows` bytes.
Bytes png_with_rows(std::size_t rows) {
  return join(
      {png_header(4, 4, 8, PNG_COLOR_TYPE_GRAY), png_chunk("IDAT", zlib_compress(Bytes(rows))), png_chunk("IEND", {})});
}

std::size_t position(const Bytes& bytes, std::string_view text) {
  const std::size_t at = text_of(bytes).find(text);
  if (at == std::string_view::npos) throw std::logic_error("the test's file lacks what it should have");
  return at;
}

Bytes changed(Bytes bytes, std::size_t at, int value) {
  bytes.at(at) = std::byte(value);
  return bytes;
}

Bytes cut(Bytes bytes, std::size_t size) {
  bytes.resize(size);
  return bytes;
}

Bytes little_endian(std::uint32_t value, int count) {
  Bytes bytes = big_endian(value, count);
  std::ranges::reverse(bytes);
  return bytes;
}

Bytes insert(Bytes bytes, std::size_t at, const Bytes& more) {
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), more.begin(), more.end());
  return bytes;
}

}  // namespace

Bytes bytes_of(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

std::string_view text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

Bytes big_endian(std::uint32_t value, int count) {
  Bytes out;
  for (int i = count - 1; i >= 0; --i) out.push_back(std::byte(value >> 8 * i & 0xff));
  return out;
}

Bytes join(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  Bytes out(deflateBound(&stream, bytes.size()));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// PKWARE's APPNOTE, 4.3.
Bytes make_zip(const std::vector<ZipEntry>& entries) {
  Bytes zip, directory;
  for (const ZipEntry& entry : entries) {
    Bytes packed = entry.deflated ? gzip(entry.bytes) : entry.bytes;
    if (entry.deflated) packed = Bytes(packed.begin() + 10, packed.end() - 8);  // without what makes it gzip
    const auto crc = static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(entry.bytes.data()), static_cast<uInt>(entry.bytes.size())));
    const int method = entry.method >= 0 ? entry.method : entry.deflated ? Z_DEFLATED : 0;
    const Bytes about = join({little_endian(20, 2), little_endian(entry.encrypted, 2), little_endian(method, 2), Bytes(4), little_endian(crc, 4),
                              little_endian(static_cast<std::uint32_t>(packed.size() + entry.more_packed), 4),
                              little_endian(static_cast<std::uint32_t>(entry.bytes.size() + entry.more_bytes), 4),
                              little_endian(static_cast<std::uint32_t>(entry.name.size()), 2), Bytes(2)});
    directory = join({directory, bytes_of("PK\1\2"), little_endian(3 << 8, 2), about, Bytes(6), little_endian((entry.link ? S_IFLNK : S_IFREG) << 16, 4),
                      little_endian(static_cast<std::uint32_t>(zip.size()), 4),
                      bytes_of(entry.name)});
    zip = join({zip, bytes_of("PK\3\4"), about, bytes_of(entry.name), packed});
  }
  const Bytes count = little_endian(static_cast<std::uint32_t>(entries.size()), 2);
  return join({zip, directory, bytes_of("PK\5\6"), Bytes(4), count, count, little_endian(static_cast<std::uint32_t>(directory.size()), 4),
               little_endian(static_cast<std::uint32_t>(zip.size()), 4), Bytes(2)});
}

Bytes zip_of(const fs::path& folder) {
  std::vector<ZipEntry> entries;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).native();
    if (fs::is_directory(entry)) {
      entries.push_back({.name = name + "/", .bytes = {}, .deflated = false});
    } else if (fs::is_regular_file(entry)) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string text(std::istreambuf_iterator<char>(file), {});
      entries.push_back({.name = name, .bytes = bytes_of(text), .deflated = entries.size() % 2 == 0});
    }
  }
  return make_zip(entries);
}

void write(const fs::path& path, const Bytes& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("can't write " + path.string());
}

Bytes png_chunk(std::string_view type, const Bytes& data) {
  const Bytes body = join({bytes_of(type), data});
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return join({big_endian(static_cast<std::uint32_t>(data.size())), body, big_endian(static_cast<std::uint32_t>(crc))});
}

Bytes claiming(Bytes png, std::uint32_t width, std::uint32_t height) {
  std::ranges::copy(join({big_endian(width), big_endian(height)}), png.begin() + 16);
  return png;
}

Bytes after_header(const Bytes& png, const Bytes& chunks) { return insert(png, 33, chunks); }

// No error handler: libpng would call abort(), which is what a test that makes nonsense deserves.
Bytes make_png(const PngSpec& spec) {
  Bytes out;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &out,
      [](png_structp writer, png_bytep data, std::size_t count) {
        auto& bytes = *static_cast<Bytes*>(png_get_io_ptr(writer));
        for (std::size_t i = 0; i < count; ++i) bytes.push_back(std::byte(data[i]));
      },
      [](png_structp) {});
  png_set_IHDR(png, info, spec.width, spec.height, spec.depth, spec.color,
               spec.adam7 ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  if (spec.color == PNG_COLOR_TYPE_PALETTE) {
    std::vector<png_color> palette;
    std::vector<png_byte> alpha;
    for (int i = 0; i < 1 << spec.depth; ++i) {
      palette.push_back({palette_sample(i, 0), palette_sample(i, 1), palette_sample(i, 2)});
      alpha.push_back(palette_alpha(i));
    }
    png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
    if (spec.transparent) png_set_tRNS(png, info, alpha.data(), static_cast<int>(alpha.size()), nullptr);
  } else if (spec.transparent) {
    png_color_16 color{};
    color.gray = color.red = static_cast<png_uint_16>(png_sample(spec, 1, 2, 0));
    color.green = static_cast<png_uint_16>(png_sample(spec, 1, 2, 1));
    color.blue = static_cast<png_uint_16>(png_sample(spec, 1, 2, 2));
    png_set_tRNS(png, info, nullptr, 0, &color);
  }
  png_write_info(png, info);
  png_set_packing(png);  // rows have a sample a byte, or two
  const int samples = samples_of(spec.color);
  const int sample_bytes = spec.depth == 16 ? 2 : 1;
  std::vector<png_byte> pixels;
  for (int y = 0; y < spec.height; ++y) {
    for (int i = 0; i < spec.width * samples; ++i) {
      const int value = png_sample(spec, y, i / samples, i % samples);
      if (sample_bytes == 2) pixels.push_back(static_cast<png_byte>(value >> 8));
      pixels.push_back(static_cast<png_byte>(value & 0xff));
    }
  }
  std::vector<png_bytep> rows;
  for (int y = 0; y < spec.height; ++y)
    rows.push_back(pixels.data() + std::ptrdiff_t{y} * spec.width * samples * sample_bytes);
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return out;
}

Image png_pixels(const PngSpec& spec) {
  Image image{spec.height, spec.width, 4, {}};
  const int samples = samples_of(spec.color);
  const int top = (1 << spec.depth) - 1;
  for (int y = 0; y < spec.height; ++y) {
    for (int x = 0; x < spec.width; ++x) {
      const auto sample = [&](int c) { return png_sample(spec, y, x, c); };
      const auto scaled = [&](int c) { return static_cast<std::uint8_t>((sample(c) * 255 + top / 2) / top); };
      std::array<std::uint8_t, 4> rgba{};
      for (int c = 0; c < 3; ++c) {
        rgba[c] = spec.color == PNG_COLOR_TYPE_PALETTE ? palette_sample(sample(0), c) : scaled(samples <= 2 ? 0 : c);
      }
      bool keyed = spec.transparent;
      for (int c = 0; c < samples; ++c) keyed = keyed && sample(c) == png_sample(spec, 1, 2, c);
      rgba[3] = samples % 2 == 0 ? scaled(samples - 1) : keyed ? 0 : 255;
      if (spec.color == PNG_COLOR_TYPE_PALETTE) rgba[3] = spec.transparent ? palette_alpha(sample(0)) : 255;
      image.pixels.insert(image.pixels.end(), rgba.begin(), rgba.end());
    }
  }
  return image;
}

Bytes exif(int orientation, bool little_endian) {
  const auto number = [&](std::uint32_t value, int count) {
    Bytes bytes = big_endian(value, count);
    if (little_endian) std::reverse(bytes.begin(), bytes.end());
    return bytes;
  };
  const auto entry = [&](int tag, int value) {
    return join({number(tag, 2), number(3, 2), number(1, 4), number(value, 2), number(0, 2)});
  };
  return join({bytes_of(little_endian ? "II" : "MM"), number(42, 2), number(8, 4), number(2, 2), entry(0x0100, 64),
               entry(0x0112, orientation), number(0, 4)});
}

Image jpeg_pixels(const JpegSpec& spec) {
  Image image{spec.height, spec.width, 3, {}};
  for (int y = 0; y < spec.height; ++y) {
    for (int x = 0; x < spec.width; ++x) {
      const int red = 255 * x / (spec.width - 1);
      const int green = 255 * y / (spec.height - 1);
      for (const int value :
           {red, spec.space == JCS_GRAYSCALE ? red : green, spec.space == JCS_GRAYSCALE ? red : 128}) {
        image.pixels.push_back(static_cast<std::uint8_t>(value));
      }
    }
  }
  return image;
}

Bytes make_jpeg(const JpegSpec& spec) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);  // calls exit()
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  const bool cmyk = spec.space == JCS_CMYK || spec.space == JCS_YCCK;
  const bool gray = spec.space == JCS_GRAYSCALE;
  jpeg.image_width = spec.width;
  jpeg.image_height = spec.height;
  jpeg.input_components = cmyk ? 4 : gray ? 1 : 3;
  jpeg.in_color_space = cmyk ? JCS_CMYK : gray ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_set_colorspace(&jpeg, spec.space);
  jpeg_set_quality(&jpeg, 98, TRUE);
  for (const int full : {0, 3}) {  // luma and black
    jpeg.comp_info[full].h_samp_factor = spec.sampling;
    jpeg.comp_info[full].v_samp_factor = 1;
  }
  jpeg.arith_code = spec.arithmetic;
  if (!spec.adobe) jpeg.write_Adobe_marker = FALSE;
  if (spec.progressive) jpeg_simple_progression(&jpeg);
  jpeg_scan_info scans[3]{};
  if (spec.repeated_scans > 0) {
    for (int i = 0; i < 3; ++i) scans[i] = {1, {i}, 0, 63, 0, 0};
    jpeg.scan_info = scans;
    jpeg.num_scans = 3;
  }
  jpeg_start_compress(&jpeg, TRUE);
  if (spec.orientation != 0) {
    const Bytes marker =
        join({bytes_of(std::string_view("Exif\0\0", 6)), exif(spec.orientation, spec.orientation % 2)});
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(marker.data()),
                      static_cast<unsigned>(marker.size()));
  }
  const Image image = jpeg_pixels(spec);
  for (int y = 0; y < spec.height; ++y) {
    std::vector<JSAMPLE> row;
    for (int x = 0; x < spec.width; ++x) {
      const std::uint8_t* rgb = image.pixels.data() + (y * spec.width + x) * 3;
      if (cmyk) {
        // Without black, ink is what light isn't; inverted, it's light.
        for (int c = 0; c < 3; ++c) row.push_back(spec.adobe ? rgb[c] : 255 - rgb[c]);
        row.push_back(spec.adobe ? 255 : 0);
      } else {
        row.insert(row.end(), rgb, rgb + (gray ? 1 : 3));
      }
    }
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&jpeg, &pointer, 1);
  }
  jpeg_finish_compress(&jpeg);
  const auto* begin = reinterpret_cast<const std::byte*>(memory);
  Bytes out(begin, begin + size);
  jpeg_destroy_compress(&jpeg);
  std::free(memory);
  if (spec.repeated_scans > 0) {
    const std::size_t scan = text_of(out).rfind("\xff\xda");
    const Bytes body(out.begin() + static_cast<std::ptrdiff_t>(scan), out.end() - 2);
    out.resize(out.size() - 2);
    for (int i = 0; i < spec.repeated_scans; ++i) out.insert(out.end(), body.begin(), body.end());
    out.push_back(std::byte{0xff});
    out.push_back(std::byte{0xd9});
  }
  return out;
}

std::vector<File> unusual_pictures() {
  const Bytes png = make_png({});
  const Bytes jpeg = make_jpeg({});
  static const Bytes bomb = zlib_compress(Bytes(std::size_t{100} << 20));
  std::vector<File> files{
      {"adam7.png", make_png({.adam7 = true})},
      {"palette1.png", make_png({.color = PNG_COLOR_TYPE_PALETTE, .depth = 1})},
      {"palette4-trns.png", make_png({.color = PNG_COLOR_TYPE_PALETTE, .depth = 4, .transparent = true})},
      {"gray-alpha.png", make_png({.color = PNG_COLOR_TYPE_GRAY_ALPHA})},
      {"rgba16.png", make_png({.color = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 16})},
      {"ancillary-crc.png", after_header(png, changed(png_chunk("tEXt", bytes_of("a")), 9, 'b'))},
      {"too-much-idat.png", png_with_rows(200)},
      {"bomb-iccp.png", after_header(png, png_chunk("iCCP", join({bytes_of(std::string_view("p\0\0", 3)), bomb})))},
      {"bomb-ztxt.png", after_header(png, png_chunk("zTXt", join({bytes_of(std::string_view("k\0\0", 3)), bomb})))},
      {"trailing.png", join({png, Bytes(1000)})},
      {"palette-index.png", join({png_header(4, 4, 8, PNG_COLOR_TYPE_PALETTE), png_chunk("PLTE", Bytes(6)),
                                  png_chunk("IDAT", zlib_compress(Bytes(20, std::byte{0}))), png_chunk("IEND", {})})},
      {"jpeg-named.png", jpeg},
      {"png-named.jpg", png},
      {"png-without-extension", png},
      {"progressive.jpg", make_jpeg({.progressive = true})},
      {"arithmetic.jpg", make_jpeg({.arithmetic = true})},
      {"gray.JPG", make_jpeg({.space = JCS_GRAYSCALE})},
      {"cmyk.jpeg", make_jpeg({.space = JCS_CMYK})},
      {"ycck.jpg", make_jpeg({.space = JCS_YCCK})},
      {"411.jpg", make_jpeg({.sampling = 4})},
      {"rotated.jpg", make_jpeg({.orientation = 6})},
      {"garbage-between-markers.jpg", insert(jpeg, 20, Bytes(7, std::byte{0x42}))},
      {"no-eoi.jpg", cut(jpeg, jpeg.size() - 2)},
      {"no-iend.png", cut(png, png.size() - 12)},
      {"cut-iend.png", cut(png, png.size() - 3)},
      {"padded.jpg", join({jpeg, Bytes(500)})},
  };
  return files;
}

std::vector<File> broken_pictures() {
  const Bytes png = make_png({.width = 40, .height = 40});
  const Bytes palette = make_png({.color = PNG_COLOR_TYPE_PALETTE});
  const Bytes jpeg = make_jpeg({.width = 80, .height = 60});
  const Bytes progressive = make_jpeg({.progressive = true, .width = 80, .height = 60});
  const std::size_t idat = position(png, "IDAT");
  const std::size_t plte = position(palette, "PLTE") - 4;
  const std::size_t frame = position(jpeg, "\xff\xc0");
  std::vector<File> files{
      {"empty.png", {}},
      {"one-byte.png", Bytes(1)},
      {"signature-only.png", cut(png, 8)},
      {"cut-in-ihdr.png", cut(png, 20)},
      {"ihdr-only.png", cut(png, 33)},
      {"crc-ihdr.png", changed(png, 29, std::to_integer<int>(png[29]) ^ 1)},
      {"crc-idat.png", changed(png, png.size() - 13, std::to_integer<int>(png[png.size() - 13]) ^ 1)},
      {"zlib-error.png",
       join({png_header(4, 4, 8, 0), png_chunk("IDAT", Bytes(20, std::byte{0x55})), png_chunk("IEND", {})})},
      {"too-little-idat.png", png_with_rows(7)},
      {"no-idat.png", join({png_header(4, 4, 8, 0), png_chunk("IEND", {})})},
      {"0x0.png", join({png_header(0, 0, 8, 2), png_chunk("IDAT", zlib_compress({})), png_chunk("IEND", {})})},
      {"65535x65535.png",
       join({png_header(65535, 65535, 8, 6), png_chunk("IDAT", zlib_compress(Bytes(1000))), png_chunk("IEND", {})})},
      {"7000x7000-claimed.png",
       join({png_header(7000, 7000, 8, 6), png_chunk("IDAT", zlib_compress(Bytes(1000))), png_chunk("IEND", {})})},
      {"2g-side.png", join({png_header(0x80000000u, 1, 8, 6), png_chunk("IEND", {})})},
      {"depth-3.png",
       join({png_header(4, 4, 3, 0), png_chunk("IDAT", zlib_compress(Bytes(20))), png_chunk("IEND", {})})},
      {"rgb-depth-4.png",
       join({png_header(4, 4, 4, 2), png_chunk("IDAT", zlib_compress(Bytes(60))), png_chunk("IEND", {})})},
      {"color-type-5.png",
       join({png_header(4, 4, 8, 5), png_chunk("IDAT", zlib_compress(Bytes(60))), png_chunk("IEND", {})})},
      {"missing-plte.png",
       join(
           {cut(palette, plte), Bytes(palette.begin() + static_cast<std::ptrdiff_t>(plte) + 12 + 768, palette.end())})},
      {"chunk-length.png", changed(png, idat - 4, 0x7f)},
      {"text.png", bytes_of("this is not a picture\n")},
      {"gif.gif", bytes_of("GIF89a\1\0\1\0")},
      {"webp.webp", bytes_of("RIFF1234WEBPVP8 ")},
      {"bmp.png", bytes_of("BM123456789012345")},
      {"soi-only.jpg", cut(jpeg, 2)},
      {"cut-in-header.jpg", cut(jpeg, frame + 6)},
      {"header-only.jpg", cut(jpeg, position(jpeg, "\xff\xda"))},
      {"cut-progressive-no-eoi.jpg", cut(progressive, progressive.size() - 2)},
      {"12-bit.jpg", changed(jpeg, frame + 4, 12)},
      {"lossless.jpg", changed(jpeg, frame + 1, 0xc3)},
      {"0x0.jpg", changed(changed(changed(changed(jpeg, frame + 5, 0), frame + 6, 0), frame + 7, 0), frame + 8, 0)},
      {"65500x65500.jpg",
       changed(changed(changed(changed(jpeg, frame + 5, 0xff), frame + 6, 0xdc), frame + 7, 0xff), frame + 8, 0xdc)},
      {"500-scans.jpg", make_jpeg({.repeated_scans = 500})},
      {"components-200.jpg", changed(jpeg, frame + 9, 200)},
      {"no-quantization.jpg", changed(jpeg, position(jpeg, "\xff\xdb") + 1, 0xe9)},
  };
  for (int eighth = 1; eighth < 8; ++eighth) {
    files.push_back({"cut-" + std::to_string(eighth) + ".png", cut(png, png.size() * eighth / 8)});
    files.push_back({"cut-" + std::to_string(eighth) + ".jpg", cut(jpeg, jpeg.size() * eighth / 8)});
    files.push_back(
        {"cut-" + std::to_string(eighth) + "-progressive.jpg", cut(progressive, progressive.size() * eighth / 8)});
  }
  return files;
}

Image noise(int height, int width, int channels, unsigned seed) {
  Image image{height, width, channels, {}};
  image.pixels.resize(std::size_t(height) * width * channels);
  for (auto& value : image.pixels) value = static_cast<std::uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return image;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "pastiche-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("can't make " + pattern);
  path_ = pattern;
}

Folder make_folder(const fs::path& root) {
  Folder folder;
  fs::create_directories(root / "sub" / "a.png");  // a folder named like a picture
  const auto good = [&](const std::string& name, const Bytes& bytes) {
    write(root / name, bytes);
    folder.good.push_back(name);
  };
  for (int i = 0; i < 70; ++i) good("plain" + std::to_string(i) + ".png", make_png({.width = 8 + i, .height = 9}));
  for (const File& file : unusual_pictures()) good(file.name, file.bytes);
  good("sub/a.png/inside.png", make_png({}));
  good("new\nline.png", make_png({}));
  good("\xc3\xa4\xe2\x82\xac.png", make_png({}));
  good("invalid-\xff\xfe.png", make_png({}));
  good(std::string(251, 'n') + ".png", make_png({}));
  std::string deep = "deep";
  for (int i = 0; i < 30; ++i) deep += "/d";
  fs::create_directories(root / deep);
  good(deep + "/x.png", make_png({}));

  fs::create_symlink("plain0.png", root / "link.png");
  folder.good.push_back("link.png");
  std::erase(folder.good, "plain0.png");  // the same, which counts under its first name
  fs::create_directory_symlink(".", root / "loop");
  fs::create_directory_symlink("..", root / "sub" / "loop-up");
  fs::create_symlink("self.png", root / "self.png");
  fs::create_symlink("nowhere", root / "dangling.png");
  ::mkfifo((root / "b.png").c_str(), 0666);
  ::mkfifo((root / "fifo-without-extension").c_str(), 0666);
  folder.bad.insert(folder.bad.end(), {"self.png", "dangling.png", "b.png"});
  for (const File& file : broken_pictures()) {
    write(root / file.name, file.bytes);
    folder.bad.push_back(file.name);
  }
  if (::geteuid() != 0) {  // root may read anything
    write(root / "mode-000.png", make_png({}));
    fs::permissions(root / "mode-000.png", fs::perms::none);
    folder.bad.push_back("mode-000.png");
  }
  for (const char* name : {".DS_Store", ".hidden.png", "Thumbs.db", "desktop.ini", "README.txt", "labels.csv"}) {
    write(root / name, bytes_of("not for training"));
  }
  std::sort(folder.good.begin(), folder.good.end());
  std::sort(folder.bad.begin(), folder.bad.end());
  return folder;
}

}  // namespace pastiche::dirty
