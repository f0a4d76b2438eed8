#pragma once
// The seam between ops and hardware. Backend's members expand from kernels.def.
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "pastiche/ladder.h"
#include "pastiche/philox.h"
#include "pastiche/tensor.h"

namespace pastiche {

struct Affine {
  double scale = 1;
  double shift = 0;
};

struct Slice {
  int axis;
  std::int64_t begin;
};

enum class Transpose : bool { no, yes };

struct Gemm {
  Transpose a = Transpose::no;
  Transpose b = Transpose::no;
};

// How an upsampling convolution leaves its result. Output pixel (2h + i, 2w + j) belongs to phase f = 2 i + j.
//   none   [N,2H,2W,K]
//   inner  [N,H,W,4K]   channel f K + k: what one convolution with 4 K outputs writes
//   outer  [4N,H,W,K]   picture f N + n: what four convolutions write
enum class Phases : std::uint8_t { none, inner, outer };

// Geometry of a convolution, the same on both axes. upsample = 2 means nearest-neighbour upsampling, then this convolution;
// it asks for stride, dilation and groups of 1 and an odd kernel with pad (R - 1) / 2.
struct Conv {
  std::int64_t stride = 1;
  std::int64_t pad = 0;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  std::int64_t upsample = 1;
  Phases out = Phases::none;
};

struct NormAct {
  double eps = 1e-5;
  double slope = 1;  // 1: no activation
  Phases from = Phases::none;
  std::int64_t group = 1;  // neighbouring channels that have their statistics in common, where each picture has its own
};

// Pixels around a picture, which repeat it: mirrored at its outermost pixels, or those pixels again.
struct Pad {
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;
  enum class Mode : std::uint8_t { reflect, replicate } mode = Mode::reflect;
};

struct RunningStats {
  double momentum;       // PyTorch's sense: the weight of the new value
  double var_scale = 1;  // n / (n - 1) where the running variance is the unbiased one
};

struct Activation {
  enum class Kind : std::uint8_t { identity, leaky_relu, tanh, sigmoid } kind = Kind::identity;
  double slope = 0.2;  // of leaky_relu, at least 0
};

struct Dropout {
  double p;  // the probability of a zero, in [0, 1)
  RandomKey key;
};

struct SamplePixels {
  std::int64_t count;  // of each picture, no pixel twice
  RandomKey key;
};

struct DiffAugment {
  RandomKey key;
  bool brightness = true, saturation = true, contrast = true;  // what the paper calls color
  bool translation = true, cutout = true;
};

struct Adam {
  int slot = 0;  // of StepState::optim
  double beta1 = 0.5;
  double beta2 = 0.999;
  double eps = 1e-8;
};

struct AdamTensors {
  std::span<Tensor> value;
  std::span<const Tensor> grad;
  std::span<Tensor> m;
  std::span<Tensor> v;
  std::span<Tensor> ema;  // empty, or one for each value
};

// What changes from step to step. Kernels read it from memory, so that a captured step can be replayed.
struct StepState {
  static constexpr int metrics = 8;
  static constexpr int optims = 2;
  std::int64_t step = 0;  // the counter of every random number
  struct Optim {
    double lr = 0;
    std::int64_t t = 0;  // steps taken, this one included
  };
  std::array<Optim, optims> optim{};
  double ema_step = 0;  // 1 - the decay of the averages of weights in this step
  std::array<double, metrics> metric{};
  std::int32_t nonfinite = -1;  // of the first tensor that held a NaN or an infinity, -1 for none
  std::int32_t reserved = 0;
};

std::string bytes_text(std::size_t bytes);  // "1.5 MiB"

// A StepState in a backend's memory.
Tensor make_step_state(Backend&);
void write_step_state(Tensor&, const StepState&);
StepState read_step_state(const Tensor&);

class Backend {
 public:
  virtual ~Backend();

  virtual std::string_view name() const = 0;
  virtual bool supports(DType) const = 0;
  // What decides the bits besides the program and its input: instruction set, threads, algorithm table.
  virtual std::string fingerprint() const = 0;

#define PASTICHE_KERNEL(name, parameters, arguments) virtual void name parameters = 0;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  virtual void copy_from_host(void* to, const void* from, std::size_t bytes) = 0;
  virtual void copy_to_host(void* to, const void* from, std::size_t bytes) = 0;
  // The same as copy_from_host, but may return before the copy is done and lets launched kernels run on: what is launched later
  // sees it. `to` must not be in use by a kernel that has not ended.
  virtual void prefetch_from_host(void* to, const void* from, std::size_t bytes) { copy_from_host(to, from, bytes); }

