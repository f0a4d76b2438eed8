#include "pastiche/report.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/json.h"
#include "methods/method.h"
#include "pastiche/config.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/losses.h"

namespace fs = std::filesystem;

namespace pastiche {
namespace {

constexpr const char* style = R"(
:root { --back: #ffffff; --text: #1c2126; --soft: #5d6873; --line: #dfe3e8; --card: #f5f7f9;
        --a: #1f66d6; --b: #c8540a; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --text: #e4e8ec; --soft: #98a3ae; --line: #30363d; --card: #1c2127;
          --a: #6ba5ff; --b: #ff9a52; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.25rem 4rem; background: var(--back); color: var(--text);
       font: 15px/1.5 system-ui, sans-serif; color-scheme: light dark; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
.lead { color: var(--soft); margin: .25rem 0 1.5rem; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; }
.card { background: var(--card); border-radius: .5rem; padding: .6rem .9rem; }
.card b { display: block; font-size: 1.25rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.card span, figcaption { color: var(--soft); font-size: .85rem; }
.large, .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.25rem; }
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem;
         margin-top: 1.25rem; }
figure { margin: 0; }
img { display: block; width: 100%; image-rendering: pixelated; border-radius: .35rem; background: var(--card); }
.large img { max-width: 40rem; }
svg { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--soft); }
.grid { stroke: var(--line); }
.a, .b { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
.a { stroke: var(--a); } .b { stroke: var(--b); }
.band { opacity: .2; } .band.a { fill: var(--a); stroke: none; } .band.b { fill: var(--b); stroke: none; }
.legend { float: right; font-weight: 400; font-size: .85rem; color: var(--soft); }
.legend i { display: inline-block; width: .9em; height: .25em; margin: 0 .35em .2em .9em; border-radius: 2px; }
h3 { font-size: .95rem; margin: 0 0 .35rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; } td:last-child { color: var(--soft); }
code { font: .9em ui-monospace, monospace; }
.changed code { font-weight: 700; color: var(--a); }
)";

std::string escape(std::string_view text) {
  std::string result;
  for (char c : printable(text)) {
    switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

std::string base64(const std::vector<std::byte>& bytes) {
  constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = i; j < i + 3; ++j) {
      group = group << 8 | (j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[j]) : 0);
    }
    for (int shift = 18; shift >= 0; shift -= 6) result += digits[group >> shift & 63];
  }
  for (std::size_t i = 0; i < (3 - bytes.size() % 3) % 3; ++i) result[result.size() - 1 - i] = '=';
  return result;
}

// What can't be read is left out of the report; so are links, by which a run folder from others would bring files into it that are not its.
std::string text_of(const fs::path& path) {
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(path, error))) return {};
  try {
    const std::vector<std::byte> bytes = read_file(path, std::size_t{1} << 30);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  } catch (const Error&) {
    return {};
  }
}

