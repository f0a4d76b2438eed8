#include "core/system.h"

#include <fmt/format.h>
#include <omp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <latch>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "pastiche/error.h"

namespace pastiche {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t unlimited = SIZE_MAX;

std::atomic<std::size_t> announced_bytes = 0;

std::size_t less(std::size_t from, std::size_t what) { return from - std::min(from, what); }

std::optional<std::size_t> number(const std::string& text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty() ? std::optional(value) : std::nullopt;
}

std::vector<std::string> words(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> all;
  for (std::string word; stream >> word;) all.push_back(word);
  return all;
}

std::vector<std::string> words_in(const fs::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return words(line);
}

// What a file says in one word; `otherwise` where it is absent, or says "max", "-1" or no number at all.
std::size_t number_in(const fs::path& file, std::size_t otherwise) {
  const std::vector<std::string> all = words_in(file);
  return all.empty() ? otherwise : number(all.front()).value_or(otherwise);
}

// Lines of a name and a number.
std::map<std::string, std::size_t> table_in(const fs::path& file) {
  std::ifstream stream(file);
  std::map<std::string, std::size_t> table;
  for (std::string line; std::getline(stream, line);) {
    const std::vector<std::string> all = words(line);
    if (all.size() < 2) continue;
    if (const auto value = number(all[1])) table[all[0]] = *value;
  }
  return table;
}

bool has_word(const std::string& list, const std::string& word) { return ("," + list + ",").find("," + word + ",") != std::string::npos; }

// Of what is mounted at `mounted`, the part that `group` is; empty where that is not told, as to a process in a namespace of its own.
fs::path below(const std::string& mounted, const std::string& group) {
  const fs::path path = fs::path(group).lexically_normal().lexically_relative(fs::path(mounted).lexically_normal());
  return path.empty() || *path.begin() == ".." ? fs::path() : path;
}

// The folders of the control groups that this process is in, as far as they are visible: its own, and all above, since each may limit it.
// Without a controller: of version 2.
std::vector<fs::path> control_groups(const fs::path& root, const std::string& controller) {
  std::optional<std::string> group;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // 4:cpu,cpuacct:/some/group, or 0::/some/group
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controller.empty() ? controllers.empty() : has_word(controllers, controller)) group = line.substr(second + 1);
  }
  std::vector<fs::path> folders;
  if (!group) return folders;
  std::ifstream mounts(root / "proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {  // 35 31 0:32 /part/mounted /where options ... - type source options
    const std::vector<std::string> all = words(line);
    const auto dash = std::find(all.begin(), all.end(), "-");
    if (all.size() < 6 || all.end() - dash < 4) continue;
    if (controller.empty() ? dash[1] != "cgroup2" : dash[1] != "cgroup" || !has_word(dash[3], controller)) continue;
    const fs::path top = root / fs::path(all[4]).relative_path();
    folders.push_back(top);
    for (const fs::path& part : below(all[3], *group)) folders.push_back(folders.back() / part);
  }
  return folders;
}

std::size_t limit_of(decltype(RLIMIT_AS) resource) {
  rlimit limit{};
  return getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ? unlimited : limit.rlim_cur;
}

bool can_have(std::size_t bytes) {
  void* const data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return false;
  ::munmap(data, bytes);
  return true;
}

}  // namespace

