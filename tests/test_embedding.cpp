// What a program that embeds the library meets: mistakes are said by name, and the conveniences do what they say.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "pastiche/models.h"
#include "pastiche/ops.h"
#include "pastiche/optim.h"
#include "pastiche/train.h"
#include "refusal.h"

namespace pastiche {
namespace {

class Embedding : public testing::Test {
 protected:
  Var numbers(const Shape& shape, double value = 1) { return Tensor::full(*backend_, shape, value); }
  template <class Body> static std::string mistake(Body body) { return refusal(ExitCode::bad_shape, body); }

  const std::unique_ptr<Backend> backend_ = make_backend("cpu", 1), other_ = make_backend("reference");
};

TEST_F(Embedding, AnInputThatHoldsNothingIsNamed) {
  EXPECT_EQ(mistake([&] { add(numbers({2}), Var()); }), "add: input 2 holds nothing");
  EXPECT_EQ(mistake([&] { tanh(Var()); }), "tanh: input 1 holds nothing");
  EXPECT_EQ(mistake([&] { conv2d(numbers({1, 4, 4, 1}), Var(), {}); }), "conv2d: input 2 holds nothing");
  EXPECT_EQ(mistake([&] { mean(Var()); }), "reshape: input 1 holds nothing");
  const Var parts[] = {numbers({2}), Var()};
  EXPECT_EQ(mistake([&] { concat(parts, 0); }), "concat: input 2 holds nothing");
  EXPECT_EQ(mistake([&] { Var().backend(); }), "use of a tensor that holds nothing");
  EXPECT_EQ(mistake([&] { Tensor().copy_to_host(static_cast<void*>(nullptr)); }), "use of a tensor that holds nothing");
}

TEST_F(Embedding, InputsOfTwoBackendsAreRefused) {
  const Var there = Tensor::full(*other_, {2}, 1);
  EXPECT_EQ(mistake([&] { mul(numbers({2}), there); }),
            "mul: input 2 is on another backend (reference) than input 1 (cpu); copy it over by copy_to_host()");
}

TEST_F(Embedding, WrongSizesAreNamed) {
  EXPECT_EQ(mistake([&] { add(numbers({2}), numbers({3})); }), "add: f32 [2] and f32 [3] are not the same shape and dtype");
  EXPECT_EQ(mistake([&] { Shape{2, -1}; }), "shape with a negative extent: [2, -1]");
  TrainConfig config;
  GanTrainer trainer(*backend_, config, {.height = 8, .width = 8, .nz = 4, .ngf = 4, .ndf = 4});
  EXPECT_EQ(mistake([&] { trainer.step(std::vector<std::uint8_t>(65)); }),
            "Trainer: 65 bytes of pictures in domain 1, expected as many pictures of [8,8,1] as in the first domain");
  EXPECT_NE(mistake([&] { trainer.step(std::vector<std::uint8_t>()); }), "");
  const std::vector<float> latents(8);
  EXPECT_EQ(mistake([&] { generate_pictures(trainer.averaged(), std::span(latents).first(7)); }), "generate_pictures: 7 numbers, expected latents of 4");
  EXPECT_EQ(mistake([&] { generate_pictures(trainer.averaged(), latents, -1); }), "generate_pictures: batch -1, expected at least 1");
  EXPECT_NE(mistake([&] { trainer.averaged()(numbers({2, 5}), {.mode = Mode::eval}); }).find("[2,5]"), std::string::npos);
  EXPECT_EQ(generate_pictures(trainer.averaged(), latents).size(), 2u);

  const auto translator = make_translator(*backend_, {.height = 16, .width = 16, .ngf = 4, .blocks = 1}, 1);
  const std::vector<Image> pictures{{16, 16, 3, std::vector<std::uint8_t>(768)}, {8, 8, 3, std::vector<std::uint8_t>(192)}};
  EXPECT_EQ(mistake([&] { translate_pictures(*translator, pictures); }), "to_tensor: pictures of 16x16x3 and 8x8x3, expected one shape");
  EXPECT_EQ(mistake([&] { translate_pictures(*translator, pictures, 0); }), "translate_pictures: batch 0, expected at least 1");
}

TEST_F(Embedding, HostCopiesAreOfTheTensorsType) {
  Tensor x = Tensor::full(*backend_, {2}, 1.5);
  double wide[2];
  EXPECT_EQ(mistake([&] { x.copy_to_host(wide); }), "tensor [2] is f32, but was read as f64");
  EXPECT_EQ(mistake([&] { x.copy_from_host(wide); }), "tensor [2] is f32, but was read as f64");
  EXPECT_EQ(x.to_host<float>(), (std::vector<float>{1.5f, 1.5f}));
  EXPECT_EQ(mistake([&] { x.item(); }), "item() of a tensor [2], expected one element");
  for (const DType dtype : {DType::f32, DType::bf16}) EXPECT_EQ(Tensor::full(*backend_, {}, -2.5, dtype).item(), -2.5);
  EXPECT_EQ(Tensor::full(*other_, {1}, 0.1, DType::f64).item(), 0.1);
  const std::int32_t whole = 7;
  EXPECT_EQ(Var(Tensor::from_host(*backend_, {}, &whole)).item(), 7);
}

TEST_F(Embedding, ScalarsMixWithVars) {
  const auto at = [&](double x, const std::function<Var(const Var&)>& f) {
    Tape tape;
    const Recording recording(&tape);
    const Var v = tape.leaf(Tensor::full(*backend_, {}, x));
    const Var y = f(v);
    return std::pair(y.item(), grad(y, {v})[0].item());
  };
  using Pair = std::pair<double, double>;
  EXPECT_EQ(at(3, [](const Var& x) { return x + 2; }), Pair(5, 1));
  EXPECT_EQ(at(3, [](const Var& x) { return 2 + x; }), Pair(5, 1));
  EXPECT_EQ(at(3, [](const Var& x) { return x - 2; }), Pair(1, 1));
  EXPECT_EQ(at(3, [](const Var& x) { return 2 - x; }), Pair(-1, -1));
  EXPECT_EQ(at(3, [](const Var& x) { return x * 2; }), Pair(6, 2));
  EXPECT_EQ(at(3, [](const Var& x) { return x / 2; }), Pair(1.5, 0.5));
  EXPECT_EQ(at(3, [](const Var& x) { return clamp(x, -1, 2); }), Pair(2, 0));
  EXPECT_EQ(at(-3, [](const Var& x) { return clamp(x, -1, 2); }), Pair(-1, 0));
  EXPECT_EQ(at(0.5, [](const Var& x) { return clamp(x, -1, 2); }), Pair(0.5, 1));
  EXPECT_EQ(mistake([&] { clamp(numbers({}), 2, 1); }), "clamp: from 2 to 1, expected finite bounds, the lower one first");
  EXPECT_NE(mistake([&] { clamp(numbers({}), 0, HUGE_VAL); }), "");
  const auto [power, slope] = at(3, [](const Var& x) { return pow(x, 2.5); });
  EXPECT_NEAR(power, std::pow(3, 2.5), 1e-5);
  EXPECT_NEAR(slope, 2.5 * std::pow(3, 1.5), 1e-5);
}

// As with the state that a recorded step reads.
TEST_F(Embedding, AnOptimizerCountsItsOwnSteps) {
  const auto trained = [&](bool own) {
    Parameters w(*backend_, "w.", 1), averaged(*backend_, "a.", 1);
    w.add("x", {3}, Init::constant(1), {});
    averaged.add("x", {3}, Init::constant(1), {});
    AdamOptimizer adam(w, {}, &averaged);
    Tensor state = make_step_state(*backend_);
    for (int t = 1; t <= 3; ++t) {
      const Var gradient = numbers({3}, t);
      if (own) {
        adam.step(std::span(&gradient, 1), 0.1, 0.9);
      } else {
        StepState s;
        s.optim[0] = {.lr = 0.1, .t = t};
        s.ema_step = 1 - 0.9;
        write_step_state(state, s);
        adam.step(std::span(&gradient, 1), state);
      }
    }
    std::vector<float> values = w.all()[0].value.to_host<float>();
    for (const float value : averaged.all()[0].value.to_host<float>()) values.push_back(value);
    EXPECT_EQ(refusal(ExitCode::bad_shape, [&] { adam.step({}, 0.1); }), "AdamOptimizer: 0 gradients, expected one for each of 1 parameters");
    const Var wrong = numbers({4});
    EXPECT_EQ(refusal(ExitCode::bad_shape, [&] { adam.step(std::span(&wrong, 1), 0.1); }),
              "AdamOptimizer: the gradient of w.x is f32 [4], expected f32 [3] on its backend");
    Parameters other(*backend_, "o.", 1);
    EXPECT_NE(mistake([&] { AdamOptimizer(w, {}, &other); }), "");
    EXPECT_NE(mistake([&] { copy_parameters(w, other); }), "");
    return values;
  };
  EXPECT_EQ(trained(true), trained(false));
  EXPECT_LT(trained(true)[0], 1);
}

// Two backends share nothing that a step writes.
TEST_F(Embedding, ThreadsWithABackendEachTrainSideBySide) {
  const auto losses_of = [](std::uint8_t value, std::vector<double>& losses) {
    const auto backend = make_backend("cpu", 1);
    TrainConfig config;
    config.seed = value;
    GanTrainer trainer(*backend, config, {.height = 16, .width = 16, .nz = 4, .ngf = 4, .ndf = 4});
    for (int step = 0; step < 20; ++step) losses.push_back(trainer.step(std::vector<std::uint8_t>(4 * 16 * 16, value)).loss_d);
  };
  std::vector<double> alone[2], together[2];
  losses_of(10, alone[0]);
  losses_of(200, alone[1]);
  std::thread a(losses_of, 10, std::ref(together[0])), b(losses_of, 200, std::ref(together[1]));
  a.join();
  b.join();
  EXPECT_EQ(together[0], alone[0]);
  EXPECT_EQ(together[1], alone[1]);
}

}  // namespace
}  // namespace pastiche
