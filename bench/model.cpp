#include "model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "pastiche/error.h"
#include "pastiche/files.h"
#include "published.h"

namespace pastiche::bench {
namespace {

constexpr const char* modelled_words = "modelled, not measured";
constexpr double schedulers = 4;  // of a multiprocessor, each of which issues one instruction of a warp a clock
constexpr double warp = 32;
// What an HMMA multiplies: 16 x 8 results and 32 bytes of k. It takes as long in TF32, of which that is half as many, on every GPU here.
constexpr double hmma_products(double element_bytes) { return 16 * 8 * 32 / element_bytes; }

constexpr LoopCounts counts[] = {
#include "kernel_counts.inc"
};

// The extents of a kernel's tile, by its name.
struct Extents {
  double m, n, depth;
};
Extents extents_of(std::string_view kernel) {
  if (kernel.starts_with("conv_thin_kernel")) return {128, 4, 16};       // conv.cu: 4 lanes share a pixel
  if (kernel.starts_with("conv_wgrad_thin_kernel")) return {4, 128, 4};  // conv_wgrad.cu: each warp has a pixel
  if (kernel.starts_with("gemm_any_kernel")) return {64, 64, 16};
  const std::size_t at = kernel.find("Tile<");
  int m = 0, n = 0;
  if (at == kernel.npos || (std::sscanf(kernel.data() + at, "Tile<%d, %d", &m, &n) != 2 &&
                            std::sscanf(kernel.data() + at, "Tile<%*[a-zA-Z0-9], %d, %d", &m, &n) != 2)) {
    throw Error(ExitCode::failed, fmt::format("{} has no tile that the bound model knows", kernel));
  }
  return {double(m), double(n), kernel.find("MmaTile<BFloat16") != kernel.npos ? 32.0 : 16.0};
}

double blocks_of(const simt_runtime::LaunchSeen& seen) { return double(seen.blocks_x) * seen.blocks_y * seen.blocks_z; }

// "conv_mma 128x128"
std::string short_name(const std::string& kernel) {
  std::string name = kernel.substr(0, kernel.find('<'));
  if (name.ends_with("_kernel")) name.resize(name.size() - 7);
  if (kernel.find("Tile<") == kernel.npos) return name;
  const Extents tile = extents_of(kernel);
  return fmt::format("{} {}x{}", name, tile.m, tile.n);
}

// Launches on a machine that claims to be the GPU, where nothing runs.
class Planner {
 public:
  Planner(const Gpu& gpu, bool tf32) : gpu_(gpu), before_(simt_runtime::machine()) {
    simt_runtime::Machine& machine = simt_runtime::machine();
    machine.major = gpu.arch / 10;
    machine.minor = gpu.arch % 10;
    machine.multiprocessors = gpu.multiprocessors;
    machine.memory = std::size_t{1} << 37;
    simt_runtime::watch_launches([this](const simt_runtime::LaunchSeen& launch) {
      seen_.push_back(launch);
      return false;
    });
    backend_ = make_backend("simt", 0, {.tf32 = tf32});
    backend_->pool_buffers(false);
  }
  ~Planner() {
    backend_.reset();
    simt_runtime::watch_launches({});
    simt_runtime::machine() = before_;
  }
  Planner(const Planner&) = delete;
  Planner& operator=(const Planner&) = delete;

