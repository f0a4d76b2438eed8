#include <csetjmp>
#include <cstdio>
#include <cstdlib>

// libjpeg's headers need FILE and size_t beforehand.
#include <jpeglib.h>

#include <jerror.h>

#include <fmt/format.h>

#include "codec.h"

namespace pastiche {
namespace codec {
namespace {

constexpr int max_scans = 100;  // a real progressive JPEG has about 10; hundreds of empty ones cost seconds each file

// libjpeg's state; see Reader in png.cpp for why it looks like this.
struct Reader {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  bool end_is_error = false;
  std::array<char, JMSG_LENGTH_MAX> error{};

  explicit Reader(Bytes file) {
    jpeg.err = jpeg_std_error(&errors);
    jpeg.client_data = this;
    errors.error_exit = on_error;
    errors.emit_message = on_message;
    protect([&] {
      jpeg_create_decompress(&jpeg);
      progress.progress_monitor = on_progress;
      jpeg.progress = &progress;
      jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(file.data()), file.size());
    });
  }
  ~Reader() { jpeg_destroy_decompress(&jpeg); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  template <class Body>
  void protect(Body body) {
    if (!runs(body)) bad_picture(fmt::format("broken JPEG ({}); make it anew or remove it", error.data()));
  }

 private:
  template <class Body>
  bool runs(Body& body) {
    if (setjmp(jump) != 0) return false;
    body();
    return true;
  }

  static Reader& of(j_common_ptr jpeg) { return *static_cast<Reader*>(jpeg->client_data); }

  static void on_error(j_common_ptr jpeg) {
    jpeg->err->format_message(jpeg, of(jpeg).error.data());
    std::longjmp(of(jpeg).jump, 1);
  }

  // libjpeg goes on after corrupt data and paints gray; such a picture is refused. What harms no pixel is let pass.
  static void on_message(j_common_ptr jpeg, int level) {
    if (level >= 0) return;
    switch (jpeg->err->msg_code) {
      case JWRN_EXTRANEOUS_DATA:  // cameras pad
      case JWRN_ADOBE_XFORM:
      case JWRN_BOGUS_ICC:
      case JWRN_JFIF_MAJOR: return;
      // Without EOI every pixel may still be there: a baseline file that lacks some says JWRN_HIT_MARKER as well.
      case JWRN_JPEG_EOF:
        if (!of(jpeg).end_is_error) return;
        break;
      default: break;
    }
    on_error(jpeg);
  }

  static void on_progress(j_common_ptr jpeg) {
    if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= max_scans) return;
    fmt::format_to_n(of(jpeg).error.data(), of(jpeg).error.size() - 1, "more than {} scans", max_scans);
    std::longjmp(of(jpeg).jump, 1);
  }
};

// The same of a JPEG that is written.
struct Writer {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  std::jmp_buf jump;
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  std::array<char, JMSG_LENGTH_MAX> error{};

