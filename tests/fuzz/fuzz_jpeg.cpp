// What decodes has the size that our own reading of the markers found, in the channels that were asked for.
#include <cstdlib>
#include <string_view>

#include "pastiche/error.h"
#include "pastiche/image.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  constexpr std::int64_t max_pixels = 1 << 16;
  static constexpr int channels[] = {0, 1, 3, 4};
  const int wanted = channels[size % 4];
  try {
    const Image image = decode_picture(file, {.channels = wanted, .max_pixels = max_pixels});
    const PictureInfo info = probe_picture(file, max_pixels);
    if (image.height != info.height || image.width != info.width) std::abort();
    if (wanted != 0 && image.channels != wanted) std::abort();
    if (image.pixels.size() != std::size_t(image.height) * image.width * image.channels) std::abort();
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_file || std::string_view(error.what()).find('\n') != std::string::npos)
      std::abort();
  }
  return 0;
}
