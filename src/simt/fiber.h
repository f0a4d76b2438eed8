#pragma once
// Flows of control on stacks of their own, within one thread.
#include <cstddef>
#include <memory>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace pastiche::simt_runtime {

// Where a suspended flow goes on.
struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t state;
#endif
};

// Stores where the caller goes on, and goes on at `to`.
void switch_context(Context& from, Context& to);

// 64 KiB with a page below it that traps.
class Stack {
 public:
  static constexpr std::size_t bytes = 64 << 10;
  explicit Stack(int number);  // stacks of different number use different lines of the cache
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  // A flow that will start with entry(), which must not return. What ran on this stack before is forgotten.
  void start(Context&, void (*entry)());

  const std::byte* low() const { return low_; }

 private:
  std::byte* low_;
  std::size_t offset_;
};

}  // namespace pastiche::simt_runtime
