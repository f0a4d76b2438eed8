#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "pastiche/ladder.h"

namespace pastiche {

// In pixels. As text "64" or, width first, "64x48"; height = width = 0 is "auto".
struct ImageSize {
  int height = 0;
  int width = 0;
  bool operator==(const ImageSize&) const = default;
};

// What `pastiche train` can be told. visit_options() below says what each member means and allows.
struct TrainConfig {
  std::string model = "dcgan";
  std::string data;
  std::string style;
  std::string holdout = "0";
  std::string out = "runs";
  std::string name;
  ImageSize size;
  std::string preset = "small";
  int channels = 0;
  std::string background = "ffffff";
  bool mirror = false;
  double crop = 1;
  bool strict = false;

  int base = 0;
  int nz = 100;
  int ngf = 0;
  int ndf = 0;
  bool d_norm = false;
  double dropout = 0;
  std::string network = "resnet";
  int blocks = 0;
  int depth = 0;

  std::string loss = "non-saturating";
  std::string step = "alternating";
  double label_smoothing = 0;
  std::string augment = "auto";
  double lambda_l1 = 100;
  double lambda_cycle = 10;
  double lambda_identity = 0.5;
  int pool = 50;
  double lambda_nce = 1;
  int patches = 256;
  double temperature = 0.07;
  double l1 = 0;
  double l2 = 0;
  int batch = 0;
  double lr_g = 1e-3;
  double lr_d = 1e-3;
  double beta1 = 0;
  double beta2 = 0.99;
  double adam_eps = 1e-8;
  double decay_from = 1;
  double ema = 0.999;
  bool ema_warmup = true;

  std::int64_t steps = 0;
  double kimg = 0;
  double epochs = 0;
  std::string time;

  std::string snap = "1m";
  int keep = 2;
  std::string grid = "8x8";
  std::string log_format = "text";

