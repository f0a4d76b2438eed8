#include <png.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "codec.h"

namespace pastiche {
namespace codec {
namespace {

constexpr std::array<unsigned char, 8> signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

// libpng's state. It reports errors by longjmp, which must not cross a destructor, so everything lives here or in the
// caller, and only lambdas without such locals run in protect().
struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes rest;
  std::string error;

  explicit Reader(Bytes file) : rest(file) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  template <class Body>
  void protect(Body body) {
    if (!runs(body)) bad_picture("broken PNG (" + error + "); make it anew or remove it");
  }

 private:
  template <class Body>
  bool runs(Body& body) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    body();
    return true;
  }

  static void on_error(png_structp png, png_const_charp message) {
    static_cast<Reader*>(png_get_error_ptr(png))->error = message;
    png_longjmp(png, 1);
  }
};

void read_bytes(png_structp png, png_bytep out, std::size_t count) {
  Bytes& rest = static_cast<Reader*>(png_get_io_ptr(png))->rest;
  if (count > rest.size()) png_error(png, "the file is cut short");
  std::memcpy(out, rest.data(), count);
  rest = rest.subspan(count);
}

// Limits what chunks beside the pixels may cost, and drops all but tRNS and those in `kept` (five bytes a name):
// a few KB of iCCP or zTXt inflate to many MB.
void start(Reader& reader, std::span<const png_byte> kept) {
  png_set_read_fn(reader.png, &reader, read_bytes);
  png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // max_pixels has been checked
  png_set_chunk_malloc_max(reader.png, 1 << 20);
  png_set_chunk_cache_max(reader.png, 256);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  if (!kept.empty()) {
    png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_AS_DEFAULT, kept.data(),
                                static_cast<int>(kept.size() / 5));
  }
  png_read_info(reader.png, reader.info);
}

}  // namespace

std::optional<PngChunk> PngChunks::next() {
  if (rest_.size() < 12) return {};
  const std::uint32_t length = big_endian(rest_, 4);
  if (length > rest_.size() - 12) return {};
  const PngChunk chunk{text_of(rest_.subspan(4, 4)), rest_.subspan(8, length)};
  rest_ = rest_.subspan(12 + std::size_t{length});
  return chunk;
}

bool is_png(Bytes file) {
  return file.size() >= signature.size() && std::memcmp(file.data(), signature.data(), signature.size()) == 0;
}

PictureInfo probe_png(Bytes file) {
  PngChunks chunks(file);
  const auto header = chunks.next();
  if (!header || header->type != "IHDR" || header->data.size() != 13) bad_picture("broken PNG (no IHDR); remove it");
  PictureInfo info;
  const std::uint32_t width = big_endian(header->data, 4);
  const std::uint32_t height = big_endian(header->data.subspan(4), 4);
  if (width == 0 || height == 0 || width > PNG_UINT_31_MAX || height > PNG_UINT_31_MAX) {
    bad_picture(fmt::format("broken PNG (size {}x{}); remove it", width, height));
  }
  info.width = static_cast<int>(width);
  info.height = static_cast<int>(height);
  info.bit_depth = std::to_integer<int>(header->data[8]);
  switch (std::to_integer<int>(header->data[9])) {
    case PNG_COLOR_TYPE_GRAY: info.mode = ColorMode::gray; break;
    case PNG_COLOR_TYPE_RGB: info.mode = ColorMode::rgb; break;
    case PNG_COLOR_TYPE_PALETTE: info.mode = ColorMode::palette; break;
    case PNG_COLOR_TYPE_GRAY_ALPHA: info.mode = ColorMode::gray_alpha; break;
    case PNG_COLOR_TYPE_RGB_ALPHA: info.mode = ColorMode::rgba; break;
    default: bad_picture(fmt::format("broken PNG (colour type {}); remove it", std::to_integer<int>(header->data[9])));
  }
  info.has_alpha = info.mode == ColorMode::gray_alpha || info.mode == ColorMode::rgba;
  while (const auto chunk = chunks.next()) {
    if (chunk->type == "IDAT") break;
    if (chunk->type == "tRNS") info.has_alpha = true;
    if (chunk->type == "acTL") info.animated = true;
    if (chunk->type == "eXIf") info.orientation = exif_orientation(chunk->data);
  }
  return info;
}

