#include "simt/block.h"

#include <sys/mman.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <utility>

#include "simt/symbols.h"
#include "simt/warp.h"

namespace pastiche::simt_runtime {

constinit thread_local uint3 threadIdx{}, blockIdx{}, blockDim{}, gridDim{};

namespace {

constinit thread_local Block* running = nullptr;

std::string text(uint3 v) { return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")"; }

const char* text(Wait wait) {
  switch (wait) {
    case Wait::none: return "runs";
    case Wait::barrier: return "__syncthreads";
    case Wait::shuffle: return "a shuffle";
    case Wait::vote: return "a vote";
    case Wait::warp_barrier: return "__syncwarp";
    case Wait::matrix: return "ldmatrix or mma";
  }
  return "";
}

std::string hex(unsigned mask) {
  char digits[16];
  std::snprintf(digits, sizeof digits, "0x%08x", mask);
  return digits;
}

}  // namespace

// ---- from the kernel -------------------------------------------------------------------------------------------------

int wait_for_block(int predicate) { return running->wait_for_block(predicate, __builtin_return_address(0)); }

std::uint64_t wait_for_warp(Wait kind, unsigned mask, std::uint64_t value, int from) {
  return running->wait_for_warp(kind, mask, value, from, __builtin_return_address(0));
}

int wait_for_block(int predicate, const void* site) { return running->wait_for_block(predicate, site); }

std::uint64_t wait_for_warp(Wait kind, unsigned mask, std::uint64_t value, int from, const void* site) {
  return running->wait_for_warp(kind, mask, value, from, site);
}

const void* show_lanes(const void* mine, std::size_t bytes, const void* site) { return running->show_lanes(mine, bytes, site); }

void begin_copy(void* to, const void* from, unsigned bytes, unsigned bytes_of_source, const void* site) {
  running->begin_copy(to, from, bytes, bytes_of_source, site);
}
void close_copies() { running->close_copies(); }
void finish_copies(unsigned others) { running->finish_copies(others); }

void simt_copy_async(void* to, const void* from, unsigned bytes_of_source) {
  running->begin_copy(to, from, 16, bytes_of_source, __builtin_return_address(0));
}
void simt_copy_async_commit() { running->close_copies(); }
void simt_copy_async_wait(unsigned others) { running->finish_copies(others); }
void simt_ldmatrix_x4(std::uint32_t (&to)[4], const void* row) { load_matrices<4, false>(to, row, __builtin_return_address(0)); }
void simt_ldmatrix_x4_trans(std::uint32_t (&to)[4], const void* row) { load_matrices<4, true>(to, row, __builtin_return_address(0)); }
void simt_mma_bf16(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  const auto element = [](std::uint32_t word, unsigned i) { return std::bit_cast<float>(i == 0 ? word << 16 : word & 0xffff0000u); };
  multiply_matrices<16, 2>(a, {b0, b1}, sums, element, __builtin_return_address(0));
}
void simt_mma_tf32(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  const auto element = [](std::uint32_t word, unsigned) { return std::bit_cast<float>(word & ~0x1fffu); };
  multiply_matrices<8, 1>(a, {b0, b1}, sums, element, __builtin_return_address(0));
}

void give_up(const char* why, const void* site) { running->give_up(why, site); }

int lane_index() { return running->lane(); }
unsigned present_lanes() { return running->present_lanes(); }
void* simt_dynamic_shared() { return running->shared(); }

void report_access(const void* address, std::size_t bytes, Access access, const void* site) {
  if (running == nullptr) return;
  Observer* const observer = running->observer();
  if (observer != nullptr && !observer->access(address, bytes, access, site)) running->stop();
}

void watched_load(void* to, const void* from, std::size_t bytes) {
  report_access(from, bytes, Access::read, __builtin_return_address(0));
  std::memcpy(to, from, bytes);
}

void watched_store(void* to, const void* from, std::size_t bytes) {
  report_access(to, bytes, Access::write, __builtin_return_address(0));
  std::memcpy(to, from, bytes);
}

unsigned running_thread() { return running->thread(); }
const Stack& running_stack() { return running->stack(); }

// ---- fibers ----------------------------------------------------------------------------------------------------------

void Block::Queue::push(Fiber& fiber) {
  fiber.next = nullptr;
  (first_ == nullptr ? first_ : last_->next) = &fiber;
  last_ = &fiber;
}

Block::Fiber& Block::Queue::pop() {
  Fiber& fiber = *first_;
  first_ = fiber.next;
  return fiber;
}

void Block::Queue::take(Queue& other) {
  if (other.empty()) return;
  (first_ == nullptr ? first_ : last_->next) = other.first_;
  last_ = other.last_;
  other.first_ = nullptr;
}

Block::Block() {
  const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const mapped = mmap(nullptr, max_shared_bytes, PROT_READ | PROT_WRITE, kind, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  shared_ = static_cast<std::byte*>(mapped);
}

Block::~Block() { munmap(shared_, max_shared_bytes); }

std::string Block::run(const Launch& launch, uint3 index) {
  launch_ = &launch;
  blockIdx = index;
  threads_ = launch.block.x * launch.block.y * launch.block.z;
  if (fibers_.size() < threads_) fibers_ = std::vector<Fiber>(threads_);
  warps_.resize((threads_ + 31) / 32);
  for (unsigned w = 0; w < warps_.size(); ++w) {
    warps_[w].present = threads_ - 32 * w >= 32 ? 0xffffffffu : (1u << (threads_ - 32 * w)) - 1;
    warps_[w].waiting = 0;
  }
  ready_ = at_barrier_ = {};
  started_ = ended_ = arrived_ = 0;
  predicates_ = 0;
  site_ = other_site_ = nullptr;
  stopped_ = false;
  mistake_ = {};
  next_index_ = {};
  std::memset(shared_, 0xff, launch.static_shared + launch.shared);  // NaN

  running = this;
  start_flow(main_);
  running = nullptr;

  if (ended_ == threads_) return {};
  free_stacks_.clear();  // what stands on the stacks will not go on
  for (const auto& stack : stacks_) free_stacks_.push_back(stack.get());
  return stopped_ ? "stopped" : explain(index);
}

// A new stack runs the threads that have not started.
void Block::start_flow(Context& from) {
  if (free_stacks_.empty()) {
    stacks_.push_back(std::make_unique<Stack>(static_cast<int>(stacks_.size())));
    free_stacks_.push_back(stacks_.back().get());
  }
  starting_ = free_stacks_.back();
  free_stacks_.pop_back();
  starting_->start(fresh_, [] { running->run_threads(); });
  switch_context(from, fresh_);
}

// One thread after the other on one stack, until one waits: it keeps the stack, and others go on elsewhere.
void Block::run_threads() {
  Stack* const stack = starting_;
  while (ready_.empty() && started_ < threads_) {
    Fiber& fiber = fibers_[started_];
    fiber.index = threadIdx = next_index_;
    fiber.number = started_++;
    fiber.stack = stack;
    fiber.wait = Wait::none;
    fiber.ended = false;
    fiber.turn = fiber.groups = 0;
    if (++next_index_.x == launch_->block.x) {
      next_index_.x = 0;
      if (++next_index_.y == launch_->block.y) next_index_.y = 0, ++next_index_.z;
    }
    current_ = &fiber;
    launch_->call(launch_->arguments.get());
    close_copies();
    finish_copies(0);  // as the hardware does
    fiber.ended = true;
    ++ended_;
    warps_[fiber.number / 32].present &= ~(1u << fiber.number % 32);
  }
  free_stacks_.push_back(stack);
  go_on(abandoned_);
}

void Block::go_on(Context& from) {
  if (!ready_.empty()) {
    current_ = &ready_.pop();
    threadIdx = current_->index;
    switch_context(from, current_->context);
  } else if (started_ < threads_) {
    start_flow(from);
  } else {
    switch_context(from, main_);
  }
}

void Block::suspend(Wait kind) {
  Fiber& fiber = *current_;
  fiber.wait = kind;
  go_on(fiber.context);
  fiber.wait = Wait::none;
}

void Block::stop() {
  stopped_ = true;
  switch_context(abandoned_, main_);
  std::abort();
}

void Block::give_up(const char* why, const void* site) {
  current_->site = site;
  mistake(why, 0);
}

void Block::mistake(const char* what, unsigned mask) {
  mistake_ = {what, mask, current_};
  switch_context(abandoned_, main_);
  std::abort();
}

// ---- barriers and collectives ----------------------------------------------------------------------------------------

int Block::wait_for_block(int predicate, const void* site) {
  Fiber& fiber = *current_;
  fiber.site = site;
  (arrived_ == 0 || site == site_ ? site_ : other_site_) = site;
  predicates_ += predicate;
  if (++arrived_ < threads_) {
    at_barrier_.push(fiber);
    suspend(Wait::barrier);
    return predicates_of_last_;
  }
  if (launch_->observer != nullptr) launch_->observer->barrier(site_, other_site_);
  other_site_ = nullptr;
  arrived_ = 0;
  ready_.take(at_barrier_);
  return predicates_of_last_ = std::exchange(predicates_, 0);
}

std::uint64_t Block::wait_for_warp(Wait kind, unsigned mask, std::uint64_t value, int from, const void* site) {
  Fiber& fiber = *current_;
  fiber.site = site;
  const unsigned first = fiber.number / 32 * 32, lane = fiber.number % 32;
  Warp& warp = warps_[fiber.number / 32];
  if ((mask >> lane & 1) == 0) mistake("the mask does not hold the calling lane", mask);
  if ((mask & ~warp.present) != 0) mistake("the mask names a lane that is not there", mask);
  if (from < 0 || from >= 32 || (mask >> from & 1) == 0) mistake("a shuffle reads a lane that its mask does not name", mask);
  warp.lane[lane] = {kind, mask, from, value, 0};
  warp.waiting |= 1u << lane;
  if ((warp.waiting & mask) != mask) {
    suspend(kind);
  } else {
    unsigned votes = 0;
    for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
      const int i = std::countr_zero(lanes);
      Warp::Lane& other = warp.lane[i];
      if (other.kind != kind || other.mask != mask)
        mistake("a lane of the mask waits at another collective or with another mask", mask);
      other.result = warp.lane[other.from].value;
      votes |= static_cast<unsigned>(other.value & 1) << i;
    }
    warp.waiting &= ~mask;
    for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
      const int i = std::countr_zero(lanes);
      if (kind == Wait::vote) warp.lane[i].result = votes;
      if (i != static_cast<int>(lane)) ready_.push(fibers_[first + i]);
    }
    if (launch_->observer != nullptr) launch_->observer->warp_met(first / 32, mask, warp.present, kind == Wait::warp_barrier);
  }
  return warp.lane[lane].result;
}

