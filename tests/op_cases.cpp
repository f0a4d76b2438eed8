#include "op_cases.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace pastiche {
namespace {

std::uint64_t hash(std::string_view text) {  // FNV-1a
  std::uint64_t h = 0xcbf29ce484222325u;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3u;
  return h;
}

// u is uniform in (0, 1).
double real_value(Values values, double u, std::int64_t row, std::int64_t channel) {
  const double sign = u < 0.5 ? -1 : 1;
  const double v = u < 0.5 ? 2 * u : 2 * u - 1;  // independent of the sign
  switch (values) {
    case Values::any: break;
    case Values::wide: return 60 * u - 30;
    case Values::positive: return 0.5 + 1.5 * u;
    case Values::away: return sign * (0.25 + 0.75 * v);
    case Values::small: return sign * (0.02 + 0.03 * v);
    case Values::two_sided: return ((row + channel) % 2 == 0 ? 1 : -1) * (0.5 + 0.5 * u);
    case Values::sixteenths: return std::floor(49 * u) / 16 - 1.5;
    case Values::bytes: return std::floor(256 * u);
  }
  return 2 * u - 1;
}

double integer_value(Values values, double u, std::int64_t row, std::int64_t channel) {
  switch (values) {
    case Values::positive: return 1 + std::floor(8 * u);
    case Values::sixteenths:
    case Values::bytes: return real_value(values, u, row, channel);
    case Values::away: return std::floor(17 * u) - 8;
    default: return u < 0.5 ? -1 - std::floor(16 * u) : std::floor(16 * u) - 7;
  }
}

Tensor make_values(Backend& backend, const Shape& shape, DType dtype, Fill fill, Values values, std::uint64_t key) {
  std::vector<float> data(static_cast<std::size_t>(shape.elements()));
  const std::int64_t channels = std::max<std::int64_t>(shape.last(), 1);
  for (std::size_t i = 0; i < data.size(); ++i) {
    const double u = uniform_from(philox4x32({.seed = key}, 0, i / 4).word[i % 4]);
    const auto [row, channel] = std::div(static_cast<std::int64_t>(i), channels);
    const double value = (fill == Fill::integers ? integer_value : real_value)(values, u, row, channel);
    data[i] = static_cast<float>(fill == Fill::magnitudes ? std::abs(value) : value);
  }
  switch (dtype) {
    case DType::f64: return Tensor::from_host(backend, shape, std::vector<double>(data.begin(), data.end()).data());
    case DType::u8: return Tensor::from_host(backend, shape, std::vector<std::uint8_t>(data.begin(), data.end()).data());
    case DType::bf16: {
      std::vector<BFloat16> cut(data.size());
      std::transform(data.begin(), data.end(), cut.begin(), [](float v) {
        return BFloat16{static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(v) >> 16)};
      });
      return Tensor::from_host(backend, shape, cut.data());
    }
    default: return Tensor::from_host(backend, shape, data.data());
  }
}

template <class T, class F> std::vector<double> read(const Tensor& x, F value) {
  std::vector<T> host(static_cast<std::size_t>(x.elements()));
  x.copy_to_host(host.data());
  std::vector<double> result(host.size());
  std::transform(host.begin(), host.end(), result.begin(), value);
  return result;
}

}  // namespace

std::string OpCase::name() const {
  std::string text = op;
  for (const Input& input : inputs) text.append(" ").append(input.shape.str());
  return detail.empty() ? text : text.append(" ").append(detail);
}

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> all = [] {
    std::vector<OpCase> cases;
    add_arith_cases(cases);
    add_shape_cases(cases);
    add_gemm_cases(cases);
    add_conv_cases(cases);
    add_norm_cases(cases);
    add_activation_cases(cases);
    add_resample_cases(cases);
    add_sort_cases(cases);
    add_augment_cases(cases);
    add_loss_cases(cases);
    add_optim_cases(cases);
    add_random_cases(cases);
    return cases;
  }();
  return all;
}

Tensor make_input(Backend& backend, const OpCase& row, std::size_t i, DType dtype, Fill fill) {
  const Input& input = row.inputs[i];
  DType type = dtype;
  if (input.role != Role::activation && dtype == DType::bf16) type = DType::f32;
  if (input.values == Values::bytes) type = DType::u8;
  return make_values(backend, input.shape, type, fill, input.values, hash(row.name()) + i);
}

Tensor make_random(Backend& backend, const Shape& shape, DType dtype, Fill fill, std::uint64_t key) {
  return make_values(backend, shape, dtype, fill, Values::any, ~key);
}

std::vector<double> host_values(const Tensor& x) {
  const auto as_is = [](auto v) { return static_cast<double>(v); };
  switch (x.dtype()) {
    case DType::f32: return read<float>(x, as_is);
    case DType::f64: return read<double>(x, as_is);
    case DType::u8: return read<std::uint8_t>(x, as_is);
    case DType::i32: return read<std::int32_t>(x, as_is);
    case DType::bf16: break;
  }
  return read<BFloat16>(x, [](BFloat16 v) -> double { return std::bit_cast<float>(std::uint32_t{v.bits} << 16); });
}

Tensor state_at(Backend& backend, std::int64_t step) {
  Tensor state = make_step_state(backend);
  StepState now;
  now.step = step;
  write_step_state(state, now);
  return state;
}

std::unique_ptr<Backend> make_tested_backend(const std::string& name) {
  return make_backend(name.substr(0, name.find(' ')), 0, kernels_of(name));
}

KernelChoice kernels_of(const std::string& name) {
  const std::size_t space = name.find(' ');
  const std::string chosen = space == name.npos ? "" : name.substr(space + 1);
  return chosen == "tf32" ? KernelChoice{.tf32 = true} : parse_kernels(chosen);
}

std::function<Outputs(const OpRun&)> unary(Var (*op)(const Var&)) {
  return [op](const OpRun& r) { return op(r[0]); };
}

std::function<Outputs(const OpRun&)> binary(Var (*op)(const Var&, const Var&)) {
  return [op](const OpRun& r) { return op(r[0], r[1]); };
}

std::span<const Shape> elementwise_shapes() {
  static const Shape shapes[] = {{},           {1},          {2},          {7},           {17},           {64},
                                 {1023},       {1, 1},       {5, 3},       {33, 1},       {1, 31},        {4, 257},
                                 {3, 4, 5},    {1, 1, 9},    {1, 1, 1, 1}, {2, 3, 5, 7},  {3, 1, 9, 1},   {1, 28, 28, 1},
                                 {2, 7, 7, 16}, {4, 5, 3, 33}, {1, 4, 4, 64}};
  return shapes;
}

}  // namespace pastiche
