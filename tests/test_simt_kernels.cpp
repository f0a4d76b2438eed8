// Our kernels in the instrumented form: three rows of the table for each op, and a training step, without a report; and the
// requests that a training makes of memory, against the gates.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "op_cases.h"
#include "pastiche/rungs.h"
#include "pastiche/train.h"
#include "simt/checked/checker.h"
#include "simt/engine.h"

namespace pastiche {

namespace simt_checked {
std::unique_ptr<Backend> make_cuda_backend(const KernelChoice&);
}

namespace {

using namespace simt_runtime;

std::unique_ptr<Backend> checked_backend(const KernelChoice& kernels = {}) {
  auto backend = simt_checked::make_cuda_backend(kernels);
  backend->pool_buffers(false);  // so that every buffer has bounds
  return backend;
}

// What was launched has run.
void finish(Backend& backend) {
  float value = 0;
  Tensor::full(backend, {1}, 0).copy_to_host(&value);
}

std::string all_reports() {
  std::string text = fmt::format("{} reports\n", report_count());
  for (const Report& report : reports()) text += report.text + "\n";
  return text;
}

std::vector<Tensor> inputs_of(Backend& backend, const OpCase& row, DType dtype) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < row.inputs.size(); ++i) inputs.push_back(make_input(backend, row, i, dtype, Fill::reals));
  return inputs;
}

// Forward and, where it has one, backward.
void run_row(Backend& backend, const OpCase& row, DType dtype) {
  Tape tape;
  const Recording recording(&tape);
  std::vector<Var> vars, leaves;
  for (const Tensor& input : inputs_of(backend, row, dtype)) {
    const bool leaf = row.differentiable && input.dtype() != DType::u8;
    vars.push_back(leaf ? tape.leaf(input) : Var(input));
    if (leaf) leaves.push_back(vars.back());
  }
  const Outputs y = row.run({backend, dtype, vars});
  if (row.differentiable) grad(y[0], leaves, {.cotangent = make_random(backend, y[0].shape(), y[0].dtype(), Fill::reals, 1)});
}

std::vector<std::string> ops_of_table() {
  std::set<std::string> names;
  for (const OpCase& row : op_cases()) names.insert(row.op);
  return {names.begin(), names.end()};
}

class SimtKernels : public testing::TestWithParam<std::string> {};

// The first, the middle and the last row of the op, in each type.
TEST_P(SimtKernels, NothingToReport) {
  const auto backend = checked_backend();
  std::vector<const OpCase*> rows;
  for (const OpCase& row : op_cases()) {
    if (row.op == GetParam()) rows.push_back(&row);
  }
  for (const OpCase* row : {rows.front(), rows[rows.size() / 2], rows.back()}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && !row->bf16) continue;
      clear_reports();
      run_row(*backend, *row, dtype);
      finish(*backend);
      EXPECT_EQ(report_count(), 0) << row->name() << " " << dtype_name(dtype) << ": " << all_reports();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SimtKernels, testing::ValuesIn(ops_of_table()), [](const auto& info) { return info.param; });

void train_checked(Backend& backend, DType dtype, std::int64_t width, int steps) {
  TrainConfig config;
  config.batch = 4;
  const ModelConfig model{.height = 16, .width = 16, .channels = 3, .nz = 2 * width, .ngf = width, .ndf = width, .d_norm = true, .dropout = 0.3};
  GanTrainer trainer(backend, config, model, dtype);
  const std::vector<std::uint8_t> pictures(4 * 16 * 16 * 3, 100);
  for (int step = 0; step < steps; ++step) trainer.step(pictures);
}

TEST(SimtTraffic, ATrainingHasNothingToReport) {
  clear_reports();
  for (const DType dtype : {DType::f32, DType::bf16}) train_checked(*checked_backend(), dtype, 8, 3);  // eager, recorded, replayed
  train_checked(*checked_backend({.tf32 = true}), DType::f32, 8, 3);
  EXPECT_EQ(report_count(), 0) << all_reports();
}

