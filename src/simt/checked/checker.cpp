#include "simt/checked/checker.h"

#include <link.h>

#include <algorithm>
#include <map>
#include <set>

#include "simt/block.h"
#include "simt/checked/counting.h"
#include "simt/checked/shadow.h"
#include "simt/include/cuda_runtime.h"
#include "simt/memory.h"
#include "simt/symbols.h"

namespace pastiche::simt_runtime {
namespace {

constexpr std::size_t kept_reports = 20;

std::string text(uint3 v) { return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")"; }

// Where something lies in the memory of the GPU.
struct Place {
  enum class Kind : std::uint8_t { other, host, global, dynamic_shared, static_shared } kind = Kind::other;
  std::uintptr_t offset = 0;       // in the memory of that kind that this block sees
  Allocation* allocation = nullptr;  // global
  const Symbol* variable = nullptr;  // static_shared
};

struct Touch {
  Place place;
  std::uintptr_t address;
  std::size_t bytes;
  bool write;
  const void* site;
};

class Checker final : public Observer {
 public:
  Checker();

  void launch_begins(const Launch&) override;
  void block_begins(uint3 block, const void* dynamic_shared) override;
  void barrier(const void* site, const void* other_site) override;
  void warp_met(unsigned warp, unsigned lanes, unsigned present, bool orders_memory) override;
  bool access(const void* address, std::size_t bytes, Access, const void* site) override;
  void block_ends() override { counting_.join(); }
  std::string launch_ends(const std::string& failure) override;

  std::vector<Report> reports_;
  std::map<std::string, std::size_t> report_at_;  // by fault, kernel and lines
  std::int64_t report_count_ = 0;
  Counting counting_;

 private:
  // What a fiber found. It becomes a report on the stack of the launch, which is larger.
  struct Finding {
    Fault fault;
    Touch touch;
    uint3 block;
    unsigned thread;
    Moment other;  // the access that it is not in order with
    std::int64_t count = 1;
  };

  Place locate(std::uintptr_t address);
  bool inside(const Touch&) const;
  void check_cells(const Touch&, Access);
  void find(Fault, const Touch&, const Moment& other = {});
  std::string describe(const Finding&) const;
  std::string describe(const Touch&) const;
  std::string thread_text(unsigned number) const;
  void add_report(Fault, const std::string& where, const std::string& text, std::int64_t count);
  Place shared_at(std::uintptr_t offset) const;
  Place local_at(std::uintptr_t offset) const;
  std::string line_of(const Moment& m) const {
    return m.epoch == 0 ? std::string() : source_line(reinterpret_cast<const void*>(image_begin_ + m.site));
  }

  // The program: its image, and the thread-local variables of this thread.
  std::uintptr_t image_begin_ = UINTPTR_MAX, image_end_ = 0;
  std::uintptr_t locals_ = 0, locals_bytes_ = 0;
  Cells static_cells_, dynamic_cells_;

  const Launch* launch_ = nullptr;
  std::string kernel_;            // its name
  std::string variables_prefix_;  // of the mangled names of its shared variables
  std::vector<Symbol> told_variables_;  // Launch::shared_variables
  std::uintptr_t dynamic_shared_ = 0;
  std::vector<std::pair<std::uint32_t, uint3>> blocks_;  // when each began
  Clocks clocks_;
  Allocation* allocation_ = nullptr;  // the last ones used
  Place local_;
  std::vector<Finding> findings_;
  std::set<std::pair<const void*, const void*>> barriers_;  // two calls at which threads of a block met
};

Checker& the_checker() {
  static Checker checker;
  return checker;
}

Checker::Checker() : dynamic_cells_(make_cells(max_shared_bytes)) {
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& self = *static_cast<Checker*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
          const std::uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
          self.image_begin_ = std::min(self.image_begin_, begin);
          self.image_end_ = std::max(self.image_end_, begin + info->dlpi_phdr[i].p_memsz);
        }
        return 1;  // the first is the program itself
      },
      this);
  for (const Symbol& symbol : thread_local_symbols()) locals_bytes_ = std::max(locals_bytes_, symbol.address + symbol.bytes);
  static_cells_ = make_cells(locals_bytes_);
}

// ---- the course of a launch ------------------------------------------------------------------------------------------

