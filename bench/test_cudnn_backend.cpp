// Rung 5, on a GPU alone: the whole op table on our kernels against the vendor's, and the gradients of its rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cudnn_backend.h"
#include "op_cases.h"
#include "pastiche/ops.h"

namespace pastiche::bench {
namespace {

using Results = std::vector<std::vector<double>>;

// What a row gives, and the gradients of <y, random> by its inputs.
Results results(Backend& backend, const OpCase& row, DType dtype, Fill fill) {
  Tape tape;
  std::vector<Var> vars, leaves;
  for (std::size_t i = 0; i < row.inputs.size(); ++i) {
    const bool leaf = row.differentiable && row.inputs[i].role != Role::statistic && row.inputs[i].values != Values::bytes;
    const Tensor x = make_input(backend, row, i, dtype, fill);
    vars.push_back(leaf ? tape.leaf(x) : Var(x));
    if (leaf) leaves.push_back(vars.back());
  }
  const Recording recording(row.differentiable ? &tape : nullptr);
  std::vector<Var> all = row.run({backend, dtype, vars});
  if (row.differentiable) {
    const Tensor cotangent = make_random(backend, all[0].shape(), all[0].dtype(), fill, 1);
    for (const Var& gradient : grad(all[0], leaves, {.cotangent = cotangent})) all.push_back(gradient);
  }
  Results values;
  for (const Var& each : all) values.push_back(host_values(each.value()));
  return values;
}

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return std::sqrt(sum);
}

// Of the worst result: relative to what its terms come to without cancellation. An element may be off by `floor` besides.
double difference(const Results& ours, const Results& theirs, const Results& magnitudes, double floor) {
  double worst = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    std::vector<double> error(ours[i].size());
    std::transform(ours[i].begin(), ours[i].end(), theirs[i].begin(), error.begin(),
                   [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)) ? 0 : a - b; });
    const double distance = norm(error) - floor * std::sqrt(static_cast<double>(error.size()));
    if (std::isnan(distance)) return distance;
    if (distance > 0) worst = std::max(worst, distance / std::max({norm(theirs[i]), norm(magnitudes[i]), 1e-6}));
  }
  return worst;
}

TEST(CudnnTable, CudaAgreesWithCudnn) {
  std::unique_ptr<Backend> cuda;
  try {
    cuda = make_backend("cuda");
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  CudnnBackend cudnn({.first_plan = true});
  for (const OpCase& row : op_cases()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && !row.bf16) continue;
      const double bound = dtype == DType::f32 ? 2e-5 : 2e-2;
      EXPECT_LE(difference(results(*cuda, row, dtype, Fill::reals), results(cudnn, row, dtype, Fill::reals),
                           results(*cuda, row, dtype, Fill::magnitudes), 2 * row.floor), bound)
          << row.name() << " " << dtype_name(dtype);
    }
  }
  RecordProperty("launches_without_a_kernel_of_the_vendor", static_cast<int>(cudnn.stand_ins()));
}

}  // namespace
}  // namespace pastiche::bench