  std::string device = "auto";
  std::string precision = "f32";
  std::string kernel;
  int threads = 0;
  std::int64_t seed = 0;
};

// pix2pix, cyclegan and cut learn to turn pictures of one domain into another's; the other models make new ones.
bool is_translation(const std::string& model);
bool is_model(const std::string& name);  // whether --model takes it
// What is not said: the papers' settings, and sizes that a processor can learn; with the preset "full" the papers' sizes too.
TrainConfig default_config(const std::string& model, const std::string& preset = "small");

inline constexpr int most_threads = 4096;

// What --precision and --kernel ask for.
DType activation_dtype(const TrainConfig& config);
KernelChoice kernel_choice(const TrainConfig& config);

// When --steps, --kimg, --epochs and --time are all absent: 17 passes over MNIST, enough for clear pictures of 28 to 64
// pixels; of a translator, whose steps cost ten times that, fewer.
inline constexpr double default_kimg = 1000;
inline constexpr double default_translation_kimg = 100;

// What an option allows. Each has accepts(value) and expected(), the words for a message such as "0 to 1".
namespace option {

struct Any {
  template <class T>
  bool accepts(const T&) const { return true; }
  std::string expected() const { return {}; }
};

struct Range {
  double min, max;  // both allowed
  bool accepts(double value) const { return value >= min && value <= max; }
  std::string expected() const;
};

struct OneOf {
  std::vector<std::string> names;
  bool accepts(const std::string& value) const;
  std::string expected() const;
};

// A text that a function below can parse.
struct Form {
  bool (*accepts)(const std::string&);
  const char* words;
  std::string expected() const { return words; }
};

// "auto", or both sides in [min, max].
struct Sides {
  int min, max;
  bool accepts(ImageSize size) const;
  std::string expected() const;
};

bool is_duration(const std::string&);  // or empty
bool is_interval(const std::string&);
bool is_grid(const std::string&);
bool is_color(const std::string&);
bool is_share(const std::string&);
bool is_augment(const std::string&);
bool is_name(const std::string&);  // or empty

struct Kernels {  // what parse_kernels() reads
  bool accepts(const std::string& value) const;
  std::string expected() const;
};

struct Channels {
  bool accepts(int channels) const { return channels == 0 || channels == 1 || channels == 3 || channels == 4; }
  std::string expected() const { return "1 (gray), 3 (colour), 4 (with alpha) or 0 (as the data)"; }
};

}  // namespace option

// The one table of options. Calls visit(name, member, rule, help) for each, in the order of help texts and files, with
// member one of std::string, bool, int, std::int64_t, double, ImageSize (const where `config` is) and rule one of the
// option:: types. `name` is the flag without its dashes and the TOML key; '-' and '_' are equal in both.
template <class Config, class Visitor>
void visit_options(Config& config, Visitor&& visit) {
  using namespace option;
  visit("model", config.model, Form{is_model, "dcgan, article, pix2pix, cyclegan, cut"}, "what is learnt: dcgan and article make new pictures, the others turn pictures into others");
  visit("data", config.data, Any{}, "folder or zip of pictures, or IDX file (.gz too), to learn from");
  visit("style", config.style, Any{}, "folder of what pictures are to be turned into; without it, --data holds both: A/ and B/, "
        "trainA/ and trainB/, or pictures side by side");
  visit("holdout", config.holdout, Form{is_share, "a share such as 5% or 0.05, below 1"},
        "share of the pictures kept from training, for samples and for measuring");
  visit("out", config.out, Any{}, "folder that run folders are made in");
  visit("name", config.name, Form{is_name, "letters, digits, '.', '_' and '-'"},
        "name of the run folder after its number; empty: from model and data");
  visit("size", config.size, Sides{4, 4096}, "pixels a side, or WIDTHxHEIGHT; auto: as the data, but squares where pictures differ in size, and at most 64 on a "
        "processor and 128 on a GPU");
  visit("preset", config.preset, OneOf{{"small", "full"}}, "small: translators that a processor can learn; full: the papers' sizes");
  visit("channels", config.channels, Channels{}, "1 gray, 3 colour, 4 with alpha, 0: as the data");
  visit("background", config.background, Form{is_color, "six hexadecimal digits such as ffffff"},
        "colour behind transparent pictures, RRGGBB");
  visit("mirror", config.mirror, Any{}, "also show every picture mirrored left to right");
  visit("crop", config.crop, Range{1, 4}, "pictures to translate are resized to this times the size, and cropped at random");
  visit("strict", config.strict, Any{}, "refuse data with a picture that can't be read, instead of leaving it out");

  visit("base", config.base, Range{0, 1024}, "side of the generator's first feature map; 0: a quarter of the size");
  visit("nz", config.nz, Range{1, 4096}, "length of the latent vector z");
  visit("ngf", config.ngf, Range{0, 1024}, "channels of the generator's last hidden layer; 0: 64 on a GPU; on a processor 16, 32 or 64, by what "
        "--time, or half an hour, is enough for");
  visit("ndf", config.ndf, Range{0, 1024}, "channels of the discriminator's first layer; 0: as many as --ngf");
  visit("d-norm", config.d_norm, Any{}, "batch norm in the discriminator");
  visit("dropout", config.dropout, Range{0, 0.95}, "dropout probability in the discriminator; of a unet, in its innermost decoders");
  visit("network", config.network, OneOf{{"unet", "resnet"}}, "generator of a translation");
  visit("blocks", config.blocks, Range{0, 64}, "residual blocks of a resnet; 0: 4, 6 from 128 pixels, with --preset full 9 from 256");
  visit("depth", config.depth, Range{0, 12}, "halvings of a unet; 0: until the smaller side is at most 7, with --preset full 1");

  visit("loss", config.loss, OneOf{{"non-saturating", "minimax", "lsgan", "hinge"}}, "adversarial loss");
  visit("step", config.step, OneOf{{"alternating", "joint"}},
        "alternating: D, then G against the new D; joint: both gradients before both updates");
  visit("label-smoothing", config.label_smoothing, Range{0, 0.5},
        "target of real pictures is 1 minus this (one-sided)");
  visit("augment", config.augment, Form{is_augment, "auto, none, or of color, translation and cutout, with commas between"},
        "what changes pictures before the discriminator sees them, real and made ones alike (DiffAugment): for few pictures; auto: all three below 5000 pictures, none for translations");
  visit("lambda-l1", config.lambda_l1, Range{0, 1e6}, "pix2pix: weight of the L1 distance to the picture's partner");
  visit("lambda-cycle", config.lambda_cycle, Range{0, 1e6}, "cyclegan: weight of the L1 distance to the picture after there and back");
  visit("lambda-identity", config.lambda_identity, Range{0, 1e6},
        "cyclegan: weight of leaving the target's pictures as they are, as a part of lambda-cycle");
  visit("pool", config.pool, Range{0, 10000}, "cyclegan: earlier results that its discriminators are shown again");
  visit("lambda-nce", config.lambda_nce, Range{0, 1e6}, "cut: weight of the patchwise contrastive loss");
  visit("patches", config.patches, Range{2, 65536}, "cut: patches of a picture that are compared");
  visit("temperature", config.temperature, Range{0.02, 10}, "cut: what similarities are divided by");
  visit("l1", config.l1, Range{0, 10}, "L1 penalty on the weights");
  visit("l2", config.l2, Range{0, 10}, "L2 penalty on the weights");
  visit("batch", config.batch, Range{0, 65536}, "pictures a step; 0: 64, or all where there are fewer");
  visit("lr-g", config.lr_g, Range{0, 1}, "Adam learning rate of the generator");
  visit("lr-d", config.lr_d, Range{0, 1}, "Adam learning rate of the discriminator");
  visit("beta1", config.beta1, Range{0, 0.9999}, "Adam decay of the first moment");
  visit("beta2", config.beta2, Range{0, 0.999999}, "Adam decay of the second moment");
  visit("adam-eps", config.adam_eps, Range{1e-16, 1}, "Adam epsilon");
  visit("decay-from", config.decay_from, Range{0, 1}, "part of the training after which learning rates fall linearly to 0; 1: never");
  visit("ema", config.ema, Range{0, 0.999999}, "decay a step of the averaged generator; 0: no averaging");
  visit("ema-warmup", config.ema_warmup, Any{}, "in step t the decay is at most (1 + t) / (10 + t), so that the random weights of the start are soon forgotten");

  visit("steps", config.steps, Range{0, 1e12}, "stop after this many steps; 0: no such limit; the first limit stops");
  visit("kimg", config.kimg, Range{0, 1e9},
        "stop after this many thousand real pictures; 1000 where no limit is given");
  visit("epochs", config.epochs, Range{0, 1e9}, "stop after this many passes over the data");
  visit("time", config.time, Form{is_duration, "a duration such as 90s, 2m or 1h30m"}, "stop after this long");

  visit("snap", config.snap, Form{is_interval, "a duration such as 2m, or a number of steps"},
        "time or steps between checkpoints, each with a picture grid");
  visit("keep", config.keep, Range{1, 1000000}, "newest checkpoints to keep; a resume needs one, and the one before where that is damaged");
  visit("grid", config.grid, Form{is_grid, "COLUMNSxROWS, each 1 to 64"}, "pictures in a sample grid");
  visit("log-format", config.log_format, OneOf{{"text", "json"}}, "progress for people or for programs");

  visit("device", config.device, Any{},
        "auto, cpu, cuda, simt (the CUDA kernels on the processor), ptx (what nvcc made of them, likewise) or reference");
  visit("precision", config.precision, OneOf{{"f32", "bf16", "tf32"}},
        "what activations are stored in; parameters, statistics and losses are f32 in each. tf32 (CUDA kernels, sm_80) stores f32, "
        "and convolutions and linear layers multiply in TF32, of 10 bits");
  visit("kernel", config.kernel, Kernels{}, "the highest rung of the ladder of CUDA kernels to take in the forward pass: conv2d=RUNG, gemm=RUNG or both with a "
        "comma, RUNG from 0 naive to 5 tensor core; what a rung does not support takes the one below");
  visit("threads", config.threads, Range{0, most_threads}, "threads of the CPU backend; 0: one a core");
  visit("seed", config.seed, Range{0, 9007199254740991}, "same seed, same result");
}

// Overwrites the options that the file names and leaves the others. Throws Error(bad_file) when it can't be read, and
// Error(bad_data) with line and column for an unknown key, a wrong type, a value that is not allowed, or a key that
// stands twice.
void load_config(const std::filesystem::path& path, TrainConfig& config);

// The same from memory; `source` stands for the path in messages.
void parse_config(std::string_view toml, const std::string& source, TrainConfig& config);

// Every option with its help as a comment: what load_config() reads back to the same configuration, bit for bit.
std::string config_to_toml(const TrainConfig& config);

// One JSON object, the same names.
std::string config_to_json(const TrainConfig& config);

// Checks every rule and throws Error(usage) naming the flag; gives `kimg` its default when no limit is set.
void validate(TrainConfig& config);

// The rule in words, with the type: "a whole number from 1 to 65536".
template <class T, class Rule>
std::string expectation(const T&, const Rule& rule) {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, double>) return "a number from " + rule.expected();
  constexpr bool whole = std::is_integral_v<T> && std::is_same_v<Rule, option::Range>;
  if constexpr (whole) return "a whole number from " + rule.expected();
  const std::string words = rule.expected();
  return words.empty() ? "a text" : words;
}

// Parsers of the text forms; each throws Error(usage).
ImageSize parse_size(std::string_view text);   // "64", "64x48" (width first), "auto"
double parse_share(std::string_view text);     // "5%", "0.05"
std::string to_text(ImageSize size);           // what parse_size() reads
double parse_duration(std::string_view text);  // seconds: "90s", "2m", "1.5h", "1h30m", "2d"

struct Grid {
  int columns, rows;
};
Grid parse_grid(std::string_view text);  // "8x8", columns first

struct Augment {
  bool color = false, translation = false, cutout = false;
};
Augment parse_augment(std::string_view text);  // "none", "color,translation,cutout"

// Exactly one is above 0.
struct Interval {
  double seconds = 0;
  std::int64_t steps = 0;
};
Interval parse_interval(std::string_view text);  // "2m" or "50" steps

}  // namespace pastiche