  ModelledRow operator()(const Launch& op) {
    std::map<std::uint64_t, Tensor> made;  // by the recorded buffer
    const auto launch = op.bind(*backend_, [&](const Tensor& x) {
      Tensor& y = made[x.buffer_id()];
      if (!y.defined()) y = Tensor::empty(*backend_, x.shape(), x.dtype());
      return y.reshaped(x.shape());
    });
    seen_.clear();
    const std::uint64_t before = simt_runtime::bytes_allocated();
    launch();
    // What is kept between kernels is written and read.
    const double between = 2.0 * static_cast<double>(simt_runtime::bytes_allocated() - before);

    ModelledRow row{.kernel = seen_.empty() ? "" : seen_.front().kernel, .kernels = std::ssize(seen_), .work = {}};
    for (const simt_runtime::LaunchSeen& seen : seen_) {
      if (seen.kernel.starts_with("kernel at ")) {
        throw Error(ExitCode::failed, "this program was stripped of the symbols that kernels are known by");
      }
      if (op.flop > 0) {  // what the product's kernel does not end in
        const auto result = static_cast<double>(op.tensors.front().bytes());
        if (seen.kernel.starts_with("norm_stats_kernel")) row.work.pass_bytes += result;
        if (seen.kernel.starts_with("bias_act_kernel")) row.work.pass_bytes += 2 * result;
      }
      const LoopCounts* const loop = loop_counts(seen.kernel, gpu_.arch);
      if (loop == nullptr) continue;
      if (row.work.instructions > 0) throw Error(ExitCode::failed, fmt::format("{} {} multiplies twice", op.kernel, op.shapes));
      row.kernel = seen.kernel;
      row.work = work_of_tiles(tiles_of(op, seen), *loop, blocks_of(seen));
    }
    if (op.flop > 0 && row.work.instructions == 0) {
      throw Error(ExitCode::failed, fmt::format("{} has no counts for sm_{}: tools/kernel_facts BUILD --write", row.kernel, gpu_.arch));
    }
    if (row.work.blocks == 0 && !seen_.empty()) row.work.blocks = blocks_of(seen_.front());
    row.work.dram_bytes = op.bytes + between;
    // Operands come slice by slice, as often as tiles want them; everything else once.
    const double result = op.flop > 0 ? static_cast<double>(op.tensors.front().bytes()) : op.bytes;
    row.work.l2_bytes += result + between;
    return row;
  }

 private:
  const Gpu& gpu_;
  simt_runtime::Machine before_;
  std::unique_ptr<Backend> backend_;
  std::vector<simt_runtime::LaunchSeen> seen_;
};

std::string gpu_names() {
  std::string names;
  for (const Gpu& gpu : gpus) names += fmt::format("{}{}", names.empty() ? "" : ", ", gpu.name);
  return names;
}

const Gpu& gpu_of(std::string_view name) {
  const auto* const found = std::find_if(std::begin(gpus), std::end(gpus), [&](const Gpu& gpu) { return gpu.name == name; });
  if (found == std::end(gpus)) throw Error(ExitCode::usage, fmt::format("--gpu {} is none of {}", name, gpu_names()));
  return *found;
}

const char* limit_name(const Bounds& bounds, const Work& work) {
  static constexpr const char* names[] = {"FMA", "issue", "shared", "L2", "DRAM"};
  const Resource limit = bounds.limit();
  return limit == Resource::multiply && work.hmma > 0 ? "tensor" : names[static_cast<int>(limit)];
}

std::string microseconds(double seconds) {
  if (seconds == 0) return "-";
  const double us = 1e6 * seconds;
  return fmt::format("{:.{}f}", us, us < 10 ? 2 : us < 1000 ? 1 : 0);
}

struct Line {
  const Row* row;
  ModelledRow modelled;
  Bounds bounds;
  double of_step;  // seconds
};

void print_lines(const Gpu& gpu, const std::string& title, std::vector<Line> lines) {
  const double step = std::accumulate(lines.begin(), lines.end(), 0.0, [](double sum, const Line& line) { return sum + line.of_step; });
  std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.of_step > b.of_step; });
  fmt::print("{}, {} (sm_{}): {}\n\n", title, gpu.full_name, gpu.arch, modelled_words);
  fmt::print("  {:<26}{:>7}{:>7}{:>9}{:>8}{:>8}{:>8}{:>8}  limit\n", "microseconds a call", "blocks", "an SM", "multiply", "issue", "shared",
             "L2", "DRAM");
  for (const Line& line : lines) {
    const Work& work = line.modelled.work;
    const auto& t = line.bounds.seconds;
    const std::string others = line.modelled.kernels > 1 ? fmt::format(" +{}", line.modelled.kernels - 1) : "";
    fmt::print("{:>4.1f}% {} {}\n", 100 * line.of_step / step, line.row->name,
               line.row->calls > 0 ? fmt::format("({} a step)", line.row->calls) : "(only to generate)");
    fmt::print("  {:<26}{:>7.0f}{:>7.1f}{:>9}{:>8}{:>8}{:>8}{:>8}  {:<6} {}\n", short_name(line.modelled.kernel) + others, work.blocks,
               work.blocks / gpu.multiprocessors, microseconds(t[0]), microseconds(t[1]), microseconds(t[2]), microseconds(t[3]),
               microseconds(t[4]), limit_name(line.bounds, work), modelled_words);
  }
  fmt::print("The bounds of a step add up to {:.3f} ms: {}.\n\n", 1e3 * step, modelled_words);
}

