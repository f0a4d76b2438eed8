// The main of every test program. Exit codes: 0 where something ran and all that ran passed; 1 where something failed, or nothing has the
// name that was asked for; 77 where nothing ran, as all of it was skipped.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "sample.h"

namespace pastiche {
namespace {

constexpr int skipped = 77;

struct {
  std::size_t taken = 0, rows = 0;
} counts;

bool is_part(std::string_view hash) { return !hash.empty() && hash != "all"; }

std::string_view hash_of_commit() {
  const char* hash = std::getenv("PASTICHE_SAMPLE");
  return hash == nullptr ? "" : hash;
}

}  // namespace

bool in_sample(std::string_view hash, std::string_view table, std::size_t i, std::size_t one_in) {
  if (!is_part(hash)) return true;
  std::uint64_t mixed = 0xcbf29ce484222325;  // FNV-1a
  for (const std::string_view text : {hash, table}) {
    for (const char c : text) mixed = (mixed ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return (i + (mixed >> 32)) % one_in == 0;
}

bool sampling() { return is_part(hash_of_commit()); }

bool in_sample(std::string_view table, std::size_t i, std::size_t one_in) {
  const bool taken = in_sample(hash_of_commit(), table, i, one_in);
  ++counts.rows;
  counts.taken += taken;
  return taken;
}

bool has_turn(std::size_t number, std::size_t of) { return in_sample(hash_of_commit(), "turns of long tests", number, of); }

std::size_t core_one_in() { return std::getenv("PASTICHE_SAMPLE_CORE") == nullptr ? 1 : 8; }

std::string sample_summary() {
  if (counts.taken == counts.rows) return "";
  return std::to_string(counts.taken) + " of " + std::to_string(counts.rows) + " rows";
}

}  // namespace pastiche

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const bool failed = RUN_ALL_TESTS() != 0;
  const std::string filter = GTEST_FLAG_GET(filter);
  if (const std::string sample = pastiche::sample_summary(); !sample.empty()) std::printf("SAMPLED %s: %s\n", filter.c_str(), sample.c_str());
  if (failed) return 1;
  if (GTEST_FLAG_GET(list_tests)) return 0;
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  if (all.test_to_run_count() == 0) {
    std::fprintf(stderr, "no test has the name of --gtest_filter=%s\n", filter.c_str());
    return 1;
  }
  return all.skipped_test_count() == all.test_to_run_count() ? pastiche::skipped : 0;
}
