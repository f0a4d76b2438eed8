#pragma once
// Shapes, data types and tensors. A tensor is a contiguous array in the memory of one backend; pictures are [N,H,W,C].
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pastiche/error.h"

namespace pastiche {

class Backend;

// Activations are f32 or bf16; parameters, statistics and losses are f32. f64 exists on the reference backend only.
// u8 holds pictures, i32 labels and indices.
enum class DType : std::uint8_t { f32, bf16, f64, u8, i32 };

std::string_view dtype_name(DType);
std::size_t dtype_bytes(DType);
DType dtype_from_name(std::string_view name);  // Error(bad_file) for a name that is none of ours

// The upper half of an IEEE float32.
struct BFloat16 {
  std::uint16_t bits;
};

template <class T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<double> { static constexpr DType value = DType::f64; };
template <> struct DTypeOf<BFloat16> { static constexpr DType value = DType::bf16; };
template <> struct DTypeOf<std::uint8_t> { static constexpr DType value = DType::u8; };
template <> struct DTypeOf<std::int32_t> { static constexpr DType value = DType::i32; };

// Up to four extents, outermost first. Rank 0 is a scalar of one element.
class Shape {
 public:
  static constexpr int max_rank = 4;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[axis < 0 ? axis + rank_ : axis]; }  // -1 is the last axis
  std::int64_t elements() const;
  std::int64_t last() const { return rank_ == 0 ? 1 : extents_[rank_ - 1]; }
  std::int64_t rows() const { return elements() / last(); }  // elements per channel; the last extent is not 0
  Shape with(int axis, std::int64_t extent) const;
  Shape without(int axis) const;
  Shape inserted(int axis, std::int64_t extent) const;  // a new axis before `axis`
  std::string str() const;  // "[2,28,28,1]"
  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, max_rank> extents_{};
  int rank_ = 0;
};

// Memory of one backend, returned to its pool with the last tensor that shares it.
struct Buffer {
  Buffer(Backend& backend, std::size_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Backend& backend;
  void* data;
  std::size_t bytes;
  std::uint64_t version = 0;  // every write moves it: a value saved for backward can tell that it was overwritten
  std::uint64_t id;           // never reused in a process, so that a cache can key on (id, version)
  std::string name;           // for messages; empty for what has no name
};

// A handle: copying one shares the buffer. There are no strides and no offsets.
class Tensor {
 public:
  Tensor() = default;
  static Tensor empty(Backend&, Shape, DType = DType::f32);
  static Tensor full(Backend&, Shape, double value, DType = DType::f32);
  // Copies `shape.elements()` values from host memory.
  template <class T> static Tensor from_host(Backend& backend, Shape shape, const T* values) {
    Tensor y = empty(backend, shape, DTypeOf<T>::value);
    y.copy_from_host(values);
    return y;
  }

  bool defined() const { return buffer_ != nullptr; }
  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * dtype_bytes(dtype_); }
  // Of a tensor that holds nothing, these and all below throw Error(bad_shape).
  Backend& backend() const { return buffer()->backend; }
  std::uint64_t version() const { return buffer()->version; }
  std::uint64_t buffer_id() const { return buffer()->id; }
  const std::string& name() const { return buffer()->name; }
  void set_name(std::string name) { buffer()->name = std::move(name); }

  // The same elements under another shape; shares the buffer.
  Tensor reshaped(Shape) const;

  // Pointers into the backend's memory. mutable_data counts as a write.
  template <class T> const T* data() const { return static_cast<const T*>(checked(DTypeOf<T>::value)); }
  template <class T> T* mutable_data() {
    void* p = checked(DTypeOf<T>::value);
    ++buffer_->version;
    return static_cast<T*>(p);
  }
  const void* raw() const { return buffer()->data; }
  void* mutable_raw() {
    ++buffer()->version;
    return buffer()->data;
  }

  // Blocking copies; `values` holds elements() of the tensor's dtype. Of typed ones T must be of that dtype: Error(bad_shape).
  void copy_from_host(const void* values);
  void copy_to_host(void* values) const;
  template <class T> requires requires { DTypeOf<T>::value; }
  void copy_from_host(const T* values) {
    checked(DTypeOf<T>::value);
    copy_from_host(static_cast<const void*>(values));
  }
  template <class T> requires requires { DTypeOf<T>::value; }
  void copy_to_host(T* values) const {
    checked(DTypeOf<T>::value);
    copy_to_host(static_cast<void*>(values));
  }
  template <class T> std::vector<T> to_host() const {
    std::vector<T> values(static_cast<std::size_t>(elements()));
    copy_to_host(values.data());
    return values;
  }
  double item() const;  // the one element, of any dtype; waits for the backend

 private:
  void* checked(DType) const;
  const std::shared_ptr<Buffer>& buffer() const {
    if (buffer_ == nullptr) throw_undefined();
    return buffer_;
  }
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<Buffer> buffer_;
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace pastiche
