// What sample_pixels draws: pixels of their strata, none twice, others at every step.
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "op_cases.h"

namespace pastiche {
namespace {

class SamplePixelsTest : public testing::Test {
 protected:
  // Pictures of one channel, whose pixels hold their own number.
  Var numbered(std::int64_t n, std::int64_t h, std::int64_t w) {
    std::vector<float> values(static_cast<std::size_t>(n * h * w));
    std::iota(values.begin(), values.end(), 0.0f);
    return Tensor::from_host(*backend_, {n, h, w, 1}, values.data());
  }
  std::vector<double> drawn(const Var& x, const SamplePixels& p, std::int64_t step) {
    write_step_state(state_, {.step = step});
    return host_values(sample_pixels(x, p, state_).value());
  }

  const std::unique_ptr<Backend> backend_ = make_backend("simt");
  Tensor state_ = make_step_state(*backend_);
};

TEST_F(SamplePixelsTest, DrawsOneOfEachStratum) {
  const std::int64_t n = 3, pixels = 13 * 17;
  const Var x = numbered(n, 13, 17);
  for (const std::int64_t count : {1, 7, 100, 220, 221}) {
    for (std::int64_t step = 0; step < 20; ++step) {
      const std::vector<double> all = drawn(x, {.count = count, .key = {.seed = 3}}, step);
      ASSERT_EQ(std::ssize(all), n * count);
      for (std::int64_t i = 0; i < n * count; ++i) {
        const double pixel = all[static_cast<std::size_t>(i)] - static_cast<double>(i / count * pixels);
        const std::int64_t s = i % count;
        EXPECT_GE(pixel, static_cast<double>(s * pixels / count)) << count << " " << step << " " << i;
        EXPECT_LT(pixel, static_cast<double>((s + 1) * pixels / count)) << count << " " << step << " " << i;
      }
      EXPECT_EQ(std::set(all.begin(), all.end()).size(), all.size()) << count << " " << step;
    }
  }
}

TEST_F(SamplePixelsTest, DrawsEveryPixelSometimes) {
  const Var x = numbered(1, 2, 6);
  std::set<double> seen;
  for (std::int64_t step = 0; step < 100; ++step) {
    for (const double pixel : drawn(x, {.count = 2, .key = {}}, step)) seen.insert(pixel);
  }
  EXPECT_EQ(seen.size(), 12u);
}

TEST_F(SamplePixelsTest, DrawsByKeyStepAndPicture) {
  const Var x = numbered(2, 20, 20);
  const SamplePixels p{.count = 16, .key = {.seed = 1, .stream = 2}};
  const std::vector<double> first = drawn(x, p, 5);
  EXPECT_EQ(drawn(x, p, 5), first);
  EXPECT_NE(drawn(x, p, 6), first);
  EXPECT_NE(drawn(x, {.count = 16, .key = {.seed = 2, .stream = 2}}, 5), first);
  EXPECT_NE(drawn(x, {.count = 16, .key = {.seed = 1, .stream = 3}}, 5), first);
  std::vector<double> second_picture(first.begin() + 16, first.end());
  for (double& pixel : second_picture) pixel -= 400;
  EXPECT_NE(second_picture, std::vector<double>(first.begin(), first.begin() + 16));
}

// A recorded step reads the counter from memory.
TEST_F(SamplePixelsTest, AReplayDrawsAnew) {
  const Var x = numbered(2, 9, 11);
  const SamplePixels p{.count = 8, .key = {.seed = 4}};
  Tensor y = Tensor::empty(*backend_, {2, 8, 1}), dx = Tensor::empty(*backend_, x.shape());
  const auto replay = backend_->record([&] {
    backend_->sample_pixels(y, x.value(), p, state_);
    backend_->sample_pixels_grad(dx, y, p, state_);
  });
  for (std::int64_t step = 1; step <= 3; ++step) {
    const std::vector<double> expected = drawn(x, p, step);
    replay->run();
    EXPECT_EQ(host_values(y), expected) << step;
    EXPECT_EQ(host_values(dx), host_values(sample_pixels_grad(y, p, state_, x.shape()).value())) << step;
  }
}

}  // namespace
}  // namespace pastiche
