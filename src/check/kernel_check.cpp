#include "check/kernel_check.h"

#include <cmath>
#include <limits>
#include <map>

#include "backends/kernel_arguments.h"
#include "backends/reference/array.h"
#include "backends/reference/reference.h"
#include "pastiche/ops.h"
#include "pastiche/train.h"

namespace pastiche {
namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

double relative_error(double difference, double size) {
  if (difference == 0) return 0;
  const double error = difference / size;
  return std::isnan(error) ? infinite : error;
}

// What another kernel made NaN is NaN on both sides.
bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Both on the reference.
double tensor_error(const Tensor& got, const Tensor& expected) {
  const reference::Array a = reference::load(got), b = reference::load(expected);
  double difference = 0, size = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    if (!std::isnan(b[i])) size += b[i] * b[i];
    if (!same(a[i], b[i])) difference += (a[i] - b[i]) * (a[i] - b[i]);
  }
  constexpr double floor = 1e-7;  // an element, where zero is expected
  return relative_error(std::sqrt(difference), std::max(std::sqrt(size), floor * std::sqrt(static_cast<double>(a.size()))));
}

bool is_step_state(const Tensor& x) {
  return x.dtype() == DType::u8 && x.shape() == Shape{static_cast<std::int64_t>(sizeof(StepState))};
}

// The metrics are reals; all else must be equal.
double state_error(const StepState& got, const StepState& expected) {
  if (got.step != expected.step || got.nonfinite != expected.nonfinite) return infinite;
  double worst = 0;
  for (std::size_t i = 0; i < got.metric.size(); ++i) {
    const double a = got.metric[i], b = expected.metric[i];
    if (!same(a, b)) worst = std::max(worst, relative_error(std::abs(a - b), std::abs(b)));
  }
  return worst;
}

// Runs on the device, and each kernel besides on the reference, from copies of what the device held before it.
class ComparedBackend final : public Backend {
 public:
  explicit ComparedBackend(std::unique_ptr<Backend> device) : device_(std::move(device)) {}
  ~ComparedBackend() override { release_pool(); }

  std::string_view name() const override { return device_->name(); }
  bool supports(DType dtype) const override { return device_->supports(dtype); }
  std::string fingerprint() const override { return device_->fingerprint(); }

#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override;
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  void copy_from_host(void* to, const void* from, std::size_t bytes) override { device_->copy_from_host(to, from, bytes); }
  void copy_to_host(void* to, const void* from, std::size_t bytes) override { device_->copy_to_host(to, from, bytes); }
  std::size_t available_bytes() const override { return device_->available_bytes(); }

  // By kernel and whether it ran in bf16.
  std::map<std::pair<std::string, bool>, KernelCheck> checks;

 protected:
  void* system_allocate(std::size_t bytes) override { return device_->allocate(bytes); }
  void system_release(void* data, std::size_t bytes) override { device_->release(data, bytes); }

 private:
  template <class Kernel> auto call(const char* name, Kernel kernel) {
    return [this, name, kernel](auto&... arguments) {
      std::tuple<decltype(own(arguments))...> here{own(arguments)...}, there = here;
      for_each_tensor_of(there, [this](Tensor& x) { x = downloaded(x); });
      kernel(*device_, arguments...);
      std::apply([&](auto&... copies) { kernel(reference_, copies...); }, there);

      std::vector<Tensor> got, expected;
      for_each_tensor_of(here, [&](Tensor& x) { got.push_back(x); });
      for_each_tensor_of(there, [&](Tensor& x) { expected.push_back(x); });
      compare(name, got, expected);
    };
  }

  Tensor downloaded(const Tensor& x) {
    Tensor copy = Tensor::empty(reference_, x.shape(), x.dtype());
    x.copy_to_host(copy.mutable_raw());
    return copy;
  }

  // Inputs too: a kernel that writes to them is wrong.
  void compare(const char* name, const std::vector<Tensor>& got, const std::vector<Tensor>& expected) {
    double error = 0;
    bool bf16 = false;
    std::string shapes;
    for (std::size_t i = 0; i < got.size(); ++i) {
      error = std::max(error, is_step_state(got[i]) ? state_error(read_step_state(got[i]), read_step_state(expected[i]))
                                                    : tensor_error(downloaded(got[i]), expected[i]));
      bf16 = bf16 || got[i].dtype() == DType::bf16;
      if (i < 4) shapes += (i == 0 ? "" : " ") + got[i].shape().str();
    }
    if (got.size() > 4) shapes += " ...";
    KernelCheck& check = checks[{name, bf16}];
    if (check.runs++ > 0 && error <= check.error) return;
    const DType dtype = bf16 ? DType::bf16 : DType::f32;
    check = {name, dtype, check.runs, shapes, error, allowed_error(dtype)};
  }

