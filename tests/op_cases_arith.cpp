#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_arith_cases(std::vector<OpCase>& cases) {
  for (const Shape& s : elementwise_shapes()) {
    const std::vector<Input> two{{s}, {s}};
    cases.push_back({.op = "add", .inputs = two, .run = binary(add)});
    cases.push_back({.op = "sub", .inputs = two, .run = binary(sub)});
    cases.push_back({.op = "mul", .inputs = two, .run = binary(mul)});
    cases.push_back({.op = "div", .inputs = {{s}, {s, Values::positive}}, .run = binary(div),
                     .bound = 1e-6});
    const double scale = s.elements() % 2 == 0 ? -0.5 : 2;
    cases.push_back({.op = "affine", .detail = fmt::format("scale {} shift 3", scale), .inputs = {{s}},
                     .run = [=](const OpRun& r) { return affine(r[0], {.scale = scale, .shift = 3}); }});
    cases.push_back({.op = "exp", .inputs = {{s}}, .run = unary(exp), .bound = 1e-6});
    cases.push_back({.op = "log", .inputs = {{s, Values::positive}}, .run = unary(log),
                     .bound = 1e-6});
    cases.push_back({.op = "sqrt", .inputs = {{s, Values::positive}}, .run = unary(sqrt),
                     .bound = 1e-6});
    cases.push_back({.op = "abs", .inputs = {{s, Values::away}}, .run = unary(abs)});
    cases.push_back({.op = "cast", .inputs = {{s}}, .run = [](const OpRun& r) {
                       const DType other = r.dtype == DType::f32 ? DType::bf16 : DType::f32;
                       return cast(r[0], r.dtype == DType::f64 ? DType::f64 : other);
                     }});
    const double value = 0.375 * static_cast<double>(s.elements() % 5) - 0.1;
    cases.push_back({.op = "fill", .detail = fmt::format("{} with {}", s.str(), value),
                     .run = [=](const OpRun& r) { return Var(Tensor::full(r.backend, s, value, r.dtype)); },
                     .differentiable = false});
    cases.push_back({.op = "dequantize", .inputs = {{s, Values::bytes}}, .run = [=](const OpRun& r) {
                       Tensor y = Tensor::empty(r.backend, s, r.dtype);
                       r.backend.dequantize(y, r[0].value());
                       return Var(y);
                     }, .bound = 1e-6, .differentiable = false});
    cases.push_back({.op = "quantize", .inputs = {{s, Values::sixteenths}}, .run = [=](const OpRun& r) {
                       Tensor y = Tensor::empty(r.backend, s, DType::u8);
                       r.backend.quantize(y, r[0].value());
                       return Var(y);
                     }, .differentiable = false, .many_zeros = true});
  }
}

namespace {

struct AxisCase {
  Shape shape;
  int axis;
};
// Every axis of ragged shapes.
const AxisCase axis_cases[] = {
    {{1}, 0},           {{7}, 0},           {{1000}, 0},        {{1, 1}, 0},        {{5, 3}, 0},
    {{5, 3}, 1},        {{33, 1}, 0},       {{1, 33}, 1},       {{300, 16}, 0},     {{16, 300}, 1},
    {{3, 4, 5}, 0},     {{3, 4, 5}, 1},     {{3, 4, 5}, 2},     {{2, 3, 5, 7}, 0},  {{2, 3, 5, 7}, 1},
    {{2, 3, 5, 7}, 2},  {{2, 3, 5, 7}, -1}, {{1, 9, 1, 17}, 1}, {{4, 8, 8, 3}, -1}, {{2, 14, 14, 64}, 0},
    {{64, 5, 5, 1}, 0}, {{1, 6, 6, 33}, 3},
};

}  // namespace

void add_shape_cases(std::vector<OpCase>& cases) {
  for (const AxisCase& each : axis_cases) {
    const Shape s = each.shape;
    const int axis = each.axis;
    const std::string along = fmt::format("axis {}", axis);
    const std::int64_t extent = s[axis], half = extent - extent / 2, begin = extent / 2;
    cases.push_back({.op = "sum", .detail = along, .inputs = {{s}},
                     .run = [=](const OpRun& r) { return sum(r[0], axis); }});
    cases.push_back({.op = "broadcast", .detail = fmt::format("axis {} extent {}", axis, extent),
                     .inputs = {{s.without(axis)}},
                     .run = [=](const OpRun& r) { return broadcast(r[0], axis, extent); }});
    cases.push_back({.op = "slice", .detail = fmt::format("axis {} [{}, {})", axis, begin, begin + half),
                     .inputs = {{s}},
                     .run = [=](const OpRun& r) { return slice(r[0], axis, begin, half); }});
    cases.push_back({.op = "unslice", .detail = fmt::format("axis {} at {} of {}", axis, 2, extent + 3), .inputs = {{s}},
                     .run = [=](const OpRun& r) { return unslice(r[0], axis, 2, extent + 3); }, .many_zeros = true});
    cases.push_back({.op = "concat", .detail = along, .inputs = {{s}, {s.with(axis, 1)}, {s.with(axis, half)}},
                     .run = [=](const OpRun& r) { return concat(r.inputs, axis); }});
  }
  for (const Shape& s : elementwise_shapes()) {
    cases.push_back({.op = "mean", .inputs = {{s}}, .run = unary(mean), .bound = 1e-6});
    cases.push_back({.op = "sum", .detail = "of all", .inputs = {{s}}, .run = unary(sum)});
    cases.push_back({.op = "reshape", .inputs = {{s}}, .run = [n = s.elements()](const OpRun& r) {
                       return reshape(r[0], {1, n, 1});
                     }});
    if (s.rank() == 0) continue;
    cases.push_back({.op = "channel_sum", .inputs = {{s}}, .run = unary(channel_sum)});
    cases.push_back({.op = "channel_broadcast", .detail = "to " + s.str(), .inputs = {{{s.last()}}},
                     .run = [=](const OpRun& r) { return channel_broadcast(r[0], s); }});
    cases.push_back({.op = "flatten", .inputs = {{s}}, .run = unary(flatten)});
  }
  const Shape pictures[] = {{1, 4, 7, 1},   {2, 8, 8, 3},  {1, 9, 7, 4},   {3, 4, 10, 1},
                            {1, 28, 28, 1}, {2, 5, 6, 33}, {1, 11, 11, 16}};
  for (const Shape& s : pictures) {
    for (const std::int64_t less : {0, 1, 3}) {
      const std::int64_t h = std::max<std::int64_t>(s[1] - less, 1), w = std::max<std::int64_t>(s[2] - 2 * less, 1);
      cases.push_back({.op = "crop_center", .detail = fmt::format("to {} x {}", h, w), .inputs = {{s}},
                       .run = [=](const OpRun& r) { return crop_center(r[0], h, w); }});
    }
  }
}

}  // namespace pastiche
