// Networks and trainings that turn pictures into others.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "op_cases.h"
#include "pastiche/checkpoint.h"
#include "pastiche/files.h"
#include "pastiche/metrics.h"
#include "pastiche/pairs.h"
#include "pastiche/patch_nce.h"
#include "pastiche/train.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

// ---- networks --------------------------------------------------------------------------------------------------------

TEST(Translators, AnySizeThatTheyAreMultiplesOf) {
  const auto backend = make_backend("cpu", 2);
  const Tensor state = make_step_state(*backend);
  for (const std::string& name : translator_names()) {
    for (const int channels : {1, 3, 4}) {
      TranslatorConfig config{.name = name, .channels = channels, .ngf = 2, .blocks = channels - 1, .depth = 3};
      config.dropout = channels == 3 ? 0.5 : 0;
      const auto translator = make_translator(*backend, config, 1);
      EXPECT_EQ(translator_config_to_json(translator_config_from_json(translator_config_to_json(config))), translator_config_to_json(config));
      for (const auto& [height, width] : {std::pair{8, 8}, {16, 24}, {40, 8}}) {
        const Tensor x = Tensor::full(*backend, {2, height, width, channels}, 0.1);
        const Pass pass{.mode = Mode::train, .state = state};
        EXPECT_EQ((*translator)(x, pass).shape(), x.shape()) << name;
        const std::vector<Var> features = translator->encode(x, pass);
        ASSERT_EQ(features.size(), translator->feature_channels().size());
        for (std::size_t i = 0; i < features.size(); ++i) EXPECT_EQ(features[i].shape()[3], translator->feature_channels()[i]);
      }
      EXPECT_THROW((*translator)(Tensor::full(*backend, {1, 18, 16, channels}, 0), {}), Error);
      EXPECT_THROW((*translator)(Tensor::full(*backend, {1, 4, 16, channels}, 0), {}), Error);
      EXPECT_THROW((*translator)(Tensor::full(*backend, {1, 16, 16, 2}, 0), {}), Error);
    }
  }
}

TEST(Translators, PatchesOfTheDiscriminator) {
  EXPECT_EQ(PatchDiscriminator::receptive_field(1), 16);
  EXPECT_EQ(PatchDiscriminator::receptive_field(2), 34);
  EXPECT_EQ(PatchDiscriminator::receptive_field(3), 70);  // as in the paper
  const auto backend = make_backend("cpu", 2);
  PatchDiscriminator d(*backend, {.channels = 6, .ndf = 4, .layers = 3}, 1);
  EXPECT_EQ(d(Tensor::full(*backend, {2, 64, 128, 6}, 0.5)).shape(), (Shape{2, 6, 14, 1}));
}

Tensor picture(Backend& backend, const Shape& shape, std::uint64_t seed) {
  const std::vector<float> values = sample_latent(seed, shape.elements());
  return Tensor::from_host(backend, shape, values.data());
}

// A pass with the statistics of another picture is a function of what its convolutions see alone.
TEST(Translators, StatisticsCanBeConstants) {
  const auto backend = make_backend("cpu", 2);
  const auto translator = make_translator(*backend, {.ngf = 4, .blocks = 2}, 1);
  const Tensor x = picture(*backend, {1, 32, 32, 3}, 1);
  NormConstants constants;
  const std::vector<double> free = host_values((*translator)(x, {.constants = &constants}).value());
  EXPECT_EQ(constants.stats.size(), 9u);  // stem, two downs, twice two of a block, two ups
  constants.complete = true;
  for (int pass = 0; pass < 2; ++pass) {
    const std::vector<double> fixed = host_values((*translator)(x, {.constants = &constants}).value());
    for (std::size_t i = 0; i < free.size(); ++i) EXPECT_NEAR(fixed[i], free[i], 1e-5);
  }
  std::vector<double> changed = host_values(x);
  changed[0] += 5;  // in one corner
  const std::vector<float> narrow(changed.begin(), changed.end());
  const Tensor other = Tensor::from_host(*backend, x.shape(), narrow.data());
  const std::vector<double> before = host_values((*translator)(x, {.constants = &constants}).value());
  const std::vector<double> after = host_values((*translator)(other, {.constants = &constants}).value());
  EXPECT_NE(before.front(), after.front());
  EXPECT_EQ(before.back(), after.back()) << "the far corner sees nothing of it";
  EXPECT_NE(free.back(), host_values((*translator)(other, {}).value()).back()) << "but by the statistics";
}

