#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "pastiche/nn.h"

namespace pastiche {
namespace {

thread_local std::int64_t numbers_left = std::numeric_limits<std::int64_t>::max();

// Initial values are drawn on the host: the same bits whatever the backend.
std::vector<double> draw(const Init& init, std::int64_t count, RandomKey key) {
  std::vector<double> values(static_cast<std::size_t>(count), init.center);
  if (init.kind == Init::Kind::constant) return values;
  for (std::int64_t i = 0; i < count; i += 4) {
    float four[4];
    if (init.kind == Init::Kind::normal) {
      normal4(key, 0, static_cast<std::uint64_t>(i / 4), four);
    } else {
      const Philox4 words = philox4x32(key, 0, static_cast<std::uint64_t>(i / 4));
      for (int k = 0; k < 4; ++k) four[k] = 2 * uniform_from(words.word[k]) - 1;
    }
    for (std::int64_t k = 0; k < 4 && i + k < count; ++k) values[i + k] += init.spread * four[k];
  }
  return values;
}

enum class Direction : bool { to_torch, from_torch };

void permute(const TorchLayout& l, std::size_t bytes, const std::byte* from, std::byte* to, Direction direction) {
  const std::size_t run = bytes * l.inner;
  for (std::int64_t o = 0; o < l.outer; ++o) {
    for (std::int64_t h = 0; h < l.height; ++h) {
      for (std::int64_t w = 0; w < l.width; ++w) {
        for (std::int64_t c = 0; c < l.channels; ++c) {
          const std::size_t ours = run * (((o * l.height + h) * l.width + w) * l.channels + c);
          const std::size_t torch = run * (((o * l.channels + c) * l.height + h) * l.width + w);
          if (direction == Direction::to_torch) std::memcpy(to + torch, from + ours, run);
          else std::memcpy(to + ours, from + torch, run);
        }
      }
    }
  }
}

}  // namespace

void to_torch_order(const TorchLayout& layout, std::size_t element_bytes, const std::byte* ours, std::byte* torch) {
  permute(layout, element_bytes, ours, torch, Direction::to_torch);
}

void from_torch_order(const TorchLayout& layout, std::size_t element_bytes, const std::byte* torch, std::byte* ours) {
  permute(layout, element_bytes, torch, ours, Direction::from_torch);
}

Init Init::glorot(std::int64_t fan_in, std::int64_t fan_out) {
  return {Kind::uniform, 0, std::sqrt(6.0 / static_cast<double>(fan_in + fan_out))};
}

ParameterLimit::ParameterLimit(std::int64_t numbers) : before_(std::exchange(numbers_left, numbers)) {}
ParameterLimit::~ParameterLimit() { numbers_left = before_; }

Parameters::Parameters(Backend& backend, std::string prefix, std::uint64_t seed, DType dtype)
    : backend_(backend), prefix_(std::move(prefix)), seed_(seed), dtype_(dtype) {}

Parameter& Parameters::add(std::string name, const Shape& shape, const Init& init, TorchLayout layout, Kind kind) {
  if (shape.elements() > numbers_left) {
    throw Error(ExitCode::bad_file, fmt::format("the weights do not fit the model: {} is {}, more numbers than the file holds", name, shape.str()));
  }
  if (numbers_left != std::numeric_limits<std::int64_t>::max()) numbers_left -= shape.elements();
  // The networks of one run share the seed, so their streams must differ: by the first letter of the prefix.
  const std::uint32_t network = prefix_.empty() ? 0 : static_cast<std::uint32_t>(prefix_[0]) << 24;
  const RandomKey key{seed_, network + streams::init + static_cast<std::uint32_t>(all_.size())};
  const std::vector<double> values = draw(init, shape.elements(), key);
  Tensor value;
  if (dtype_ == DType::f64) {
    value = Tensor::from_host(backend_, shape, values.data());
  } else {
    const std::vector<float> narrow(values.begin(), values.end());
    value = Tensor::from_host(backend_, shape, narrow.data());
  }
  value.set_name(prefix_ + name);
  all_.push_back({std::move(name), std::move(value), layout, Var::new_leaf_id(), kind == Kind::trained});
  return all_.back();
}

std::vector<Var> Parameters::vars() const {
  std::vector<Var> vars;
  for (const Parameter& p : all_) {
    if (p.trainable) vars.push_back(p.var());
  }
  return vars;
}

std::vector<Tensor> Parameters::values() const {
  std::vector<Tensor> values;
  for (const Parameter& p : all_) {
    if (p.trainable) values.push_back(p.value);
  }
  return values;
}

std::vector<std::string> Parameters::names() const {
  std::vector<std::string> names;
  for (const Parameter& p : all_) {
    if (p.trainable) names.push_back(prefix_ + p.name);
  }
  return names;
}

std::int64_t Parameters::count() const {
  std::int64_t count = 0;
  for (const Parameter& p : all_) count += p.trainable ? p.value.elements() : 0;
  return count;
}

}  // namespace pastiche
