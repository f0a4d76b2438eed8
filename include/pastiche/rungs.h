#pragma once
// The rungs of the ladder (ladder.h), apart from it so that a new one does not compile everything anew.
#include <iterator>

namespace pastiche {

struct Rung {
  const char* name;
  bool f32, tf32, bf16;
  int compute_capability;  // at least; 80: sm_80
};
// Of both ops. Where an op lacks one, or it does not support a shape, the one below is taken.
inline constexpr Rung rungs[] = {
    {"naive", true, false, false, 0},        {"shared tile", true, false, false, 0},  {"register tile", true, false, false, 0},
    {"vector loads", true, false, false, 0}, {"double buffer", true, false, true, 0}, {"tensor core", false, true, true, 80},
};
inline constexpr int top_rung = std::size(rungs) - 1;
inline constexpr int double_buffer_rung = top_rung - 1;  // what is below is in kernels/ladder/

}  // namespace pastiche
