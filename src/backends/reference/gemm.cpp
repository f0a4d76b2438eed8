#include "backends/reference/array.h"
#include "backends/reference/reference.h"

namespace pastiche {

using namespace reference;

namespace {

Array load_operand(const Tensor& x, Transpose transpose) {
  const Array as_stored = load(x);
  if (transpose == Transpose::no) return as_stored;
  const std::int64_t rows = x.shape()[0], columns = x.shape()[1];
  Array y({columns, rows});
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) y[j * rows + i] = as_stored[i * columns + j];
  return y;
}

}  // namespace

void ReferenceBackend::gemm(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) {
  const Array left = load_operand(a, p.a), right = load_operand(b, p.b);  // [M,K], [K,N]
  const std::int64_t rows = left.shape[0], inner = left.shape[1], columns = right.shape[1];
  Array out(y.shape());
  for (std::int64_t m = 0; m < rows; ++m)
    for (std::int64_t k = 0; k < inner; ++k)
      for (std::int64_t n = 0; n < columns; ++n) out[m * columns + n] += left[m * inner + k] * right[k * columns + n];
  store(y, out);
}

}  // namespace pastiche
