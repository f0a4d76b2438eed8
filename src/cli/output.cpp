#include "cli/output.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "cli/commands.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {

namespace fs = std::filesystem;

namespace {

// /dev/stdout is "-" by another name, and a path behind the bytes would spoil them.
bool is_standard_output(const fs::path& path) {
  struct stat named, standard;
  return path == "-" || (::stat(path.c_str(), &named) == 0 && ::fstat(STDOUT_FILENO, &standard) == 0 && named.st_dev == standard.st_dev &&
                         named.st_ino == standard.st_ino);
}

void on_signal(int signal) {
  remove_temporary_files();
  std::raise(signal);  // again, now as if it had not been caught
}

}  // namespace

void write_result(const fs::path& path, std::span<const std::byte> bytes) {
  if (is_standard_output(path)) {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size() || std::fflush(stdout) != 0) {
      throw Error(ExitCode::bad_file, fmt::format("can't write to standard output: {}", std::strerror(errno)));
    }
    return;
  }
  write_where_named(path, bytes);
  fmt::print("{}\n", printable(path.string()));
}

void tell(const std::string& line) { std::fputs((line + "\n").c_str(), stderr); }

bool is_stream(const fs::path& path) {
  std::error_code ignored;
  return is_standard_output(path) || fs::is_other(path, ignored);
}

PictureText origin_text(const std::string& model, const std::string& hash, bool anonymous, const PictureText& more) {
  PictureText text{{"Software", std::string("pastiche ") + PASTICHE_VERSION}};
  std::error_code error;
  const fs::path whole = fs::absolute(model, error);
  if (!anonymous) text.emplace_back("Model", error ? model : whole.lexically_normal().string());
  text.emplace_back("Model SHA-256", hash);
  text.insert(text.end(), more.begin(), more.end());
  if (!anonymous) text.emplace_back("Command", command_line());
  return text;
}

void clean_up_on_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {}, action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESETHAND;
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace pastiche::cli