  std::unique_ptr<Backend> device_;
  ReferenceBackend reference_;
};

#define PASTICHE_KERNEL(name, parameters, arguments) \
  void ComparedBackend::name parameters { call(#name, [](Backend& on, auto&... a) { on.name(a...); }) arguments; }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

// ---- what is run -----------------------------------------------------------------------------------------------------

void take_training_steps(Backend& backend, DType dtype, const char* loss) {
  TrainConfig config;
  config.seed = 1;
  config.loss = loss;
  config.penalty_every = 2;
  config.l1 = config.l2 = 1e-3;
  const ModelConfig model{.height = 36, .width = 26, .channels = 3, .nz = 8, .ngf = 8, .ndf = 8, .d_norm = true, .dropout = 0.25};
  GanTrainer trainer(backend, config, model, dtype);
  std::vector<std::uint8_t> pictures(static_cast<std::size_t>(4 * model.height * model.width * model.channels));
  for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i] = static_cast<std::uint8_t>(i * 37 % 256);
  try {
    for (int step = 0; step < 2; ++step) trainer.step(pictures);
  } catch (const Error& error) {
    if (error.code() != ExitCode::diverged) throw;  // a wrong kernel can do that, and is found out
  }
}

class OpRunner {
 public:
  OpRunner(Backend& backend, DType dtype) : backend_(backend), dtype_(dtype), state_(make_step_state(backend)) {}

  Tensor random(const Shape& shape) { return random(shape, dtype_); }
  Tensor random_parameter(const Shape& shape) { return random(shape, DType::f32); }

  // op on an x of this shape, and its gradient
  template <class Op> void operator()(const Shape& shape, Op op) {
    tape_.reset();
    const Recording recording(&tape_);
    const Var x = tape_.leaf(random(shape));
    const Var y = op(x);
    grad(y, {&x, 1}, {.cotangent = random(y.shape(), y.dtype())});
  }

 private:
  Tensor random(const Shape& shape, DType dtype) {
    Tensor x = Tensor::empty(backend_, shape, dtype);
    backend_.random_normal(x, {1, next_++}, state_);
    return x;
  }

  Backend& backend_;
  DType dtype_;
  Tensor state_;
  Tape tape_;
  std::uint32_t next_ = 0;
};

// A convolution's three kernels.
void convolve(OpRunner& run, const Shape& x, const Shape& w, const Conv& p) {
  run(x, [&](const Var& v) { return conv2d(v, run.random_parameter(w), p); });
  const Var dy = run.random(conv2d_shape(x, w, p));
  conv2d_wgrad(run.random(x), dy, p, w);
}

// And what can end one.
void convolve_on(OpRunner& run, const Shape& x, const Shape& w, const Conv& p) {
  const Var weights = run.random_parameter(w), per_channel = run.random_parameter({w[0]});
  run(x, [&](const Var& v) {
    const auto [y, stats] = conv2d_batch_stats(v, weights, p);
    return norm_act(y, stats, per_channel, per_channel, {.slope = 0.2, .from = p.out});
  });
  for (const std::int64_t group : {std::int64_t{1}, w[0] / 2}) {
    run(x, [&](const Var& v) { return conv2d_group_stats(v, weights, p, group).y; });
  }
  if (p.out == Phases::inner) return;
  for (const Activation::Kind kind : {Activation::Kind::leaky_relu, Activation::Kind::tanh}) {
    run(x, [&](const Var& v) { return conv2d_bias_act(v, weights, per_channel, p, {.kind = kind}); });
  }
}

void call_ops(Backend& backend, DType dtype) {
  OpRunner run(backend, dtype);
  const Tensor state = make_step_state(backend);
  for (const Shape& shape : {Shape{3, 5, 7, 9}, Shape{2, 8, 4, 16}}) {
    const auto positive = [](const Var& x) { return affine(sigmoid(x), {.shift = 0.5}); };
    run(shape, [](const Var& x) { return exp(x); });
    run(shape, [&](const Var& x) { return log(positive(x)); });
    run(shape, [&](const Var& x) { return sqrt(positive(x)); });
    run(shape, [&](const Var& x) { return div(x - tanh(x), positive(x) * x); });
    run(shape, [](const Var& x) { return leaky_relu(x, 0.2); });
    run(shape, [](const Var& x) { return upsample(x, 2); });
    for (const Pad::Mode mode : {Pad::Mode::reflect, Pad::Mode::replicate})
      run(shape, [mode](const Var& x) { return pad(x, {.top = 1, .bottom = 2, .left = 3, .right = 1, .mode = mode}); });
    run(shape, [&](const Var& x) { return sample_pixels(x, {.count = 13, .key = {.seed = 7}}, state); });
    for (const std::int64_t group : {std::int64_t{1}, shape[3] == 9 ? 3 : shape[3] / 4}) {
      const NormAct p{.slope = 0.2, .group = group};
      const Var gamma = run.random_parameter({shape[3]}), beta = run.random_parameter({shape[3]});
      run(shape, [&](const Var& x) { return norm_act(x, group_stats(x, p), gamma, beta, p); });
    }
    run(shape, [&](const Var& x) { return diff_augment(x, {}, make_step_state(backend)); });
    run(shape, [](const Var& x) { return concat(std::vector<Var>{slice(x, 1, 1, 3), slice(x, 1, 0, 2)}, 1); });
    for (int axis = 0; axis < 4; ++axis) run(shape, [axis](const Var& x) { return sum(x, axis); });
    Tensor bytes = Tensor::empty(backend, shape, DType::u8);
    backend.quantize(bytes, run.random(shape));
    Tensor seen = make_step_state(backend);
    backend.find_nonfinite(seen, std::vector<Tensor>{Tensor::full(backend, shape, 0.375, dtype), run.random(shape)}, 3);
    backend.store_metric(seen, sum(run.random(shape)).value(), 2);
  }
  run({2, 4, 6, 12}, [](const Var& x) { return join_phases(x, Phases::inner); });
  run({8, 4, 6, 3}, [](const Var& x) { return join_phases(x, Phases::outer); });
  for (const Transpose a : {Transpose::no, Transpose::yes})
    for (const Transpose b : {Transpose::no, Transpose::yes}) {
      const Var right = run.random(b == Transpose::yes ? Shape{135, 270} : Shape{270, 135});
      run(a == Transpose::yes ? Shape{270, 133} : Shape{133, 270}, [&](const Var& x) { return gemm(x, right, {.a = a, .b = b}); });
    }
  convolve(run, {2, 28, 28, 64}, {64, 3, 3, 64}, {.pad = 1});
  convolve(run, {2, 9, 7, 12}, {6, 4, 4, 6}, {.stride = 2, .pad = 3, .dilation = 2, .groups = 2});
  convolve(run, {2, 7, 7, 33}, {17, 5, 5, 33}, {.pad = 2, .upsample = 2});
  convolve(run, {2, 7, 7, 33}, {17, 3, 3, 33}, {.pad = 1, .upsample = 2, .out = Phases::outer});
  convolve_on(run, {2, 16, 24, 64}, {136, 3, 3, 64}, {.pad = 1});
  convolve_on(run, {2, 9, 7, 12}, {6, 4, 4, 12}, {.stride = 2, .pad = 1});
  convolve_on(run, {2, 8, 8, 32}, {16, 5, 5, 32}, {.pad = 2, .upsample = 2, .out = Phases::inner});
  convolve_on(run, {2, 8, 6, 32}, {16, 3, 3, 32}, {.pad = 1, .upsample = 2, .out = Phases::outer});
  for (int axis = 0; axis < 4; ++axis) run({3, 5, 7, 9}, [axis](const Var& x) { return gather(sort(x, axis).values, sort(x, axis).order, axis); });
}

}  // namespace

// Sums of many terms that nearly cancel lose a few digits more than the terms have.
double allowed_error(DType dtype) { return dtype == DType::bf16 ? 1e-2 : 1e-5; }

std::vector<KernelCheck> check_kernels(std::unique_ptr<Backend> device) {
  ComparedBackend backend(std::move(device));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    if (!backend.supports(dtype)) continue;
    for (const char* loss : {"non-saturating", "relativistic"}) take_training_steps(backend, dtype, loss);
    call_ops(backend, dtype);
  }
  std::vector<KernelCheck> all;
  const auto add = [&](const char* kernel) {
    for (const bool bf16 : {false, true}) {
      const auto at = backend.checks.find({kernel, bf16});
      if (at != backend.checks.end()) all.push_back(at->second);
    }
    if (all.empty() || all.back().kernel != kernel) all.push_back({.kernel = kernel, .shapes = "was not run"});
  };
#define PASTICHE_KERNEL(name, parameters, arguments) add(#name);
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL
  return all;
}

}  // namespace pastiche
