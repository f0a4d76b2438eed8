#pragma once
// Parameters and the layers that own them.
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "pastiche/ops.h"
#include "pastiche/streams.h"

namespace pastiche {

// How a parameter's elements stand in PyTorch's files: ours is [outer, height, width, channels, inner], theirs
// [outer, channels, height, width, inner]. Covers [K,R,S,C] -> [K,C,R,S] and both sides of a linear layer whose features
// are a flattened picture.
struct TorchLayout {
  std::int64_t outer = 1, height = 1, width = 1, channels = 1, inner = 1;
  Shape shape;  // in PyTorch's file

  static TorchLayout same(const Shape& shape) { return {.outer = shape.elements(), .shape = shape}; }
  static TorchLayout conv(const Shape& krsc) {
    return {.outer = krsc[0], .height = krsc[1], .width = krsc[2], .channels = krsc[3],
            .shape = {krsc[0], krsc[3], krsc[1], krsc[2]}};
  }
};

// Reorders elements of `element_bytes` each between our order and PyTorch's.
void to_torch_order(const TorchLayout&, std::size_t element_bytes, const std::byte* ours, std::byte* torch);
void from_torch_order(const TorchLayout&, std::size_t element_bytes, const std::byte* torch, std::byte* ours);

struct Parameter {
  std::string name;  // as in a PyTorch state dict: "conv1.weight"
  Tensor value;
  TorchLayout layout;
  std::int32_t leaf;
  bool trainable;  // running statistics are not

  Var var() const { return Var::leaf(value, leaf); }
};

// How a parameter begins.
struct Init {
  enum class Kind : std::uint8_t { constant, normal, uniform } kind = Kind::constant;
  double center = 0;
  double spread = 0;  // standard deviation of normal; half the width of uniform

  static Init constant(double value) { return {Kind::constant, value, 0}; }
  static Init normal(double mean, double deviation) { return {Kind::normal, mean, deviation}; }
  // Glorot and Bengio, 2010; Keras's default.
  static Init glorot(std::int64_t fan_in, std::int64_t fan_out);
};

// All parameters of one network, in the order of their making. Their addresses do not change.
class Parameters {
 public:
  // `prefix` ("D.") begins the names in messages; f64 is for gradient checks on the reference backend.
  Parameters(Backend& backend, std::string prefix, std::uint64_t seed, DType dtype = DType::f32);
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  enum class Kind : bool { trained, running };
  Parameter& add(std::string name, const Shape& shape, const Init& init, TorchLayout layout, Kind kind = Kind::trained);

  Backend& backend() const { return backend_; }
  DType dtype() const { return dtype_; }
  const std::string& prefix() const { return prefix_; }
  std::deque<Parameter>& all() { return all_; }
  const std::deque<Parameter>& all() const { return all_; }

  // The trained ones, aligned with each other.
  std::vector<Var> vars() const;
  std::vector<Tensor> values() const;
  std::vector<std::string> names() const;  // with the prefix
  std::int64_t count() const;              // trained numbers

 private:
  Backend& backend_;
  std::string prefix_;
  std::uint64_t seed_;
  DType dtype_;
  std::deque<Parameter> all_;
};

// While it lives, all parameters that this thread makes hold at most so many numbers: Parameters::add throws Error(bad_file) before it
// takes memory for more. For a network whose description comes from a file, which then must hold its weights too.
class ParameterLimit {
 public:
  explicit ParameterLimit(std::int64_t numbers);
  ~ParameterLimit();
  ParameterLimit(const ParameterLimit&) = delete;
  ParameterLimit& operator=(const ParameterLimit&) = delete;

