// Ten training steps of each model, and of each way to translate pictures, against the same in PyTorch, both in float64.
// tools/parity writes the files and says what is in them.
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

constexpr std::size_t steps = 10;

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

  // Those of that step, in [-1, 1].
  Tensor pictures(const std::string& name, const Shape& shape, std::size_t step) const {
    const std::vector<std::byte>& bytes = file_.find(name)->bytes;
    std::vector<double> values(static_cast<std::size_t>(shape.elements()));
    if (bytes.size() != steps * values.size()) throw Error(ExitCode::bad_file, name + " has another size");
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(bytes[step * values.size() + i]) / 127.5 - 1;
    return Tensor::from_host(*backend_, shape, values.data());
  }

  void expect_statistics(std::size_t step, std::initializer_list<double> ours) const {
    const std::vector<double> theirs = golden("statistics");
    ASSERT_EQ(theirs.size(), steps * ours.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_NEAR(ours.begin()[i], theirs[step * ours.size() + i], 1e-9) << "statistic " << i << " of step " << step + 1;
    }
  }

  // What the file has of what is saved. Returns how many tensors that is.
  int expect_end(const Trainer& trainer) const {
    SafetensorsFile saved;
    trainer.save(saved);
    int compared = 0;
    for (const SafeTensor& tensor : saved.tensors) {
      if (file_.find("end." + tensor.name) == nullptr) continue;
      expect_close("end." + tensor.name, digest(doubles(tensor.bytes)), 1e-9);
      ++compared;
    }
    return compared;
  }

  void expect_pictures(const Tensor& pictures) const {
    const std::vector<double> ours = on_host(pictures), theirs = golden("pictures");
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours[i], theirs[i], 1e-10) << "element " << i;
  }

  const std::unique_ptr<Backend> backend_ = make_backend("reference");
  const SafetensorsFile file_ = read_safetensors(fmt::format("{}/golden/parity/{}.safetensors", PASTICHE_TEST_DIR, GetParam()));
};

TEST_P(Parity, TenStepsAreThoseOfPyTorch) {
  const auto settings = nlohmann::json::parse(file_.metadata.at("case"));
  const ModelConfig model = model_config_from_json(settings.at("model").dump());
  TrainConfig config;
  parse_config(settings.at("train").get<std::string>(), GetParam(), config);
  GanTrainer trainer(*backend_, config, model, DType::f64);
  Parameters& g = trainer.generator().parameters();
  Parameters& d = trainer.discriminator().parameters();
  if (model.name != "article") {  // the article's weights are too many for a golden file: both sides draw them
    load_parameters(file_, "G.", g);
    load_parameters(file_, "D.", d);
    if (config.ema > 0) copy_parameters(trainer.averaged().parameters(), g);
  }

  const std::vector<double> z = golden("z");
  const auto latents = static_cast<std::size_t>(config.batch * model.nz);
  Tensor last_z;
  for (std::size_t step = 0; step < steps; ++step) {
    last_z = Tensor::from_host(*backend_, {config.batch, model.nz}, &z.at(step * latents));
    const StepStats stats = trainer.step(pictures("real", {config.batch, model.height, model.width, model.channels}, step), last_z);
    expect_statistics(step, {stats.loss_g, stats.loss_d, stats.d_real, stats.d_fake});
    if (step == 0 || step == steps - 1) {
      const char* which = step == 0 ? "first." : "last.";
      expect_gradients(which, d, trainer.gradients_d());
      expect_gradients(which, g, trainer.gradients_g());
    }
  }
  EXPECT_GE(expect_end(trainer), static_cast<int>(g.all().size()));  // all of the averaged generator, and the running statistics
  expect_pictures(trainer.averaged()(last_z, {.mode = Mode::eval}).value());
}

std::string test_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         testing::Values("dcgan-alternating", "dcgan-joint", "dcgan-plain", "dcgan-unhalved", "dcgan-relativistic",
                                         "dcgan-relativistic-joint", "dcgan-wgan-gp", "r3gan", "article"), test_name);

// The weights of a PatchHead are too many for a golden file: draw_head() in tools/parity.
void draw_head(Parameters& head, std::uint64_t seed) {
  Parameters drawn(head.backend(), head.prefix(), seed, head.dtype());
  for (const Parameter& p : head.all()) drawn.add(p.name, p.value.shape(), {Init::Kind::uniform, 0, 0.1}, p.layout);
  copy_parameters(head, drawn);
}

class TranslationParity : public Parity {};

TEST_P(TranslationParity, TenStepsAreThoseOfPyTorch) {
  const auto settings = nlohmann::json::parse(file_.metadata.at("case"));
  const TranslatorConfig network = translator_config_from_json(settings.at("network").dump());
  TrainConfig config;
  parse_config(settings.at("train").get<std::string>(), GetParam(), config, {.options = true});
  const auto made = make_translation_trainer(*backend_, config, network, DType::f64);
  TranslationTrainer& trainer = *made;
  trainer.set_total_steps(steps);
  int tensors = 0;
  for (const Trainer::Network& each : trainer.networks()) {
    if (each.parameters.prefix() == "F.") draw_head(each.parameters, static_cast<std::uint64_t>(config.seed));
    else load_parameters(file_, each.parameters.prefix(), each.parameters);
    if (each.averaged != nullptr) copy_parameters(*each.averaged, each.parameters);
    tensors += static_cast<int>(each.parameters.all().size());
  }

  const Shape shape{config.batch, network.height, network.width, network.channels};
  for (std::size_t step = 0; step < steps; ++step) {
    const StepStats stats = trainer.step(pictures("a", shape, step), pictures("b", shape, step));
    expect_statistics(step, {stats.loss_g, stats.loss_d, stats.d_real, stats.d_fake, stats.loss_content});
  }
  EXPECT_EQ(expect_end(trainer), tensors);
  expect_pictures(trainer.averaged()(pictures("a", shape, steps - 1), {}).value());
}

INSTANTIATE_TEST_SUITE_P(Translations, TranslationParity,
                         testing::Values("translation-pix2pix", "translation-pix2pix-gray", "translation-cyclegan",
                                         "translation-cyclegan-gray", "translation-cyclegan-unet", "translation-cut",
                                         "translation-cut-relativistic", "translation-cut-gray"), test_name);

}  // namespace
}  // namespace pastiche
