// Every row of the op table, in five ways: each device against the reference, its gradients against the reference's,
// the reference's gradients against central differences, those of the gradients, and the table itself for gaps.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>

#include "backends/traced.h"
#include "op_cases.h"
#include "pastiche/rungs.h"
#include "sample.h"
#include "simt/engine.h"

namespace pastiche {
namespace {

// One of each for the whole program. Throws where the device is absent.
Backend& backend(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Backend>> all;
  std::unique_ptr<Backend>& made = all[name];
  if (!made) {
    made = make_tested_backend(name);
    made->poison_new_buffers(true);
  }
  return *made;
}

constexpr double bf16_bound = 1e-2;
constexpr double exact_op_real_bound = 2e-6;  // of sums of reals in another order
constexpr double tf32_bound = 1.0 / 512;      // of sums of products, when both factors are cut after 10 bits

// What a row is run on: inputs that can be differentiated by are leaves of the tape.
struct Execution {
  Execution(Backend& backend, const OpCase& row, DType dtype, Fill fill)
      : row(row), fill(fill), run{backend, dtype, {}} {
    for (std::size_t i = 0; i < row.inputs.size(); ++i) inputs.push_back(make_input(backend, row, i, dtype, fill));
  }

  bool is_leaf(std::size_t i) const {
    return row.differentiable && row.inputs[i].role != Role::statistic && row.inputs[i].values != Values::bytes;
  }

  Outputs forward() {
    tape.reset();
    vars.clear();
    leaves.clear();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      vars.push_back(is_leaf(i) && Tape::current() != nullptr ? tape.leaf(inputs[i]) : Var(inputs[i]));
      if (is_leaf(i)) leaves.push_back(vars.back());
    }
    run.inputs = vars;
    return row.run(run);
  }

  // The tensors of the leaves.
  std::vector<Tensor> leaf_inputs() const {
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (is_leaf(i)) all.push_back(inputs[i]);
    }
    return all;
  }

  // The gradients of <y, a random cotangent> by the leaves. With a graph, the cotangent is a leaf after them: the gradient of a linear op
  // depends on nothing else.
  std::vector<Var> gradients(CreateGraph create_graph) {
    const Recording recording(&tape);
    const Var y = forward()[0];
    if (!cotangent.defined()) cotangent = random_like(y, 1).value();
    const Var dy = create_graph == CreateGraph::yes ? tape.leaf(cotangent) : Var(cotangent);
    std::vector<Var> all = grad(y, leaves, {.create_graph = create_graph, .cotangent = dy});
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].shape() != leaves[i].shape() || all[i].dtype() != leaves[i].dtype())
        throw std::logic_error(fmt::format("gradient {} is {} {}, its input {} {}", i, dtype_name(all[i].dtype()),
                                           all[i].shape().str(), dtype_name(leaves[i].dtype()), leaves[i].shape().str()));
    }
    if (create_graph == CreateGraph::yes) leaves.push_back(dy);
    return all;
  }

  // The gradients of the sum of <gradient, random> over all gradients, by the leaves and by the cotangent.
  std::vector<Var> second_gradients() {
    const std::vector<Var> first = gradients(CreateGraph::yes);
    const Recording recording(&tape);
    std::vector<Var> total;
    for (std::size_t i = 0; i < first.size(); ++i) {
      const auto part = grad(first[i], leaves, {.cotangent = random_like(first[i], 2 + i)});
      for (std::size_t j = 0; j < part.size(); ++j) {
        if (i == 0) total.push_back(part[j]);
        else total[j] = add(detach(total[j]), detach(part[j]));
      }
    }
    return total;
  }

  Var random_like(const Var& y, std::uint64_t key) const {
    return make_random(run.backend, y.shape(), y.dtype(), fill, key);
  }

  const OpCase& row;
  const Fill fill;
  std::vector<Tensor> inputs;
  Tensor cotangent;
  Tape tape;
  std::vector<Var> vars, leaves;
  OpRun run;
};

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

