// Ten training steps of each model against the same in PyTorch, both in float64. tools/parity writes the files and says what
// is in them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "pastiche/checkpoint.h"
#include "pastiche/config.h"
#include "pastiche/files.h"
#include "pastiche/train.h"

namespace pastiche {
namespace {

std::vector<double> doubles(std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<double> on_host(const Tensor& tensor) {
  std::vector<double> values(static_cast<std::size_t>(tensor.elements()));
  tensor.copy_to_host(values.data());
  return values;
}

// What the file keeps of a large tensor: digest() in tools/parity.
std::vector<double> digest(const std::vector<double>& values) {
  if (values.size() <= 1024) return values;
  std::vector<double> kept;
  for (std::size_t i = 0; i < 256; ++i) kept.push_back(values[i * 7919 % values.size()]);
  double squares = 0;
  for (double v : values) squares += v * v;
  kept.push_back(std::sqrt(squares / static_cast<double>(values.size())));
  return kept;
}

class Parity : public testing::TestWithParam<const char*> {
 protected:
  std::vector<double> golden(const std::string& name) const {
    const SafeTensor* tensor = file_.find(name);
    if (tensor == nullptr || tensor->dtype != "F64") throw Error(ExitCode::bad_file, name + " is not in the golden file");
    return doubles(tensor->bytes);
  }

  // Relative in the L2 norm.
  void expect_close(const std::string& name, const std::vector<double>& ours, double tolerance) const {
    const std::vector<double> theirs = golden(name);
    ASSERT_EQ(ours.size(), theirs.size()) << name;
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      difference += (ours[i] - theirs[i]) * (ours[i] - theirs[i]);
      norm += theirs[i] * theirs[i];
    }
    EXPECT_LE(std::sqrt(difference), tolerance * std::sqrt(norm)) << name;
  }

  void expect_gradients(const std::string& which, const Parameters& parameters, const std::vector<Var>& gradients) const {
    auto gradient = gradients.begin();
    for (const Parameter& p : parameters.all()) {
      if (!p.trainable) continue;
      const std::vector<double> ours = on_host((gradient++)->value());
      std::vector<double> torch(ours.size());
      to_torch_order(p.layout, sizeof(double), std::as_bytes(std::span(ours)).data(), std::as_writable_bytes(std::span(torch)).data());
      expect_close(which + parameters.prefix() + p.name, digest(torch), 1e-8);
    }
    EXPECT_EQ(gradient, gradients.end());
  }

  const SafetensorsFile file_ = read_safetensors(fmt::format("{}/golden/parity/{}.safetensors", PASTICHE_TEST_DIR, GetParam()));
};

TEST_P(Parity, TenStepsAreThoseOfPyTorch) {
  const auto backend = make_backend("reference");
  const auto settings = nlohmann::json::parse(file_.metadata.at("case"));
  const ModelConfig model = model_config_from_json(settings.at("model").dump());
  TrainConfig config;
  parse_config(settings.at("train").get<std::string>(), GetParam(), config);
  GanTrainer trainer(*backend, config, model, DType::f64);
  Parameters& g = trainer.generator().parameters();
  Parameters& d = trainer.discriminator().parameters();
  if (model.name != "article") {  // the article's weights are too many for a golden file: both sides draw them
    load_parameters(file_, "G.", g);
    load_parameters(file_, "D.", d);
    if (config.ema > 0) copy_parameters(trainer.averaged().parameters(), g);
  }

  const std::vector<std::byte>& real = file_.find("real")->bytes;
  const std::vector<double> z = golden("z"), statistics = golden("statistics");
  const Shape picture_shape{config.batch, model.height, model.width, model.channels};
  const auto pixels = static_cast<std::size_t>(picture_shape.elements()), latents = static_cast<std::size_t>(config.batch * model.nz);
  constexpr std::size_t steps = 10;
  ASSERT_EQ(real.size(), steps * pixels);
  Tensor last_z;
  for (std::size_t step = 0; step < steps; ++step) {
    std::vector<double> pictures(pixels);
    for (std::size_t i = 0; i < pixels; ++i) pictures[i] = static_cast<int>(real[step * pixels + i]) / 127.5 - 1;
    last_z = Tensor::from_host(*backend, {config.batch, model.nz}, &z.at(step * latents));
    const StepStats stats = trainer.step(Tensor::from_host(*backend, picture_shape, pictures.data()), last_z);
    EXPECT_NEAR(stats.loss_g, statistics.at(4 * step), 1e-9) << "step " << step + 1;
    EXPECT_NEAR(stats.loss_d, statistics.at(4 * step + 1), 1e-9) << "step " << step + 1;
    EXPECT_NEAR(stats.d_real, statistics.at(4 * step + 2), 1e-9) << "step " << step + 1;
    EXPECT_NEAR(stats.d_fake, statistics.at(4 * step + 3), 1e-9) << "step " << step + 1;
    if (step == 0 || step == steps - 1) {
      const char* which = step == 0 ? "first." : "last.";
      expect_gradients(which, d, trainer.gradients_d());
      expect_gradients(which, g, trainer.gradients_g());
    }
  }

  SafetensorsFile saved;
  trainer.save(saved);
  int compared = 0;
  for (const SafeTensor& tensor : saved.tensors) {
    if (file_.find("end." + tensor.name) == nullptr) continue;
    expect_close("end." + tensor.name, digest(doubles(tensor.bytes)), 1e-9);
    ++compared;
  }
  EXPECT_GE(compared, static_cast<int>(g.all().size()));  // all of the averaged generator, and the running statistics

  const std::vector<double> ours = on_host(trainer.averaged()(last_z, {.mode = Mode::eval}).value());
  const std::vector<double> theirs = golden("pictures");
  ASSERT_EQ(ours.size(), theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours[i], theirs[i], 1e-10) << "element " << i;
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         testing::Values("dcgan-alternating", "dcgan-joint", "dcgan-plain", "dcgan-unhalved", "article"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace pastiche
