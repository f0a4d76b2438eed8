#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backends/cpu/cpu.h"
#include "backends/reference/reference.h"
#include "backends/targets.h"
#include "core/system.h"
#include "pastiche/backend.h"
#include "pastiche/config.h"
#include "simt/engine.h"

namespace pastiche {

std::vector<std::string> backend_names() {
  std::vector<std::string> names{"cpu", "reference", "simt"};
#ifdef PASTICHE_CUDA
  names.insert(names.begin(), "cuda");
  names.emplace_back("ptx");
#endif
  return names;
}

std::unique_ptr<Backend> make_backend(std::string_view name, int threads, const KernelChoice& kernels) {
  if (threads < 0 || threads > most_threads) {
    throw Error(ExitCode::usage, fmt::format("a backend of {} threads, expected 1 to {}, or 0 for one a core", threads, most_threads));
  }
  if (name == "cpu" || name == "reference") require_none(kernels, name);
  if (name == "cpu") return std::make_unique<CpuBackend>(threads);
  if (name == "reference") return std::make_unique<ReferenceBackend>();
  if (name == "simt") {
    simt_runtime::set_threads(threads_for(threads));
    return simt::make_cuda_backend(kernels);
  }
#ifdef PASTICHE_CUDA
  if (name == "cuda") return cuda::make_cuda_backend(kernels);
  if (name == "ptx") {
    simt_runtime::set_threads(threads_for(threads));
    return ptx::make_cuda_backend(kernels);
  }
#endif
  throw Error(ExitCode::device, fmt::format("this build has no device '{}'; it has: {}", name, fmt::join(backend_names(), ", ")));
}

DeviceChoice choose_device(std::string_view name) {
  if (name != "auto") return {std::string(name), ""};
#ifdef PASTICHE_CUDA
  try {
    make_backend("cuda");
    return {"cuda", ""};
  } catch (const Error& error) {
    return {"cpu", fmt::format("device cpu: {}", error.what())};
  }
#else
  return {"cpu", ""};
#endif
}

}  // namespace pastiche
