#include "simt/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace pastiche::simt_runtime {

#if defined(__x86_64__)

// Pushes what a function must preserve (System V ABI), changes stacks, and pops. The floating-point control words are those of
// the thread.
extern "C" void pastiche_simt_switch(void** save, void* load);
asm(R"(
.text
.type pastiche_simt_switch, @function
pastiche_simt_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size pastiche_simt_switch, .-pastiche_simt_switch
)");

void switch_context(Context& from, Context& to) { pastiche_simt_switch(&from.stack_pointer, to.stack_pointer); }

#else

void switch_context(Context& from, Context& to) { swapcontext(&from.state, &to.state); }

#endif

namespace {
const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

Stack::Stack(int number) : offset_(static_cast<std::size_t>(number % 32) * 128) {
  void* const mapped = mmap(nullptr, page + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mprotect(mapped, page, PROT_NONE);
  low_ = static_cast<std::byte*>(mapped) + page;
}

Stack::~Stack() { munmap(low_ - page, page + bytes); }

void Stack::start(Context& context, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(low_, bytes);
#endif
#if defined(__x86_64__)
  // From the top: the return address of entry (none), entry, six registers. At the first instruction of a function the stack
  // pointer is 8 off a multiple of 16.
  void** const top = reinterpret_cast<void**>(low_ + bytes - offset_);
  top[-1] = nullptr;
  top[-2] = reinterpret_cast<void*>(entry);
  context.stack_pointer = top - 8;
#else
  getcontext(&context.state);
  context.state.uc_stack.ss_sp = low_;
  context.state.uc_stack.ss_size = bytes - offset_;
  context.state.uc_link = nullptr;
  makecontext(&context.state, entry, 0);
#endif
}

}  // namespace pastiche::simt_runtime