void Checker::launch_begins(const Launch& launch) {
  launch_ = &launch;
  kernel_ = function_name(launch.kernel);
  variables_prefix_ = mangled_name(launch.kernel);
  if (variables_prefix_.size() > 2) variables_prefix_ = "_ZZ" + variables_prefix_.substr(2) + "E";
  for (const Symbol& symbol : thread_local_symbols()) {
    if (symbol.name != "_ZN8pastiche12simt_runtime9threadIdxE") continue;
    locals_ = reinterpret_cast<std::uintptr_t>(&threadIdx) - symbol.address;
  }
  told_variables_.clear();
  for (const SharedVariable& v : launch.shared_variables) told_variables_.push_back({v.offset, v.bytes, v.name});
  clocks_.launch_begins();
  counting_.launch_begins(launch.kernel);
  blocks_.clear();
  allocation_ = nullptr;
  local_ = {};
}

void Checker::block_begins(uint3 block, const void* dynamic_shared) {
  clocks_.block_begins();
  blocks_.emplace_back(clocks_.block(), block);
  dynamic_shared_ = reinterpret_cast<std::uintptr_t>(dynamic_shared);
}

void Checker::barrier(const void* site, const void* other_site) {
  clocks_.barrier();
  counting_.join();
  if (other_site != nullptr) barriers_.emplace(site, other_site);
}

void Checker::warp_met(unsigned warp, unsigned lanes, unsigned present, bool orders_memory) {
  if (orders_memory) clocks_.warp_barrier(warp, lanes);
  if (lanes == present) counting_.join(warp);
}

std::string Checker::launch_ends(const std::string& failure) {
  if (!failure.empty() && failure != "stopped") add_report(Fault::stuck, failure, failure, 1);
  for (const Finding& finding : findings_) {
    add_report(finding.fault, source_line(finding.touch.site) + " " + line_of(finding.other), describe(finding), finding.count);
  }
  for (const auto& [site, other] : barriers_) {
    const std::string line = source_line(site), other_line = source_line(other);
    if (line == other_line) continue;  // a compiler may copy a call
    add_report(Fault::divergent_barrier, line + " " + other_line,
               kernel_ + ": threads of a block meet at different calls of __syncthreads, at " + line + " and " + other_line, 1);
  }
  const std::string why = failure == "stopped" ? describe(findings_.back()) : failure;
  findings_.clear();
  barriers_.clear();
  return why;
}

// ---- accesses --------------------------------------------------------------------------------------------------------

bool Checker::access(const void* at, std::size_t bytes, Access access, const void* site) {
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  if (address - reinterpret_cast<std::uintptr_t>(running_stack().low()) < Stack::bytes) return true;
  const bool read = access == Access::read || access == Access::unaligned_read;
  const bool may_be_unaligned = access == Access::unaligned_read || access == Access::unaligned_write;
  const Touch touch = {locate(address), address, bytes, !read, site};
  const bool global = touch.place.kind == Place::Kind::global;
  if (touch.place.kind == Place::Kind::other) return true;
  if (touch.place.kind == Place::Kind::host) {
    find(Fault::host_memory, touch);
    return true;
  }
  if (!inside(touch)) {
    const bool freed = global && touch.place.allocation == nullptr && memory().freed(at) != nullptr;
    find(!global ? Fault::shared_overrun : freed ? Fault::use_after_free : Fault::out_of_bounds, touch);
    return false;
  }
  if (!may_be_unaligned && address % bytes != 0) {
    find(Fault::misaligned, touch);
    return false;
  }
  check_cells(touch, access);
  if (access != Access::atomic && access != Access::begun_write) counting_.access(running_thread(), address, bytes, !global, site);
  return true;
}

bool Checker::inside(const Touch& touch) const {
  const Place& place = touch.place;
  switch (place.kind) {
    case Place::Kind::global: return place.allocation != nullptr && place.offset + touch.bytes <= place.allocation->bytes;
    case Place::Kind::dynamic_shared: return place.offset + touch.bytes <= launch_->shared;
    default: return place.variable != nullptr && place.offset + touch.bytes <= place.variable->address + place.variable->bytes;
  }
}