// What no training of ours launches, on a regular shape.
void run_the_rest(Backend& backend, DType dtype) {
  const Recording off(nullptr);
  const auto make = [&](const Shape& shape) { return Var(Tensor::full(backend, shape, 0.5, dtype)); };
  const Var x = make({4, 16, 16, 64}), y = make({4, 16, 16, 64});
  for (const Var& v : {add(x, y), sub(x, y), mul(x, y), div(x, y), affine(x, {.scale = 2}), exp(x), log(x), sqrt(x), tanh(x), sigmoid(x),
                       tanh_grad(x, y), sigmoid_grad(x, y), leaky_relu(x, 0.2), leaky_relu_grad(x, y, 0.2), upsample(x, 2),
                       upsample_grad(x, 2), join_phases(x, Phases::inner), join_phases(x, Phases::outer), split_phases(x, Phases::inner),
                       split_phases(x, Phases::outer), slice(x, 1, 4, 8), unslice(x, 1, 4, 32), concat(std::vector<Var>{x, y}, 3),
                       channel_sum(x), sum(x, 0), channel_broadcast(make({64}), x.shape()), cast(x, DType::f32), cast(x, DType::bf16),
                       pad(x, {.top = 3, .bottom = 3, .left = 3, .right = 3}), pad_grad(x, {.top = 1, .bottom = 1, .left = 1, .right = 1})}) {
    v.value();
  }
  const Tensor state = make_step_state(backend);
  const SamplePixels some{.count = 64, .key = {}};
  sample_pixels_grad(sample_pixels(x, some, state), some, state, x.shape());
  const auto [sorted, order] = sort(x, 1);
  scatter(gather(sorted, order, 1), order, 1);
  diff_augment(x, {}, state);
  diff_augment_grad(x, {}, state);
  const Tensor per_channel = Tensor::full(backend, {64}, 0.5);
  for (const std::int64_t group : {1, 4}) {
    const NormAct p{.slope = 0.2, .group = group};
    const NormStats stats = group_stats(x, p);
    norm_act(x, stats, per_channel, per_channel, p);
    Tensor dx = Tensor::empty(backend, x.shape(), dtype);
    Tensor dgamma = Tensor::empty(backend, {64}), dbeta = Tensor::empty(backend, {64});
    backend.norm_act_grad(dx, dgamma, dbeta, y.value(), x.value(), stats.mean, stats.var, per_channel, per_channel, p);
  }
  for (const std::int64_t outputs : {64, 128}) {
    const Var w(Tensor::full(backend, {outputs, 3, 3, 64}, 0.5)), bias(Tensor::full(backend, {outputs}, 0.5));
    conv2d_batch_stats(x, w, {.pad = 1});
    conv2d_group_stats(x, w, {.pad = 1, .upsample = 2, .out = Phases::inner}, 1);
    conv2d_bias_act(x, w, bias, {.pad = 1}, {.kind = Activation::Kind::leaky_relu});
  }
  conv2d_batch_stats(make({1, 96, 96, 8}), Tensor::full(backend, {64, 1, 1, 8}, 0.5), {});  // so many parts that they are joined first
  for (const std::int64_t n : {256, 512}) {  // in small tiles and in large ones
    for (const Transpose a : {Transpose::no, Transpose::yes}) {
      for (const Transpose b : {Transpose::no, Transpose::yes}) {
        gemm(make({256, 256}), make(b == Transpose::yes ? Shape{n, 256} : Shape{256, n}), {.a = a, .b = b});
      }
    }
  }
  Tensor bytes = Tensor::empty(backend, x.shape(), DType::u8);
  backend.quantize(bytes, x.value());
}

// Kernels that miss a gate: those for channels that are no multiple of four, whose elements are read one by one, so that lanes
// lie on lines of their own, and a sector is read again for each of its elements (the cache serves it then, not memory).
bool excused(const std::string& kernel) {
  return (kernel.starts_with("conv_") && kernel.ends_with(", false>")) || kernel.starts_with("gemm_any_kernel");
}

// Sectors at most 1.1 times the least that could hold the bytes used, wavefronts at most 1.05 times. Writes what it counted to a
// file, of which tools/kernel_resources makes its table.
TEST(SimtTraffic, MeetsTheGates) {
  clear_counters();
  const auto backend = checked_backend(), tf32 = checked_backend({.tf32 = true});
  for (const auto& [on, dtype] : {std::pair(&*backend, DType::f32), std::pair(&*backend, DType::bf16), std::pair(&*tf32, DType::f32)}) {
    train_checked(*on, dtype, 32, 1);
    run_the_rest(*on, dtype);
    finish(*on);
  }
  std::ofstream file(PASTICHE_COUNTERS);
  file << "kernel\tglobal requests\tsectors\tleast\tshared requests\twavefronts\tleast\n";
  const auto ratio = [](std::int64_t n, std::int64_t least) { return static_cast<double>(n) / static_cast<double>(std::max<std::int64_t>(1, least)); };
  int kernels = 0;
  for (const Counters& c : counters()) {
    ++kernels;
    file << fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\n", c.kernel, c.global_requests, c.sectors, c.ideal_sectors, c.shared_requests,
                        c.wavefronts, c.ideal_wavefronts);
    const bool meets = ratio(c.sectors, c.ideal_sectors) <= 1.1 && ratio(c.wavefronts, c.ideal_wavefronts) <= 1.05;
    if (meets || excused(c.kernel)) continue;
    std::string lines;
    for (const Counters& l : counters_by_line()) {
      if (l.kernel != c.kernel) continue;
      lines += fmt::format("  {}: {} requests, sectors {:.2f}, {} shared requests, wavefronts {:.2f}\n", l.line, l.global_requests,
                           ratio(l.sectors, l.ideal_sectors), l.shared_requests, ratio(l.wavefronts, l.ideal_wavefronts));
    }
    ADD_FAILURE() << fmt::format("{}: sectors {:.2f} of the least, wavefronts {:.2f}\n{}", c.kernel, ratio(c.sectors, c.ideal_sectors),
                                 ratio(c.wavefronts, c.ideal_wavefronts), lines);
  }
  EXPECT_GT(kernels, 40);
}

