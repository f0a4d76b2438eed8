#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {
namespace {

struct PixelCase {
  Shape x;
  std::int64_t count;
};

const PixelCase pixel_cases[] = {
    {{2, 3, 5, 3}, 7},      {{1, 1, 1, 1}, 1},      {{1, 7, 1, 4}, 7},      {{3, 1, 2, 7}, 1},      {{1, 5, 4, 16}, 6},
    {{2, 8, 8, 64}, 16},    {{2, 8, 8, 64}, 64},    {{1, 6, 7, 8}, 41},     {{4, 3, 3, 1}, 9},      {{2, 9, 11, 3}, 1},
    {{1, 13, 17, 8}, 100},  {{3, 5, 5, 5}, 2},      {{1, 64, 64, 1}, 256},  {{1, 20, 31, 3}, 619},  {{2, 16, 16, 8}, 256},
    {{2, 16, 16, 64}, 1},   {{1, 33, 7, 12}, 230},  {{5, 2, 3, 33}, 4},     {{1, 2, 2, 2}, 3},      {{2, 31, 9, 4}, 140},
    {{1, 250, 300, 1}, 70000},  // products beyond 32 bits
    {{1, 100, 3, 1}, 299},
};

}  // namespace

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
  for (const auto& [x, count] : pixel_cases) {
    const std::int64_t step = steps[stream % std::size(steps)];
    const SamplePixels p{.count = count, .key = {.seed = 0x123456789abcdef0u + stream, .stream = stream}};
    const std::string detail = fmt::format("count {} stream {} step {}", count, stream, step);
    ++stream;
    cases.push_back({.op = "sample_pixels", .detail = detail, .inputs = {{x}},
                     .run = [=](const OpRun& r) { return sample_pixels(r[0], p, state_at(r.backend, step)); }});
    cases.push_back({.op = "sample_pixels_grad", .detail = detail + " of " + x.str(), .inputs = {{{x[0], count, x[3]}}},
                     .run = [=](const OpRun& r) { return sample_pixels_grad(r[0], p, state_at(r.backend, step), x); }, .many_zeros = true});
  }
}

}  // namespace pastiche
