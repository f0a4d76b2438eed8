// The files of a run folder from anywhere: its report is written whatever they hold, and a log that is cut holds the steps before the cut
// as they were. The input is run.json, stats.jsonl and holdout.jsonl, a line of "---" between them.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/report.h"

namespace fs = std::filesystem;

namespace {

struct Folder {
  // In memory where that can be: each report waits for its disk.
  fs::path path = (fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path()) / ("fuzz-run-" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
};

std::string text_of(const fs::path& path) {
  const std::vector<std::byte> bytes = pastiche::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  static const Folder folder;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (const char* name : {"run.json", "stats.jsonl", "holdout.jsonl"}) {
    constexpr std::string_view between = "---\n";
    const std::string_view part = rest.substr(0, rest.find(between));
    rest.remove_prefix(std::min(rest.size(), part.size() + between.size()));
    std::ofstream(folder.path / name).write(part.data(), static_cast<std::streamsize>(part.size()));
  }
  try {
    write_report(folder.path);
    const std::string page = text_of(folder.path / "report.html");
    if (!page.ends_with("</html>\n") || page.find("<script") != page.npos) std::abort();
    for (const std::int64_t step : {100, 5, 0}) {
      const fs::path log = folder.path / "stats.jsonl";
      truncate_after_step(log, step);
      const std::string cut = text_of(log);
      if (!cut.empty() && cut.back() != '\n') std::abort();
      truncate_after_step(log, step);
      if (text_of(log) != cut) std::abort();
    }
  } catch (const Error&) {
    std::abort();
  }
  return 0;
}
