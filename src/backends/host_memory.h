#pragma once
// What backends that compute in ordinary memory have in common.
#include "pastiche/backend.h"

namespace pastiche {

// Derived classes call release_pool() in their destructor.
class HostBackend : public Backend {
 public:
  void copy_from_host(void* to, const void* from, std::size_t bytes) override;
  void copy_to_host(void* to, const void* from, std::size_t bytes) override;
  std::size_t available_bytes() const override;

 protected:
  void* system_allocate(std::size_t bytes) override;  // aligned to 64 bytes
  void system_release(void* data, std::size_t bytes) override;
};

}  // namespace pastiche