TEST(PatchNce, IsTheCrossEntropyOfTheRightPatch) {
  const auto backend = make_backend("cpu", 2);
  // Two pictures of three patches each: unit vectors, of which the second picture's result has two swapped.
  const float source[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1};
  const float result[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1};
  Tape tape;
  const Recording recording(&tape);
  const Var q = tape.leaf(Tensor::from_host(*backend, {2, 3, 3}, result)), k = tape.leaf(Tensor::from_host(*backend, {2, 3, 3}, source));
  const double t = 0.5, all = std::log(std::exp(1 / t) + 2);
  const Var loss = patch_nce_loss({q}, {k}, t);
  EXPECT_NEAR(host_values(loss.value())[0], (all - 1 / t + all - (1.0 / 3) / t) / 2, 1e-5);
  const std::vector<Var> gradients = grad(loss, {q, k});
  for (const double g : host_values(gradients[1].value())) EXPECT_EQ(g, 0) << "gradients reach the result alone";
  // The first patch of the first picture wants its own more, by p - 1 over t, patches and pictures.
  const double p = std::exp(1 / t) / (std::exp(1 / t) + 2);
  EXPECT_NEAR(host_values(gradients[0].value())[0], (p - 1) / t / 3 / 2, 1e-5);
}

TEST(PatchNce, HeadsGiveUnitVectorsOfTheSamePlaces) {
  const auto backend = make_backend("cpu", 2);
  const PatchHead head(*backend, {3, 8}, 1);
  const Tensor state = make_step_state(*backend);
  const std::vector<Var> features{picture(*backend, {2, 16, 16, 3}, 1), picture(*backend, {2, 4, 4, 8}, 2)};
  const std::vector<Var> vectors = head(features, 32, {1, streams::patches}, state);
  EXPECT_EQ(vectors[0].shape(), (Shape{2, 32, PatchHead::width}));
  EXPECT_EQ(vectors[1].shape(), (Shape{2, 16, PatchHead::width})) << "no more than there are pixels";
  const std::vector<double> values = host_values(vectors[0].value()), again = host_values(head(features, 32, {1, streams::patches}, state)[0].value());
  EXPECT_EQ(values, again);
  for (std::size_t row = 0; row < 64; ++row) {
    double square = 0;
    for (std::size_t i = 0; i < PatchHead::width; ++i) square += values[row * PatchHead::width + i] * values[row * PatchHead::width + i];
    EXPECT_NEAR(square, 1, 0.02) << row;  // small vectors fall short by the epsilon of the root
  }
}

// ---- distances -------------------------------------------------------------------------------------------------------

Image flat(int side, std::uint8_t value) { return {side, side, 1, std::vector<std::uint8_t>(static_cast<std::size_t>(side * side), value)}; }

TEST(PictureDistance, IsWhatTheFormulasSay) {
  const PictureDistance same = picture_distance(std::vector{flat(16, 40)}, std::vector{flat(16, 40)});
  EXPECT_EQ(same.l1, 0);
  EXPECT_EQ(same.psnr, HUGE_VAL);
  EXPECT_NEAR(same.ssim, 1, 1e-12);
  // Without variance, SSIM is (2 p q + c1) / (p^2 + q^2 + c1).
  const double p = 51 / 255.0, q = 153 / 255.0;
  const PictureDistance far = picture_distance(std::vector{flat(16, 51), flat(16, 0)}, std::vector{flat(16, 153), flat(16, 0)});
  EXPECT_NEAR(far.l1, (q - p) / 2, 1e-12);
  EXPECT_NEAR(far.psnr, -10 * std::log10((q - p) * (q - p) / 2), 1e-9);
  EXPECT_NEAR(far.ssim, ((2 * p * q + 1e-4) / (p * p + q * q + 1e-4) + 1) / 2, 1e-9);
  // A picture and its negative have the opposite structure.
  Image ramp = flat(16, 0), negative = ramp;
  for (int i = 0; i < 256; ++i) ramp.pixels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i), negative.pixels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(255 - i);
  EXPECT_LT(picture_distance(std::vector{ramp}, std::vector{negative}).ssim, 0);
  EXPECT_THROW(picture_distance(std::vector{flat(10, 0)}, std::vector{flat(10, 0)}), Error);
  EXPECT_THROW(picture_distance(std::vector{flat(16, 0)}, std::vector{flat(12, 0)}), Error);
}

// ---- trainings -------------------------------------------------------------------------------------------------------

