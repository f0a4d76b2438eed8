// Whole trainings through the library: what they promise about bits, stops, and bad numbers.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "op_cases.h"
#include "pastiche/checkpoint.h"
#include "pastiche/data.h"
#include "pastiche/files.h"
#include "pastiche/train.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

const fs::path test_data = fs::path(PASTICHE_TEST_DIR) / "data";

class Training : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("pastiche-training-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  TrainConfig small(const std::string& name) const {
    TrainConfig config;
    config.data = (test_data / "emoji32").string();
    config.out = (folder_ / name).string();
    config.size = {16, 16};
    config.ngf = config.ndf = 4;
    config.nz = 16;
    config.batch = 16;
    config.grid = "2x2";
    config.snap = "1000000";
    config.dropout = 0.25;
    config.mirror = true;
    parse_config("d-norm = true", "test", config);
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

TEST_F(Training, SameSeedSameBytes) {
  TrainConfig a = small("a"), b = small("b"), other = small("c");
  a.steps = b.steps = other.steps = 12;
  other.seed = 8;
  const std::vector<std::byte> first = model_bytes(train(a, silent));
  EXPECT_EQ(first, model_bytes(train(b, silent)));
  EXPECT_NE(first, model_bytes(train(other, silent)));
}

// A run of 20 steps against one that was killed with a checkpoint at some step: the same bytes at the end.
TEST_F(Training, ResumedFromAnyStepSameBytes) {
  const auto with_penalty = [&](const std::string& name) {
    TrainConfig config = small(name);
    config.loss = "relativistic";
    config.penalty_every = 3;
    return config;
  };
  TrainConfig whole = with_penalty("whole");
  whole.steps = 20;
  const RunResult whole_run = train(whole, silent);
  for (const std::int64_t stop : {1, 7, 15, 16, 19}) {  // an epoch of 250 pictures ends within step 16
    TrainConfig config = with_penalty("stopped" + std::to_string(stop));
    config.steps = 20;
    config.snap = std::to_string(stop);
    config.keep = 100;
    const RunResult run = train(config, silent);
    // Undo what came after the checkpoint, as a kill would have.
    for (const auto& entry : fs::directory_iterator(run.folder / "ckpt")) {
      if (std::stoll(entry.path().stem().string()) > stop) fs::remove(entry.path());
    }
    fs::remove(run.folder / "model.safetensors");
    const RunResult resumed = resume_training(run.folder, silent);
    EXPECT_EQ(resumed.step, 20);
    EXPECT_EQ(model_bytes(whole_run), model_bytes(resumed)) << "stopped at " << stop;
    const auto line_count = [](const fs::path& path) {
      std::ifstream file(path);
      return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
    };
    EXPECT_EQ(line_count(resumed.folder / "stats.jsonl"), 20);
  }
}

TEST_F(Training, JointStepAndMinimaxAndPenaltiesTrain) {
  const auto unusual = [](TrainConfig config) {
    config.steps = 5;
    config.step = "joint";
    config.loss = "minimax";
    config.label_smoothing = 0.1;
    config.l1 = 1e-6;
    config.l2 = 1e-5;
    return config;
  };
  EXPECT_EQ(train(unusual(small("joint")), silent).step, 5);
  TrainConfig article = unusual(default_config("article"));
  parse_config("base = 1\ngrid = '2x2'\nbatch = 16", "test", article);
  article.data = (test_data / "emoji32").string();
  article.size = {4, 4};
  article.out = (folder_ / "article").string();
  EXPECT_EQ(train(article, silent).step, 5);
}

// What was left to choose is chosen by the loss and the size, and stands in the run's own settings.
TEST_F(Training, ThePenaltyFollowsTheLoss) {
  const auto settings = [&](const std::string& loss, const std::string& name) {
    TrainConfig config = small(name);
    config.loss = loss;
    config.steps = 1;
    TrainConfig said;
    load_config(train(config, silent).folder / "config.toml", said);
    return said;
  };
  const TrainConfig none = settings("hinge", "none"), relativistic = settings("relativistic", "relativistic"), wgan = settings("wgan", "wgan");
  EXPECT_EQ(none.penalty, "none");
  EXPECT_EQ(relativistic.penalty, "r1+r2");
  EXPECT_DOUBLE_EQ(relativistic.gamma, 0.3 / 4);  // 16 pixels a side
  EXPECT_EQ(wgan.penalty, "wgan-gp");
  EXPECT_EQ(wgan.lambda_gp, 10);
}

double distance(const Image& a, const Image& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    const double d = (a.pixels[i] - b.pixels[i]) / 127.5;
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(a.pixels.size()));
}

