#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>

#include "pastiche/config.h"
#include "pastiche/error.h"
#include "pastiche/ladder.h"

namespace pastiche {
namespace {

std::string message_of(const std::function<void()>& body, ExitCode code) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "no error";
}

TrainConfig parsed(const std::string& toml) {
  TrainConfig config;
  parse_config(toml, "c.toml", config);
  return config;
}

struct Golden {
  const char* toml;
  const char* message;  // after "c.toml:"
};

// Golden texts: what a user reads.
const Golden golden[] = {
    // Unknown keys.
    {"lrg = 1", "1:1: unknown key 'lrg': did you mean 'lr-g'?"},
    {"batch = 8\n\n  bacth = 9", "3:3: unknown key 'bacth': did you mean 'batch'?"},
    {"label_smothing = 0.1", "1:1: unknown key 'label_smothing': did you mean 'label-smoothing'?"},
    {"momentum = 0.9", "1:1: unknown key 'momentum': `pastiche train dcgan --help` lists them"},
    {"\"a\\nb\" = 1", "1:1: unknown key 'a\\nb': `pastiche train dcgan --help` lists them"},
    {"[train]\nbatch = 8", "1:1: unexpected '[': " "expected lines such as batch = 64 or loss = \"minimax\""},
    {"zzzzzzzz = 1\naaaaaaaa = 1", "1:1: unknown key 'zzzzzzzz': `pastiche train dcgan --help` lists them"},
    // Twice.
    {"lr-g = 0.1\nlr_g = 0.1", "2:1: lr-g stands in line 1 already"},
    {"lr_d = 0.1\n\nlr-d = 0.2", "3:1: lr-d stands in line 1 already"},
    // Wrong types.
    {"batch = \"8\"", "1:9: batch is '8': expected a whole number from 0 to 65536"},
    {"batch = 8.0", "1:9: batch is 8.0: expected a whole number from 0 to 65536"},
    {"batch = true", "1:9: batch is true: expected a whole number from 0 to 65536"},
    {"batch = [8]", "1:9: unexpected '[': " "expected lines such as batch = 64 or loss = \"minimax\""},
    {"batch = 1979-05-27", "1:9: batch is 1979-05-27: expected a whole number from 0 to 65536"},
    {"lr-g = \"fast\"", "1:8: lr-g is 'fast': expected a number from 0 to 1"},
    {"lr-g = false", "1:8: lr-g is false: expected a number from 0 to 1"},
    {"mirror = 1", "1:10: mirror is 1: expected true or false"},
    {"strict = \"yes\"", "1:10: strict is 'yes': expected true or false"},
    {"data = 5", "1:8: data is 5: expected a text"},
    {"device = true", "1:10: device is true: expected a text"},
    {"loss = 1", "1:8: loss is 1: expected non-saturating, minimax, lsgan, hinge, wgan, relativistic"},
    {"model = \"stargan\"", "1:9: model is 'stargan': expected dcgan, r3gan, article, cut, cyclegan or pix2pix"},
    // Out of range.
    {"batch = -1", "1:9: batch is -1: expected a whole number from 0 to 65536"},
    {"batch = 5000000000", "1:9: batch is 5000000000: expected a whole number from 0 to 65536"},
    {"nz = 0", "1:6: nz is 0: expected a whole number from 1 to 4096"},
    {"seed = -1", "1:8: seed is -1: expected a whole number from 0 to 9007199254740991"},
    {"steps = -5", "1:9: steps is -5: expected a whole number from 0 to 1000000000000"},
    {"kimg = -0.5", "1:8: kimg is -0.5: expected a number from 0 to 1000000000"},
    {"lr-d = 1.5", "1:8: lr-d is 1.5: expected a number from 0 to 1"},
    {"lr-d = nan", "1:8: lr-d is nan: expected a number from 0 to 1"},
    {"lr-d = inf", "1:8: lr-d is inf: expected a number from 0 to 1"},
    {"beta1 = 1", "1:9: beta1 is 1: expected a number from 0 to 0.9999"},
    {"ema = 1.0", "1:7: ema is 1.0: expected a number from 0 to 0.999999"},
    {"dropout = 0.99", "1:11: dropout is 0.99: expected a number from 0 to 0.95"},
    {"label-smoothing = 0.6", "1:19: label-smoothing is 0.6: expected a number from 0 to 0.5"},
    {"adam-eps = 0", "1:12: adam-eps is 0: expected a number from 1e-16 to 1"},
    {"channels = 2", "1:12: channels is 2: expected 1 (gray), 3 (colour), 4 (with alpha) or 0 (as the data)"},
    {"loss = \"wasserstein\"", "1:8: loss is 'wasserstein': expected non-saturating, minimax, lsgan, hinge, wgan, relativistic"},
    {"augment = \"color,\"", "1:11: augment is 'color,': expected auto, none, or of color, translation and cutout, with commas between"},
    {"kernel = \"conv2d=6\"", "1:10: kernel is 'conv2d=6': expected conv2d=RUNG or gemm=RUNG, or both with a comma, of the rungs 0 naive, "
     "1 shared tile, 2 register tile, 3 vector loads, 4 double buffer, 5 tensor core"},
    {"model = 'cut'\nholdout = \"1\"", "2:11: holdout is '1': expected a share such as 5% or 0.05, below 1"},
    {"model = 'cut'\nholdout = \"5 %\"", "2:11: holdout is '5 %': expected a share such as 5% or 0.05, below 1"},
    {"step = \"both\"", "1:8: step is 'both': expected alternating or joint"},
    {"log-format = \"xml\"", "1:14: log-format is 'xml': expected text or json"},
    // Forms.
    {"size = 0", "1:8: size is 0: expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096"},
    {"size = -64", "1:8: size is -64: expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096"},
    {"size = 5000", "1:8: size is 5000: expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096"},
    {"size = \"64x\"", "1:8: size is '64x': expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096"},
    {"size = \"64x2\"", "1:8: size is '64x2': expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096"},
    {"time = \"90\"", "1:8: time is '90': expected a duration such as 90s, 2m or 1h30m"},
    {"time = 90", "1:8: time is 90: expected a duration such as 90s, 2m or 1h30m"},
    {"snap = \"often\"", "1:8: snap is 'often': expected a duration such as 2m, or a number of steps"},
    {"snap = 0", "1:8: snap is 0: expected a duration such as 2m, or a number of steps"},
    {"grid = \"8x65\"", "1:8: grid is '8x65': expected COLUMNSxROWS, each 1 to 64"},
    {"background = \"white\"", "1:14: background is 'white': expected six hexadecimal digits such as ffffff"},
    {"name = \"a/b\"", "1:8: name is 'a/b': expected letters, digits, '.', '_' and '-'"},
    {"a = '\xc3\xa9' # \xc3\xa9\n\xcf\xbb = 1", "2:1: unexpected '\xcf\xbb': "
     "expected lines such as batch = 64 or loss = \"minimax\""},
    {"a = \"\"\"\n\"\"\"", "1:7: unexpected '\"': expected lines such as batch = 64 or loss = \"minimax\""},
    {"a = 2'b'", "1:6: unexpected ''': expected lines such as batch = 64 or loss = \"minimax\""},
    {"a.b = 2", "1:2: unexpected '.': expected lines such as batch = 64 or loss = \"minimax\""},
    {"# a.b\nname = \"a.b\"\n\"c\".d = 1", "3:4: unexpected '.': expected lines such as batch = 64 or loss = \"minimax\""},
    {"a = b = 2", "1:7: unexpected '=': expected lines such as batch = 64 or loss = \"minimax\""},
    {"name = \"a\\nb\"", "1:8: name is 'a\\nb': expected letters, digits, '.', '_' and '-'"},
};

TEST(Config, ErrorsAreGolden) {
  for (const Golden& row : golden) {
    EXPECT_EQ(message_of([&] { parsed(row.toml); }, ExitCode::bad_data), std::string("c.toml:") + row.message)
        << row.toml;
  }
}

// Its parser calls itself once for each part of a key.
TEST(Config, LongKeysAreRefused) {
  std::string toml;
  for (int i = 0; i < 200'000; ++i) toml += "a.";
  EXPECT_NE(message_of([&] { parsed(toml + "b = 1"); }, ExitCode::bad_data).find("1:2: unexpected '.'"), std::string::npos);
}

// The words are the TOML library's; the place and one line are ours.
TEST(Config, SyntaxErrorsNameThePlace) {
  for (const char* toml :
       {"batch =", "batch = 8\nbatch = 9", "= 5", "x = \"\n\"", "batch = 08", "x = f\n ", "x = 2'y'", "\xff = 1"}) {
    const std::string message = message_of([&] { parsed(toml); }, ExitCode::bad_data);
    EXPECT_TRUE(message.starts_with("c.toml:1:") || message.starts_with("c.toml:2:")) << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
  }
}

TEST(Config, AcceptsBothSpellingsAndForms) {
  const TrainConfig config = parsed(
      "lr_g = 1\nlr-d = 3e-4\nsize = \"64x48\"\nsnap = 50\ngrid = \"4x2\"\nkimg = 5\nbackground = 123456\n"
      "mirror = true\ndata = \"caf\\u00e9\"\ntime = \"1h30m\"\n");
  EXPECT_EQ(config.lr_g, 1);
  EXPECT_EQ(config.lr_d, 3e-4);
  EXPECT_EQ(config.size, (ImageSize{.height = 48, .width = 64}));
  EXPECT_EQ(config.snap, "50");
  EXPECT_EQ(config.kimg, 5);
  EXPECT_EQ(config.background, "123456");
  EXPECT_TRUE(config.mirror);
  EXPECT_EQ(config.data, "caf\xc3\xa9");
  EXPECT_EQ(parsed("size = 28").size, (ImageSize{28, 28}));
  EXPECT_EQ(parsed("size = \"auto\"").size, ImageSize{});
  EXPECT_EQ(parsed("\xef\xbb\xbf" "data = '\xc3\xa9' # \xc3\xa9").data, "\xc3\xa9");
  EXPECT_EQ(config_to_toml(parsed("")), config_to_toml({}));
}

TrainConfig unusual() {
  TrainConfig config;
  config.data = "/data/a \"b\" \\ c\n\t\x7f \xf0\x9f\x98\x80";
  config.name = "x.y_z-1";
  config.size = {48, 64};
  config.lr_g = 0.1 + 0.2;
  config.adam_eps = std::nextafter(1e-8, 1);
  config.kimg = 123456789;
  config.epochs = 1e-7;
  config.mirror = true;
  parse_config("d-norm = true", "test", config);
  config.seed = 9007199254740991;
  config.time = "2d";
  config.loss = "minimax";
  return config;
}

TEST(Config, TomlRoundTripsToTheLastBit) {
  const TrainConfig config = unusual();
  const std::string toml = config_to_toml(config);
  const TrainConfig again = parsed(toml);
  EXPECT_EQ(config_to_toml(again), toml);
  visit_options(config, [&](const Option& option, const auto& member) {
    visit_options(again, [&](const Option& other, const auto& same) {
      if constexpr (std::is_same_v<decltype(member), decltype(same)>) {
        if (std::string(option.name) == other.name) {
          EXPECT_EQ(member, same) << option.name;
        }
      }
    });
  });
}

TEST(Config, TomlExplainsEveryLine) {
  const std::string toml = config_to_toml({});
  EXPECT_TRUE(toml.starts_with("model = \"dcgan\"                     # the method, ")) << toml;
  EXPECT_NE(toml.find("\nsize = \"auto\"                       # pixels a side, or WIDTHxHEIGHT; auto: as the data, but squares"),
            toml.npos) << toml;
  EXPECT_NE(toml.find("\nlr-g = 0.001                        # Adam learning rate of the generator\n"), toml.npos);
}

TEST(Config, EachModelHasItsOwnRates) {
  EXPECT_EQ(default_config("dcgan").lr_g, 1e-3);
  EXPECT_EQ(default_config("dcgan").beta1, 0);
  for (const char* model : {"article", "cyclegan", "cut"}) {
    EXPECT_EQ(default_config(model).lr_d, 2e-4) << model;
    EXPECT_EQ(default_config(model).beta1, 0.5) << model;
  }
}

TEST(Config, JsonHoldsEveryOption) {
  const std::string json = config_to_json(unusual());
  EXPECT_TRUE(json.starts_with(R"({"model":"dcgan","data":"/data/a \"b\" \\ c\n\t)")) << json;
  EXPECT_NE(json.find(R"("size":"64x48")"), json.npos) << json;
  EXPECT_NE(json.find(R"("lr-g":0.30000000000000004)"), json.npos) << json;
  EXPECT_NE(json.find(R"("mirror":true)"), json.npos) << json;
}

TEST(Config, LoadsAFileAndNamesIt) {
  const std::string path = testing::TempDir() + "pastiche_config.toml";
  std::ofstream(path) << "batch = 7\n";
  TrainConfig config;
  load_config(path, config);
  EXPECT_EQ(config.batch, 7);
  std::ofstream(path) << "batch = -1\n";
  EXPECT_EQ(message_of([&] { load_config(path, config); }, ExitCode::bad_data),
            path + ":1:9: batch is -1: expected a whole number from 0 to 65536");
  EXPECT_EQ(config.batch, 7);
  std::filesystem::remove(path);
  EXPECT_EQ(message_of([&] { load_config(path, config); }, ExitCode::bad_file),
            "can't read '" + path + "': No such file or directory");
}

std::string refusal(const std::function<void(TrainConfig&)>& change) {
  TrainConfig config;
  change(config);
  return message_of([&] { validate(config); }, ExitCode::usage);
}

TEST(Config, ValidateNamesTheFlag) {
  EXPECT_EQ(refusal([](TrainConfig& c) { c.batch = 70000; }), "--batch 70000: expected a whole number from 0 to 65536");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.batch = -3; }), "--batch -3: expected a whole number from 0 to 65536");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.size = {0, 64}; }),
            "--size 64x0: expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.size = {-1, -1}; }),
            "--size -1: expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.size = {5000, 5000}; }),
            "--size 5000: expected auto, a side, or WIDTHxHEIGHT, with sides of 4 to 4096");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.loss = "wasserstein"; }), "--loss 'wasserstein': expected non-saturating, minimax, lsgan, hinge, wgan, relativistic");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.loss = "wgan", c.label_smoothing = 0.1; }), "--label-smoothing 0.1: the loss wgan has no target to smooth");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.penalty = "r1,wgan-gp"; }),
            "--penalty 'r1,wgan-gp': expected auto, none, r1, r2, r1+r2, wgan-gp");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.lr_g = std::numeric_limits<double>::quiet_NaN(); }),
            "--lr-g nan: expected a number from 0 to 1");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.data = "a\xff"; }), "--data 'a\\xff': expected a text in UTF-8");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.time = "soon"; }),
            "--time 'soon': expected a duration such as 90s, 2m or 1h30m");
}