// ---- the ladder ------------------------------------------------------------------------------------------------------

// Shapes that fill no tile, and some that fill one and a bit.
TEST(SimtLadder, NothingToReport) {
  const Recording off(nullptr);
  std::vector<KernelChoice> choices{{.tf32 = true}};
  for (int rung = 0; rung < top_rung; ++rung) choices.push_back({.conv2d = rung, .gemm = rung});
  for (const KernelChoice& kernels : choices) {
    const auto backend = checked_backend(kernels);
    int rows = 0;
    for (const OpCase& row : op_cases()) {
      if ((row.op != "conv2d" && row.op != "gemm" && row.op != "linear") || row.inputs[0].shape.elements() > 3000) continue;
      std::vector<Var> inputs;
      for (const Tensor& input : inputs_of(*backend, row, DType::f32)) inputs.emplace_back(input);
      clear_reports();
      row.run({*backend, DType::f32, inputs});
      finish(*backend);
      EXPECT_EQ(report_count(), 0) << row.name() << " with " << (kernels.tf32 ? "TF32" : kernels.str()) << ": " << all_reports();
      ++rows;
    }
    EXPECT_GT(rows, 100);
  }
}

std::set<std::string> kernels_seen() {
  std::set<std::string> stems;
  for (const Counters& c : counters()) stems.insert(c.kernel.substr(0, c.kernel.find('<')));
  return stems;
}

// Four neighbours at once, where there are four; else the rung below.
TEST(SimtLadder, WhatDoesNotFitARungTakesTheOneBelow) {
  const Recording off(nullptr);
  const auto backend = checked_backend({.conv2d = 3, .gemm = 3});
  const auto ones = [&](const Shape& shape) { return Var(Tensor::full(*backend, shape, 1)); };
  const auto kernels = [&](std::int64_t channels) {
    finish(*backend);
    clear_counters();
    linear(ones({5, channels}), ones({6, channels})).value();
    conv2d(ones({1, 4, 4, channels}), ones({6, 3, 3, channels}), {}).value();
    finish(*backend);
    return kernels_seen();
  };
  const std::set<std::string> vectors = kernels(8), elements = kernels(7);
  for (const char* op : {"conv", "gemm"}) {
    EXPECT_TRUE(vectors.contains(fmt::format("{}_vector_kernel", op)));
    EXPECT_TRUE(elements.contains(fmt::format("{}_register_kernel", op)));
    EXPECT_FALSE(elements.contains(fmt::format("{}_vector_kernel", op)));
  }
  clear_counters();
  conv2d(ones({1, 17, 16, 4}), ones({4, 17, 16, 4}), {}).value();  // more taps than there is room for
  finish(*backend);
  EXPECT_TRUE(kernels_seen().contains("gemm_vector_kernel"));
}

