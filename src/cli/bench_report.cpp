#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/json.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

using nlohmann::json;

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// The fields of a name: group, row, precision, device, caches.
struct Fields {
  std::string group, row, precision, device, caches;

  explicit Fields(const std::string& name) {
    std::string* const all[] = {&group, &row, &precision, &device, &caches};
    std::size_t begin = 0;
    for (std::string* field : all) {
      const std::size_t end = std::min(name.find('/', begin), name.size());
      *field = name.substr(begin, end - begin);
      begin = std::min(end + 1, name.size());
    }
  }
  std::string name() const { return group + "/" + row + "/" + precision + "/" + device + "/" + caches; }
};

double unit_seconds(const std::string& unit) {
  if (unit == "ns") return 1e-9;
  if (unit == "us") return 1e-6;
  return unit == "ms" ? 1e-3 : 1;
}

std::string time_text(double seconds) {
  const auto [unit, name] = seconds < 1e-3 ? std::pair{1e-6, "us"} : seconds < 1 ? std::pair{1e-3, "ms"} : std::pair{1.0, "s"};
  return fmt::format("{:.{}f} {}", seconds / unit, seconds / unit < 10 ? 2 : seconds / unit < 100 ? 1 : 0, name);
}

// Columns as wide as their widest cell; the first is aligned left.
std::string aligned_table(const std::vector<std::vector<std::string>>& lines) {
  std::vector<std::size_t> width(lines.front().size());
  for (const auto& line : lines)
    for (std::size_t i = 0; i < line.size(); ++i) width[i] = std::max(width[i], line[i].size());
  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) text += i == 0 ? fmt::format("| {:<{}} ", line[i], width[i]) : fmt::format("| {:>{}} ", line[i], width[i]);
    text += "|\n";
    if (&line == &lines.front()) {
      for (std::size_t i = 0; i < line.size(); ++i) text += i == 0 ? fmt::format("|{:-<{}}", "", width[i] + 2) : fmt::format("|{:->{}}:", "", width[i] + 1);
      text += "|\n";
    }
  }
  return text;
}

// What a row does in its time.
std::string rate_text(const Measurement& m) {
  const double seconds = m.median();
  if (m.counter("pictures") > 0) return fmt::format("{:.1f} pictures/s", m.counter("pictures") / seconds);
  if (m.counter("flop") > 0) return fmt::format("{:.1f} GFLOP/s", m.counter("flop") / seconds / 1e9);
  return fmt::format("{:.2f} GB/s", m.counter("bytes") / seconds / 1e9);
}

const Measurement* find(const BenchResults& results, Fields fields, const char* device, const char* caches) {
  if (device != nullptr) fields.device = device;
  fields.caches = caches;
  const auto at = results.rows.find(fields.name());
  return at == results.rows.end() ? nullptr : &at->second;
}

constexpr const char* vendors[] = {"cudnn", "cudnn-tf32"};
bool is_vendor(const std::string& device) { return device == vendors[0] || device == vendors[1]; }

std::vector<std::string> table_line(const BenchResults& results, const Fields& fields, const Measurement& m) {
  std::vector<std::string> line{fields.row, m.counter("calls") > 0 ? fmt::format("{:.0f}", m.counter("calls")) : "-"};
  if (m.seconds.empty()) {
    line.insert(line.end(), {m.error.starts_with("absent") ? "absent" : "FAILED", "", "", "", ""});
  } else {
    line.insert(line.end(), {time_text(m.median()), time_text(m.min()), rate_text(m),
                             m.counter("roofline_seconds") > 0 ? fmt::format("{:.0f}%", 100 * m.counter("roofline_seconds") / m.median()) : "-"});
    const Measurement* cold = find(results, fields, nullptr, "cold");
    line.push_back(cold != nullptr && !cold->seconds.empty() ? time_text(cold->median()) : "-");
  }
  for (const char* vendor : vendors) {
    if (fields.device != "cuda") {
      line.push_back("absent");
      continue;
    }
    const Measurement* theirs = find(results, fields, vendor, "warm");
    const bool both = theirs != nullptr && !theirs->seconds.empty() && !m.seconds.empty();
    line.push_back(both ? time_text(theirs->median()) : "absent");
    line.push_back(both ? fmt::format("{:.2f}", theirs->median() / m.median()) : "-");
  }
  return line;
}

}  // namespace

double Measurement::median() const { return median_of(seconds); }
double Measurement::min() const { return seconds.empty() ? 0 : *std::min_element(seconds.begin(), seconds.end()); }

double Measurement::spread() const {
  std::vector<double> distances;
  for (double s : seconds) distances.push_back(std::abs(s - median()));
  return median_of(distances);
}

double Measurement::counter(const std::string& name) const {
  const auto at = counters.find(name);
  return at == counters.end() ? 0 : at->second;
}

