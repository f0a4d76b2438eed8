#pragma once
// Kernels that use what the translator must know, one thing each; tests/test_ptx_isa.cpp says what must come out.
#include <cstdint>
#include <string>
#include <vector>

namespace pastiche::ptx_isa {

using u32 = std::uint32_t;
using u64 = std::uint64_t;
using f32 = float;

// y[i] = operation(a[i], b[i], c[i])
#define PTX_OPERATION(name, R, r, I, i, text, expected) \
  std::vector<R> name(const std::vector<I>& a, const std::vector<I>& b, const std::vector<I>& c);
#include "ptx_kernels/isa.def"
#undef PTX_OPERATION

// The kernel of that name, of one block, on x; `outputs` words that were zero before.
std::vector<u32> run(const std::string& name, const std::vector<u32>& x, std::size_t outputs);

}  // namespace pastiche::ptx_isa
