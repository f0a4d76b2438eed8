#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_resample_cases(std::vector<OpCase>& cases) {
  const Shape pictures[] = {{1, 1, 1, 1},  {2, 3, 5, 3},  {1, 7, 1, 4},  {3, 1, 2, 7},   {1, 5, 4, 16},
                            {2, 2, 3, 17}, {1, 7, 7, 33}, {1, 4, 4, 64}, {1, 14, 14, 1}, {2, 6, 5, 2}};
  for (const Shape& s : pictures) {
    for (const std::int64_t factor : {1, 2, 3}) {
      const Shape large = s.with(1, factor * s[1]).with(2, factor * s[2]);
      const std::string detail = fmt::format("factor {}", factor);
      cases.push_back({.op = "upsample", .detail = detail, .inputs = {{s}},
                       .run = [=](const OpRun& r) { return upsample(r[0], factor); }});
      cases.push_back({.op = "upsample_grad", .detail = detail, .inputs = {{large}},
                       .run = [=](const OpRun& r) { return upsample_grad(r[0], factor); }});
    }
    for (const Phases form : {Phases::inner, Phases::outer}) {
      const Shape phases = form == Phases::inner ? s.with(3, 4 * s[3]) : s.with(0, 4 * s[0]);
      const std::string detail = form == Phases::inner ? "inner" : "outer";
      cases.push_back({.op = "join_phases", .detail = detail, .inputs = {{phases}},
                       .run = [=](const OpRun& r) { return join_phases(r[0], form); }});
      cases.push_back({.op = "split_phases", .detail = detail, .inputs = {{s.with(1, 2 * s[1]).with(2, 2 * s[2])}},
                       .run = [=](const OpRun& r) { return split_phases(r[0], form); }});
    }
  }
}

}  // namespace pastiche
