#pragma once
// The arguments of a kernel, kept and seen one tensor at a time: for backends that wrap another. Its members, from kernels.def:
//
//   void Wrapper::name parameters { call(#name, [](Backend& on, auto&... a) { on.name(a...); }) arguments; }
//
// where call() returns what takes the arguments, and the lambda is the kernel on any backend.
#include <tuple>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche {

// AdamTensors with the tensors in it.
struct OwnedAdamTensors {
  std::vector<Tensor> value, grad, m, v, ema;
  operator AdamTensors() { return {value, grad, m, v, ema}; }  // NOLINT: it stands for the argument that it was made of
};

// An argument in a form that can be kept, and given to the kernel again.
inline Tensor own(const Tensor& x) { return x; }
inline std::vector<Tensor> own(std::span<const Tensor> xs) { return {xs.begin(), xs.end()}; }
inline OwnedAdamTensors own(const AdamTensors& t) {
  const auto copy = [](auto span) { return std::vector<Tensor>(span.begin(), span.end()); };
  return {copy(t.value), copy(t.grad), copy(t.m), copy(t.v), copy(t.ema)};
}
template <class T> T own(const T& plain) { return plain; }

template <class F> void for_each_tensor(Tensor& x, F& f) { f(x); }
template <class F> void for_each_tensor(std::vector<Tensor>& xs, F& f) {
  for (Tensor& x : xs) f(x);
}
template <class F> void for_each_tensor(OwnedAdamTensors& t, F& f) {
  for (auto* group : {&t.value, &t.grad, &t.m, &t.v, &t.ema}) for_each_tensor(*group, f);
}
template <class T, class F> void for_each_tensor(T&, F&) {}

// Calls f(Tensor&) for each tensor of owned arguments, in order.
template <class... T, class F> void for_each_tensor_of(std::tuple<T...>& owned, F f) {
  std::apply([&](T&... each) { (for_each_tensor(each, f), ...); }, owned);
}

}  // namespace pastiche
