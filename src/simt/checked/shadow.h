#pragma once
// For every byte who wrote and who read it last, and whether an access now is in order with them.
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace pastiche::simt_runtime {

// The time of an access. Epochs count the barriers of all blocks that ran, one after the other, so an epoch also tells block and
// launch; within an epoch, lanes of a warp count their __syncwarp.
struct Moment {
  static constexpr std::uint32_t going_on = UINT32_MAX;  // the epoch of what has not ended: in order with nothing
  std::uint32_t epoch = 0;  // 0: never
  std::uint32_t clock = 0;
  std::uint32_t site = 0;   // address in the program's image
  std::uint16_t thread = 0;
  std::uint16_t atomic = 0;  // a flag; as wide as this, a copy is two words
};

struct Cell {
  Moment write;
  Moment read;            // the latest
  std::uint32_t readers;  // lanes of its warp whose reads are not in order with each other
  bool many_warps;        // so did other warps in that epoch
  bool many_blocks;       // so did other blocks in that launch
};

// Cells are zero, and take memory, when they are used.
struct FreeCells {
  void operator()(Cell* cells) const { std::free(cells); }
};
using Cells = std::unique_ptr<Cell[], FreeCells>;
inline Cells make_cells(std::size_t count) { return Cells(static_cast<Cell*>(std::calloc(count, sizeof(Cell)))); }

class Clocks {
 public:
  void launch_begins() { launch_ = ++epoch_; }
  void block_begins() { block_ = ++epoch_; }
  void barrier() { ++epoch_; }
  void warp_barrier(unsigned warp, unsigned lanes);

  Moment now(unsigned thread, std::uint32_t site, bool atomic) const;
  bool this_block(const Moment& m) const { return m.epoch >= block_; }
  std::uint32_t launch() const { return launch_; }
  std::uint32_t block() const { return block_; }

  // Notes an access; returns an earlier one that is not in order with it, if any (else epoch is 0). What was before `since` is in
  // order: for global memory the launch, for shared memory the block.
  Moment read(Cell&, const Moment& now, std::uint32_t since) const;
  Moment write(Cell&, const Moment& now, std::uint32_t since) const;

 private:
  struct Warp {
    std::uint32_t epoch = 0;
    std::array<std::array<std::uint32_t, 32>, 32> seen;  // [lane][other]: what lane knows of the clock of other
  };
  bool in_order(const Moment& before, unsigned lanes, const Moment& now, std::uint32_t since) const;

  std::uint32_t epoch_ = 0, launch_ = 0, block_ = 0;
  std::array<Warp, 32> warps_;
};

inline Moment Clocks::now(unsigned thread, std::uint32_t site, bool atomic) const {
  const Warp& w = warps_[thread / 32];
  const std::uint32_t clock = w.epoch == epoch_ ? w.seen[thread % 32][thread % 32] : 1;
  return {epoch_, clock, site, static_cast<std::uint16_t>(thread), static_cast<std::uint16_t>(atomic)};
}

// Are the accesses of those lanes of before's warp, at or before its clock, in order with one now?
inline bool Clocks::in_order(const Moment& before, unsigned lanes, const Moment& now, std::uint32_t since) const {
  if (before.epoch < since || (this_block(before) && before.epoch < now.epoch)) return true;
  if (before.epoch != now.epoch || before.thread / 32 != now.thread / 32) return false;
  lanes &= ~(1u << now.thread % 32);
  const Warp& w = warps_[now.thread / 32];
  for (; lanes != 0; lanes &= lanes - 1) {
    if (w.epoch != now.epoch || w.seen[now.thread % 32][std::countr_zero(lanes)] < before.clock) return false;
  }
  return true;
}

inline Moment Clocks::read(Cell& cell, const Moment& now, std::uint32_t since) const {
  if (cell.read.epoch < since) cell.many_blocks = false;
  if (cell.read.epoch != now.epoch || in_order(cell.read, cell.readers, now, since)) {
    cell.many_blocks |= cell.read.epoch >= since && !this_block(cell.read);
    cell.many_warps = cell.many_warps && cell.read.epoch == now.epoch;
    cell.readers = 0;
  } else {
    cell.many_warps |= cell.read.thread / 32 != now.thread / 32;
  }
  cell.readers |= 1u << now.thread % 32;
  cell.read = now;
  return in_order(cell.write, 1u << cell.write.thread % 32, now, since) ? Moment{} : cell.write;
}

inline Moment Clocks::write(Cell& cell, const Moment& now, std::uint32_t since) const {
  Moment conflict;
  const bool other_readers = (cell.many_blocks && cell.read.epoch >= since) || (cell.many_warps && cell.read.epoch == now.epoch);
  if (other_readers || !in_order(cell.read, cell.readers, now, since)) conflict = cell.read;
  const bool both_atomic = now.atomic != 0 && cell.write.atomic != 0;
  const bool ends = cell.write.epoch == Moment::going_on && cell.write.thread == now.thread;
  if (!both_atomic && !ends && !in_order(cell.write, 1u << cell.write.thread % 32, now, since)) conflict = cell.write;
  cell.write = now;
  return conflict;
}

}  // namespace pastiche::simt_runtime
