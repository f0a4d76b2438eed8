#include "pastiche/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <mutex>
#include <numeric>
#include <random>
#include <set>

#include "io/json.h"
#include "pastiche/error.h"

namespace fs = std::filesystem;

namespace pastiche {
namespace {

[[noreturn]] void fail(const std::string& what, const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  const bool forbidden = error == EACCES || error == EROFS || error == EPERM;
  const char* hint = full             ? "; the disk is full: free some space or write elsewhere"
                     : forbidden      ? "; change its permissions or choose another"
                     : error == EFBIG ? "; a limit on the size of files (ulimit -f) is reached"
                     : error == ELOOP ? "; expected the file itself, not a symbolic link"
                                       : "";
  throw Error(ExitCode::bad_file, fmt::format("can't {} {}: {}{}", what, quote(path.native()),
                                              std::generic_category().message(error), hint));
}

// An open file; closes itself.
class File {
 public:
  File(const fs::path& path, int flags, mode_t mode = 0666) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  explicit File(int fd) : fd_(fd) {}
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

std::mutex notes_mutex;
std::vector<std::string> notes;

void note_once(const char* of_kind, const fs::path& folder) {
  static std::set<const char*> told;
  const std::scoped_lock lock(notes_mutex);
  if (told.insert(of_kind).second) notes.push_back(fmt::format("the file system of {} {}", quote(folder.native()), of_kind));
}

constexpr const char* no_sync = "can't sync everything: a power cut may lose what was written last";
constexpr const char* no_locks = "has no locks: don't let two trainings write to one folder at the same time";

// Whether fsync failed because the file system has none, and not because it lost something.
bool has_no_sync(int error) { return error != EIO && error != ENOSPC && error != EDQUOT; }

// False where another process holds the lock. Where there are no locks, everyone has it.
bool try_lock(int fd, const fs::path& folder) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  note_once(no_locks, folder);
  return true;
}

// Returns 0 or errno.
int sync_file(int fd, const fs::path& folder) {
  if (::fsync(fd) == 0) return 0;
  if (!has_no_sync(errno)) return errno;
  note_once(no_sync, folder);
  return 0;
}

int sync_folder(const fs::path& folder) {
  const File file(folder, O_RDONLY | O_DIRECTORY);
  if (file) return sync_file(file.get(), folder);
  note_once(no_sync, folder);  // a folder may be writable and not readable
  return 0;
}

// ---- temporary files -------------------------------------------------------------------------------------------------

// What remove_temporary_files() removes. A signal may come at any time, so a slot's state says whether its path is whole.
struct Slot {
  enum State { unused, taken, ready };
  std::atomic<State> state = unused;
  char path[PATH_MAX];
};
Slot slots[64];
static_assert(std::atomic<Slot::State>::is_always_lock_free);

void remember(const fs::path& path) {
  if (path.native().size() >= PATH_MAX) return;
  for (Slot& slot : slots) {
    Slot::State expected = Slot::unused;
    if (!slot.state.compare_exchange_strong(expected, Slot::taken)) continue;
    std::memcpy(slot.path, path.c_str(), path.native().size() + 1);
    slot.state = Slot::ready;
    return;
  }
}

void forget(const fs::path& path) {
  for (Slot& slot : slots) {
    if (slot.state == Slot::ready && path.native() == slot.path) slot.state = Slot::unused;
  }
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

// The character that `text` begins with in UTF-8, and its bytes; none for what is no UTF-8.
struct Character {
  char32_t code;
  std::size_t bytes;
};
std::optional<Character> first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t bytes = byte(0) < 0x80 ? 1 : byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : byte(0) < 0xf5 ? 4 : 0;
  if (bytes == 0 || bytes > text.size()) return std::nullopt;
  char32_t code = bytes == 1 ? byte(0) : byte(0) & (0xff >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return std::nullopt;
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < least[bytes] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff) return std::nullopt;
  return Character{code, bytes};
}

// C0, DEL and C1 are orders to a terminal; the others end a line or turn the direction of writing, so that a name looks like another.
bool is_control(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

// Takes one character, or one byte of what is none, from `text`.
void append_printable(std::string& result, std::string_view& text) {
  const std::optional<Character> character = first_character(text);
  const std::string_view piece = text.substr(0, character ? character->bytes : 1);
  text.remove_prefix(piece.size());
  if (character && !is_control(character->code)) {
    result += piece;
  } else {
    for (const unsigned char byte : piece) result += byte == '\n' ? "\\n" : fmt::format("\\x{:02x}", byte);
  }
}

// Removes what bears this name at its end, and when this process is killed.
class TemporaryName {
 public:
  explicit TemporaryName(const fs::path& folder) : path_(folder / temporary_name()) { remember(path_); }
  ~TemporaryName() {
    ::unlink(path_.c_str());
    forget(path_);
  }
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

constexpr int new_file = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;

// These return 0 or errno.
int fill(int fd, std::span<const std::span<const std::byte>> parts) {
  for (const auto& part : parts) {
    if (const int error = write_all(fd, {reinterpret_cast<const char*>(part.data()), part.size()})) return error;
  }
  return 0;
}

// To the disk, with the permissions of the file that it will replace, and its owner where this process may give files away.
int finish(int fd, const fs::path& target, Sync sync) {
  struct stat old;
  if (::lstat(target.c_str(), &old) == 0 && S_ISREG(old.st_mode)) {
    [[maybe_unused]] const int given = ::fchown(fd, old.st_uid, old.st_gid);
    if (::fchmod(fd, old.st_mode & 0777) != 0) return errno;
  }
  return sync == Sync::now ? sync_file(fd, folder_of(target)) : 0;
}

int put_in_place(const fs::path& path, const fs::path& target, Sync sync) {
  if (::rename(path.c_str(), target.c_str()) != 0) return errno;
  return sync == Sync::now ? sync_folder(folder_of(target)) : 0;
}

bool is_link(const fs::path& path) {
  std::error_code ignored;
  return fs::is_symlink(fs::symlink_status(path, ignored));
}

// For what stands in a run folder, which may come from others: no link out of it, and no FIFO that waits for ever.
int open_regular(const fs::path& path, int flags, const char* what) {
  File file(path, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  struct stat info;
  if (!file || ::fstat(file.get(), &info) != 0) fail(what, path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw Error(ExitCode::bad_file, fmt::format("can't {} {}: not a regular file; remove it", what, quote(path.native())));
  }
  return file.release();
}

// A log that has another name too, such as a backup's of hard links, is replaced by a copy first: what is appended is this run's alone.
int open_log(const fs::path& path) {
  constexpr int flags = O_WRONLY | O_CREAT | O_APPEND;
  File file(open_regular(path, flags, "append to"));
  struct stat info;
  if (::fstat(file.get(), &info) != 0 || info.st_nlink < 2) return file.release();
  write_file_atomically(path, read_file(path));
  return open_regular(path, flags, "append to");
}

}  // namespace

std::string ending_of(const fs::path& path) {
  std::string ending = path.extension().native();
  for (char& c : ending) c = 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;  // whatever the locale
  return ending;
}

fs::path result_name(const fs::path& path, std::string_view ending, int number) {
  constexpr std::size_t most = 255;
  const std::string end = fmt::format("{}{}", number > 1 ? fmt::format("-{}", number) : "", ending);
  std::string stem = path.stem().native();
  if (stem.size() + end.size() > most) {
    std::size_t cut = most - end.size();
    while (cut > 0 && (static_cast<unsigned char>(stem[cut]) & 0xc0) == 0x80) --cut;  // within a character of UTF-8
    stem.resize(cut);
  }
  return path.parent_path() / (stem + end);
}

std::string temporary_name() {
  std::random_device random;
  return fmt::format(".pastiche-{:08x}{:08x}.tmp", random(), random());
}

bool is_temporary_name(std::string_view name) {
  return name.size() == 30 && name.starts_with(".pastiche-") && name.ends_with(".tmp") &&
         name.substr(10, 16).find_first_not_of("0123456789abcdef") == name.npos;
}

void remove_abandoned_files(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!is_temporary_name(entry->path().filename().native())) continue;
    const File file(entry->path(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat info;
    if (file && ::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode) && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      ::unlink(entry->path().c_str());
    }
  }
}

void remove_temporary_files() noexcept {
  for (Slot& slot : slots) {
    if (slot.state == Slot::ready) ::unlink(slot.path);
  }
}

std::vector<std::string> take_file_system_notes() {
  const std::scoped_lock lock(notes_mutex);
  return std::exchange(notes, {});
}

TemporaryFile::TemporaryFile(const fs::path& folder) : path_((folder.empty() ? "." : folder) / temporary_name()) {
  remember(path_);
  File file(path_, new_file);
  if (!file) {
    const int error = errno;
    forget(path_);
    fail("make a file in", folder, error);
  }
  try_lock(file.get(), folder);
  fd_ = file.release();
}

TemporaryFile::~TemporaryFile() {
  ::unlink(path_.c_str());
  forget(path_);
  ::close(fd_);
}

void TemporaryFile::replace(const fs::path& target) {
  int error = finish(fd_, target, Sync::now);
  if (error == 0) error = put_in_place(path_, target, Sync::now);
  if (error != 0) fail("write", target, error);
}

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> parts, Sync sync) {
  std::size_t size = 0;
  for (const auto& part : parts) size += part.size();
  const std::string what = fmt::format("write {} bytes to", size);
  const auto check = [&](int error) {
    if (error != 0) fail(what, path, error);
  };
  const fs::path folder = folder_of(path);
  const TemporaryName name(folder);
  if (const File file(folder, O_TMPFILE | O_RDWR); file) {
    check(fill(file.get(), parts));
    check(finish(file.get(), path, sync));
    const std::string unnamed = fmt::format("/proc/self/fd/{}", file.get());
    if (::linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, name.path().c_str(), AT_SYMLINK_FOLLOW) == 0) return check(put_in_place(name.path(), path, sync));
  }
  // The file system has no unnamed files or no hard links.
  const File file(name.path(), new_file);
  if (!file) fail(what, path, errno);
  try_lock(file.get(), folder);
  check(fill(file.get(), parts));
  check(finish(file.get(), path, sync));
  check(put_in_place(name.path(), path, sync));
}

void sync_file_system(const fs::path& folder) {
  const File file(folder, O_RDONLY | O_DIRECTORY);
  if (file && ::syncfs(file.get()) == 0) return;
  if (!has_no_sync(errno) || errno == ENOENT) fail("write all to", folder, errno);
  note_once(no_sync, folder);
}

fs::path without_links(const fs::path& path) {
  fs::path at = path;
  for (int links = 0; is_link(at); ++links) {
    std::error_code error;
    const fs::path target = fs::read_symlink(at, error);
    if (error || links == 40) fail("write to", path, error ? error.value() : ELOOP);
    at = folder_of(at) / target;
  }
  return at;
}

void write_where_named(const fs::path& path, std::span<const std::byte> bytes, Sync sync) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) return write_file_atomically(without_links(path), bytes, sync);
  const File file(path, O_WRONLY | O_NOCTTY);
  const int error = file ? fill(file.get(), std::span(&bytes, 1)) : errno;
  if (error != 0) fail(fmt::format("write {} bytes to", bytes.size()), path, error);
}

