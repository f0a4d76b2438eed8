// A backend in a program that uses OpenMP itself, and sets it up otherwise.
#include <gtest/gtest.h>
#include <omp.h>

#include <string>
#include <vector>

#include "pastiche/backend.h"
#include "refusal.h"

namespace pastiche {
namespace {

// A product that oneDNN computes with all threads.
std::vector<float> product(Backend& backend) {
  constexpr std::int64_t n = 256;
  Tensor a = Tensor::empty(backend, {n, n}), y = Tensor::empty(backend, {n, n});
  std::vector<float> values(static_cast<std::size_t>(n * n));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7);
  a.copy_from_host(values.data());
  backend.gemm(y, a, a, {});
  y.copy_to_host(values.data());
  return values;
}

int threads_of(const Backend& backend) {
  const std::string fingerprint = backend.fingerprint();
  return std::stoi(fingerprint.substr(fingerprint.find("threads ") + 8));
}

TEST(OpenMp, ABackendGetsTheTeamThatItPlannedAndLeavesTheSettingsAlone) {
  const std::vector<float> expected = product(*make_backend("cpu", 3));
  omp_set_dynamic(1);
  omp_set_num_threads(1);
  for (const int levels : {0, 1, 4}) {
    omp_set_max_active_levels(levels);
    const auto backend = make_backend("cpu", 3);
    EXPECT_EQ(threads_of(*backend), 3);
    EXPECT_EQ(product(*backend), expected);
    EXPECT_EQ(omp_get_max_active_levels(), levels);
    EXPECT_EQ(omp_get_dynamic(), 1);
    EXPECT_EQ(omp_get_max_threads(), 1);
  }
  omp_set_dynamic(0);
  omp_set_max_active_levels(1);
  omp_set_num_threads(omp_get_num_procs());
}

// There a team has one thread, whatever was planned.
TEST(OpenMp, InAParallelRegionABackendHasOneThreadOrRefuses) {
  const auto outside = make_backend("cpu", 2);
  const std::vector<float> expected = product(*make_backend("cpu", 1));
  std::string message;
  int threads = 0;
  std::vector<float> values;
#pragma omp parallel num_threads(2)
#pragma omp single
  {
    message = refusal(ExitCode::failed, [&] { product(*outside); });
    const auto inside = make_backend("cpu", 2);
    threads = threads_of(*inside);
    values = product(*inside);
  }
  EXPECT_NE(message.find("parallel region"), message.npos);
  EXPECT_EQ(threads, 1);
  EXPECT_EQ(values, expected);
}

}  // namespace
}  // namespace pastiche
