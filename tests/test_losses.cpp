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
#include "pastiche/models.h"

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
auto of_g(const char* name) { return [name](const Var& real, const Var& fake) { return adversarial_loss(name).generator(real, fake); }; }

double softplus(double x) { return std::log1p(std::exp(x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

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
    {"wgan D", of_d("wgan"), {0.5, 3}, {0.25, -1}, -0.375 - 1.75, {-0.5, -0.5}, {0.5, 0.5}},
    {"wgan G", of_g("wgan"), {1, 1}, {0.25, -1}, 0.375, {}, {-0.5, -0.5}},
    // pairs, not means: ln(1 + e^-x) of 0 and of 2, whose slopes are -1/2 and -0.1192
    {"relativistic D", of_d("relativistic"), {5, 2.5}, {5, 0.5}, (log2 + softplus(-2)) / 2, {-0.25, -sigmoid(-2) / 2}, {0.25, sigmoid(-2) / 2}},
    {"relativistic G", of_g("relativistic"), {5, 0.5}, {5, 2.5}, (log2 + softplus(-2)) / 2, {0.25, sigmoid(-2) / 2}, {-0.25, -sigmoid(-2) / 2}},
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
        expected = host_values(make(expected).value());  // in the dtype of the gradient
        const Numbers got = host_values(gradient.value());
        for (std::size_t i = 0; i < got.size(); ++i)
          EXPECT_NEAR(got[i], expected[i], 1e-7) << c.name << " by " << by << " " << i;
      };
      expect(gradients[0], c.by_a, "a");
      expect(gradients[1], c.by_b, "b");
    }
  }
}

double square(double x) { return x * x; }
double above_zero(double x) { return std::max(0.0, x); }

// What is averaged over pairs of logits, by the names of --loss.
struct Formula {
  double (*d)(double real, double fake, double target);
  double (*g)(double real, double fake);
};
double bce_of_both(double real, double fake, double target) { return softplus(real) - target * real + softplus(fake); }
const std::map<std::string, Formula> formulas{
    {"non-saturating", {bce_of_both, [](double, double f) { return softplus(-f); }}},
    {"minimax", {bce_of_both, [](double, double f) { return -softplus(f); }}},
    {"lsgan", {[](double r, double f, double t) { return square(r - t) + square(f); }, [](double, double f) { return square(f - 1); }}},
    {"hinge", {[](double r, double f, double t) { return above_zero(t - r) + above_zero(1 + f); }, [](double, double f) { return -f; }}},
    {"wgan", {[](double r, double f, double) { return f - r; }, [](double, double f) { return -f; }}},
    {"relativistic", {[](double r, double f, double t) { return softplus(r - f) - t * (r - f); }, [](double r, double f) { return softplus(r - f); }}},
};

std::vector<std::string> losses_of_the_options() {
  std::vector<std::string> names;
  TrainConfig config;
  std::string help;
  visit_shared_options(config, [&](const Option& option, auto&) {
    if (option.name == std::string("loss")) help = option.help;
  });
  for (const AdversarialLoss& loss : adversarial_losses()) {
    names.emplace_back(loss.name);
    EXPECT_NE(help.find(loss.name), std::string::npos) << loss.name;
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
    for (std::size_t i = 0; i < real.size(); ++i) {
      d += at->second.d(real[i], fake[i], 1 - smoothing) / 5;
      g += at->second.g(real[i], fake[i]) / 5;
    }
    const AdversarialLoss& loss = adversarial_loss(name);
    EXPECT_NEAR(host_values(loss.discriminator(real_logits, fake_logits, smoothing).value())[0], d, 1e-6) << name;
    EXPECT_NEAR(host_values(loss.generator(real_logits, fake_logits).value())[0], g, 1e-6) << name;
    EXPECT_TRUE(values.emplace(d, g).second) << name << " is another loss once more";
  }
}

// D(x) = w x: its gradient by each picture is w.
TEST(Penalties, OfALinearDiscriminatorAreOfItsWeights) {
  const auto backend = make_backend("cpu");
  const std::vector<float> x{0.5f, -1, 2, 3, 1, -0.25f}, w{3, 4, 0};
  const auto expect = [&](Var (*penalty)(const Var&, const Var&), double value, const Numbers& by_w) {
    Tape tape;
    const Recording recording(&tape);
    const Var pictures = tape.leaf(Tensor::from_host(*backend, {2, 1, 3, 1}, x.data()));
    const Var weights = tape.leaf(Tensor::from_host(*backend, {1, 3}, w.data()));
    const Var penalized = penalty(linear(flatten(pictures), weights), pictures);
    EXPECT_NEAR(host_values(penalized.value())[0], value, 1e-5);
    const Numbers gradient = host_values(grad(penalized, {weights})[0].value());
    for (std::size_t i = 0; i < by_w.size(); ++i) EXPECT_NEAR(gradient[i], by_w[i], 1e-5) << i;
  };
  expect(zero_centered_penalty, 25, {6, 8, 0});
  expect(one_centered_penalty, 16, {4.8, 6.4, 0});
}

// Along random directions of all weights, with DiffAugment between pictures and discriminator.
TEST(Penalties, HaveTheGradientsOfCentralDifferences) {
  const auto backend = make_backend("reference");
  const Tensor state = make_step_state(*backend);
  const ModelConfig config{.height = 9, .width = 10, .channels = 3, .ndf = 3, .d_norm = true};
  const auto d = make_discriminator(*backend, config, 5, DType::f64);
  Tensor pictures = Tensor::empty(*backend, {4, 9, 10, 3}, DType::f64);
  backend->random_normal(pictures, {1, 1}, state);
  for (const auto penalty : {zero_centered_penalty, one_centered_penalty}) {
    const auto gradients_and_value = [&](double& value) {
      Tape tape;
      const Recording recording(&tape);
      const Var x = tape.leaf(pictures);
      const Var p = penalty((*d)(diff_augment(x, {.key = {2, 2}}, state), {.mode = Mode::train, .state = state}), x);
      value = host_values(p.value())[0];
      std::vector<Numbers> all;
      for (const Var& g : grad(p, d->parameters().vars())) all.push_back(host_values(g.value()));
      return all;
    };
    double value = 0;
    const std::vector<Numbers> gradients = gradients_and_value(value);
    constexpr double h = 1e-6;
    std::size_t number = 0;
    for (Tensor& weights : d->parameters().values()) {
      const Numbers before = host_values(weights);
      Tensor direction = Tensor::empty(*backend, weights.shape(), DType::f64);
      backend->random_normal(direction, {3, static_cast<std::uint32_t>(number)}, state);
      const Numbers along = host_values(direction);
      double expected = 0, slope = 0;
      for (const double side : {-1.0, 1.0}) {
        Numbers moved = before;
        for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += side * h * along[i];
        weights.copy_from_host(moved.data());
        gradients_and_value(value);
        slope += side * value / (2 * h);
      }
      weights.copy_from_host(before.data());
      for (std::size_t i = 0; i < before.size(); ++i) expected += gradients[number][i] * along[i];
      EXPECT_NEAR(slope, expected, 1e-6 * std::max(1.0, std::abs(expected))) << d->parameters().names()[number];
      ++number;
    }
  }
}

}  // namespace
}  // namespace pastiche