void write_where_named(const fs::path& path, std::string_view text) { write_where_named(path, std::as_bytes(std::span(text))); }

void write_file_atomically(const fs::path& path, std::span<const std::byte> bytes, Sync sync) {
  write_file_atomically(path, std::span(&bytes, 1), sync);
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

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ExitCode::bad_file, fmt::format("can't make {}: {}", quote(folder.string()), error.message()));
}

fs::path create_run_folder(const fs::path& out, std::string_view name) {
  std::error_code error;
  fs::create_directories(out, error);
  if (error) fail("make run folders in", out, error.value());
  // mkdir() alone would let two processes use one number with two names.
  const File folder(out, O_RDONLY | O_DIRECTORY);
  if (!folder) fail("make run folders in", out, errno);
  if (::flock(folder.get(), LOCK_EX) != 0) note_once(no_locks, out);

  constexpr std::ptrdiff_t most_digits = 9;  // a longer number is a name that somebody gave, such as a date's
  long highest = -1;
  for (fs::directory_iterator entry(out, error), end; !error && entry != end; entry.increment(error)) {
    const std::string text = entry->path().filename().native();
    const auto digits = std::ranges::find_if_not(text, [](char c) { return c >= '0' && c <= '9'; }) - text.begin();
    if (digits > 0 && digits <= most_digits && digits < std::ssize(text) && text[digits] == '-') highest = std::max(highest, std::stol(text));
  }
  if (error) fail("list", out, error.value());
  for (;;) {
    const fs::path run = out / fmt::format("{:05}-{}", ++highest, name);
    if (::mkdir(run.c_str(), 0777) == 0) return run;
    if (errno != EEXIST) fail("make the run folder", run, errno);  // else another process was here, where there are no locks
  }
}

