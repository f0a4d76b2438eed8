#include <algorithm>
#include <cstring>

#include "backends/axis_view.h"
#include "backends/cpu/channels.h"
#include "backends/cpu/cpu.h"

namespace pastiche {

using namespace cpu;

namespace {

template <class F> void unary(int threads, Tensor& y, const Tensor& x, F f) {
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    T* const to = y.mutable_data<T>();
    for_elements(threads, y.elements(), [=](std::int64_t i) { store(to, i, f(load(from, i))); });
  });
}

template <class F> void binary(int threads, Tensor& y, const Tensor& a, const Tensor& b, F f) {
  with_float(y, [&]<class T>(T) {
    const T* const left = a.data<T>();
    const T* const right = b.data<T>();
    T* const to = y.mutable_data<T>();
    for_elements(threads, y.elements(), [=](std::int64_t i) { store(to, i, f(load(left, i), load(right, i))); });
  });
}

// Copies `count` runs of `bytes` bytes whose starts are `from_step` and `to_step` bytes apart.
void copy_runs(int threads, char* to, std::int64_t to_step, const char* from, std::int64_t from_step, std::int64_t count,
               std::int64_t bytes) {
  for_items(threads, count, bytes / 4 + 1, [=](std::int64_t i) {
    std::memcpy(to + i * to_step, from + i * from_step, static_cast<std::size_t>(bytes));
  });
}

}  // namespace

void CpuBackend::fill(Tensor& y, double value) {
  const std::int64_t n = y.elements();
  switch (y.dtype()) {
    case DType::u8: std::fill_n(y.mutable_data<std::uint8_t>(), n, static_cast<std::uint8_t>(value)); break;
    case DType::i32: std::fill_n(y.mutable_data<std::int32_t>(), n, static_cast<std::int32_t>(value)); break;
    default:
      with_float(y, [&]<class T>(T) {
        T* const to = y.mutable_data<T>();
        const auto rounded = static_cast<float>(value);
        for_elements(threads_, n, [=](std::int64_t i) { store(to, i, rounded); });
      });
  }
}

void CpuBackend::cast(Tensor& y, const Tensor& x) {
  with_float(y, x, [&]<class To, class From>(To, From) {
    const From* const from = x.data<From>();
    To* const to = y.mutable_data<To>();
    for_elements(threads_, y.elements(), [=](std::int64_t i) { store(to, i, load(from, i)); });
  });
}

void CpuBackend::add(Tensor& y, const Tensor& a, const Tensor& b) {
  binary(threads_, y, a, b, [](float left, float right) { return left + right; });
}
void CpuBackend::sub(Tensor& y, const Tensor& a, const Tensor& b) {
  binary(threads_, y, a, b, [](float left, float right) { return left - right; });
}
void CpuBackend::mul(Tensor& y, const Tensor& a, const Tensor& b) {
  binary(threads_, y, a, b, [](float left, float right) { return left * right; });
}
void CpuBackend::div(Tensor& y, const Tensor& a, const Tensor& b) {
  binary(threads_, y, a, b, [](float left, float right) { return left / right; });
}

void CpuBackend::affine(Tensor& y, const Tensor& x, const Affine& p) {
  unary(threads_, y, x, [p](float v) { return static_cast<float>(p.scale * static_cast<double>(v) + p.shift); });
}

void CpuBackend::exp(Tensor& y, const Tensor& x) {
  unary(threads_, y, x, [](float v) { return exp_of(v); });
}
void CpuBackend::log(Tensor& y, const Tensor& x) {
  unary(threads_, y, x, [](float v) { return log_of(v); });
}
void CpuBackend::sqrt(Tensor& y, const Tensor& x) {
  unary(threads_, y, x, [](float v) { return std::sqrt(v); });
}

void CpuBackend::sum(Tensor& y, const Tensor& x, int axis) {
  const AxisView view(x.shape(), axis);
  constexpr std::int64_t tile = 256;  // columns that one item of a many-columned sum takes
  with_float(y, x, [&]<class To, class From>(To, From) {
    const From* const from = x.data<From>();
    To* const to = y.mutable_data<To>();
    if (view.outer == 1 && view.inner <= 16 * tile) {
      Scratch<double> sums(*this, view.inner);
      channel_sums<1>(*this, threads_, Walk(view.extent, view.inner), sums,
                      [=](std::int64_t i, std::int64_t, std::int64_t) { return Terms{load(from, i)}; });
      for (std::int64_t i = 0; i < view.inner; ++i) store(to, i, static_cast<float>(sums[i]));
      return;
    }
    const std::int64_t tiles = (view.inner + tile - 1) / tile;
    for_items(threads_, view.outer * tiles, view.extent * std::min(tile, view.inner), [=](std::int64_t item) {
      const std::int64_t o = item / tiles, begin = item % tiles * tile, width = std::min(tile, view.inner - begin);
      double sums[tile] = {};
      for (std::int64_t e = 0; e < view.extent; ++e) {
        const From* const row = from + (o * view.extent + e) * view.inner + begin;
        for (std::int64_t i = 0; i < width; ++i) sums[i] += static_cast<double>(load(row, i));
      }
      for (std::int64_t i = 0; i < width; ++i) store(to, o * view.inner + begin + i, static_cast<float>(sums[i]));
    });
  });
}

