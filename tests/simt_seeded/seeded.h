#pragma once
// Kernels with a bug in them, each with its twin that has none, and kernels whose use of memory is known by hand. They are
// compiled in the checked form; tests/test_simt_checked.cpp says what the checker must find.
#include <string>

namespace pastiche::simt_seeded {

// Runs the kernel of that name; empty, or why the launch failed.
std::string run(const std::string& name, bool with_bug);

void run_traffic(const std::string& name, int parameter = 0);

}  // namespace pastiche::simt_seeded
