// What the system leaves to this process, read from trees of files like those of real machines.
#include "core/system.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <map>

#include "pastiche/backend.h"
#include "pastiche/error.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::size_t mib = std::size_t{1} << 20;

const std::string v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string v1 =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
const std::string unlimited_v1 = "9223372036854771712";

using Files = std::map<std::string, std::string>;

class System : public testing::Test {
 protected:
  void TearDown() override { fs::remove_all(root_); }

  const fs::path& machine(const Files& files) {
    fs::remove_all(root_);
    for (const auto& [name, text] : files) {
      fs::create_directories((root_ / name).parent_path());
      std::ofstream(root_ / name) << text;
    }
    return root_;
  }
  double quota(const Files& files) { return processor_quota(machine(files)); }
  std::size_t free_mib(const Files& files) { return free_memory(machine(files)).bytes / mib; }

  const fs::path root_ = fs::temp_directory_path() / ("pastiche-system-" + std::to_string(getpid()));
};

TEST_F(System, AQuotaOfVersion2IsThatOfTheGroupOrOfOneAboveIt) {
  const std::string self = "0::/user/job\n";
  const auto quota_of = [&](const char* job, const char* user) {
    return quota({{"proc/self/cgroup", self}, {"proc/self/mountinfo", v2}, {"sys/fs/cgroup/user/job/cpu.max", job}, {"sys/fs/cgroup/user/cpu.max", user}});
  };
  EXPECT_EQ(quota_of("150000 100000\n", "max 100000\n"), 1.5);
  EXPECT_EQ(quota_of("max 100000\n", "50000 100000\n"), 0.5);
  EXPECT_EQ(quota_of("400000 100000\n", "200000 50000\n"), 4);
  EXPECT_EQ(quota_of("max 100000\n", "max 100000\n"), infinity);
}

TEST_F(System, AQuotaOfVersion1IsThatOfTheGroupOrOfOneAboveIt) {
  const std::string self = "5:memory:/else\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/\n", base = "sys/fs/cgroup/cpu,cpuacct/";
  const auto quota_of = [&](const char* own, const char* above) {
    return quota({{"proc/self/cgroup", self}, {"proc/self/mountinfo", v1},
                  {base + "docker/abc/cpu.cfs_quota_us", own}, {base + "docker/abc/cpu.cfs_period_us", "100000\n"},
                  {base + "docker/cpu.cfs_quota_us", above}, {base + "docker/cpu.cfs_period_us", "200000\n"},
                  {base + "cpu.cfs_quota_us", "-1\n"}, {base + "cpu.cfs_period_us", "100000\n"}});
  };
  EXPECT_EQ(quota_of("250000\n", "-1\n"), 2.5);
  EXPECT_EQ(quota_of("-1\n", "600000\n"), 3);
  EXPECT_EQ(quota_of("-1\n", "-1\n"), infinity);
}

