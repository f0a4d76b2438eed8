// Streams of random numbers: no two uses share one, and none stands anywhere but in streams.h.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "pastiche/streams.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

const fs::path root = fs::path(PASTICHE_TEST_DIR) / "..";

std::string text_of(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Streams, NoTwoRangesOverlap) {
  std::vector<streams::Range> ranges(std::begin(streams::all), std::end(streams::all));
  // Parameters begin in ranges of their own: each network's letter above those of `init`.
  for (std::uint32_t letter = 'A'; letter <= 'z'; ++letter) ranges.push_back({streams::init + (letter << 24), streams::init.count});
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    EXPECT_GT(ranges[i].count, 0u);
    EXPECT_LT(std::uint64_t{ranges[i].first} + ranges[i].count, std::uint64_t{1} << 32);
    for (std::size_t j = 0; j < i; ++j) {
      const bool apart = ranges[i].first + ranges[i].count <= ranges[j].first || ranges[j].first + ranges[j].count <= ranges[i].first;
      EXPECT_TRUE(apart) << std::hex << ranges[i].first << " and " << ranges[j].first;
    }
  }
}

// A new range that `all` does not hold would escape the test above.
TEST(Streams, EveryRangeIsInTheList) {
  const std::string header = text_of(root / "include/pastiche/streams.h");
  const std::regex range(R"(inline constexpr Range \w+\{)");
  EXPECT_EQ(std::distance(std::sregex_iterator(header.begin(), header.end(), range), {}), std::ssize(streams::all));
}

// What draws takes its stream from the header: not a number, and not a constant made beside it.
TEST(Streams, StandInOnePlace) {
  const std::regex own(R"(stream\w* = (0x)?\d|(philox4x32|philox_word|normal4|random_normal)\([^()]*\{[^{},]*,\s*(\.stream = )?\d)");
  EXPECT_TRUE(std::regex_search("constexpr std::uint32_t patch_stream = 0x3000;", own));
  EXPECT_TRUE(std::regex_search("philox4x32({seed, 0x4000}, 0, i)", own));
  std::size_t files = 0;
  for (const char* folder : {"src", "include"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.path().extension() != ".cpp" && entry.path().extension() != ".h") continue;
      ++files;
      std::istringstream lines(text_of(entry.path()));
      for (std::string line; std::getline(lines, line);) {
        const bool default_of_key = line.find("std::uint32_t stream = 0;") != line.npos;
        EXPECT_TRUE(default_of_key || !std::regex_search(line, own)) << entry.path() << ": " << line;
      }
    }
  }
  EXPECT_GT(files, 100u);
}

}  // namespace
}  // namespace pastiche