class Translation : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("pastiche-translation-{}", getpid());
    fs::remove_all(folder_);
    make_pairs(PASTICHE_TEST_DIR "/data/emoji32", folder_ / "pairs", SourceKind::gray);
  }
  void TearDown() override { fs::remove_all(folder_); }

  TrainConfig small(const std::string& model, const std::string& name) const {
    TrainConfig config = default_config(model);
    config.data = (folder_ / "pairs").string();
    config.out = (folder_ / name).string();
    config.size = {16, 16};
    config.ngf = config.ndf = 4;
    config.batch = 4;
    config.blocks = 2;
    parse_config("pool = 6\npatches = 32", "test", config, {.options = true});  // a pool that is full after the first steps
    config.grid = "2x2";
    config.snap = "1000000";
    config.holdout = "5%";
    config.threads = 2;
    config.seed = 7;
    return config;
  }

  fs::path folder_;
};

const RunEvents silent{.started = [](const fs::path&, const std::string&) {},
                       .stepped = [](const RunEvents::Progress&) {},
                       .note = [](const std::string&) {}};

std::vector<std::byte> model_bytes(const RunResult& run) { return read_file(run.folder / "model.safetensors"); }

std::vector<nlohmann::json> lines(const fs::path& path) {
  std::ifstream file(path);
  std::vector<nlohmann::json> all;
  for (std::string line; std::getline(file, line);) all.push_back(nlohmann::json::parse(line));
  return all;
}

TEST_F(Translation, ResumedFromAnyStepSameBytes) {
  for (const char* model : {"pix2pix", "cyclegan", "cut"}) {
    TrainConfig whole = small(model, fmt::format("{}-whole", model));
    whole.steps = 9;
    whole.ema = 0.9;
    const RunResult whole_run = train(whole, silent);
    for (const std::int64_t stop : {1, 5}) {
      TrainConfig config = whole;
      config.out = (folder_ / fmt::format("{}-{}", model, stop)).string();
      config.snap = std::to_string(stop);
      config.keep = 100;
      const RunResult run = train(config, silent);
      for (const auto& entry : fs::directory_iterator(run.folder / "ckpt")) {  // as a kill would have left it
        if (std::stoll(entry.path().stem().string()) > stop) fs::remove(entry.path());
      }
      const RunResult resumed = resume_training(run.folder, silent);
      EXPECT_EQ(model_bytes(whole_run), model_bytes(resumed)) << model << " stopped at " << stop;
      EXPECT_EQ(lines(resumed.folder / "stats.jsonl").size(), 9u);
    }
  }
}

TEST_F(Translation, ARunShowsAndMeasuresWhatWasHeldOut) {
  TrainConfig config = small("pix2pix", "run");
  config.steps = 4;
  config.snap = "2";
  std::vector<std::string> notes;
  RunEvents events = silent;
  events.note = [&](const std::string& note) { notes.push_back(note); };
  const RunResult run = train(config, events);
  const auto summary = std::find_if(notes.begin(), notes.end(), [](const std::string& note) { return note.starts_with("A/ and B/"); });
  ASSERT_NE(summary, notes.end());
  EXPECT_NE(summary->find("257 pairs, 13 of them held out"), std::string::npos) << *summary;
  const std::vector<nlohmann::json> measured = lines(run.folder / "holdout.jsonl");
  ASSERT_GE(measured.size(), 2u);
  EXPECT_EQ(measured.back().at("step"), 4);
  EXPECT_EQ(measured.back().at("pictures"), 13);
  EXPECT_GT(measured.back().at("l1"), 0);
  EXPECT_GT(lines(run.folder / "stats.jsonl").back().at("loss_content"), 0);
  // Source, result and target, in 2x2 groups with 4 pixels around.
  const Image grid = read_picture(run.folder / "samples/000004.png");
  EXPECT_EQ(grid.height, 2 * 16 + 3 * 4);
  EXPECT_EQ(grid.width, 2 * 48 + 3 * 4);

  const auto backend = make_backend("cpu", 2);
  const LoadedTranslator loaded = load_translator(*backend, run.folder / "model.safetensors");
  EXPECT_EQ(loaded.card.method, "pix2pix");
  EXPECT_EQ(loaded.card.network.name, "unet");
  EXPECT_EQ(loaded.card.step, 4);
  EXPECT_NE(refusal(ExitCode::bad_file, [&] { load_generator(*backend, run.folder / "model.safetensors"); }).find("`pastiche stylize` takes translators"),
            std::string::npos);
}