struct Tolerance {
  double bound = 0;  // relative to the L2 norm of what is expected; 0 allows no difference but the sign of zero
  double floor = 0;  // absolute, an element
};

// Empty where `got` is near enough to `expected`. What it is relative to is the larger of `expected` and `magnitudes`,
// the results for the magnitudes of all inputs: a sum that happens to cancel can't be more exact than its terms.
std::string difference(const std::vector<double>& got, const std::vector<double>& expected,
                       const std::vector<double>& magnitudes, const Tolerance& tolerance) {
  std::vector<double> error(got.size());
  std::size_t differing = 0, first = got.size();
  for (std::size_t i = 0; i < got.size(); ++i) {
    error[i] = got[i] - expected[i];
    if (got[i] == expected[i]) continue;
    ++differing;
    first = std::min(first, i);
  }
  if (differing == 0) return "";
  const double distance = norm(error), size = std::max(norm(expected), norm(magnitudes));
  const double slack = tolerance.floor * std::sqrt(static_cast<double>(got.size()));
  if (tolerance.bound > 0 && distance <= tolerance.bound * size + slack) return "";
  return fmt::format("{} of {} differ, first [{}] {} instead of {}; relative L2 {:.2g}, bound {:.2g}", differing,
                     got.size(), first, got[first], expected[first], distance / size, tolerance.bound);
}

std::string difference(const std::vector<Var>& got, const std::vector<Var>& expected, const std::vector<Var>& magnitudes,
                       const Tolerance& tolerance) {
  if (got.size() != expected.size()) return fmt::format("{} results, expected {}", got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i].shape() != expected[i].shape() || got[i].dtype() != expected[i].dtype())
      return fmt::format("result {} is {} {}, expected {} {}", i, dtype_name(got[i].dtype()), got[i].shape().str(),
                         dtype_name(expected[i].dtype()), expected[i].shape().str());
    const std::string text = difference(host_values(got[i].value()), host_values(expected[i].value()),
                                        host_values(magnitudes[i].value()), tolerance);
    if (!text.empty()) return fmt::format("result {}: {}", i, text);
  }
  return "";
}

// Calls check(row) for each row of the op, or for one in so many (sample.h); what it returns, or throws, is a failure of that row.
template <class F> void each_row(const std::vector<OpCase>& rows, const std::string& op, F check, std::size_t one_in = core_one_in()) {
  std::size_t i = 0;
  for (const OpCase& row : rows) {
    if (row.op != op || !in_sample(op, i++, one_in)) continue;
    std::string text;
    try {
      text = check(row);
    } catch (const std::exception& e) {
      text = fmt::format("threw: {}", e.what());
    }
    if (!text.empty()) ADD_FAILURE() << row.name() << ": " << text;
  }
}

// (device, op)
class DeviceTable : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  const std::string& device() const { return std::get<0>(GetParam()); }
  const std::string& op() const { return std::get<1>(GetParam()); }

  // Where the processor runs the kernels of a GPU, the table takes minutes.
  std::size_t one_in() const { return device().starts_with("simt") || device().starts_with("ptx") ? 6 : core_one_in(); }

  void SetUp() override {
    try {
      backend(device());
    } catch (const Error& error) {
      if (!device().starts_with("cuda")) throw;
      GTEST_SKIP() << error.what();
    }
  }

  // Compares what compute(execution) gives on the device with what it gives on the reference, for every dtype and fill of each
  // row. `rounding` is how many times the bound of the row is allowed where results are not exact in f32.
  template <class Compute>
  void compare_with_reference(const std::vector<OpCase>& rows, double rounding, Compute compute) {
    each_row(rows, op(), [&](const OpCase& row) -> std::string {
      const auto compare = [&](DType dtype, Fill fill, const Tolerance& tolerance) -> std::string {
        const auto on = [&](const std::string& name, Fill values) {
          Execution e(backend(name), row, dtype, values);
          return compute(e);
        };
        const std::string text = difference(on(device(), fill), on("reference", fill),
                                            on("reference", fill == Fill::reals ? Fill::magnitudes : fill), tolerance);
        if (text.empty()) return "";
        return fmt::format("{}, {}: {}", dtype_name(dtype), fill == Fill::reals ? "reals" : "integers", text);
      };
      const KernelChoice kernels = kernels_of(device());
      for (const DType dtype : {DType::f32, DType::bf16}) {
        if (dtype == DType::bf16 && (!row.bf16 || kernels.tf32 || !rungs[kernels.conv2d.value_or(top_rung)].bf16)) continue;
        std::string text;
        if (row.exact(dtype)) text = compare(dtype, Fill::integers, {});
        if (!text.empty()) return text;
        const double f32_bound = rounding * (kernels.tf32 ? tf32_bound : row.bound > 0 ? row.bound : exact_op_real_bound);
        text = compare(dtype, Fill::reals, {.bound = dtype == DType::f32 ? f32_bound : bf16_bound, .floor = row.floor});
        if (!text.empty()) return text;
      }
      return "";
    }, &rows == &op_cases() ? one_in() : 1);
  }
};

