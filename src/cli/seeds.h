#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pastiche::cli {

inline constexpr std::size_t most_seeds = 100'000;

// "7", "0-63" or "1,5,9-12". Error(usage) for anything else, for ranges that fall, and for more than most_seeds.
std::vector<std::uint64_t> parse_seeds(std::string_view text);
// The reverse, with ranges of what rises by one.
std::string seeds_text(std::span<const std::uint64_t> seeds);

}  // namespace pastiche::cli
