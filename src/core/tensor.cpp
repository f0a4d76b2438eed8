#include "pastiche/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <bit>

#include "pastiche/backend.h"

namespace pastiche {
namespace {

struct DTypeFacts {
  std::string_view name;
  std::size_t bytes;
};
constexpr DTypeFacts dtype_facts[] = {{"f32", 4}, {"bf16", 2}, {"f64", 8}, {"u8", 1}, {"i32", 4}};

std::atomic<std::uint64_t> buffer_count{0};

}  // namespace

std::string_view dtype_name(DType dtype) { return dtype_facts[static_cast<int>(dtype)].name; }
std::size_t dtype_bytes(DType dtype) { return dtype_facts[static_cast<int>(dtype)].bytes; }

DType dtype_from_name(std::string_view name) {
  for (int i = 0; i < static_cast<int>(std::size(dtype_facts)); ++i) {
    if (dtype_facts[i].name == name) return static_cast<DType>(i);
  }
  throw Error(ExitCode::bad_file, fmt::format("unknown dtype '{}'; known are f32, bf16, f64, u8, i32", name));
}

Shape::Shape(std::initializer_list<std::int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (rank_ > max_rank) {
    throw Error(ExitCode::bad_shape, fmt::format("shape of rank {}; at most {} are possible", rank_, int{max_rank}));
  }
  int axis = 0;
  for (std::int64_t extent : extents) {
    if (extent < 0) throw Error(ExitCode::bad_shape, fmt::format("shape with a negative extent: {}", extents));
    extents_[axis++] = extent;
  }
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) {
    if (__builtin_mul_overflow(product, extents_[axis], &product)) {
      throw Error(ExitCode::out_of_memory, "shape " + str() + " has more elements than can be counted");
    }
  }
  return product;
}

Shape Shape::with(int axis, std::int64_t extent) const {
  Shape shape = *this;
  shape.extents_[axis < 0 ? axis + rank_ : axis] = extent;
  return shape;
}

Shape Shape::without(int axis) const {
  Shape shape;
  for (int i = 0; i < rank_; ++i) {
    if (i != (axis < 0 ? axis + rank_ : axis)) shape.extents_[shape.rank_++] = extents_[i];
  }
  return shape;
}

Shape Shape::inserted(int axis, std::int64_t extent) const {
  if (rank_ == max_rank) throw Error(ExitCode::bad_shape, str() + " has no room for another axis");
  Shape shape = *this;
  ++shape.rank_;
  for (int i = rank_; i > axis; --i) shape.extents_[i] = extents_[i - 1];
  shape.extents_[axis] = extent;
  return shape;
}

std::string Shape::str() const {
  return fmt::format("[{}]", fmt::join(extents_.begin(), extents_.begin() + rank_, ","));
}

Buffer::Buffer(Backend& backend, std::size_t bytes)
    : backend(backend), data(backend.allocate(bytes)), bytes(bytes), id(++buffer_count) {}
Buffer::~Buffer() { backend.release(data, bytes); }

Tensor Tensor::empty(Backend& backend, Shape shape, DType dtype) {
  Tensor y;
  const auto elements = static_cast<std::size_t>(shape.elements());
  y.buffer_ = std::make_shared<Buffer>(backend, elements * dtype_bytes(dtype));
  y.shape_ = shape;
  y.dtype_ = dtype;
  return y;
}

Tensor Tensor::full(Backend& backend, Shape shape, double value, DType dtype) {
  Tensor y = empty(backend, shape, dtype);
  backend.fill(y, value);
  return y;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (shape.elements() != elements()) {
    throw Error(ExitCode::bad_shape, fmt::format("reshape: {} has {} elements, {} has {}", shape_.str(), elements(),
                                              shape.str(), shape.elements()));
  }
  Tensor y = *this;
  y.shape_ = shape;
  return y;
}

void Tensor::copy_from_host(const void* values) { backend().copy_from_host(mutable_raw(), values, bytes()); }
void Tensor::copy_to_host(void* values) const { backend().copy_to_host(values, raw(), bytes()); }

double Tensor::item() const {
  if (elements() != 1) throw Error(ExitCode::bad_shape, fmt::format("item() of a tensor {}, expected one element", shape_.str()));
  if (dtype_ == DType::f64) return to_host<double>()[0];
  if (dtype_ == DType::f32) return to_host<float>()[0];
  if (dtype_ == DType::i32) return to_host<std::int32_t>()[0];
  if (dtype_ == DType::u8) return to_host<std::uint8_t>()[0];
  return std::bit_cast<float>(std::uint32_t{to_host<BFloat16>()[0].bits} << 16);
}

void Tensor::throw_undefined() { throw Error(ExitCode::bad_shape, "use of a tensor that holds nothing"); }

void* Tensor::checked(DType wanted) const {
  const Buffer& buffer = *this->buffer();
  if (dtype_ != wanted) {
    throw Error(ExitCode::bad_shape, fmt::format("tensor {}{} is {}, but was read as {}", name().empty() ? "" : name() + " ",
                                              shape_.str(), dtype_name(dtype_), dtype_name(wanted)));
  }
  return buffer.data;
}

}  // namespace pastiche