TEST_P(DeviceTable, MatchesReference) {
  compare_with_reference(op_cases(), 1, [](Execution& e) { return e.forward(); });
}

// The gradient of an op is a few kernels, each of which rounds.
TEST_P(DeviceTable, GradientsMatchReference) {
  compare_with_reference(op_cases(), 3, [](Execution& e) {
    return e.row.differentiable ? e.gradients(CreateGraph::no) : std::vector<Var>();
  });
}

TEST_P(DeviceTable, SecondGradientsMatchReference) {
  each_row(op_cases(), op(), [this](const OpCase& row) -> std::string {
    if (!row.differentiable || !row.twice) return "";
    const auto on = [&](const std::string& name, Fill fill) {
      return Execution(backend(name), row, DType::f32, fill).second_gradients();
    };
    return difference(on(device(), Fill::reals), on("reference", Fill::reals), on("reference", Fill::magnitudes),
                      {.bound = kernels_of(device()).tf32 ? 3 * tf32_bound : 1e-5, .floor = row.floor});
  }, one_in());
}

// Rows of 9 large tiles, or of 196 for a GPU: where there are fewer than multiprocessors, as in the table, tiles are small.
std::vector<OpCase> large_rows(bool gpu) {
  const std::int64_t tiles = gpu ? 14 : 3, side = 128 * tiles;
  std::vector<OpCase> rows;
  for (const Transpose a : {Transpose::no, Transpose::yes}) {
    for (const Transpose b : {Transpose::no, Transpose::yes}) {
      const auto shape = [](std::int64_t r, std::int64_t c, Transpose t) { return t == Transpose::yes ? Shape{c, r} : Shape{r, c}; };
      rows.push_back({.op = "gemm", .inputs = {{shape(side, 40, a)}, {shape(40, side, b)}},
                      .run = [=](const OpRun& r) { return gemm(r[0], r[1], {.a = a, .b = b}); }, .differentiable = false});
    }
  }
  const std::int64_t pixels = side * tiles;
  rows.push_back({.op = "conv2d", .inputs = {{{1, pixels / 16, 16, 72}}, {{72, 1, 1, 72}, Values::any, Role::parameter}},
                  .run = [](const OpRun& r) { return conv2d(r[0], r[1], {}); }});
  return rows;
}

class LargeTiles : public DeviceTable {};