Place Checker::locate(std::uintptr_t address) {
  const void* const at = reinterpret_cast<const void*>(address);
  if (memory().contains(at)) {
    if (allocation_ == nullptr || !allocation_->holds(at, 1)) allocation_ = memory().find(at);
    return {Place::Kind::global, allocation_ == nullptr ? 0 : address - allocation_->address, allocation_, nullptr};
  }
  if (address - dynamic_shared_ < max_shared_bytes) return shared_at(address - dynamic_shared_);
  if (address - locals_ < locals_bytes_) {
    const std::uintptr_t offset = address - locals_;
    if (local_.variable == nullptr || offset - local_.variable->address >= local_.variable->bytes) local_ = local_at(offset);
    local_.offset = offset;
    return local_;
  }
  const bool argument = address - reinterpret_cast<std::uintptr_t>(launch_->arguments.get()) < launch_->argument_bytes;
  const bool constant = address >= image_begin_ && address < image_end_;
  return {argument || constant ? Place::Kind::other : Place::Kind::host, 0, nullptr, nullptr};
}

// Of the block's shared memory: below the dynamic part what the launch tells, each with all up to the next.
Place Checker::shared_at(std::uintptr_t offset) const {
  if (offset >= launch_->static_shared) return {Place::Kind::dynamic_shared, offset - launch_->static_shared, nullptr, nullptr};
  const Symbol* variable = nullptr;
  for (const Symbol& each : told_variables_) {
    if (each.address <= offset) variable = &each;
  }
  return {Place::Kind::static_shared, offset, nullptr, variable};
}

Place Checker::local_at(std::uintptr_t offset) const {
  const auto& symbols = thread_local_symbols();
  const auto after = std::upper_bound(symbols.begin(), symbols.end(), offset,
                                      [](std::uintptr_t o, const Symbol& s) { return o < s.address; });
  const Symbol* variable = after == symbols.begin() ? nullptr : &*std::prev(after);
  if (variable == nullptr || offset >= variable->address + variable->bytes)
    return {Place::Kind::static_shared, 0, nullptr, nullptr};
  const std::string& name = variable->name;
  if (!name.starts_with("_ZZ")) return {Place::Kind::other, 0, nullptr, variable};  // not of a function: threadIdx and the like
  // What belongs to another kernel stands here by chance.
  const bool foreign = !name.starts_with(variables_prefix_) && name.find("_kernel") != std::string::npos;
  return {Place::Kind::static_shared, 0, nullptr, foreign ? nullptr : variable};
}

void Checker::check_cells(const Touch& touch, Access access) {
  const Place& place = touch.place;
  const bool global = place.kind == Place::Kind::global;
  Cell* cells = place.kind == Place::Kind::dynamic_shared ? dynamic_cells_.get() + launch_->static_shared
                : launch_->static_shared > 0              ? dynamic_cells_.get()
                                                          : static_cells_.get();
  if (global) {
    if (place.allocation->shadow == nullptr) place.allocation->shadow = make_cells(place.allocation->bytes);
    cells = static_cast<Cell*>(place.allocation->shadow.get());
  }
  const std::uint32_t since = global ? clocks_.launch() : clocks_.block();
  const auto site = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(touch.site) - image_begin_);
  const Moment now = clocks_.now(running_thread(), site, access == Access::atomic);
  Moment conflict;
  bool unwritten = false;
  for (std::size_t i = 0; i < touch.bytes; ++i) {
    Cell& cell = cells[place.offset + i];
    if (!touch.write) unwritten |= global ? cell.write.epoch == 0 : !clocks_.this_block(cell.write);
    const Moment other = touch.write ? clocks_.write(cell, now, since) : clocks_.read(cell, now, since);
    if (other.epoch != 0) conflict = other;
    if (access == Access::begun_write) cell.write.epoch = Moment::going_on;
  }
  if (conflict.epoch != 0)
    find(!global ? Fault::shared_race : clocks_.this_block(conflict) ? Fault::race : Fault::block_race, touch, conflict);
  if (!unwritten) return;
  if (!global) find(Fault::unwritten_shared, touch);
  else if (place.allocation->number > memory().unwatched && !place.allocation->was_copied_to(place.offset, touch.bytes))
    find(Fault::unwritten, touch);
}

// ---- reports ---------------------------------------------------------------------------------------------------------