// Sixteen pictures can be learned by heart: what is generated comes close to one of them.
TEST_F(Training, OverfitsSixteenPictures) {
  const auto data = open_dataset(test_data / "fashion", {.height = 16, .width = 16});
  std::vector<Image> pictures;
  std::vector<std::uint8_t> batch;
  for (int i = 0; i < 16; ++i) {
    const Image picture = data->picture(i);
    batch.insert(batch.end(), picture.pixels.begin(), picture.pixels.end());
    pictures.push_back(picture);
  }
  const auto backend = make_backend("cpu", 2);
  TrainConfig config;
  config.batch = 16;
  config.lr_g = config.lr_d = 2e-3;
  config.ema = 0.9;
  GanTrainer trainer(*backend, config, {.height = 16, .width = 16, .nz = 16, .ngf = 16, .ndf = 16});
  const auto mean_distance = [&] {
    std::vector<float> latents;
    for (std::uint64_t seed = 0; seed < 16; ++seed) {
      const std::vector<float> z = sample_latent(seed, 16);
      latents.insert(latents.end(), z.begin(), z.end());
    }
    double sum = 0;
    for (const Image& made : generate_pictures(trainer.averaged(), latents)) {
      double nearest = HUGE_VAL;
      for (const Image& picture : pictures) nearest = std::min(nearest, distance(made, picture));
      sum += nearest;
    }
    return sum / 16;
  };
  const double before = mean_distance();
  for (int i = 0; i < 1000; ++i) trainer.step(batch);
  const double after = mean_distance();
  EXPECT_LT(after, 0.5 * before) << "before " << before;
  EXPECT_LT(after, 0.35) << "before " << before;
}

// The average is that of the formula, running statistics included, and soon forgets the weights of the start.
TEST_F(Training, TheAverageWarmsUp) {
  const auto backend = make_backend("cpu", 1);
  const std::vector<std::uint8_t> batch(4 * 16 * 16, 100);
  for (const bool warmup : {true, false}) {
    TrainConfig config;
    config.ema_warmup = warmup;
    config.ema = 0.5;
    GanTrainer trainer(*backend, config, {.height = 16, .width = 16, .nz = 4, .ngf = 2, .ndf = 2});
    const auto values = [](Generator& generator) {
      std::vector<double> all;
      for (const Parameter& p : generator.parameters().all()) {
        const std::vector<double> some = host_values(p.value);
        all.insert(all.end(), some.begin(), some.end());
      }
      return all;
    };
    std::vector<double> expected = values(trainer.generator());
    for (int t = 1; t <= 12; ++t) {
      trainer.step(batch);
      const std::vector<double> now = values(trainer.generator()), average = values(trainer.averaged());
      const double decay = warmup && t < 8 ? (1.0 + t) / (10 + t) : 0.5;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected[i] = decay * expected[i] + (1 - decay) * now[i];
        ASSERT_NEAR(average[i], expected[i], 1e-5 * std::max(1.0, std::abs(expected[i]))) << "step " << t << ", value " << i;
      }
    }
  }
}

TEST_F(Training, ANonFiniteValueStopsInThatStepAndIsNamed) {
  const auto backend = make_backend("cpu", 2);
  TrainConfig config;
  config.batch = 4;
  GanTrainer trainer(*backend, config, {.height = 8, .width = 8, .nz = 4, .ngf = 4, .ndf = 4});
  const std::vector<std::uint8_t> pictures(4 * 64, 10);
  trainer.step(pictures);
  Parameter& weight = trainer.discriminator().parameters().all().front();
  std::vector<float> values(static_cast<std::size_t>(weight.value.elements()), 0.01f);
  values[3] = NAN;
  weight.value.copy_from_host(values.data());
  try {
    trainer.step(pictures);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::diverged);
    EXPECT_NE(std::string(e.what()).find("at step 2"), std::string::npos) << e.what();
  }
  SafetensorsFile file;
  EXPECT_THROW(trainer.save(file), Error) << "NaN must not reach a checkpoint";
}