TEST_P(LargeTiles, MatchReference) {
  std::set<std::string> kernels;
  simt_runtime::watch_launches([&](const simt_runtime::LaunchSeen& launch) {
    kernels.insert(launch.kernel);
    return true;
  });
  const std::vector<OpCase> rows = large_rows(device().starts_with("cuda"));
  compare_with_reference(rows, 1, [](Execution& e) { return e.forward(); });
  compare_with_reference(rows, 3, [](Execution& e) { return e.row.differentiable ? e.gradients(CreateGraph::no) : std::vector<Var>(); });
  simt_runtime::watch_launches({});
  const auto took = [&](const std::string& name) {
    return std::count_if(kernels.begin(), kernels.end(), [&](const std::string& kernel) { return kernel.starts_with(name); });
  };
  if (!device().starts_with("simt")) return;  // only there launches are seen
  const bool tf32 = kernels_of(device()).tf32;
  if (op() == "gemm") {
    EXPECT_EQ(took("gemm_mma_kernel<MmaTile<BFloat16, 128"), tf32 ? 0 : 4);
    EXPECT_EQ(took("gemm_mma_kernel<MmaTile<float, 128"), tf32 ? 4 : 0);
    EXPECT_EQ(took("gemm_kernel<float, Tile<128"), tf32 ? 0 : 4);
  } else {
    EXPECT_EQ(took("conv_mma_kernel<MmaTile<BFloat16, 128"), tf32 ? 0 : 1);
    EXPECT_EQ(took("conv_mma_kernel<MmaTile<float, 128"), tf32 ? 1 : 0);
    EXPECT_EQ(took("conv_gather_kernel<float, Tile<128"), tf32 ? 0 : 1);
  }
}

using Results = std::vector<std::vector<double>>;

Results host_results(const std::vector<Var>& vars) {
  Results results;
  for (const Var& v : vars) results.push_back(host_values(v.value()));
  return results;
}

// Compares `analytic`, the derivatives of the sum of <results, weights> by `tensors`, with central differences at up to
// `samples` elements of each. evaluate() gives the results for what the tensors hold.
template <class Evaluate>
std::string check_derivatives(std::vector<Tensor> tensors, const std::vector<Var>& analytic, const Results& weights, std::size_t samples,
                              double bound, Evaluate evaluate) {
#ifdef __SANITIZE_ADDRESS__
  samples = std::min<std::size_t>(samples, 4);  // for what reads and writes where, few elements do
#endif
  constexpr double h = 1e-5;
  constexpr double floor = 1e-9;  // absolute, an element: what the rounding of f64 makes of a zero
  if (tensors.size() != analytic.size()) return fmt::format("{} derivatives by {} tensors", analytic.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::vector<double> exact = host_values(analytic[i].value());
    std::vector<double> x = host_values(tensors[i]), error, expected;
    const auto at = [&](std::size_t j, double value) {
      x[j] = value;
      tensors[i].copy_from_host(x.data());
      return evaluate();
    };
    const std::size_t stride = (x.size() + samples - 1) / samples | 1u;  // odd: not always the same channel
    for (std::size_t j = 0; j < x.size(); j += stride) {
      const double middle = x[j];
      const Results above = at(j, middle + h), below = at(j, middle - h);
      x[j] = middle;
      double slope = 0;
      for (std::size_t k = 0; k < weights.size(); ++k)
        for (std::size_t m = 0; m < weights[k].size(); ++m)
          slope += (above[k][m] - below[k][m]) * weights[k][m] / (2 * h);
      error.push_back(slope - exact[j]);
      expected.push_back(exact[j]);
    }
    tensors[i].copy_from_host(x.data());
    const double distance = norm(error), size = norm(expected);
    if (!(distance <= bound * size + floor * std::sqrt(static_cast<double>(error.size()))))
      return fmt::format("leaf {}: relative L2 {:.2g} from central differences, bound {:.2g}", i, distance / size, bound);
  }
  return "";
}

class ReferenceTable : public testing::TestWithParam<std::string> {};

TEST_P(ReferenceTable, GradientsMatchCentralDifferences) {
  each_row(op_cases(), GetParam(), [](const OpCase& row) -> std::string {
    if (!row.differentiable) return "";
    Execution e(backend("reference"), row, DType::f64, Fill::reals);
    const std::vector<Var> analytic = e.gradients(CreateGraph::no);
    const Var y = e.forward()[0];
    const Results cotangent = host_results({e.random_like(y, 1)});
    return check_derivatives(e.leaf_inputs(), analytic, cotangent, 48, 1e-7, [&] { return host_results(e.forward()); });
  });
}

