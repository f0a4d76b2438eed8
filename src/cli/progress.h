#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace pastiche {

enum class LogFormat { text, json };

struct ProgressSample {
  std::int64_t step = 0;
  double kimg = 0;
  double fraction = 0;  // of the whole training, 0 to 1
  double images_per_second = 0;
  double ms = 0;  // a step
  double loss_g = 0, loss_d = 0;
  double d_real = 0, d_fake = 0;  // mean of D's probability of "real" over real and generated pictures
  double loss_content = 0;        // of a translation; 0 for none
  double eta_seconds = 0;
};

// The progress of a training, on stderr so that stdout stays for results. On a terminal one line, rewritten in place at
// most ten times a second and cut to its width; elsewhere a line every 30 seconds; as JSON an object every 30 seconds.
class Progress {
 public:
  Progress(LogFormat format, std::string title, int fd = 2);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(const ProgressSample& sample);
  void note(std::string_view text);  // a whole line; on a terminal it stands above the live line
  void finish();                     // shows the last sample; the destructor only ends the live line

 private:
  using Clock = std::chrono::steady_clock;
  std::string text_line() const;
  std::string json_line() const;
  void show();

  LogFormat format_;
  std::string title_;
  int fd_;
  bool live_;             // one line, rewritten in place
  bool line_open_ = false;  // the cursor stands behind a live line
  bool shown_ = true;     // sample_ has been shown
  ProgressSample sample_;
  Clock::time_point next_;
};

// How much of its work a command has done, on stderr: on a terminal in one line below all others, rewritten in place at most ten times a
// second and taken away at the end; elsewhere in a line every 30 seconds. There is one at a time.
class WorkProgress {
 public:
  explicit WorkProgress(std::string title);
  ~WorkProgress();
  WorkProgress(const WorkProgress&) = delete;
  WorkProgress& operator=(const WorkProgress&) = delete;

  void update(double done, std::int64_t total);  // from any thread
  std::function<void(std::int64_t done, std::int64_t total)> observer();  // that updates this
  // Calls `write`, which writes whole lines to the terminal: the live line stands below them.
  static void around(const std::function<void()>& write);

 private:
  using Clock = std::chrono::steady_clock;
  void erase();
  void draw();

  const std::string title_;
  const bool live_;
  const Clock::time_point begin_ = Clock::now();
  Clock::time_point next_;
  bool line_open_ = false;
  std::string line_;
  std::mutex mutex_;
};

}  // namespace pastiche