const void* Block::show_lanes(const void* mine, std::size_t bytes, const void* site) {
  Fiber& fiber = *current_;
  const unsigned lane = fiber.number % 32;
  auto& room = warps_[fiber.number / 32].shown[fiber.turn ^= 1];
  std::memcpy(room.data() + lane * bytes, mine, bytes);
  wait_for_warp(Wait::matrix, ~0u, 0, static_cast<int>(lane), site);
  return room.data();
}

// ---- copies that go on beside the thread -----------------------------------------------------------------------------

void Block::begin_copy(void* to, const void* from, unsigned bytes, unsigned bytes_of_source, const void* site) {
  report_access(to, bytes, Access::begun_write, site);
  std::memset(to, 0xff, bytes);  // NaN
  current_->copies.push_back({to, from, bytes, bytes_of_source, current_->groups, site});
}

// A copy is made only where the thread waits for it.
void Block::finish_copies(unsigned others) {
  std::vector<Copy>& copies = current_->copies;
  std::size_t done = 0;
  for (; done < copies.size() && copies[done].group + others < current_->groups; ++done) {
    const Copy& copy = copies[done];
    if (reinterpret_cast<std::uintptr_t>(copy.from) % copy.bytes != 0) report_access(copy.from, copy.bytes, Access::read, copy.site);  // which is a fault
    if (copy.bytes_of_source > 0) report_access(copy.from, copy.bytes_of_source, Access::unaligned_read, copy.site);
    report_access(copy.to, copy.bytes, Access::write, copy.site);
    std::memcpy(copy.to, copy.from, copy.bytes_of_source);
    std::memset(static_cast<std::byte*>(copy.to) + copy.bytes_of_source, 0, copy.bytes - copy.bytes_of_source);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
}

// ---- what went wrong -------------------------------------------------------------------------------------------------

std::string Block::explain(uint3 block) const {
  std::string why = function_name(launch_->kernel) + ", block " + text(block) + ": ";
  if (mistake_.what != nullptr) {
    return why + "thread " + text(mistake_.fiber->index) + ": " + mistake_.what + (mistake_.mask == 0 ? "" : " (" + hex(mistake_.mask) + ")") +
           " at " + source_line(mistake_.fiber->site);
  }
  why += "no thread can go on";
  struct Group {
    int threads = 0;
    uint3 first{};
  };
  std::map<std::string, Group> groups;
  for (unsigned i = 0; i < threads_; ++i) {
    const Fiber& fiber = fibers_[i];
    std::string state = "left the kernel";
    if (!fiber.ended) state = std::string("waits at ") + text(fiber.wait) + " at " + source_line(fiber.site);
    if (!fiber.ended && fiber.wait != Wait::barrier) state += " with mask " + hex(warps_[i / 32].lane[i % 32].mask);
    Group& group = groups[state];
    if (group.threads++ == 0) group.first = fiber.index;
  }
  for (const auto& [state, group] : groups) {
    why += "; thread " + text(group.first);
    if (group.threads > 1) why += " and " + std::to_string(group.threads - 1) + " more";
    why += ": " + state;
  }
  return why;
}

}  // namespace pastiche::simt_runtime
