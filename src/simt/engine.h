#pragma once
// The simulated GPU, from outside: how it is set up, what it has run, and the failures it can be asked for.
//
// Kernels (kernels/*.cu) and the host code of the CUDA backend are compiled by the host compiler against src/simt/include. A
// launch waits in its stream until something waits for the stream; then the blocks run in parallel over the cores and the
// threads of a block as fibers on one core, in the order of their index, each until it must wait for others.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace pastiche::simt_runtime {

// What the CUDA calls tell about the machine. multiprocessors is not the number of cores: kernels may derive the size of their
// grid from it, and results must not depend on the host.
struct Machine {
  bool driver = true;     // false: cudaErrorInsufficientDriver from every call
  int devices = 1;        // 0: cudaErrorNoDevice
  bool has_code = true;   // false: no kernel was compiled for this architecture
  int major = 8, minor = 0;
  int multiprocessors = 8;
  std::size_t memory = std::size_t{8} << 30;  // bytes of the device
};
Machine& machine();

// Cores that run blocks; 0: all. The results do not depend on it.
void set_threads(int);
int threads();

// The allocations (device and pinned memory) after the next `successes` ones fail, `failures` of them; no failures: end of it.
void fail_allocations_after(std::int64_t successes, std::int64_t failures = INT64_MAX);
std::size_t live_allocations();  // of the device
std::size_t live_bytes();
std::int64_t allocations_made();  // calls that could have failed, device and pinned
std::int64_t kernels_run();
std::uint64_t bytes_allocated();  // of the device, ever

// A launch, as it was asked for.
struct LaunchSeen {
  std::string kernel;         // "gemm_kernel<float, Tile<64, 64, 8, 4>, false, true>"
  unsigned blocks_x, blocks_y, blocks_z;
  unsigned threads;           // a block
  std::size_t shared;         // bytes of dynamic shared memory
};
// Told of every launch from now on, once where it is recorded into a graph; what it returns false for does not run. Empty: all run.
void watch_launches(std::function<bool(const LaunchSeen&)>);

// Why the last kernel failed: a deadlock, with what each thread waits for, or what the checker found.
std::string last_report();
// A kernel that fails makes every later call fail, as on a GPU, until this is called.
void clear_error();

}  // namespace pastiche::simt_runtime
