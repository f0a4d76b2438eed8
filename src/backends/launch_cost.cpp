#include "backends/launch_cost.h"

#include <fmt/format.h>

namespace pastiche {
namespace {

const char* phases_name(Phases phases) {
  static constexpr const char* names[] = {"", " inner", " outer"};
  return names[static_cast<int>(phases)];
}

}  // namespace

void LaunchCosting::tensor(const Tensor& x, double moves) {
  tensors_.push_back(x.shape());
  if (x.dtype() == DType::bf16) bf16_ = true;
  if (seen_.insert(x.buffer_id()).second) bytes_ += moves * static_cast<double>(x.bytes());
}

void LaunchCosting::list(std::string_view what, std::span<const Tensor> all, double moves) {
  std::int64_t elements = 0;
  for (const Tensor& x : all) {
    tensor(x, moves);
    elements += x.elements();
  }
  if (!what.empty()) shapes_ += fmt::format(" {} {} of {} elements", all.size(), what, elements);
}

void LaunchCosting::add(const Tensor& x) {
  tensor(x, 1);
  shapes_ += " " + x.shape().str();
}

void LaunchCosting::add(std::span<const Tensor> all) { list("tensors", all, 1); }

void LaunchCosting::add(const AdamTensors& t) {
  list("parameters", t.value, 2);
  list("", t.grad, 1);
  list("", t.m, 2);
  list("", t.v, 2);
  list("", t.ema, 2);
  if (!t.ema.empty()) shapes_ += " with ema";
}

void LaunchCosting::add(const Conv& p) {
  conv_ = p;
  const bool upsampling = p.upsample != 1;
  if (p.stride != 1) rest_ += fmt::format(" stride {}", p.stride);
  if (p.pad != 0 && !upsampling) rest_ += fmt::format(" pad {}", p.pad);
  if (p.dilation != 1) rest_ += fmt::format(" dilation {}", p.dilation);
  if (p.groups != 1) rest_ += fmt::format(" groups {}", p.groups);
  if (upsampling) rest_ += fmt::format(" upsample {}{}", p.upsample, phases_name(p.out));
  const bool dgrad = kernel_ == "conv2d_dgrad", wgrad = kernel_ == "conv2d_wgrad";
  const Shape& y = dgrad ? tensors_[1] : wgrad ? tensors_[2] : tensors_[0];
  const Shape& w = weights_ = wgrad ? tensors_[0] : kernel_ == "conv2d_norm_stats" ? tensors_[4] : tensors_[2];
  // R taps of a doubled map fall on (R + 1) / 2 pixels of the map itself.
  const std::int64_t taps = upsampling ? (w[1] + 1) / 2 * ((w[2] + 1) / 2) : w[1] * w[2];
  flop_ = 2.0 * static_cast<double>(y.elements()) * static_cast<double>(taps * w[3]);
}

void LaunchCosting::add(const Gemm& p) {
  if (p.a == Transpose::yes) rest_ += " a transposed";
  if (p.b == Transpose::yes) rest_ += " b transposed";
  flop_ = 2.0 * static_cast<double>(tensors_[0].elements()) * static_cast<double>(tensors_[1][p.a == Transpose::yes ? 0 : 1]);
}

void LaunchCosting::add(const NormAct& p) {
  if (conv_.upsample == 1) rest_ += phases_name(p.from);  // else the convolution said it
  if (p.group != 1) rest_ += fmt::format(" group {}", p.group);
}

void LaunchCosting::add(Phases p) { rest_ += phases_name(p); }

void LaunchCosting::add(const Slice& p) { rest_ += fmt::format(" axis {}", p.axis); }

void LaunchCosting::add(std::int64_t factor) { rest_ += fmt::format(" x{}", factor); }

void LaunchCosting::add(int axis) {
  if (kernel_ == "sum" || kernel_ == "broadcast" || kernel_ == "concat") rest_ += fmt::format(" axis {}", axis);
}

LaunchCost LaunchCosting::result() const {
  const std::string text = shapes_ + rest_;
  return {std::string(kernel_), text.empty() ? text : text.substr(1), bf16_ ? DType::bf16 : DType::f32, flop_, bytes_, conv_, weights_};
}

}  // namespace pastiche
