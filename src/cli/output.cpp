#include "cli/output.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "cli/commands.h"
#include "cli/progress.h"
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

bool is_jpeg_name(const fs::path& path) { return ending_of(path) == ".jpg" || ending_of(path) == ".jpeg"; }
bool is_webp_name(const fs::path& path) { return ending_of(path) == ".webp"; }

// Nothing is there, or a picture that says that it was made with this model or painting.
bool is_ours_to_replace(const fs::path& path, const std::string& hash) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) return true;
  try {
    const PictureText text = read_png_text(read_file(path, max_picture_bytes));
    return std::ranges::any_of(text, [&](const auto& entry) { return entry.first.ends_with(" SHA-256") && entry.second == hash; });
  } catch (const Error&) {
    return false;
  }
}

void on_signal(int signal) {
  remove_temporary_files();
  std::raise(signal);  // again, now as if it had not been caught
}

}  // namespace

void write_result(const fs::path& path, std::span<const std::byte> bytes, Sync sync) {
  if (is_standard_output(path)) {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size() || std::fflush(stdout) != 0) {
      throw Error(ExitCode::bad_file, fmt::format("can't write to standard output: {}", std::strerror(errno)));
    }
    return;
  }
  write_where_named(path, bytes, sync);
  tell_result(path);
}

bool is_picture_name(const fs::path& path) { return is_jpeg_name(path) || is_webp_name(path) || ending_of(path) == ".png"; }

std::vector<std::byte> encode_for(const fs::path& path, const Image& picture, const PictureText& text) {
  return is_jpeg_name(path) ? encode_jpeg(picture) : is_webp_name(path) ? encode_webp(picture) : encode_png(picture, text);
}

void require_picture_name(const fs::path& out, std::string_view or_else) {
  if (is_stream(out)) return;
  if (is_webp_name(out)) encode_webp({1, 1, 1, {0}});  // where that is not built in, it says so now
  if (is_picture_name(out)) return;
  throw Error(ExitCode::usage, fmt::format("--out {}: expected a name that ends in .png, .jpg, .jpeg or .webp,{} or -", quote(out.native()), or_else));
}

bool Failures::attempt(const fs::path& name, const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const Error& e) {
    add(e.what());
  } catch (const std::bad_alloc&) {
    add(fmt::format("{}: out of memory", quote(name.native())));
  } catch (const std::exception& e) {  // such as a thread that can't be started
    add(fmt::format("{}: {}", quote(name.native()), e.what()));
  }
  return false;
}

int Failures::report(std::size_t count) const {
  if (reasons_.empty()) return 0;
  constexpr std::size_t most = 100;
  tell(fmt::format("pastiche: {} of {} could not be done:", reasons_.size(), count));
  for (const std::string& reason : std::span(reasons_).first(std::min(most, reasons_.size()))) tell("  " + printable(reason));
  if (reasons_.size() > most) tell(fmt::format("  and {} more", reasons_.size() - most));
  return static_cast<int>(ExitCode::failed);
}

void tell(const std::string& line) {
  WorkProgress::around([&] { std::fputs((line + "\n").c_str(), stderr); });
}

void tell_result(const fs::path& path) {
  const auto print = [&] { fmt::print("{}\n", printable(path.string())); };
  if (::isatty(STDOUT_FILENO) == 0) return print();
  WorkProgress::around([&] {
    print();
    std::fflush(stdout);
  });
}

void require_free(std::span<const fs::path> results, const std::string& hash, bool force) {
  if (force) return;
  std::size_t count = 0;
  fs::path first;
  for (const fs::path& path : results) {
    if (is_ours_to_replace(path, hash)) continue;
    if (count++ == 0) first = path;
  }
  if (count == 0) return;
  throw Error(ExitCode::usage, fmt::format("{} {} there already, and {} not say that the same model or painting made {}: give another --out, or --force to replace {}",
                                           quote(first.native()), count == 1 ? "is" : fmt::format("and {} more are", count - 1),
                                           count == 1 ? "does" : "do", count == 1 ? "it" : "them", count == 1 ? "it" : "them"));
}

bool is_stream(const fs::path& path) {
  std::error_code ignored;
  return is_standard_output(path) || fs::is_other(path, ignored);
}

PictureText origin_text(const std::string& what, const std::string& path, const std::string& hash, bool anonymous, const PictureText& more) {
  PictureText text{{"Software", std::string("pastiche ") + PASTICHE_VERSION}};
  std::error_code error;
  const fs::path whole = fs::absolute(path, error);
  if (!anonymous) text.emplace_back(what, error ? path : whole.lexically_normal().string());
  text.emplace_back(what + " SHA-256", hash);
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
