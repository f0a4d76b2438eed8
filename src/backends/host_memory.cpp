#include "backends/host_memory.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "core/system.h"

namespace pastiche {

namespace {
constexpr std::align_val_t alignment{64};  // a cache line, and the widest vector

std::size_t without_kept(std::size_t bytes) { return bytes - std::min(bytes, memory_kept_free()); }

}  // namespace

// Where more is promised than there is, the kernel kills whoever uses it: so what is large is compared with what is left.
void* HostBackend::system_allocate(std::size_t bytes) {
  constexpr std::size_t large = 1 << 20;
  if (bytes >= large && bytes > without_kept(free_memory().with_swap)) return nullptr;
  return ::operator new(bytes, alignment, std::nothrow);
}

std::size_t HostBackend::available_bytes() const { return without_kept(free_memory().bytes); }

void HostBackend::system_release(void* data, std::size_t) { ::operator delete(data, alignment); }

void HostBackend::copy_from_host(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

void HostBackend::copy_to_host(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
}

}  // namespace pastiche
