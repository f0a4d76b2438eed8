#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {
namespace {

struct SortCase {
  Shape x;
  int axis;
};

const SortCase sort_cases[] = {
    {{1}, 0},          {{7}, 0},           {{2, 3}, 0},        {{2, 3}, 1},        {{33, 5}, 0},      {{5, 33}, 1},     {{1, 64}, 1},
    {{64, 1}, 0},      {{3, 17, 4}, 1},    {{2, 40, 31}, 1},   {{2, 5, 3, 7}, 2},  {{2, 3, 5, 7}, 0}, {{4, 4, 4, 9}, 3}, {{1, 31, 32}, 1},
    {{3, 100, 2}, 1},  {{31, 8}, 0},       {{65, 33}, 0},      {{1, 12, 11, 3}, 1}, {{90, 3}, 0},     {{9, 90}, 1},
};
// Of several tiles and blocks of a GPU's, too long for central differences.
const SortCase long_cases[] = {{{2047, 3}, 0}, {{2048, 2}, 0}, {{2, 2049}, 1}, {{21000}, 0}, {{2, 4500, 2}, 1}, {{1, 70, 60, 5}, 1}};

// A permutation of each line: how random numbers would be sorted.
Tensor make_order(Backend& backend, const Shape& shape, int axis) {
  return sort(make_random(backend, shape, DType::f32, Fill::reals, 77), axis).order;
}

}  // namespace

void add_sort_cases(std::vector<OpCase>& cases) {
  const auto add = [&](const SortCase& c, bool brief) {
    const std::string detail = fmt::format("axis {}", c.axis);
    cases.push_back({.op = "sort", .detail = detail, .inputs = {{c.x}}, .run = [axis = c.axis](const OpRun& r) { return sort(r[0], axis).values; },
                     .differentiable = brief});
    cases.push_back({.op = "sort", .detail = detail + " and order", .inputs = {{c.x}},
                     .run = [axis = c.axis](const OpRun& r) {
                       const auto [values, order] = sort(r[0], axis);
                       return Outputs{values, Var(order)};
                     },
                     .differentiable = false, .many_zeros = true});
    cases.push_back({.op = "gather", .detail = detail, .inputs = {{c.x}},
                     .run = [c](const OpRun& r) { return gather(r[0], make_order(r.backend, c.x, c.axis), c.axis); }, .differentiable = brief});
    cases.push_back({.op = "scatter", .detail = detail, .inputs = {{c.x}},
                     .run = [c](const OpRun& r) { return scatter(r[0], make_order(r.backend, c.x, c.axis), c.axis); }, .differentiable = brief});
  };
  for (const SortCase& c : sort_cases) add(c, true);
  for (const SortCase& c : long_cases) add(c, false);
}

}  // namespace pastiche
