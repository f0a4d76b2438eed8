#include "backends/host_memory.h"

#include <fmt/format.h>

#include <cstring>
#include <new>

namespace pastiche {

namespace {
constexpr std::align_val_t alignment{64};  // a cache line, and the widest vector
}

void* HostBackend::system_allocate(std::size_t bytes) {
  void* data = ::operator new(bytes, alignment, std::nothrow);
  if (data == nullptr)
    throw Error(ExitCode::out_of_memory, fmt::format("out of memory: {} could not allocate {} bytes", name(), bytes));
  return data;
}

void HostBackend::system_release(void* data, std::size_t) { ::operator delete(data, alignment); }

void HostBackend::copy_from_host(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

void HostBackend::copy_to_host(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

}  // namespace pastiche
