#include "pastiche/patch_nce.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/check.h"

namespace pastiche {

PatchHead::PatchHead(Backend& backend, const std::vector<std::int64_t>& feature_channels, std::uint64_t seed, std::string prefix,
                     DType dtype)
    : parameters_(backend, std::move(prefix), seed, dtype) {
  for (std::size_t i = 0; i < feature_channels.size(); ++i) {
    first_.emplace_back(parameters_, fmt::format("head{}.linear1", i + 1),
                        LinearOptions{.in = feature_channels[i], .out = width, .weight = Init::normal(0, 0.02)});
    second_.emplace_back(parameters_, fmt::format("head{}.linear2", i + 1),
                         LinearOptions{.in = width, .out = width, .weight = Init::normal(0, 0.02)});
  }
}

std::vector<Var> PatchHead::operator()(const std::vector<Var>& features, std::int64_t patches, RandomKey key, const Tensor& state) const {
  std::vector<Var> vectors;
  for (std::size_t i = 0; i < features.size(); ++i) {
    const Shape& map = features[i].shape();
    const std::int64_t count = std::min(patches, map[1] * map[2]);
    const RandomKey own{key.seed, key.stream + static_cast<std::uint32_t>(i)};
    const Var drawn = reshape(sample_pixels(features[i], {.count = count, .key = own}, state), {map[0] * count, map[3]});  // [N S,C]
    Var v = second_[i](relu(first_[i](drawn)));                                                                            // [N S,width]
    v = cast(v, parameter_dtype(v.dtype()));
    const Var length = sqrt(affine(sum(v * v, 1), {.shift = 1e-7}));                                                       // [N S]
    vectors.push_back(reshape(v / broadcast(length, 1, width), {map[0], count, width}));
  }
  return vectors;
}

Var patch_nce_loss(const std::vector<Var>& result, const std::vector<Var>& source, double temperature) {
  Var total;
  std::int64_t terms = 0;
  for (std::size_t i = 0; i < result.size(); ++i) {
    const Shape& shape = result[i].shape();  // [N,S,width]
    for (std::int64_t n = 0; n < shape[0]; ++n) {
      const Var q = reshape(slice(result[i], 0, n, 1), {shape[1], shape[2]});          // [S,width]
      const Var k = reshape(slice(detach(source[i]), 0, n, 1), {shape[1], shape[2]});  // [S,width]
      const Var similarity = (1 / temperature) * gemm(q, k, {.b = Transpose::yes});    // [S,S], at most 1 / temperature
      const Var loss = mean(log(sum(exp(similarity), 1)) - (1 / temperature) * sum(q * k, 1));
      total = total.defined() ? total + loss : loss;
      ++terms;
    }
  }
  return (1.0 / static_cast<double>(terms)) * total;
}

}  // namespace pastiche
