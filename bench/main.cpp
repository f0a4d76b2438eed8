// The program that measures, for `pastiche bench`, which finds it beside itself: rows of the op table, launches of the models'
// training steps, whole steps, and pictures generated, each a Google Benchmark of a name with five fields:
//
//   group/row/precision/device/caches    dcgan-64 batch 4/conv2d [4,64,64,3] [4,64,64,64] [3,5,5,64] pad 2/f32/cpu/warm
//
// Times are the devices' own. Its JSON carries each row's operations and bytes, and the least time that the device's roofline
// allows.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <numeric>

#include "backends/traced.h"
#include "cli/bench_options.h"
#include "device.h"
#include "model.h"
#include "retune.h"
#include "rows.h"

namespace pastiche::bench {
namespace {

using cli::BenchOptions;

bool wanted(const BenchOptions& o, std::string_view what) {
  return o.what.empty() || std::find(o.what.begin(), o.what.end(), what) != o.what.end();
}

// ---- devices ---------------------------------------------------------------------------------------------------------

// What --device means here.
struct Names {
  std::vector<std::string> devices;
  std::string absent = "cuda was not asked for";  // why there is no vendor to compare with, where cuda is not among them
};

Names device_names(const BenchOptions& o) {
  Names names;
  for (const std::string& word : cli::split_list(o.device)) {
    const DeviceChoice choice = choose_device(word);
    if (word == "auto" && choice.name != "cuda") names.absent = choice.why.empty() ? "this build has no cuda" : choice.why;
    names.devices.push_back(choice.name);
  }
  if (names.devices.empty()) throw Error(ExitCode::usage, "--device names no device");
  return names;
}

// Enough to fill a GPU; few where a step would take long.
std::int64_t batch_of(const BenchOptions& o, const std::string& device) {
  if (o.batch > 0) return o.batch;
  return device == "cuda" ? 64 : device == "cpu" ? 4 : 1;
}

std::vector<Precision> precisions_of(const BenchOptions& o) {
  std::vector<Precision> precisions;
  for (const std::string& name : cli::split_list(o.precision)) precisions.push_back({name});
  if (precisions.size() > 1 && std::any_of(precisions.begin(), precisions.end(), [](const Precision& p) { return p.tf32(); })) {
    throw Error(ExitCode::usage, fmt::format("--precision {}: tf32 is measured alone, as it is another way to run what f32 names", o.precision));
  }
  return precisions;
}

// Error(usage) for one that computes nothing of a precision.
KernelChoice kernels_of(const BenchOptions& o) {
  KernelChoice kernels = parse_kernels(o.kernel);
  for (const Precision& precision : precisions_of(o)) {
    kernels.tf32 = precision.tf32();
    require_dtype(kernels, precision.dtype());
  }
  return kernels;
}

struct Devices {
  std::vector<std::unique_ptr<Device>> all;
  std::vector<Roofline> rooflines;  // of each
};

void note(const std::string& key, const std::string& text) { benchmark::AddCustomContext(key, text); }

// Ours that were asked for, each followed by the vendor's beside it. What is missing beside them is told with its reason.
Devices open_devices(const BenchOptions& o, const Names& names) {
  Devices devices;
  const KernelChoice kernels = kernels_of(o);
  std::string absent = names.absent;
  for (const std::string& name : names.devices) {
    devices.all.push_back(make_device(name, o.threads, kernels));
    if (!o.dry_run) note("device " + name, devices.all.back()->backend().fingerprint());
    if (name == "cuda") absent = vendors_of(name).empty() ? "this build has no cuDNN" : "";
    for (const std::string& vendor : vendors_of(name)) {
      devices.all.push_back(make_device(vendor, o.threads, {}));
      if (!o.dry_run) note("device " + vendor, devices.all.back()->backend().fingerprint());
    }
  }
  if (!absent.empty()) note("absent vendor", absent);
  for (const auto& device : devices.all) {
    if (device->is_vendor()) {
      devices.rooflines.emplace_back();
      continue;
    }
    const Roofline r = devices.rooflines.emplace_back(o.dry_run ? Roofline{} : device->measure_roofline());
    if (r.bytes > 0) {
      note("roofline " + device->name(),
           fmt::format("{:.0f} GFLOP/s in {}, {:.0f} GFLOP/s in bf16, {:.1f} GB/s, measured in this run", r.f32_flop / 1e9,
                       kernels.tf32 ? "tf32" : "f32", r.bf16_flop / 1e9, r.bytes / 1e9));
    }
  }
  return devices;
}

// ---- measuring -------------------------------------------------------------------------------------------------------

// What the benchmark at hand runs, kept from one of its repetitions to the next.
struct Current {
  const void* row = nullptr;
  const Device* device = nullptr;
  std::unique_ptr<Program> program;
  std::function<void()> work;
  std::string absent;
};

Current& current(const void* row, const Device& device, bool& fresh) {
  static Current now;
  fresh = now.row != row || now.device != &device;
  if (fresh) now = Current{row, &device, nullptr, nullptr, {}};
  return now;
}

void set_counters(benchmark::State& state, const Row& row, const Roofline& roofline) {
  double flop = 0, bytes = 0, least = 0;
  for (const Launch& launch : row.launches) {
    flop += launch.flop;
    bytes += launch.bytes;
    least += roofline.seconds(launch);
  }
  // Of a counter that is 0, Google Benchmark's coefficient of variation is NaN, and its JSON is none.
  const auto set = [&](const char* name, double value) {
    if (value > 0) state.counters[name] = value;
  };
  set("flop", flop);
  set("bytes", bytes);
  set("calls", static_cast<double>(row.calls));
  set("roofline_seconds", least);
}

// An error of one row is that row's result.
template <class F> void guarded(benchmark::State& state, F measure) {
  try {
    measure();
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

void measure_row(benchmark::State& state, Device& device, const Row& row, const Roofline& roofline, bool cold) {
  guarded(state, [&] {
    bool fresh = false;
    Current& now = current(&row, device, fresh);
    if (fresh) {
      now.program = std::make_unique<Program>(device.backend(), *row.recorder, row.launches);
      const long stand_ins = device.stand_ins();
      now.program->run();
      if (device.stand_ins() != stand_ins) now.absent = "absent: the vendor has no kernel for this";
    }
    if (!now.absent.empty()) return state.SkipWithError(now.absent.c_str());
    const auto timer = device.timer(*now.program);
    for (auto _ : state) state.SetIterationTime(cold ? timer->cold() : timer->warm());
    set_counters(state, row, roofline);
  });
}

// What a model does as a whole: step_of or generation_of.
using WorkOf = std::function<void()> (*)(const ModelCase&, Backend&, DType);

void measure_whole(benchmark::State& state, Device& device, const ModelCase& model, const Row& row, DType dtype,
                   const Roofline& roofline, WorkOf work_of) {
  guarded(state, [&] {
    bool fresh = false;
    Current& now = current(&row, device, fresh);
    if (fresh) {
      now.work = work_of(model, device.backend(), dtype);
      for (int i = 0; i < 2; ++i) now.work();  // the second step is recorded, where a device can; weights are kept from it on
    }
    for (auto _ : state) {
      const auto begin = std::chrono::steady_clock::now();
      now.work();
      state.SetIterationTime(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    set_counters(state, row, roofline);
    state.counters["pictures"] = model.config.batch;
  });
}

std::string full_name(const std::string& group, const Row& row, const Precision& precision, const Device& device, const char* caches) {
  return fmt::format("{}/{}/{}/{}/{}", group, row.name, precision.name, device.name(), caches);
}

// What is registered, and what it refers to.
struct Registered {
  Devices devices;
  std::deque<std::vector<Row>> ops;
  std::deque<std::pair<ModelCase, ModelRows>> models;
};

void register_rows(const Devices& devices, const std::string& group, const std::vector<Row>& rows, const Precision& precision) {
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < devices.all.size(); ++i) {
      Device& device = *devices.all[i];
      if (!device.supports(precision.dtype()) || !device.serves(row.launches)) continue;
      const Roofline& roofline = devices.rooflines[i];
      const auto measure = [&device, &row, &roofline](bool cold) {
        return [&device, &row, &roofline, cold](benchmark::State& state) { measure_row(state, device, row, roofline, cold); };
      };
      benchmark::RegisterBenchmark(full_name(group, row, precision, device, "warm").c_str(), measure(false))->UseManualTime();
      benchmark::RegisterBenchmark(full_name(group, row, precision, device, "cold").c_str(), measure(true))
          ->UseManualTime()
          ->Iterations(1);
    }
  }
}

void register_whole(const Devices& devices, const ModelCase& model, const Row& row, const Precision& precision, WorkOf work_of) {
  for (std::size_t i = 0; i < devices.all.size(); ++i) {
    Device& device = *devices.all[i];
    if (!device.supports(precision.dtype()) || !device.serves(row.launches)) continue;
    const auto run = [&device, &model, &row, dtype = precision.dtype(), work_of, &roofline = devices.rooflines[i]](benchmark::State& state) {
      measure_whole(state, device, model, row, dtype, roofline, work_of);
    };
    benchmark::RegisterBenchmark(full_name(model.name(), row, precision, device, "warm").c_str(), run)->UseManualTime();
  }
}

std::vector<ModelCase> models_of(const BenchOptions& o, const std::string& device) {
  ImageSize size;
  try {
    size = parse_size(o.size);
  } catch (const Error& e) {
    throw Error(e.code(), std::string("--size ") + e.what());
  }
  return model_cases(o.model, size, o.ngf, o.ndf, batch_of(o, device), o.step);
}

void register_all(const BenchOptions& o, const Names& names, Registered& r) {
  for (const Precision& precision : precisions_of(o)) {
    const DType dtype = precision.dtype();
    if (wanted(o, "ops")) register_rows(r.devices, "op table", r.ops.emplace_back(op_rows(dtype)), precision);
    if (!wanted(o, "layers") && !wanted(o, "step") && !wanted(o, "generate")) continue;
    for (const ModelCase& each : models_of(o, names.devices.front())) {
      const auto& [model, rows] = r.models.emplace_back(each, model_rows(each, dtype));
      if (wanted(o, "layers")) register_rows(r.devices, model.name(), rows.layers, precision);
      if (wanted(o, "step")) register_whole(r.devices, model, rows.step, precision, step_of);
      if (wanted(o, "generate")) register_whole(r.devices, model, rows.generate, precision, generation_of);
    }
  }
}

// Empty where the run went well. Google Benchmark 1.8 has other names for it.
template <class Run> std::string error_of(const Run& run) {
  if constexpr (requires { run.error_occurred; }) return run.error_occurred ? run.error_message : "";
  else return run.skipped ? run.skip_message : "";
}

// A line on a terminal that says how far it is; the table comes from the JSON.
class Progress final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      const std::string error = error_of(run);
      if (error.empty() || error.starts_with("absent")) continue;
      fmt::print(stderr, "\r\x1b[K{}: {}\n", run.benchmark_name(), error);
      failed = true;
    }
    ++done_;
    if (isatty(2)) fmt::print(stderr, "\r\x1b[K{} {:.110}", done_, runs.front().benchmark_name());
  }
  void Finalize() override {
    if (isatty(2)) fmt::print(stderr, "\r\x1b[K");
  }
  bool failed = false;

