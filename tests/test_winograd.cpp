// Convolutions that the cpu backend computes by Winograd's algorithm. The op table says that they are right on small shapes;
// here, on shapes that it computes in several parts, that the parts leave no trace.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "backends/cpu/cpu.h"
#include "backends/cpu/vectorise.h"
#include "op_cases.h"

namespace pastiche {
namespace {

struct Geometry {
  const char* what;
  Shape x, w;
  Conv p;
};
const Geometry geometries[] = {
    {"several bands", {9, 20, 20, 64}, {64, 3, 3, 64}, {.pad = 1}},
    {"upsampling", {20, 7, 7, 64}, {48, 5, 5, 64}, {.pad = 2, .upsample = 2, .out = Phases::inner}},
    {"stride", {12, 27, 28, 64}, {64, 5, 5, 64}, {.stride = 2, .pad = 2}},
    {"several groups of outputs", {2, 5, 4, 512}, {512, 3, 3, 512}, {.pad = 1}},
};

struct Passes {
  Tensor y, dx, dw;
};
Passes run(const Geometry& g, const Tensor& x, const Tensor& w, const Tensor& dy) {
  Backend& backend = x.backend();
  Passes all{Tensor::empty(backend, dy.shape(), x.dtype()), Tensor::empty(backend, x.shape(), x.dtype()),
             Tensor::empty(backend, w.shape())};
  backend.conv2d(all.y, x, w, g.p);
  backend.conv2d_dgrad(all.dx, dy, w, g.p);
  backend.conv2d_wgrad(all.dw, x, dy, g.p);
  return all;
}

struct Inputs {
  Tensor x, w, dy;
};
Inputs make_inputs(Backend& backend, const Geometry& g, DType dtype = DType::f32) {
  const auto reals = [&](const Shape& shape, DType type, std::uint64_t key) {
    return make_random(backend, shape, type, Fill::reals, key);
  };
  return {reals(g.x, dtype, 1), reals(g.w, DType::f32, 2), reals(conv2d_shape(g.x, g.w, g.p), dtype, 3)};
}

double difference(const Tensor& a, const Tensor& b) {  // relative, in L2
  const std::vector<double> x = host_values(a), y = host_values(b);
  double error = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i) error += (x[i] - y[i]) * (x[i] - y[i]), size += y[i] * y[i];
  return std::sqrt(error / size);
}

// What conv_rules.h says decides the time and the last bits, and nothing else.
TEST(Winograd, AnyRuleGivesTheSame) {
  CpuBackend always(2, {.f32 = {1, 1, 1}, .f32_stride2 = {1, 1, 1}, .bf16 = {1, 1, 1}, .bf16_stride2 = {1, 1, 1}});
  CpuBackend never(2, {});
  EXPECT_NE(always.fingerprint(), never.fingerprint());
  for (const Geometry& g : geometries) {
    for (const auto& [dtype, bound] : {std::pair(DType::f32, 2e-5), std::pair(DType::bf16, 5e-3)}) {
      const auto run_on = [&, dtype = dtype](Backend& backend) {
        const Inputs in = make_inputs(backend, g, dtype);
        return run(g, in.x, in.w, in.dy);
      };
      const Passes a = run_on(always), b = run_on(never);
      const double differences[] = {difference(a.y, b.y), difference(a.dx, b.dx), difference(a.dw, b.dw)};
      EXPECT_LT(*std::ranges::max_element(differences), bound) << g.what << " " << dtype_name(dtype);
      const bool one_way = dtype == DType::bf16 && always.fingerprint().find("_amx") != std::string::npos;  // that of AMX, whatever the rules
      EXPECT_EQ(*std::ranges::min_element(differences) == 0, one_way) << g.what << " " << dtype_name(dtype);
    }
  }
}

Shape one(const Shape& all) { return {1, all[1], all[2], all[3]}; }

TEST(Winograd, SameBitsForAnyThreads) {
  for (const Geometry& g : geometries) {
    std::vector<std::vector<double>> first;
    for (const int threads : {1, 2, 3, 8}) {
      const auto backend = make_backend("cpu", threads);
      const Inputs in = make_inputs(*backend, g);
      const Passes all = run(g, in.x, in.w, in.dy);
      const std::vector<std::vector<double>> now{host_values(all.y), host_values(all.dx), host_values(all.dw)};
      if (first.empty()) first = now;
      EXPECT_TRUE(now == first) << g.what << ", " << threads << " threads";
    }
  }
}

TEST(Winograd, PicturesDoNotDependOnTheBatch) {
  const auto backend = make_backend("cpu", 2);
  for (const Geometry& g : geometries) {
    const Inputs in = make_inputs(*backend, g);
    const Passes all = run(g, in.x, in.w, in.dy);
    const std::vector<double> y = host_values(all.y), dx = host_values(all.dx), dw = host_values(all.dw);
    std::vector<double> sum(dw.size());
    const std::int64_t n = g.x[0], x_each = g.x.elements() / n, y_each = all.y.elements() / n;
    for (std::int64_t i = 0; i < n; ++i) {
      const Tensor x = Tensor::from_host(*backend, one(g.x), in.x.data<float>() + i * x_each);
      const Tensor dy = Tensor::from_host(*backend, one(in.dy.shape()), in.dy.data<float>() + i * y_each);
      const Passes alone = run(g, x, in.w, dy);
      EXPECT_TRUE(std::ranges::equal(host_values(alone.y), std::span(y).subspan(i * y_each, y_each))) << g.what << " " << i;
      EXPECT_TRUE(std::ranges::equal(host_values(alone.dx), std::span(dx).subspan(i * x_each, x_each))) << g.what << " " << i;
      const std::vector<double> part = host_values(alone.dw);
      for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += part[j];
    }
    double error = 0, size = 0;
    for (std::size_t j = 0; j < sum.size(); ++j) error += (dw[j] - sum[j]) * (dw[j] - sum[j]), size += sum[j] * sum[j];
    EXPECT_LT(std::sqrt(error / size), 2e-5) << g.what;
  }
}

// Weights that come again are kept in another order.
TEST(Winograd, KeptWeights) {
  const auto backend = make_backend("cpu", 2);
  for (const Geometry& g : geometries) {
    Inputs in = make_inputs(*backend, g);
    const std::vector<double> first = host_values(run(g, in.x, in.w, in.dy).y);
    for (int again = 0; again < 2; ++again) EXPECT_TRUE(host_values(run(g, in.x, in.w, in.dy).y) == first) << g.what;
    const std::vector<float> zeros(static_cast<std::size_t>(in.w.elements()));
    in.w.copy_from_host(zeros.data());
    const std::vector<double> changed = host_values(run(g, in.x, in.w, in.dy).y);
    EXPECT_TRUE(std::ranges::all_of(changed, [](double v) { return v == 0; })) << g.what;
  }
}

// A product within a parallel region starts threads of its own, and a region of one thread is one.
TEST(Winograd, LittleWorkStandsInNoParallelRegion) {
  int level = -1;
  cpu::for_items(2, 2, 1, [&](std::int64_t) { level = omp_get_level(); });
  EXPECT_EQ(level, 0);
  cpu::for_items(2, 2, cpu::serial_below, [&](std::int64_t i) { if (i == 0) level = omp_get_level(); });
  EXPECT_EQ(level, 1);
}

}  // namespace
}  // namespace pastiche
