#pragma once
// What a fuzz target of pictures asks of any file: what decodes has the size its header says, in the channels that were asked for, and what
// does not is a bad file, said in one line.
#include <cstdlib>
#include <string_view>

#include "pastiche/error.h"
#include "pastiche/image.h"

namespace pastiche {

inline void expect_decoded_or_refused(const std::uint8_t* data, std::size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  constexpr std::int64_t max_pixels = 1 << 16;
  static constexpr int channels[] = {0, 1, 3, 4};
  const int wanted = channels[size % 4];
  try {
    const Image image = decode_picture(file, {.channels = wanted, .max_pixels = max_pixels});
    const PictureInfo info = probe_picture(file, max_pixels);
    if (image.height != info.height || image.width != info.width) std::abort();
    if (image.channels != (wanted != 0 ? wanted : info.has_alpha ? 4 : info.is_gray() ? 1 : 3)) std::abort();
    if (image.pixels.size() != std::size_t(image.height) * image.width * image.channels) std::abort();
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_file || std::string_view(error.what()).find('\n') != std::string::npos) std::abort();
  }
}

}  // namespace pastiche