TEST_F(Translation, CycleGanLeavesBothDirections) {
  TrainConfig config = small("cyclegan", "run");
  config.steps = 2;
  const RunResult run = train(config, silent);
  const auto backend = make_backend("cpu", 2);
  EXPECT_EQ(load_translator(*backend, run.folder / "reverse.safetensors").card.method, "cyclegan from B to A");
  EXPECT_NE(read_file(run.folder / "reverse.safetensors"), model_bytes(run));
}

// Where only a time is given, the number of steps follows from twenty of the first, stands in the checkpoint, and is what the learning
// rates fall by.
TEST_F(Translation, ATimeBecomesANumberOfSteps) {
  TrainConfig config = small("pix2pix", "timed");
  config.time = "1h";
  RunEvents events = silent;
  events.stepped = [](const RunEvents::Progress& p) {
    if (p.stats.step == 27) raise(SIGINT);  // which ends a training with everything saved
  };
  const RunResult run = train(config, events);
  EXPECT_EQ(run.step, 27);
  const SafetensorsFile checkpoint = read_safetensors(run.folder / "ckpt" / "000027.safetensors");
  EXPECT_GT(nlohmann::json::parse(checkpoint.metadata.at("pastiche"))["planned_steps"], 27);
  TrainConfig written;
  load_config(run.folder / "config.toml", written);
  EXPECT_EQ(written.steps, 0);
  EXPECT_EQ(written.kimg, 0);
}

TEST_F(Translation, LearningRatesFallToTheEnd) {
  const auto backend = make_backend("cpu", 2);
  const TrainConfig config = small("pix2pix", "");
  const TranslatorConfig network{.name = "unet", .height = 16, .width = 16, .ngf = 4, .depth = 2};
  const std::vector<std::uint8_t> a(2 * 16 * 16 * 3, 30), b(2 * 16 * 16 * 3, 200);
  const auto moved = [&](std::int64_t total, int steps) {  // by the last step
    const auto made = make_translation_trainer(*backend, config, network);
    TranslationTrainer& trainer = *made;
    trainer.set_total_steps(total);
    std::vector<double> before;
    for (int i = 0; i < steps; ++i) {
      before = host_values(trainer.translator().parameters().all().front().value);
      trainer.step(a, b);
    }
    const std::vector<double> after = host_values(trainer.translator().parameters().all().front().value);
    double sum = 0;
    for (std::size_t i = 0; i < after.size(); ++i) sum += std::abs(after[i] - before[i]);
    return sum;
  };
  EXPECT_EQ(moved(0, 5), moved(10, 5)) << "the first half is at the full rate";
  EXPECT_NEAR(moved(5, 5) / moved(0, 5), 0.4, 0.15) << "one of two and a half steps is left";
}

TEST_F(Translation, AugmentationChangesWhatDiscriminatorsSee) {
  for (const char* model : {"dcgan", "pix2pix", "cyclegan", "cut"}) {
    TrainConfig plain = small(model, fmt::format("{}-plain", model)), augmented = small(model, fmt::format("{}-augmented", model));
    if (!is_translation(model)) {
      plain = augmented = default_config(model);
      for (TrainConfig* config : {&plain, &augmented}) {
        config->data = (folder_ / "pairs/B").string();
        config->out = (folder_ / fmt::format("dcgan-{}", config == &plain)).string();
        config->size = {16, 16};
        config->ngf = config->ndf = 4;
        config->batch = 8;
      }
    }
    plain.steps = augmented.steps = 2;
    plain.augment = "none";
    augmented.augment = "color,translation,cutout";
    const RunResult a = train(plain, silent), b = train(augmented, silent);
    const auto d_real = [](const RunResult& run) { return lines(run.folder / "stats.jsonl").front().at("d_real").get<double>(); };
    EXPECT_NE(d_real(a), d_real(b)) << model;
  }
}

// Gray pictures get their colours back: of a few pictures, which a small network can learn by heart.
TEST_F(Translation, Pix2PixLearnsAFewPairs) {
  const DomainPair data = open_domains(folder_ / "pairs", {}, Pairing::paired, {.data = {.height = 16, .width = 16}});
  std::vector<std::uint8_t> a, b;
  std::vector<Image> sources, targets;
  for (int i = 0; i < 8; ++i) {
    sources.push_back(data.a->picture(i));
    targets.push_back(data.b->picture(i));
    a.insert(a.end(), sources.back().pixels.begin(), sources.back().pixels.end());
    b.insert(b.end(), targets.back().pixels.begin(), targets.back().pixels.end());
  }
  const auto backend = make_backend("cpu", 2);
  TrainConfig config = small("pix2pix", "");
  config.lr_g = config.lr_d = 2e-3;
  const auto made = make_translation_trainer(*backend, config, {.name = "unet", .height = 16, .width = 16, .ngf = 16, .depth = 2});
  TranslationTrainer& trainer = *made;
  const auto l1 = [&] { return picture_distance(translate_pictures(trainer.averaged(), sources), targets).l1; };
  const double before = l1();
  for (int i = 0; i < 300; ++i) trainer.step(a, b);
  EXPECT_LT(l1(), 0.25 * before) << "before " << before;
  EXPECT_LT(l1(), 0.05);
}

