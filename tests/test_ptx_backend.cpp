// The backend whose kernels are what nvcc made: whole trainings, and launches that must not go anywhere else.
#include <gtest/gtest.h>

#include "ptx/include/cuda_runtime.h"
#include "tiny_training.h"

namespace pastiche {
namespace {

using PtxTraining = TinyTraining;

TEST_F(PtxTraining, PenaltiesHaveTheLossesOfTheCpu) { expect_losses_of_the_cpu("ptx", tiny_with_penalty("relativistic"), f32_allowed_of_nvcc); }
TEST_F(PtxTraining, LossesAreThoseOfTheCpu) { expect_losses_of_the_cpu("ptx", tiny(), f32_allowed_of_nvcc); }

TEST_F(PtxTraining, LossesInBf16AreThoseOfTheCpu) { expect_bf16_losses_of_the_cpu("ptx"); }

TEST_F(PtxTraining, LossesInTf32AreNearTheCpus) { expect_tf32_losses_near_the_cpus("ptx"); }

TEST_F(PtxTraining, TranslationsHaveTheLossesOfTheCpu) {
  for (const char* model : {"pix2pix", "cut"}) expect_losses_of_the_cpu("ptx", tiny_translation(model), f32_allowed_of_nvcc);
}

// A kernel that the host compiler did emit is not run in place of a translated one.
TEST(PtxLaunch, WhatIsNoTranslatedKernelDoesNotRun) {
  static bool ran = false;
  void (*const kernel)() = [] { ran = true; };
  EXPECT_EQ(simt_runtime::cudaLaunchKernel(kernel, 1, 1, nullptr), simt_runtime::cudaErrorNoKernelImageForDevice);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace pastiche
