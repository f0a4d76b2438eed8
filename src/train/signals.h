#pragma once
// What a training does when the system or its user sends a signal.
#include <signal.h>

#include <array>

namespace pastiche {

// While it lives, a signal that would end the process is kept instead, so that the training saves everything first: SIGINT, SIGTERM,
// SIGHUP (the terminal is gone), SIGUSR1 and SIGXCPU (what batch systems send before the time is over). A second SIGINT or SIGTERM
// after more than a second ends the process at once. What was ignored at the start stays ignored: `nohup` relies on that.
class CatchSignals {
 public:
  CatchSignals();
  ~CatchSignals();
  CatchSignals(const CatchSignals&) = delete;
  CatchSignals& operator=(const CatchSignals&) = delete;

  static int caught();      // the first of them, 0 for none
  static bool continued();  // whether the process went on after a stop (SIGSTOP, Ctrl-Z) since the last call

 private:
  static constexpr std::array<int, 6> signals{SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXCPU, SIGCONT};
  std::array<struct sigaction, signals.size()> before_{};
};

}  // namespace pastiche
