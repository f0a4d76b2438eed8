// Elementwise arithmetic, sums, and everything that only moves elements. The formulas stand in kernels.def.
// Policy: elementwise kernels as in elementwise.cuh, sums as in sums.cuh. Copies: 256 threads a block, one unit a thread: 16
// bytes where all strides allow it, else 4, 2 or 1, whatever the elements are; neighbouring threads write neighbouring units.
#include <numeric>

#include "backends/axis_view.h"
#include "backends/cuda/cuda.h"
#include "copy.cuh"
#include "elementwise.cuh"
#include "sums.cuh"

namespace pastiche::PASTICHE_TARGET {

// ---- elementwise -----------------------------------------------------------------------------------------------------
namespace arith {

struct Same {
  __device__ float operator()(float v) const { return v; }
};
struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Minus {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct Times {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Over {
  __device__ float operator()(float a, float b) const { return a / b; }
};
struct ScaleShift {
  float scale, shift;
  __device__ float operator()(float v) const { return fmaf(scale, v, shift); }
};
struct Exp {
  __device__ float operator()(float v) const { return expf(v); }
};
struct Log {
  __device__ float operator()(float v) const { return logf(v); }
};
struct Sqrt {
  __device__ float operator()(float v) const { return sqrtf(v); }
};
struct FromByte {  // x / 127.5 - 1, rounded once
  __device__ float operator()(float v) const { return fmaf(2.0f, v, -255.0f) / 255.0f; }
};
struct ToByte {  // in f64, where 127.5 (v + 1) is exact or nearly: in f32 the sum would move values across a half
  __device__ float operator()(float v) const {
    const double level = 127.5 * (static_cast<double>(v) + 1.0);
    return static_cast<float>(rint(level > 0.0 ? (level < 255.0 ? level : 255.0) : 0.0));  // NaN becomes 0
  }
};

}  // namespace arith

void CudaBackend::launch_add(Tensor& y, const Tensor& a, const Tensor& b) { map(stream(), y, arith::Plus{}, a, b); }
void CudaBackend::launch_sub(Tensor& y, const Tensor& a, const Tensor& b) { map(stream(), y, arith::Minus{}, a, b); }
void CudaBackend::launch_mul(Tensor& y, const Tensor& a, const Tensor& b) { map(stream(), y, arith::Times{}, a, b); }
void CudaBackend::launch_div(Tensor& y, const Tensor& a, const Tensor& b) { map(stream(), y, arith::Over{}, a, b); }
void CudaBackend::launch_affine(Tensor& y, const Tensor& x, const Affine& p) {
  map(stream(), y, arith::ScaleShift{static_cast<float>(p.scale), static_cast<float>(p.shift)}, x);
}
void CudaBackend::launch_exp(Tensor& y, const Tensor& x) { map(stream(), y, arith::Exp{}, x); }
void CudaBackend::launch_log(Tensor& y, const Tensor& x) { map(stream(), y, arith::Log{}, x); }
void CudaBackend::launch_sqrt(Tensor& y, const Tensor& x) { map(stream(), y, arith::Sqrt{}, x); }

void CudaBackend::launch_cast(Tensor& y, const Tensor& x) {
  if (y.dtype() == x.dtype()) return copy_runs(stream(), y.mutable_raw(), x.raw(), {}, static_cast<std::int64_t>(y.bytes()));
  if (y.dtype() == DType::f32) return map_as<float, BFloat16>(stream(), y, arith::Same{}, x);
  map_as<BFloat16, float>(stream(), y, arith::Same{}, x);
}

void CudaBackend::launch_dequantize(Tensor& y, const Tensor& x) {
  with_float(y.dtype(), [&]<class T>(T) { map_as<T, std::uint8_t>(stream(), y, arith::FromByte{}, x); });
}
void CudaBackend::launch_quantize(Tensor& y, const Tensor& x) {
  with_float(x.dtype(), [&]<class T>(T) { map_as<std::uint8_t, T>(stream(), y, arith::ToByte{}, x); });
}

// ---- fill ------------------------------------------------------------------------------------------------------------
// Every type's value repeats every four bytes.
__global__ __launch_bounds__(map_threads) void fill_kernel(std::uint8_t* y, std::int64_t bytes, std::uint32_t pattern) {
  const std::int64_t first = (std::int64_t{blockIdx.x} * map_threads + threadIdx.x) * 16;
  if (first + 16 <= bytes) {
    store_vector(reinterpret_cast<std::uint32_t*>(y + first), Vector<std::uint32_t, 4>{{pattern, pattern, pattern, pattern}});
  } else {
    for (std::int64_t i = first; i < bytes; ++i) y[i] = static_cast<std::uint8_t>(pattern >> 8 * (i % 4));
  }
}

void CudaBackend::launch_fill(Tensor& y, double value) {
  const auto bytes = static_cast<std::int64_t>(y.bytes());
  if (bytes == 0) return;
  const auto pattern = [&]() -> std::uint32_t {
    switch (y.dtype()) {
      case DType::u8: return std::uint32_t{0x01010101u} * static_cast<std::uint8_t>(value);
      case DType::i32: return static_cast<std::uint32_t>(static_cast<std::int32_t>(value));
      case DType::bf16: return std::uint32_t{0x00010001u} * from_float<BFloat16>(static_cast<float>(value)).bits;
      default: return std::bit_cast<std::uint32_t>(static_cast<float>(value));
    }
  }();
  PASTICHE_CUDA_CHECK(launch(fill_kernel,
                             {.stream = stream(), .blocks = grid(ceil_div(bytes, map_threads * 16)), .threads = map_threads},
                             static_cast<std::uint8_t*>(y.mutable_raw()), bytes, pattern));
}

// ---- copies ----------------------------------------------------------------------------------------------------------
constexpr int copy_threads = 256, copy_axes = 4;

struct CopyPlan {
  std::uint32_t units;     // in all
  Divider run;             // units of a run, those outside of [begin, end) zero in `to` and absent from `from`
  std::uint32_t begin, end;
  Divider extent[copy_axes];  // innermost first
  std::int64_t to[copy_axes], from[copy_axes];  // in units
};

template <class T, int N>
__global__ __launch_bounds__(copy_threads) void copy_kernel(T* to, const T* from, CopyPlan plan) {
  const std::uint32_t unit = blockIdx.x * copy_threads + threadIdx.x;
  if (unit >= plan.units) return;
  std::uint32_t rest = plan.run(unit);
  const std::uint32_t in_run = unit - rest * plan.run.divisor;
  std::int64_t at_to = in_run, at_from = std::int64_t{in_run} - plan.begin;
#pragma unroll
  for (int axis = 0; axis < copy_axes; ++axis) {
    const std::uint32_t next = plan.extent[axis](rest), index = rest - next * plan.extent[axis].divisor;
    at_to += index * plan.to[axis];
    at_from += index * plan.from[axis];
    rest = next;
  }
  Vector<T, N> value{};
  if (in_run >= plan.begin && in_run < plan.end) value = load_unit<N>(from + at_from * N);
  store_unit(to + at_to * N, value);
}

namespace {

// Of each run of `bytes` bytes, [begin, end) is copied and the rest is zero.
void copy_runs(cudaStream_t stream, void* to, const void* from, std::initializer_list<CopyAxis> axes, std::int64_t bytes,
               std::int64_t begin, std::int64_t end) {
  std::int64_t all = bytes, step = bytes | begin | end | static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(to)) |
                                   static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(from));
  for (const CopyAxis& axis : axes) {
    all *= axis.extent;
    step |= axis.to | axis.from;
  }
  if (all == 0) return;
  const auto launch_as = [&]<class T, int N>(T, std::integral_constant<int, N>) {
    constexpr auto size = static_cast<std::int64_t>(N * sizeof(T));
    CopyPlan plan{.units = checked_index(all / size, "units of a copy"),
                  .run = Divider(static_cast<std::uint32_t>(bytes / size)),
                  .begin = static_cast<std::uint32_t>(begin / size),
                  .end = static_cast<std::uint32_t>(end / size),
                  .extent = {},
                  .to = {},
                  .from = {}};
    int i = static_cast<int>(axes.size());
    for (const CopyAxis& axis : axes) {
      --i;
      plan.extent[i] = Divider(static_cast<std::uint32_t>(axis.extent));
      plan.to[i] = axis.to / size;
      plan.from[i] = axis.from / size;
    }
    PASTICHE_CUDA_CHECK(launch(copy_kernel<T, N>,
                               {.stream = stream, .blocks = grid(ceil_div(plan.units, copy_threads)), .threads = copy_threads},
                               static_cast<T*>(to), static_cast<const T*>(from), plan));
  };
  if (step % 16 == 0) return launch_as(std::uint32_t{}, std::integral_constant<int, 4>{});
  if (step % 4 == 0) return launch_as(std::uint32_t{}, std::integral_constant<int, 1>{});
  if (step % 2 == 0) return launch_as(std::uint16_t{}, std::integral_constant<int, 1>{});
  launch_as(std::uint8_t{}, std::integral_constant<int, 1>{});
}

std::int64_t size_of(const Tensor& x) { return static_cast<std::int64_t>(dtype_bytes(x.dtype())); }

}  // namespace

void copy_runs(cudaStream_t stream, void* to, const void* from, std::initializer_list<CopyAxis> axes, std::int64_t bytes) {
  copy_runs(stream, to, from, axes, bytes, 0, bytes);
}

void CudaBackend::launch_slice(Tensor& y, const Tensor& x, const Slice& p) {
  const AxisView from(x.shape(), p.axis), to(y.shape(), p.axis);
  const std::int64_t run = to.extent * to.inner * size_of(x);
  copy_runs(stream(), y.mutable_raw(), static_cast<const char*>(x.raw()) + p.begin * from.inner * size_of(x),
            {{to.outer, run, from.extent * from.inner * size_of(x)}}, run);
}

void CudaBackend::launch_unslice(Tensor& y, const Tensor& x, const Slice& p) {
  const AxisView from(x.shape(), p.axis), to(y.shape(), p.axis);
  const std::int64_t run = to.extent * to.inner * size_of(x), part = from.extent * from.inner * size_of(x);
  const std::int64_t begin = p.begin * to.inner * size_of(x);
  copy_runs(stream(), y.mutable_raw(), x.raw(), {{to.outer, run, part}}, run, begin, begin + part);
}

void CudaBackend::launch_concat(Tensor& y, std::span<const Tensor> parts, int axis) {
  const AxisView to(y.shape(), axis);
  auto* target = static_cast<char*>(y.mutable_raw());
  for (const Tensor& part : parts) {
    const std::int64_t run = part.shape()[axis] * to.inner * size_of(y);
    copy_runs(stream(), target, part.raw(), {{to.outer, to.extent * to.inner * size_of(y), run}}, run);
    target += run;
  }
}

void CudaBackend::launch_broadcast(Tensor& y, const Tensor& x, int axis) {
  const AxisView view(y.shape(), axis);
  const std::int64_t run = view.inner * size_of(x);
  copy_runs(stream(), y.mutable_raw(), x.raw(), {{view.outer, view.extent * run, run}, {view.extent, run, 0}}, run);
}

// ---- sums ------------------------------------------------------------------------------------------------------------
// x is [outer, rows, units] of N channels. What one chunk of rows sums to is y itself if it is the only one, else a part.
template <class T, int N>
__global__ __launch_bounds__(walk_threads) void sum_kernel(T* y, float* parts, const T* x, ChannelWalk walk) {
  const ChannelPlace place(walk);
  float sums[N] = {};
  for (std::int64_t row = place.row; row < place.end; row += walk.repeat) {
    const Vector<T, N> v = load_unit<N>(x + (row * walk.units + place.unit) * N);
    for (int j = 0; j < N; ++j) sums[j] += to_float(v.at[j]);
  }
  add_lanes(sums, walk, place.lane);
  if (!place.inside || place.lane != 0) return;
  if (walk.chunks == 1) {
    Vector<T, N> out;
    for (int j = 0; j < N; ++j) out.at[j] = from_float<T>(sums[j]);
    store_unit(y + (place.outer * walk.units + place.unit) * N, out);
  } else {
    Vector<float, N> out;
    for (int j = 0; j < N; ++j) out.at[j] = sums[j];
    store_unit(parts + ((place.outer * walk.chunks + place.chunk) * walk.units + place.unit) * N, out);
  }
}

template <class T>
__global__ __launch_bounds__(walk_threads) void add_parts_kernel(T* y, const float* parts, std::int64_t outer,
                                                                 std::int64_t chunks, std::int64_t channels, int width,
                                                                 double divisor) {
  const PartsPlace place(width);
  const std::int64_t o = place.channel / channels, c = place.channel - o * channels;
  const bool inside = o < outer;
  double sum = 0;
  if (inside) {
    for (std::int64_t k = place.lane; k < chunks; k += place.lanes) {
      sum += static_cast<double>(parts[(o * chunks + k) * channels + c]);
    }
  }
  sum = sum_over_lanes(sum, width);
  if (inside && place.lane == 0) y[place.channel] = from_float<T>(static_cast<float>(sum / divisor));
}

void finish_sums(cudaStream_t stream, Tensor& y, const float* parts, std::int64_t outer, std::int64_t chunks,
                 std::int64_t channels, double divisor) {
  const int width = parts_width(outer * channels);
  with_float(y.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(add_parts_kernel<T>,
                               {.stream = stream, .blocks = grid(ceil_div(outer * channels, width)), .threads = walk_threads},
                               y.mutable_data<T>(), parts, outer, chunks, channels, width, divisor));
  });
}

void CudaBackend::launch_sum(Tensor& y, const Tensor& x, int axis) {
  if (y.elements() == 0) return;
  const AxisView view(x.shape(), axis);
  with_float(x.dtype(), [&]<class T>(T) {
    with_unit(view.inner, [&]<int N>(std::integral_constant<int, N>) {
      const ChannelWalk walk = sum_walk(view.outer, view.extent, view.inner / N);
      Tensor parts;
      if (walk.chunks > 1) parts = Tensor::empty(*this, {view.outer, walk.chunks, view.inner});
      PASTICHE_CUDA_CHECK(launch(sum_kernel<T, N>, {.stream = stream(), .blocks = walk.blocks(), .threads = walk_threads},
                                 y.mutable_data<T>(), parts.defined() ? parts.mutable_data<float>() : nullptr, x.data<T>(),
                                 walk));
      if (parts.defined()) finish_sums(stream(), y, parts.data<float>(), view.outer, walk.chunks, view.inner);
    });
  });
}

}  // namespace pastiche::PASTICHE_TARGET
