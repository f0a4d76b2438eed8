#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/sysinfo.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "cli/commands.h"
#include "pastiche/error.h"
#include "pastiche/train.h"

namespace pastiche::cli {
namespace {

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// Two training steps of a small dcgan, so every kernel of a training, forward and backward; then the gradients of the second.
std::vector<float> tiny_gradients(Backend& backend) {
  TrainConfig config;
  config.seed = 1;
  const ModelConfig model{.height = 12, .width = 10, .channels = 3, .nz = 8, .ngf = 4, .ndf = 4};
  GanTrainer trainer(backend, config, model);
  std::vector<std::uint8_t> pictures(static_cast<std::size_t>(4) * 12 * 10 * 3);
  for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i] = static_cast<std::uint8_t>(i * 37 % 256);
  trainer.step(pictures);
  trainer.step(pictures);
  std::vector<float> all;
  for (const auto* gradients : {&trainer.gradients_g(), &trainer.gradients_d()}) {
    for (const Var& g : *gradients) {
      const std::size_t begin = all.size();
      all.resize(begin + static_cast<std::size_t>(g.shape().elements()));
      g.value().copy_to_host(all.data() + begin);
    }
  }
  return all;
}

double relative_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

int run_doctor(const std::string& device, int threads) {
  struct sysinfo memory {};
  sysinfo(&memory);
  fmt::print("pastiche   {}\nprocessor  {}, {} cores\nmemory     {:.1f} GiB\ndevices    {}\n", PASTICHE_VERSION, processor_name(),
             std::thread::hardware_concurrency(), static_cast<double>(memory.totalram) * memory.mem_unit / (1 << 30),
             fmt::join(backend_names(), ", "));
  const auto backend = make_backend(device, threads);
  fmt::print("device     {}\n", backend->fingerprint());
  const auto reference = make_backend("reference");
  const double difference = relative_difference(tiny_gradients(*backend), tiny_gradients(*reference));
  constexpr double allowed = 1e-4;
  fmt::print("check      gradients of a training step, {} against reference: relative difference {:.1e}, at most {:.0e} expected\n",
             backend->name(), difference, allowed);
  return static_cast<int>(difference <= allowed ? ExitCode::ok : ExitCode::gate_failed);
}

}  // namespace

void add_doctor(CLI::App& app, Outcome& outcome) {
  struct Arguments {
    std::string device = "auto";
    int threads = 0;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("doctor", "Say what this machine offers, and check that a training step computes right." +
                                                       examples({"pastiche doctor", "pastiche doctor --device reference"}));
  command->add_option("--device", a->device, "auto, cpu or reference")->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_doctor(a->device, a->threads); });
}

}  // namespace pastiche::cli
