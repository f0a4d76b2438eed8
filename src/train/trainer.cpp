#include <fmt/format.h>

#include <cmath>

#include "pastiche/checkpoint.h"
#include "pastiche/train.h"

namespace pastiche {
namespace {

enum Slot { slot_g, slot_d };                                // of StepState::optim
enum Metric { loss_g, loss_d, d_real, d_fake };              // of StepState::metric
constexpr std::int32_t first_gradient_d = 2;                 // ids for find_nonfinite: 0 and 1 are the losses, D's gradients follow

Adam adam_settings(const TrainConfig& config, int slot) {
  return {.slot = slot, .beta1 = config.beta1, .beta2 = config.beta2, .eps = config.adam_eps, .ema_decay = config.ema};
}

std::vector<Tensor> values_of(const std::vector<Var>& vars) {
  std::vector<Tensor> tensors;
  for (const Var& v : vars) tensors.push_back(v.value());
  return tensors;
}

}  // namespace

GanTrainer::GanTrainer(Backend& backend, const TrainConfig& config, const ModelConfig& model, DType dtype)
    : backend_(backend),
      config_(config),
      model_(model),
      dtype_(dtype),
      generator_(make_generator(backend, model, static_cast<std::uint64_t>(config.seed), "G.", dtype)),
      average_copy_(config.ema > 0 ? make_generator(backend, model, static_cast<std::uint64_t>(config.seed), "EMA.", dtype) : nullptr),
      discriminator_(make_discriminator(backend, model, static_cast<std::uint64_t>(config.seed), dtype)),
      averaged_(average_copy_ ? average_copy_.get() : generator_.get()),
      adam_g_(generator_->parameters(), adam_settings(config, slot_g), average_copy_ ? &average_copy_->parameters() : nullptr),
      adam_d_(discriminator_->parameters(), adam_settings(config, slot_d)),
      state_tensor_(make_step_state(backend)) {
  if (average_copy_) copy_parameters(average_copy_->parameters(), generator_->parameters());
}

StepStats GanTrainer::step(std::span<const std::uint8_t> pictures) {
  prefetch(pictures);
  return step_prefetched();
}

void GanTrainer::prefetch(std::span<const std::uint8_t> pictures) {
  const std::int64_t n = static_cast<std::int64_t>(pictures.size()) / (model_.height * model_.width * model_.channels);
  const Shape shape{n, model_.height, model_.width, model_.channels};
  for (Tensor& each : pictures_) {
    if (!each.defined()) each = Tensor::empty(backend_, shape, DType::u8);
  }
  Tensor& bytes = pictures_[1 - current_];
  if (bytes.shape() != shape) bytes = Tensor::empty(backend_, shape, DType::u8);
  backend_.prefetch_from_host(bytes.mutable_raw(), pictures.data(), bytes.bytes());
}

StepStats GanTrainer::step_prefetched(const std::function<void()>& meanwhile) {
  current_ = 1 - current_;
  const Tensor& bytes = pictures_[current_];  // [N,H,W,C]
  if (!real_.defined() || real_.shape() != bytes.shape()) {
    replay_ = nullptr;
    steps_of_shape_ = 0;
    real_ = Tensor::empty(backend_, bytes.shape(), dtype_);
    latents_ = Tensor::empty(backend_, {bytes.shape()[0], model_.nz}, dtype_);
  }
  begin_step();
  backend_.dequantize(real_, bytes);
  backend_.random_normal(latents_, {static_cast<std::uint64_t>(config_.seed), streams::latents}, state_tensor_);

  // The first step of a shape runs kernel by kernel; the second is recorded, where the backend can, and from then on replayed.
  if (++steps_of_shape_ == 2) {
    forget_step();  // the recording takes over the memory
    replay_ = backend_.record([&] { launch_step(real_, latents_); });
  }
  if (replay_) replay_->run();
  else launch_step(real_, latents_);
  if (meanwhile) meanwhile();
  return end_step();
}

StepStats GanTrainer::step(const Tensor& real, const Tensor& z) {
  begin_step();
  launch_step(real, z);
  return end_step();
}

void GanTrainer::begin_step() {
  ++state_.step;
  state_.optim[slot_g] = {.lr = config_.lr_g, .t = state_.step};
  state_.optim[slot_d] = {.lr = config_.lr_d, .t = state_.step};
  state_.nonfinite = -1;
  write_step_state(state_tensor_, state_);
}

void GanTrainer::forget_step() {
  gradients_g_.clear();
  gradients_d_.clear();
  tape_.reset();
}

void GanTrainer::launch_step(const Tensor& real, const Tensor& z) {
  forget_step();
  const Recording recording(&tape_);
  const Losses losses = config_.step == "joint" ? joint_step(real, z) : alternating_step(real, z);

  const Recording off(nullptr);
  const std::vector<Tensor> loss_values{losses.g.value(), losses.d.value()};
  backend_.find_nonfinite(state_tensor_, loss_values, 0);
  backend_.store_metric(state_tensor_, loss_values[0], loss_g);
  backend_.store_metric(state_tensor_, loss_values[1], loss_d);
  const DType wide = dtype_ == DType::bf16 ? DType::f32 : dtype_;
  backend_.store_metric(state_tensor_, mean(sigmoid(cast(losses.real_logits, wide))).value(), d_real);
  backend_.store_metric(state_tensor_, mean(sigmoid(cast(losses.fake_logits, wide))).value(), d_fake);
}

StepStats GanTrainer::end_step() {
  const StepState after = read_step_state(state_tensor_);
  if (after.nonfinite >= 0) refuse_nonfinite(after.nonfinite);
  return {.step = state_.step, .loss_g = after.metric[loss_g], .loss_d = after.metric[loss_d], .d_real = after.metric[d_real],
          .d_fake = after.metric[d_fake]};
}

GanTrainer::Losses GanTrainer::alternating_step(const Var& real, const Var& z) {
  const Discriminator& d = *discriminator_;
  const Var fake = (*generator_)(z, pass(0));       // [N,H,W,C]
  const Var real_logits = d(real, pass(0));         // [N,1]
  const Var fake_logits = d(detach(fake), pass(1));
  const Var d_loss = discriminator_loss(real_logits, fake_logits, config_.label_smoothing);
  gradients_d_ = grad(with_penalty(d_loss, discriminator_->parameters()), discriminator_->parameters().vars());
  update_d();

  const Var g_loss = generator_loss(d(fake, pass(2)), config_.loss == "minimax" ? GeneratorLoss::minimax : GeneratorLoss::non_saturating);
  gradients_g_ = grad(with_penalty(g_loss, generator_->parameters()), generator_->parameters().vars());
  update_g();
  return {d_loss, g_loss, real_logits, fake_logits};
}

GanTrainer::Losses GanTrainer::joint_step(const Var& real, const Var& z) {
  const Discriminator& d = *discriminator_;
  const Var fake_logits = d((*generator_)(z, pass(0)), pass(1));  // [N,1]
  const Var real_logits = d(real, pass(0));
  const Var d_loss = discriminator_loss(real_logits, fake_logits, config_.label_smoothing);
  const Var g_loss = generator_loss(fake_logits, config_.loss == "minimax" ? GeneratorLoss::minimax : GeneratorLoss::non_saturating);
  gradients_d_ = grad(with_penalty(d_loss, discriminator_->parameters()), discriminator_->parameters().vars());
  gradients_g_ = grad(with_penalty(g_loss, generator_->parameters()), generator_->parameters().vars());
  update_d();
  update_g();
  return {d_loss, g_loss, real_logits, fake_logits};
}

Var GanTrainer::with_penalty(const Var& loss, const Parameters& parameters) const {
  const Var penalty = weight_penalty(parameters, config_.l1, config_.l2);
  return penalty.defined() ? loss + penalty : loss;
}

void GanTrainer::update_d() {
  backend_.find_nonfinite(state_tensor_, values_of(gradients_d_), first_gradient_d);
  adam_d_.step(gradients_d_, state_tensor_);
}

void GanTrainer::update_g() {
  const auto first_gradient_g = first_gradient_d + static_cast<std::int32_t>(gradients_d_.size());
  backend_.find_nonfinite(state_tensor_, values_of(gradients_g_), first_gradient_g);
  adam_g_.step(gradients_g_, state_tensor_);
  if (average_copy_) average_running_stats(average_copy_->parameters(), generator_->parameters(), config_.ema);
}

void GanTrainer::refuse_nonfinite(std::int32_t id) const {
  std::vector<std::string> names{"the generator's loss", "the discriminator's loss"};
  for (const Parameters* parameters : {&discriminator_->parameters(), &generator_->parameters()}) {
    for (const std::string& name : parameters->names()) names.push_back("the gradient of " + name);
  }
  throw Error(ExitCode::diverged, fmt::format("{} is not finite at step {}: training has diverged; lower lr-g and lr-d, and "
                                              "resume from the last checkpoint", names.at(static_cast<std::size_t>(id)), state_.step));
}

void GanTrainer::save(SafetensorsFile& file) const {
  append_parameters(file, "G.", generator_->parameters());
  append_parameters(file, "D.", discriminator_->parameters());
  if (average_copy_) append_parameters(file, "EMA.", average_copy_->parameters());
  append_parameters(file, "adam_m.G.", adam_g_.m());
  append_parameters(file, "adam_v.G.", adam_g_.v());
  append_parameters(file, "adam_m.D.", adam_d_.m());
  append_parameters(file, "adam_v.D.", adam_d_.v());
}

void GanTrainer::load(const SafetensorsFile& file, std::int64_t step) {
  load_parameters(file, "G.", generator_->parameters());
  load_parameters(file, "D.", discriminator_->parameters());
  if (average_copy_) load_parameters(file, "EMA.", average_copy_->parameters());
  load_parameters(file, "adam_m.G.", adam_g_.m());
  load_parameters(file, "adam_v.G.", adam_g_.v());
  load_parameters(file, "adam_m.D.", adam_d_.m());
  load_parameters(file, "adam_v.D.", adam_d_.v());
  state_ = StepState{};
  state_.step = step;
}

std::vector<float> sample_latent(std::uint64_t seed, std::int64_t nz) {
  std::vector<float> z(static_cast<std::size_t>((nz + 3) / 4 * 4));
  for (std::int64_t i = 0; i < nz; i += 4) normal4({seed, streams::samples}, 0, static_cast<std::uint64_t>(i / 4), &z[i]);
  z.resize(static_cast<std::size_t>(nz));
  return z;
}

std::vector<float> sample_latents(std::span<const std::uint64_t> seeds, std::int64_t nz) {
  std::vector<float> latents;
  for (std::uint64_t seed : seeds) {
    const std::vector<float> z = sample_latent(seed, nz);
    latents.insert(latents.end(), z.begin(), z.end());
  }
  return latents;
}

std::vector<Image> generate_pictures(Generator& generator, std::span<const float> latents, std::int64_t batch) {
  const ModelConfig& config = generator.config();
  Backend& backend = generator.parameters().backend();
  const std::int64_t count = static_cast<std::int64_t>(latents.size()) / config.nz;
  const Recording off(nullptr);
  std::vector<Image> pictures;
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t n = std::min(batch, count - begin);
    const Tensor z = Tensor::from_host(backend, {n, config.nz}, latents.data() + begin * config.nz);
    const Var y = generator(z, {.mode = Mode::eval});
    Tensor bytes = Tensor::empty(backend, y.shape(), DType::u8);  // [n,H,W,C]
    backend.quantize(bytes, y.value());
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(y.shape().elements()));
    bytes.copy_to_host(pixels.data());
    const std::size_t each = pixels.size() / static_cast<std::size_t>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at = pixels.begin() + static_cast<std::ptrdiff_t>(i * each);
      pictures.push_back({static_cast<int>(config.height), static_cast<int>(config.width), static_cast<int>(config.channels),
                          {at, at + static_cast<std::ptrdiff_t>(each)}});
    }
  }
  return pictures;
}

}  // namespace pastiche
