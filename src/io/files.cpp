#include "pastiche/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "pastiche/error.h"

namespace fs = std::filesystem;

namespace pastiche {
namespace {

[[noreturn]] void fail(const std::string& what, const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  const bool forbidden = error == EACCES || error == EROFS || error == EPERM;
  const char* hint = full        ? "; the disk is full: free some space or write elsewhere"
                     : forbidden ? "; change its permissions or choose another"
                                 : "";
  throw Error(ExitCode::bad_file, fmt::format("can't {} {}: {}{}", what, quote(path.native()),
                                              std::generic_category().message(error), hint));
}

// An open file; closes itself.
class File {
 public:
  File(const fs::path& path, int flags, mode_t mode = 0666) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// Returns 0 or errno. One write() suffices but for signals, huge files and full disks.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(written);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

int fsync_folder(const fs::path& folder) {
  const File file(folder, O_RDONLY | O_DIRECTORY);
  return file && ::fsync(file.get()) == 0 ? 0 : errno;
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

std::string lower_with_dashes(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = c == '_' ? '-' : 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return result;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replace, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// The length of the UTF-8 sequence that `text` begins with; 0 where there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80 ? 1 : byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
  if (length > text.size() || byte(0) > 0xf4) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  return length;
}

}  // namespace

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> parts) {
  // Another process may write the same path, so the temporary name is its own.
  const fs::path temporary = path.native() + fmt::format(".{}.tmp", ::getpid());
  std::size_t size = 0;
  for (const auto& part : parts) size += part.size();
  const std::string what = fmt::format("write {} bytes to", size);
  int error = 0;
  {
    const File file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file) fail(what, path, errno);
    for (const auto& part : parts) {
      if (error == 0) error = write_all(file.get(), {reinterpret_cast<const char*>(part.data()), part.size()});
    }
    if (error == 0 && ::fsync(file.get()) != 0) error = errno;
  }
  if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(temporary.c_str());
    fail(what, path, error);
  }
  if (const int folder_error = fsync_folder(folder_of(path))) fail(what, path, folder_error);
}

void write_file_atomically(const fs::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::span(&bytes, 1));
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

std::vector<std::byte> read_file(const fs::path& path, std::size_t max_bytes) {
  const File file(path, O_RDONLY | O_NONBLOCK);
  struct stat info;
  if (!file || ::fstat(file.get(), &info) != 0) fail("read", path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw Error(ExitCode::bad_file, "can't read " + quote(path.native()) + ": not a regular file");
  }
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > max_bytes) {
    throw Error(ExitCode::bad_file, fmt::format("can't read {}: {} bytes, expected at most {}", quote(path.native()),
                                                size, max_bytes));
  }
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t got = ::read(file.get(), bytes.data() + at, bytes.size() - at);
    if (got > 0) {
      at += got;
    } else if (got == 0) {
      throw Error(ExitCode::bad_file, "can't read " + quote(path.native()) + ": it was cut short while being read");
    } else if (errno != EINTR) {
      fail("read", path, errno);
    }
  }
  return bytes;
}

fs::path create_run_folder(const fs::path& out, std::string_view name) {
  std::error_code error;
  fs::create_directories(out, error);
  if (error) fail("make run folders in", out, error.value());
  // mkdir() alone would let two processes use one number with two names.
  const File folder(out, O_RDONLY | O_DIRECTORY);
  if (!folder || ::flock(folder.get(), LOCK_EX) != 0) fail("make run folders in", out, errno);

  long highest = -1;
  for (fs::directory_iterator entry(out, error), end; !error && entry != end; entry.increment(error)) {
    const std::string text = entry->path().filename().native();
    long number = -1;
    const auto [stop, bad] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (bad == std::errc() && stop != text.data() + text.size() && *stop == '-') highest = std::max(highest, number);
  }
  if (error) fail("list", out, error.value());
  const fs::path run = out / fmt::format("{:05}-{}", highest + 1, name);
  if (::mkdir(run.c_str(), 0777) != 0) fail("make the run folder", run, errno);
  return run;
}

RunLock::RunLock(const fs::path& run_folder) {
  const fs::path path = run_folder / "lock";
  File file(path, O_RDWR | O_CREAT);
  if (!file) fail("lock", path, errno);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail("lock", path, errno);
    char owner[32] = {};
    const ssize_t got = ::pread(file.get(), owner, sizeof owner - 1, 0);
    throw Error(ExitCode::failed, fmt::format("{} is being trained by {}: wait for it, stop it, or train into another "
                                              "folder", quote(run_folder.native()),
                                              got > 0 ? fmt::format("process {}", owner) : "another process"));
  }
  // The number is only for the message above, so a failure to write it is none.
  if (::ftruncate(file.get(), 0) == 0) write_all(file.get(), std::to_string(::getpid()));
  std::error_code error;
  for (fs::recursive_directory_iterator entry(run_folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->path().extension() == ".tmp") fs::remove(entry->path(), ignored);
  }
  fd_ = file.release();
}

RunLock::~RunLock() { ::close(fd_); }

JsonLines::JsonLines(const fs::path& path) {
  File file(path, O_WRONLY | O_CREAT | O_APPEND);
  if (!file) fail("append to", path, errno);
  fd_ = file.release();
}

JsonLines::~JsonLines() { ::close(fd_); }

bool JsonLines::append(std::string_view object) {
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  if (write_all(fd_, std::string(object) + '\n') == 0) return true;
  // A full disk may have taken a part of the line: back out of it, so that the next line does not join it. Where that
  // fails too, truncate_after_step() drops the broken line.
  [[maybe_unused]] const int undone = ::ftruncate(fd_, before);
  return false;
}

bool JsonLines::sync() { return ::fsync(fd_) == 0; }

void truncate_after_step(const fs::path& path, std::int64_t step) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  const std::vector<std::byte> bytes = read_file(path);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string kept;
  for (std::size_t end; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1)) {
    const auto line = nlohmann::json::parse(rest.substr(0, end), nullptr, false);
    if (!line.is_object()) continue;
    const auto found = line.find("step");
    if (found == line.end() || !found->is_number() || *found <= step) kept += rest.substr(0, end + 1);
  }
  if (kept.size() != bytes.size()) write_file_atomically(path, kept);
}

std::string nearest_name(std::string_view word, std::span<const std::string> candidates) {
  const std::string wanted = lower_with_dashes(word.substr(0, 64));
  std::string_view best;
  std::size_t best_distance = (wanted.size() + 5) / 3;  // as far as this it's another word
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(wanted, lower_with_dashes(candidate));
    if (distance < best_distance) best_distance = distance, best = candidate;
  }
  return std::string(best);
}

std::string quote(std::string_view text) {
  std::string result = "'";
  while (!text.empty() && result.size() < 200) {
    const std::size_t length = utf8_length(text);
    const auto byte = static_cast<unsigned char>(text.front());
    if (length == 0 || byte < 32 || byte == 127) {
      result += byte == '\n' ? "\\n" : fmt::format("\\x{:02x}", byte);
      text.remove_prefix(1);
    } else {
      result += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return result + (text.empty() ? "'" : "...'");
}

std::string shell_word(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%") == word.npos) {
    return word;
  }
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace pastiche