 private:
  long done_ = 0;
};

int measure(const BenchOptions& o, const char* program) {
  std::vector<std::string> flags{program, fmt::format("--benchmark_min_time={}", o.min_time),
                                 fmt::format("--benchmark_repetitions={}", o.repetitions),
                                 "--benchmark_report_aggregates_only=false"};
  if (!o.filter.empty()) flags.push_back("--benchmark_filter=" + o.filter);
  if (!o.json.empty()) flags.insert(flags.end(), {"--benchmark_out=" + o.json, "--benchmark_out_format=json"});
  if (o.dry_run) flags.push_back("--benchmark_list_tests=true");
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  int argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());

  const Names names = device_names(o);
  Registered registered{open_devices(o, names), {}, {}};
  register_all(o, names, registered);
  Progress progress;
  const std::size_t matched = benchmark::RunSpecifiedBenchmarks(&progress);
  if (matched == 0) throw Error(ExitCode::usage, fmt::format("--filter '{}' matches no row; --dry-run lists them", o.filter));
  bool ignored = false;
  current(nullptr, *registered.devices.all.front(), ignored);  // drops the last tensors before their backend goes
  return progress.failed ? static_cast<int>(ExitCode::failed) : 0;
}

// ---- profile ---------------------------------------------------------------------------------------------------------

