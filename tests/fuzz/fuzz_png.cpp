// What decodes has the size its header says and survives being written and read again. A mutation keeps CRCs right, or
// none would get past the first chunk.
#include <zlib.h>

#include <cstdlib>
#include <string_view>

#include "pastiche/error.h"
#include "pastiche/image.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 16 == 0) return size;  // wrong CRCs are worth a look too
  for (std::size_t at = 8; at + 12 <= size;) {
    const std::size_t length = std::size_t{data[at]} << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3];
    if (length > size - at - 12) break;
    const auto crc = static_cast<std::uint32_t>(crc32(0, data + at + 4, static_cast<uInt>(length + 4)));
    for (int i = 0; i < 4; ++i) data[at + 8 + length + i] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  constexpr std::int64_t max_pixels = 1 << 18;
  static constexpr int channels[] = {0, 1, 3, 4};
  const auto expected = [](const Error& error) {
    if (error.code() != ExitCode::bad_file || std::string_view(error.what()).find('\n') != std::string::npos)
      std::abort();
  };
  try {
    read_png_text(file);
  } catch (const Error& error) {
    expected(error);
  }
  try {
    const Image image = decode_picture(file, {.channels = channels[size % 4], .max_pixels = max_pixels});
    const PictureInfo info = probe_picture(file, max_pixels);
    if (image.height != info.height || image.width != info.width) std::abort();
    if (decode_picture(encode_png(image)) != image) std::abort();
  } catch (const Error& error) {
    expected(error);
  }
  return 0;
}
