#include "backends/reference/array.h"

#include <bit>
#include <cmath>

namespace pastiche::reference {
namespace {

double bf16_value(BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

BFloat16 to_bf16(double x) {
  const auto nearest = static_cast<float>(x);
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::isnan(x)) return {static_cast<std::uint16_t>(bits >> 16 | 0x40u)};  // quiet
  if (nearest != x) {  // towards zero, with the last bit for the rest, so that only the rounding below rounds
    if (std::abs(static_cast<double>(nearest)) > std::abs(x)) --bits;
    bits |= 1u;
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

template <class T> T to_integer(double x) { return static_cast<T>(std::nearbyint(x)); }

template <class T, class F> void read(Array& y, const Tensor& x, F value) {
  const T* data = x.data<T>();
  for (std::int64_t i = 0; i < y.size(); ++i) y[i] = value(data[i]);
}

template <class T, class F> void write(Tensor& y, const Array& x, F round) {
  T* data = y.mutable_data<T>();
  for (std::int64_t i = 0; i < x.size(); ++i) data[i] = round(x[i]);
}

}  // namespace

Array load(const Tensor& x) {
  Array y(x.shape());
  const auto as_is = [](auto v) { return static_cast<double>(v); };
  switch (x.dtype()) {
    case DType::f32: read<float>(y, x, as_is); break;
    case DType::f64: read<double>(y, x, as_is); break;
    case DType::bf16: read<BFloat16>(y, x, bf16_value); break;
    case DType::u8: read<std::uint8_t>(y, x, as_is); break;
    case DType::i32: read<std::int32_t>(y, x, as_is); break;
  }
  return y;
}

void store(Tensor& y, const Array& x) {
  switch (y.dtype()) {
    case DType::f32: write<float>(y, x, [](double v) { return static_cast<float>(v); }); break;
    case DType::f64: write<double>(y, x, [](double v) { return v; }); break;
    case DType::bf16: write<BFloat16>(y, x, to_bf16); break;
    case DType::u8: write<std::uint8_t>(y, x, to_integer<std::uint8_t>); break;
    case DType::i32: write<std::int32_t>(y, x, to_integer<std::int32_t>); break;
  }
}

}  // namespace pastiche::reference
