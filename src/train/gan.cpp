// New pictures from noise: the step of a generator and a discriminator, and what the generator makes.
#include <algorithm>

#include "pastiche/train.h"
#include "train/pictures.h"

namespace pastiche {
namespace {

constexpr std::size_t net_g = 0, net_d = 1;  // in the order of add_network()

}  // namespace

GanTrainer::GanTrainer(Backend& backend, const TrainConfig& config, const ModelConfig& model, DType dtype)
    : Trainer(backend, config, {model.height, model.width, model.channels}, 1, dtype),
      model_(model),
      loss_(adversarial_loss(config.loss)),
      generator_(make_generator(backend, model, static_cast<std::uint64_t>(config.seed), "G.", dtype)),
      average_copy_(config.ema > 0 ? make_generator(backend, model, static_cast<std::uint64_t>(config.seed), "EMA.", dtype) : nullptr),
      discriminator_(make_discriminator(backend, model, static_cast<std::uint64_t>(config.seed), dtype)),
      averaged_(average_copy_ ? average_copy_.get() : generator_.get()) {
  add_network(Side::g, generator_->parameters(), average_copy_ ? &average_copy_->parameters() : nullptr);
  add_network(Side::d, discriminator_->parameters());
}

StepStats GanTrainer::step(const Tensor& real, const Tensor& z) {
  return run_eagerly([&] { return config_.step == "joint" ? joint_step(real, z) : alternating_step(real, z); });
}

GanTrainer::Losses GanTrainer::compute(std::span<const Tensor> pictures) {
  const Tensor& real = pictures[0];  // [N,H,W,C]
  Tensor z = Tensor::empty(backend_, {real.shape()[0], model_.nz}, dtype_);
  backend_.random_normal(z, {static_cast<std::uint64_t>(config_.seed), streams::latents}, state_tensor_);
  return config_.step == "joint" ? joint_step(real, z) : alternating_step(real, z);
}

void GanTrainer::forget_step() {
  gradients_g_.clear();
  gradients_d_.clear();
  Trainer::forget_step();
}

GanTrainer::Losses GanTrainer::alternating_step(const Var& real, const Var& z) {
  const Discriminator& d = *discriminator_;
  const Var fake = (*generator_)(z, pass(0));       // [N,H,W,C]
  const Var real_logits = d(augmented(real, 0), pass(0));  // [N,1]
  const Var fake_logits = d(augmented(detach(fake), 1), pass(1));
  const Var d_loss = loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
  gradients_d_ = gradients(d_loss, {net_d});
  update(gradients_d_, {net_d});

  const Var g_loss = loss_.generator(d(augmented(fake, 2), pass(2)));
  gradients_g_ = gradients(g_loss, {net_g});
  update(gradients_g_, {net_g});
  return {d_loss, g_loss, real_logits, fake_logits};
}

GanTrainer::Losses GanTrainer::joint_step(const Var& real, const Var& z) {
  const Discriminator& d = *discriminator_;
  const Var fake_logits = d(augmented((*generator_)(z, pass(0)), 1), pass(1));  // [N,1]
  const Var real_logits = d(augmented(real, 0), pass(0));
  const Var d_loss = loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
  const Var g_loss = loss_.generator(fake_logits);
  gradients_d_ = gradients(d_loss, {net_d});
  gradients_g_ = gradients(g_loss, {net_g});
  update(gradients_d_, {net_d});
  update(gradients_g_, {net_g});
  return {d_loss, g_loss, real_logits, fake_logits};
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
  std::vector<Image> pictures;
  generate_pictures(generator, latents, [&](Image picture) { pictures.push_back(std::move(picture)); }, batch);
  return pictures;
}

void generate_pictures(Generator& generator, std::span<const float> latents, const std::function<void(Image)>& each, std::int64_t batch) {
  const std::int64_t nz = generator.config().nz;
  Backend& backend = generator.parameters().backend();
  const std::int64_t count = static_cast<std::int64_t>(latents.size()) / nz;
  const ModelConfig& model = generator.config();
  batch = std::clamp<std::int64_t>((std::int64_t{1} << 24) / (model.height * model.width), 1, batch);  // large ones take gigabytes each
  const Recording off(nullptr);
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t n = std::min(batch, count - begin);
    const Tensor z = Tensor::from_host(backend, {n, nz}, latents.data() + begin * nz);
    const Var y = generator(z, {.mode = Mode::eval});
    for (Image& picture : to_pictures(y.value())) each(std::move(picture));
  }
}

}  // namespace pastiche
