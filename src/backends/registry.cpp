#include <fmt/format.h>
#include <fmt/ranges.h>

#include "backends/cpu/cpu.h"
#include "backends/reference/reference.h"
#include "pastiche/backend.h"

namespace pastiche {

std::vector<std::string> backend_names() { return {"cpu", "reference"}; }

std::unique_ptr<Backend> make_backend(std::string_view name, int threads) {
  if (name == "cpu" || name == "auto") return std::make_unique<CpuBackend>(threads);
  if (name == "reference") return std::make_unique<ReferenceBackend>();
  throw Error(ExitCode::device, fmt::format("this build has no device '{}'; it has: {}", name, fmt::join(backend_names(), ", ")));
}

}  // namespace pastiche