// The other domain is the negative of the first: what is made must become as dark as that.
TEST_F(Translation, UnpairedMethodsTakeTheOthersStyle) {
  const DomainPair data = open_domains(folder_ / "pairs", {}, Pairing::paired, {.data = {.height = 16, .width = 16}});
  for (const char* model : {"cut", "cyclegan"}) {
    const auto backend = make_backend("cpu", 2);
    TrainConfig config = small(model, "");
    config.lr_g = config.lr_d = 1e-3;
    parse_config("lambda-identity = 0", "test", config, {.options = true});
    const auto made = make_translation_trainer(*backend, config, {.height = 16, .width = 16, .ngf = 8, .blocks = 1});
    TranslationTrainer& trainer = *made;
    for (int step = 0; step < 100; ++step) {
      std::vector<std::uint8_t> a, b;
      for (int i = 0; i < 4; ++i) {
        const Image from = data.a->picture((4 * step + i) % data.a->size()), to = data.a->picture((4 * step + i + 100) % data.a->size());
        a.insert(a.end(), from.pixels.begin(), from.pixels.end());
        for (const std::uint8_t p : to.pixels) b.push_back(static_cast<std::uint8_t>(255 - p));
      }
      trainer.step(a, b);
    }
    double brightness = 0;
    std::vector<Image> sources;
    for (int i = 0; i < 16; ++i) sources.push_back(data.a->picture(i));
    for (const Image& result : translate_pictures(trainer.averaged(), sources)) {
      for (const std::uint8_t p : result.pixels) brightness += p / 255.0 / static_cast<double>(16 * result.pixels.size());
    }
    EXPECT_LT(brightness, 0.35) << model << ": the sources are of 0.75 on the average, their negatives of 0.25";
  }
}

TEST_F(Translation, WhatCannotBeTrainedIsSaid) {
  const auto refusal_of = [&](TrainConfig config, ExitCode code) {
    return refusal(code, [&] { train(std::move(config), silent); });
  };
  TrainConfig config = small("pix2pix", "refused");
  config.size = {18, 18};
  EXPECT_EQ(refusal_of(config, ExitCode::usage),
            "a size of 18 does not suit this unet: sides must be multiples of 4, and at least 4; use --size 20");
  config.network = "resnet";
  config.size = {6, 16};
  EXPECT_EQ(refusal_of(config, ExitCode::usage),
            "a size of 16x6 does not suit this resnet: sides must be multiples of 4, and at least 8; use --size 16x8");
  config = small("cut", "refused");
  config.loss = "wgan";
  EXPECT_EQ(refusal_of(config, ExitCode::usage), "--loss wgan: it needs a penalty on the discriminator, and cut has none");
  config = small("cut", "refused");
  config.data.clear();
  EXPECT_NE(refusal_of(config, ExitCode::usage).find("--style FOLDER"), std::string::npos);
  config = small("cut", "refused");
  fs::create_directories(folder_ / "one");
  fs::copy(folder_ / "pairs/A", folder_ / "one/A");
  fs::create_directories(folder_ / "one/B");
  fs::copy_file(fs::directory_iterator(folder_ / "pairs/B")->path(), folder_ / "one/B/only.png");
  config.data = (folder_ / "one").string();
  config.holdout = "0";
  EXPECT_NE(refusal_of(config, ExitCode::usage).find("more than the one picture in"), std::string::npos);
  config.data = (folder_ / "pairs/A").string();
  config.style = (folder_ / "one/B").string();
  EXPECT_NE(refusal_of(config, ExitCode::usage).find("one/B': use at most --batch 1"), std::string::npos);
  config = default_config("dcgan");
  config.data = config.style = (folder_ / "pairs/A").string();
  EXPECT_NE(refusal_of(config, ExitCode::usage).find("--style is an option of cut, cyclegan or pix2pix"), std::string::npos);
}

}  // namespace
}  // namespace pastiche
