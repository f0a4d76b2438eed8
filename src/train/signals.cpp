#include "train/signals.h"

#include <unistd.h>

#include "pastiche/files.h"

namespace pastiche {
namespace {

volatile sig_atomic_t caught_signal = 0, was_continued = 0;

bool from_the_user(int signal) { return signal == SIGINT || signal == SIGTERM; }

// A terminal that closes sends SIGHUP twice, and SIGXCPU comes each second: only the user's second word ends it.
void on_signal(int signal) {
  if (signal == SIGCONT) {
    was_continued = 1;
    return;
  }
  if (from_the_user(caught_signal) && from_the_user(signal)) {
    remove_temporary_files();
    _exit(128 + signal);
  }
  if (caught_signal == 0) caught_signal = signal;
}

}  // namespace

CatchSignals::CatchSignals() {
  caught_signal = 0;
  was_continued = 0;
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
