#include "backends/cpu/cpu.h"
#include "backends/cpu/onednn.h"
#include "backends/cpu/operand.h"

namespace pastiche {

using namespace cpu;

void CpuBackend::gemm(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) {
  const OneDnn::Use use(*dnn_);
  // Operands of two dtypes are computed in f32: narrowing a weight would round it.
  const DType dtype = dnn_->compute_dtype(a, b);
  const DType result = dtype == DType::f32 ? DType::f32 : y.dtype();
  const std::int64_t k = a.shape()[p.a == Transpose::yes ? 0 : 1];
  const Operand left(*this, threads_, a, dtype), right(*this, threads_, b, dtype);
  Result out(*this, threads_, y, result);
  dnn_->gemm({.dtype = dtype, .result = result, .ta = p.a, .tb = p.b, .m = y.shape()[0], .n = y.shape()[1], .k = k},
             left.data(), right.data(), out.data());
  out.finish();
}

}  // namespace pastiche