TEST_P(ReferenceTable, SecondGradientsMatchCentralDifferences) {
  each_row(op_cases(), GetParam(), [](const OpCase& row) -> std::string {
    if (!row.differentiable || !row.twice) return "";
    Execution e(backend("reference"), row, DType::f64, Fill::reals);
    const std::vector<Var> analytic = e.second_gradients();
    std::vector<Tensor> tensors = e.leaf_inputs();
    Results weights;
    for (std::size_t k = 0; k < tensors.size(); ++k)
      weights.push_back(host_values(e.random_like(tensors[k], 2 + k).value()));
    tensors.push_back(e.cotangent);
    return check_derivatives(tensors, analytic, weights, 16, 1e-6, [&] { return host_results(e.gradients(CreateGraph::no)); });
  });
}

std::vector<std::string> ops_of_table() {
  std::set<std::string> names;
  for (const OpCase& row : op_cases()) names.insert(row.op);
  return {names.begin(), names.end()};
}

const auto op_of = [](const auto& info) { return std::get<1>(info.param); };
const auto devices = [](const char* name) { return testing::Combine(testing::Values(name), testing::ValuesIn(ops_of_table())); };
INSTANTIATE_TEST_SUITE_P(All, ReferenceTable, testing::ValuesIn(ops_of_table()), [](const auto& info) { return info.param; });
INSTANTIATE_TEST_SUITE_P(Cpu, DeviceTable, devices("cpu"), op_of);
INSTANTIATE_TEST_SUITE_P(Simt, DeviceTable, devices("simt"), op_of);

// The ladder: every rung below the highest, of what it is for and what calls that.
const auto on_rungs = [](const std::string& device) {
  std::vector<std::string> names;
  for (int rung = 0; rung < top_rung; ++rung) names.push_back(fmt::format("{} conv2d={},gemm={}", device, rung, rung));
  return testing::Combine(testing::ValuesIn(names), testing::Values("conv2d", "conv_transpose2d", "gemm", "linear"));
};
const auto rung_of = [](const auto& info) { return fmt::format("{}_{}", std::get<1>(info.param), std::get<0>(info.param).back()); };
INSTANTIATE_TEST_SUITE_P(SimtRungs, DeviceTable, on_rungs("simt"), rung_of);

// What multiplies, in TF32: exact on integers, which it holds.
const auto in_tf32 = [](const char* device) {
  return testing::Combine(testing::Values(device), testing::Values("conv2d", "conv2d_batch_stats", "conv2d_bias_act", "conv_transpose2d",
                                                                   "gemm", "linear"));
};
INSTANTIATE_TEST_SUITE_P(SimtTf32, DeviceTable, in_tf32("simt tf32"), op_of);

const auto with_large_tiles = [](const std::string& device) {
  return testing::Combine(testing::Values(device, device + " tf32"), testing::Values("conv2d", "gemm"));
};
const auto in_words = [](const auto& info) {
  return std::get<1>(info.param) + (kernels_of(std::get<0>(info.param)).tf32 ? "_tf32" : "");
};
INSTANTIATE_TEST_SUITE_P(Simt, LargeTiles, with_large_tiles("simt"), in_words);
#ifdef PASTICHE_CUDA
INSTANTIATE_TEST_SUITE_P(CudaRungs, DeviceTable, on_rungs("cuda"), rung_of);
INSTANTIATE_TEST_SUITE_P(PtxRungs, DeviceTable, on_rungs("ptx"), rung_of);
INSTANTIATE_TEST_SUITE_P(CudaTf32, DeviceTable, in_tf32("cuda tf32"), op_of);
INSTANTIATE_TEST_SUITE_P(PtxTf32, DeviceTable, in_tf32("ptx tf32"), op_of);
INSTANTIATE_TEST_SUITE_P(Cuda, LargeTiles, with_large_tiles("cuda"), in_words);
INSTANTIATE_TEST_SUITE_P(Cuda, DeviceTable, devices("cuda"), op_of);
INSTANTIATE_TEST_SUITE_P(Ptx, DeviceTable, devices("ptx"), op_of);
#endif