void print_published() {
  fmt::print("| GPU | kernel | published, ms | bound, ms | published / bound | source |\n|---|---|---:|---:|---:|---|\n");
  for (const Compared& each : published_kernels()) {
    fmt::print("| {} | {} | {:.3f} | {:.3f}, {} | {:.2f} | {} |\n", each.gpu, each.kernel, 1e3 * each.published, 1e3 * each.bound,
               modelled_words, each.published / each.bound, each.source);
  }
}

}  // namespace

Resource Bounds::limit() const { return static_cast<Resource>(std::max_element(seconds.begin(), seconds.end()) - seconds.begin()); }

Bounds bounds_of(const Gpu& gpu, const Work& work) {
  const double sms = gpu.multiprocessors, clock = 1e6 * gpu.clock;
  const double uneven = work.blocks > 0 ? std::ceil(work.blocks / sms) * sms / work.blocks : 1;
  return {{uneven * (work.hmma * 2 * hmma_products(2) / (1e12 * gpu.bf16) + work.ffma * 2 * warp / (1e12 * gpu.f32)),
           uneven * work.instructions / (schedulers * sms * clock), uneven * work.wavefronts / (sms * clock),
           work.l2_bytes / (1e9 * gpu.l2), work.dram_bytes / (1e9 * gpu.dram)},
          work.pass_bytes / (1e9 * gpu.dram)};
}

const LoopCounts* loop_counts(std::string_view kernel, int arch) {
  const auto* const found =
      std::find_if(std::begin(counts), std::end(counts), [&](const LoopCounts& c) { return c.arch == arch && c.kernel == kernel; });
  return found == std::end(counts) ? nullptr : found;
}

Work work_of_tiles(const Tiles& t, const LoopCounts& loop, double blocks) {
  const double passes = t.slices * t.m * t.n * t.depth / (loop.hmma * hmma_products(t.a_bytes) + loop.ffma * warp);  // of warps
  return {.blocks = blocks, .instructions = passes * loop.instructions, .hmma = passes * loop.hmma, .ffma = passes * loop.ffma,
          .wavefronts = passes * loop.wavefronts, .l2_bytes = t.slices * t.depth * (t.m * t.a_bytes + t.n * t.b_bytes), .dram_bytes = 0,
          .pass_bytes = 0};
}

Tiles tiles_of(const Launch& op, const simt_runtime::LaunchSeen& seen) {
  const std::string& kernel = seen.kernel;
  const Extents tile = extents_of(kernel);
  const bool mma = kernel.find("_mma_") != kernel.npos, bf16 = kernel.find("BFloat16") != kernel.npos;
  const double element = bf16 ? 2 : 4;
  Tiles t{.slices = 0, .m = tile.m, .n = tile.n, .depth = tile.depth, .a_bytes = element, .b_bytes = element};
  const auto slices = [&](double products) { return std::ceil(products / tile.depth); };
  const double x = seen.blocks_x, y = seen.blocks_y, groups = static_cast<double>(op.conv.groups);
  if (kernel.starts_with("gemm")) {  // parts of the reduction are along y
    t.slices = x * slices(op.flop / 2 / static_cast<double>(op.tensors[0].elements()));
    return t;
  }
  const bool wgrad = op.kernel == "conv2d_wgrad", upsampled = op.conv.upsample == 2;
  const Shape& w = op.weights;
  const double classes = y / groups;
  if (wgrad) {  // parts of the pixels are along z
    const auto pixels = static_cast<double>(op.tensors[2].elements()) / static_cast<double>(w[0]);
    t.slices = x * y * slices(pixels / classes);
    return t;
  }
  if (!mma) t.b_bytes = 4;  // weights stay f32
  const double folded = std::floor((static_cast<double>(w[1]) + 1) / 2);
  const double taps = upsampled ? 4 * folded * folded : static_cast<double>(w[1] * w[2]);  // of all classes of pixels
  const double channels = op.kernel == "conv2d_dgrad" ? static_cast<double>(w[0]) / groups : static_cast<double>(w[3]);
  t.slices = x * groups * (mma ? taps * slices(channels) : classes * slices(taps / classes * channels));
  return t;
}

