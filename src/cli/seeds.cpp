#include "cli/seeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

std::uint64_t parse_seed(std::string_view text, std::string_view whole) {
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) {
    throw Error(ExitCode::usage, fmt::format("--seeds {}: expected numbers and ranges such as 7 or 0-63 or 1,5,9-12", quote(whole)));
  }
  return seed;
}

}  // namespace

std::vector<std::uint64_t> parse_seeds(std::string_view text) {
  std::vector<std::uint64_t> seeds;
  for (std::string_view rest = text; !rest.empty() || seeds.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const std::size_t dash = part.find('-');
    const std::uint64_t first = parse_seed(part.substr(0, dash), text);
    const std::uint64_t last = dash == part.npos ? first : parse_seed(part.substr(dash + 1), text);
    if (last < first || last - first >= most_seeds || seeds.size() + (last - first) >= most_seeds) {
      throw Error(ExitCode::usage, fmt::format("--seeds {}: expected ranges that rise, and at most {} seeds", quote(text), most_seeds));
    }
    for (std::uint64_t seed = first;; ++seed) {
      seeds.push_back(seed);
      if (seed == last) break;
    }
  }
  return seeds;
}

std::string seeds_text(std::span<const std::uint64_t> seeds) {
  std::string text;
  for (std::size_t begin = 0, end; begin < seeds.size(); begin = end) {
    for (end = begin + 1; end < seeds.size() && seeds[end - 1] != UINT64_MAX && seeds[end] == seeds[end - 1] + 1;) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ",", seeds[begin]);
    if (end - begin > 1) text += fmt::format("-{}", seeds[end - 1]);
  }
  return text;
}

}  // namespace pastiche::cli
