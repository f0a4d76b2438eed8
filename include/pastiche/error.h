#pragma once
#include <stdexcept>
#include <string>

namespace pastiche {

// What the process exits with, and so what a script can rely on.
enum class ExitCode : int {
  ok = 0,
  failed = 1,         // anything without a number of its own
  usage = 2,          // unknown option, size 0, a batch larger than the data
  bad_data = 3,       // a data set or a config that can't be used
  bad_file = 4,       // missing, truncated or incompatible file; unwritable place; full disk
  device = 5,         // absent device or driver
  out_of_memory = 6,
  diverged = 7,       // a non-finite value in training
  gate_failed = 8,    // bench compare, verify
  bad_shape = 9,      // of a program that calls an op with what it can't take: shapes, dtypes, backends, nothing
};

// One line: what was wrong, what was expected, what to do. The command line prints it and exits with `code`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

}  // namespace pastiche
