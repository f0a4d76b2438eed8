// Layers: which parameters they have, and what they compute.
#include <gtest/gtest.h>

#include <cmath>

#include "op_cases.h"
#include "pastiche/nn.h"

namespace pastiche {
namespace {

std::vector<std::string> names(const Parameters& parameters) {
  std::vector<std::string> all;
  for (const Parameter& p : parameters.all()) all.push_back(p.name);
  return all;
}

class Layers : public testing::Test {
 protected:
  // Two pictures of two pixels and four channels.
  Var pictures() {
    const float x[] = {1, 2, 3, 4, 3, 6, 5, 0, 10, 0, -1, 7, 30, 0, 1, 7};
    return Tensor::from_host(*backend_, {2, 1, 2, 4}, x);
  }
  void expect(const Var& y, const std::vector<double>& expected) {
    const std::vector<double> got = host_values(y.value());
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
  }

  const std::unique_ptr<Backend> backend_ = make_backend("cpu");
  Parameters parameters_{*backend_, "G.", 1}, others_{*backend_, "O.", 1};

  // A convolution that changes nothing.
  Conv2d same(Bias bias = Bias::no) {
    const Conv2d conv(others_, "same", {.in = 4, .out = 4, .kernel = 1, .conv = {}, .bias = bias, .weight = Init::constant(0)});
    const float identity[] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    (bias == Bias::no ? others_.all().back() : others_.all()[others_.all().size() - 2]).value.copy_from_host(identity);
    return conv;
  }
};

// Of two values each: (x - mean) / deviation is -1 and 1, or 0 where they are equal.
TEST_F(Layers, InstanceNormHasNoParametersUnlessAsked) {
  const InstanceNorm norm(parameters_, "norm", {.channels = 4});
  EXPECT_TRUE(parameters_.all().empty());
  expect(norm(same(), pictures(), 0.5), {-0.5, -0.5, -0.5, 1, 1, 1, 1, -0.5, -0.5, 0, -0.5, 0, 1, 0, 1, 0});

  const InstanceNorm affine(parameters_, "affine", {.channels = 4, .affine = true});
  EXPECT_EQ(names(parameters_), (std::vector<std::string>{"affine.weight", "affine.bias"}));
}

TEST_F(Layers, GroupNormIsPyTorchs) {
  const GroupNorm norm(parameters_, "norm", {.channels = 4, .groups = 2, .eps = 1});
  EXPECT_EQ(names(parameters_), (std::vector<std::string>{"norm.weight", "norm.bias"}));
  const float weight[] = {1, 2, 1, 1}, bias[] = {0, 1, 0, -1};
  parameters_.all()[0].value.copy_from_host(weight);
  parameters_.all()[1].value.copy_from_host(bias);
  // Means 3, 3, 10 and 3.5; variances 3.5, 3.5, 150 and 12.75.
  const double a = 1 / std::sqrt(4.5), b = 1 / std::sqrt(151.0), c = 1 / std::sqrt(13.75);
  expect(norm(same(), pictures(), 1), {-2 * a, -2 * a + 1, 0, a - 1, 0, 6 * a + 1, 2 * a, -3 * a - 1,  //
                               0, -20 * b + 1, -4.5 * c, 3.5 * c - 1, 20 * b, -20 * b + 1, -2.5 * c, 3.5 * c - 1});
  // A weight that is written is seen by the next call.
  parameters_.all()[0].value.copy_from_host(std::vector<float>(4).data());
  expect(norm(same(), pictures(), 1), {0, 1, 0, -1, 0, 1, 0, -1, 0, 1, 0, -1, 0, 1, 0, -1});
  EXPECT_THROW(GroupNorm(parameters_, "odd", {.channels = 4, .groups = 3}), Error);
}

TEST_F(Layers, BatchNormTakesAConvolutionAsItTakesItsResult) {
  const BatchNorm norm(parameters_, "norm", {.channels = 4, .eps = 1}), other(parameters_, "other", {.channels = 4, .eps = 1});
  for (const Mode mode : {Mode::train, Mode::train, Mode::eval}) {
    const Pass pass{.mode = mode};
    expect(norm(same(), pictures(), 0.5, pass), host_values(other(pictures(), 0.5, pass).value()));
  }
  const auto running = [&](std::size_t i) { return host_values(parameters_.all()[i].value); };
  ASSERT_EQ(names(parameters_)[2], "norm.running_mean");
  EXPECT_NE(running(2), std::vector<double>(4));
  EXPECT_EQ(running(2), running(6));
  EXPECT_EQ(running(3), running(7));
}

// It would learn nothing.
TEST_F(Layers, NormsRefuseABias) {
  const BatchNorm batch(parameters_, "batch", {.channels = 4});
  const InstanceNorm instance(parameters_, "instance", {.channels = 4});
  const Conv2d biased = same(Bias::yes);
  EXPECT_THROW(batch(biased, pictures(), 1, {.mode = Mode::train}), Error);
  EXPECT_THROW(instance(biased, pictures(), 1), Error);
}

}  // namespace
}  // namespace pastiche
