// Benchmarks' JSON from anywhere: refused in one line, or shown and compared with itself, which is no regression.
#include <cstdlib>
#include <string_view>

#include "cli/bench_report.h"
#include "pastiche/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  try {
    const cli::BenchResults results = cli::parse_bench_json({reinterpret_cast<const char*>(data), size}, "bench.json");
    if (cli::bench_tables(results).empty()) std::abort();
    if (cli::compare_bench(results, results, 0.03).regressions != 0) std::abort();
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_file || std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  return 0;
}
