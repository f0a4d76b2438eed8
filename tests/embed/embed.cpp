// A program that embeds pastiche: trains a small generator on stripes for a few steps and writes what it makes.
#include <pastiche/files.h>
#include <pastiche/image.h>
#include <pastiche/train.h>

#include <cstdio>

int main() {
  const auto backend = pastiche::make_backend("cpu");
  pastiche::TrainConfig config;
  config.batch = 8;
  pastiche::GanTrainer trainer(*backend, config, {.height = 8, .width = 8, .nz = 4, .ngf = 4, .ndf = 4});

  std::vector<std::uint8_t> stripes(8 * 8 * 8);  // [N,H,W,C]
  for (std::size_t i = 0; i < stripes.size(); ++i) stripes[i] = i % 2 == 0 ? 0 : 255;

  pastiche::StepStats stats;
  for (int i = 0; i < 5; ++i) stats = trainer.step(stripes);
  std::printf("step %lld, loss_g %.4f, loss_d %.4f\n", static_cast<long long>(stats.step), stats.loss_g, stats.loss_d);

  std::vector<float> latents = pastiche::sample_latent(0, 4);
  const auto pictures = pastiche::generate_pictures(trainer.averaged(), latents);
  pastiche::write_file_atomically("stripes.png", pastiche::encode_png(pictures.front()));
  return stats.step == 5 ? 0 : 1;
}
