#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pastiche {

// Replaces `path` in one step: a new file in the same folder, write, fsync, rename, fsync of the folder. A crash at any instant leaves
// the old content or the new, never a mixture, and where the file system has unnamed files, nothing else. Permissions stay those of the
// old file; a symbolic link is replaced, not followed. Error(bad_file) names the path, the bytes and the system's reason.
//
// Of many files that can be made again, each is left to the system with Sync::later, and sync_file_system() at the end waits once for all.
// A crash before that may leave an empty file.
enum class Sync { now, later };
void write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts, Sync sync = Sync::now);
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes, Sync sync = Sync::now);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// The same for a place that a user names: where it is a symbolic link, what that leads to is replaced, and a FIFO or device is written to.
void write_where_named(const std::filesystem::path& path, std::span<const std::byte> bytes, Sync sync = Sync::now);
void write_where_named(const std::filesystem::path& path, std::string_view text);
// Waits until all that was written to the file system of `folder` is on the disk. Error(bad_file) where it is not.
void sync_file_system(const std::filesystem::path& folder);
// Where the symbolic link `path` leads to in the end, be it there or not; `path` itself where it is none.
std::filesystem::path without_links(const std::filesystem::path& path);

// The extension of a name in small letters: ".jpg" of IMG_0001.JPG, and "" where there is none.
std::string ending_of(const std::filesystem::path& path);

// What to call a result of the file `path`: the same with another ending, and for a `number` above 1, where that is another's, with that
// number: "a/x-2.png". A name that would have more than 255 bytes is cut, between characters.
std::filesystem::path result_name(const std::filesystem::path& path, std::string_view ending, int number = 1);

// A new, empty file for another program to fill, beside what it will replace, under a name that can't be guessed. It goes with this object,
// and by remove_temporary_files(); those of processes that were killed outright go by remove_abandoned_files().
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& folder);  // throws Error(bad_file)
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void replace(const std::filesystem::path& target);  // throws Error(bad_file)

 private:
  std::filesystem::path path_;
  int fd_;  // holds a lock, by which remove_abandoned_files() sees that its process lives
};

// A name for what is to be renamed or removed soon: ".pastiche-1f2e3d4c5b6a7988.tmp".
std::string temporary_name();
bool is_temporary_name(std::string_view name);
void remove_abandoned_files(const std::filesystem::path& folder);
// Those of this process. For signal handlers: it calls nothing that is not async-signal-safe.
void remove_temporary_files() noexcept;

// What a file system could not promise, a sentence each, since the last call; each is told once. Such as that folders can't be synced.
std::vector<std::string> take_file_system_notes();

// The whole of a regular file. Throws Error(bad_file) for anything else (a FIFO would block for ever) and for a file of
// more than `max_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::size_t max_bytes = std::numeric_limits<std::size_t>::max());

// Makes `folder` and those above it where they are absent. Throws Error(bad_file) where that can't be.
void make_folder(const std::filesystem::path& folder);

// Makes and returns `out/00003-NAME`, one above the highest number there; creates `out` where it is absent. Two
// processes never get the same number. Throws Error(bad_file) when the place can't be written.
std::filesystem::path create_run_folder(const std::filesystem::path& out, std::string_view name);

// Holds `RUN/lock` while it lives, so that two trainings never write one run: the second one throws Error(failed) that
// names the first one's process. The kernel drops the lock with its process, however that died, so none goes stale; where the file
// system has no locks, take_file_system_notes() says so. The new owner removes the temporary files that a killed process left.
// A run folder may come from others, so Error(bad_file) where its lock, ckpt or samples is a symbolic link to elsewhere.
class RunLock {
 public:
  explicit RunLock(const std::filesystem::path& run_folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  static bool is_held(const std::filesystem::path& run_folder);  // by a training, as far as can be known

 private:
  int fd_;
};

// Appends to a file of one JSON object a line, such as stats.jsonl. A line is one write(), so a reader that follows the
// file and a crash both see whole lines, but for a torn last one that truncate_after_step() removes.
class JsonLines {
 public:
  explicit JsonLines(const std::filesystem::path& path);  // throws Error(bad_file), also for what is no regular file, such as a link
  ~JsonLines();
  JsonLines(const JsonLines&) = delete;
  JsonLines& operator=(const JsonLines&) = delete;

  // `object` is one JSON object without a line break. False when it could not be written, and then nothing of it was:
  // a full disk should cost a training its log, not its life.
  [[nodiscard]] bool append(std::string_view object);
  // Waits until what was appended is on the disk. False where that failed.
  [[nodiscard]] bool sync();

 private:
  int fd_;
};

// What a resume from a checkpoint of `step` does to its log: drops lines whose "step" is greater, and broken lines.
// An absent file is left absent.
void truncate_after_step(const std::filesystem::path& path, std::int64_t step);

// The candidate nearest to `word` by edit distance, for "did you mean"; empty when none is near. '-' and '_' are equal.
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

// `text` as one line that a terminal shows and does not obey: control characters, marks that turn the direction of writing, and broken
// UTF-8 are escaped. For all that is printed of files, folders and arguments.
std::string printable(std::string_view text);

// printable() between single quotes, and a long text cut.
std::string quote(std::string_view text);

// `word` as a shell reads it: quoted where it needs it, and as $'...' with escapes where it is not printable().
std::string shell_argument(const std::string& word);
// The same for a path in a command that a message tells to type: "./" before a '-', so that it is no option.
std::string shell_word(const std::string& word);

}  // namespace pastiche
