#include <algorithm>

#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

void ReferenceBackend::random_normal(Tensor& y, RandomKey key, const Tensor& state) {
  const auto step = static_cast<std::uint64_t>(read_step_state(state).step);
  Array out(y.shape());
  for (std::int64_t i = 0; i < out.size(); i += 4) {
    float group[4];
    normal4(key, step, static_cast<std::uint64_t>(i / 4), group);
    for (std::int64_t j = i; j < std::min(i + 4, out.size()); ++j) out[j] = group[j - i];
  }
  store(y, out);
}

void ReferenceBackend::dropout(Tensor& y, const Tensor& x, const Dropout& p, const Tensor& state) {
  const auto step = static_cast<std::uint64_t>(read_step_state(state).step);
  Array out = load(x);
  for (std::int64_t i = 0; i < out.size(); i += 4) {
    const Philox4 words = philox4x32(p.key, step, static_cast<std::uint64_t>(i / 4));
    for (std::int64_t j = i; j < std::min(i + 4, out.size()); ++j) {
      out[j] = uniform_from(words.word[j - i]) >= p.p ? out[j] / (1 - p.p) : 0;
    }
  }
  store(y, out);
}

}  // namespace pastiche