std::size_t resident_bytes() {
  std::size_t total = 0, resident = 0;  // pages
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

double processor_quota(const fs::path& root) {
  double least = std::numeric_limits<double>::infinity();
  const auto include = [&](std::size_t quota, std::size_t period) {
    if (quota != unlimited && period > 0) least = std::min(least, static_cast<double>(quota) / static_cast<double>(period));
  };
  for (const fs::path& folder : control_groups(root, "")) {
    const std::vector<std::string> all = words_in(folder / "cpu.max");
    if (all.size() == 2) include(number(all[0]).value_or(unlimited), number(all[1]).value_or(0));
  }
  for (const fs::path& folder : control_groups(root, "cpu")) {
    include(number_in(folder / "cpu.cfs_quota_us", unlimited), number_in(folder / "cpu.cfs_period_us", 0));
  }
  return least;
}

int usable_processors() {
  return static_cast<int>(std::max(1.0, std::min<double>(omp_get_num_procs(), std::ceil(processor_quota()))));
}

int threads_for(int asked) {
  return std::max(1, std::min(asked > 0 ? asked : std::min(usable_processors(), omp_get_max_threads()), omp_get_thread_limit()));
}

FreeMemory free_memory(const fs::path& root) {
  const auto machine = table_in(root / "proc/meminfo");
  const auto kib = [&](const char* name, std::size_t otherwise) { return machine.contains(name) ? machine.at(name) * 1024 : otherwise; };
  std::size_t bytes = kib("MemAvailable:", unlimited), swap = kib("SwapFree:", 0);
  const auto cached = [](const fs::path& folder, const std::string& prefix) {
    const auto stat = table_in(folder / "memory.stat");
    const auto part = [&](const char* name) { return stat.contains(prefix + name) ? stat.at(prefix + name) : 0; };
    return part("inactive_file") + part("active_file");
  };
  for (const fs::path& folder : control_groups(root, "")) {
    const std::size_t limit = std::min(number_in(folder / "memory.max", unlimited), number_in(folder / "memory.high", unlimited));
    if (limit == unlimited) continue;
    bytes = std::min(bytes, less(limit, less(number_in(folder / "memory.current", 0), cached(folder, ""))));
    swap = std::min(swap, less(number_in(folder / "memory.swap.max", unlimited), number_in(folder / "memory.swap.current", 0)));
  }
  for (const fs::path& folder : control_groups(root, "memory")) {
    const std::size_t cache = cached(folder, "total_");
    const auto room = [&](const std::string& name) {
      const std::size_t limit = number_in(folder / (name + ".limit_in_bytes"), unlimited);
      if (limit > unlimited / 4) return unlimited;  // where there is none, it says 2^63 less a page
      return less(limit, less(number_in(folder / (name + ".usage_in_bytes"), 0), cache));
    };
    const std::size_t memory = room("memory"), with_swap = room("memory.memsw");
    bytes = std::min(bytes, memory);
    if (with_swap != unlimited) swap = std::min(swap, less(with_swap, memory));
  }
  const std::vector<std::string> used = words_in(root / "proc/self/statm");  // pages: size resident shared text lib data dirty
  const auto own = [&](decltype(RLIMIT_AS) resource, std::size_t column) {
    const std::size_t pages = column < used.size() ? number(used[column]).value_or(0) : 0;
    return less(limit_of(resource), pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  };
  const std::size_t own_limit = std::min(own(RLIMIT_AS, 0), own(RLIMIT_DATA, 5));
  return {.bytes = std::min(bytes, own_limit), .with_swap = std::min(bytes + std::min(swap, unlimited - bytes), own_limit)};
}

void keep_memory_free(std::size_t bytes) { announced_bytes = bytes; }
std::size_t memory_kept_free() { return announced_bytes + (std::size_t{32} << 20); }

bool address_space_is_limited() {
  constexpr std::size_t never = 2;  // overcommitted
  return limit_of(RLIMIT_AS) != unlimited || limit_of(RLIMIT_DATA) != unlimited || number_in("/proc/sys/vm/overcommit_memory", 0) == never;
}

void require_address_space(std::size_t bytes, const char* what) {
  if (can_have(bytes)) return;
  throw Error(ExitCode::out_of_memory, fmt::format("out of memory: {} MiB of address space for {} could not be had: give the process more "
                                                   "(ulimit -v), or use a smaller --batch, --size or --threads", bytes >> 20, what));
}

void require_threads(int count) {
  std::latch all_tried(1);
  std::vector<std::jthread> started;
  try {
    started.reserve(static_cast<std::size_t>(count));
    while (static_cast<int>(started.size()) < count) started.emplace_back([&] { all_tried.wait(); });
    all_tried.count_down();
  } catch (const std::system_error&) {
    all_tried.count_down();
    throw Error(ExitCode::out_of_memory, fmt::format("only {} threads could be started, expected {}: give the process more memory, processes "
                                                     "or threads (ulimit -v, ulimit -u), or use fewer --threads", started.size() + 1, count + 1));
  }
}

}  // namespace pastiche
