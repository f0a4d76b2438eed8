#include "backends/traced.h"

#include <chrono>

namespace pastiche {

template <class Launch> void TracedBackend::timed(const char* kernel, Launch launch) {
  const auto begin = std::chrono::steady_clock::now();
  launch();
  if (float ignored = 0; waited_for_.defined()) waited_for_.copy_to_host(&ignored);
  launches_.push_back({kernel, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()});
}

#define PASTICHE_KERNEL(name, parameters, arguments) \
  void TracedBackend::name parameters { timed(#name, [&] { inner_->name arguments; }); }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

}  // namespace pastiche
