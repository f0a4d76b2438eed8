#include "recorder.h"

#include <bit>
#include <cstring>

#include "backends/kernel_arguments.h"

namespace pastiche::bench {
namespace {
constexpr std::size_t most_written = std::size_t{1} << 18;  // the inputs of any row of the op table
}  // namespace

template <class Kernel> auto Recorder::call(const char* name, Kernel kernel) {
  return [this, name, kernel](auto&... arguments) {
    Launch launch{cost_of(name, arguments...), {}, {}};
    count(launch.flop);
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
