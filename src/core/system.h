#pragma once
// What the system tells of this process and this machine. It is read below `root`, so that a test can show another machine.
#include <cstddef>
#include <filesystem>
#include <string>

namespace pastiche {

std::size_t resident_bytes();  // memory that this process has now, as the system counts it; 0 where it does not tell
std::string processor_name();  // "AMD EPYC", or "unknown"

// How many processors' time the control groups of this process (a container's, a service's) leave it; infinity where none limits it.
double processor_quota(const std::filesystem::path& root = "/");
// Of processors that this process may run on, as many as its quota fills, a started one included; at least 1.
int usable_processors();
// How many threads to compute with where `asked` were asked for; 0: usable_processors(), or OMP_NUM_THREADS where that is less. Never more
// than OMP_THREAD_LIMIT.
int threads_for(int asked);

// Memory that this process can still get: the machine's, as far as its control groups and its own limits (ulimit -v, -d) leave it.
struct FreeMemory {
  std::size_t bytes;      // without swapping; what could be taken from the file cache is included
  std::size_t with_swap;  // beyond this the kernel kills, or allocation fails
};
FreeMemory free_memory(const std::filesystem::path& root = "/");

// What backends leave of that to the rest of the process: 32 MiB, and what was last announced here, such as a checkpoint's bytes.
void keep_memory_free(std::size_t bytes);
std::size_t memory_kept_free();

// Whether allocation can fail although the machine has memory: by a limit of this process, or since the system promises no more than
// it has.
bool address_space_is_limited();
// Error(out_of_memory) where that many bytes could not be had at once, for `what`. For code that does not survive a failed allocation.
void require_address_space(std::size_t bytes, const char* what);
// Error(out_of_memory) where so many threads can't be started besides this one. They are started, and end.
void require_threads(int count);

}  // namespace pastiche
