#pragma once
// The program as a child process in a folder of its own, for tests of what its users meet.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include "pastiche/files.h"

namespace pastiche {

namespace fs = std::filesystem;

inline const std::string emoji = std::string(PASTICHE_TEST_DIR) + "/data/emoji32";
inline const std::string fashion = std::string(PASTICHE_TEST_DIR) + "/data/fashion";
inline const std::string small = " --size 16 --ngf 4 --ndf 4 --nz 8 --batch 8 --grid 2x2 --threads 2 --seed 7 ";

struct Finished {
  int code;  // of the process; 128 + n where signal n ended it
  std::string out, err;
  double peak_mib;  // the most resident memory that it or a child of it had
};

inline std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("pastiche-cli-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Runs `pastiche ARGUMENTS` in the test's folder, through the shell, which does `before` first.
  Finished run(const std::string& arguments, const std::string& before = ":") const {
    const std::string command = "cd " + folder_.string() + " && " + before + " && exec timeout 600 " PASTICHE_PROGRAM " " + arguments + " >out 2>err </dev/null";
    const pid_t child = fork();
    if (child == 0) {
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    int status = 0;
    rusage usage{};
    wait4(child, &status, 0, &usage);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text_of(folder_ / "out"), text_of(folder_ / "err"),
            static_cast<double>(usage.ru_maxrss) / 1024};
  }

  // Expects this exit code and one line on stderr that holds `words`, and nothing left behind.
  void expect_error(const std::string& arguments, int code, const std::string& words) const {
    const Finished f = run(arguments);
    EXPECT_EQ(f.code, code) << arguments << "\n" << f.err;
    EXPECT_EQ(f.out, "") << arguments;
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << arguments << "\n" << f.err;
    EXPECT_NE(f.err.find(words), std::string::npos) << arguments << "\n" << f.err;
    EXPECT_FALSE(fs::exists(folder_ / "runs")) << arguments;
  }

  fs::path write(const std::string& name, std::string_view text) const {
    write_file_atomically(folder_ / name, text);
    return folder_ / name;
  }

  fs::path only_run(const std::string& out = "runs") const {
    std::vector<fs::path> runs;
    for (const auto& entry : fs::directory_iterator(folder_ / out)) runs.push_back(entry.path());
    EXPECT_EQ(runs.size(), 1u);
    return runs.at(0);
  }

  // Starts the program, and returns its process once `ready` says so.
  template <class Ready> pid_t started(const std::string& arguments, Ready ready) const {
    const pid_t child = fork();
    if (child == 0) {
      const std::string command = "cd " + folder_.string() + " && exec " PASTICHE_PROGRAM " " + arguments + " >out 2>err </dev/null";
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    for (int i = 0; i < 12000 && !ready(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return child;
  }

  // A training, once `steps` steps are in its log.
  pid_t started(const std::string& arguments, int steps = 3) const {
    return started(arguments, [&] {
      std::error_code ignored;
      for (const auto& entry : fs::directory_iterator(folder_ / "runs", ignored)) {
        const std::string stats = text_of(entry.path() / "stats.jsonl");
        if (std::count(stats.begin(), stats.end(), '\n') >= steps) return true;
      }
      return false;
    });
  }

  // How it ended: its exit code, or minus the signal.
  static int ended(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  int interrupted(const std::string& arguments, int signal, int steps = 3) const {
    const pid_t child = started(arguments, steps);
    kill(child, signal);
    return ended(child);
  }

  fs::path folder_;
};

}  // namespace pastiche
