// The bound model's counts (bench/model.h) against what the instrumented kernels do.
#include <gtest/gtest.h>

#include <set>

#include "model.h"
#include "op_cases.h"
#include "simt/checked/checker.h"

namespace pastiche {

namespace simt_checked {
std::unique_ptr<Backend> make_cuda_backend(const KernelChoice&);
}

namespace {

using namespace bench;
using namespace simt_runtime;

using Product = std::function<void(Recorder&, DType)>;

Tensor make(Recorder& on, const Shape& shape, DType dtype) { return Tensor::empty(on, shape, dtype); }

// Eight slices and more, so that what comes before main loops is little beside them.
std::vector<Product> products() {
  std::vector<Product> all;
  const auto convolution = [&](const Shape& x, const Shape& w, const Conv& p) {
    const auto tensors = [=](Recorder& on, DType dtype) {
      return std::tuple{make(on, conv2d_shape(x, w, p), dtype), make(on, x, dtype), make(on, w, DType::f32)};
    };
    all.push_back([=](Recorder& on, DType dtype) {
      auto [y, from, weights] = tensors(on, dtype);
      on.conv2d(y, from, weights, p);
    });
    all.push_back([=](Recorder& on, DType dtype) {
      auto [dy, dx, weights] = tensors(on, dtype);
      on.conv2d_dgrad(dx, dy, weights, p);
    });
    all.push_back([=](Recorder& on, DType dtype) {
      auto [dy, from, dw] = tensors(on, dtype);
      on.conv2d_wgrad(dw, from, dy, p);
    });
  };
  convolution({1, 16, 16, 32}, {128, 3, 3, 32}, {.pad = 1});
  convolution({1, 32, 32, 32}, {128, 4, 4, 32}, {.stride = 2, .pad = 1});
  convolution({1, 16, 16, 32}, {128, 5, 5, 32}, {.pad = 2, .upsample = 2, .out = Phases::inner});
  convolution({1, 16, 16, 64}, {3, 5, 5, 64}, {.pad = 2});
  const Shape x{1, 16, 16, 64}, w{128, 3, 3, 64};
  for (const Conv& p : {Conv{.pad = 1}, Conv{.pad = 1, .upsample = 2, .out = Phases::outer}}) {
    all.push_back([=](Recorder& on, DType dtype) {
      Tensor y = make(on, conv2d_shape(x, w, p), dtype), mean = make(on, {w[0]}, DType::f32), var = make(on, {w[0]}, DType::f32);
      on.conv2d_norm_stats(y, mean, var, make(on, x, dtype), make(on, w, DType::f32), p, {.from = p.out});
    });
    all.push_back([=](Recorder& on, DType dtype) {
      Tensor y = make(on, conv2d_shape(x, w, p), dtype);
      on.conv2d_bias_act(y, make(on, x, dtype), make(on, w, DType::f32), make(on, {w[0]}, DType::f32), p, {});
    });
  }
  for (const Transpose a : {Transpose::no, Transpose::yes}) {
    for (const Transpose b : {Transpose::no, Transpose::yes}) {
      all.push_back([=](Recorder& on, DType dtype) {
        Tensor y = make(on, {128, 128}, dtype);
        on.gemm(y, make(on, a == Transpose::yes ? Shape{256, 128} : Shape{128, 256}, dtype),
                make(on, b == Transpose::yes ? Shape{128, 256} : Shape{256, 128}, dtype), {.a = a, .b = b});
      });
    }
  }
  return all;
}

class SimtModel : public testing::Test {
 protected:
  void TearDown() override { machine() = before_; }

 private:
  const Machine before_ = machine();
};

TEST_F(SimtModel, PeakRatesAreThoseOfTheClock) {
  for (const Gpu& gpu : gpus) {
    const double lanes = gpu.arch == 80 ? 64 : 128;  // for f32
    EXPECT_NEAR(2e-6 * lanes * gpu.multiprocessors * gpu.clock / gpu.f32, 1, 0.005) << gpu.name;
  }
}

// On a GPU of one multiprocessor tiles are large, on one of many they are small.
TEST_F(SimtModel, CountsWhatKernelsDo) {
  std::set<std::string> kernels;
  for (const int multiprocessors : {1, 1000}) {
    Gpu gpu = gpus[0];
    gpu.multiprocessors = multiprocessors;
    for (const Product& product : products()) {
      for (const Precision& precision : {Precision{"f32"}, Precision{"bf16"}, Precision{"tf32"}}) {
        Recorder recorder;
        product(recorder, precision.dtype());
        const Launch& launch = recorder.launches.front();
        const ModelledRow expected = modelled(gpu, launch, precision.tf32());
        kernels.insert(expected.kernel);

        machine().multiprocessors = multiprocessors;
        const auto backend = simt_checked::make_cuda_backend({.tf32 = precision.tf32()});
        const Program program(*backend, recorder, recorder.launches);
        clear_counters();
        program.run();
        float value = 0;
        Tensor::full(*backend, {1}, 0).copy_to_host(&value);  // all has run
        double wavefronts = 0, bytes = 0;
        for (const Counters& c : counters()) {
          if (c.kernel == expected.kernel) wavefronts += static_cast<double>(c.wavefronts);
          if (c.kernel != "fill_kernel") bytes += 32.0 * static_cast<double>(c.sectors);
        }
        const std::string what = launch.kernel + " " + launch.shapes + " by " + expected.kernel;
        // A slice is stored before the loop begins; on tensor cores, two.
        if (expected.kernel.find("_thin_") == std::string::npos) {
          EXPECT_GE(wavefronts, expected.work.wavefronts) << what;
          EXPECT_LE(wavefronts, (expected.work.hmma > 0 ? 1.26 : 1.06) * expected.work.wavefronts) << what;
        }
        // Padding is not read, and folded weights are more than once; single elements are read with the sector around them.
        const double l2_bytes = expected.work.l2_bytes + expected.work.pass_bytes;
        EXPECT_GE(bytes, 0.75 * l2_bytes) << what;
        const bool by_element = expected.kernel.starts_with("conv_") && expected.kernel.ends_with(", false>");
        EXPECT_LE(bytes, (by_element ? 4 : 1.45) * l2_bytes) << what;
      }
    }
  }
  EXPECT_GE(kernels.size(), 32u);
}

}  // namespace
}  // namespace pastiche
