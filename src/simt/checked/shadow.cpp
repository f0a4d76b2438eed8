#include "simt/checked/shadow.h"

#include <algorithm>
#include <bit>

namespace pastiche::simt_runtime {

void Clocks::warp_barrier(unsigned warp, unsigned lanes) {
  Warp& w = warps_[warp];
  if (w.epoch != epoch_) {
    w.epoch = epoch_;
    for (unsigned lane = 0; lane < 32; ++lane) {
      w.seen[lane].fill(0);
      w.seen[lane][lane] = 1;
    }
  }
  std::array<std::uint32_t, 32> all{};
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const auto& of_lane = w.seen[std::countr_zero(rest)];
    std::transform(all.begin(), all.end(), of_lane.begin(), all.begin(), [](auto a, auto b) { return std::max(a, b); });
  }
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    w.seen[lane] = all;
    ++w.seen[lane][lane];
  }
}

}  // namespace pastiche::simt_runtime
