#pragma once
#include <filesystem>

namespace pastiche::bench {

struct RetuneOptions {
  std::filesystem::path sources = ".";
  int threads = 0;  // 0: one a core
  int repetitions;
};

// Measures each way to compute a convolution against the others on this processor, prints the times' ratios, and writes into
// conv_rules.h from how many channels on each is the fastest. Error(bad_file) where that file is not in `sources`.
void retune(const RetuneOptions& options);

}  // namespace pastiche::bench