// Three significant digits: 12.3k, 0.0456.
std::string brief(double value) {
  const double size = std::abs(value);
  if (size >= 999'500) return fmt::format("{:.3g}M", value / 1e6);
  if (size >= 9'995) return fmt::format("{:.3g}k", value / 1e3);
  if (size >= 999.5) return fmt::format("{:.0f}", value);
  return fmt::format("{:.3g}", value);
}

struct Point {
  double x, y;
};

// A run of neighbouring points: thousands of them are drawn as their mean over a band from lowest to highest.
struct Bin {
  double count, x, mean, low, high;

  void add(const Bin& other) {
    const double part = other.count / (count + other.count);
    count += other.count;
    x = x * (1 - part) + other.x * part;  // the difference of two could be over the range of a double
    mean = mean * (1 - part) + other.mean * part;
    low = std::min(low, other.low);
    high = std::max(high, other.high);
  }
};

// Points over steps, however many, in bounded memory: where there are too many bins, two become one.
class Series {
 public:
  void add(const Point& point) {
    if (count_++ == 0) first_ = point;
    last_ = point;
    const Bin bin{1, point.x, point.y, point.y, point.y};
    if (!bins_.empty() && bins_.back().count < points_a_bin_) return bins_.back().add(bin);
    if (bins_.size() == most_bins) {
      for (std::size_t i = 0; i < most_bins / 2; ++i) {
        bins_[i] = bins_[2 * i];
        bins_[i].add(bins_[2 * i + 1]);
      }
      bins_.resize(most_bins / 2);
      points_a_bin_ *= 2;
    }
    bins_.push_back(bin);
  }

  bool empty() const { return count_ == 0; }
  std::int64_t size() const { return count_; }
  const Point& front() const { return first_; }
  const Point& back() const { return last_; }
  const std::vector<Bin>& bins() const { return bins_; }

 private:
  static constexpr std::size_t most_bins = 400;  // about what 560 units can show of a line and a two-sided band
  std::vector<Bin> bins_;
  double points_a_bin_ = 1;
  std::int64_t count_ = 0;
  Point first_{}, last_{};
};

// The median of positive numbers to within a hundredth, in bounded memory.
class Median {
 public:
  void add(double value) {
    if (!(value > 0) || !std::isfinite(value)) return;
    Class& of_its_size = classes_[static_cast<int>(std::floor(100 * std::log(value)))];
    of_its_size.count += 1;
    of_its_size.sum += value;
    count_ += 1;
  }
  // Of none 0.
  double value() const {
    double below = 0;
    for (const auto& [size, each] : classes_) {
      below += each.count;
      if (2 * below > count_) return each.sum / each.count;
    }
    return 0;
  }

 private:
  struct Class {
    double count = 0, sum = 0;
  };
  std::map<int, Class> classes_;  // by hundredths of the logarithm: at most 142,000, and of what is measured some hundred
  double count_ = 0;
};

struct Stats {
  std::map<std::string, Series> series;  // by name
  Median ms;
  double last_step = 0;

  void add(std::string_view text) {
    const auto parsed = parse_json(text);
    if (!parsed || !parsed->is_object()) return;
    const nlohmann::json& line = *parsed;
    // Numbers that no training has could make an axis of endless ticks.
    if (!line.contains("step") || !line["step"].is_number_unsigned() || line["step"] > 1e12) return;
    const double step = line["step"];
    last_step = std::max(last_step, step);
    for (const char* name : {"kimg", "loss_g", "loss_d", "loss_content", "d_real", "d_fake", "ms", "l1", "psnr", "ssim"}) {
      const auto value = line.find(name);
      if (value == line.end() || !value->is_number()) continue;
      const double y = std::clamp(value->get<double>(), -1e30, 1e30);
      series[name].add({step, std::abs(y) < 1e-30 ? 0 : y});
      if (name == std::string_view("ms")) ms.add(*value);
    }
  }
};

// A file of one JSON object a line, read as far as it has got.
class Log {
 public:
  explicit Log(fs::path path) : path_(std::move(path)) {}

  // What it says. Only what was added since the last call is read, unless it's another file or shorter than it was.
  Stats read() {
    const int fd = ::open(path_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat info {};
    const bool readable = fd >= 0 && ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    if (!readable || info.st_ino != inode_ || info.st_size < at_) {
      stats_ = {};
      at_ = 0;
    }
    inode_ = info.st_ino;
    std::string line;  // as far as it was in the buffers before
    if (readable) line = read_from(fd);
    if (fd >= 0) ::close(fd);
    Stats result = stats_;
    result.add(line);  // the last one may lack its end, and is read again
    return result;
  }

 private:
  // Returns what follows the last whole line.
  std::string read_from(int fd) {
    std::vector<char> buffer(most_line_bytes);
    std::string line;
    off_t at = at_;
    for (ssize_t got; (got = ::pread(fd, buffer.data(), buffer.size(), at)) > 0; at += got) {
      std::string_view rest(buffer.data(), static_cast<std::size_t>(got));
      for (std::size_t end; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1)) {
        if (line.size() <= most_line_bytes) stats_.add(line.empty() ? rest.substr(0, end) : line += rest.substr(0, end));
        line.clear();
        at_ = at + (rest.data() - buffer.data()) + static_cast<off_t>(end) + 1;
      }
      if (line.size() <= most_line_bytes) line += rest;  // a longer one is none of ours
    }
    return line;
  }

  static constexpr std::size_t most_line_bytes = std::size_t{64} << 10;
  const fs::path path_;
  Stats stats_;
  ino_t inode_ = 0;
  off_t at_ = 0;  // behind the last whole line
};

// 1, 2 or 5 times a power of ten, for about `count` of them in `span`.
double tick_step(double span, int count) {
  const double raw = span / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double digit = raw / power;
  return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

// The multiples of `step` in [low, high], but no more than 16: a log of numbers that no training writes can ask for any.
std::vector<double> ticks(double step, double low, double high) {
  std::vector<double> all;
  for (double number = std::ceil(low / step); number * step <= high && all.size() < 16; ++number) all.push_back(number * step + 0.0);  // 0, not -0
  return all;
}

struct Curve {
  const char* label;
  const char* css;  // class and colour variable
  std::vector<Bin> bins;
};

constexpr double width = 560, height = 240, left = 44, right = 8, top = 8, bottom = 34;

// Curves over steps as inline SVG. The upper end of y follows the means, so that one spike does not flatten the rest.
std::string chart(const std::string& title, const std::vector<Curve>& curves, std::optional<double> fixed_high = {}) {
  double x_low = INFINITY, x_high = -INFINITY, low = 0, high = 0;
  for (const Curve& curve : curves) {
    for (const Bin& bin : curve.bins) {
      x_low = std::min(x_low, bin.x), x_high = std::max(x_high, bin.x);
      low = std::min(low, bin.mean * 1.1), high = std::max(high, bin.mean * 1.1);
    }
  }
  if (!(x_low <= x_high)) return {};
  if (x_low == x_high) x_high += 1;
  if (fixed_high) low = 0, high = *fixed_high;
  if (low == high) high = 1;
  const auto x_of = [&](double x) { return left + (x - x_low) / (x_high - x_low) * (width - left - right); };
  const auto y_of = [&](double y) {
    return std::clamp(top + (high - y) / (high - low) * (height - top - bottom), top, height - bottom);
  };

  std::string legend, svg;
  for (const double y : ticks(tick_step(high - low, 5), low, high * 1.0001)) {
    svg += fmt::format(R"(<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}" text-anchor="end">{}</text>)",
                       left, y_of(y), width - right, left - 6, y_of(y) + 4, brief(y));
  }
  for (const double x : ticks(tick_step(x_high - x_low, 8), x_low, x_high)) {
    svg += fmt::format(R"(<path class="grid" d="M{0:.1f} {1}v4"/><text x="{0:.1f}" y="{2}" text-anchor="middle">{3})"
                       "</text>", x_of(x), height - bottom, height - bottom + 16, brief(x));
  }
  svg += fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">step</text>)", (left + width - right) / 2, height - 3);
  for (const Curve& curve : curves) {
    if (curve.bins.empty()) continue;
    std::string line, band;
    for (const Bin& bin : curve.bins) {
      line += fmt::format("{}{:.1f} {:.1f}", line.empty() ? 'M' : 'L', x_of(bin.x), y_of(bin.mean));
      band += fmt::format("{}{:.1f} {:.1f}", band.empty() ? 'M' : 'L', x_of(bin.x), y_of(bin.high));
    }
    for (auto bin = curve.bins.rbegin(); bin != curve.bins.rend(); ++bin) {
      band += fmt::format("L{:.1f} {:.1f}", x_of(bin->x), y_of(bin->low));
    }
    svg += fmt::format(R"(<path class="band {0}" d="{1}Z"/><path class="{0}" d="{2}"/>)", curve.css, band, line);
    legend += fmt::format(R"-(<i style="background:var(--{})"></i>{} {})-", curve.css, curve.label,
                          brief(curve.bins.back().mean));
  }
  return fmt::format(R"(<figure><h3>{0} <span class="legend">{1}</span></h3><svg viewBox="0 0 {2} {3}" role="img" )"
                     R"(aria-label="{0}">{4}</svg></figure>)" "\n", title, legend, width, height, svg);
}

std::string charts_section(Stats& stats, bool relativistic) {
  const auto bins = [&](const char* name) { return stats.series[name].bins(); };
  const std::string charts =
      chart("Loss", {{"generator", "a", bins("loss_g")}, {"discriminator", "b", bins("loss_d")}}) +
      chart("Content loss", {{"content", "a", bins("loss_content")}}) +
      chart(relativistic ? "D’s probability of being the more real one of a pair" : "D’s probability of real", {{"real", "a", bins("d_real")}, {"generated", "b", bins("d_fake")}}, 1.0) +
      chart("Step time, ms", {{"ms", "a", bins("ms")}});
  return charts.empty() ? "" : "<h2>Curves</h2>\n<div class=\"charts\">\n" + charts + "</div>\n";
}

// Of a translation of pairs, how near results are to their targets.
std::string holdout_section(Stats measured) {
  if (measured.last_step == 0) return {};
  const auto last = [&](const char* name) { return measured.series[name].empty() ? 0 : measured.series[name].back().y; };
  const auto curve = [&](const char* name) { return std::vector<Curve>{{name, "a", measured.series[name].bins()}}; };
  return fmt::format("<h2>Pictures held out</h2>\n<p class=\"lead\">At step {:.0f}: L1 {:.4f}, PSNR {:.2f} dB, SSIM {:.4f}.</p>\n"
                     "<div class=\"charts\">\n", measured.last_step, last("l1"), last("psnr"), last("ssim")) +
         chart("L1", curve("l1")) + chart("PSNR, dB", curve("psnr")) + chart("SSIM", curve("ssim"), 1.0) + "</div>\n";
}

struct Sample {
  long step;
  fs::path path;
};

std::vector<Sample> find_samples(const fs::path& folder) {
  std::vector<Sample> samples;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string stem = entry->path().stem().native();
    long step = 0;
    const auto [stop, bad] = std::from_chars(stem.data(), stem.data() + stem.size(), step);
    const bool number = bad == std::errc() && stop == stem.data() + stem.size();
    if (number && entry->path().extension() == ".png") samples.push_back({step, entry->path()});
  }
  std::ranges::sort(samples, {}, &Sample::step);
  return samples;
}

