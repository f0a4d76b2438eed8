#include "retune.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <regex>
#include <string>
#include <vector>

#include "backends/cpu/cpu.h"
#include "core/system.h"
#include "pastiche/files.h"
#include "pastiche/ops.h"

namespace pastiche::bench {
namespace {

namespace fs = std::filesystem;

constexpr double enough = 1.03;  // what a way must gain before it is taken: a primitive is exact, and needs less memory

enum class Pass { forward, dgrad, wgrad };

struct Layer {
  Shape x, w;
  Conv p;
};

// One layer on one backend, ready to run.
class Work {
 public:
  Work(Backend& backend, const Layer& layer, DType dtype, Pass pass) : backend_(backend), p_(layer.p), pass_(pass) {
    x_ = filled(layer.x, dtype);
    w_ = filled(layer.w, DType::f32);
    y_ = filled(conv2d_shape(layer.x, layer.w, layer.p), dtype);
  }

  double seconds() {
    const auto begin = std::chrono::steady_clock::now();
    if (pass_ == Pass::forward) backend_.conv2d(y_, x_, w_, p_);
    else if (pass_ == Pass::dgrad) backend_.conv2d_dgrad(x_, y_, w_, p_);
    else backend_.conv2d_wgrad(w_, x_, y_, p_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  void new_weights() { backend_.fill(w_, 0.01); }  // as after an optimizer's step: packed forms of them are no longer true

 private:
  Tensor filled(const Shape& shape, DType dtype) {
    Tensor t = Tensor::empty(backend_, shape, dtype);
    backend_.fill(t, 0.01);
    return t;
  }

  Backend& backend_;
  Conv p_;
  Pass pass_;
  Tensor x_, w_, y_;
};

// The least time with the rules `without` over that with the rules `with`, alternating.
double gain(const ConvRules& without, const ConvRules& with, const RetuneOptions& o, const Layer& layer, DType dtype, Pass pass) {
  CpuBackend backends[2] = {CpuBackend(o.threads, without), CpuBackend(o.threads, with)};
  Work work[2] = {Work(backends[0], layer, dtype, pass), Work(backends[1], layer, dtype, pass)};
  double least[2] = {HUGE_VAL, HUGE_VAL};
  for (int run = 0; run <= o.repetitions; ++run) {
    for (int side = 0; side < 2; ++side) {
      work[side].new_weights();
      const double seconds = work[side].seconds();
      if (run > 0) least[side] = std::min(least[side], seconds);
    }
  }
  return least[0] / least[1];
}

// The fewest channels, at least 64, from which on Winograd's algorithm gains at each count that is tried; 0 where it never does.
int winograd_from(const std::string& name, const RetuneOptions& o, std::int64_t stride, DType dtype, Pass pass) {
  ConvRules always = conv_rules, never = conv_rules;
  for (auto* each : {&always.f32, &always.f32_stride2, &always.bf16, &always.bf16_stride2}) *each = {1, 1, 1};
  for (auto* each : {&never.f32, &never.f32_stride2, &never.bf16, &never.bf16_stride2}) *each = {0, 0, 0};
  fmt::print("{:<22}", name);
  int from = 0;
  bool all = true;
  for (const int channels : {256, 128, 96, 64}) {
    // As in a generator, and as in a discriminator: channels halve, and double.
    const Layer layer = stride == 1 ? Layer{{64, 14, 14, channels}, {channels / 2, 5, 5, channels}, {.pad = 2, .upsample = 2, .out = Phases::inner}}
                                    : Layer{{64, 14, 14, channels}, {2 * channels, 5, 5, channels}, {.stride = 2, .pad = 2}};
    const double ratio = gain(never, always, o, layer, dtype, pass);
    all = all && ratio >= enough;
    if (all) from = channels;
    fmt::print("  {:>3}: {:.2f}", channels, ratio);
  }
  fmt::print("\n");
  return from;
}

ConvRules::Winograd winograd_rules(const std::string& name, const RetuneOptions& o, std::int64_t stride, DType dtype) {
  return {.forward = winograd_from(name + " forward", o, stride, dtype, Pass::forward),
          .dgrad = winograd_from(name + " dgrad", o, stride, dtype, Pass::dgrad),
          .wgrad = winograd_from(name + " wgrad", o, stride, dtype, Pass::wgrad)};
}

// The most channels up to which the scattered form gains at each count.
int scatter_up_to(const std::string& name, const RetuneOptions& o, DType dtype) {
  ConvRules always = conv_rules, never = conv_rules;
  always.scatter_f32 = always.scatter_bf16 = 16;
  never.scatter_f32 = never.scatter_bf16 = 0;
  fmt::print("{:<22}", name);
  int up_to = 0;
  for (const int channels : {1, 2, 3, 4, 6, 8, 12}) {
    const Layer layer{{32, 28, 28, 64}, {channels, 5, 5, 64}, {.pad = 2}};
    const double ratio = gain(never, always, o, layer, dtype, Pass::forward);
    fmt::print("  {:>3}: {:.2f}", channels, ratio);
    if (ratio < enough) break;
    up_to = channels;
  }
  fmt::print("\n");
  return up_to;
}

}  // namespace

void retune(const RetuneOptions& o) {
  const fs::path file = o.sources / "src/backends/cpu/conv_rules.h";
  if (!fs::exists(file)) {
    throw Error(ExitCode::bad_file, fmt::format("{} is not there: run this at the top of the sources", quote(file.string())));
  }
  fmt::print("How many times faster, by channels: Winograd's algorithm and the scattered form against a primitive of oneDNN\n\n");
  const auto winograd = [](const ConvRules::Winograd& w) { return fmt::format("{{{}, {}, {}}}", w.forward, w.dgrad, w.wgrad); };
  const std::pair<std::string, std::string> values[] = {
      {"f32", winograd(winograd_rules("f32", o, 1, DType::f32))},
      {"f32_stride2", winograd(winograd_rules("f32 stride 2", o, 2, DType::f32))},
      {"bf16", winograd(winograd_rules("bf16", o, 1, DType::bf16))},
      {"bf16_stride2", winograd(winograd_rules("bf16 stride 2", o, 2, DType::bf16))},
      {"scatter_f32", std::to_string(scatter_up_to("f32 scattered", o, DType::f32))},
      {"scatter_bf16", std::to_string(scatter_up_to("bf16 scattered", o, DType::bf16))}};

  const std::vector<std::byte> bytes = read_file(file);
  std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const auto& [name, value] : values) {
    text = std::regex_replace(text, std::regex("\\." + name + " = (\\{[^}]*\\}|[0-9]+),"), "." + name + " = " + value + ",");
  }
  text = std::regex_replace(text, std::regex("// Measured on [^\n]*"),
                            fmt::format("// Measured on {}, {} threads.", processor_name(), o.threads > 0 ? o.threads : omp_get_num_procs()));
  write_file_atomically(file, text);
  fmt::print("\n{} is written; build and run the tests, whose rows of the op table say what must be exact\n", file.string());
}

}  // namespace pastiche::bench
