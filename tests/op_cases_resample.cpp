#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {
namespace {

struct PadCase {
  Shape x;
  Pad p;
};

constexpr Pad::Mode reflect = Pad::Mode::reflect, replicate = Pad::Mode::replicate;

const PadCase pad_cases[] = {
    {{1, 1, 1, 1}, {.mode = reflect}},
    {{2, 2, 2, 3}, {.top = 1, .bottom = 1, .left = 1, .right = 1, .mode = reflect}},
    {{1, 3, 3, 1}, {.top = 2, .bottom = 2, .left = 2, .right = 2, .mode = reflect}},
    {{2, 4, 7, 3}, {.top = 3, .bottom = 3, .left = 3, .right = 3, .mode = reflect}},
    {{1, 5, 3, 4}, {.top = 4, .right = 2, .mode = reflect}},
    {{2, 3, 5, 17}, {.bottom = 2, .left = 4, .mode = reflect}},
    {{3, 9, 2, 5}, {.top = 1, .bottom = 7, .right = 1, .mode = reflect}},
    {{1, 7, 8, 33}, {.top = 3, .bottom = 1, .left = 2, .right = 5, .mode = reflect}},
    {{2, 8, 8, 64}, {.top = 1, .bottom = 1, .left = 1, .right = 1, .mode = reflect}},
    {{1, 1, 5, 2}, {.left = 4, .right = 4, .mode = reflect}},
    {{1, 20, 31, 3}, {.top = 3, .bottom = 3, .left = 3, .right = 3, .mode = reflect}},
    {{1, 1, 1, 1}, {.top = 1, .bottom = 2, .left = 3, .right = 1, .mode = replicate}},
    {{2, 2, 2, 3}, {.top = 1, .bottom = 1, .left = 1, .right = 1, .mode = replicate}},
    {{1, 3, 3, 1}, {.mode = replicate}},
    {{1, 3, 2, 4}, {.top = 5, .bottom = 4, .left = 3, .right = 6, .mode = replicate}},
    {{2, 1, 6, 8}, {.top = 2, .right = 1, .mode = replicate}},
    {{2, 5, 1, 7}, {.bottom = 1, .left = 2, .right = 2, .mode = replicate}},
    {{3, 4, 7, 3}, {.top = 3, .bottom = 3, .left = 3, .right = 3, .mode = replicate}},
    {{1, 7, 8, 33}, {.top = 1, .bottom = 3, .left = 5, .right = 2, .mode = replicate}},
    {{2, 8, 8, 64}, {.top = 1, .bottom = 1, .left = 1, .right = 1, .mode = replicate}},
    {{1, 20, 31, 3}, {.top = 1, .bottom = 2, .left = 2, .right = 1, .mode = replicate}},
};

std::string describe(const Pad& p) {
  return fmt::format("{} top {} bottom {} left {} right {}", p.mode == reflect ? "reflect" : "replicate", p.top, p.bottom, p.left,
                     p.right);
}

}  // namespace

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
  for (const auto& [x, p] : pad_cases) {
    const Shape padded = x.with(1, p.top + x[1] + p.bottom).with(2, p.left + x[2] + p.right);
    cases.push_back({.op = "pad", .detail = describe(p), .inputs = {{x}},
                     .run = [p = p](const OpRun& r) { return pad(r[0], p); }});
    cases.push_back({.op = "pad_grad", .detail = describe(p), .inputs = {{padded}},
                     .run = [p = p](const OpRun& r) { return pad_grad(r[0], p); }});
  }
}

}  // namespace pastiche