 private:
  std::int64_t before_;
};

enum class Mode : bool { eval, train };
enum class Bias : bool { no, yes };

// Statistics of a network's instance norms, from one pass over one picture: passes that are given them take them for constants,
// so that each pixel depends on those that its convolutions see alone, and tiles and frames of a video have one look.
struct NormConstants {
  std::vector<NormStats> stats;  // [C], in the order of the network
  bool complete = false;         // else the pass adds its own
  std::size_t next = 0;
};

// What a layer needs to know of the pass it is in.
struct Pass {
  Mode mode = Mode::eval;
  Tensor state = {};       // the StepState; for dropout in training
  std::uint32_t call = 0;  // which pass of this network within the step
  NormConstants* constants = nullptr;
};

struct LinearOptions {
  std::int64_t in, out;
  Bias bias = Bias::yes;
  Init weight;
  // Where `in` or `out` is a flattened picture [H,W,C]: its shape, so that files hold PyTorch's C,H,W order.
  Shape in_picture = {}, out_picture = {};
};

class Linear {
 public:
  Linear(Parameters& parameters, const std::string& name, const LinearOptions& options);
  Var operator()(const Var& x) const;  // [N,in] -> [N,out]

 private:
  Parameter& weight_;  // [out,in]
  Parameter* bias_;    // [out]
};

struct ConvOptions {
  std::int64_t in, out, kernel;
  Conv conv = {};
  Bias bias = Bias::yes;
  Init weight;
};

class Conv2d {
 public:
  Conv2d(Parameters& parameters, const std::string& name, const ConvOptions& options);
  Var operator()(const Var& x, const Activation& act = {}) const;  // [N,H,W,in] -> [N,P,Q,out]

  // For the norm that follows, which would take a bias out again: Error(failed) where there is one.
  ConvStats with_batch_stats(const Var& x) const;
  ConvStats with_group_stats(const Var& x, std::int64_t group) const;
  const Conv& geometry() const { return conv_; }

 private:
  void require_no_bias() const;

  Conv conv_;
  Parameter& weight_;  // [out,kernel,kernel,in]
  Parameter* bias_;    // [out]
};

struct BatchNormOptions {
  std::int64_t channels;
  double eps = 1e-5;
  double momentum = 0.1;  // PyTorch's sense: the weight of the new value
  enum class RunningVar : bool { biased, unbiased } running_var = RunningVar::unbiased;  // Keras: biased
  Init gamma = Init::constant(1);
  Shape picture = {};  // where the channels are the units of a flattened picture [H,W,C]
};

// Batch norm and the LeakyReLU that follows it (slope 1: none), of x, or of a convolution without a bias, whose kernel then takes the
// statistics too.
class BatchNorm {
 public:
  BatchNorm(Parameters& parameters, const std::string& name, const BatchNormOptions& options);
  Var operator()(const Var& x, double slope, const Pass& pass) const;
  Var operator()(const Conv2d& conv, const Var& x, double slope, const Pass& pass) const;  // -> [N,P,Q,out], of phases too

 private:
  Var normalized(const Var& x, const NormStats& stats, const NormAct& p) const;
  Var by_running_stats(const Var& x, const NormAct& p) const;

  BatchNormOptions options_;
  Parameter& gamma_;
  Parameter& beta_;
  Parameter& running_mean_;
  Parameter& running_var_;
};

struct GroupNormOptions {
  std::int64_t channels;
  std::int64_t groups;  // divides channels
  double eps = 1e-5;
  bool affine = true;  // has a weight and a bias
};

// Group norm of a convolution without a bias, and the LeakyReLU that follows it (slope 1: none). It has no running statistics: evaluated as
// it is trained.
class GroupNorm {
 public:
  GroupNorm(Parameters& parameters, const std::string& name, const GroupNormOptions& options);
  Var operator()(const Conv2d& conv, const Var& x, double slope, const Pass& pass = {}) const;  // -> [N,P,Q,out], of phases too

 private:
  GroupNormOptions options_;
  Parameter *weight_ = nullptr, *bias_ = nullptr;
  Tensor ones_, zeros_;  // in their place, where there are none
};

struct InstanceNormOptions {
  std::int64_t channels;
  double eps = 1e-5;
  bool affine = false;
};

// As PyTorch's InstanceNorm2d, without running statistics as there.
class InstanceNorm : public GroupNorm {
 public:
  InstanceNorm(Parameters& parameters, const std::string& name, const InstanceNormOptions& o)
      : GroupNorm(parameters, name, {.channels = o.channels, .groups = o.channels, .eps = o.eps, .affine = o.affine}) {}
};

}  // namespace pastiche
