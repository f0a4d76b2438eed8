// What every training step has, whatever its networks.
#include <fmt/format.h>

#include <numeric>
#include <algorithm>
#include <cmath>

#include "ops/check.h"
#include "pastiche/checkpoint.h"
#include "pastiche/train.h"

namespace pastiche {
namespace {

enum Metric { loss_g, loss_d, d_real, d_fake, loss_content };  // of StepState::metric
constexpr std::int32_t losses = 3;                             // ids for find_nonfinite: gradients follow them

// Of the averages of weights in step t. It rises, or the random weights of the start would be in them for 1 / (1 - ema) steps and more.
double ema_decay(const TrainConfig& config, std::int64_t t) {
  const auto steps = static_cast<double>(t);
  return config.ema_warmup ? std::min(config.ema, (1 + steps) / (10 + steps)) : config.ema;
}

}  // namespace

Trainer::Trainer(Backend& backend, const TrainConfig& config, const Shape& picture, std::size_t domains, DType dtype)
    : backend_(backend),
      config_(config),
      dtype_(dtype),
      state_tensor_(make_step_state(backend)),
      picture_(picture),
      domains_(domains),
      pictures_(domains) {}

void Trainer::add_network(Side side, Parameters& parameters, Parameters* averaged) {
  if (averaged != nullptr) copy_parameters(*averaged, parameters);
  const Adam adam{.slot = static_cast<int>(side), .beta1 = config_.beta1, .beta2 = config_.beta2, .eps = config_.adam_eps};
  networks_.emplace_back(parameters, averaged, adam);
}

StepStats Trainer::step(std::initializer_list<PictureBytes> domains) {
  prefetch(domains);
  return step_prefetched();
}

void Trainer::prefetch(std::initializer_list<PictureBytes> domains) {
  require(domains.size() >= domains_.size(), "Trainer", "pictures of {} domains, expected {}", domains.size(), domains_.size());
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    const PictureBytes pictures = domains.begin()[i];
    const std::int64_t n = std::ssize(pictures) / picture_.elements();
    require(n > 0 && std::ssize(pictures) % picture_.elements() == 0 && pictures.size() == domains.begin()->size(), "Trainer",
            "{} bytes of pictures in domain {}, expected as many pictures of {} as in the first domain", pictures.size(), i + 1, picture_.str());
    const Shape shape{n, picture_[0], picture_[1], picture_[2]};
    for (Tensor& each : domains_[i].bytes) {
      if (!each.defined()) each = Tensor::empty(backend_, shape, DType::u8);
    }
    Tensor& bytes = domains_[i].bytes[1 - current_];
    if (bytes.shape() != shape) bytes = Tensor::empty(backend_, shape, DType::u8);
    backend_.prefetch_from_host(bytes.mutable_raw(), pictures.data(), bytes.bytes());
  }
}

StepStats Trainer::step_prefetched(const std::function<void()>& meanwhile) {
  current_ = 1 - current_;
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    const Shape& shape = domains_[i].bytes[current_].shape();  // [N,H,W,C]
    if (pictures_[i].defined() && pictures_[i].shape() == shape) continue;
    variants_.clear();
    pictures_[i] = Tensor::empty(backend_, shape, dtype_);
  }
  begin_step();
  for (std::size_t i = 0; i < domains_.size(); ++i) backend_.dequantize(pictures_[i], domains_[i].bytes[current_]);

  // The first step of a shape, and of a variant, runs kernel by kernel; the second is recorded, where the backend can, and from then on replayed.
  const auto launch = [this] { launch_step([this] { return compute(pictures_); }); };
  Variant& variant = variants_[step_variant()];
  if (++variant.steps == 2 && recordable_) {
    forget_step();  // the recording takes over the memory
    variant.replay = backend_.record(launch);
  }
  if (variant.replay) variant.replay->run();
  else launch();
  if (meanwhile) meanwhile();
  return end_step();
}

StepStats Trainer::run_eagerly(const std::function<Losses()>& compute) {
  begin_step();
  launch_step(compute);
  return end_step();
}

void Trainer::begin_step() {
  ++state_.step;
  double rate = 1;  // falls linearly from --decay-from on, to 0 after the last step
  if (total_steps_ > 0 && config_.decay_from < 1) {
    const double left = static_cast<double>(total_steps_ - state_.step + 1), whole = static_cast<double>(total_steps_);
    rate = std::clamp(left / (whole * (1 - config_.decay_from)), 0.0, 1.0);
  }
  state_.optim[static_cast<int>(Side::g)] = {.lr = rate * config_.lr_g, .t = state_.step};
  state_.optim[static_cast<int>(Side::d)] = {.lr = rate * config_.lr_d, .t = state_.step};
  state_.ema_step = 1 - ema_decay(config_, state_.step);
  state_.nonfinite = -1;
  write_step_state(state_tensor_, state_);
}

void Trainer::forget_step() { tape_.reset(); }

