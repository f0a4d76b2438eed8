#ifdef PASTICHE_HEIF
#include <libheif/heif.h>
#endif

#include <algorithm>

#include "codec.h"

namespace pastiche::codec {
namespace {

// By the brands of the box that begins the file. HEIF is what holds both, and says itself of which kind it is by others.
bool has_brand(Bytes file, std::span<const std::string_view> brands) {
  if (file.size() < 16 || !text_of(file.subspan(4)).starts_with("ftyp")) return false;
  const Bytes box = file.first(std::clamp<std::size_t>(big_endian(file, 4), 12, file.size()));
  for (std::size_t at = 8; at + 4 <= box.size(); at += 4) {
    if (at != 12 && std::ranges::find(brands, text_of(box.subspan(at, 4))) != brands.end()) return true;  // at 12 is a version
  }
  return false;
}

}  // namespace

bool is_avif(Bytes file) { return has_brand(file, std::array<std::string_view, 2>{"avif", "avis"}); }
bool is_heic(Bytes file) {
  return !is_avif(file) && has_brand(file, std::array<std::string_view, 8>{"heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"});
}

#ifdef PASTICHE_HEIF
namespace {

template <class T>
using Owner = std::unique_ptr<T, void (*)(T*)>;

struct Reader {
  const char* format;
  Owner<heif_context> context{heif_context_alloc(), heif_context_free};
  Owner<const heif_image_handle> handle{nullptr, heif_image_handle_release};
  int width, height, channels;

  explicit Reader(Bytes file) : format(is_avif(file) ? "AVIF" : "HEIC") {
    const bool avif = is_avif(file);
    if (!heif_have_decoder_for_format(avif ? heif_compression_AV1 : heif_compression_HEVC)) {
      bad_picture(fmt::format("libheif has nothing here that decodes {}; install {}", format,
                              avif ? "libheif-plugin-dav1d" : "libheif-plugin-libde265"));
    }
    heif_image_handle* primary = nullptr;
    check(heif_context_read_from_memory_without_copy(context.get(), file.data(), file.size(), nullptr));
    check(heif_context_get_primary_image_handle(context.get(), &primary));
    handle.reset(primary);
    width = heif_image_handle_get_width(primary);
    height = heif_image_handle_get_height(primary);
    channels = heif_image_handle_has_alpha_channel(primary) ? 4 : 3;
    if (width < 1 || height < 1) broken(format, fmt::format("size {}x{}", width, height));
    // What is coded within may claim to be larger than the file says.
    const int side = std::max({width, height, heif_image_handle_get_ispe_width(primary), heif_image_handle_get_ispe_height(primary)});
    heif_context_set_maximum_image_size_limit(context.get(), std::max(4096, side + 64));
  }

  void check(const heif_error& error) const {
    if (error.code == heif_error_Ok) return;
    const std::string_view reason = std::string_view(error.message).substr(0, std::string_view(error.message).find('\n'));
    if (error.code == heif_error_Unsupported_filetype || error.code == heif_error_Unsupported_feature ||
        error.code == heif_error_Decoder_plugin_error) {
      bad_picture(fmt::format("{} that libheif can't read ({}); make a PNG of it or remove it", format, printable(reason)));
    }
    broken(format, reason);
  }
};

}  // namespace

PictureInfo probe_heif(Bytes file) {
  const Reader reader(file);
  const bool alpha = reader.channels == 4;
  return {.mode = alpha ? ColorMode::rgba : ColorMode::rgb,
          .height = reader.height,
          .width = reader.width,
          .bit_depth = std::max(1, heif_image_handle_get_luma_bits_per_pixel(reader.handle.get())),
          .has_alpha = alpha,
          .animated = has_brand(file, std::array<std::string_view, 3>{"avis", "hevc", "msf1"})};
}

Image decode_heif(Bytes file) {
  const Reader reader(file);
  Image image{reader.height, reader.width, reader.channels, {}};
  const Owner<heif_decoding_options> options(heif_decoding_options_alloc(), heif_decoding_options_free);
  options->convert_hdr_to_8bit = 1;
  options->strict_decoding = 1;
  heif_image* decoded = nullptr;
  reader.check(heif_decode_image(reader.handle.get(), &decoded, heif_colorspace_RGB,
                                 image.channels == 4 ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, options.get()));
  const Owner<const heif_image> owner(decoded, heif_image_release);
  int stride = 0;
  const std::uint8_t* plane = heif_image_get_plane_readonly(decoded, heif_channel_interleaved, &stride);
  if (plane == nullptr || heif_image_get_width(decoded, heif_channel_interleaved) != image.width ||
      heif_image_get_height(decoded, heif_channel_interleaved) != image.height) {
    broken(reader.format, "its pixels are of another size than it says");
  }
  image.pixels.resize(std::size_t(image.height) * image.width * image.channels);
  const std::size_t row = std::size_t(image.width) * image.channels;
  for (int y = 0; y < image.height; ++y) std::copy_n(plane + std::size_t(y) * stride, row, image.pixels.data() + y * row);
  if (image.channels == 4 && heif_image_handle_is_premultiplied_alpha(reader.handle.get())) {
    for (std::size_t i = 0; i < image.pixels.size(); i += 4) {
      const int alpha = image.pixels[i + 3];
      for (std::size_t c = i; alpha > 0 && c < i + 3; ++c) {
        image.pixels[c] = static_cast<std::uint8_t>(std::min(255, (image.pixels[c] * 255 + alpha / 2) / alpha));
      }
    }
  }
  std::vector<std::byte> profile(heif_image_handle_get_raw_color_profile_size(reader.handle.get()));
  if (!profile.empty() && profile.size() <= max_profile_bytes) {
    reader.check(heif_image_handle_get_raw_color_profile(reader.handle.get(), profile.data()));
    to_srgb(profile, image);
  }
  return image;
}

#else
namespace {
[[noreturn]] void refuse(Bytes file) {
  not_built_in(is_avif(file) ? "AVIF" : "HEIC", "libheif-dev",
               is_avif(file) ? "heif-convert IN.avif OUT.png" : "heif-convert IN.heic OUT.png");
}
}  // namespace

PictureInfo probe_heif(Bytes file) { refuse(file); }
Image decode_heif(Bytes file) { refuse(file); }
#endif

}  // namespace pastiche::codec
