#pragma once
// Tensor cores: PTX's forms of what src/simt has.
#include "ptx/ptx.h"
#include "simt/warp.h"

namespace pastiche::ptx_runtime {

#ifdef PASTICHE_PTX_CHECKED
inline namespace checked {
#else
inline namespace plain {
#endif

using simt_runtime::begin_copy;
using simt_runtime::close_copies;
using simt_runtime::finish_copies;

template <int Count, bool Transposed> void load_matrices(const Thread& thread, u32* to, u32 row_address, const Place* place) {
  simt_runtime::load_matrices<Count, Transposed>(to, thread.shared + row_address, place);
}

enum class Element : u8 { bf16, f16, tf32 };

template <Element E, int K, class Sum, std::size_t A, std::size_t B, std::size_t C>
void multiply_matrices(const u32 (&a)[A], const u32 (&b)[B], Sum (&c)[C], bool swapped, const Place* place) {
  constexpr int packed = E == Element::tf32 ? 1 : 2;
  constexpr bool wide_sums = std::is_same_v<Sum, f32>;
  static_assert(A == 2 * B && B == K / (4 * packed) && C == (wide_sums ? 4 : 2));
  u32 left[A];
  for (std::size_t i = 0; i < A; ++i) left[i] = a[swapped ? i ^ 1 : i];
  const auto element = [](u32 word, u32 i) {
    if constexpr (E == Element::tf32) return f32_of(word & ~0x1fffu);
    const u16 value = static_cast<u16>(word >> 16 * i);
    return E == Element::bf16 ? f32_of_bf16(value) : f32_of_f16(value);
  };
  f32 sums[4];
  for (u32 i = 0; i < 4; ++i) {
    if constexpr (wide_sums) sums[i] = c[i];
    else sums[i] = f32_of_f16(static_cast<u16>(c[i / 2] >> 16 * (i % 2)));
  }
  simt_runtime::multiply_matrices<K, packed>(left, b, sums, element, place);
  for (u32 i = 0; i < 4; ++i) {
    if constexpr (wide_sums) c[i] = sums[i];
    else c[i / 2] = (c[i / 2] & ~(0xffffu << 16 * (i % 2))) | u32{f16_of(sums[i])} << 16 * (i % 2);
  }
}

}  // namespace checked or plain
}  // namespace pastiche::ptx_runtime