BenchResults parse_bench_json(std::string_view text, const std::string& file) {
  BenchResults results;
  try {
    const auto parsed = parse_json(text, {.bytes = max_bench_bytes, .depth = 16, .values = 10'000'000});
    if (!parsed) throw Error(ExitCode::bad_file, fmt::format("{} is not what `pastiche bench --json` writes: no JSON of its size", quote(file)));
    const json& all = *parsed;
    for (const auto& [key, value] : all.at("context").items()) {
      if (value.is_string() && (key == "date" || key.starts_with("device ") || key.starts_with("roofline ") || key.starts_with("absent "))) {
        results.context.emplace_back(printable(key), printable(value.get<std::string>()));
      }
    }
    for (const json& each : all.at("benchmarks")) {
      if (each.at("run_type") != "iteration") continue;
      const std::string name = printable(Fields(each.at("run_name")).name());  // without the "/manual_time" that Google Benchmark adds
      const auto [at, is_new] = results.rows.try_emplace(name);
      if (is_new) results.names.push_back(name);
      Measurement& m = at->second;
      if (each.value("error_occurred", false)) {
        m.error = printable(each.value("error_message", "failed"));
        continue;
      }
      m.seconds.push_back(each.at("real_time").get<double>() * unit_seconds(each.at("time_unit")));
      for (const char* counter : {"flop", "bytes", "calls", "roofline_seconds", "pictures"}) {
        if (each.contains(counter)) m.counters[counter] = each.at(counter).get<double>();
      }
    }
  } catch (const json::exception& e) {
    throw Error(ExitCode::bad_file, fmt::format("{} is not what `pastiche bench --json` writes: {}", quote(file), e.what()));
  }
  return results;
}

std::string bench_tables(const BenchResults& results) {
  std::string text;
  for (const auto& [key, value] : results.context) {
    text += key == "absent vendor" ? fmt::format("cuDNN and cuBLAS are absent: {}\n", value) : fmt::format("{}: {}\n", key, value);
  }
  std::vector<std::string> sections;  // in order of appearance
  std::map<std::string, std::vector<std::vector<std::string>>> lines;
  for (const std::string& name : results.names) {
    const Fields fields(name);
    if (fields.caches != "warm" || is_vendor(fields.device)) continue;
    const std::string section = fmt::format("{}, {}, {}", fields.group, fields.precision, fields.device);
    auto& table = lines[section];
    if (table.empty()) {
      sections.push_back(section);
      std::vector<std::string> head{"row", "calls", "time", "least", "rate", "roofline", "cold", "cuDNN", "cuDNN TF32"};
      if (fields.device == "cuda") head = {"row", "calls", "time", "least", "rate", "roofline", "cold", "cuDNN", "ratio", "cuDNN TF32", "ratio"};
      table.push_back(std::move(head));
    }
    table.push_back(table_line(results, fields, results.rows.at(name)));
  }
  for (const std::string& section : sections) text += fmt::format("\n### {}\n\n{}", section, aligned_table(lines.at(section)));
  return text +
         "\nTime: the median of the repetitions, caches warm; cold: with the row's tensors out of the caches. Calls: in a training step. Rate: "
         "an\nupsampling convolution counts the operations of its folded form, GB/s each tensor once. Roofline: the least time that the "
         "measured peaks allow,\nas a share of the time; above 100% the caches have helped. Ratio: the vendor's time over ours.\n";
}

Comparison compare_bench(const BenchResults& before, const BenchResults& after, double limit) {
  Comparison result;
  std::vector<std::vector<std::string>> lines{{"row", "before", "after", "ratio", ""}};
  std::string only;
  for (const std::string& name : before.names) {
    const Measurement& a = before.rows.at(name);
    const auto at = after.rows.find(name);
    if (at == after.rows.end()) {
      only += fmt::format("only before: {}\n", name);
      continue;
    }
    const Measurement& b = at->second;
    if (a.seconds.empty()) continue;  // it failed, or was absent, before
    if (b.seconds.empty()) {
      lines.push_back({name, time_text(a.median()), "-", "-", "FAILS: " + b.error});
      ++result.regressions;
      continue;
    }
    const double growth = b.median() - a.median();
    const bool beyond = growth > limit * a.median(), noise = growth <= 3 * (a.spread() + b.spread());
    const char* verdict = !beyond ? growth < -limit * a.median() ? "faster" : "" : noise ? "within the spread" : "REGRESSED";
    lines.push_back({name, time_text(a.median()), time_text(b.median()), fmt::format("{:.3f}", b.median() / a.median()), verdict});
    result.regressions += beyond && !noise;
  }
  for (const std::string& name : after.names) {
    if (!before.rows.contains(name)) only += fmt::format("only after: {}\n", name);
  }
  if (lines.size() == 1) throw Error(ExitCode::bad_file, "the two files have no measured row in common");
  result.text = aligned_table(lines) + (only.empty() ? "" : "\n" + only) +
                fmt::format("\n{} of {} rows regressed by more than {:g}%\n", result.regressions, lines.size() - 1, 100 * limit);
  return result;
}

}  // namespace pastiche::cli
