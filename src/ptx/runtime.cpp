#include <algorithm>
#include <cstring>
#include <map>

#include "ptx/include/cuda_runtime.h"
#include "ptx/warp.h"
#include "simt/symbols.h"

namespace pastiche::ptx_runtime {
namespace {

bool checked_form = false;
simt_runtime::Observer* observer = nullptr;

std::vector<const Module*>& modules() {
  static std::vector<const Module*> all;
  return all;
}

std::vector<const Kernel*>& kernels() {
  static std::vector<const Kernel*> all;
  return all;
}

std::string line_of(const void* address) {
  const auto* const place = static_cast<const Place*>(address);
  for (const Module* module : modules()) {
    if (place >= module->places.data() && place < module->places.data() + module->places.size()) return source_line(*module, *place);
  }
  return "";
}

}  // namespace

const char* change_name(Change change) {
  switch (change) {
    case Change::none: return "none";
    case Change::no_barrier: return "a barrier left out";
    case Change::shifted_address: return "an address shifted";
    case Change::flipped_comparison: return "a comparison flipped";
    case Change::swapped_operands: return "operands swapped";
    case Change::swapped_fragments: return "fragments swapped";
    case Change::early_wait: return "a wait for one group too few";
  }
  return "";
}

void use_plain_form() {
  checked_form = false;
  observer = nullptr;
}
void use_checked_form(simt_runtime::Observer* by) {
  checked_form = true;
  observer = by;
}
const std::vector<const Kernel*>& checked_kernels() { return kernels(); }

std::string source_line(const Module& module, const Place& place) {
  std::string text;
  for (std::int64_t at = place.location; at >= 0; at = module.locations[static_cast<std::size_t>(at)].from) {
    const Location& l = module.locations[static_cast<std::size_t>(at)];
    text += (text.empty() ? "" : " from ") + std::string(module.files[l.file]) + ":" + std::to_string(l.line);
  }
  return text;
}

Registered::Registered(const Module& module) {
  modules().push_back(&module);
  simt_runtime::add_lines(module.places.data(), module.places.data() + module.places.size(), line_of);
}

Registered::Registered(Kernel& plain, const Kernel& checked) {
  plain.checked = &checked;
  kernels().push_back(&checked);
}

const Kernel* find_kernel(const void* function) {
  const auto* const kernel = static_cast<const Kernel*>(function);
  std::uint64_t mark = 0;
  std::memcpy(&mark, &kernel->mark, sizeof mark);  // where a compiler did emit the kernel, its code stands here
  return mark == Kernel::translated ? kernel : nullptr;
}

cudaError_t launch(const void* function, dim3 grid, dim3 block, std::span<const Parameter> parameters, void** arguments, std::size_t shared,
                   cudaStream_t stream) {
  const Kernel* kernel = find_kernel(function);
  if (kernel != nullptr && checked_form) kernel = kernel->checked;
  if (kernel == nullptr) return simt_runtime::cudaErrorNoKernelImageForDevice;
  if (std::uint64_t{block.x} * block.y * block.z > kernel->max_threads) return simt_runtime::cudaErrorInvalidConfiguration;
  constexpr std::size_t align = 128;
  const std::shared_ptr<std::byte> room(static_cast<std::byte*>(::operator new(kernel->parameter_bytes + 1, std::align_val_t{align})),
                                        [](std::byte* data) { ::operator delete(data, std::align_val_t{align}); });
  std::size_t end = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const std::size_t at = (end + parameters[i].align - 1) / parameters[i].align * parameters[i].align;
    end = at + parameters[i].bytes;
    if (end > kernel->parameter_bytes) return simt_runtime::cudaErrorInvalidValue;
    std::memcpy(room.get() + at, arguments[i], parameters[i].bytes);
  }
  if (end != kernel->parameter_bytes) return simt_runtime::cudaErrorInvalidValue;  // nvcc and the host compiler do not agree
  return simt_runtime::enqueue({.kernel = reinterpret_cast<const void*>(kernel->run),
                                .grid = grid,
                                .block = block,
                                .shared = shared,
                                .observer = observer,
                                .call = kernel->run,
                                .arguments = room,
                                .argument_bytes = kernel->parameter_bytes,
                                .static_shared = kernel->static_shared_bytes,
                                .shared_variables = kernel->shared},
                               stream);
}

cudaError_t set_attribute(const void* function, cudaFuncAttribute attribute, int value) {
  const Kernel* const kernel = find_kernel(function);
  if (kernel == nullptr) return simt_runtime::cudaErrorNoKernelImageForDevice;
  if (kernel->checked != nullptr) simt_runtime::cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel->checked->run), attribute, value);
  return simt_runtime::cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel->run), attribute, value);
}

}  // namespace pastiche::ptx_runtime