// Those of linear layers and of convolutions, of which one has a window as large as its picture.
TEST(SimtLadder, GradientsTakeTheDefault) {
  const auto backend = checked_backend({.conv2d = 0, .gemm = 0});
  const auto leaf = [&](Tape& tape, const Shape& shape) { return tape.leaf(Tensor::full(*backend, shape, 1)); };
  Tape tape;
  const Recording recording(&tape);
  const std::vector<Var> leaves{leaf(tape, {5, 8}), leaf(tape, {8, 8}), leaf(tape, {1, 4, 4, 8}), leaf(tape, {8, 3, 3, 8}),
                                leaf(tape, {8, 4, 4, 8})};
  const Var y = linear(leaves[0], leaves[1]), z = conv2d(leaves[2], leaves[3], {.pad = 1}), whole = conv2d(leaves[2], leaves[4], {});
  finish(*backend);
  EXPECT_TRUE(kernels_seen().contains("gemm_naive_kernel"));
  EXPECT_TRUE(kernels_seen().contains("conv_naive_kernel"));
  EXPECT_FALSE(kernels_seen().contains("gemm_kernel"));
  clear_counters();
  for (const Var& out : {y, z, whole}) grad(out, leaves, {.cotangent = Tensor::full(*backend, out.shape(), 1)});
  finish(*backend);
  for (const std::string& kernel : kernels_seen()) EXPECT_EQ(kernel.find("naive"), kernel.npos) << kernel;
  EXPECT_TRUE(kernels_seen().contains("gemm_kernel"));
}

// All rungs in f32 add up in the same order, which the tile does not change: they are the same bits.
TEST(SimtLadder, BitsAreTheSameOnEveryRung) {
  const Recording off(nullptr);
  std::vector<double> product, convolution;
  for (int rung = 0; rung <= double_buffer_rung; ++rung) {
    const auto backend = checked_backend({.conv2d = rung, .gemm = rung});
    const auto real = [&](const Shape& shape, std::uint64_t key) { return Var(make_random(*backend, shape, DType::f32, Fill::reals, key)); };
    const std::vector<double> y = host_values(linear(real({70, 92}, 1), real({67, 92}, 2)).value());
    const std::vector<double> z = host_values(conv2d(real({2, 9, 7, 12}, 3), real({70, 5, 5, 12}, 4), {.stride = 2, .pad = 2}).value());
    if (rung == 0) product = y, convolution = z;
    EXPECT_EQ(y, product) << rung;
    EXPECT_EQ(z, convolution) << rung;
  }
}

// What a rung asks of memory for the same work: 256 x 512 x 256, and a layer. In a file, of which tools/kernel_facts makes its table.
TEST(SimtLadder, EveryRungAsksLessOfMemory) {
  const Recording off(nullptr);
  std::ofstream file(PASTICHE_LADDER_COUNTERS);
  file << "op\trung\tname\tkernel\tmultiplications\tglobal requests\tsectors\tleast\tshared requests\twavefronts\tleast\n";
  for (const std::string op : {"gemm", "conv2d"}) {
    Counters before;
    std::set<std::string> seen;
    for (int rung = 0; rung <= top_rung; ++rung) {
      const DType dtype = rungs[rung].f32 ? DType::f32 : DType::bf16;
      const auto backend = checked_backend({.conv2d = rung, .gemm = rung});
      const auto ones = [&](const Shape& shape, DType type) { return Var(Tensor::full(*backend, shape, 1, type)); };
      const std::int64_t multiplications = op == "gemm" ? 256 * 512 * 256 : 4 * 16 * 16 * 64 * 9 * 64;
      const Var a = op == "gemm" ? ones({256, 256}, dtype) : ones({4, 16, 16, 64}, dtype);
      const Var b = op == "gemm" ? ones({512, 256}, dtype) : ones({64, 3, 3, 64}, DType::f32);
      finish(*backend);
      clear_counters();
      const Var y = op == "gemm" ? gemm(a, b, {.b = Transpose::yes}) : conv2d(a, b, {.pad = 1});
      y.value();
      finish(*backend);
      int found = 0;
      for (const Counters& c : counters()) {
        if (!c.kernel.starts_with(op.substr(0, 4) + "_")) continue;  // it is one that packs weights
        ++found;
        file << fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", op, rung, rungs[rung].name, c.kernel, multiplications,
                            c.global_requests, c.sectors, c.ideal_sectors, c.shared_requests, c.wavefronts, c.ideal_wavefronts);
        const std::string where = fmt::format("{} rung {}", op, rung);
        if (seen.insert(c.kernel).second && rung > 0) {
          EXPECT_LE(c.sectors, before.sectors) << where;
          EXPECT_LT(c.sectors + c.wavefronts, before.sectors + before.wavefronts) << where;
          EXPECT_LE(static_cast<double>(c.sectors), 1.1 * static_cast<double>(c.ideal_sectors)) << where;
          EXPECT_LE(static_cast<double>(c.wavefronts), 1.05 * static_cast<double>(c.ideal_wavefronts)) << where;
        }
        before = c;
      }
      EXPECT_EQ(found, 1) << op << " " << rung;
    }
    EXPECT_GE(seen.size(), 6u) << op;
  }
}

}  // namespace
}  // namespace pastiche