// Convolutions and GEMMs by shape, other kernels by name.
struct ProfileLine {
  std::string name;
  long calls = 0;
  double seconds = 0, flop = 0, bytes = 0;  // of a step
};

void profile(const BenchOptions& o, const std::string& device_name, const ModelCase& model, const Precision& precision) {
  const KernelChoice kernels = kernels_of(o);
  const DType dtype = precision.dtype();
  const auto device = make_device(device_name, o.threads, kernels);
  const Roofline roofline = device->measure_roofline();
  const double peak = dtype == DType::bf16 ? roofline.bf16_flop : roofline.f32_flop;
  const ModelRows rows = model_rows(model, dtype);
  const std::vector<Launch>& launches = rows.step.launches;

  constexpr int steps = 5;
  TracedBackend traced(make_backend(device_name, o.threads, kernels), TracedBackend::Wait::yes);
  const std::function<void()> step = step_of(model, traced, dtype);
  for (int i = 0; i < 2; ++i) step();
  traced.clear();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < steps; ++i) step();
  const double step_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / steps;
  if (traced.launches().size() != steps * launches.size()) throw Error(ExitCode::failed, "a step did not launch what it was seen to");

  std::map<std::string, ProfileLine> by_name;
  double between = step_seconds, rest = step_seconds;
  for (std::size_t i = 0; i < traced.launches().size(); ++i) {
    const Launch& launch = launches[i % launches.size()];
    const double seconds = traced.launches()[i].seconds / steps;
    const std::string name = launch.flop > 0 ? launch.kernel + " " + launch.shapes : launch.kernel;
    ProfileLine& line = by_name[name];
    line.name = name;
    line.calls += i < launches.size();
    line.seconds += seconds;
    line.flop += launch.flop / steps;
    line.bytes += launch.bytes / steps;
    between -= seconds;
    if (launch.flop > 0) rest -= seconds;
  }
  std::vector<ProfileLine> lines;
  for (const auto& [name, line] : by_name) lines.push_back(line);
  std::sort(lines.begin(), lines.end(), [](const ProfileLine& a, const ProfileLine& b) { return a.seconds > b.seconds; });
  lines.push_back({"between kernels", 0, between, 0, 0});

  fmt::print("{}, {}, {}: {:.2f} ms a step, {:.1f} pictures a second\n\n", model.name(), precision.name, traced.fingerprint(),
             1e3 * step_seconds, model.config.batch / step_seconds);
  fmt::print("| {:<74} | {:>5} | {:>9} | {:>6} | {:>8} | {:>7} | {:>7} |\n|{:-<76}|{:->7}|{:->11}|{:->8}|{:->10}|{:->9}|{:->9}|\n", "kernel",
             "calls", "ms", "share", "GFLOP/s", "of peak", "GB/s", ":", ":", ":", ":", ":", ":", ":");
  const auto or_dash = [](bool there, const std::string& text) { return there ? text : "-"; };
  for (const ProfileLine& line : lines) {
    const double rate = line.flop / line.seconds;
    fmt::print("| {:<74} | {:>5} | {:>9.3f} | {:>5.1f}% | {:>8} | {:>7} | {:>7} |\n", line.name, or_dash(line.calls > 0, std::to_string(line.calls)),
               1e3 * line.seconds, 100 * line.seconds / step_seconds, or_dash(line.flop > 0, fmt::format("{:.1f}", rate / 1e9)),
               or_dash(line.flop > 0 && peak > 0, fmt::format("{:.0f}%", 100 * rate / peak)),
               or_dash(line.bytes > 0, fmt::format("{:.1f}", line.bytes / line.seconds / 1e9)));
  }
  fmt::print("\nNeither convolution nor GEMM: {:.1f}% of the step.", 100 * rest / step_seconds);
  if (peak > 0) {
    fmt::print(" Peak: {:.0f} GFLOP/s, measured in this run; Winograd's convolution, which\nmultiplies less than is counted here, may be above it.",
               peak / 1e9);
  }
  fmt::print("\n\n");
}

