#include "core/process_memory.h"

#include <unistd.h>

#include <fstream>

namespace pastiche {

std::size_t resident_bytes() {
  std::size_t total = 0, resident = 0;  // pages
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace pastiche
