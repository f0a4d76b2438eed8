// The tests of src/simt's instrumented form (test_simt_checked.cpp, test_simt_kernels.cpp) are in this program too, where what they look
// at is the checked form of what nvcc made.
#include <gtest/gtest.h>

#include "pastiche/backend.h"
#include "ptx/kernel.h"

namespace pastiche {

namespace simt_runtime {
Observer* checker();
}
namespace simt_checked {
std::unique_ptr<Backend> make_cuda_backend(const KernelChoice& kernels) { return make_backend("ptx", 0, kernels); }
}  // namespace simt_checked

namespace {

class FormOfTests : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& test) override {
    if (std::string(test.file()).find("test_simt_") != std::string::npos) ptx_runtime::use_checked_form(simt_runtime::checker());
    else ptx_runtime::use_plain_form();
  }
};

const bool listening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new FormOfTests);
  return true;
}();

}  // namespace
}  // namespace pastiche