  // A sequence of kernels that can run again, on the same memory.
  class Replay {
   public:
    virtual ~Replay() = default;
    virtual void run() = 0;
  };
  // What body launches, which is not run by this. nullptr, and body not called, where the backend can't record. Tensors made
  // meanwhile keep their memory to themselves for the life of the Replay, which must end before the backend.
  virtual std::unique_ptr<Replay> record([[maybe_unused]] const std::function<void()>& body) { return nullptr; }

  // Memory comes from a pool that keeps what is given back, by size class: a step that repeats takes nothing new.
  // Error(out_of_memory) says what was asked, what is held, and what is left.
  void* allocate(std::size_t bytes);
  void release(void* data, std::size_t bytes);

  struct PoolStats {
    std::int64_t system_allocations = 0;  // how often the pool asked the system
    std::size_t held_bytes = 0;           // taken from the system and kept
    std::size_t used_bytes = 0;           // of those, in use now
    std::size_t peak_bytes = 0;           // the most that were in use
  };
  PoolStats pool_stats() const;
  virtual std::size_t available_bytes() const = 0;  // what the system would still give

  // Fill every new buffer with NaN, so that a kernel that leaves an output unwritten shows.
  void poison_new_buffers(bool on) { poison_ = on; }
  // Off: every buffer is taken from the system in its exact size and given back at once, so that a tool which watches memory
  // sees its bounds. Switch it before the first buffer.
  void pool_buffers(bool on) { pool_ = on; }

 protected:
  virtual void* system_allocate(std::size_t bytes) = 0;  // nullptr where there is no memory left
  virtual void system_release(void* data, std::size_t bytes) = 0;
  // For the destructor of a derived class, and for its system_allocate: gives the system everything that is not in use.
  void release_pool();

  // Between the two, buffers come from an arena of their own; until it is dissolved nothing else gets them.
  using Arena = std::uint64_t;
  Arena begin_arena();
  void end_arena();
  void dissolve_arena(Arena);

 private:
  [[noreturn]] void refuse(std::size_t bytes) const;
  std::size_t buffer_size(std::size_t bytes) const;  // what is taken for so many

  using FreeBuffers = std::map<std::size_t, std::vector<void*>>;  // by size class

  mutable std::mutex mutex_;
  std::map<Arena, FreeBuffers> free_;  // 0: outside of any arena
  std::unordered_map<void*, Arena> arena_of_;  // of buffers that an arena made
  Arena arena_ = 0, last_arena_ = 0;
  PoolStats stats_;
  bool poison_ = false, pool_ = true;
};

// "cpu" | "reference" | "simt" (the CUDA kernels, run by the processor), and where nvcc was there "cuda" and "ptx" (what nvcc made
// of the kernels, run by the processor). Error(device) for a name that this build has not, or whose hardware is absent; never a silent
// fallback. A backend must outlive its tensors. threads = 0: as many as there are processors that affinity and the quotas of control groups
// leave to this process, or OMP_NUM_THREADS where that is less; never more than OMP_THREAD_LIMIT; fingerprint() tells the number.
// Error(usage) above 4096, Error(out_of_memory) where they can't be started. kernels: of the CUDA kernels; Error(usage) where this device
// does not have them.
//
// To a program with this library in it: the kernels of "cpu" must not be called in a parallel region of OpenMP. Start it with
// GOMP_SPINCOUNT=10000 in the environment, as `pastiche` does with itself: libgomp reads that before main(), and without it threads that
// have nothing to do spin for milliseconds, so that beside other busy processes a step takes many times as long.
std::unique_ptr<Backend> make_backend(std::string_view name, int threads = 0, const KernelChoice& kernels = {});
std::vector<std::string> backend_names();

// What "auto" means here: cuda where it works, else cpu, and then why. Any other name is itself.
struct DeviceChoice {
  std::string name;
  std::string why;  // empty where nothing needs saying
};
DeviceChoice choose_device(std::string_view name);

}  // namespace pastiche
