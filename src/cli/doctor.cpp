#include <fmt/format.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <chrono>

#include "check/kernel_check.h"
#include "cli/commands.h"
#include "core/system.h"
#include "pastiche/error.h"

namespace pastiche::cli {
namespace {

void print_machine() {
  struct sysinfo memory {};
  sysinfo(&memory);
  fmt::print("pastiche   {}\nprocessor  {}, {} cores\n", PASTICHE_VERSION, processor_name(), usable_processors());
  fmt::print("memory     {}, of which {} are available\n", bytes_text(memory.totalram * memory.mem_unit), bytes_text(free_memory().bytes));
  std::vector<std::string> names = backend_names();
  if (std::find(names.begin(), names.end(), "cuda") == names.end()) names.insert(names.begin(), "cuda");
  for (const std::string& name : names) {
    try {
      fmt::print("device     {:<10} {}\n", name, make_backend(name)->fingerprint());
    } catch (const Error& error) {
      fmt::print("device     {:<10} absent: {}\n", name, error.what());
    }
  }
}

// A line a kernel, its dtypes side by side. Returns how many kernels failed.
int print_table(const std::vector<KernelCheck>& checks) {
  fmt::print("\n{:<22} {:>6} {:>10} {:>10}         {}\n", "kernel", "runs", "f32", "bf16", "shapes of the worst");
  int failed = 0;
  for (auto check = checks.begin(); check != checks.end();) {
    const std::string& kernel = check->kernel;
    std::string error_of[2] = {"-", "-"};
    const KernelCheck* worst = &*check;
    long runs = 0;
    bool ok = true;
    for (; check != checks.end() && check->kernel == kernel; ++check) {
      if (check->runs > 0) error_of[check->dtype == DType::bf16] = fmt::format("{:.1e}", check->error);
      if (check->error / check->bound > worst->error / worst->bound) worst = &*check;
      runs += check->runs;
      ok = ok && check->ok();
    }
    fmt::print("{:<22} {:>6} {:>10} {:>10} {:<7} {}\n", kernel, runs, error_of[0], error_of[1], ok ? "ok" : "FAILED",
               worst->shapes);
    failed += !ok;
  }
  return failed;
}

int run_doctor(const std::string& device, int threads) {
  print_machine();
  std::unique_ptr<Backend> backend = open_backend(device, threads);
  fmt::print("checked    {}: every kernel against reference on the same inputs, relative differences\n", backend->name());
  std::fflush(stdout);
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<KernelCheck> checks = check_kernels(std::move(backend));
  const int failed = print_table(checks);
  fmt::print("\nat most {:.0e} in f32 and {:.0e} in bf16 are expected; {} in {:.1f} s\n", allowed_error(DType::f32),
             allowed_error(DType::bf16), failed == 0 ? "every kernel is right" : fmt::format("{} FAILED", failed),
             std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  return static_cast<int>(failed == 0 ? ExitCode::ok : ExitCode::gate_failed);
}

}  // namespace

void add_doctor(CLI::App& app, Outcome& outcome) {
  struct Arguments {
    std::string device = "auto";
    int threads = 0;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command =
      app.add_subcommand("doctor", "Say what this machine offers, and check every kernel of a device against the reference." +
                                       examples({"pastiche doctor", "pastiche doctor --device simt"}));
  command->add_option("--device", a->device, "auto, cuda, cpu, simt, ptx or reference")->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_doctor(a->device, a->threads); });
}

}  // namespace pastiche::cli
