// Every seeded bug is found, where it is, and its twin is clean; and what the counters say is what can be counted by hand.
#include <gtest/gtest.h>

#include <algorithm>

#include "simt/checked/checker.h"
#include "simt_seeded/seeded.h"

namespace {

using namespace pastiche::simt_runtime;
using pastiche::simt_seeded::run;
using pastiche::simt_seeded::run_traffic;

struct Seeded {
  const char* name;
  Fault fault;
  const char* text;   // of the report
  bool ends_launch;
};

void PrintTo(const Seeded& s, std::ostream* os) { *os << s.name; }

class SimtSeeded : public ::testing::TestWithParam<Seeded> {
 protected:
  void SetUp() override { clear_reports(); }
  void TearDown() override { clear_reports(); }
};

std::string all_texts() {
  std::string all;
  for (const Report& r : reports()) all += r.text + "\n";
  return all;
}

TEST_P(SimtSeeded, BugIsFound) {
  const Seeded& s = GetParam();
  const std::string why = run(s.name, true);
  EXPECT_EQ(why.empty(), !s.ends_launch) << why;
  const std::vector<Report> found = reports();
  const auto report = std::find_if(found.begin(), found.end(), [&](const Report& r) { return r.fault == s.fault; });
  ASSERT_NE(report, found.end()) << all_texts();
  EXPECT_NE(report->text.find(s.text), std::string::npos) << report->text;
  EXPECT_NE(report->text.find("bugs.cu:"), std::string::npos) << report->text;
  EXPECT_NE(report->kernel.find("_kernel<true>"), std::string::npos) << report->kernel;
  EXPECT_GE(report_count(), report->count);
}

TEST_P(SimtSeeded, TwinIsClean) {
  EXPECT_EQ(run(GetParam().name, false), "");
  EXPECT_TRUE(reports().empty()) << all_texts();
  EXPECT_EQ(report_count(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Bugs, SimtSeeded,
    ::testing::Values(
        Seeded{"barrier", Fault::shared_race, "of the shared tile (1024 bytes): thread (", false},
        Seeded{"second_barrier", Fault::shared_race, "thread (255,0,0) touched it at", false},
        Seeded{"warp_barrier", Fault::shared_race, "touched it at", false},
        Seeded{"async_wait", Fault::shared_race, "reads 4 bytes from byte", false},
        Seeded{"async_barrier", Fault::shared_race, "with no order between the two", false},
        Seeded{"async_reuse", Fault::shared_race, "with no order between the two", false},
        Seeded{"unwritten_shared", Fault::unwritten_shared, "thread (0,0,0) at", false},
        Seeded{"static_overrun", Fault::shared_overrun, "thread (255,0,0) at", true},
        Seeded{"dynamic_overrun", Fault::shared_overrun, "byte 1024 of the dynamic shared memory (1024 bytes)", true},
        Seeded{"guard", Fault::out_of_bounds, "block (3,0,0), thread (232,0,0) at", true},
        Seeded{"stride", Fault::block_race, "block (1,0,0), thread (0,0,0) at", false},
        Seeded{"count", Fault::block_race, "of block (0,0,0) touched it at", false},
        Seeded{"scratch", Fault::race, "with no order between the two", false},
        Seeded{"vector", Fault::misaligned, "reads 16 bytes from byte 4 of", true},
        Seeded{"released", Fault::use_after_free, "which was released", true},
        Seeded{"host", Fault::host_memory, "a GPU has no such memory", false},
        Seeded{"unwritten", Fault::unwritten, "nobody wrote it", false},
        Seeded{"divergent", Fault::divergent_barrier, "different calls of __syncthreads", false},
        Seeded{"early_exit", Fault::stuck, "thread (200,0,0) and 55 more: left the kernel", true},
        Seeded{"absent_lane", Fault::stuck, "0xffffffff", true},
        Seeded{"caller_mask", Fault::stuck, "the mask does not hold the calling lane (0x0000ffff)", true}),
    [](const auto& test) { return std::string(test.param.name); });

// ---- fragments -------------------------------------------------------------------------------------------------------

class SimtFragments : public ::testing::TestWithParam<std::string> {};

// Block i multiplies an A whose only element other than 0 is a 1, its i-th, with a B that has all values: a row of the result is a
// row of B, and all others are zero.
TEST_P(SimtFragments, OneHot) {
  clear_reports();
  const bool tf32 = GetParam() == "tf32";
  const int depth = tf32 ? 8 : 16, columns = tf32 ? 8 : 16;
  const std::vector<float> y = pastiche::simt_seeded::run_fragments(GetParam());
  ASSERT_EQ(y.size(), static_cast<std::size_t>(16 * depth * 16 * columns));
  for (int hot = 0; hot < 16 * depth; ++hot) {
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < columns; ++n) {
        const float expected = m == hot / depth ? static_cast<float>(hot % depth * columns + n + 1) : 0;
        ASSERT_EQ(y[static_cast<std::size_t>((hot * 16 + m) * columns + n)], expected)
            << "A(" << hot / depth << "," << hot % depth << "), result (" << m << "," << n << ")";
      }
    }
  }
  EXPECT_EQ(report_count(), 0) << all_texts();
}

INSTANTIATE_TEST_SUITE_P(All, SimtFragments, ::testing::Values("along along", "along across", "across along", "across across", "tf32"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

// ---- counters --------------------------------------------------------------------------------------------------------

class SimtCounters : public ::testing::Test {
 protected:
  void SetUp() override {
    clear_counters();
    clear_reports();
  }
  void TearDown() override { EXPECT_TRUE(reports().empty()) << all_texts(); }

  static Counters only() {
    const std::vector<Counters> all = counters();
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? Counters{} : all.front();
  }
};

TEST_F(SimtCounters, ColumnsOfATileConflict) {
  run_traffic("column", 32);
  const Counters c = only();
  EXPECT_EQ(c.kernel, "column_kernel<32>");
  EXPECT_EQ(c.shared_requests, 32 + 1);
  EXPECT_EQ(c.wavefronts, 32 + 32);  // rows of one each, and a column in one bank
  EXPECT_EQ(c.ideal_wavefronts, 32 + 1);
  EXPECT_EQ(c.global_requests, 32 + 1);
  EXPECT_EQ(c.sectors, 4 * (32 + 1));
  EXPECT_EQ(c.ideal_sectors, c.sectors);
}

TEST_F(SimtCounters, PaddedColumnsDoNot) {
  run_traffic("column", 33);
  const Counters c = only();
  EXPECT_EQ(c.wavefronts, 32 + 1);
  EXPECT_EQ(c.ideal_wavefronts, 32 + 1);
}

TEST_F(SimtCounters, StridesTakeSectors) {
  const auto sectors = [](int stride) {
    clear_counters();
    run_traffic("strided", stride);
    EXPECT_EQ(only().ideal_sectors, stride == 0 ? 1 + 4 : 4 + 4);
    return only().sectors - 4;  // without the store
  };
  EXPECT_EQ(sectors(0), 1);
  EXPECT_EQ(sectors(1), 4);
  EXPECT_EQ(sectors(2), 8);
  EXPECT_EQ(sectors(8), 32);
  EXPECT_EQ(sectors(32), 32);
}

TEST_F(SimtCounters, VectorsAreOneRequest) {
  run_traffic("vector");
  const Counters c = only();
  EXPECT_EQ(c.global_requests, 2);
  EXPECT_EQ(c.sectors, 32);
  EXPECT_EQ(c.shared_requests, 2);
  EXPECT_EQ(c.wavefronts, 8);
  EXPECT_EQ(c.ideal_wavefronts, 8);
}

TEST_F(SimtCounters, LanesOnOtherPathsAreOtherRequests) {
  run_traffic("paths");
  const Counters c = only();
  EXPECT_EQ(c.global_requests, 2 + 1 + 1);  // two turns, the other path, the store
  EXPECT_EQ(c.sectors, 2 + 1 + 2 + 4);
  EXPECT_EQ(c.ideal_sectors, c.sectors);
}

TEST_F(SimtCounters, ByLine) {
  run_traffic("column", 32);
  const std::vector<Counters> lines = counters_by_line();
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(), [](const Counters& c) {
    return c.line.starts_with("traffic.cu:") && c.shared_requests == 1 && c.wavefronts == 32;
  }));
}

}  // namespace
