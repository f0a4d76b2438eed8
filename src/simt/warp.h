#pragma once
// What the lanes of a warp do together beyond shuffles, and copies that go on while a thread does: ldmatrix, mma and cp.async, for
// kernels/mma.cuh and for kernels translated from PTX (src/ptx).
#include <cstdint>
#include <cstring>

#include "simt/launch.h"

namespace pastiche::simt_runtime {

// What each of the 32 lanes gave, of `bytes` each (at most 32), until the next but one call: a lane that makes that call knows that
// all have made the next.
const void* show_lanes(const void* mine, std::size_t bytes, const void* site);

// The thread begins to copy: up to the wait, `to` is full of NaN, and nobody else may touch it. Of the `bytes` only the first
// bytes_of_source come from memory, the others are zeros.
void begin_copy(void* to, const void* from, unsigned bytes, unsigned bytes_of_source, const void* site);
void close_copies();                 // those begun so far are a group
void finish_copies(unsigned others);  // of all groups but the latest `others`

// Lane 8 i + r says where row r of matrix i stands, 16 bytes; lane 4 r + c gets elements 2 c and 2 c + 1 of row r, or, transposed, of
// column r. Each lane reads four bytes: the warp as a whole reads the rows.
template <int Count, bool Transposed> void load_matrices(std::uint32_t* to, const void* own_row, const void* site) {
  const auto lane = static_cast<unsigned>(lane_index());
  const auto* const rows = static_cast<const std::byte* const*>(show_lanes(&own_row, sizeof own_row, site));
  for (unsigned i = 0; i < Count; ++i) {
    const auto row = [&](unsigned r) { return rows[8 * i + r]; };
    const std::byte* const own = row(lane / 4);
    if (reinterpret_cast<std::uintptr_t>(own) % 16 != 0) report_access(own, 16, Access::read, site);  // which is a fault
    report_access(own + 4 * (lane % 4), 4, Access::read, site);
    if constexpr (Transposed) {
      std::uint16_t pair[2];
      for (unsigned k = 0; k < 2; ++k) std::memcpy(&pair[k], row(2 * (lane % 4) + k) + 2 * (lane / 4), 2);
      std::memcpy(&to[i], pair, 4);
    } else {
      std::memcpy(&to[i], own + 4 * (lane % 4), 4);
    }
  }
}

// sums += A B, 16 x 8 sums of K products each, of which this lane has four: rows lane / 4 and 8 more, columns 2 (lane % 4) and the next.
// The layout of the fragments is that of the PTX ISA, "Matrix Fragments for mma.m16n8k16" and its neighbours; element(word, i) is the
// i-th of the Packed elements of a word. Products are exact; their sum is rounded once, where tensor cores cut off digits on the way.
template <int K, int Packed, class Decode>
void multiply_matrices(const std::uint32_t (&a)[K / (2 * Packed)], const std::uint32_t (&b)[K / (4 * Packed)], float (&sums)[4], Decode element,
                       const void* site) {
  struct Fragments {
    std::uint32_t a[K / (2 * Packed)], b[K / (4 * Packed)];
  } mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const auto* const all = static_cast<const Fragments*>(show_lanes(&mine, sizeof mine, site));
  const auto lane = static_cast<unsigned>(lane_index()), group = lane / 4, within = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = i / 2, column = 2 * within + i % 2;
    double sum = sums[i];
    for (unsigned k = 0; k < K; ++k) {
      const unsigned half = k / (4 * Packed), from = k % (4 * Packed) / Packed;  // of the K, and the lane that has it
      sum += double{element(all[4 * group + from].a[row + 2 * half], k % Packed)} * element(all[4 * column + from].b[half], k % Packed);
    }
    sums[i] = static_cast<float>(sum);
  }
}

}  // namespace pastiche::simt_runtime