// Of a PNG all that stands before the pixels, the text behind them, and then where the pixels begin: up to there libpng reads text. That
// behind the pixels, where ImageMagick puts it, it gives only to those who decode them. What is cut before the pixels stays so.
std::vector<std::byte> text_before_pixels(Bytes file) {
  std::vector<std::byte> head(file.begin(), file.begin() + signature.size());
  const auto append = [&](const std::byte* begin, const std::byte* end) { head.insert(head.end(), begin, end); };
  PngChunks chunks(file);
  std::optional<PngChunk> pixels;
  while (const auto chunk = chunks.next()) {
    const bool text = chunk->type == "tEXt" || chunk->type == "zTXt" || chunk->type == "iTXt";
    if (chunk->type == "IDAT") pixels = pixels ? pixels : chunk;
    else if (!pixels || text) append(chunk->data.data() - 8, chunk->data.data() + chunk->data.size() + 4);
  }
  if (pixels) append(pixels->data.data() - 8, pixels->data.data());
  else append(chunks.rest().data(), chunks.rest().data() + chunks.rest().size());
  return head;
}

Image decode_png(Bytes file) {
  Reader reader(file);
  Image image;
  std::vector<png_bytep> rows;
  png_uint_32 width = 0;
  png_uint_32 height = 0;
  std::size_t row_bytes = 0;
  png_bytep profile = nullptr;
  png_uint_32 profile_bytes = 0;
  reader.protect([&] {
    static constexpr png_byte kept[] = "iCCP";
    start(reader, kept);
    png_charp name = nullptr;
    int compression = 0;
    png_get_iCCP(reader.png, reader.info, &name, &compression, &profile, &profile_bytes);  // or it leaves them as they are
    width = png_get_image_width(reader.png, reader.info);
    height = png_get_image_height(reader.png, reader.info);
    row_bytes = png_get_rowbytes(reader.png, reader.info);
    png_set_expand(reader.png);
    png_set_scale_16(reader.png);
    png_set_interlace_handling(reader.png);
    png_read_update_info(reader.png, reader.info);
    image.channels = png_get_channels(reader.png, reader.info);
  });
  // Deflate shrinks by at most 1032, so a picture that claims more than that is cut. Said here, before it is allocated.
  if (row_bytes * height / 1040 > file.size()) {
    bad_picture(fmt::format("broken PNG (too little data for {}x{}); make it anew or remove it", width, height));
  }
  image.width = static_cast<int>(width);
  image.height = static_cast<int>(height);
  const std::size_t stride = std::size_t{width} * image.channels;
  image.pixels.resize(height * stride);
  rows.resize(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = image.pixels.data() + y * stride;
  // Which checks all of the pixels. What follows them harms none, and may be missing, as in what a camera left when its battery was empty.
  reader.protect([&] { png_read_image(reader.png, rows.data()); });
  to_srgb(std::as_bytes(std::span(profile, profile_bytes)), image);
  return image;
}

}  // namespace codec

PictureText read_png_text(std::span<const std::byte> file) {
  if (!codec::is_png(file)) codec::bad_picture("not a PNG; text is read from PNG only");
  const std::vector<std::byte> without_pixels = codec::text_before_pixels(file);
  codec::Reader reader(without_pixels);
  png_textp texts = nullptr;
  int count = 0;
  reader.protect([&] {
    static constexpr png_byte kept[] = "tEXt\0zTXt\0iTXt";
    png_set_benign_errors(reader.png, 0);  // or a chunk over the limit is only warned about, and read
    codec::start(reader, kept);
    png_get_text(reader.png, reader.info, &texts, &count);
  });
  PictureText result;
  for (const png_text& text : std::span(texts, static_cast<std::size_t>(count))) {
    const std::size_t length = text.compression >= PNG_ITXT_COMPRESSION_NONE ? text.itxt_length : text.text_length;
    result.emplace_back(text.key, std::string(text.text, length));
  }
  return result;
}

}  // namespace pastiche
