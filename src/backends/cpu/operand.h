#pragma once
// Tensors in the dtype that a primitive computes in: themselves where they have it, converted copies elsewhere.
#include <optional>

#include "backends/cpu/vectorise.h"

namespace pastiche::cpu {

template <class To, class From> void convert(int threads, To* to, const From* from, std::int64_t n) {
  for_elements(threads, n, [=](std::int64_t i) { store(to, i, load(from, i)); });
}

// Copies are made in f32: every bf16 is one, so widening an operand changes no result.
class Operand {
 public:
  Operand(Backend& memory, int threads, const Tensor& x, DType dtype) : data_(x.raw()) {
    with_float(x, [&]<class T>(T) {
      if (x.dtype() == dtype) return;
      convert(threads, copy_.emplace(memory, x.elements()).get(), x.data<T>(), x.elements());
      data_ = copy_->get();
    });
  }
  const void* data() const { return data_; }

 private:
  const void* data_;
  std::optional<Scratch<float>> copy_;
};

class Result {
 public:
  Result(Backend& memory, int threads, Tensor& y, DType dtype) : y_(y), threads_(threads) {
    if (y.dtype() != dtype) copy_.emplace(memory, y.elements());
  }
  void* data() { return copy_ ? copy_->get() : y_.mutable_raw(); }
  void finish() {
    if (!copy_) return;
    with_float(y_, [&]<class T>(T) { convert(threads_, y_.mutable_data<T>(), copy_->get(), y_.elements()); });
  }

 private:
  Tensor& y_;
  int threads_;
  std::optional<Scratch<float>> copy_;
};

}  // namespace pastiche::cpu
