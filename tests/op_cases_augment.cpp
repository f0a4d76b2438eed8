#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_augment_cases(std::vector<OpCase>& cases) {
  const Shape pictures[] = {{1, 1, 1, 1},  {2, 2, 2, 3},   {3, 5, 7, 3},   {1, 9, 4, 1},   {4, 8, 8, 3},  {2, 16, 12, 4},
                            {1, 3, 33, 2}, {2, 13, 6, 17}, {3, 28, 28, 1}, {2, 33, 31, 3}, {5, 7, 7, 6}};
  struct Policy {
    const char* name;
    bool color, translation, cutout;
  };
  const Policy policies[] = {{"color", true, false, false},
                             {"translation", false, true, false},
                             {"cutout", false, false, true},
                             {"color translation cutout", true, true, true}};
  const std::int64_t steps[] = {0, 1, 77, std::int64_t{1} << 33};
  std::uint32_t stream = 0;
  for (const Shape& s : pictures) {
    for (const Policy& policy : policies) {
      const std::int64_t step = steps[stream % std::size(steps)];
      const DiffAugment p{.key = {.seed = 0x123456789abcdef0u + stream, .stream = stream},
                          .brightness = policy.color, .saturation = policy.color, .contrast = policy.color,
                          .translation = policy.translation, .cutout = policy.cutout};
      ++stream;
      const std::string detail = fmt::format("{} stream {} step {}", policy.name, p.key.stream, step);
      const double bound = policy.color ? 1e-6 : 0;
      const bool twice = s.elements() <= 500, many_zeros = policy.translation || policy.cutout;
      cases.push_back({.op = "diff_augment", .detail = detail, .inputs = {{s}},
                       .run = [=](const OpRun& r) { return diff_augment(r[0], p, state_at(r.backend, step)); },
                       .bound = bound, .twice = twice, .many_zeros = many_zeros});
      cases.push_back({.op = "diff_augment_grad", .detail = detail, .inputs = {{s}},
                       .run = [=](const OpRun& r) { return diff_augment_grad(r[0], p, state_at(r.backend, step)); },
                       .bound = bound, .twice = twice, .many_zeros = many_zeros});
    }
  }
}

}  // namespace pastiche
