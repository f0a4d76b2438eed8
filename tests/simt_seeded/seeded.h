#pragma once
// Kernels with a bug in them, each with its twin that has none, and kernels whose use of memory is known by hand. They are
// compiled in the checked form; tests/test_simt_checked.cpp says what the checker must find.
#include <string>
#include <vector>

namespace pastiche::simt_seeded {

// Runs the kernel of that name; empty, or why the launch failed.
std::string run(const std::string& name, bool with_bug);

void run_traffic(const std::string& name, int parameter = 0);

// The products of a one-hot A [16,K] at each of its places and B = 1, 2, 3, ... [K,N], by the functions of kernels/mma.cuh. "X Y" in bf16, K
// and N 16: A lies along k or across it in shared memory, and so does B; or "tf32", K and N 8. [16 K,16,N]
std::vector<float> run_fragments(const std::string& name);

}  // namespace pastiche::simt_seeded
