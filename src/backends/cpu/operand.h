#pragma once
// What a primitive reads and writes: values in the dtype that it computes in, which are a tensor's own where it has that
// dtype, and a converted copy elsewhere.
#include <optional>

#include "backends/cpu/vectorise.h"

namespace pastiche::cpu {

// A tensor, or one of several equal parts of it along its first axis.
struct Source {
  Source(const Tensor& x) : data(x.raw()), dtype(x.dtype()), count(x.elements()) {}  // NOLINT: a tensor is its own view
  Source(const Tensor& x, std::int64_t part, std::int64_t parts) : Source(x) {
    count /= parts;
    data = static_cast<const char*>(data) + part * count * static_cast<std::int64_t>(dtype_bytes(dtype));
  }
  const void* data;
  DType dtype;
  std::int64_t count;
};
struct Target {
  Target(Tensor& y) : data(y.mutable_raw()), dtype(y.dtype()), count(y.elements()) {}  // NOLINT: likewise
  Target(Tensor& y, std::int64_t part, std::int64_t parts) : Target(y) {
    count /= parts;
    data = static_cast<char*>(data) + part * count * static_cast<std::int64_t>(dtype_bytes(dtype));
  }
  void* data;
  DType dtype;
  std::int64_t count;
};

template <class To, class From> void convert(int threads, To* to, const From* from, std::int64_t n) {
  for_elements(threads, n, [=](std::int64_t i) { store(to, i, load(from, i)); });
}

// Copies are made in f32: every bf16 is one, so widening an operand changes no result.
class Operand {
 public:
  Operand(Backend& memory, int threads, const Source& x, DType dtype) : data_(x.data) {
    with_float(x.dtype, [&]<class T>(T) {
      if (x.dtype == dtype) return;
      convert(threads, copy_.emplace(memory, x.count).get(), static_cast<const T*>(x.data), x.count);
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
  Result(Backend& memory, int threads, const Target& y, DType dtype) : y_(y), threads_(threads) {
    if (y.dtype != dtype) copy_.emplace(memory, y.count);
  }
  void* data() { return copy_ ? copy_->get() : y_.data; }
  void finish() {
    if (!copy_) return;
    with_float(y_.dtype, [&]<class T>(T) { convert(threads_, static_cast<T*>(y_.data), copy_->get(), y_.count); });
  }

 private:
  Target y_;
  int threads_;
  std::optional<Scratch<float>> copy_;
};

}  // namespace pastiche::cpu
