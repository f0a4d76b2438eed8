#pragma once
// What is wrong with the kernels that ran in this program in the checked form (compiled with -DPASTICHE_SIMT_CHECKED and
// -fsanitize=thread, see hooks.cpp), by source line, and how well they use memory.
//
// Memory is watched byte by byte. Two accesses of which one writes are in order when __syncthreads or, within a warp, __syncwarp
// stands between them, or when they are in different launches. Shuffles and votes do not order memory; neither, here, do atomics
// and __threadfence. What it cannot see: an overrun of one static shared array into another of the same kernel, and accesses
// that the optimiser removed.
#include <cstdint>
#include <string>
#include <vector>

namespace pastiche::simt_runtime {

enum class Fault : std::uint8_t {
  out_of_bounds,    // outside of every allocation; this one and the next three end the launch, as on a GPU
  use_after_free,   //
  misaligned,       // the address is not a multiple of the size
  shared_overrun,   // outside of the shared memory of the kernel
  host_memory,      // memory that a GPU would not have
  unwritten,        // read, and nothing wrote it
  unwritten_shared, // read, and nothing wrote it in this block
  shared_race,      // between threads of a block, in shared memory
  race,             // between threads of a block, in global memory
  block_race,       // between blocks
  divergent_barrier,  // threads of a block at different calls of __syncthreads
  stuck,            // a barrier or a collective that some thread never reaches, or a mask that is wrong
};

struct Report {
  Fault fault;
  std::string kernel, text;
  std::int64_t count;  // how often at these lines
};
std::vector<Report> reports();  // the first 20, by kernel and line
std::int64_t report_count();    // all, with repetitions
void clear_reports();

// A request is one instruction of a warp. Global memory: the 32-byte sectors that it touches, and as few as could hold the bytes
// it uses. Shared memory: the wavefronts that it takes, where each of 32 banks serves one 4-byte word a wavefront, and as few
// as could carry the bytes that it uses.
struct Counters {
  std::string kernel, line;  // line: of counters_by_line()
  std::int64_t global_requests = 0, sectors = 0, ideal_sectors = 0;
  std::int64_t shared_requests = 0, wavefronts = 0, ideal_wavefronts = 0;
};
std::vector<Counters> counters();
std::vector<Counters> counters_by_line();
void clear_counters();

}  // namespace pastiche::simt_runtime
