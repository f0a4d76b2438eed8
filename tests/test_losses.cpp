// Losses and their gradients against values that were worked out by hand.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "op_cases.h"
#include "pastiche/config.h"
#include "pastiche/losses.h"

namespace pastiche {
namespace {

using Numbers = std::vector<double>;

// A loss of two tensors, its value, and its gradients by both; empty where it does not depend on one.
struct LossCase {
  const char* name;
  std::function<Var(const Var& a, const Var& b)> loss;
  Numbers a, b;
  double value;
  Numbers by_a, by_b;
};

auto of_d(const char* name) { return [name](const Var& real, const Var& fake) { return adversarial_loss(name).discriminator(real, fake, 0); }; }
auto of_g(const char* name) { return [name](const Var&, const Var& fake) { return adversarial_loss(name).generator(fake); }; }

const double log2 = 0.6931471805599453;  // bce at a logit of 0

const LossCase cases[] = {
    {"non-saturating D", of_d("non-saturating"), {0, 0}, {0, 0}, 2 * log2, {-0.25, -0.25}, {0.25, 0.25}},
    {"non-saturating G", of_g("non-saturating"), {1, 1}, {0, 0}, log2, {}, {-0.25, -0.25}},
    {"minimax G", of_g("minimax"), {1, 1}, {0, 0}, -log2, {}, {-0.25, -0.25}},
    // ((0.5 - 1)^2 + (3 - 1)^2) / 2 + (0.25^2 + 1^2) / 2; 2 (x - target) / 2
    {"lsgan D", of_d("lsgan"), {0.5, 3}, {0.25, -1}, 2.125 + 0.53125, {-0.5, 2}, {0.25, -1}},
    {"lsgan G", of_g("lsgan"), {1, 1}, {0.25, -1}, (0.5625 + 4) / 2, {}, {-0.75, -2}},
    // max(0, 1 - x): 0.5, 0, 3, 0; max(0, 1 + x): 1.25, 0, 3, 0
    {"hinge D", of_d("hinge"), {0.5, 3, -2, 2}, {0.25, -1.5, 2, -4}, 3.5 / 4 + 4.25 / 4, {-0.25, 0, -0.25, 0},
     {0.25, 0, 0.25, 0}},
    {"hinge G", of_g("hinge"), {1, 1, 1, 1}, {0.25, -1.5, 2, -4}, 3.25 / 4, {}, {-0.25, -0.25, -0.25, -0.25}},
    {"l1", l1_loss, {1, -2, 0.5, 3}, {0.5, 1, 1, 3.25}, (0.5 + 3 + 0.5 + 0.25) / 4, {0.25, -0.25, -0.25, -0.25},
     {-0.25, 0.25, 0.25, 0.25}},
};

TEST(Losses, AreWhatTheFormulasSay) {
  const auto backend = make_backend("cpu");
  for (const LossCase& c : cases) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Tape tape;
      const Recording recording(&tape);
      const auto make = [&](const Numbers& numbers) {
        const std::vector<float> narrow(numbers.begin(), numbers.end());
        const Shape shape{static_cast<std::int64_t>(numbers.size() / 2), 1, 2, 1};
        return tape.leaf(cast(Tensor::from_host(*backend, shape, narrow.data()), dtype).value());
      };
      const Var a = make(c.a), b = make(c.b), loss = c.loss(a, b);
      EXPECT_EQ(loss.shape(), Shape{}) << c.name;
      EXPECT_EQ(loss.dtype(), DType::f32) << c.name;
      EXPECT_NEAR(host_values(loss.value())[0], c.value, 1e-6) << c.name;
      const std::vector<Var> gradients = grad(loss, {a, b});
      const auto expect = [&](const Var& gradient, Numbers expected, const char* by) {
        expected.resize(c.a.size());
        const Numbers got = host_values(gradient.value());
        for (std::size_t i = 0; i < got.size(); ++i)
          EXPECT_NEAR(got[i], expected[i], 1e-7) << c.name << " by " << by << " " << i;
      };
      expect(gradients[0], c.by_a, "a");
      expect(gradients[1], c.by_b, "b");
    }
  }
}

double softplus(double x) { return std::log1p(std::exp(x)); }
double square(double x) { return x * x; }
double above_zero(double x) { return std::max(0.0, x); }

// What is averaged over the logits, by the names of --loss.
struct Formula {
  double (*real)(double x, double target);
  double (*fake)(double x);
  double (*g)(double x);
};
const std::map<std::string, Formula> formulas{
    {"non-saturating", {[](double x, double t) { return softplus(x) - t * x; }, softplus, [](double x) { return softplus(-x); }}},
    {"minimax", {[](double x, double t) { return softplus(x) - t * x; }, softplus, [](double x) { return -softplus(x); }}},
    {"lsgan", {[](double x, double t) { return square(x - t); }, square, [](double x) { return square(x - 1); }}},
    {"hinge", {[](double x, double t) { return above_zero(t - x); }, [](double x) { return above_zero(1 + x); }, [](double x) { return -x; }}},
};

std::vector<std::string> losses_of_the_options() {
  std::vector<std::string> names;
  TrainConfig config;
  for (const AdversarialLoss& loss : adversarial_losses()) {
    names.emplace_back(loss.name);
    parse_config(fmt::format("loss = '{}'", loss.name), "test", config);
  }
  return names;
}

TEST(Losses, EachThatTheOptionsAllowHasItsOwnFormula) {
  const std::vector<std::string> names = losses_of_the_options();
  ASSERT_EQ(names.size(), formulas.size());
  const auto backend = make_backend("cpu");
  const Shape shape{5, 1};
  const std::vector<float> real{-2.5f, -0.5f, 0.25f, 0.875f, 3}, fake{-3, -1.25f, -0.125f, 0.5f, 2.25f};
  const Tensor real_logits = Tensor::from_host(*backend, shape, real.data()), fake_logits = Tensor::from_host(*backend, shape, fake.data());
  constexpr double smoothing = 0.125;
  std::set<std::pair<double, double>> values;
  for (const std::string& name : names) {
    const auto at = formulas.find(name);
    ASSERT_NE(at, formulas.end()) << name;
    double d = 0, g = 0;
    for (const float x : real) d += at->second.real(x, 1 - smoothing) / 5;
    for (const float x : fake) d += at->second.fake(x) / 5, g += at->second.g(x) / 5;
    const AdversarialLoss& loss = adversarial_loss(name);
    EXPECT_NEAR(host_values(loss.discriminator(real_logits, fake_logits, smoothing).value())[0], d, 1e-6) << name;
    EXPECT_NEAR(host_values(loss.generator(fake_logits).value())[0], g, 1e-6) << name;
    EXPECT_TRUE(values.emplace(d, g).second) << name << " is another loss once more";
  }
}

}  // namespace
}  // namespace pastiche
