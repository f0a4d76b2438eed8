#include "simt/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <new>

#include "simt/engine.h"

namespace pastiche::simt_runtime {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t remembered = 4096;  // released allocations, for messages
constexpr int unmapped = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

std::size_t whole_pages(std::size_t bytes) { return (bytes + page - 1) / page * page; }

}  // namespace

std::recursive_mutex& runtime_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

Memory& memory() {
  static Memory& memory = *new Memory;  // outlives every static backend
  return memory;
}

void Allocation::wrote(const void* to, std::size_t count) {
  const std::size_t begin = reinterpret_cast<std::uintptr_t>(to) - address, end = begin + count;
  for (auto& [from, until] : copied_to) {
    if (begin <= until && from <= end) {
      from = std::min(from, begin);
      until = std::max(until, end);
      return;
    }
  }
  copied_to.emplace_back(begin, end);
}

bool Allocation::was_copied_to(std::size_t offset, std::size_t count) const {
  return std::any_of(copied_to.begin(), copied_to.end(),
                     [=](const auto& range) { return range.first <= offset && offset + count <= range.second; });
}

bool Memory::holds(const void* at, std::size_t count) {
  const Allocation* const allocation = find(at);
  return allocation != nullptr && allocation->holds(at, count);
}

bool Memory::refused() {
  ++made_;
  if (failures_to_come == 0) return false;
  if (successes_before_failure > 0) {
    --successes_before_failure;
    return false;
  }
  --failures_to_come;
  return true;
}

void* Memory::allocate(std::size_t bytes) {
  if (refused() || bytes > machine().memory - std::min(machine().memory, live_bytes_)) return nullptr;
  if (base_ == 0) {
    void* const range = mmap(nullptr, reserved, PROT_NONE, unmapped, -1, 0);
    if (range == MAP_FAILED) return nullptr;
    next_ = base_ = reinterpret_cast<std::uintptr_t>(range);
  }
  // Addresses are used again only when all have been used, so that what was released stays unmapped for long.
  const std::size_t needed = whole_pages(bytes) + page;
  for (int round = 0; round < 2; ++round, next_ = base_) {
    while (next_ + needed <= base_ + reserved) {
      const auto after = live_.lower_bound(next_);
      if (after == live_.end() || next_ + needed <= after->first) {
        const std::uintptr_t address = next_;
        void* const data = reinterpret_cast<void*>(address);
        if (mprotect(data, whole_pages(bytes), PROT_READ | PROT_WRITE) != 0) return nullptr;
        next_ += needed;
        live_[address] = {address, bytes, ++numbers_, {}, {}};
        live_bytes_ += bytes;
        bytes_made_ += bytes;
        return data;
      }
      next_ = after->first + whole_pages(after->second.bytes) + page;
    }
  }
  return nullptr;
}

bool Memory::release(void* data) {
  const auto found = live_.find(reinterpret_cast<std::uintptr_t>(data));
  if (found == live_.end()) return false;
  const Allocation& allocation = found->second;
  mmap(data, whole_pages(allocation.bytes), PROT_NONE, unmapped | MAP_FIXED, -1, 0);
  live_bytes_ -= allocation.bytes;
  if (freed_.size() == remembered) freed_.erase(freed_.begin(), freed_.begin() + remembered / 2);
  freed_.push_back({allocation.address, allocation.bytes, allocation.number, {}, {}});
  live_.erase(found);
  return true;
}

void* Memory::allocate_pinned(std::size_t bytes) {
  if (refused()) return nullptr;
  void* const data = ::operator new(bytes, std::align_val_t{page}, std::nothrow);
  if (data != nullptr) pinned_[reinterpret_cast<std::uintptr_t>(data)] = bytes;
  return data;
}

bool Memory::release_pinned(void* data) {
  if (pinned_.erase(reinterpret_cast<std::uintptr_t>(data)) == 0) return false;
  ::operator delete(data, std::align_val_t{page});
  return true;
}

bool Memory::pinned(const void* address, std::size_t bytes) const {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  auto after = pinned_.upper_bound(at);
  return after != pinned_.begin() && at + bytes <= std::prev(after)->first + std::prev(after)->second;
}

Allocation* Memory::before(const void* address) {
  auto after = live_.upper_bound(reinterpret_cast<std::uintptr_t>(address));
  return after == live_.begin() ? nullptr : &std::prev(after)->second;
}

Allocation* Memory::find(const void* address) {
  Allocation* const allocation = before(address);
  return allocation != nullptr && allocation->holds(address, 1) ? allocation : nullptr;
}

const Allocation* Memory::freed(const void* address) const {
  const auto found = std::find_if(freed_.rbegin(), freed_.rend(), [=](const Allocation& a) { return a.holds(address, 1); });
  return found == freed_.rend() ? nullptr : &*found;
}

}  // namespace pastiche::simt_runtime