// Empty for what is no PNG.
std::string figure(const fs::path& path, const std::string& caption) {
  const std::string png = text_of(path);
  if (!png.starts_with("\x89PNG\r\n\x1a\n")) return {};
  const auto bytes = std::as_bytes(std::span(png));
  return fmt::format(R"(<figure><img alt="{0}" src="data:image/png;base64,{1}"><figcaption>{0}</figcaption></figure>)",
                     caption, base64({bytes.begin(), bytes.end()})) + '\n';
}

std::string samples_section(const fs::path& run, const Method* method) {
  const std::vector<Sample> samples = find_samples(run / "samples");
  if (samples.empty()) return {};
  const char* order = method != nullptr ? method->sample_order() : "";
  const auto shown = [&](const Sample& sample) { return figure(sample.path, fmt::format("step {}{}", sample.step, order)); };
  std::string strip;
  const std::size_t count = std::min<std::size_t>(samples.size(), 12);
  for (std::size_t i = 0; i < count && count > 1; ++i) strip += shown(samples[i * (samples.size() - 1) / (count - 1)]);
  return "<h2>Samples</h2>\n<div class=\"large\">\n" + shown(samples.back()) +
         figure(run / "reals.png", method != nullptr ? method->reals_caption() : "real pictures") + "</div>\n" +
         (strip.empty() ? "" : "<div class=\"strip\">\n" + strip + "</div>\n");
}

