#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"

// What the codecs share. Nothing here is for programs that embed the engine.
namespace pastiche::codec {

using Bytes = std::span<const std::byte>;

inline std::uint32_t big_endian(Bytes bytes, int count) {
  std::uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | std::to_integer<std::uint32_t>(bytes[i]);
  return value;
}

inline std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

[[noreturn]] inline void bad_picture(const std::string& message) { throw Error(ExitCode::bad_file, message); }

[[noreturn]] inline void broken(std::string_view format, std::string_view reason) {
  bad_picture(fmt::format("broken {} ({}); make it anew or remove it", format, printable(reason)));
}

// What we do not read, and what makes a PNG of it.
[[noreturn]] inline void unread(std::string_view format, std::string_view command) {
  bad_picture(fmt::format("{} is not read; make a PNG of it, as by `{}`", format, command));
}

constexpr std::string_view raw_command = "darktable-cli IN OUT.png";

// Where the program was built without a library.
[[noreturn]] inline void not_built_in(std::string_view format, std::string_view package, std::string_view command) {
  bad_picture(fmt::format("{} is not built in; install {} and build again, or make a PNG of it, as by `{}`", format, package, command));
}

bool is_png(Bytes file);
bool is_jpeg(Bytes file);
bool is_gif(Bytes file);
bool is_webp(Bytes file);
bool is_tiff(Bytes file);
bool is_heic(Bytes file);
bool is_avif(Bytes file);
PictureInfo probe_png(Bytes file);
PictureInfo probe_jpeg(Bytes file);
PictureInfo probe_gif(Bytes file);
PictureInfo probe_webp(Bytes file);
PictureInfo probe_tiff(Bytes file);
PictureInfo probe_heif(Bytes file);  // HEIC and AVIF
// As stored, so before orientation, in the file's own number of channels, in sRGB.
Image decode_png(Bytes file);
Image decode_jpeg(Bytes file);
Image decode_gif(Bytes file);
Image decode_webp(Bytes file);
Image decode_tiff(Bytes file);
Image decode_heif(Bytes file);

constexpr std::size_t max_profile_bytes = 4 << 20;  // of an ICC profile; those of printing presses have up to 2 MB

// Ink to light. `inverted`: 255 - ink is stored, as by Adobe.
void cmyk_to_rgb(const std::uint8_t* from, std::uint8_t* to, int width, bool inverted);

// The way of pixels of 8 bits from an ICC profile to sRGB: gray stays gray, alpha is kept, and ink becomes RGB. False where the
// profile is broken, of other colours than the pixels, or sRGB itself. Lab, in which a and b have 128 for 0, needs no profile.
enum class ProfilePixels { gray, gray_alpha, rgb, rgba, cmyk, inverted_cmyk, lab };

class ToSrgb {
 public:
  ToSrgb(Bytes profile, ProfilePixels pixels);
  explicit operator bool() const { return transform_ != nullptr; }
  void operator()(const std::uint8_t* from, std::uint8_t* to, std::size_t pixels) const;  // may be in place, but for ink

 private:
  std::unique_ptr<void, void (*)(void*)> transform_;
};

// The same of a whole picture; an empty profile changes nothing.
void to_srgb(Bytes profile, Image& image);

// Orientation, 1 to 8, from the TIFF structure of an EXIF block; 1 where it is absent or broken.
int exif_orientation(Bytes tiff);

// Walks the chunks of a PNG by their lengths, without checking their CRCs.
struct PngChunk {
  std::string_view type;
  Bytes data;
};

class PngChunks {
 public:
  explicit PngChunks(Bytes file) : rest_(file.subspan(8)) {}
  // None at the end of the file and where the next chunk is cut.
  std::optional<PngChunk> next();
  Bytes rest() const { return rest_; }

 private:
  Bytes rest_;
};

// Throws Error(failed) unless the sizes of a picture that is to be written make sense.
void require_image(const Image& image);

}  // namespace pastiche::codec
