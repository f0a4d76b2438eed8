#include "progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "core/system.h"
#include "io/json.h"

namespace pastiche {
namespace {

using namespace std::chrono_literals;

void write_text(int fd, std::string_view text) {
  // Where stderr can't be written, a training goes on without progress.
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(written);
  }
}

std::size_t terminal_width(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

double resident_mib() { return static_cast<double>(resident_bytes()) / (1 << 20); }

std::string clock_text(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "-";
  const long whole = std::lround(seconds);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

// At most `width` characters of UTF-8 text, all of which are taken to be one column wide.
std::string_view fitted(std::string_view text, std::size_t width) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
    if (begins && columns++ == width) return text.substr(0, at);
  }
  return text;
}

}  // namespace

Progress::Progress(LogFormat format, std::string title, int fd)
    : format_(format), title_(std::move(title)), fd_(fd), live_(format == LogFormat::text && ::isatty(fd)) {}

Progress::~Progress() {
  if (line_open_) write_text(fd_, "\n");
}

void Progress::update(const ProgressSample& sample) {
  sample_ = sample;
  shown_ = false;
  if (Clock::now() >= next_) show();
}

void Progress::note(std::string_view text) {
  if (format_ == LogFormat::json) {
    write_text(fd_, json_text(nlohmann::json({{"note", text}})) + "\n");
    return;
  }
  const bool redraw = line_open_;
  if (redraw) write_text(fd_, "\r\x1b[K");
  for (std::size_t end; !text.empty(); text.remove_prefix(std::min(text.size(), end + 1))) {
    end = std::min(text.find('\n'), text.size());
    write_text(fd_, printable(text.substr(0, end)) + "\n");
  }
  line_open_ = false;
  if (redraw) show();
}

void Progress::finish() {
  if (!shown_) show();
  if (line_open_) write_text(fd_, "\n");
  line_open_ = false;
}

void Progress::show() {
  next_ = Clock::now() + (live_ ? Clock::duration(100ms) : Clock::duration(30s));
  shown_ = true;
  line_open_ = live_;
  if (live_) {
    // A full last column would make some terminals wrap.
    write_text(fd_, fmt::format("\r{}\x1b[K", fitted(text_line(), terminal_width(fd_) - 1)));
  } else {
    write_text(fd_, (format_ == LogFormat::json ? json_line() : text_line()) + "\n");
  }
}

// What matters most stands first, because a narrow terminal cuts the end.
std::string Progress::text_line() const {
  const ProgressSample& s = sample_;
  const std::string content = s.loss_content > 0 ? fmt::format(" content {:.3f}", s.loss_content) : "";
  return fmt::format("{}  kimg {:.1f} {:.1f}%  ETA {}  {:.0f} img/s {:.1f} ms  G {:.2f} D {:.2f}{}  D(real) {:.2f} "
                     "D(fake) {:.2f}  mem {:.0f} MiB  step {}",
                     title_, s.kimg, 100 * std::clamp(s.fraction, 0.0, 1.0), clock_text(s.eta_seconds),
                     s.images_per_second, s.ms, s.loss_g, s.loss_d, content, s.d_real, s.d_fake, resident_mib(), s.step);
}

std::string Progress::json_line() const {
  const ProgressSample& s = sample_;
  nlohmann::ordered_json line = {{"title", title_},
                                 {"step", s.step},
                                 {"kimg", s.kimg},
                                 {"fraction", s.fraction},
                                 {"images_per_second", s.images_per_second},
                                 {"ms", s.ms},
                                 {"loss_g", s.loss_g},
                                 {"loss_d", s.loss_d},
                                 {"d_real", s.d_real},
                                 {"d_fake", s.d_fake},
                                 {"memory_mib", std::round(resident_mib())},
                                 {"eta_seconds", std::round(s.eta_seconds)}};
  if (s.loss_content > 0) line["loss_content"] = s.loss_content;
  return json_text(line);
}

namespace {

WorkProgress* work_in_progress = nullptr;

}  // namespace

WorkProgress::WorkProgress(std::string title)
    : title_(std::move(title)), live_(::isatty(2)), next_(begin_ + (live_ ? Clock::duration(500ms) : Clock::duration(30s))) {
  work_in_progress = this;
}

WorkProgress::~WorkProgress() {
  work_in_progress = nullptr;
  erase();
}

void WorkProgress::erase() {
  if (line_open_) write_text(2, "\r\x1b[K");
  line_open_ = false;
}

void WorkProgress::draw() {
  write_text(2, live_ ? fmt::format("\r{}\x1b[K", fitted(line_, terminal_width(2) - 1)) : line_ + "\n");
  line_open_ = live_;
}

void WorkProgress::around(const std::function<void()>& write) {
  if (work_in_progress == nullptr) return write();
  const std::lock_guard lock(work_in_progress->mutex_);
  const bool redraw = work_in_progress->line_open_;
  work_in_progress->erase();
  write();
  if (redraw) work_in_progress->draw();
}

std::function<void(std::int64_t, std::int64_t)> WorkProgress::observer() {
  return [this](std::int64_t done, std::int64_t total) { update(static_cast<double>(done), total); };
}

void WorkProgress::update(double done, std::int64_t total) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (now < next_ || done <= 0) return;
  next_ = now + (live_ ? Clock::duration(100ms) : Clock::duration(30s));
  const double seconds = std::chrono::duration<double>(now - begin_).count(), part = done / static_cast<double>(total);
  const std::string count = total == 1 ? "" : fmt::format("{:.0f} of {}  ", std::floor(done), total);
  line_ = fmt::format("{}  {}{:.0f}%  ETA {}", title_, count, 100 * part, clock_text(seconds * (1 / part - 1)));
  draw();
}

}  // namespace pastiche