std::string card(const std::string& value, const char* label) {
  return fmt::format("<div class=\"card\"><b>{}</b><span>{}</span></div>\n", value, label);
}

std::string cards_section(Stats& stats) {
  if (stats.last_step == 0) return {};
  std::string cards = card(fmt::format("{:.0f}", stats.last_step), "steps");
  const Series& kimg = stats.series["kimg"];
  if (!kimg.empty()) cards += card(fmt::format("{:.1f}", kimg.back().y), "thousand pictures seen");
  if (const double typical = stats.ms.value(); typical > 0) {
    cards += card(brief(typical) + " ms", "median step");
    if (kimg.size() > 1 && kimg.back().x > kimg.front().x) {
      const double batch = 1000 * (kimg.back().y - kimg.front().y) / (kimg.back().x - kimg.front().x);
      cards += card(brief(batch / typical * 1000), "pictures a second");
    }
  }
  return "<div class=\"cards\">\n" + cards + "</div>\n";
}

std::string plain(const nlohmann::ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : json_text(value);
}

// A row a fact; those of an inner object are named "outer inner".
std::string fact_rows(const std::string& prefix, const nlohmann::ordered_json& facts) {
  std::string rows;
  for (const auto& [key, value] : facts.items()) {
    if (prefix.empty() && key == "config") continue;  // has a table of its own
    if (value.is_object() && prefix.empty()) {
      rows += fact_rows(key + " ", value);
      continue;
    }
    std::string text;
    if (value.is_array()) {
      for (const auto& item : value) text += (text.empty() ? "" : " ") + plain(item);
    } else {
      text = plain(value);
    }
    rows += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escape(prefix + key), escape(text));
  }
  return rows;
}

