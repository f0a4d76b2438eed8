// A launch: its blocks over the cores.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "core/system.h"
#include "simt/block.h"
#include "simt/engine.h"

namespace pastiche::simt_runtime {
namespace {

int wanted_threads = 0;

// Threads that wait for work. One caller at a time.
class Pool {
 public:
  ~Pool() { resize(0); }

  // work() in the caller and in `helpers` threads at once.
  void run(int helpers, const std::function<void()>& work) {
    if (static_cast<int>(threads_.size()) < helpers) resize(helpers);
    {
      std::lock_guard lock(mutex_);
      work_ = &work;
      to_start_ = to_end_ = helpers;
    }
    start_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    end_.wait(lock, [&] { return to_end_ == 0; });
  }

 private:
  void resize(int count) {
    {
      std::lock_guard lock(mutex_);
      quit_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    quit_ = false;
    for (int i = 0; i < count; ++i) threads_.emplace_back([this] { serve(); });
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return quit_ || to_start_ > 0; });
      if (quit_) return;
      --to_start_;
      const std::function<void()>& work = *work_;
      lock.unlock();
      work();
      lock.lock();
      if (--to_end_ == 0) end_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable start_, end_;
  std::vector<std::thread> threads_;
  const std::function<void()>* work_ = nullptr;
  int to_start_ = 0, to_end_ = 0;
  bool quit_ = false;
};

Block& block_of_this_thread() {
  thread_local Block block;
  return block;
}

uint3 block_index(const dim3& grid, std::uint64_t i) {
  const std::uint64_t row = i / grid.x;
  return {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(row % grid.y), static_cast<unsigned>(row / grid.y)};
}

}  // namespace

void set_threads(int count) { wanted_threads = count; }
int threads() {
  static const int all = threads_for(0);
  return wanted_threads > 0 ? wanted_threads : all;
}

std::string run(const Launch& launch) {
  const std::uint64_t blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  const std::uint64_t threads_a_block = launch.block.x * launch.block.y * launch.block.z;
  std::atomic<std::uint64_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  std::string why;
  // Where waking others costs more than the work; and a checker sees one block at a time.
  const bool alone = blocks * threads_a_block <= 2048 || launch.observer != nullptr;
  const int workers = alone ? 1 : static_cast<int>(std::min<std::uint64_t>(blocks, static_cast<std::uint64_t>(threads())));
  const std::uint64_t together = std::clamp<std::uint64_t>(blocks / (8 * static_cast<std::uint64_t>(workers)), 1, 64);
  const auto work = [&] {
    gridDim = launch.grid;
    blockDim = launch.block;
    Block& block = block_of_this_thread();
    for (;;) {
      const std::uint64_t first = next.fetch_add(together), end = std::min(blocks, first + together);
      if (first >= blocks) return;
      for (std::uint64_t i = first; i < end && !failed; ++i) {
        const uint3 index = block_index(launch.grid, i);
        if (launch.observer != nullptr) launch.observer->block_begins(index, block.shared());
        const std::string error = block.run(launch, index);
        if (launch.observer != nullptr) launch.observer->block_ends();
        if (error.empty()) continue;
        std::lock_guard lock(mutex);
        if (!failed.exchange(true)) why = error;
      }
      if (failed) return;
    }
  };
  if (launch.observer != nullptr) launch.observer->launch_begins(launch);
  if (workers == 1) {
    work();
  } else {
    static Pool pool;
    pool.run(workers - 1, work);
  }
  return launch.observer == nullptr ? why : launch.observer->launch_ends(why);
}

}  // namespace pastiche::simt_runtime
