// The CUDA backend as a whole, on src/simt: recorded steps, memory that runs out, absent devices, whole trainings.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <numeric>

#include "backends/traced.h"
#include "op_cases.h"
#include "pastiche/checkpoint.h"
#include "pastiche/train.h"
#include "simt/engine.h"
#include "tiny_training.h"

namespace pastiche {
namespace {

const ModelConfig small_model{.height = 12, .width = 10, .channels = 3, .nz = 8, .ngf = 4, .ndf = 4, .d_norm = true, .dropout = 0.3};

TrainConfig small_config() {
  TrainConfig config;
  config.batch = 4;
  config.seed = 5;
  return config;
}

std::vector<std::uint8_t> some_pictures(const ModelConfig& model, int batch) {
  std::vector<std::uint8_t> pictures(static_cast<std::size_t>(batch * model.height * model.width * model.channels));
  for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i] = static_cast<std::uint8_t>(i * 37 % 256);
  return pictures;
}

// Puts the simulated machine back as it was.
struct MachineScope {
  simt_runtime::Machine before = simt_runtime::machine();
  ~MachineScope() {
    simt_runtime::machine() = before;
    simt_runtime::fail_allocations_after(0, 0);
  }
};

std::string message_of(ExitCode code, const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

std::vector<std::byte> bytes_of(const GanTrainer& trainer) {
  SafetensorsFile file;
  trainer.save(file);
  return serialize_safetensors(file);
}

// bf16 products are the same on tensor cores and, where the GPU has none, by fmaf; the weights of the former are packed first.
TEST(SimtBackend, TensorCoresWhereTheGpuHasThem) {
  const MachineScope scope;
  const auto run = [](int major) {
    simt_runtime::machine().major = major;
    const auto backend = make_backend("simt");
    const Recording off(nullptr);
    const auto make = [&](const Shape& shape, DType dtype) { return Var(make_random(*backend, shape, dtype, Fill::integers, 3)); };
    const std::int64_t before = simt_runtime::kernels_run();
    const Var y = conv2d(make({1, 6, 5, 16}, DType::bf16), make({24, 3, 3, 16}, DType::f32), {.pad = 1});
    const std::vector<double> values = host_values(y.value());
    return std::pair{values, simt_runtime::kernels_run() - before};
  };
  const auto [old_values, old_kernels] = run(7);
  const auto [values, kernels] = run(8);
  EXPECT_EQ(values, old_values);
  EXPECT_EQ(kernels, old_kernels + 1);
}

// With --precision tf32: activations are cut after 10 bits, weights of convolutions go to the nearest; what does not run on tensor cores
// rounds nothing. The reference computes the same of factors rounded beforehand, and of none that were rounded otherwise.
TEST(SimtBackend, WhatTf32Rounds) {
  enum Rounding { none, cut, nearest };
  struct Case {
    Shape left, right;
    std::function<Var(const Var&, const Var&)> op;
    Rounding of_left, of_right;
  };
  const Conv conv{.pad = 1};
  const Case cases[] = {
      {{40, 72}, {24, 72}, linear, cut, cut},
      {{40, 72}, {72, 24}, [](const Var& a, const Var& b) { return gemm(a, b); }, cut, cut},
      {{72, 40}, {72, 24}, [](const Var& a, const Var& b) { return gemm(a, b, {.a = Transpose::yes}); }, cut, cut},
      {{40, 70}, {24, 70}, linear, none, none},
      {{2, 6, 5, 16}, {24, 3, 3, 16}, [&](const Var& x, const Var& w) { return conv2d(x, w, conv); }, cut, nearest},
      {{2, 6, 5, 24}, {24, 3, 3, 16}, [&](const Var& dy, const Var& w) { return conv2d_dgrad(dy, w, conv, {2, 6, 5, 16}); }, cut, nearest},
      {{2, 6, 5, 16}, {2, 6, 5, 24}, [&](const Var& x, const Var& dy) { return conv2d_wgrad(x, dy, conv, {24, 3, 3, 16}); }, cut, cut}};
  const Recording off(nullptr);
  const auto simt = make_backend("simt", 0, {.tf32 = true}), reference = make_backend("reference");
  const auto real = [](Backend& on, const Shape& shape, std::uint64_t key, Rounding how) {
    const std::vector<double> values = host_values(make_random(on, shape, DType::f32, Fill::reals, key));
    std::vector<float> rounded(values.begin(), values.end());
    for (float& v : rounded) {
      const auto bits = std::bit_cast<std::uint32_t>(v);
      if (how != none) v = std::bit_cast<float>((bits + (how == nearest ? 0x1000u : 0u)) & ~0x1fffu);
    }
    return Var(Tensor::from_host(on, shape, rounded.data()));
  };
  for (const Case& c : cases) {
    const auto result = [&](Backend& on, Rounding of_left, Rounding of_right) {
      return host_values(c.op(real(on, c.left, 1, of_left), real(on, c.right, 2, of_right)).value());
    };
    const std::vector<double> got = result(*simt, none, none);
    for (const Rounding of_left : {none, cut, nearest}) {
      for (const Rounding of_right : {none, cut, nearest}) {
        const std::vector<double> expected = result(*reference, of_left, of_right);
        double error = 0, size = 0;
        for (std::size_t i = 0; i < got.size(); ++i) {
          error += (got[i] - expected[i]) * (got[i] - expected[i]);
          size += expected[i] * expected[i];
        }
        EXPECT_EQ(std::sqrt(error / size) < 2e-6, of_left == c.of_left && of_right == c.of_right)
            << &c - cases << " " << of_left << of_right << " " << std::sqrt(error / size);
      }
    }
  }
}

TEST(SimtBackend, Tf32IsRefusedWhereThereAreNoTensorCores) {
  const MachineScope scope;
  EXPECT_EQ(make_backend("simt", 0, {.tf32 = true})->fingerprint(), "simt simulated GPU, sm_80, TF32");
  for (const char* device : {"cpu", "reference"}) {
    EXPECT_EQ(message_of(ExitCode::usage, [&] { make_backend(device, 0, {.tf32 = true}); }),
              std::string("--precision tf32 is for the CUDA kernels (--device cuda, simt or ptx), and this is ") + device + "; use f32");
  }
  simt_runtime::machine().major = 7;
  simt_runtime::machine().minor = 5;
  EXPECT_EQ(message_of(ExitCode::usage, [] { make_backend("simt", 0, {.tf32 = true}); }),
            "--precision tf32 needs sm_80 or later, and this is sm_75; use f32");
}

// Every sum is in ascending order, whichever tile it is in. Where a large tile would be half empty, it is a small one.
TEST(SimtBackend, TheTileOfAProductChangesNoBits) {
  const MachineScope scope;
  DType dtype = DType::f32;
  KernelChoice kernels;
  const auto run = [&](int multiprocessors, std::int64_t n, const Gemm& p) {
    simt_runtime::machine().multiprocessors = multiprocessors;
    const auto backend = make_backend("simt", 0, kernels);
    const Recording off(nullptr);
    const auto make = [&](std::int64_t rows, std::int64_t columns, Transpose turned) {
      const Shape shape = turned == Transpose::yes ? Shape{columns, rows} : Shape{rows, columns};
      return Var(make_random(*backend, shape, dtype, Fill::reals, 3));
    };
    const Var a = make(136, 40, p.a), b = make(40, n, p.b);
    std::string kernel;
    simt_runtime::watch_launches([&](const simt_runtime::LaunchSeen& launch) {
      kernel = launch.kernel;
      return true;
    });
    std::vector<double> y = host_values(gemm(a, b, p).value());
    simt_runtime::watch_launches({});
    return std::pair{kernel, y};
  };
  for (const std::string precision : {"f32", "bf16", "tf32"}) {
    dtype = precision == "bf16" ? DType::bf16 : DType::f32;
    kernels.tf32 = precision == "tf32";
    for (const Transpose a : {Transpose::no, Transpose::yes}) {
      for (const Transpose b : {Transpose::no, Transpose::yes}) {
        const auto [large, y] = run(1, 136, {.a = a, .b = b});
        const auto [small, same] = run(1000, 136, {.a = a, .b = b});
        EXPECT_NE(large, small);
        EXPECT_EQ(large.starts_with("gemm_mma_kernel"), precision != "f32") << large;
        EXPECT_EQ(y, same) << large << " and " << small;
        EXPECT_EQ(run(1, 64, {.a = a, .b = b}).first, small);
      }
    }
  }
}

TEST(SimtBackend, RungsThatCanNotRunAreRefused) {
  const MachineScope scope;
  simt_runtime::machine().major = 7;
  simt_runtime::machine().minor = 5;
  EXPECT_EQ(message_of(ExitCode::usage, [] { make_backend("simt", 0, {.gemm = 5}); }),
            "--kernel gemm=5 (tensor core) does not run on sm_75; what does: 0 naive, 1 shared tile, 2 register tile, 3 vector loads, 4 double buffer");
  for (const char* device : {"cpu", "reference"}) {
    const std::string message = message_of(ExitCode::usage, [&] { make_backend(device, 0, {.conv2d = 4}); });
    EXPECT_NE(message.find(device), message.npos) << message;
  }
  const auto backend = make_backend("simt", 0, {.conv2d = 1, .gemm = 2});
  EXPECT_EQ(backend->fingerprint(), "simt simulated GPU, sm_75, conv2d=1,gemm=2");
  const Recording off(nullptr);
  const auto ones = [&](const Shape& shape, DType dtype) { return Var(Tensor::full(*backend, shape, 1, dtype)); };
  message_of(ExitCode::usage, [&] { conv2d(ones({1, 3, 3, 4}, DType::bf16), ones({2, 3, 3, 4}, DType::f32), {}); });
  for (const DType dtype : {DType::bf16, DType::f32}) {
    message_of(ExitCode::usage, [&] { gemm(ones({3, 4}, DType::bf16), ones({2, 4}, dtype), {.b = Transpose::yes}); });
  }
}

// The trainer records its second step and replays it from then on; steps on given tensors are never recorded.
TEST(SimtBackend, ReplayedStepsEqualEagerOnes) {
  for (const char* order : {"alternating", "joint"}) {
    const auto backend = make_backend("simt");
    TrainConfig config = small_config();
    config.step = order;
    GanTrainer replayed(*backend, config, small_model), eager(*backend, config, small_model);
    Tensor state = make_step_state(*backend);
    for (int step = 1; step <= 5; ++step) {
      std::vector<std::uint8_t> pictures = some_pictures(small_model, config.batch);
      pictures[0] = static_cast<std::uint8_t>(step);
      const Shape shape{config.batch, small_model.height, small_model.width, small_model.channels};
      Tensor real = Tensor::empty(*backend, shape), z = Tensor::empty(*backend, {config.batch, small_model.nz});
      backend->dequantize(real, Tensor::from_host(*backend, shape, pictures.data()));
      write_step_state(state, {.step = step});
      backend->random_normal(z, {static_cast<std::uint64_t>(config.seed), streams::latents}, state);

      const StepStats a = replayed.step(pictures), b = eager.step(real, z);
      EXPECT_EQ(a.loss_g, b.loss_g) << order << " " << step;
      EXPECT_EQ(a.loss_d, b.loss_d) << order << " " << step;
      EXPECT_EQ(bytes_of(replayed), bytes_of(eager)) << order << " " << step;
    }
  }
}

// What is drawn for a step is read from the state, not recorded.
TEST(SimtBackend, ReplayedAugmentationDrawsAnew) {
  const auto backend = make_backend("simt");
  const Recording off(nullptr);
  Tensor state = state_at(*backend, 1);
  const Var x = make_random(*backend, {3, 16, 16, 3}, DType::f32, Fill::reals, 1);
  Tensor y = Tensor::empty(*backend, x.shape());
  const auto augmented = [&] { return diff_augment_grad(diff_augment(x, {}, state), {}, state).value(); };
  const auto replay = backend->record([&] { backend->cast(y, augmented()); });
  std::vector<double> before;
  for (const std::int64_t step : {1, 2, 3}) {
    write_step_state(state, {.step = step});
    replay->run();
    const std::vector<double> replayed = host_values(y);
    EXPECT_EQ(replayed, host_values(augmented()));
    EXPECT_NE(replayed, before);
    before = replayed;
  }
}

// Pictures made between two steps take other memory than the recording's.
TEST(SimtBackend, WorkBetweenReplaysDisturbsNothing) {
  const auto run = [](bool disturbed) {
    const auto backend = make_backend("simt");
    GanTrainer trainer(*backend, small_config(), small_model);
    std::vector<Tensor> kept;
    for (int step = 0; step < 5; ++step) {
      trainer.step(some_pictures(small_model, 4));
      if (!disturbed) continue;
      const std::vector<float> latents = sample_latents(std::vector<std::uint64_t>{1, 2, 3}, small_model.nz);
      generate_pictures(trainer.averaged(), latents);
      kept.push_back(Tensor::full(*backend, {4, 12, 10, 3}, 7));
    }
    for (const Tensor& each : kept) {
      std::vector<float> values(static_cast<std::size_t>(each.elements()));
      each.copy_to_host(values.data());
      EXPECT_EQ(std::count(values.begin(), values.end(), 7.0f), each.elements());
    }
    return bytes_of(trainer);
  };
  EXPECT_EQ(run(true), run(false));
}

// The tile that a convolution takes may depend on the batch; the bits may not.
TEST(SimtBackend, PicturesDoNotDependOnTheBatch) {
  const auto backend = make_backend("simt");
  const auto generator = make_generator(*backend, {.height = 16, .width = 16, .ngf = 16}, 3);
  std::vector<std::uint64_t> seeds(33);
  std::iota(seeds.begin(), seeds.end(), 0);
  const std::vector<float> latents = sample_latents(seeds, 100);
  EXPECT_EQ(generate_pictures(*generator, latents, 64), generate_pictures(*generator, latents, 1));
}

// On tensor cores statistics are taken, biases added and activations applied to sums that are in registers still.
class SimtEpilogue : public testing::Test {
 protected:
  void TearDown() override { simt_runtime::watch_launches({}); }

  // How often each kernel is launched, without its template's arguments.
  template <class F> static std::map<std::string, int> launches_of(F body) {
    std::map<std::string, int> launches;
    simt_runtime::watch_launches([&](const simt_runtime::LaunchSeen& launch) {
      ++launches[launch.kernel.substr(0, launch.kernel.find('<'))];
      return true;
    });
    body();
    simt_runtime::watch_launches({});
    return launches;
  }

  struct Result {
    std::vector<double> y, mean, var;
  };
  // On a GPU of one multiprocessor tiles are large, on one of many they are small.
  static Result statistics(int multiprocessors, const Shape& x, const Shape& w, const Conv& p, std::int64_t group, Fill fill) {
    simt_runtime::machine().multiprocessors = multiprocessors;
    const auto backend = make_backend("simt");
    const Recording off(nullptr);
    const Var from(make_random(*backend, x, DType::bf16, fill, 3)), weights(make_random(*backend, w, DType::f32, fill, 4));
    const auto [y, stats] = group > 0 ? conv2d_group_stats(from, weights, p, group) : conv2d_batch_stats(from, weights, p);
    return {host_values(y.value()), host_values(stats.mean), host_values(stats.var)};
  }

  const MachineScope scope_;
};

// Every convolution that a norm follows, in a training whose convolutions can all go to tensor cores; what is left is the norm of the
// generator's linear layer.
TEST_F(SimtEpilogue, TrainingTakesIt) {
  for (const bool d_norm : {true, false}) {
    TrainConfig config = small_config();
    const ModelConfig model{.height = 16, .width = 16, .channels = 3, .nz = 8, .ngf = 8, .ndf = 8, .d_norm = d_norm};
    TracedBackend traced(make_backend("simt"));
    GanTrainer trainer(traced, config, model, DType::bf16);
    auto launches = launches_of([&] { trainer.step(some_pictures(model, 4)); });
    const auto passes_g = traced.calls("norm_stats"), passes_d = traced.calls("bias_act");  // of its linear layers
    EXPECT_GE(passes_g, 1);
    EXPECT_GE(passes_d, 2);
    EXPECT_EQ(traced.calls("conv2d_norm_stats"), 2 * passes_g + (d_norm ? passes_d : 0));
    EXPECT_EQ(launches["norm_stats_kernel"], passes_g);
    // The picture's channels are no multiple of 8: the generator's last convolution and the discriminator's first are composed.
    EXPECT_EQ(traced.calls("conv2d_bias_act"), passes_g + (d_norm ? 1 : 2) * passes_d);
    EXPECT_EQ(launches["bias_act_kernel"], passes_d + passes_g + passes_d);
  }
}

TEST_F(SimtEpilogue, TheTileChangesNoBits) {
  const Shape x{2, 24, 16, 16};
  for (const std::int64_t outputs : {136, 72}) {
    for (const Conv& p : {Conv{.pad = 1}, Conv{.stride = 2, .pad = 1}, Conv{.pad = 1, .upsample = 2, .out = Phases::outer}}) {
      for (const std::int64_t group : {0, 1}) {
        const Result large = statistics(1, x, {outputs, 3, 3, 16}, p, group, Fill::reals);
        const Result small = statistics(1000, x, {outputs, 3, 3, 16}, p, group, Fill::reals);
        EXPECT_EQ(large.y, small.y);
        EXPECT_EQ(large.mean, small.mean);
        EXPECT_EQ(large.var, small.var);
      }
    }
  }
}

// Not of the sums, which have more digits, nor of what a tile has past the last pixel.
TEST_F(SimtEpilogue, StatisticsAreOfWhatIsStored) {
  for (const Shape& x : {Shape{3, 8, 12, 8}, Shape{1, 13, 7, 8}, Shape{1, 100, 100, 8}}) {
    for (const int multiprocessors : {1, 1000}) {
      const std::int64_t channels = 72;
      const Result got = statistics(multiprocessors, x, {channels, 1, 1, 8}, {}, 0, Fill::reals);
      const auto count = static_cast<double>(got.y.size()) / static_cast<double>(channels);
      for (std::size_t c = 0; c < got.mean.size(); ++c) {
        double mean = 0, var = 0;
        for (std::size_t i = c; i < got.y.size(); i += channels) mean += got.y[i] / count;
        for (std::size_t i = c; i < got.y.size(); i += channels) var += (got.y[i] - mean) * (got.y[i] - mean) / count;
        EXPECT_NEAR(got.mean[c], mean, 1e-6 * std::sqrt(var)) << c;
        EXPECT_NEAR(got.var[c], var, 1e-6 * var) << c;
      }
    }
  }
}

// Where each picture has its own, and a part would be of two of them, our pass over the result takes them.
TEST_F(SimtEpilogue, StatisticsOfAPictureEachWherePartsAreOfOne) {
  const auto passes = [](const Shape& x) {
    return launches_of([&] { statistics(8, x, {8, 3, 3, 8}, {.pad = 1}, 1, Fill::reals); })["norm_stats_kernel"];
  };
  EXPECT_EQ(passes({2, 8, 12, 8}), 0);
  EXPECT_EQ(passes({2, 8, 13, 8}), 1);
  EXPECT_EQ(passes({1, 8, 13, 8}), 0);
}

TEST_F(SimtEpilogue, OlderGpusCompose) {
  const auto run = [] { return statistics(8, {2, 8, 12, 8}, {16, 3, 3, 8}, {.pad = 1}, 4, Fill::integers); };
  const Result got = run();
  simt_runtime::machine().major = 7;
  Result composed;
  EXPECT_EQ(launches_of([&] { composed = run(); })["norm_stats_kernel"], 1);
  EXPECT_EQ(got.y, composed.y);
  for (std::size_t i = 0; i < got.mean.size(); ++i) {
    EXPECT_NEAR(got.mean[i], composed.mean[i], 1e-6 * std::sqrt(composed.var[i])) << i;
    EXPECT_NEAR(got.var[i], composed.var[i], 1e-6 * composed.var[i]) << i;
  }
}

// The sum of a bias and of what was not rounded before, of integers.
TEST_F(SimtEpilogue, RoundsOnce) {
  const Recording off(nullptr);
  for (const int multiprocessors : {1, 1000}) {
    simt_runtime::machine().multiprocessors = multiprocessors;
    std::vector<std::vector<double>> results;
    for (const char* device : {"simt", "reference"}) {
      const auto backend = make_backend(device);
      const auto make = [&](const Shape& shape, DType dtype) { return Var(make_random(*backend, shape, dtype, Fill::integers, 3)); };
      const Var x = make({2, 13, 9, 16}, DType::bf16), w = make({136, 3, 3, 16}, DType::f32), bias = make({136}, DType::f32);
      const Var y = conv2d_bias_act(x, w, bias, {.pad = 1}, {.kind = Activation::Kind::leaky_relu, .slope = 0.25});
      results.push_back(host_values(y.value()));
    }
    EXPECT_EQ(results[0], results[1]) << multiprocessors;
  }
}

TEST(SimtBackend, OutOfMemoryAtEveryAllocationOfAStep) {
  const MachineScope scope;
  const auto train_three_steps = [] {
    const auto backend = make_backend("simt");
    GanTrainer trainer(*backend, small_config(), small_model);
    for (int step = 0; step < 3; ++step) trainer.step(some_pictures(small_model, 4));
  };
  const std::int64_t before = simt_runtime::allocations_made();
  train_three_steps();
  const std::int64_t allocations = simt_runtime::allocations_made() - before;
  EXPECT_GT(allocations, 50);
  ASSERT_EQ(simt_runtime::live_allocations(), 0u);
  for (std::int64_t n = 1; n < allocations; ++n) {  // number 0 is the device's own check
    simt_runtime::fail_allocations_after(n);
    const std::string message = message_of(ExitCode::out_of_memory, train_three_steps);
    EXPECT_NE(message.find("out of memory"), message.npos) << message;
    simt_runtime::fail_allocations_after(0, 0);
    ASSERT_EQ(simt_runtime::live_allocations(), 0u) << "after the failure of allocation " << n;
  }
}

TEST(SimtBackend, OutOfMemorySaysWhatWasAskedAndHeld) {
  const MachineScope scope;
  simt_runtime::machine().memory = std::size_t{16} << 20;
  const auto backend = make_backend("simt");
  const Tensor held = Tensor::empty(*backend, {3 << 20, 1});
  const std::string message = message_of(ExitCode::out_of_memory, [&] { Tensor::empty(*backend, {2 << 20, 1}); });
  EXPECT_NE(message.find("simt was asked for 8.0 MiB while 12.0 MiB of the 12.0 MiB that it holds are in use and 4.0 MiB are left"),
            message.npos) << message;
}

// What is free in the pool, in sizes that do not fit, is given back before an allocation fails.
TEST(SimtBackend, ThePoolGivesBackWhatItHoldsBeforeItFails) {
  const MachineScope scope;
  simt_runtime::machine().memory = std::size_t{16} << 20;
  const auto backend = make_backend("simt");
  Tensor::empty(*backend, {3 << 20, 1});
  EXPECT_NO_THROW(Tensor::empty(*backend, {2 << 20, 1}));
}

TEST(SimtBackend, AbsentDevicesAreNamed) {
  const MachineScope scope;
  simt_runtime::machine().driver = false;
  std::string message = message_of(ExitCode::device, [] { make_backend("simt"); });
  EXPECT_NE(message.find("device 'simt' can't be used"), message.npos) << message;
  simt_runtime::machine() = {.devices = 0};
  message = message_of(ExitCode::device, [] { make_backend("simt"); });
  EXPECT_NE(message.find("device 'simt' can't be used"), message.npos) << message;
  simt_runtime::machine() = {.has_code = false};
  message = message_of(ExitCode::device, [] { make_backend("simt"); });
  EXPECT_NE(message.find("none that runs on"), message.npos) << message;
}

using SimtTraining = TinyTraining;

TEST_F(SimtTraining, PenaltiesHaveTheLossesOfTheCpu) {
  for (const char* loss : {"relativistic", "wgan"}) {
    const TrainConfig config = tiny_with_penalty(loss);
    expect_losses_of_the_cpu("simt", config, f32_allowed(config));
  }
}

TEST_F(SimtTraining, LossesAreThoseOfTheCpu) { expect_losses_of_the_cpu("simt", tiny(), f32_allowed(tiny())); }

TEST_F(SimtTraining, LossesInBf16AreThoseOfTheCpu) { expect_bf16_losses_of_the_cpu("simt"); }

TEST_F(SimtTraining, LossesInTf32AreNearTheCpus) { expect_tf32_losses_near_the_cpus("simt"); }

TEST_F(SimtTraining, LossesAreThoseOfEveryRung) {
  const std::vector<StepStats> highest = run("simt", tiny());
  for (const char* kernel : {"conv2d=0,gemm=3", "conv2d=3,gemm=0"}) {
    TrainConfig config = tiny();
    config.kernel = kernel;
    const std::vector<StepStats> here = run("simt", config);
    ASSERT_EQ(here.size(), highest.size());
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_NEAR(here[i].loss_g, highest[i].loss_g, 1e-6) << kernel << " " << i;  // no difference was seen
      EXPECT_NEAR(here[i].loss_d, highest[i].loss_d, 1e-6) << kernel << " " << i;
    }
  }
}

TEST_F(SimtTraining, TranslationsHaveTheLossesOfTheCpu) {
  for (const char* model : {"pix2pix", "cyclegan", "cut"}) {
    const TrainConfig config = tiny_translation(model);
    expect_losses_of_the_cpu("simt", config, f32_allowed(config));
  }
}

TEST_F(SimtTraining, ABatchThatIsTooLargeIsToldWhatFits) {
  const MachineScope scope;
  simt_runtime::machine().memory = std::size_t{8} << 20;
  TrainConfig config = tiny();
  config.steps = 3;
  config.batch = 200;
  const std::string message = message_of(ExitCode::out_of_memory, [&] { run("simt", config); });
  const std::size_t at = message.find("--batch ");
  ASSERT_NE(at, message.npos) << message;
  config.batch = std::stoi(message.substr(at + 8));
  EXPECT_GT(config.batch, 10);
  EXPECT_LT(config.batch, 200);
  EXPECT_EQ(run("simt", config).size(), 3u) << message;
}

}  // namespace
}  // namespace pastiche
