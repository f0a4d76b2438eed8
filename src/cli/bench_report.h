#pragma once
// What the benchmarks' JSON says: as tables, and against another one.
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pastiche::cli {

// All repetitions of one benchmark.
struct Measurement {
  std::vector<double> seconds;
  std::map<std::string, double> counters;  // flop, bytes, calls, roofline_seconds, pictures
  std::string error;                       // why there are no seconds

  double median() const;
  double min() const;
  double spread() const;  // the median distance from the median
  double counter(const std::string& name) const;  // 0 where it is absent
};

struct BenchResults {
  std::vector<std::pair<std::string, std::string>> context;  // what the program says of devices, and the date
  std::vector<std::string> names;                            // "group/row/precision/device/caches", in the order of the file
  std::map<std::string, Measurement> rows;
};

inline constexpr std::size_t max_bench_bytes = std::size_t{1} << 28;

// Error(bad_file) for what is not the JSON of this program's benchmarks; `file` is named in it.
BenchResults parse_bench_json(std::string_view json, const std::string& file);

// Markdown: a table for each group, precision and device of ours, the vendor's beside it.
std::string bench_tables(const BenchResults& results);

struct Comparison {
  std::string text;  // a table and what is in one of them only
  int regressions = 0;
};
// A row has regressed where its median grew by more than `limit` (0.03: 3%) and by more than three times the spreads of both sides, or where
// it fails now and did not before. Error(bad_file) where they have no row in common.
Comparison compare_bench(const BenchResults& before, const BenchResults& after, double limit);

}  // namespace pastiche::cli
