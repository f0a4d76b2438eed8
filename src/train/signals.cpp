#include "train/signals.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <ctime>

#include "pastiche/files.h"

namespace pastiche {
namespace {

volatile sig_atomic_t caught_signal = 0, was_continued = 0;
std::atomic<std::int64_t> first_word = 0;  // of the user's, in nanoseconds of the steady clock
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

// A terminal that closes sends SIGHUP twice, SIGXCPU comes each second, and `timeout` sends SIGTERM to a process and to its group: only
// the user's second word ends it, which comes later than at once.
void on_signal(int signal) {
  if (signal == SIGCONT) {
    was_continued = 1;
    return;
  }
  if (signal == SIGINT || signal == SIGTERM) {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    const std::int64_t second = 1'000'000'000, now = time.tv_sec * second + time.tv_nsec;
    if (first_word == 0) first_word = now;
    if (now - first_word > second) {
      remove_temporary_files();
      _exit(128 + signal);
    }
  }
  if (caught_signal == 0) caught_signal = signal;
}

}  // namespace

CatchSignals::CatchSignals() {
  caught_signal = 0;
  was_continued = 0;
  first_word = 0;
  for (std::size_t i = 0; i < signals.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(signals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) sigaction(signals[i], &action, nullptr);
  }
}

CatchSignals::~CatchSignals() {
  for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &before_[i], nullptr);
}

int CatchSignals::caught() { return caught_signal; }

bool CatchSignals::continued() {
  const bool result = was_continued != 0;
  was_continued = 0;
  return result;
}

}  // namespace pastiche
