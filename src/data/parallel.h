#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "core/system.h"

namespace pastiche {

// Calls body(0) to body(count - 1) from all cores, in no order. Rethrows one of the exceptions, if any. Where no more threads can be
// started, those that were do all.
template <class Body>
void parallel_for(std::int64_t count, Body body, const std::function<void(std::int64_t done, std::int64_t total)>& observer = {}) {
  std::atomic<std::int64_t> next = 0, done = 0;
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (std::int64_t i; (i = next++) < count;) {
        body(i);
        if (observer) observer(++done, count);
      }
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  };
  {
    const std::int64_t threads = std::min<std::int64_t>({threads_for(0), 16, count});
    std::vector<std::jthread> workers;
    try {
      for (std::int64_t i = 1; i < threads; ++i) workers.emplace_back(work);
    } catch (const std::system_error&) {
    }
    work();
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace pastiche
