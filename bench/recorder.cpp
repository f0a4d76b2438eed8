#include "recorder.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <set>

#include "backends/kernel_arguments.h"

namespace pastiche::bench {
namespace {

constexpr std::size_t most_written = std::size_t{1} << 18;  // the inputs of any row of the op table

const char* phases_name(Phases phases) {
  static constexpr const char* names[] = {"", " inner", " outer"};
  return names[static_cast<int>(phases)];
}

// What a launch costs and how it is named, from its arguments.
struct Summary {
  explicit Summary(std::string_view kernel) : kernel(kernel) {}

  std::string_view kernel;
  std::string shapes, rest;
  std::vector<Shape> tensors;
  std::set<std::uint64_t> seen;
  bool bf16 = false;
  double flop = 0, bytes = 0;

  void tensor(const Tensor& x, double moves) {
    tensors.push_back(x.shape());
    if (x.dtype() == DType::bf16) bf16 = true;
    if (seen.insert(x.buffer_id()).second) bytes += moves * static_cast<double>(x.bytes());
  }
  void list(std::string_view what, std::span<const Tensor> all, double moves) {
    std::int64_t elements = 0;
    for (const Tensor& x : all) {
      tensor(x, moves);
      elements += x.elements();
    }
    if (!what.empty()) shapes += fmt::format(" {} {} of {} elements", all.size(), what, elements);
  }

  void add(const Tensor& x) {
    tensor(x, 1);
    shapes += " " + x.shape().str();
  }
  void add(std::span<const Tensor> all) { list("tensors", all, 1); }
  void add(const AdamTensors& t) {
    list("parameters", t.value, 2);
    list("", t.grad, 1);
    list("", t.m, 2);
    list("", t.v, 2);
    list("", t.ema, 2);
    if (!t.ema.empty()) shapes += " with ema";
  }
  void add(const Conv& p) {
    const bool upsampling = p.upsample != 1;
    if (p.stride != 1) rest += fmt::format(" stride {}", p.stride);
    if (p.pad != 0 && !upsampling) rest += fmt::format(" pad {}", p.pad);
    if (p.dilation != 1) rest += fmt::format(" dilation {}", p.dilation);
    if (p.groups != 1) rest += fmt::format(" groups {}", p.groups);
    if (upsampling) rest += fmt::format(" upsample {}{}", p.upsample, phases_name(p.out));
    const bool wgrad = kernel == "conv2d_wgrad";
    const Shape& y = kernel == "conv2d" ? tensors[0] : wgrad ? tensors[2] : tensors[1];
    const Shape& w = wgrad ? tensors[0] : tensors[2];
    // R taps of a doubled map fall on (R + 1) / 2 pixels of the map itself.
    const std::int64_t taps = upsampling ? (w[1] + 1) / 2 * ((w[2] + 1) / 2) : w[1] * w[2];
    flop = 2.0 * static_cast<double>(y.elements()) * static_cast<double>(taps * w[3]);
  }
  void add(const Gemm& p) {
    if (p.a == Transpose::yes) rest += " a transposed";
    if (p.b == Transpose::yes) rest += " b transposed";
    flop = 2.0 * static_cast<double>(tensors[0].elements()) * static_cast<double>(tensors[1][p.a == Transpose::yes ? 0 : 1]);
  }
  void add(const NormAct& p) { rest += phases_name(p.from); }
  void add(Phases p) { rest += phases_name(p); }
  void add(const Slice& p) { rest += fmt::format(" axis {}", p.axis); }
  void add(std::int64_t factor) { rest += fmt::format(" x{}", factor); }
  void add(int axis) {
    if (kernel == "sum" || kernel == "broadcast" || kernel == "concat") rest += fmt::format(" axis {}", axis);
  }
  // Of no consequence for the speed.
  void add(double) {}
  void add(const Affine&) {}
  void add(const RunningStats&) {}
  void add(const Activation&) {}
  void add(const Adam&) {}
  void add(const RandomKey&) {}
  void add(const Dropout&) {}
};

}  // namespace

template <class Kernel> auto Recorder::call(const char* name, Kernel kernel) {
  return [this, name, kernel](auto&... arguments) {
    Summary summary(name);
    (summary.add(arguments), ...);
    const std::string text = summary.shapes + summary.rest;
    Launch launch{
        name, text.empty() ? text : text.substr(1), summary.bf16 ? DType::bf16 : DType::f32, summary.flop, summary.bytes, {}, {}};
    std::tuple<decltype(own(arguments))...> owned{own(arguments)...};
    for_each_tensor_of(owned, [&](const Tensor& x) { launch.tensors.push_back(x); });
    launch.bind = [kernel, owned](Backend& on, const TensorMap& map) -> std::function<void()> {
      auto there = owned;
      for_each_tensor_of(there, [&](Tensor& x) { x = map(x); });
      return [kernel, &on, there]() mutable { std::apply([&](auto&... each) { kernel(on, each...); }, there); };
    };
    launches.push_back(std::move(launch));
  };
}

#define PASTICHE_KERNEL(name, parameters, arguments) \
  void Recorder::name parameters { call(#name, [](Backend& on, auto&... a) { on.name(a...); }) arguments; }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

void Recorder::copy_from_host(void* to, const void* from, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(from);
  if (bytes <= most_written) written_[to] = {begin, begin + bytes};
  else written_.erase(to);
}

void Recorder::copy_to_host(void* to, const void* from, std::size_t bytes) {
  const auto at = written_.find(from);
  if (at != written_.end() && at->second.size() == bytes) std::memcpy(to, at->second.data(), bytes);
  else std::memset(to, 0, bytes);
}

const std::vector<std::byte>* Recorder::written(const Tensor& x) const {
  const auto at = written_.find(x.raw());
  return at != written_.end() && at->second.size() == x.bytes() ? &at->second : nullptr;
}

namespace {

// Numbers between 0.5 and 1, which suit a variance and a logarithm too.
std::vector<std::byte> some_values(std::size_t elements, DType dtype) {
  std::vector<std::byte> bytes(elements * dtype_bytes(dtype));
  for (std::size_t i = 0; i < elements; ++i) {
    const auto bits = static_cast<std::uint32_t>(i * 2654435761u) >> 9 | 0x3f000000u;
    const auto value = std::bit_cast<float>(bits);
    const auto upper = static_cast<std::uint16_t>(bits >> 16);
    switch (dtype) {
      case DType::f32: std::memcpy(&bytes[4 * i], &value, 4); break;
      case DType::bf16: std::memcpy(&bytes[2 * i], &upper, 2); break;
      default: bytes[i] = static_cast<std::byte>(upper); break;
    }
  }
  return bytes;
}

}  // namespace

Program::Program(Backend& backend, const Recorder& recorder, const std::vector<Launch>& launches) {
  std::map<std::uint64_t, Tensor> made;  // by the recorded buffer
  const auto map = [&](const Tensor& x) {
    Tensor& y = made[x.buffer_id()];
    if (!y.defined()) {
      y = Tensor::empty(backend, x.shape(), x.dtype());
      const std::vector<std::byte>* written = recorder.written(x);
      const std::vector<std::byte> values =
          written == nullptr ? some_values(static_cast<std::size_t>(x.elements()), x.dtype()) : *written;
      y.copy_from_host(values.data());
      tensors_.push_back(y);
    }
    return y.reshaped(x.shape());
  };
  for (const Launch& launch : launches) launches_.push_back(launch.bind(backend, map));
}

}  // namespace pastiche::bench
