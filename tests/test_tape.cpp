#include <gtest/gtest.h>

#include "backends/reference/reference.h"
#include "backends/traced.h"
#include "pastiche/models.h"
#include "pastiche/optim.h"
#include "pastiche/train.h"

namespace pastiche {
namespace {

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

std::vector<double> values(const Var& x) {
  std::vector<double> v(static_cast<std::size_t>(x.shape().elements()));
  x.value().copy_to_host(v.data());
  return v;
}

Tensor vector_of(Backend& backend, std::initializer_list<double> numbers) {
  return Tensor::from_host(backend, {static_cast<std::int64_t>(numbers.size())}, std::data(numbers));
}

TEST(Tape, GradientsAreValuesAndAddUp) {
  ReferenceBackend backend;
  Tape tape;
  const Recording recording(&tape);
  const Var x = tape.leaf(vector_of(backend, {2, 3}));
  const Var y = sum(x * x + 4.0 * x);
  EXPECT_EQ(values(grad(y, {x})[0]), (std::vector<double>{8, 10}));
  EXPECT_EQ(values(grad(y, {x})[0]), (std::vector<double>{8, 10})) << "asking twice gives the same, not twice as much";
}

TEST(Tape, HigherDerivatives) {
  ReferenceBackend backend;
  Tape tape;
  const Recording recording(&tape);
  const Var x = tape.leaf(vector_of(backend, {2}));
  const Var y = sum(x * x * x * x);
  const Var d1 = grad(y, {x}, {.create_graph = CreateGraph::yes})[0];
  const Var d2 = grad(sum(d1), {x}, {.create_graph = CreateGraph::yes})[0];
  const Var d3 = grad(sum(d2), {x})[0];
  EXPECT_EQ(values(d1)[0], 32);
  EXPECT_EQ(values(d2)[0], 48);
  EXPECT_EQ(values(d3)[0], 48);
}

TEST(Tape, WhatOutDoesNotDependOnHasGradientZero) {
  ReferenceBackend backend;
  Tape tape;
  const Recording recording(&tape);
  const Var x = tape.leaf(vector_of(backend, {2})), other = tape.leaf(vector_of(backend, {5, 6}));
  EXPECT_EQ(values(grad(sum(x), {other})[0]), (std::vector<double>{0, 0}));
}

TEST(Tape, IntermediateVarsCanBeAskedFor) {
  ReferenceBackend backend;
  Tape tape;
  const Recording recording(&tape);
  const Var x = tape.leaf(vector_of(backend, {3}));
  const Var square = x * x;
  const std::vector<Var> g = grad(sum(square * square), {square, x, square});
  EXPECT_EQ(values(g[0])[0], 18);
  EXPECT_EQ(values(g[1])[0], 108);
  EXPECT_EQ(values(g[2])[0], 18);
}

TEST(Tape, AStaleVarThrows) {
  ReferenceBackend backend;
  Tape tape;
  const Recording recording(&tape);
  const Var x = tape.leaf(vector_of(backend, {1}));
  const Var y = exp(x);
  tape.reset();
  EXPECT_NE(error_of([&] { exp(y); }).find("stale"), std::string::npos);
  EXPECT_NE(error_of([&] { grad(y, {x}); }).find("stale"), std::string::npos);
}

TEST(Tape, NothingIsRecordedWithoutATapeOrForConstants) {
  ReferenceBackend backend;
  Tape tape;
  const Recording recording(&tape);
  const Var constant = vector_of(backend, {1});
  EXPECT_FALSE(exp(constant).tracked());
  const Var x = tape.leaf(vector_of(backend, {1}));
  {
    const Recording off(nullptr);
    EXPECT_FALSE(exp(x).tracked());
  }
  EXPECT_TRUE(exp(x).tracked());
  EXPECT_FALSE(detach(exp(x)).tracked());
}

// The bug that this guards against: in a joint step, updating D before G's gradient is taken uses D's new weights with the old
// activations, and nothing looks wrong.
TEST(Tape, AParameterWrittenAfterItWasSavedIsNamed) {
  ReferenceBackend backend;
  const ModelConfig model{.height = 8, .width = 8, .nz = 4, .ngf = 2, .ndf = 2};
  const auto g = make_generator(backend, model, 1);
  const auto d = make_discriminator(backend, model, 1);
  AdamOptimizer adam_d(d->parameters(), {});
  Tensor state = make_step_state(backend);
  Tape tape;
  const Recording recording(&tape);
  const Var fake = (*g)(Tensor::full(backend, {2, 4}, 0.5), {.mode = Mode::train, .state = state});
  const Var logits = (*d)(fake, {.mode = Mode::train, .state = state});
  const Var loss_d = bce_logits(logits, 0), loss_g = bce_logits(logits, 1);
  adam_d.step(grad(loss_d, d->parameters().vars()), state);
  const std::string error = error_of([&] { grad(loss_g, g->parameters().vars()); });
  EXPECT_NE(error.find("D."), std::string::npos) << error;
  EXPECT_NE(error.find("was written after it was saved"), std::string::npos) << error;
}

TEST(Tape, AGeneratorStepLaunchesNoWeightGradientOfTheDiscriminator) {
  TracedBackend backend(std::make_unique<ReferenceBackend>());
  const ModelConfig model{.height = 16, .width = 16, .nz = 4, .ngf = 2, .ndf = 2};
  const auto g = make_generator(backend, model, 1);
  const auto d = make_discriminator(backend, model, 1);
  const Tensor state = make_step_state(backend);
  Tape tape;
  const Recording recording(&tape);
  const Pass pass{.mode = Mode::train, .state = state};
  const Var loss_g = bce_logits((*d)((*g)(Tensor::full(backend, {2, 4}, 0.5), pass), pass), 1);
  grad(loss_g, g->parameters().vars());
  std::int64_t convolutions = 0;
  for (const Parameter& p : g->parameters().all()) convolutions += p.value.shape().rank() == 4;
  EXPECT_GT(convolutions, 0);
  EXPECT_EQ(backend.calls("conv2d_wgrad"), convolutions);
}

TEST(Tape, FromTheSecondStepOnNothingIsTakenFromTheSystem) {
  for (const char* device : {"cpu", "reference", "simt"}) {
    const auto backend = make_backend(device, 2);
    TrainConfig config;
    config.batch = 4;
    config.dropout = 0.3;
    const ModelConfig model{.height = 12, .width = 10, .channels = 3, .nz = 8, .ngf = 4, .ndf = 4, .dropout = 0.3};
    GanTrainer trainer(*backend, config, model);
    const std::vector<std::uint8_t> pictures(4 * 12 * 10 * 3, 100);
    trainer.step(pictures);
    const std::int64_t after_first = backend->pool_stats().system_allocations;
    for (int i = 0; i < 3; ++i) trainer.step(pictures);
    EXPECT_EQ(backend->pool_stats().system_allocations, after_first) << device;
  }
}

TEST(Tape, ReadingATensorAsAnotherTypeNamesBoth) {
  ReferenceBackend backend;
  const Tensor x = vector_of(backend, {1});
  EXPECT_NE(error_of([&] { x.data<float>(); }).find("f64"), std::string::npos);
}

}  // namespace
}  // namespace pastiche
