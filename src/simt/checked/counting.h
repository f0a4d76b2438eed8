#pragma once
// Puts the accesses of the threads of a block together into the requests of its warps, and counts what they cost.
#include <array>
#include <map>
#include <unordered_map>

#include "simt/checked/checker.h"

namespace pastiche::simt_runtime {

class Counting {
 public:
  void launch_begins(const void* kernel);
  void access(unsigned thread, std::uintptr_t address, std::size_t bytes, bool shared, const void* site);
  // The lanes of the warp (of every warp) are at the same place: an access before it and one after it are not one request.
  void join(unsigned warp);
  void join();

  std::vector<Counters> counters(bool by_line) const;
  void clear() { tallies_.clear(); }

 private:
  struct Touch {
    const void* site;
    std::uintptr_t address;
    std::uint32_t bytes;
    bool shared;
  };
  using Lanes = std::array<std::vector<Touch>, 32>;  // what each did since the last join, in order
  using Sites = std::unordered_map<const void*, Counters>;

  void count(std::vector<Touch>& request);

  std::vector<Lanes> warps_;
  std::map<const void*, Sites> tallies_;  // by kernel
  Sites* tally_ = nullptr;
};

}  // namespace pastiche::simt_runtime
