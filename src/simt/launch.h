#pragma once
// A kernel with its arguments, and the one who watches it run.
#include <memory>
#include <span>
#include <string>

#include "simt/device.h"
#include "simt/fiber.h"

namespace pastiche::simt_runtime {

// begun_write: of a copy that goes on beside the thread until a write to the same place, by the same thread.
enum class Access : std::uint8_t { read, write, unaligned_read, unaligned_write, atomic, begun_write };
class Observer;

// From a kernel in the checked form: what it is about to touch. Anywhere else it does nothing.
void report_access(const void* address, std::size_t bytes, Access, const void* site);
// The same as of device.h, for a caller that says itself where it is.
int wait_for_block(int predicate, const void* site);
std::uint64_t wait_for_warp(Wait, unsigned mask, std::uint64_t value, int from, const void* site);
// The launch fails, with the reason.
[[noreturn]] void give_up(const char* why, const void* site);
// The running thread: its number in the block, and its stack.
unsigned running_thread();
const Stack& running_stack();

// Of the static shared memory of a kernel, where that lies below the dynamic one.
struct SharedVariable {
  const char* name;  // mangled
  std::uint32_t offset, bytes;
};

struct Launch {
  const void* kernel;  // for its name
  dim3 grid, block;
  std::size_t shared;  // bytes of dynamic shared memory
  Observer* observer;  // null: nobody
  void (*call)(const void* arguments);
  std::shared_ptr<const void> arguments;
  std::size_t argument_bytes;
  std::size_t static_shared = 0;  // where dynamic shared memory begins
  std::span<const SharedVariable> shared_variables = {};
};

// Sees a kernel that was compiled in the checked form, which runs in one thread, block after block. Fibers call barrier, warp_met
// and access, on their small stacks; the rest is called on the stack of the launch.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void launch_begins(const Launch&) = 0;
  virtual void block_begins(uint3 block, const void* dynamic_shared) = 0;
  // All threads of the block have come to a barrier, from one call or (other_site) from several.
  virtual void barrier(const void* site, const void* other_site) = 0;
  virtual void warp_met(unsigned warp, unsigned lanes, unsigned present, bool orders_memory) = 0;
  virtual bool access(const void* address, std::size_t bytes, Access, const void* site) = 0;  // false: the launch stops
  virtual void block_ends() = 0;
  virtual std::string launch_ends(const std::string& failure) = 0;  // why it failed, as far as both know
};

// Runs all blocks. Empty, or why it failed.
std::string run(const Launch&);

}  // namespace pastiche::simt_runtime
