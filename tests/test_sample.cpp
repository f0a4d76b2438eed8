// What of a long table is run for which commit.
#include <gtest/gtest.h>

#include <set>

#include "sample.h"

namespace pastiche {
namespace {

std::set<std::size_t> part(const std::string& hash, const std::string& table, std::size_t rows, std::size_t one_in) {
  std::set<std::size_t> taken;
  for (std::size_t i = 0; i < rows; ++i) {
    if (in_sample(hash, table, i, one_in)) taken.insert(i);
  }
  return taken;
}

TEST(Sample, IsOfAllPartsInTurn) {
  std::set<std::size_t> seen;
  std::set<std::set<std::size_t>> parts;
  for (int commit = 0; commit < 100; ++commit) {
    const std::set<std::size_t> taken = part(std::to_string(commit), "gemm", 22, 4);
    EXPECT_TRUE(taken.size() == 5 || taken.size() == 6) << taken.size();
    parts.insert(taken);
    seen.insert(taken.begin(), taken.end());
  }
  EXPECT_EQ(seen.size(), 22u);
  EXPECT_EQ(parts.size(), 4u);
}

TEST(Sample, IsTheSameForACommitAndAnotherForATable) {
  EXPECT_EQ(part("8a3f", "gemm", 100, 10), part("8a3f", "gemm", 100, 10));
  std::set<std::set<std::size_t>> parts;
  for (const char* table : {"gemm", "conv2d", "pad", "sum", "cast", "exp"}) parts.insert(part("8a3f", table, 100, 10));
  EXPECT_GT(parts.size(), 1u);
}

TEST(Sample, IsEverythingWhereNothingElseIsSaid) {
  for (const char* hash : {"", "all"}) EXPECT_EQ(part(hash, "gemm", 100, 10).size(), 100u);
  EXPECT_EQ(part("8a3f", "gemm", 100, 1).size(), 100u);
}

}  // namespace
}  // namespace pastiche