std::string facts_section(const nlohmann::ordered_json& facts) {
  return facts.is_object() ? "<h2>Run</h2>\n<table>\n" + fact_rows("", facts) + "</table>\n" : "";
}

std::string config_section(const TrainConfig& config) {
  const nlohmann::ordered_json values = nlohmann::ordered_json::parse(config_to_json(config));
  const nlohmann::ordered_json defaults = nlohmann::ordered_json::parse(config_to_json(default_config(config.model, config.preset)));
  std::string rows;
  visit_options(config, [&](const Option& option, const auto&) {
    rows += fmt::format("<tr{}><td>{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
                        values[option.name] == defaults[option.name] ? "" : " class=\"changed\"", option.name,
                        escape(values[option.name].dump()), escape(option.help));
  });
  return "<h2>Configuration</h2>\n<p class=\"lead\">What differs from the default is set in colour.</p>\n<table>\n" +
         rows + "</table>\n";
}

}  // namespace

struct ReportWriter::Logs {
  Log stats, holdout;
};

ReportWriter::ReportWriter(const fs::path& run_folder)
    : folder_(run_folder), logs_(new Logs{Log(run_folder / "stats.jsonl"), Log(run_folder / "holdout.jsonl")}) {}

ReportWriter::~ReportWriter() = default;

void write_report(const fs::path& run_folder) { ReportWriter(run_folder).write(); }

void ReportWriter::write() {
  std::error_code error;
  if (!fs::is_directory(folder_, error)) {
    throw Error(ExitCode::bad_file, "no run folder " + quote(folder_.native()) + ": expected one that train made");
  }
  const fs::path whole = fs::absolute(folder_).lexically_normal();
  const std::string name = escape((whole.has_filename() ? whole : whole.parent_path()).filename().native());
  std::optional<TrainConfig> config = TrainConfig{};
  try {
    load_config(folder_ / "config.toml", *config, {.options = true});
  } catch (const Error&) {
    config.reset();
  }
  Stats stats = logs_->stats.read();
  const auto facts = parse_json<nlohmann::ordered_json>(text_of(folder_ / "run.json")).value_or(nullptr);
  const std::string lead = config ? escape(config->model + " trained on " + config->data) : "";
  write_file_atomically(
      folder_ / "report.html",
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + name + "</title>\n<style>" + style +
          "</style>\n</head>\n<body>\n<h1>" + name + "</h1>\n<p class=\"lead\">" + lead + "</p>\n" +
          cards_section(stats) + samples_section(folder_, config ? &find_method(config->model) : nullptr) + charts_section(stats, config && adversarial_loss(config->loss).relativistic) +
          holdout_section(logs_->holdout.read()) + facts_section(facts) +
          (config ? config_section(*config) : "") + "</body>\n</html>\n");
}

}  // namespace pastiche
