#include "backends/cpu/channels.h"
#include "backends/cpu/cpu.h"

namespace pastiche {

using namespace cpu;

namespace {

// y = f(x), and dx = f(dy, v) where v is the input or the output of forward
template <class F> void forward(int threads, Tensor& y, const Tensor& x, F f) {
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.mutable_data<T>();
    for_elements(threads, y.elements(), [=](std::int64_t i) { store(to, i, f(load(from, i))); });
  });
}
template <class F> void backward(int threads, Tensor& dx, const Tensor& dy, const Tensor& v, F f) {
  with_float(dx, [&]<class T>(T) {
    const T* const gradient = dy.data<T>();
    const T* const value = v.data<T>();
    T* const to = dx.mutable_data<T>();
    for_elements(threads, dx.elements(), [=](std::int64_t i) { store(to, i, f(load(gradient, i), load(value, i))); });
  });
}

struct Identity {
  float operator()(float x) const { return x; }
  float operator()(float dy, float) const { return dy; }
};
struct LeakyRelu {
  float slope;
  float operator()(float x) const { return x > 0.0f ? x : slope * x; }
  float operator()(float dy, float x) const { return x > 0.0f ? dy : slope * dy; }  // x or y: of the same sign
};
struct Tanh {
  float operator()(float x) const { return tanh_of(x); }
  float operator()(float dy, float y) const { return dy * std::fma(-y, y, 1.0f); }
};
struct Sigmoid {
  float operator()(float x) const { return sigmoid_of(x); }
  float operator()(float dy, float y) const { return dy * (y * (1.0f - y)); }
};

template <class Body> void with_activation(const Activation& p, Body body) {
  switch (p.kind) {
    case Activation::Kind::identity: return body(Identity{});
    case Activation::Kind::leaky_relu: return body(LeakyRelu{static_cast<float>(p.slope)});
    case Activation::Kind::tanh: return body(Tanh{});
    case Activation::Kind::sigmoid: return body(Sigmoid{});
  }
}

}  // namespace

void CpuBackend::leaky_relu(Tensor& y, const Tensor& x, double slope) {
  forward(threads_, y, x, LeakyRelu{static_cast<float>(slope)});
}
void CpuBackend::leaky_relu_grad(Tensor& dx, const Tensor& dy, const Tensor& x, double slope) {
  backward(threads_, dx, dy, x, LeakyRelu{static_cast<float>(slope)});
}
void CpuBackend::tanh(Tensor& y, const Tensor& x) { forward(threads_, y, x, Tanh{}); }
void CpuBackend::tanh_grad(Tensor& dx, const Tensor& dy, const Tensor& y) { backward(threads_, dx, dy, y, Tanh{}); }
void CpuBackend::sigmoid(Tensor& y, const Tensor& x) { forward(threads_, y, x, Sigmoid{}); }
void CpuBackend::sigmoid_grad(Tensor& dx, const Tensor& dy, const Tensor& y) { backward(threads_, dx, dy, y, Sigmoid{}); }

void CpuBackend::bias_act(Tensor& y, const Tensor& x, const Tensor& bias, const Activation& p) {
  const Walk walk(x.shape().rows(), x.shape().last());
  Scratch<float> wide(*this, walk.wide());
  walk.spread(wide, [b = bias.data<float>()](std::int64_t c) { return b[c]; });
  with_float(x, [&]<class T>(T) {
    with_activation(p, [&, from = x.data<T>(), to = y.mutable_data<T>(), b = wide.get()](auto act) {
      walk.all(threads_, [=](std::int64_t at, std::int64_t, std::int64_t width) {
#pragma omp simd
        for (std::int64_t j = 0; j < width; ++j) store(to, at + j, act(load(from, at + j) + b[j]));
      });
    });
  });
}

void CpuBackend::bias_act_grad(Tensor& dx, Tensor& dbias, const Tensor& dy, const Tensor& y, const Activation& p) {
  const Walk walk(y.shape().rows(), y.shape().last());
  Scratch<double> sums(*this, walk.channels());
  with_float(y, [&]<class T>(T) {
    with_activation(p, [&, gradient = dy.data<T>(), value = y.data<T>(), to = dx.mutable_data<T>()](auto act) {
      channel_sums<1>(*this, threads_, walk, sums, [=](std::int64_t i, std::int64_t, std::int64_t) {
        const float d = act(load(gradient, i), load(value, i));
        store(to, i, d);
        return Terms{d};
      });
    });
  });
  float* const db = dbias.mutable_data<float>();
  for (std::int64_t c = 0; c < walk.channels(); ++c) db[c] = static_cast<float>(sums[c]);
}

}  // namespace pastiche