void Trainer::launch_step(const std::function<Losses()>& compute) {
  forget_step();
  const Recording recording(&tape_);
  const Losses now = compute();

  const Recording off(nullptr);
  std::vector<Tensor> values{now.g.value(), now.d.value()};
  if (now.content.defined()) values.push_back(now.content.value());
  backend_.find_nonfinite(state_tensor_, values, 0);
  backend_.store_metric(state_tensor_, values[0], loss_g);
  backend_.store_metric(state_tensor_, values[1], loss_d);
  if (now.content.defined()) backend_.store_metric(state_tensor_, values[2], loss_content);
  const DType wide = parameter_dtype(dtype_);
  Var real = cast(now.real_logits, wide), fake = cast(now.fake_logits, wide);
  if (adversarial_loss(config_.loss).relativistic) {
    real = real - fake;
    fake = -real;
  }
  backend_.store_metric(state_tensor_, mean(sigmoid(real)).value(), d_real);
  backend_.store_metric(state_tensor_, mean(sigmoid(fake)).value(), d_fake);
}

StepStats Trainer::end_step() {
  const StepState after = read_step_state(state_tensor_);
  if (after.nonfinite >= 0) refuse_nonfinite(after.nonfinite);
  return {.step = state_.step, .loss_g = after.metric[loss_g], .loss_d = after.metric[loss_d], .d_real = after.metric[d_real],
          .d_fake = after.metric[d_fake], .loss_content = after.metric[loss_content]};
}

Var Trainer::augmented(const Var& pictures, std::uint32_t call) const {
  const Augment a = parse_augment(config_.augment);
  if (!a.color && !a.translation && !a.cutout) return pictures;
  const DiffAugment p{.key = {static_cast<std::uint64_t>(config_.seed), streams::augment + call}, .brightness = a.color,
                      .saturation = a.color, .contrast = a.color, .translation = a.translation, .cutout = a.cutout};
  return diff_augment(pictures, p, state_tensor_);
}

std::vector<Var> Trainer::gradients(const Var& loss, std::initializer_list<std::size_t> networks) const {
  Var total = loss;
  std::vector<Var> vars;
  for (const std::size_t i : networks) {
    const Parameters& parameters = networks_[i].parameters;
    const Var penalty = weight_penalty(parameters, config_.l1, config_.l2);
    if (penalty.defined()) total = total + penalty;
    for (const Var& var : parameters.vars()) vars.push_back(var);
  }
  return grad(total, vars);
}

void Trainer::update(std::span<const Var> gradients, std::initializer_list<std::size_t> networks) {
  for (const std::size_t i : networks) {
    Network& network = networks_[i];
    std::int32_t id = losses;
    for (std::size_t before = 0; before < i; ++before) id += static_cast<std::int32_t>(networks_[before].parameters.vars().size());
    const std::span<const Var> own = gradients.first(network.parameters.vars().size());
    gradients = gradients.subspan(own.size());
    std::vector<Tensor> values;
    for (const Var& gradient : own) values.push_back(gradient.value());
    backend_.find_nonfinite(state_tensor_, values, id);
    network.adam.step(own, state_tensor_);
    if (network.averaged != nullptr) average_running_stats(*network.averaged, network.parameters, state_tensor_);
  }
}

void Trainer::refuse_nonfinite(std::int32_t id) const {
  std::vector<std::string> names{"the generator's loss", "the discriminator's loss", "the content loss"};
  for (const Network& network : networks_) {
    for (const std::string& name : network.parameters.names()) names.push_back("the gradient of " + name);
  }
  throw Error(ExitCode::diverged, fmt::format("{} is not finite at step {}: training has diverged; lower lr-g and lr-d, and "
                                              "resume from the last checkpoint", names.at(static_cast<std::size_t>(id)), state_.step));
}

void Trainer::save(SafetensorsFile& file) const {
  for (const Network& n : networks_) append_parameters(file, n.parameters.prefix(), n.parameters);
  for (const Network& n : networks_) {
    if (n.averaged != nullptr) append_parameters(file, n.averaged->prefix(), *n.averaged);
  }
  for (const Network& n : networks_) {
    append_parameters(file, "adam_m." + n.parameters.prefix(), n.adam.m());
    append_parameters(file, "adam_v." + n.parameters.prefix(), n.adam.v());
  }
}

std::size_t Trainer::saved_bytes() const {
  SafetensorsFile file;
  save(file);
  return std::accumulate(file.tensors.begin(), file.tensors.end(), std::size_t{0}, [](std::size_t sum, const SafeTensor& t) { return sum + t.bytes.size(); });
}

void Trainer::load(const SafetensorsFile& file, std::int64_t step) {
  for (Network& n : networks_) {
    load_parameters(file, n.parameters.prefix(), n.parameters);
    if (n.averaged != nullptr) load_parameters(file, n.averaged->prefix(), *n.averaged);
    load_parameters(file, "adam_m." + n.parameters.prefix(), n.adam.m());
    load_parameters(file, "adam_v." + n.parameters.prefix(), n.adam.v());
  }
  state_ = StepState{};
  state_.step = step;
}

}  // namespace pastiche
