#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <new>

#include <fmt/format.h>

#include "codec.h"

namespace pastiche {
namespace codec {
namespace {

struct Writer {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<std::byte> bytes;
  std::string error;

  Writer() {
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png != nullptr) info = png_create_info_struct(png);
    if (info == nullptr) {
      png_destroy_write_struct(&png, nullptr);
      throw std::bad_alloc();
    }
    png_set_write_fn(png, this, on_bytes, [](png_structp) {});
  }
  ~Writer() { png_destroy_write_struct(&png, &info); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // See Reader::protect.
  template <class Body>
  void protect(Body body) {
    if (!runs(body)) throw Error(ExitCode::failed, "can't encode a PNG: " + error);
  }

 private:
  template <class Body>
  bool runs(Body& body) {
    if (setjmp(png_jmpbuf(png)) != 0) return false;
    body();
    return true;
  }

  static void on_error(png_structp png, png_const_charp message) {
    static_cast<Writer*>(png_get_error_ptr(png))->error = message;
    png_longjmp(png, 1);
  }

  static void on_bytes(png_structp png, png_bytep data, std::size_t count) {
    std::vector<std::byte>& bytes = static_cast<Writer*>(png_get_io_ptr(png))->bytes;
    bool stored = true;
    try {
      const auto* begin = reinterpret_cast<const std::byte*>(data);
      bytes.insert(bytes.end(), begin, begin + count);
    } catch (const std::bad_alloc&) {  // must not fly through C code
      stored = false;
    }
    if (!stored) png_error(png, "out of memory");
  }
};

int color_type(int channels) {
  return channels == 1 ? PNG_COLOR_TYPE_GRAY : channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_RGB_ALPHA;
}

void append(std::vector<std::byte>& out, std::uint32_t value, int count) {
  for (int shift = 8 * (count - 1); shift >= 0; shift -= 8) out.push_back(std::byte(value >> shift & 0xff));
}

void append_chunk(std::vector<std::byte>& out, std::string_view type, Bytes data) {
  append(out, static_cast<std::uint32_t>(data.size()), 4);
  const std::size_t begin = out.size();
  for (const char letter : type) out.push_back(std::byte(letter));
  out.insert(out.end(), data.begin(), data.end());
  const auto* covered = reinterpret_cast<const Bytef*>(out.data() + begin);
  append(out, static_cast<std::uint32_t>(crc32_z(0, covered, out.size() - begin)), 4);
}

}  // namespace

void require_image(const Image& image) {
  const bool channels = image.channels == 1 || image.channels == 3 || image.channels == 4;
  if (!channels || image.height < 1 || image.width < 1 ||
      image.pixels.size() != std::size_t(image.height) * image.width * image.channels) {
    throw Error(ExitCode::failed,
                fmt::format("a picture of {}x{}x{} with {} bytes, expected 1, 3 or 4 channels and their product",
                            image.height, image.width, image.channels, image.pixels.size()));
  }
}

}  // namespace codec

std::vector<std::byte> encode_png(const Image& image, const PictureText& text) {
  codec::require_image(image);
  std::vector<png_text> chunks;
  for (const auto& [key, value] : text) {
    const auto printable = [](char c) { return c >= ' ' && c <= '~'; };
    if (key.empty() || key.size() > 79 || !std::all_of(key.begin(), key.end(), printable)) {
      throw Error(ExitCode::failed, "a PNG text keyword of " + std::to_string(key.size()) +
                                        " bytes, expected 1 to 79 printable ASCII characters");
    }
    const bool ascii = std::all_of(value.begin(), value.end(), [](char c) { return static_cast<signed char>(c) >= 0; });
    png_text chunk{};
    chunk.compression = ascii ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    chunk.key = const_cast<png_charp>(key.c_str());  // libpng copies both
    chunk.text = const_cast<png_charp>(value.c_str());
    (ascii ? chunk.text_length : chunk.itxt_length) = value.size();
    chunks.push_back(chunk);
  }
  std::vector<png_bytep> rows(static_cast<std::size_t>(image.height));
  const std::size_t stride = std::size_t(image.width) * image.channels;
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = const_cast<png_bytep>(image.pixels.data() + y * stride);
  codec::Writer writer;
  writer.protect([&] {
    png_set_user_limits(writer.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(writer.png, writer.info, image.width, image.height, 8, codec::color_type(image.channels),
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (!chunks.empty()) png_set_text(writer.png, writer.info, chunks.data(), static_cast<int>(chunks.size()));
    png_set_compression_level(writer.png, 6);
    png_write_info(writer.png, writer.info);
    png_write_image(writer.png, rows.data());
    png_write_end(writer.png, nullptr);
  });
  return std::move(writer.bytes);
}

// https://wiki.mozilla.org/APNG_Specification: every frame is a PNG whose IDAT chunks, but for the first frame's,
// become fdAT chunks.
std::vector<std::byte> encode_apng(std::span<const Image> frames, int delay_ms) {
  if (frames.empty() || delay_ms < 1 || delay_ms > 65535) {
    throw Error(ExitCode::usage,
                fmt::format("an animation of {} frames of {} ms, expected at least one frame and 1 to 65535 ms",
                            frames.size(), delay_ms));
  }
  std::vector<std::byte> out;
  std::uint32_t sequence = 0;
  for (const Image& frame : frames) {
    if (frame.height != frames[0].height || frame.width != frames[0].width || frame.channels != frames[0].channels) {
      throw Error(ExitCode::usage, "an animation of pictures that differ in shape; give all frames one shape");
    }
    const std::vector<std::byte> png = encode_png(frame);
    const bool first = out.empty();
    codec::PngChunks chunks(png);
    const auto header = chunks.next();
    if (first) {
      out.assign(png.begin(), png.begin() + 8);
      codec::append_chunk(out, header->type, header->data);
      std::vector<std::byte> control;
      codec::append(control, static_cast<std::uint32_t>(frames.size()), 4);
      codec::append(control, 0, 4);  // repeats for ever
      codec::append_chunk(out, "acTL", control);
    }
    std::vector<std::byte> control;
    codec::append(control, sequence++, 4);
    codec::append(control, static_cast<std::uint32_t>(frame.width), 4);
    codec::append(control, static_cast<std::uint32_t>(frame.height), 4);
    codec::append(control, 0, 4);  // at the top left
    codec::append(control, 0, 4);
    codec::append(control, static_cast<std::uint32_t>(delay_ms), 2);
    codec::append(control, 1000, 2);
    codec::append(control, 0, 2);  // drawn over nothing, left in place
    codec::append_chunk(out, "fcTL", control);
    while (const auto chunk = chunks.next()) {
      if (chunk->type != "IDAT") continue;
      if (first) {
        codec::append_chunk(out, "IDAT", chunk->data);
      } else {
        std::vector<std::byte> data;
        codec::append(data, sequence++, 4);
        data.insert(data.end(), chunk->data.begin(), chunk->data.end());
        codec::append_chunk(out, "fdAT", data);
      }
    }
  }
  codec::append_chunk(out, "IEND", {});
  return out;
}

}  // namespace pastiche
