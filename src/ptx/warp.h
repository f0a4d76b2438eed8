#pragma once
// What the lanes of a warp do together: matrices in registers and shared memory; and copies that go on while a thread does.
#include <vector>

#include "ptx/ptx.h"

namespace pastiche::ptx_runtime {

// Room for what the lanes of a warp show one another: 32 bytes each, twice in turn (runtime.cpp).
std::byte* exchange_room(u32 warp, u32 turn);

#ifdef PASTICHE_PTX_CHECKED
inline namespace checked {
#else
inline namespace plain {
#endif

class Exchange {
 public:
  // What each of the 32 lanes gave, until the next but one call: a lane that makes that call knows that all have made the next.
  template <class T> const T* operator()(const T& mine, const Place* place) {
    static_assert(sizeof(T) <= 32);
    const u32 lane = laneid();
    auto* const all = reinterpret_cast<T*>(exchange_room(simt_runtime::running_thread() / 32, turn_ ^= 1));
    all[lane] = mine;
    meet(Wait::shuffle, ~0u, 0, lane, place);
    return all;
  }

 private:
  u32 turn_ = 0;
};

// Lane 8 i + r says where row r of matrix i stands, 16 bytes; lane 4 r + c gets elements 2 c and 2 c + 1 of row r, or, transposed, of
// column r. Each lane reads four bytes: the warp as a whole reads the rows.
template <int Count, bool Transposed> void load_matrices(const Thread& thread, u32* to, u32 row_address, Exchange& exchange, const Place* place) {
  const u32 lane = laneid();
  const u32* const rows = exchange(row_address, place);
  for (int i = 0; i < Count; ++i) {
    const auto row = [&](u32 r) { return thread.shared + rows[8 * i + r]; };
    const u8* const own = row(lane / 4);
    if (address(own) % 16 != 0) watch(own, 16, Access::read, place);
    watch(own + 4 * (lane % 4), 4, Access::read, place);
    if constexpr (Transposed) {
      const u32 column = 2 * (lane / 4);
      to[i] = get<u16>(row(2 * (lane % 4)) + column) | u32{get<u16>(row(2 * (lane % 4) + 1) + column)} << 16;
    } else {
      to[i] = get<u32>(own + 4 * (lane % 4));
    }
  }
}

enum class Element : u8 { bf16, f16, tf32 };

// c += A B: 16 x 8 sums of K products each. The layout of the fragments is that of the PTX ISA, "Matrix Fragments for mma.m16n8k16" and
// its neighbours. Products are exact; their sum is rounded once, where tensor cores cut off digits on the way.
template <Element E, int K, class Sum, std::size_t A, std::size_t B, std::size_t C>
void multiply_matrices(const u32 (&a)[A], const u32 (&b)[B], Sum (&c)[C], bool swapped, Exchange& exchange, const Place* place) {
  constexpr int packed = E == Element::tf32 ? 1 : 2, half = 4 * packed;  // k of four lanes
  static_assert(A == 2 * B && B == K / half && C == (sizeof(Sum) == 4 && std::is_same_v<Sum, f32> ? 4 : 2));
  struct Fragments {
    u32 a[A], b[B];
  } mine;
  for (std::size_t i = 0; i < A; ++i) mine.a[i] = a[swapped ? i ^ 1 : i];
  for (std::size_t i = 0; i < B; ++i) mine.b[i] = b[i];
  const Fragments* const all = exchange(mine, place);
  const auto element = [](u32 word, int k) {
    if constexpr (E == Element::tf32) return f32_of(word & ~0x1fffu);
    const u16 value = static_cast<u16>(word >> 16 * (k % 2));
    return E == Element::bf16 ? f32_of_bf16(value) : f32_of_f16(value);
  };
  const u32 group = laneid() / 4, within = laneid() % 4;
  for (u32 i = 0; i < 4; ++i) {  // rows group and group + 8, columns 2 within and 2 within + 1
    const u32 row = i / 2, column = 2 * within + i % 2;
    f32 before;
    if constexpr (std::is_same_v<Sum, f32>) before = c[i];
    else before = f32_of_f16(static_cast<u16>(c[row] >> 16 * (i % 2)));
    f64 sum = before;
    for (int k = 0; k < K; ++k) {
      const u32 lane = k % half / packed;
      sum += f64{element(all[4 * group + lane].a[row + 2 * (k / half)], k)} * element(all[4 * column + lane].b[k / half], k);
    }
    if constexpr (std::is_same_v<Sum, f32>) c[i] = static_cast<f32>(sum);
    else c[row] = (c[row] & ~(0xffffu << 16 * (i % 2))) | u32{f16_of(static_cast<f32>(sum))} << 16 * (i % 2);
  }
}

// cp.async: a copy is made only where the thread waits for it, and until then its destination is full of NaN.
class Copies {
 public:
  void add(u8* to, const u8* from, u32 bytes, u32 bytes_of_source, const Place* place) {
    std::memset(to, 0xff, bytes);
    copies_.push_back({to, from, bytes, bytes_of_source, groups_, place});
  }
  void commit() { ++groups_; }
  // For all groups but the latest `others`; everything: what belongs to none, too.
  void wait(u32 others, bool everything) {
    if (everything) commit();
    std::size_t done = 0;
    for (; done < copies_.size() && copies_[done].group + others < groups_; ++done) {
      const Copy& copy = copies_[done];
      if (address(copy.from) % copy.bytes != 0) watch(copy.from, copy.bytes, Access::read, copy.place);  // which is a fault
      if (copy.bytes_of_source > 0) watch(copy.from, copy.bytes_of_source, Access::unaligned_read, copy.place);
      watch(copy.to, copy.bytes, Access::write, copy.place);
      std::memcpy(copy.to, copy.from, copy.bytes_of_source);
      std::memset(copy.to + copy.bytes_of_source, 0, copy.bytes - copy.bytes_of_source);
    }
    copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(done));
  }

 private:
  struct Copy {
    u8* to;
    const u8* from;
    u32 bytes, bytes_of_source, group;
    const Place* place;
  };
  std::vector<Copy> copies_;
  u32 groups_ = 0;  // closed so far
};

}  // namespace checked or plain
}  // namespace pastiche::ptx_runtime
