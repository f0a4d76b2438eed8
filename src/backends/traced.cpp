#include "backends/traced.h"

#include <chrono>

namespace pastiche {
namespace {

template <class Launch> void timed(KernelStats& stats, Launch launch) {
  const auto begin = std::chrono::steady_clock::now();
  launch();
  stats.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ++stats.calls;
}

}  // namespace

#define PASTICHE_KERNEL(name, parameters, arguments)           \
  void TracedBackend::name parameters {                        \
    timed(stats_[#name], [&] { inner_->name arguments; });     \
  }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

}  // namespace pastiche
