// The short texts that options, pictures and ffprobe give: refused in one line, or a value within its limits.
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cli/seeds.h"
#include "cli/video.h"
#include "pastiche/config.h"
#include "pastiche/error.h"

namespace {

using namespace pastiche;

void require(bool right) {
  if (!right) std::abort();
}

// check(parse(text)), or one line of why not.
template <class Parse, class Check>
void each(Parse parse, std::string_view text, ExitCode refusal, Check check) {
  try {
    check(parse(text));
  } catch (const Error& error) {
    require(error.code() == refusal && std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  each(parse_grid, text, ExitCode::usage, [](const Grid& g) { require(g.columns >= 1 && g.rows >= 1); });
  each(parse_size, text, ExitCode::usage, [](ImageSize s) {
    require((s == ImageSize{}) || (s.height >= 1 && s.width >= 1));
    require(parse_size(to_text(s)) == s);
  });
  each(parse_duration, text, ExitCode::usage, [](double seconds) { require(seconds > 0 && seconds < 1e10); });
  each(parse_share, text, ExitCode::usage, [](double share) { require(share >= 0 && share < 1); });
  each(parse_interval, text, ExitCode::usage, [](const Interval& i) { require((i.seconds > 0) != (i.steps > 0)); });
  each(parse_augment, text, ExitCode::usage, [](const Augment&) {});
  each(parse_kernels, text, ExitCode::usage, [](const KernelChoice&) {});
  each(cli::parse_seeds, text, ExitCode::usage, [](const std::vector<std::uint64_t>& seeds) {
    require(!seeds.empty() && seeds.size() <= cli::most_seeds);
    require(cli::parse_seeds(cli::seeds_text(seeds)) == seeds);
  });
  if (const auto rate = cli::parse_frame_rate(text)) {  // it becomes a word of a shell's command
    require(rate->find_first_not_of("0123456789/") == rate->npos);
    require(cli::parse_frame_rate(*rate) == rate);
  }
  if (const auto film = cli::parse_film(text)) {
    require(cli::parse_frame_rate(film->rate) == film->rate);
    for (const std::string& word : cli::film_commands(*film, "a", "b.mp4", "c").encoder) require(word.size() < 400);
  }
  return 0;
}