int run(int argc, char** argv) {
  CLI::App app{"Measures. `pastiche bench` runs this program and makes tables of what it writes."};
  BenchOptions o;
  add_bench_options(app, o);
  CLI::App* const bounds = app.add_subcommand("model", "Prints what bounds the models' launches on a GPU.");
  add_bound_options(*bounds, o);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : throw Error(ExitCode::usage, error.what());
  }
  if (*bounds) {
    print_model({.gpu = o.gpu, .json = o.json, .published = o.published}, models_of(o, "cuda"), precisions_of(o));
    return 0;
  }
  if (o.retune) {
    retune({.threads = o.threads, .repetitions = o.repetitions});
    return 0;
  }
  if (!o.profile) return measure(o, argv[0]);
  for (const std::string& device : device_names(o).devices) {
    for (const Precision& precision : precisions_of(o)) {
      for (const ModelCase& model : models_of(o, device)) profile(o, device, model, precision);
    }
  }
  return 0;
}

}  // namespace
}  // namespace pastiche::bench

int main(int argc, char** argv) {
  try {
    return pastiche::bench::run(argc, argv);
  } catch (const pastiche::Error& error) {
    fmt::print(stderr, "pastiche: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "pastiche: {}\n", error.what());
    return static_cast<int>(pastiche::ExitCode::failed);
  }
}