RunLock::RunLock(const fs::path& run_folder) {
  for (const char* name : {"ckpt", "samples"}) {
    if (is_link(run_folder / name)) {
      throw Error(ExitCode::bad_file, fmt::format("{} is a symbolic link, expected a folder of the run itself: put the folder there that it "
                                                  "leads to", quote((run_folder / name).native())));
    }
  }
  const fs::path path = run_folder / "lock";
  File file(open_regular(path, O_RDWR | O_CREAT, "lock"));
  if (!try_lock(file.get(), run_folder)) {
    char owner[32] = {};
    const ssize_t got = ::pread(file.get(), owner, sizeof owner - 1, 0);
    throw Error(ExitCode::failed, fmt::format("{} is being trained by {}: wait for it, stop it, or train into another "
                                              "folder", quote(run_folder.native()),
                                              got > 0 ? fmt::format("process {}", printable(owner)) : "another process"));
  }
  // The number is only for the message above, so a failure to write it is none. A file of two names is another's too.
  struct stat info;
  if (::fstat(file.get(), &info) == 0 && info.st_nlink == 1 && ::ftruncate(file.get(), 0) == 0) write_all(file.get(), std::to_string(::getpid()));
  for (const char* name : {"", "ckpt", "samples"}) remove_abandoned_files(run_folder / name);
  fd_ = file.release();
}

