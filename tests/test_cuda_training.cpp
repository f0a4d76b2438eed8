// Whole trainings on a GPU; skipped by name where there is none.
#include "tiny_training.h"

namespace pastiche {
namespace {

class CudaTraining : public TinyTraining {
 protected:
  void SetUp() override {
    try {
      make_backend("cuda");
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

TEST_F(CudaTraining, LossesAreThoseOfTheCpu) {
  expect_losses_of_the_cpu("cuda", tiny(), f32_allowed_of_nvcc);
  expect_losses_of_the_cpu("cuda", tiny_bf16(), 1e-3);  // within half of bf16's unit roundoff
}

TEST_F(CudaTraining, PenaltiesHaveTheLossesOfTheCpu) {
  for (const char* loss : {"relativistic", "wgan"}) expect_losses_of_the_cpu("cuda", tiny_with_penalty(loss), f32_allowed_of_nvcc);
}

TEST_F(CudaTraining, TranslationsHaveTheLossesOfTheCpu) {
  for (const char* model : {"pix2pix", "cyclegan", "cut"}) expect_losses_of_the_cpu("cuda", tiny_translation(model), f32_allowed_of_nvcc);
}

}  // namespace
}  // namespace pastiche
