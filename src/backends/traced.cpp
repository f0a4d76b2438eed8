#include "backends/traced.h"

#include <chrono>

namespace pastiche {

template <class Launch> void TracedBackend::timed(const char* kernel, Launch launch) {
  const auto begin = std::chrono::steady_clock::now();
  launch();
  if (float ignored = 0; waited_for_.defined()) waited_for_.copy_to_host(&ignored);
  KernelStats& stats = stats_[kernel];
  stats.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  ++stats.calls;
}

#define PASTICHE_KERNEL(name, parameters, arguments) \
  void TracedBackend::name parameters { timed(#name, [&] { inner_->name arguments; }); }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

}  // namespace pastiche
