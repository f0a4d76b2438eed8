#pragma once
// A tensor's values in double, and what several families compute on them.
#include <cstdint>
#include <vector>

#include "backends/axis_view.h"
#include "pastiche/backend.h"

namespace pastiche::reference {

struct Array {
  explicit Array(Shape shape) : shape(shape), values(static_cast<std::size_t>(shape.elements())) {}

  std::int64_t size() const { return std::ssize(values); }
  double& operator[](std::int64_t i) { return values[static_cast<std::size_t>(i)]; }
  double operator[](std::int64_t i) const { return values[static_cast<std::size_t>(i)]; }

  Shape shape;
  std::vector<double> values;
};

Array load(const Tensor& x);
void store(Tensor& y, const Array& values);  // rounds to y's dtype: to nearest, ties to even

template <class F> void map(Tensor& y, const Tensor& x, F f) {
  Array a = load(x);
  for (double& v : a.values) v = f(v);
  store(y, a);
}

template <class F> void map(Tensor& y, const Tensor& a, const Tensor& b, F f) {
  Array r = load(a);
  const Array right = load(b);
  for (std::int64_t i = 0; i < r.size(); ++i) r[i] = f(r[i], right[i]);
  store(y, r);
}

inline double leaky_relu(double x, double slope) { return x > 0 ? x : slope * x; }
inline double leaky_relu_slope(double x, double slope) { return x > 0 ? 1 : slope; }
double sigmoid(double x);

// Of [N,H,W,C] upsampled, and of phases joined.
Shape upsampled_shape(const Shape& x, std::int64_t factor);
Shape joined_shape(const Shape& x, Phases from);

Array upsample(const Array& x, std::int64_t factor);
Array upsample_grad(const Array& dy, std::int64_t factor);
Array join_phases(const Array& x, Phases from);  // Phases::none: x itself
Array split_phases(const Array& x, Phases to);

}  // namespace pastiche::reference
