#pragma once
// The patchwise contrastive loss of CUT (Park et al., 2020): what holds a translated picture to the content of its source.
#include <vector>

#include "pastiche/nn.h"

namespace pastiche {

// What CUT (Park et al., 2020) compares patches by: for each feature map two linear layers with ReLU between, to vectors of
// length 1.
class PatchHead {
 public:
  static constexpr std::int64_t width = 256;

  PatchHead(Backend& backend, const std::vector<std::int64_t>& feature_channels, std::uint64_t seed, std::string prefix = "F.",
            DType dtype = DType::f32);
  // Of `patches` pixels of each picture (fewer where a map has fewer), drawn by `key` and the step in `state`: the same ones
  // for every call of a step. Each [N,S,width], f32 where the features are bf16.
  std::vector<Var> operator()(const std::vector<Var>& features, std::int64_t patches, RandomKey key, const Tensor& state) const;
  Parameters& parameters() { return parameters_; }

 private:
  Parameters parameters_;
  std::vector<Linear> first_, second_;
};

// Park et al., 2020, equation 3: the cross-entropy of telling, for each patch of the result, the source's patch of its place
// from the others of that picture, by inner products over `temperature`; averaged over patches, pictures and features. Gradients
// reach `result` alone.
Var patch_nce_loss(const std::vector<Var>& result, const std::vector<Var>& source, double temperature);

}  // namespace pastiche
