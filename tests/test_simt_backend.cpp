// The CUDA backend as a whole, on src/simt: recorded steps, memory that runs out, absent devices, whole trainings.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

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

// Every sum is in ascending order, whichever tile it is in. Where a large tile would be half empty, it is a small one.
TEST(SimtBackend, TheTileOfAProductChangesNoBits) {
  const MachineScope scope;
  const auto run = [](int multiprocessors, std::int64_t n, const Gemm& p) {
    simt_runtime::machine().multiprocessors = multiprocessors;
    const auto backend = make_backend("simt");
    const Recording off(nullptr);
    const auto make = [&](std::int64_t rows, std::int64_t columns, Transpose turned) {
      const Shape shape = turned == Transpose::yes ? Shape{columns, rows} : Shape{rows, columns};
      return Var(make_random(*backend, shape, DType::f32, Fill::reals, 3));
    };
    const Var a = make(140, 44, p.a), b = make(44, n, p.b);
    std::string kernel;
    simt_runtime::watch_launches([&](const simt_runtime::LaunchSeen& launch) {
      kernel = launch.kernel;
      return true;
    });
    std::vector<double> y = host_values(gemm(a, b, p).value());
    simt_runtime::watch_launches({});
    return std::pair{kernel, y};
  };
  for (const Transpose a : {Transpose::no, Transpose::yes}) {
    for (const Transpose b : {Transpose::no, Transpose::yes}) {
      const auto [large, y] = run(1, 136, {.a = a, .b = b});
      const auto [small, same] = run(1000, 136, {.a = a, .b = b});
      EXPECT_NE(large, small);
      EXPECT_EQ(y, same) << large << " and " << small;
      EXPECT_EQ(run(1, 64, {.a = a, .b = b}).first, small);
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

TEST_F(SimtTraining, LossesAreThoseOfTheCpu) { expect_losses_of_the_cpu("simt", tiny()); }

TEST_F(SimtTraining, LossesInBf16AreThoseOfTheCpu) { expect_bf16_losses_of_the_cpu("simt"); }

TEST_F(SimtTraining, LossesAreThoseOfEveryRung) {
  const std::vector<StepStats> highest = run("simt", tiny());
  for (const char* kernel : {"conv2d=0,gemm=3", "conv2d=3,gemm=0"}) {
    TrainConfig config = tiny();
    config.kernel = kernel;
    const std::vector<StepStats> here = run("simt", config);
    ASSERT_EQ(here.size(), highest.size());
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_NEAR(here[i].loss_g, highest[i].loss_g, 1e-4) << kernel << " " << i;
      EXPECT_NEAR(here[i].loss_d, highest[i].loss_d, 1e-4) << kernel << " " << i;
    }
  }
}

TEST_F(SimtTraining, TranslationsHaveTheLossesOfTheCpu) {
  for (const char* model : {"pix2pix", "cyclegan", "cut"}) expect_losses_of_the_cpu("simt", tiny_translation(model));
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
