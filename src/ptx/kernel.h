#pragma once
// Kernels that were translated from PTX (translator/), as the program holds them.
//
// The host compiler sees a kernel's body but emits no code for it (include/cuda_runtime.h), so its address is left to the linker,
// which finds a Kernel under the kernel's mangled name. There are two forms of its code: the plain one, and the checked one, in
// which every access to memory is seen by the checker of src/simt, every instruction is counted, and single instructions can be
// changed; only programs that link it have it.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "simt/launch.h"

namespace pastiche::ptx_runtime {

// What can be changed about an instruction to see whether a test notices.
enum class Change : std::uint8_t { none, no_barrier, shifted_address, flipped_comparison, swapped_operands, swapped_fragments, early_wait };
const char* change_name(Change);

// A line of the source. from: the place of the call that was expanded there; -1: none.
struct Location {
  std::uint16_t file;
  std::uint16_t line;
  std::int32_t from;
};

// An instruction.
struct Place {
  std::uint32_t line;  // of the PTX
  std::uint32_t location;
  std::uint32_t counter;  // instructions that always run together share one
  Change change;
};

// Barriers and waits are few, and each of them matters.
constexpr bool is_rare(Change change) {
  return change == Change::no_barrier || change == Change::early_wait;
}

// Of the checked form: whether the instruction of this number can be changed, which costs a comparison wherever it runs
// (CMakeLists.txt).
#ifdef PASTICHE_PTX_ONE_CHANGE_IN
constexpr bool can_change(std::uint32_t place, Change change) {
  return is_rare(change) || (place * 2654435761u >> 16) % PASTICHE_PTX_ONE_CHANGE_IN == 0;
}
#endif

// A file of PTX, in one form.
struct Module {
  const char* name;
  std::span<const char* const> files;
  std::span<const Location> locations;
  std::span<const Place> places;
  std::uint64_t* counters;   // of the checked form: how often each has run
  std::uint32_t* changed;    // of the checked form: the number of the place that is changed; places.size(): none
};

struct Kernel {
  static constexpr std::uint64_t translated = 0x78747078'74707874;
  std::uint64_t mark = translated;
  const char* name;  // mangled
  const Module* module;
  std::uint32_t first_place, places;  // of the module
  std::uint32_t parameter_bytes, static_shared_bytes, max_threads;
  std::span<const simt_runtime::SharedVariable> shared;
  void (*run)(const void* parameters);
  const Kernel* checked = nullptr;
};

// What launches run from now on; the observer may be null.
void use_plain_form();
void use_checked_form(simt_runtime::Observer*);
// All kernels whose checked form is in this program.
const std::vector<const Kernel*>& checked_kernels();
// file:line of an instruction, and of the calls that were expanded around it.
std::string source_line(const Module&, const Place&);

// At start-up.
struct Registered {
  explicit Registered(const Module&);
  Registered(Kernel& plain, const Kernel& checked);
};

// What cudaLaunchKernel and cudaFuncSetAttribute mean by a kernel; null: it was not translated.
const Kernel* find_kernel(const void* function);

}  // namespace pastiche::ptx_runtime
