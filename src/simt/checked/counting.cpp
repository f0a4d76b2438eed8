#include "simt/checked/counting.h"

#include <algorithm>

#include "simt/symbols.h"

namespace pastiche::simt_runtime {

void Counting::launch_begins(const void* kernel) { tally_ = &tallies_[kernel]; }

void Counting::access(unsigned thread, std::uintptr_t address, std::size_t bytes, bool shared, const void* site) {
  if (thread / 32 >= warps_.size()) warps_.resize(thread / 32 + 1);
  warps_[thread / 32][thread % 32].push_back({site, address, static_cast<std::uint32_t>(bytes), shared});
}

void Counting::join() {
  for (unsigned warp = 0; warp < warps_.size(); ++warp) join(warp);
}

// One request: what the lanes did at one instruction, each for the same time since the last join.
void Counting::join(unsigned warp) {
  if (warp >= warps_.size()) return;
  Lanes& lanes = warps_[warp];
  std::vector<const std::vector<Touch>*> active;
  for (const auto& lane : lanes) {
    if (!lane.empty()) active.push_back(&lane);
  }
  const auto same_path = [](const std::vector<Touch>* a, const std::vector<Touch>* b) {
    return std::equal(a->begin(), a->end(), b->begin(), b->end(),
                      [](const Touch& x, const Touch& y) { return x.site == y.site && x.shared == y.shared; });
  };
  std::vector<Touch> request;
  if (std::all_of(active.begin(), active.end(), [&](const auto* lane) { return same_path(lane, active.front()); })) {
    for (std::size_t i = 0; !active.empty() && i < active.front()->size(); ++i) {
      request.clear();
      for (const auto* lane : active) request.push_back((*lane)[i]);
      count(request);
    }
  } else {
    using Instruction = std::pair<const void*, bool>;  // a copy reads one memory and writes the other
    std::map<Instruction, std::vector<std::vector<Touch>>> requests;
    for (const auto* lane : active) {
      std::map<Instruction, std::size_t> times;
      for (const Touch& touch : *lane) {
        const Instruction instruction(touch.site, touch.shared);
        auto& at_site = requests[instruction];
        const std::size_t time = times[instruction]++;
        if (time == at_site.size()) at_site.emplace_back();
        at_site[time].push_back(touch);
      }
    }
    for (auto& [instruction, at_site] : requests) {
      for (auto& each : at_site) count(each);
    }
  }
  for (auto& lane : lanes) lane.clear();
}

void Counting::count(std::vector<Touch>& request) {
  std::sort(request.begin(), request.end(), [](const Touch& a, const Touch& b) { return a.address < b.address; });
  const std::uintptr_t unit = request.front().shared ? 4 : 32;  // a word of a bank, a sector
  std::int64_t bytes = 0, units = 0;
  std::array<std::int64_t, 32> of_bank{};
  std::uintptr_t end = 0, next_unit = 0;  // up to where bytes and units are counted
  for (const Touch& touch : request) {
    const std::uintptr_t until = touch.address + touch.bytes;
    if (until > end) bytes += static_cast<std::int64_t>(until - std::max(end, touch.address));
    end = std::max(end, until);
    for (std::uintptr_t u = std::max(next_unit, touch.address / unit); u * unit < until; ++u) {
      ++units;
      ++of_bank[u % 32];
      next_unit = u + 1;
    }
  }
  Counters& to = (*tally_)[request.front().site];
  if (request.front().shared) {
    ++to.shared_requests;
    to.wavefronts += *std::max_element(of_bank.begin(), of_bank.end());
    to.ideal_wavefronts += (bytes + 127) / 128;
  } else {
    ++to.global_requests;
    to.sectors += units;
    to.ideal_sectors += (bytes + 31) / 32;
  }
}

std::vector<Counters> Counting::counters(bool by_line) const {
  std::map<std::pair<std::string, std::string>, Counters> sums;
  for (const auto& [kernel, sites] : tallies_) {
    const std::string name = function_name(kernel);
    std::vector<const void*> addresses;
    for (const auto& [site, tally] : sites) addresses.push_back(site);
    const std::vector<std::string> lines = by_line ? source_lines(addresses) : std::vector<std::string>(addresses.size());
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const Counters& from = sites.at(addresses[i]);
      Counters& to = sums[{name, lines[i]}];
      to.kernel = name;
      to.line = lines[i];
      to.global_requests += from.global_requests;
      to.sectors += from.sectors;
      to.ideal_sectors += from.ideal_sectors;
      to.shared_requests += from.shared_requests;
      to.wavefronts += from.wavefronts;
      to.ideal_wavefronts += from.ideal_wavefronts;
    }
  }
  std::vector<Counters> result;
  for (auto& [key, sum] : sums) result.push_back(sum);
  return result;
}

}  // namespace pastiche::simt_runtime
