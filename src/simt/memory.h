#pragma once
// The memory of the device: one reserved range of addresses in which allocations are mapped, each between pages that trap.
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace pastiche::simt_runtime {

// One call into the runtime at a time; kernels run inside of one.
std::recursive_mutex& runtime_mutex();

struct Allocation {
  std::uintptr_t address;
  std::size_t bytes;
  std::uint64_t number;  // of all allocations ever made
  std::vector<std::pair<std::size_t, std::size_t>> copied_to;  // from, to: bytes that copies and memsets wrote
  std::shared_ptr<void> shadow;  // the checker's

  void wrote(const void* to, std::size_t count);
  bool was_copied_to(std::size_t offset, std::size_t count) const;
  bool holds(const void* at, std::size_t count) const {
    return reinterpret_cast<std::uintptr_t>(at) >= address && reinterpret_cast<std::uintptr_t>(at) + count <= address + bytes;
  }
};

class Memory {
 public:
  void* allocate(std::size_t bytes);  // null: no memory
  bool release(void*);                // false: not an allocation
  void* allocate_pinned(std::size_t bytes);
  bool release_pinned(void*);

  bool contains(const void* address) const {
    return base_ != 0 && reinterpret_cast<std::uintptr_t>(address) - base_ < reserved;
  }
  Allocation* before(const void* address);             // the live one that starts at or below it
  Allocation* find(const void* address);               // the live one that holds it
  const Allocation* freed(const void* address) const;  // the latest released one that held it
  bool holds(const void* address, std::size_t bytes);  // one live allocation has all of it
  bool pinned(const void* address, std::size_t bytes) const;

  std::size_t count() const { return live_.size(); }
  std::size_t bytes() const { return live_bytes_; }
  std::uint64_t made() const { return made_; }
  std::uint64_t bytes_made() const { return bytes_made_; }
  std::uint64_t last_number() const { return numbers_; }

  std::uint64_t unwatched = 0;  // allocations up to this number may hold what kernels wrote that no checker saw
  std::int64_t successes_before_failure = 0, failures_to_come = 0;

 private:
  static constexpr std::size_t reserved = std::size_t{1} << 38;
  bool refused();

  std::uintptr_t base_ = 0, next_ = 0;
  std::map<std::uintptr_t, Allocation> live_;
  std::vector<Allocation> freed_;
  std::map<std::uintptr_t, std::size_t> pinned_;
  std::size_t live_bytes_ = 0;
  std::uint64_t made_ = 0, bytes_made_ = 0, numbers_ = 0;
};

Memory& memory();

}  // namespace pastiche::simt_runtime