  Writer() {
    jpeg.err = jpeg_std_error(&errors);
    jpeg.client_data = this;
    errors.error_exit = on_error;
    protect([&] {
      jpeg_create_compress(&jpeg);
      jpeg_mem_dest(&jpeg, &bytes, &size);
    });
  }
  ~Writer() {
    jpeg_destroy_compress(&jpeg);
    std::free(bytes);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  template <class Body>
  void protect(Body body) {
    if (!runs(body)) throw Error(ExitCode::failed, fmt::format("can't encode a JPEG: {}", error.data()));
  }

 private:
  template <class Body>
  bool runs(Body& body) {
    if (setjmp(jump) != 0) return false;
    body();
    return true;
  }

  static void on_error(j_common_ptr jpeg) {
    auto& writer = *static_cast<Writer*>(jpeg->client_data);
    jpeg->err->format_message(jpeg, writer.error.data());
    std::longjmp(writer.jump, 1);
  }
};

bool is_start_of_frame(int marker) {
  return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

}  // namespace

void cmyk_to_rgb(const std::uint8_t* from, std::uint8_t* to, int width, bool inverted) {
  for (int x = 0; x < width; ++x, from += 4, to += 3) {
    const int flip = inverted ? 0 : 255;
    for (int c = 0; c < 3; ++c) to[c] = static_cast<std::uint8_t>(((from[c] ^ flip) * (from[3] ^ flip) + 127) / 255);
  }
}

bool is_jpeg(Bytes file) { return file.size() >= 3 && big_endian(file, 3) == 0xffd8ff; }

PictureInfo probe_jpeg(Bytes file) {
  PictureInfo info;
  bool exif_seen = false;
  Bytes rest = file.subspan(2);
  while (rest.size() >= 2) {
    // Garbage and padding between markers are skipped, as libjpeg does.
    const int marker = std::to_integer<int>(rest[1]);
    if (rest[0] != std::byte{0xff} || marker == 0 || marker == 0xff) {
      rest = rest.subspan(1);
      continue;
    }
    rest = rest.subspan(2);
    if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;  // no body
    if (marker == 0xd9 || marker == 0xda || rest.size() < 2) break;
    const std::size_t length = big_endian(rest, 2);
    if (length < 2 || length > rest.size()) break;
    const Bytes body = rest.subspan(2, length - 2);
    rest = rest.subspan(length);
    if (marker == 0xe1 && !exif_seen && text_of(body).starts_with(std::string_view("Exif\0\0", 6))) {
      info.orientation = exif_orientation(body.subspan(6));
      exif_seen = true;
    }
    if (!is_start_of_frame(marker) || body.size() < 6) continue;
    info.bit_depth = std::to_integer<int>(body[0]);
    info.height = static_cast<int>(big_endian(body.subspan(1), 2));
    info.width = static_cast<int>(big_endian(body.subspan(3), 2));
    const int components = std::to_integer<int>(body[5]);
    info.mode = components == 1 ? ColorMode::gray : components == 4 ? ColorMode::cmyk : ColorMode::rgb;
    if (info.height == 0 || info.width == 0) {
      bad_picture(fmt::format("broken JPEG (size {}x{}); remove it", info.width, info.height));
    }
    if (exif_seen) break;
  }
  if (info.height == 0) bad_picture("broken JPEG (it ends before its size is told); make it anew or remove it");
  return info;
}

Image decode_jpeg(Bytes file) {
  Reader reader(file);
  jpeg_decompress_struct& jpeg = reader.jpeg;
  Image image;
  std::vector<std::uint8_t> inks;
  JOCTET* profile = nullptr;
  unsigned profile_bytes = 0;
  reader.protect([&] {
    jpeg_save_markers(&jpeg, JPEG_APP0 + 2, 0xffff);
    jpeg_read_header(&jpeg, TRUE);
    reader.end_is_error = jpeg_has_multiple_scans(&jpeg) || jpeg.arith_code;
    jpeg.out_color_space = jpeg.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE
                           : jpeg.num_components == 4             ? JCS_CMYK
                                                                  : JCS_RGB;
    jpeg_start_decompress(&jpeg);
    if (!jpeg_read_icc_profile(&jpeg, &profile, &profile_bytes) || profile_bytes > max_profile_bytes) profile_bytes = 0;
  });
  const std::unique_ptr<JOCTET, decltype(&std::free)> owner(profile, std::free);
  const Bytes icc = std::as_bytes(std::span(profile, profile_bytes));
  image.height = static_cast<int>(jpeg.output_height);
  image.width = static_cast<int>(jpeg.output_width);
  image.channels = jpeg.out_color_space == JCS_GRAYSCALE ? 1 : 3;
  const bool cmyk = jpeg.out_color_space == JCS_CMYK;
  const std::size_t stride = std::size_t(image.width) * image.channels;
  image.pixels.resize(stride * image.height);
  if (cmyk) inks.resize(std::size_t(image.width) * 4);
  const ToSrgb ink_to_srgb(cmyk ? icc : Bytes{}, jpeg.saw_Adobe_marker ? ProfilePixels::inverted_cmyk : ProfilePixels::cmyk);
  reader.protect([&] {
    while (jpeg.output_scanline < jpeg.output_height) {
      std::uint8_t* row = image.pixels.data() + jpeg.output_scanline * stride;
      JSAMPROW target = inks.empty() ? row : inks.data();
      jpeg_read_scanlines(&jpeg, &target, 1);
      if (ink_to_srgb) ink_to_srgb(inks.data(), row, static_cast<std::size_t>(image.width));
      else if (cmyk) cmyk_to_rgb(inks.data(), row, image.width, jpeg.saw_Adobe_marker);
    }
    jpeg_finish_decompress(&jpeg);
  });
  if (!cmyk) to_srgb(icc, image);
  return image;
}

}  // namespace codec

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  codec::require_image(image);
  if (image.channels == 4) return encode_jpeg(convert(image, 3), quality);
  codec::Writer writer;
  jpeg_compress_struct& jpeg = writer.jpeg;
  writer.protect([&] {
    jpeg.image_width = static_cast<JDIMENSION>(image.width);
    jpeg.image_height = static_cast<JDIMENSION>(image.height);
    jpeg.input_components = image.channels;
    jpeg.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;  // chroma is not subsampled
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
      auto* row = const_cast<JSAMPROW>(image.pixels.data() + std::size_t{jpeg.next_scanline} * image.width * image.channels);
      jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
  });
  const codec::Bytes bytes = std::as_bytes(std::span(writer.bytes, writer.size));
  return {bytes.begin(), bytes.end()};
}

}  // namespace pastiche
