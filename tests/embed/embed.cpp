// A program that embeds pastiche. It trains a small generator on stripes: by the trainer, and by a loop and a loss of its own.
#include <pastiche/files.h>
#include <pastiche/image.h>
#include <pastiche/models.h>
#include <pastiche/ops.h>
#include <pastiche/optim.h>
#include <pastiche/train.h>

#include <cstdio>

namespace {

using namespace pastiche;

constexpr int batch = 8, side = 8, nz = 4;

std::vector<std::uint8_t> stripes() {
  std::vector<std::uint8_t> pictures(batch * side * side);  // [N,H,W,C]
  for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i] = i % 2 == 0 ? 0 : 255;
  return pictures;
}

// The trainer brings losses, optimizers, the average and the recorded step along.
void train_by_trainer(Backend& backend, const ModelConfig& model) {
  TrainConfig config;
  config.batch = batch;
  GanTrainer trainer(backend, config, model);
  StepStats stats;
  for (int i = 0; i < 5; ++i) stats = trainer.step(stripes());
  std::printf("step %lld, loss_g %.4f, loss_d %.4f\n", static_cast<long long>(stats.step), stats.loss_g, stats.loss_d);
}

// The same by hand, with the loss of Arjovsky et al., 2017, and weights kept small by clamping what D says.
double train_by_hand(Backend& backend, const ModelConfig& model) {
  const auto g = make_generator(backend, model, 1);
  const auto d = make_discriminator(backend, model, 1);
  AdamOptimizer adam_g(g->parameters(), {}), adam_d(d->parameters(), {});
  std::vector<float> values;
  for (const std::uint8_t byte : stripes()) values.push_back(static_cast<float>(byte) / 127.5f - 1);
  const Var real = Tensor::from_host(backend, {batch, side, side, 1}, values.data());
  const Pass pass{.mode = Mode::train};
  Tape tape;
  double loss = 0;
  for (std::uint64_t step = 0; step < 5; ++step) {
    tape.reset();
    const Recording recording(&tape);
    const std::uint64_t seeds[batch] = {step, step + 100, step + 200, step + 300, step + 400, step + 500, step + 600, step + 700};
    const Var z = Tensor::from_host(backend, {batch, nz}, sample_latents(seeds, nz).data());
    const Var fake = (*g)(z, pass);  // [N,H,W,C]
    const Var loss_d = mean(clamp((*d)(detach(fake), pass), -10, 10)) - mean(clamp((*d)(real, pass), -10, 10));
    adam_d.step(grad(loss_d, d->parameters().vars()), 1e-3);
    const Var loss_g = 1 - mean((*d)(fake, pass));
    adam_g.step(grad(loss_g, g->parameters().vars()), 1e-3);
    loss = loss_d.item();
  }
  std::printf("by hand, loss_d %.4f\n", loss);
  const auto pictures = generate_pictures(*g, sample_latent(0, nz));
  write_file_atomically("stripes.png", encode_png(pictures.front()));
  return loss;
}

}  // namespace

int main() {
  const auto backend = make_backend("cpu");
  const ModelConfig model{.height = side, .width = side, .nz = nz, .ngf = 4, .ndf = 4};
  train_by_trainer(*backend, model);
  return train_by_hand(*backend, model) < 0 ? 0 : 1;  // D has begun to tell them apart
}
