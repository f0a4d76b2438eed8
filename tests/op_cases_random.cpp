#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_random_cases(std::vector<OpCase>& cases) {
  const std::int64_t steps[] = {0, 1, 77, std::int64_t{1} << 33};
  std::uint32_t stream = 0;
  for (const Shape& s : elementwise_shapes()) {
    const std::int64_t step = steps[stream % std::size(steps)];
    const RandomKey key{.seed = 0x123456789abcdef0u + stream, .stream = stream};
    ++stream;
    cases.push_back({.op = "random_normal", .detail = fmt::format("{} stream {} step {}", s.str(), key.stream, step),
                     .run = [=](const OpRun& r) {
                       Tensor y = Tensor::empty(r.backend, s, r.dtype);
                       r.backend.random_normal(y, key, state_at(r.backend, step));
                       return Var(y);
                     },
                     .differentiable = false});
    for (const double p : {0.5, 0.75, 0.2}) {  // the first two scale by 2 and 4
      cases.push_back({.op = "dropout", .detail = fmt::format("p {} stream {} step {}", p, key.stream, step),
                       .inputs = {{s}},
                       .run = [=](const OpRun& r) {
                         return dropout(r[0], {.p = p, .key = key}, state_at(r.backend, step));
                       },
                       .bound = p == 0.2 ? 1e-6 : 0, .many_zeros = true});
    }
  }
}

}  // namespace pastiche
