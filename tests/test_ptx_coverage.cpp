// How much of what nvcc made of our kernels the suite runs: every instruction of every kernel is counted while the op table and some
// trainings run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>

#include "pastiche/rungs.h"
#include "pastiche/train.h"
#include "ptx/kernel.h"
#include "sample.h"
#include "simt/engine.h"
#include "simt/symbols.h"
#include "test_ptx_rows.h"

namespace pastiche {
namespace {

using ptx_runtime::Kernel;
using ptx_runtime::Place;

// Of rows that the op table does not have, and of values that it does not.
void compare(const OpCase& row, DType dtype, std::int64_t mark) {
  const std::string what = fmt::format("{} {}", row.name(), dtype_name(dtype));
  const Results got = run_row("ptx", row, dtype, Fill::reals, mark);
  if (mark == 0) {
    EXPECT_EQ(difference(got, expected_of(row, dtype, Fill::reals)), "") << what;
  } else {
    EXPECT_EQ(lost_nans(got, run_row("reference", row, dtype, Fill::reals, mark)), 0u) << what;
  }
}

// Weights that are rounded for tensor cores.
void round_nan() {
  const auto backend = make_backend("ptx");
  const Recording off(nullptr);
  const Var x(Tensor::full(*backend, {1, 3, 3, 8}, 1, DType::bf16)), w(Tensor::full(*backend, {8, 1, 1, 8}, std::nan("")));
  for (const double y : host_values(conv2d(x, w, {}).value())) EXPECT_TRUE(std::isnan(y));
}

void train_a_little(DType dtype) {
  const auto backend = make_backend("ptx");
  TrainConfig config;
  config.batch = 4;
  const ModelConfig model{.height = 16, .width = 16, .channels = 3, .nz = 16, .ngf = 8, .ndf = 8, .d_norm = true, .dropout = 0.3};
  GanTrainer trainer(*backend, config, model, dtype);
  const std::vector<std::uint8_t> pictures(4 * 16 * 16 * 3, 100);
  for (int step = 0; step < 2; ++step) trainer.step(pictures);
}

struct Coverage {
  std::size_t ran = 0, all = 0;
  std::uint64_t executed = 0;
  std::map<std::string, std::size_t> missed;  // instructions, by source line
};

Coverage coverage_of(const Kernel& kernel) {
  Coverage c;
  for (const Place& place : kernel.module->places.subspan(kernel.first_place, kernel.places)) {
    const std::uint64_t times = kernel.module->counters[place.counter];
    ++c.all;
    c.executed += times;
    if (times > 0) ++c.ran;
    else ++c.missed[source_line(*kernel.module, place)];
  }
  return c;
}

// What no input reaches, and how much it is.
struct Excuse {
  const char *kernel, *reason;
  double share;  // that must run
};
constexpr Excuse excuses[] = {
    {"map_kernel<Activate, float, float, 2>", "nvcc has a loop over the tail for each activation, and the identity is never launched alone", 0.9},
    {"map_kernel<FromByte, BFloat16", "rounding looks for NaN, and a byte is never one", 0.85},
};

TEST(PtxCoverage, EveryKernelOfOurs) {
  if (!has_turn(0, 2)) GTEST_SKIP() << "its turn, and that of the mutants, are at other commits";
  ptx_runtime::use_checked_form(nullptr);
  for (const OpCase& row : op_cases()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::f32 || row.bf16) run_row("ptx", row, dtype, Fill::reals);
    }
  }
  for (const OpCase& row : op_cases()) {  // NaN where NaN should be
    if (row.inputs.empty() || row.inputs[0].shape.elements() > 3000) continue;
    compare(row, DType::f32, 5);
    if (row.bf16) compare(row, DType::bf16, 5);
  }
  for (const OpCase& row : further_rows()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const std::int64_t mark : {0, 5}) compare(row, dtype, mark);
    }
  }
  for (int rung = 0; rung < double_buffer_rung; ++rung) {
    for (const auto& rows : {op_cases(), further_rows()}) {
      for (const OpCase& row : rows) {
        if (row.op == "gemm" || row.op == "conv2d") run_row(fmt::format("ptx conv2d={},gemm={}", rung, rung), row, DType::f32, Fill::reals);
      }
    }
  }
  for (const auto& rows : {op_cases(), further_rows()}) {
    for (const OpCase& row : rows) {
      if (row.op == "gemm" || row.op.starts_with("conv2d")) run_row("ptx tf32", row, DType::f32, Fill::reals);
    }
  }
  simt_runtime::machine().major = 7;  // without tensor cores, bf16 goes the way of f32
  for (const OpCase& row : further_rows()) {
    if (row.op == "gemm" || row.op == "conv2d") compare(row, DType::bf16, 0), compare(row, DType::bf16, 5);
  }
  simt_runtime::machine().major = 8;
  round_nan();
  train_a_little(DType::f32);
  train_a_little(DType::bf16);
  ptx_runtime::use_plain_form();
  std::ofstream table(PASTICHE_PTX_TABLES "/ptx_coverage.tsv");
  table << "file\tkernel\tinstructions\trun\tshare\treason\n";
  std::uint64_t executed = 0;
  for (const Kernel* kernel : ptx_runtime::checked_kernels()) {
    const std::string name = simt_runtime::demangle(kernel->name);
    if (name.find("pastiche::ptx::") == std::string::npos) continue;  // of a test
    const Coverage c = coverage_of(*kernel);
    executed += c.executed;
    const double share = static_cast<double>(c.ran) / static_cast<double>(c.all);
    const std::string short_name = simt_runtime::function_name(reinterpret_cast<const void*>(kernel->run));
    const auto excuse = std::find_if(std::begin(excuses), std::end(excuses), [&](const Excuse& e) { return short_name.starts_with(e.kernel); });
    const bool excused = share < 0.95 && excuse != std::end(excuses);
    table << fmt::format("{}\t{}\t{}\t{}\t{:.1f}%\t{}\n", kernel->module->name, short_name, c.all, c.ran, 100 * share, excused ? excuse->reason : "");
    for (const auto& [line, count] : c.missed) table << fmt::format("\t\t{}\tnot run\t{}\n", count, line);
    EXPECT_GE(share, excused ? excuse->share : 0.95) << short_name << ": " << c.ran << " of " << c.all;
  }
  table << fmt::format("all\t\t{}\tinstructions of threads\n", executed);
}

}  // namespace
}  // namespace pastiche