TEST(Config, ValidateKnowsWhatRungsCompute) {
  EXPECT_EQ(refusal([](TrainConfig& c) { c.kernel = "conv2d=5"; }),
            "--kernel conv2d=5 (tensor core) does not compute f32; what does: 0 naive, 1 shared tile, 2 register tile, 3 vector loads, 4 double buffer");
  EXPECT_EQ(refusal([](TrainConfig& c) { c.kernel = "conv2d=4,gemm=3", c.precision = "bf16"; }),
            "--kernel gemm=3 (vector loads) does not compute bf16; what does: 4 double buffer, 5 tensor core");
}

TEST(Config, Tf32IsF32OnOtherKernels) {
  TrainConfig config;
  config.precision = "tf32";
  config.kernel = "conv2d=5,gemm=0";
  validate(config);
  EXPECT_EQ(activation_dtype(config), DType::f32);
  EXPECT_TRUE(kernel_choice(config).tf32);
  EXPECT_EQ(kernel_choice(config).str(), config.kernel);
  config.precision = "bf16";
  EXPECT_EQ(activation_dtype(config), DType::bf16);
  EXPECT_FALSE(kernel_choice(config).tf32);
}

TEST(Config, ValidateGivesALimitWhereThereIsNone) {
  TrainConfig config;
  validate(config);
  EXPECT_EQ(config.kimg, 1000);
  const std::function<void(TrainConfig&)> limits[] = {
      [](TrainConfig& c) { c.steps = 5; }, [](TrainConfig& c) { c.epochs = 1; }, [](TrainConfig& c) { c.time = "2m"; }};
  for (const auto& set : limits) {
    TrainConfig limited;
    set(limited);
    validate(limited);
    EXPECT_EQ(limited.kimg, 0);
  }
}

