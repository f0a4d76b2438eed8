#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_gemm_cases(std::vector<OpCase>& cases) {
  const std::int64_t sizes[][3] = {{1, 1, 1},   {1, 1, 100}, {1, 33, 7},   {16, 1, 64},   {17, 3, 5},    {4, 64, 1},
                                   {33, 16, 4}, {7, 7, 511}, {64, 64, 64}, {100, 10, 49}, {3, 600, 100}, {128, 25, 17},
                                   {132, 64, 130}, {7, 5, 3001},
                                   // of multiples of 8, for tensor cores
                                   {8, 8, 8}, {136, 72, 40}, {16, 24, 2056}, {392, 264, 72}};
  for (const auto& [m, n, k] : sizes) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        const Gemm p{.a = Transpose{ta}, .b = Transpose{tb}};
        cases.push_back({.op = "gemm",
                         .detail = fmt::format("{}{}", ta ? "T" : "N", tb ? "T" : "N"),
                         .inputs = {{ta ? Shape{k, m} : Shape{m, k}}, {tb ? Shape{n, k} : Shape{k, n}}},
                         .run = [=](const OpRun& r) { return gemm(r[0], r[1], p); },
                         .twice = m * n * k <= 20'000});
      }
    }
  }
  // [N,I], [O,I]
  const std::int64_t layers[][3] = {{1, 1, 1},     {1, 100, 33}, {2, 1, 16},   {3, 16, 1},   {4, 3, 7},
                                    {5, 33, 33},   {7, 64, 17},  {8, 100, 98}, {16, 49, 10}, {17, 7, 64},
                                    {32, 64, 32},  {1, 512, 1},  {1, 1, 512},  {64, 16, 16}, {33, 4, 5},
                                    {2, 784, 1},   {16, 784, 1}, {64, 1, 1},   {6, 10, 257}, {3, 511, 3}};
  for (const auto& [n, i, o] : layers) {
    cases.push_back({.op = "linear",
                     .inputs = {{{n, i}}, {{o, i}, Values::any, Role::parameter}},
                     .run = binary(linear),
                     .twice = n * i * o <= 20'000});
  }
}

}  // namespace pastiche
