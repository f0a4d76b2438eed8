#include "train/pictures.h"

#include <algorithm>

#include "ops/check.h"

namespace pastiche {

Tensor to_tensor(Backend& backend, std::span<const Image> pictures) {
  require(!pictures.empty(), "to_tensor", "no pictures, expected at least 1");
  const Image& first = pictures.front();
  const Shape shape{static_cast<std::int64_t>(pictures.size()), first.height, first.width, first.channels};
  std::vector<std::uint8_t> pixels;
  pixels.reserve(static_cast<std::size_t>(shape.elements()));
  for (const Image& picture : pictures) {
    require(picture.height == first.height && picture.width == first.width && picture.channels == first.channels, "to_tensor",
            "pictures of {}x{}x{} and {}x{}x{}, expected one shape", first.height, first.width, first.channels, picture.height, picture.width,
            picture.channels);
    pixels.insert(pixels.end(), picture.pixels.begin(), picture.pixels.end());
  }
  Tensor bytes = Tensor::empty(backend, shape, DType::u8), x = Tensor::empty(backend, shape);
  bytes.copy_from_host(pixels.data());
  backend.dequantize(x, bytes);
  return x;
}

std::vector<Image> to_pictures(const Tensor& y) {
  const Shape& shape = y.shape();
  Tensor bytes = Tensor::empty(y.backend(), shape, DType::u8);
  y.backend().quantize(bytes, y);
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(shape.elements()));
  bytes.copy_to_host(pixels.data());
  const std::ptrdiff_t each = shape.elements() / shape[0];
  std::vector<Image> pictures;
  for (auto at = pixels.begin(); at != pixels.end(); at += each) {
    pictures.push_back({static_cast<int>(shape[1]), static_cast<int>(shape[2]), static_cast<int>(shape[3]), {at, at + each}});
  }
  return pictures;
}

}  // namespace pastiche
