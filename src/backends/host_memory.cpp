#include "backends/host_memory.h"

#include <cstring>
#include <fstream>
#include <limits>
#include <new>
#include <string>

namespace pastiche {

namespace {
constexpr std::align_val_t alignment{64};  // a cache line, and the widest vector
}

void* HostBackend::system_allocate(std::size_t bytes) { return ::operator new(bytes, alignment, std::nothrow); }

std::size_t HostBackend::available_bytes() const {
  std::ifstream info("/proc/meminfo");
  std::string name;
  for (std::size_t kib = 0; info >> name >> kib; info.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    if (name == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

void HostBackend::system_release(void* data, std::size_t) { ::operator delete(data, alignment); }

void HostBackend::copy_from_host(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

void HostBackend::copy_to_host(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

}  // namespace pastiche
