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

// Replaces `path` in one step: temporary file in the same folder, write, fsync, rename, fsync of the folder. A crash at
// any instant leaves the old content or the new, never a mixture. On failure the temporary file is removed and
// Error(bad_file) names the path, the bytes and the system's reason.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts);
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// The whole of a regular file. Throws Error(bad_file) for anything else (a FIFO would block for ever) and for a file of
// more than `max_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::size_t max_bytes = std::numeric_limits<std::size_t>::max());

// Makes and returns `out/00003-NAME`, one above the highest number there; creates `out` where it is absent. Two
// processes never get the same number. Throws Error(bad_file) when the place can't be written.
std::filesystem::path create_run_folder(const std::filesystem::path& out, std::string_view name);

// Holds `RUN/lock` while it lives, so that two trainings never write one run: the second one throws Error(failed) that
// names the first one's process. The kernel drops the lock with its process, however that died, so none goes stale. The
// new owner removes the temporary files that a killed process left.
class RunLock {
 public:
  explicit RunLock(const std::filesystem::path& run_folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

// Appends to a file of one JSON object a line, such as stats.jsonl. A line is one write(), so a reader that follows the
// file and a crash both see whole lines, but for a torn last one that truncate_after_step() removes.
class JsonLines {
 public:
  explicit JsonLines(const std::filesystem::path& path);  // throws Error(bad_file)
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

// `text` between single quotes for a one-line message: control characters and broken UTF-8 are escaped, and a long text
// is cut.
std::string quote(std::string_view text);

// `word` as a POSIX shell reads it: quoted where it needs it. For every command that a message tells to type.
std::string shell_word(const std::string& word);

}  // namespace pastiche
