#include "pastiche/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

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

// An empty buffer has an address too.
std::size_t Backend::buffer_size(std::size_t bytes) const { return pool_ ? size_class(bytes) : std::max<std::size_t>(bytes, 1); }

void* Backend::allocate(std::size_t bytes) {
  const std::size_t size = buffer_size(bytes);
  void* data = nullptr;
  bool recorded = false;
  {
    std::lock_guard lock(mutex_);
    std::vector<void*>& free = free_[arena_][size];
    if (!free.empty()) {
      data = free.back();
      free.pop_back();
    } else {
      data = system_allocate(size);
      if (data == nullptr) {
        release_pool();
        data = system_allocate(size);
      }
      if (data == nullptr) refuse(size);
      if (arena_ != 0) arena_of_[data] = arena_;
      ++stats_.system_allocations;
      stats_.held_bytes += size;
    }
    stats_.used_bytes += size;
    stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.used_bytes);
    recorded = arena_ != 0;
  }
  if (poison_ && !recorded) {
    const std::vector<unsigned char> nan(bytes, 0xff);  // NaN in every floating type
    copy_from_host(data, nan.data(), bytes);
  }
  return data;
}

void Backend::release(void* data, std::size_t bytes) {
  std::lock_guard lock(mutex_);
  const std::size_t size = buffer_size(bytes);
  const auto owner = arena_of_.find(data);
  stats_.used_bytes -= size;
  if (pool_ || owner != arena_of_.end()) {
    try {
      free_[owner == arena_of_.end() ? 0 : owner->second][size].push_back(data);
      return;
    } catch (const std::bad_alloc&) {  // destructors call this, which must not throw
      if (owner != arena_of_.end()) arena_of_.erase(owner);
    }
  }
  system_release(data, size);
  stats_.held_bytes -= size;
}

Backend::PoolStats Backend::pool_stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Backend::release_pool() {
  for (auto& [size, free] : free_[0]) {
    for (void* data : free) system_release(data, size);
    stats_.held_bytes -= size * free.size();
  }
  free_[0].clear();
}

void Backend::refuse(std::size_t bytes) const {
  throw Error(ExitCode::out_of_memory, fmt::format("out of memory: {} was asked for {} while {} of the {} that it holds are in use and "
                                                   "{} are left", name(), bytes_text(bytes), bytes_text(stats_.used_bytes),
                                                   bytes_text(stats_.held_bytes), bytes_text(available_bytes())));
}

std::string bytes_text(std::size_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  if (bytes < 1u << 20) return fmt::format("{:.1f} KiB", value / 1024);
  return bytes < 1u << 30 ? fmt::format("{:.1f} MiB", value / (1 << 20)) : fmt::format("{:.2f} GiB", value / (1 << 30));
}

// It takes over what is free now: where a step ran before it is recorded, that step's memory serves the recording.
Backend::Arena Backend::begin_arena() {
  std::lock_guard lock(mutex_);
  arena_ = ++last_arena_;
  free_[arena_] = std::exchange(free_[0], {});
  for (const auto& [size, free] : free_[arena_]) {
    for (void* data : free) arena_of_[data] = arena_;
  }
  return arena_;
}

void Backend::end_arena() {
  std::lock_guard lock(mutex_);
  arena_ = 0;
}

void Backend::dissolve_arena(Arena arena) {
  std::lock_guard lock(mutex_);
  for (auto& [size, free] : free_[arena]) {
    std::vector<void*>& general = free_[0][size];
    general.insert(general.end(), free.begin(), free.end());
  }
  free_.erase(arena);
  std::erase_if(arena_of_, [arena](const auto& entry) { return entry.second == arena; });
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