void CpuBackend::broadcast(Tensor& y, const Tensor& x, int axis) {
  const AxisView view(y.shape(), axis);
  with_float(y, x, [&]<class To, class From>(To, From) {
    const From* const from = x.data<From>();
    To* const to = y.mutable_data<To>();
    if (view.outer == 1 && view.inner > 1) {
      const Walk walk(view.extent, view.inner);
      Scratch<float> wide(*this, walk.wide());
      walk.spread(wide, [=](std::int64_t c) { return load(from, c); });
      walk.all(threads_, [=, values = wide.get()](std::int64_t, std::int64_t at, std::int64_t width) {
        for (std::int64_t j = 0; j < width; ++j) store(to, at + j, values[j]);
      });
      return;
    }
    for_items(threads_, view.outer, view.extent * view.inner, [=](std::int64_t o) {
      for (std::int64_t e = 0; e < view.extent; ++e) {
        To* const row = to + (o * view.extent + e) * view.inner;
        for (std::int64_t i = 0; i < view.inner; ++i) store(row, i, load(from, o * view.inner + i));
      }
    });
  });
}

void CpuBackend::slice(Tensor& y, const Tensor& x, const Slice& p) {
  const AxisView from(x.shape(), p.axis), to(y.shape(), p.axis);
  const auto size = static_cast<std::int64_t>(dtype_bytes(x.dtype())), run = to.extent * to.inner * size;
  copy_runs(threads_, static_cast<char*>(y.mutable_raw()), run,
            static_cast<const char*>(x.raw()) + p.begin * from.inner * size, from.extent * from.inner * size, to.outer, run);
}

void CpuBackend::unslice(Tensor& y, const Tensor& x, const Slice& p) {
  const AxisView from(x.shape(), p.axis), to(y.shape(), p.axis);
  const auto size = static_cast<std::int64_t>(dtype_bytes(x.dtype())), run = from.extent * from.inner * size;
  const std::int64_t step = to.extent * to.inner * size, before = p.begin * to.inner * size;
  const auto* const source = static_cast<const char*>(x.raw());
  auto* const target = static_cast<char*>(y.mutable_raw());
  for_items(threads_, to.outer, step / 4 + 1, [=](std::int64_t o) {
    char* const row = target + o * step;
    std::memset(row, 0, static_cast<std::size_t>(before));
    std::memcpy(row + before, source + o * run, static_cast<std::size_t>(run));
    std::memset(row + before + run, 0, static_cast<std::size_t>(step - before - run));
  });
}

void CpuBackend::concat(Tensor& y, std::span<const Tensor> parts, int axis) {
  const AxisView to(y.shape(), axis);
  const auto size = static_cast<std::int64_t>(dtype_bytes(y.dtype()));
  auto* target = static_cast<char*>(y.mutable_raw());
  for (const Tensor& part : parts) {
    const std::int64_t run = part.shape()[axis] * to.inner * size;
    copy_runs(threads_, target, to.extent * to.inner * size, static_cast<const char*>(part.raw()), run, to.outer, run);
    target += run;
  }
}

void CpuBackend::dequantize(Tensor& y, const Tensor& x) {
  const auto* const from = x.data<std::uint8_t>();
  with_float(y, [&]<class T>(T) {
    T* const to = y.mutable_data<T>();
    for_elements(threads_, y.elements(), [=](std::int64_t i) { store(to, i, static_cast<float>(from[i] / 127.5 - 1.0)); });
  });
}

void CpuBackend::quantize(Tensor& y, const Tensor& x) {
  auto* const to = y.mutable_data<std::uint8_t>();
  with_float(x, [&]<class T>(T) {
    const T* const from = x.data<T>();
    // In double, where 127.5 (x + 1) is exact or nearly: in f32 the sum would move values across a half.
    for_elements(threads_, y.elements(), [=](std::int64_t i) {
      const double level = 127.5 * (static_cast<double>(load(from, i)) + 1.0);
      const double clamped = level > 0.0 ? (level < 255.0 ? level : 255.0) : 0.0;  // NaN becomes 0
      to[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(clamped)));
    });
  });
}

}  // namespace pastiche