TEST(OpTableItself, EveryOpHasTwentyRows) {
  std::map<std::string, int> rows;
  for (const OpCase& row : op_cases()) ++rows[row.op];
  for (const auto& [op, count] : rows) EXPECT_GE(count, 20) << op;

  std::ifstream file(PASTICHE_TEST_DIR "/../include/pastiche/ops.h");
  ASSERT_TRUE(file);
  int declared = 0;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Var ") && !line.starts_with("NormStats ") && !line.starts_with("ConvStats ")) continue;
    const std::size_t begin = line.find(' ') + 1;
    const std::string op = line.substr(begin, line.find('(') - begin);
    ++declared;
    EXPECT_TRUE(rows.contains(op)) << op << " of ops.h has no row";
  }
  EXPECT_GT(declared, 30) << "ops.h was not understood";
}

// Every op is differentiated twice, but for those here, which give what is constant to a tape: no output of theirs depends on a leaf.
TEST(OpTableItself, EveryOpIsDifferentiatedTwiceOrSaysWhyNot) {
  const std::map<std::string, const char*> constant{
      {"adam_ema", "a step of training, in place"},
      {"batch_stats", "norm_act, which takes the statistics, has the derivative through them"},
      {"dequantize", "of bytes"},
      {"ema", "averages weights, in place"},
      {"fill", "of no tensor"},
      {"find_nonfinite", "writes to the step's state"},
      {"group_stats", "as batch_stats"},
      {"quantize", "to bytes"},
      {"random_normal", "of no tensor"},
      {"store_metric", "writes to the step's state"},
      {"update_running_stats", "a step of training, in place"},
  };
  for (const std::string& op : ops_of_table()) {
    int twice = 0, tracked = 0;
    for (const OpCase& row : op_cases()) {
      if (row.op != op) continue;
      twice += row.differentiable && row.twice;
      if (!constant.contains(op)) continue;
      EXPECT_FALSE(row.differentiable) << row.name();
      Execution e(backend("reference"), row, DType::f32, Fill::reals);
      const Recording recording(&e.tape);
      for (const Tensor& input : e.inputs) e.vars.push_back(e.tape.leaf(input));
      e.run.inputs = e.vars;
      for (const Var& y : row.run(e.run)) tracked += y.tracked();
    }
    if (constant.contains(op)) EXPECT_EQ(tracked, 0) << op << " has derivatives";
    else EXPECT_GE(twice, 3) << op;
  }
  for (const auto& [op, why] : constant) {
    const std::vector<std::string> ops = ops_of_table();
    EXPECT_EQ(std::count(ops.begin(), ops.end(), op), 1) << op << " is not in the table";
  }
}

TEST(OpTableItself, RowsHaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const OpCase& row : op_cases())
    EXPECT_TRUE(names.insert(row.name()).second) << row.name() << " stands there twice";
}

TEST(OpTableItself, EveryKernelIsLaunched) {
  TracedBackend traced(make_backend("cpu"));
  for (const OpCase& row : op_cases()) {
    Execution e(traced, row, DType::f32, Fill::reals);
    e.forward();
    if (row.differentiable) e.gradients(CreateGraph::no);
  }
  static constexpr const char* kernels[] = {
#define PASTICHE_KERNEL(name, parameters, arguments) #name,
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL
  };
  for (const char* kernel : kernels) EXPECT_GT(traced.calls(kernel), 0) << kernel << " was not launched";
}

// A result of zeros proves little.
TEST(OpTableItself, ExactRowsAreNotMostlyZero) {
  for (const OpCase& row : op_cases()) {
    if (row.bound > 0 || row.many_zeros) continue;
    Execution e(backend("reference"), row, DType::f32, Fill::integers);
    std::size_t zeros = 0, all = 0;
    for (const Var& y : e.forward()) {
      const std::vector<double> values = host_values(y.value());
      zeros += static_cast<std::size_t>(std::count(values.begin(), values.end(), 0.0));
      all += values.size();
    }
    EXPECT_TRUE(all < 16 ? zeros < all : zeros * 10 <= all * 3) << row.name() << ": " << zeros << " zeros of " << all;
  }
}

}  // namespace
}  // namespace pastiche