// What a container sees: a part of the tree, mounted as if it were the whole, and a name of its group that may lead out of it.
TEST_F(System, AQuotaIsFoundInAContainer) {
  const auto quota_in = [&](const std::string& group, const std::string& mounted) {
    return quota({{"proc/self/cgroup", "0::" + group + "\n"},
                  {"proc/self/mountinfo", "30 23 0:26 " + mounted + " /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
                  {"sys/fs/cgroup/cpu.max", "300000 100000\n"}, {"sys/fs/cgroup/inner/cpu.max", "100000 100000\n"}});
  };
  EXPECT_EQ(quota_in("/", "/"), 3);                           // a namespace of its own
  EXPECT_EQ(quota_in("/inner", "/"), 1);
  EXPECT_EQ(quota_in("/../..", "/"), 3);
  EXPECT_EQ(quota_in("/", "/../.."), 3);
  EXPECT_EQ(quota_in("/docker/abc", "/docker/abc"), 3);       // the host's namespace
  EXPECT_EQ(quota_in("/docker/abc/inner", "/docker/abc"), 1);
  EXPECT_EQ(quota_in("/docker/abcd", "/docker/abc"), 3);      // moved since
  EXPECT_EQ(quota_in("/", "/docker/abc"), 3);
  EXPECT_EQ(quota_in("/gone/inner", "/"), 3);
}

TEST_F(System, BothVersionsCountWhereBothAreThere) {
  const Files files{{"proc/self/cgroup", "4:cpu,cpuacct:/a\n0::/b\n"}, {"proc/self/mountinfo", v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
                    {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "300000"}, {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000"},
                    {"sys/fs/cgroup/unified/b/cpu.max", "200000 100000"}};
  EXPECT_EQ(quota(files), 2);
}

TEST_F(System, WhatIsNoLimitIsNone) {
  EXPECT_EQ(quota({{"nothing", ""}}), infinity);
  EXPECT_EQ(quota({{"proc/self/cgroup", "0::/\n"}}), infinity);
  EXPECT_EQ(quota({{"proc/self/mountinfo", v2}, {"sys/fs/cgroup/cpu.max", "1 1"}}), infinity);
  for (const char* text : {"", "\n", "max", "100000", "100000 0", "-5 100000", "1e5 100000", "99999999999999999999999 100000", "ten five", "0x10 16", "1 2 3"}) {
    EXPECT_EQ(quota({{"proc/self/cgroup", "0::/\n"}, {"proc/self/mountinfo", v2}, {"sys/fs/cgroup/cpu.max", text}}), infinity) << text;
  }
  for (const char* text : {"", ":", "::", "0:", "0::", "garbage\n\n:::", "0::/\n\xff\xfe"}) {
    const double least = quota({{"proc/self/cgroup", text}, {"proc/self/mountinfo", "- - -\n1 2 3 4 5 - cgroup2\n" + v2}, {"sys/fs/cgroup/cpu.max", "100000 100000"}});
    EXPECT_TRUE(least == 1 || least == infinity) << text;
  }
}

TEST_F(System, FreeMemoryIsTheMachines) {
  const std::string info = "MemTotal:       8000000 kB\nMemFree:  100 kB\nMemAvailable:    4194304 kB\nSwapTotal: 9 kB\nSwapFree: 1048576 kB\nHugePages_Total: 0\n";
  const FreeMemory memory = free_memory(machine({{"proc/meminfo", info}}));
  EXPECT_EQ(memory.bytes, 4096 * mib);
  EXPECT_EQ(memory.with_swap, 5120 * mib);
}

TEST_F(System, FreeMemoryIsWhatTheGroupsOfVersion2Leave) {
  const std::string base = "sys/fs/cgroup/";
  Files files{{"proc/meminfo", "MemAvailable: 4194304 kB\nSwapFree: 1048576 kB\n"}, {"proc/self/cgroup", "0::/pod/job\n"}, {"proc/self/mountinfo", v2},
              {base + "pod/job/memory.max", "max\n"}, {base + "pod/job/memory.current", "1"},
              {base + "pod/memory.max", std::to_string(1000 * mib)}, {base + "pod/memory.current", std::to_string(700 * mib)},
              {base + "pod/memory.stat", "anon 5\ninactive_file " + std::to_string(60 * mib) + "\nactive_file " + std::to_string(40 * mib) + "\n"}};
  EXPECT_EQ(free_mib(files), 400u);
  EXPECT_EQ(free_memory(root_).with_swap, 1424 * mib);
  files[base + "pod/memory.swap.max"] = "0";
  files[base + "pod/memory.swap.current"] = "0";
  EXPECT_EQ(free_mib(files), 400u);
  EXPECT_EQ(free_memory(root_).with_swap, 400 * mib);
  files[base + "pod/job/memory.max"] = std::to_string(50 * mib);
  EXPECT_EQ(free_mib(files), 49u);
  files[base + "pod/job/memory.max"] = "max";
  files[base + "pod/job/memory.high"] = std::to_string(30 * mib);
  EXPECT_EQ(free_mib(files), 29u);
  files[base + "pod/job/memory.high"] = "0";
  EXPECT_EQ(free_mib(files), 0u);
}

TEST_F(System, FreeMemoryIsWhatTheGroupsOfVersion1Leave) {
  const std::string base = "sys/fs/cgroup/memory/";
  Files files{{"proc/meminfo", "MemAvailable: 4194304 kB\nSwapFree: 1048576 kB\n"}, {"proc/self/cgroup", "4:memory:/docker/abc\n"}, {"proc/self/mountinfo", v1},
              {base + "memory.limit_in_bytes", unlimited_v1}, {base + "memory.usage_in_bytes", "123"},
              {base + "memory.memsw.limit_in_bytes", unlimited_v1}, {base + "memory.memsw.usage_in_bytes", "456"},
              {base + "docker/abc/memory.limit_in_bytes", std::to_string(500 * mib)}, {base + "docker/abc/memory.usage_in_bytes", std::to_string(200 * mib)},
              {base + "docker/abc/memory.stat", "cache 7\ninactive_file 1\ntotal_inactive_file " + std::to_string(100 * mib) + "\n"}};
  EXPECT_EQ(free_mib(files), 400u);
  EXPECT_EQ(free_memory(root_).with_swap, 1424 * mib);  // whose accounting of swap is off
  files[base + "docker/abc/memory.memsw.limit_in_bytes"] = std::to_string(550 * mib);
  files[base + "docker/abc/memory.memsw.usage_in_bytes"] = std::to_string(200 * mib);
  EXPECT_EQ(free_mib(files), 400u);
  EXPECT_EQ(free_memory(root_).with_swap, 450 * mib);
  files[base + "docker/memory.limit_in_bytes"] = std::to_string(300 * mib);
  files[base + "docker/memory.usage_in_bytes"] = std::to_string(301 * mib);
  EXPECT_EQ(free_mib(files), 0u);
}

TEST_F(System, FreeMemoryThatNothingTellsOfIsUnlimited) {
  EXPECT_EQ(free_memory(machine({{"nothing", ""}})).bytes, SIZE_MAX);
  EXPECT_EQ(free_memory(root_).with_swap, SIZE_MAX);
}

TEST_F(System, ThisMachineHasSome) {
  EXPECT_GE(usable_processors(), 1);
  const auto free = free_memory();  // once: other programs take and give between two calls
  EXPECT_GT(free.bytes, mib);
  EXPECT_GE(free.with_swap, free.bytes);
  EXPECT_EQ(threads_for(3), 3);
  EXPECT_GE(threads_for(0), 1);
  EXPECT_LE(threads_for(0), usable_processors());
}

TEST_F(System, AddressSpaceThatCantBeHadIsAnError) {
  require_address_space(mib, "a test");
  const std::string message = refusal(ExitCode::out_of_memory, [] { require_address_space(std::size_t{1} << 60, "a test"); });
  EXPECT_NE(message.find("a test"), message.npos);
}

TEST_F(System, ThreadsThatCantBeStartedAreAnError) {
  require_threads(0);
  require_threads(5);
  const pid_t child = fork();
  if (child == 0) {  // with 64 MiB left, of which a thread's stack takes 8
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlimit space{.rlim_cur = pages * 4096 + (64 << 20), .rlim_max = RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &space);
    try {
      require_threads(100);
      _exit(1);
    } catch (const Error& error) {
      _exit(error.code() == ExitCode::out_of_memory ? 0 : 2);
    }
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(MakeBackend, TakesNoMoreThreadsThanTheFlag) {
  for (const char* name : {"cpu", "simt", "reference"}) {
    for (const int threads : {-1, 4097, 100000, std::numeric_limits<int>::max()}) {
      EXPECT_NE(refusal(ExitCode::usage, [&] { make_backend(name, threads); }).find("4096"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace pastiche