TEST_F(Training, GeneratorFilesHoldEverythingAndRefuseWhatDoesNotFit) {
  const auto backend = make_backend("cpu", 2);
  const ModelConfig config{.height = 12, .width = 10, .channels = 3, .nz = 8, .ngf = 4, .ndf = 4};
  const auto generator = make_generator(*backend, config, 3);
  const fs::path path = folder_ / "model.safetensors";
  write_file_atomically(path, serialize_safetensors(generator_file(*generator, {.model = config, .step = 5, .data = "emoji", .data_fingerprint = "x", .seed = 3})));
  const LoadedGenerator loaded = load_generator(*backend, path);
  EXPECT_EQ(loaded.card.step, 5);
  const std::vector<float> z = sample_latent(1, 8);
  EXPECT_EQ(generate_pictures(*generator, z), generate_pictures(*loaded.generator, z));

  SafetensorsFile file = read_safetensors(path);
  file.tensors.front().shape[0] += 1;
  file.tensors.front().bytes.resize(file.tensors.front().bytes.size() / (file.tensors.front().shape[0] - 1) * file.tensors.front().shape[0]);
  const std::string wrong_shape = file.tensors.front().name, missing = file.tensors.back().name;
  file.tensors.pop_back();
  try {
    load_parameters(file, "", loaded.generator->parameters());
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::bad_file);
    EXPECT_NE(std::string(e.what()).find(wrong_shape + " is"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(missing + " is missing"), std::string::npos) << e.what();
  }
}

// A picture is a function of its seed, not of the company it was made in.
TEST_F(Training, PicturesDoNotDependOnTheBatch) {
  const auto backend = make_backend("cpu", 2);
  const auto generator = make_generator(*backend, {.height = 28, .width = 28, .ngf = 16}, 3);
  std::vector<float> latents;
  for (std::uint64_t seed = 0; seed < 9; ++seed) {
    const std::vector<float> z = sample_latent(seed, 100);
    latents.insert(latents.end(), z.begin(), z.end());
  }
  EXPECT_EQ(generate_pictures(*generator, latents, 64), generate_pictures(*generator, latents, 1));
}

TEST(Models, AnySizeAndChannels) {
  const auto backend = make_backend("cpu", 2);
  const Tensor state = make_step_state(*backend);
  for (const std::string& name : model_names()) {
    for (const auto& [height, width] : {std::pair{4, 4}, {28, 28}, {13, 10}, {9, 31}, {33, 16}, {1, 5}}) {
      for (const int channels : {1, 3, 4}) {
        ModelConfig config{.name = name, .height = height, .width = width, .channels = channels, .nz = 4, .ngf = 2, .ndf = 2};
        config.d_norm = channels == 3;
        const auto g = make_generator(*backend, config, 1);
        const auto d = make_discriminator(*backend, config, 1);
        const Pass pass{.mode = Mode::train, .state = state};
        const Var fake = (*g)(Tensor::full(*backend, {2, 4}, 0.1), pass);
        EXPECT_EQ(fake.shape(), (Shape{2, height, width, channels})) << name;
        EXPECT_EQ((*d)(fake, pass).shape(), (Shape{2, 1})) << name;
        const ModelConfig read = model_config_from_json(model_config_to_json(config));
        EXPECT_EQ(model_config_to_json(read), model_config_to_json(config));
      }
    }
  }
}

TEST(Models, AFileWithAWrongBaseIsABadFile) {
  const std::string json = model_config_to_json({.name = "article", .height = 28, .width = 28, .base = 4});
  EXPECT_NE(refusal(ExitCode::bad_file, [&] { model_config_from_json(json); }).find("base 4"), std::string::npos);
}

TEST(Models, TheArticlesOwnNetwork) {
  const auto backend = make_backend("cpu", 2);
  const ModelConfig config{.name = "article", .height = 16, .width = 16, .base = 4};
  const auto g = make_generator(*backend, config, 1);
  // Dense 100*4096, its norm 2*4096, 25*256*128, 2*128, 25*128*64, 2*64, 25*64+1
  EXPECT_EQ(g->parameters().count(), 409600 + 8192 + 819200 + 256 + 204800 + 128 + 1601);
  EXPECT_EQ(make_discriminator(*backend, config, 1)->parameters().count(), 257);
  EXPECT_THROW(make_generator(*backend, {.name = "article", .height = 28, .width = 28, .base = 4}, 1), Error);
}

}  // namespace
}  // namespace pastiche
