// What -fsanitize=thread calls in code compiled with it: every access to memory, and atomic operations in place of the
// instructions. Linked instead of the runtime that belongs to it.
#include <cstdint>

#include "simt/launch.h"

using pastiche::simt_runtime::Access;
using pastiche::simt_runtime::report_access;

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define REPORT(at, bytes, how) report_access(const_cast<const void*>(at), bytes, Access::how, __builtin_return_address(0))

#define HOOKS(bytes)                                                                      \
  void __tsan_read##bytes(void* at) { REPORT(at, bytes, read); }                          \
  void __tsan_write##bytes(void* at) { REPORT(at, bytes, write); }                        \
  void __tsan_unaligned_read##bytes(void* at) { REPORT(at, bytes, unaligned_read); }      \
  void __tsan_unaligned_write##bytes(void* at) { REPORT(at, bytes, unaligned_write); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void* at, unsigned long bytes) { REPORT(at, bytes, unaligned_read); }
void __tsan_write_range(void* at, unsigned long bytes) { REPORT(at, bytes, unaligned_write); }

#define ATOMIC_FETCH(T, bits, name)                                             \
  T __tsan_atomic##bits##_fetch_##name(volatile void* at, T value, int) {       \
    REPORT(at, sizeof(T), atomic);                                              \
    return __atomic_fetch_##name(static_cast<volatile T*>(at), value, __ATOMIC_SEQ_CST); \
  }
#define ATOMIC_COMPARE(T, bits, name)                                                                           \
  bool __tsan_atomic##bits##_compare_exchange_##name(volatile void* at, void* expected, T value, int, int) {    \
    REPORT(at, sizeof(T), atomic);                                                                              \
    return __atomic_compare_exchange_n(static_cast<volatile T*>(at), static_cast<T*>(expected), value, false,   \
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                     \
  }
#define ATOMICS(T, bits)                                                            \
  T __tsan_atomic##bits##_load(const volatile void* at, int) {                      \
    REPORT(at, sizeof(T), atomic);                                                  \
    return __atomic_load_n(static_cast<const volatile T*>(at), __ATOMIC_SEQ_CST);   \
  }                                                                                 \
  void __tsan_atomic##bits##_store(volatile void* at, T value, int) {               \
    REPORT(at, sizeof(T), atomic);                                                  \
    __atomic_store_n(static_cast<volatile T*>(at), value, __ATOMIC_SEQ_CST);        \
  }                                                                                 \
  T __tsan_atomic##bits##_exchange(volatile void* at, T value, int) {               \
    REPORT(at, sizeof(T), atomic);                                                  \
    return __atomic_exchange_n(static_cast<volatile T*>(at), value, __ATOMIC_SEQ_CST); \
  }                                                                                 \
  ATOMIC_FETCH(T, bits, add)                                                        \
  ATOMIC_FETCH(T, bits, sub)                                                        \
  ATOMIC_FETCH(T, bits, and)                                                        \
  ATOMIC_FETCH(T, bits, or)                                                         \
  ATOMIC_FETCH(T, bits, xor)                                                        \
  ATOMIC_COMPARE(T, bits, strong)                                                   \
  ATOMIC_COMPARE(T, bits, weak)
ATOMICS(std::uint8_t, 8)
ATOMICS(std::uint16_t, 16)
ATOMICS(std::uint32_t, 32)
ATOMICS(std::uint64_t, 64)

void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