RunLock::~RunLock() { ::close(fd_); }

bool RunLock::is_held(const fs::path& run_folder) {
  const File file(run_folder / "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  return file && ::flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

JsonLines::JsonLines(const fs::path& path) : fd_(open_log(path)) {}

JsonLines::~JsonLines() { ::close(fd_); }

bool JsonLines::append(std::string_view object) {
  const off_t before = ::lseek(fd_, 0, SEEK_END);
  if (write_all(fd_, std::string(object) + '\n') == 0) return true;
  // A full disk may have taken a part of the line: back out of it, so that the next line does not join it. Where that
  // fails too, truncate_after_step() drops the broken line.
  [[maybe_unused]] const int undone = ::ftruncate(fd_, before);
  return false;
}

bool JsonLines::sync() { return ::fsync(fd_) == 0 || has_no_sync(errno); }

void truncate_after_step(const fs::path& path, std::int64_t step) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return;
  ::close(open_regular(path, O_RDONLY, "read"));
  const std::vector<std::byte> bytes = read_file(path);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string kept;
  for (std::size_t end; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1)) {
    const std::optional<nlohmann::json> line = parse_json(rest.substr(0, end));
    if (!line || !line->is_object()) continue;
    const auto found = line->find("step");
    if (found == line->end() || !found->is_number() || *found <= step) kept += rest.substr(0, end + 1);
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

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) append_printable(result, text);
  return result;
}

std::string quote(std::string_view text) {
  std::string result = "'";
  while (!text.empty() && result.size() < 200) append_printable(result, text);
  return result + (text.empty() ? "'" : "...'");
}

std::string shell_argument(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%") == word.npos) {
    return word;
  }
  if (printable(word) != word) {
    std::string quoted = "$'";
    for (std::string_view rest = word; !rest.empty();) {
      if (rest.front() == '\'' || rest.front() == '\\') {
        (quoted += '\\') += rest.front();
        rest.remove_prefix(1);
      } else {
        append_printable(quoted, rest);
      }
    }
    return quoted + "'";
  }
  std::string quoted = "'";
  for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string shell_word(const std::string& word) { return shell_argument(word.starts_with('-') ? "./" + word : word); }

}  // namespace pastiche
