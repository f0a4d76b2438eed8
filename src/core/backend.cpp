#include "pastiche/backend.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pastiche {
namespace {

// Eight classes for each power of two: at most an eighth is wasted, and buffers of nearly the same size share.
std::size_t size_class(std::size_t bytes) {
  const std::size_t least = std::max<std::size_t>(bytes, 256);
  const std::size_t step = std::bit_floor(least) / 8;
  return (least + step - 1) / step * step;
}

}  // namespace

Backend::~Backend() = default;

void* Backend::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  void* data = nullptr;
  {
    std::lock_guard lock(mutex_);
    std::vector<void*>& free = free_[size];
    if (!free.empty()) {
      data = free.back();
      free.pop_back();
    } else {
      data = system_allocate(size);
      ++stats_.system_allocations;
      stats_.held_bytes += size;
    }
    stats_.used_bytes += size;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.used_bytes);
  }
  if (poison_) {
    const std::vector<unsigned char> nan(bytes, 0xff);  // NaN in every floating type
    copy_from_host(data, nan.data(), bytes);
  }
  return data;
}

void Backend::release(void* data, std::size_t bytes) {
  std::lock_guard lock(mutex_);
  const std::size_t size = size_class(bytes);
  free_[size].push_back(data);
  stats_.used_bytes -= size;
}

Backend::PoolStats Backend::pool_stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Backend::release_pool() {
  std::lock_guard lock(mutex_);
  for (auto& [size, free] : free_) {
    for (void* data : free) system_release(data, size);
    stats_.held_bytes -= size * free.size();
  }
  free_.clear();
}

Tensor make_step_state(Backend& backend) {
  Tensor state = Tensor::empty(backend, {static_cast<std::int64_t>(sizeof(StepState))}, DType::u8);
  write_step_state(state, StepState{});
  return state;
}

void write_step_state(Tensor& state, const StepState& value) { state.copy_from_host(&value); }

StepState read_step_state(const Tensor& state) {
  StepState value;
  state.copy_to_host(&value);
  return value;
}

}  // namespace pastiche