void Checker::find(Fault fault, const Touch& touch, const Moment& other) {
  const auto known = std::find_if(findings_.begin(), findings_.end(), [&](const Finding& f) {
    return f.fault == fault && f.touch.site == touch.site && f.other.site == other.site;
  });
  if (known != findings_.end()) ++known->count;
  else findings_.push_back({fault, touch, blockIdx, running_thread(), other});
}

void Checker::add_report(Fault fault, const std::string& where, const std::string& text, std::int64_t count) {
  report_count_ += count;
  const auto [at, is_new] = report_at_.emplace(std::to_string(static_cast<int>(fault)) + kernel_ + where, reports_.size());
  if (!is_new) {
    if (at->second < reports_.size()) reports_[at->second].count += count;
  } else if (reports_.size() < kept_reports) {
    reports_.push_back({fault, kernel_, text, count});
  } else {
    at->second = kept_reports;
  }
}

std::string Checker::thread_text(unsigned number) const {
  const dim3 b = launch_->block;
  return "thread " + text(uint3{number % b.x, number / b.x % b.y, number / b.x / b.y});
}

std::string Checker::describe(const Touch& touch) const {
  const auto byte_of = [](const std::string& what, std::uintptr_t offset, std::size_t bytes) {
    return "byte " + std::to_string(offset) + " of " + what + " (" + std::to_string(bytes) + " bytes)";
  };
  const auto of = [&](const Allocation& a) {
    return byte_of("allocation " + std::to_string(a.number), touch.address - a.address, a.bytes);
  };
  const Place& place = touch.place;
  const void* const at = reinterpret_cast<const void*>(touch.address);
  switch (place.kind) {
    case Place::Kind::global:
      if (const Allocation* a = memory().find(at)) return of(*a);
      if (const Allocation* a = memory().freed(at)) return of(*a) + ", which was released";
      if (const Allocation* a = memory().before(at)) return of(*a);
      return "device memory below the first allocation";
    case Place::Kind::dynamic_shared: return byte_of("the dynamic shared memory", place.offset, launch_->shared);
    case Place::Kind::static_shared: {
      if (place.variable == nullptr) return "shared memory outside of the kernel's variables";
      const Symbol& variable = *place.variable;
      const std::string name = demangle(variable.name);
      return byte_of("the shared " + name.substr(name.rfind(':') + 1), place.offset - variable.address, variable.bytes);
    }
    default: return "memory of the host";
  }
}

std::string Checker::describe(const Finding& f) const {
  std::string s = kernel_ + ", block " + text(f.block) + ", " + thread_text(f.thread) + " at " + source_line(f.touch.site);
  s += (f.touch.write ? " writes " : " reads ") + std::to_string(f.touch.bytes) + " bytes from " + describe(f.touch) + ": ";
  switch (f.fault) {
    case Fault::out_of_bounds: return s + "out of bounds";
    case Fault::use_after_free: return s + "used after it was released";
    case Fault::misaligned: return s + "not a multiple of the size";
    case Fault::shared_overrun: return s + "out of bounds";
    case Fault::host_memory: return s + "a GPU has no such memory";
    case Fault::unwritten: return s + "nobody wrote it";
    case Fault::unwritten_shared: return s + "nobody wrote it in this block";
    default: break;
  }
  s += thread_text(f.other.thread);
  if (f.fault == Fault::block_race) {
    const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), f.other.epoch,
                                        [](std::uint32_t epoch, const auto& block) { return epoch < block.first; });
    s += " of block " + text(std::prev(after)->second);
  }
  return s + " touched it at " + line_of(f.other) + " with no order between the two";
}

}  // namespace

Observer* checker() { return &the_checker(); }

std::vector<Report> reports() { return the_checker().reports_; }
std::int64_t report_count() { return the_checker().report_count_; }
void clear_reports() {
  the_checker().reports_.clear();
  the_checker().report_at_.clear();
  the_checker().report_count_ = 0;
}

std::vector<Counters> counters() { return the_checker().counting_.counters(false); }
std::vector<Counters> counters_by_line() { return the_checker().counting_.counters(true); }
void clear_counters() { the_checker().counting_.clear(); }

}  // namespace pastiche::simt_runtime