ModelledRow modelled(const Gpu& gpu, const Launch& op, bool tf32) { return Planner(gpu, tf32)(op); }

std::vector<Compared> published_kernels() {
  std::vector<Compared> all;
  for (const Published& p : published) {
    const double blocks_m = std::ceil(p.m / p.tile_m), blocks_n = std::ceil(p.n / p.tile_n), blocks = blocks_m * blocks_n;
    const Tiles tiles{.slices = blocks * std::ceil(p.k / p.tile_depth), .m = p.tile_m, .n = p.tile_n, .depth = p.tile_depth,
                      .a_bytes = p.element_bytes, .b_bytes = p.element_bytes};
    Work work = work_of_tiles(tiles, p.loop, blocks);
    const double result = p.m * p.n * p.result_bytes;
    work.l2_bytes += result;
    work.dram_bytes = (p.m + p.n) * p.k * p.element_bytes + result;
    all.push_back({p.gpu, p.kernel, p.source, 2 * p.m * p.n * p.k / (1e9 * p.flop_rate), bounds_of(gpu_of(p.gpu), work).most()});
  }
  return all;
}

std::string error_range() {
  const std::vector<Compared> all = published_kernels();
  double least = 1e9, most = 0;
  int pairs = 0, right = 0;
  constexpr double apart = 1.02;  // else the model does not tell them apart
  for (const Compared& a : all) {
    least = std::min(least, a.published / a.bound);
    most = std::max(most, a.published / a.bound);
    for (const Compared& b : all) {
      if (a.source != b.source || a.gpu != b.gpu || a.bound <= apart * b.bound) continue;
      ++pairs;
      right += a.published > b.published;
    }
  }
  return fmt::format("Checked against {} published kernels on RTX A6000, GeForce RTX 4090 and A100: they took {:.2f} to {:.2f} times their "
                     "bound.\nOf {} pairs that the bounds tell apart by more than 2%, {} were in their order. The model ranks kernels and "
                     "claims no time.", all.size(), least, most, pairs, right);
}

void print_model(const ModelOptions& o, const std::vector<ModelCase>& models, const std::vector<Precision>& precisions) {
  if (o.published) {
    print_published();
    fmt::print("{}\n", error_range());
    return;
  }
  const Gpu& gpu = gpu_of(o.gpu);
  nlohmann::ordered_json json;
  json["context"] = {{"gpu", gpu.full_name}, {"sources", gpu.sources}, {"error", error_range()}, {"what", modelled_words}};
  for (const Precision& precision : precisions) {
    Planner planner(gpu, precision.tf32());
    for (const ModelCase& model : models) {
      const ModelRows rows = model_rows(model, precision.dtype());
      std::vector<Line> lines;
      for (const Row& row : rows.layers) {
        const ModelledRow each = planner(row.launches.front());
        const Bounds bounds = bounds_of(gpu, each.work);
        lines.push_back({&row, each, bounds, static_cast<double>(row.calls) * bounds.most()});
        json["rows"].push_back({{"name", fmt::format("{}/{}/{}", model.name(), row.name, precision.name)}, {"kernel", each.kernel},
                                {"kernels", each.kernels}, {"calls", row.calls}, {"flop", row.launches.front().flop},
                                {"blocks", each.work.blocks},
                                {"multiply_seconds", bounds.seconds[0]}, {"issue_seconds", bounds.seconds[1]},
                                {"shared_seconds", bounds.seconds[2]}, {"l2_seconds", bounds.seconds[3]},
                                {"dram_seconds", bounds.seconds[4]}, {"pass_seconds", bounds.pass},
                                {"limit", limit_name(bounds, each.work)}, {"what", modelled_words}});
      }
      print_lines(gpu, fmt::format("{}, {}", model.name(), precision.name), std::move(lines));
    }
  }
  fmt::print("An SM: blocks for each multiprocessor. +3: three further kernels of that launch, whose bytes are in L2 and DRAM.\n{}\n"
             "Peak rates:\n", error_range());
  for (std::size_t begin = 0; begin < gpu.sources.size();) {
    const std::size_t end = std::min(gpu.sources.find("; ", begin), gpu.sources.size());
    fmt::print("- {}\n", gpu.sources.substr(begin, end - begin));
    begin = end + 2;
  }
  if (!o.json.empty()) write_file_atomically(o.json, json.dump(1) + "\n");
}

}  // namespace pastiche::bench
