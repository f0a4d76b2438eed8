#pragma once
// What ops use to refuse arguments: one line with the op's name, what was given and what was expected.
#include <fmt/format.h>

#include <string_view>

#include "pastiche/ops.h"

namespace pastiche {

template <class... Args>
void require(bool condition, std::string_view op, fmt::format_string<Args...> text, Args&&... args) {
  if (!condition) throw Error(ExitCode::bad_shape, fmt::format("{}: {}", op, fmt::format(text, std::forward<Args>(args)...)));
}

// Each op begins with this: every input holds something, and all live on one backend.
inline void require_inputs(std::string_view op, std::initializer_list<const Var*> inputs) {
  int number = 0;
  const Var* first = nullptr;
  for (const Var* input : inputs) {
    ++number;
    require(input->defined(), op, "input {} holds nothing", number);
    if (first == nullptr) first = input;
    require(&input->backend() == &first->backend(), op, "input {} is on another backend ({}) than input 1 ({}); copy it over by copy_to_host()", number,
            input->backend().name(), first->backend().name());
  }
}

inline void require_same_shape(std::string_view op, const Var& a, const Var& b) {
  require(a.shape() == b.shape() && a.dtype() == b.dtype(), op, "{} {} and {} {} are not the same shape and dtype",
          dtype_name(a.dtype()), a.shape().str(), dtype_name(b.dtype()), b.shape().str());
}

inline void require_rank(std::string_view op, std::string_view what, const Shape& shape, int rank) {
  require(shape.rank() == rank, op, "{} is {}, expected rank {}", what, shape.str(), rank);
}

// An axis counted from the front; -1 is the last.
inline int checked_axis(std::string_view op, int axis, int rank) {
  require(axis >= -rank && axis < rank, op, "axis {} of a tensor of rank {}", axis, rank);
  return axis < 0 ? axis + rank : axis;
}

// An unwritten tensor for a result of x's backend and dtype.
inline Tensor empty_like(const Var& x) { return Tensor::empty(x.backend(), x.shape(), x.dtype()); }
inline Tensor empty_as(const Var& x, const Shape& shape) { return Tensor::empty(x.backend(), shape, x.dtype()); }

// Parameters, statistics and losses are wider than bf16 activations.
inline DType parameter_dtype(DType activation) { return activation == DType::bf16 ? DType::f32 : activation; }

}  // namespace pastiche
