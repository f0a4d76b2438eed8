#pragma once
// What bounds a launch on a GPU that is not at hand, from counts alone. Which kernels are launched, and with how many blocks, the CUDA
// backend is asked on src/simt, whose machine claims to be that GPU; nothing runs. What a pass of a kernel's main loop consists of was
// counted in the machine code (kernel_counts.inc); how many passes there are follows from the shape.
//
// A bound is the time that one resource would take alone, at its public peak rate (gpus.h). What comes before and after main loops,
// latencies, launches and clocks below boost are not in it. The second-level cache is bound as if the first level found nothing, which
// copies for tensor cores go past anyway.
#include <array>
#include <string>
#include <vector>

#include "gpus.h"
#include "rows.h"
#include "simt/engine.h"

namespace pastiche::bench {

enum class Resource { multiply, issue, shared, l2, dram };
constexpr int resources = 5;

// Of a launch, all blocks together. Instructions, HMMA, FFMA and wavefronts of shared memory are those of warps.
struct Work {
  double blocks = 0;
  double instructions = 0, hmma = 0, ffma = 0, wavefronts = 0;
  double l2_bytes = 0, dram_bytes = 0;
  double pass_bytes = 0;  // of kernels that go over a product's result once it is there
};

struct Bounds {
  std::array<double, resources> seconds{};  // by Resource
  double pass = 0;                          // and what follows, from DRAM and to it
  Resource limit() const;
  double most() const { return seconds[static_cast<std::size_t>(limit())] + pass; }
};
// Blocks come in whole numbers: the multiprocessor that has most of them decides.
Bounds bounds_of(const Gpu&, const Work&);

// Of a warp, in one pass of a main loop.
struct LoopCounts {
  std::string_view kernel;
  int arch;
  int instructions, hmma, ffma, wavefronts;
};
const LoopCounts* loop_counts(std::string_view kernel, int arch);  // null: it has no loop that multiplies

// What `slices` slices of a tile of m x n results take, each of `depth` products, where elements of its operands have so many bytes.
struct Tiles {
  double slices, m, n, depth;
  double a_bytes, b_bytes;
};
Work work_of_tiles(const Tiles&, const LoopCounts&, double blocks);

// Of a launch of the CUDA backend: its product's kernel, if it has one, and the bytes of all.
struct ModelledRow {
  std::string kernel;  // that multiplies; else the first
  long kernels = 0;    // launched in all
  Work work;
};
Tiles tiles_of(const Launch&, const simt_runtime::LaunchSeen&);
ModelledRow modelled(const Gpu&, const Launch&, bool tf32 = false);

// How a kernel of others fared, beside its bound.
struct Compared {
  std::string_view gpu, kernel, source;
  double published, bound;  // seconds
};
std::vector<Compared> published_kernels();
// What that comes to, in two lines.
std::string error_range();

struct ModelOptions {
  std::string gpu = "h100", json;
  bool published = false;
};
// Prints the tables, of models and precisions.
void print_model(const ModelOptions&, const std::vector<ModelCase>&, const std::vector<Precision>&);

}  // namespace pastiche::bench