TEST(Config, ParsesTextForms) {
  EXPECT_EQ(parse_size("64"), (ImageSize{64, 64}));
  EXPECT_EQ(parse_size("64x48"), (ImageSize{48, 64}));
  EXPECT_EQ(parse_size("auto"), ImageSize{});
  for (const char* bad : {"", "0", "-1", "64x", "x64", "64X48", "64x48x3", "1e2", "64 ", "99999999999", "0x10"}) {
    EXPECT_EQ(message_of([&] { parse_size(bad); }, ExitCode::usage),
              "'" + std::string(bad) + "': expected auto, a side such as 64, or WIDTHxHEIGHT such as 64x48");
  }
  EXPECT_EQ(to_text({48, 64}), "64x48");
  EXPECT_EQ(to_text({64, 64}), "64");

  EXPECT_EQ(parse_duration("90s"), 90);
  EXPECT_EQ(parse_duration("2m"), 120);
  EXPECT_EQ(parse_duration("1.5h"), 5400);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  EXPECT_EQ(parse_duration("2d"), 172800);
  for (const char* bad : {"", "0s", "-2m", "2", "m", "2 m", "2min", "1h-5m", "infs", "nanm", "1e3s", "1..5s", "1h30"}) {
    EXPECT_EQ(message_of([&] { parse_duration(bad); }, ExitCode::usage),
              "'" + std::string(bad) + "': expected a duration such as 90s, 2m or 1h30m");
  }

  EXPECT_EQ(parse_interval("2m").seconds, 120);
  EXPECT_EQ(parse_interval("2m").steps, 0);
  EXPECT_EQ(parse_interval("50").steps, 50);
  EXPECT_EQ(parse_interval("50").seconds, 0);
  EXPECT_THROW(parse_interval("0"), Error);
  EXPECT_THROW(parse_interval("-5"), Error);

  EXPECT_EQ(parse_kernels("gemm=0,conv2d=5").str(), "conv2d=5,gemm=0");
  EXPECT_EQ(parse_kernels("gemm=3").str(), "gemm=3");
  EXPECT_EQ(parse_kernels("").str(), "");
  for (const char* bad : {"conv2d", "conv2d=", "conv2d=6", "conv2d=-1", "conv2d=04", "conv2d= 1", "pool=1", "gemm=1,", ",gemm=1", "gemm=1,gemm=2"}) {
    EXPECT_EQ(message_of([&] { parse_kernels(bad); }, ExitCode::usage), "--kernel '" + std::string(bad) + "': expected " + expected_kernels());
  }
  EXPECT_EQ(message_of([&] { parse_kernels("gemm\n\x1b"); }, ExitCode::usage), "--kernel 'gemm\\n\\x1b': expected " + expected_kernels());

  EXPECT_EQ(parse_grid("4x2").columns, 4);
  EXPECT_EQ(parse_grid("4x2").rows, 2);
  EXPECT_THROW(parse_grid("4x"), Error);
}

}  // namespace
}  // namespace pastiche
