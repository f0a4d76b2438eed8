// DiffAugment beyond the op table: what each of its parts does to a picture, and when it draws anew.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "op_cases.h"
#include "pastiche/nn.h"

namespace pastiche {
namespace {

constexpr DiffAugment nothing{.key = {}, .brightness = false, .saturation = false, .contrast = false, .translation = false, .cutout = false};

class Augment : public testing::Test {
 protected:
  std::vector<double> run(const Shape& shape, const DiffAugment& p, std::int64_t step = 1) {
    const Var x = make_random(*backend_, shape, DType::f64, Fill::reals, 1);
    return host_values(diff_augment(x, p, state_at(*backend_, step)).value());
  }
  std::vector<double> input(const Shape& shape) { return host_values(make_random(*backend_, shape, DType::f64, Fill::reals, 1)); }

  std::unique_ptr<Backend> backend_ = make_backend("reference");
};

TEST_F(Augment, DrawsAnewForEachStepCallAndPicture) {
  const Shape shape{2, 16, 16, 3};
  const auto call = [](std::uint32_t number) { return DiffAugment{.key = {7, streams::augment + number}}; };
  const std::vector<double> real = run(shape, call(0));
  EXPECT_EQ(real, run(shape, call(0)));
  EXPECT_NE(real, run(shape, call(1)));  // the pass of the fakes
  EXPECT_NE(real, run(shape, call(0), 2));
  EXPECT_NE(real, run(shape, {.key = {8, streams::augment}}));

  DiffAugment brightness = nothing;
  brightness.brightness = true;
  std::set<double> added;
  const std::vector<double> x = input({64, 1, 1, 1}), y = run({64, 1, 1, 1}, brightness);
  for (std::size_t n = 0; n < x.size(); ++n) added.insert(y[n] - x[n]);
  EXPECT_EQ(added.size(), 64u);
}

TEST_F(Augment, BrightnessAddsToAllOfAPicture) {
  DiffAugment p = nothing;
  p.brightness = true;
  const Shape shape{32, 3, 5, 3};
  const std::vector<double> x = input(shape), y = run(shape, p);
  double least = 1, most = -1;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double added = y[i] - x[i];
    EXPECT_NEAR(added, y[i / 45 * 45] - x[i / 45 * 45], 1e-12);
    least = std::min(least, added), most = std::max(most, added);
  }
  EXPECT_GT(least, -0.5);
  EXPECT_LT(least, -0.3);
  EXPECT_GT(most, 0.3);
  EXPECT_LT(most, 0.5);
}

TEST_F(Augment, SaturationScalesWhatAPixelHasBesidesItsMean) {
  DiffAugment p = nothing;
  p.saturation = true;
  EXPECT_EQ(run({3, 4, 4, 1}, p), input({3, 4, 4, 1}));
  const Shape shape{8, 4, 4, 3};
  const std::vector<double> x = input(shape), y = run(shape, p);
  double least = 2, most = 0;
  for (std::size_t i = 0; i < x.size(); i += 3) {
    EXPECT_NEAR(y[i] + y[i + 1] + y[i + 2], x[i] + x[i + 1] + x[i + 2], 1e-12);
    const double scale = (y[i] - y[i + 1]) / (x[i] - x[i + 1]);
    EXPECT_NEAR(y[i + 1] - y[i + 2], scale * (x[i + 1] - x[i + 2]), 1e-9);
    least = std::min(least, scale), most = std::max(most, scale);
  }
  EXPECT_GT(least, 0);
  EXPECT_LT(most, 2);
  EXPECT_GT(most - least, 0.5);
}

TEST_F(Augment, ContrastScalesWhatAPictureHasBesidesItsMean) {
  DiffAugment p = nothing;
  p.contrast = true;
  const Shape shape{32, 4, 5, 2};
  const std::vector<double> x = input(shape), y = run(shape, p);
  double least = 2, most = 0;
  for (std::size_t first = 0; first < x.size(); first += 40) {
    double sum_x = 0, sum_y = 0;
    for (std::size_t i = first; i < first + 40; ++i) sum_x += x[i], sum_y += y[i];
    EXPECT_NEAR(sum_x, sum_y, 1e-9);
    const double scale = (y[first] - y[first + 1]) / (x[first] - x[first + 1]);
    for (std::size_t i = first; i < first + 40; ++i) EXPECT_NEAR(y[i] - y[first], scale * (x[i] - x[first]), 1e-9);
    least = std::min(least, scale), most = std::max(most, scale);
  }
  EXPECT_GT(least, 0.5);
  EXPECT_LT(least, 0.7);
  EXPECT_GT(most, 1.3);
  EXPECT_LT(most, 1.5);
}

// Each picture is another one, moved by up to an eighth of its sides; all moves occur.
TEST_F(Augment, TranslationMovesPicturesWithinAnEighth) {
  DiffAugment p = nothing;
  p.translation = true;
  const std::int64_t batch = 400, height = 16, width = 9;
  const std::vector<double> x = input({batch, height, width, 1}), y = run({batch, height, width, 1}, p);
  std::set<std::pair<std::int64_t, std::int64_t>> moves;
  for (std::int64_t n = 0; n < batch; ++n) {
    const auto moved = [&](std::int64_t down, std::int64_t right) {
      for (std::int64_t h = 0; h < height; ++h)
        for (std::int64_t w = 0; w < width; ++w) {
          const bool inside = h + down >= 0 && h + down < height && w + right >= 0 && w + right < width;
          const double expected = inside ? x[static_cast<std::size_t>((n * height + h + down) * width + w + right)] : 0;
          if (y[static_cast<std::size_t>((n * height + h) * width + w)] != expected) return false;
        }
      return true;
    };
    std::size_t fitting = 0;
    for (std::int64_t down = -2; down <= 2; ++down)
      for (std::int64_t right = -1; right <= 1; ++right)
        if (moved(down, right)) moves.insert({down, right}), ++fitting;
    EXPECT_EQ(fitting, 1u) << n;
  }
  EXPECT_EQ(moves.size(), 15u);
}

// The hole is half as high and wide as the picture, and cut off at its sides; all places occur.
TEST_F(Augment, CutoutMakesAHoleOfHalfOfEachSide) {
  DiffAugment p = nothing;
  p.cutout = true;
  const std::int64_t batch = 600, height = 8, width = 6;
  const std::vector<double> y = run({batch, height, width, 1}, p);
  std::set<std::pair<std::int64_t, std::int64_t>> holes;
  for (std::int64_t n = 0; n < batch; ++n) {
    const auto zero = [&](std::int64_t h, std::int64_t w) { return y[static_cast<std::size_t>((n * height + h) * width + w)] == 0; };
    std::size_t fitting = 0;
    for (std::int64_t top = -2; top <= 6; ++top)
      for (std::int64_t left = -1; left <= 4; ++left) {
        bool fits = true;
        for (std::int64_t h = 0; h < height; ++h)
          for (std::int64_t w = 0; w < width; ++w) fits = fits && zero(h, w) == (h >= top && h < top + 4 && w >= left && w < left + 3);
        if (fits) holes.insert({top, left}), ++fitting;
      }
    EXPECT_EQ(fitting, 1u) << n;
  }
  EXPECT_EQ(holes.size(), 54u);
}

}  // namespace
}  // namespace pastiche
