#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
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

// What an option allows.
namespace option {
class Rule {
 public:
  virtual ~Rule() = default;
  virtual bool accepts(double) const { return true; }
  virtual bool accepts(const std::string&) const { return true; }
  virtual bool accepts(ImageSize) const { return true; }
  virtual std::string expected() const { return {}; }  // in words for a message, such as "0 to 1"; empty: any
};
}  // namespace option

enum class OptionGroup { data, network, loss, optimizer, length, output, machine };

// An option of `pastiche train`. `name` is the flag without its dashes and the TOML key; '-' and '_' are equal in both.
struct Option {
  const char* name;
  OptionGroup group;
  const option::Rule& rule;
  const char* help;
};

class OptionVisitor {
 public:
  virtual ~OptionVisitor() = default;
  virtual void visit(const Option&, bool&) = 0;
  virtual void visit(const Option&, int&) = 0;
  virtual void visit(const Option&, double&) = 0;
  virtual void visit(const Option&, std::string&) = 0;
};

// The options that one method has and no other, with their values.
class MethodOptions {
 public:
  virtual ~MethodOptions() = default;
  virtual std::unique_ptr<MethodOptions> copy() const = 0;
  virtual void visit(OptionVisitor&) = 0;
};

// A MethodOptions that is copied with what it is in. Empty for a method without options of its own.
class OwnOptions {
 public:
  explicit OwnOptions(std::unique_ptr<MethodOptions> options = {}) : options_(std::move(options)) {}
  OwnOptions(const OwnOptions& other) : options_(other.options_ ? other.options_->copy() : nullptr) {}
  OwnOptions(OwnOptions&&) = default;
  OwnOptions& operator=(OwnOptions other) { return options_.swap(other.options_), *this; }
  MethodOptions* get() const { return options_.get(); }

 private:
  std::unique_ptr<MethodOptions> options_;
};

// What `pastiche train` can be told. visit_options() below says what each member means and allows. Made with the defaults of the first
// method; default_config() makes it for others.
struct TrainConfig {
  TrainConfig();

  std::string model;  // the method
  OwnOptions own;     // of that method
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

  int nz = 100;
  int ngf = 0;
  int ndf = 0;
  double dropout = 0;
  std::string network = "resnet";
  int blocks = 0;
  int depth = 0;

  std::string loss = "relativistic";
  std::string step = "alternating";
  double label_smoothing = 0;
  std::string augment = "auto";
  std::string penalty = "auto";
  double gamma = 0;
  double lambda_gp = 10;
  int penalty_every = 8;
  double l1 = 0;
  double l2 = 0;
  int batch = 0;
  double lr_g = 1e-3;
  double lr_d = 1e-3;
  double beta1 = 0;
  double beta2 = 0.99;
  double adam_eps = 1e-8;
  double decay_from = 0.3;
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

bool is_method(const std::string& name);
// Whether a method learns to turn pictures of one domain into another's; the others make new ones.
bool is_translation(const std::string& method);
// What is not said: the papers' settings, and sizes that a processor can learn; with the preset "full" the papers' sizes too.
TrainConfig default_config(const std::string& method, const std::string& preset = "small");  // Error(usage) for no method

inline constexpr int most_threads = 4096;

// What --precision and --kernel ask for.
DType activation_dtype(const TrainConfig& config);
KernelChoice kernel_choice(const TrainConfig& config);

namespace option {

struct Any : Rule {};

struct Range : Rule {
  Range(double least, double most) : min(least), max(most) {}
  double min, max;  // both allowed
  bool accepts(double value) const override { return value >= min && value <= max; }
  std::string expected() const override;
};

struct OneOf : Rule {
  explicit OneOf(std::vector<std::string> all) : names(std::move(all)) {}
  std::vector<std::string> names;
  bool accepts(const std::string& value) const override;
  std::string expected() const override;
};

// A text that a function below can parse.
struct Form : Rule {
  Form(bool (*parses)(const std::string&), std::string form) : accepted(parses), words(std::move(form)) {}
  bool (*accepted)(const std::string&);
  std::string words;
  bool accepts(const std::string& value) const override { return accepted(value); }
  std::string expected() const override { return words; }
};

// "auto", or both sides in [min, max].
struct Sides : Rule {
  Sides(int least, int most) : min(least), max(most) {}
  int min, max;
  bool accepts(ImageSize size) const override;
  std::string expected() const override;
};

bool is_duration(const std::string&);  // or empty
bool is_interval(const std::string&);
bool is_grid(const std::string&);
bool is_color(const std::string&);
bool is_share(const std::string&);
bool is_augment(const std::string&);
bool is_name(const std::string&);  // or empty

struct Kernels : Rule {  // what parse_kernels() reads
  bool accepts(const std::string& value) const override;
  std::string expected() const override;
};

struct Channels : Rule {
  bool accepts(double channels) const override { return channels == 0 || channels == 1 || channels == 3 || channels == 4; }
  std::string expected() const override { return "1 (gray), 3 (colour), 4 (with alpha) or 0 (as the data)"; }
};

struct Methods : Rule {
  bool accepts(const std::string& name) const override { return is_method(name); }
  std::string expected() const override;
};

struct Losses : Rule {
  bool accepts(const std::string& name) const override;
  std::string expected() const override;
};

}  // namespace option

// The options that all methods or several have. Methods say which of these they have besides the common ones, and bring their own
// (src/methods/method.h).
template <class Config, class Visitor>
void visit_shared_options(Config& config, Visitor&& visit) {
  using namespace option;
  using enum OptionGroup;
  visit({"model", data, Methods{}, "the method, which says what is learnt"}, config.model);

  visit({"data", data, Any{}, "folder or zip of pictures, or IDX file (.gz too), to learn from"}, config.data);
  visit({"style", data, Any{},
         "folder of what pictures are to be turned into; without it, --data holds both: A/ and B/, trainA/ and trainB/, or "
         "pictures side by side"},
        config.style);
  visit({"holdout", data, Form{is_share, "a share such as 5% or 0.05, below 1"},
         "share of the pictures kept from training, for samples and for measuring"},
        config.holdout);
  visit({"size", data, Sides{4, 4096},
         "pixels a side, or WIDTHxHEIGHT; auto: as the data, but squares where pictures differ in size, and at most 64 on "
         "a processor and 128 on a GPU"},
        config.size);
  visit({"channels", data, Channels{}, "1 gray, 3 colour, 4 with alpha, 0: as the data"}, config.channels);
  visit({"background", data, Form{is_color, "six hexadecimal digits such as ffffff"},
         "colour behind transparent pictures, RRGGBB"},
        config.background);
  visit({"mirror", data, Any{}, "also show every picture mirrored left to right"}, config.mirror);
  visit({"crop", data, Range{1, 4}, "pictures to translate are resized to this times the size, and cropped at random"}, config.crop);
  visit({"strict", data, Any{}, "refuse data with a picture that can't be read, instead of leaving it out"}, config.strict);

  visit({"preset", network, OneOf({"small", "full"}),
         "small: translators that a processor can learn; full: the papers' sizes"},
        config.preset);
  visit({"nz", network, Range{1, 4096}, "length of the latent vector z"}, config.nz);
  visit({"ngf", network, Range{0, 1024},
         "channels of the generator's last hidden layer; 0: 64 on a GPU; on a processor 16, 32 or 64, by what --time, or "
         "half an hour, is enough for; of translations 32, with --preset full 64"},
        config.ngf);
  visit({"ndf", network, Range{0, 1024}, "channels of the discriminator's first layer; 0: as many as --ngf has, or would have by default"}, config.ndf);
  visit({"dropout", network, Range{0, 0.95},
         "dropout probability in the discriminator; of a unet, in its innermost decoders"},
        config.dropout);
  visit({"network", network, OneOf({"unet", "resnet"}), "generator of a translation"}, config.network);
  visit({"blocks", network, Range{0, 64},
         "residual blocks of a resnet; 0: 4, 6 from 128 pixels, with --preset full 9 from 256"},
        config.blocks);
  visit({"depth", network, Range{0, 12}, "halvings of a unet; 0: until the smaller side is at most 7, with --preset full 1"}, config.depth);

  visit({"loss", loss, Losses{}, "adversarial loss: non-saturating, minimax, lsgan, hinge, wgan or relativistic"}, config.loss);
  visit({"step", loss, OneOf({"alternating", "joint"}),
         "alternating: D, then G against the new D; joint: both gradients before both updates"},
        config.step);
  visit({"label-smoothing", loss, Range{0, 0.5}, "target of real pictures is 1 minus this (one-sided)"}, config.label_smoothing);
  visit({"augment", loss, Form{is_augment, "auto, none, or of color, translation and cutout, with commas between"},
         "what changes pictures before the discriminator sees them, real and made ones alike (DiffAugment): for few "
         "pictures; auto: all three below 5000 pictures, none for translations"},
        config.augment);
  visit({"penalty", loss, OneOf({"auto", "none", "r1", "r2", "r1+r2", "wgan-gp"}),
         "what keeps the discriminator's gradient by its pictures small: r1 by real ones, r2 by made ones (Mescheder et al., 2018), or near 1 "
         "between them: wgan-gp (Gulrajani et al., 2017); auto: r1+r2 for the loss relativistic, wgan-gp for wgan, none for others"},
        config.penalty);
  visit({"gamma", loss, Range{0, 1e6}, "weight of r1 and r2; 0: by the size, 0.3 at 32 pixels and four times that at twice the side"}, config.gamma);
  visit({"lambda-gp", loss, Range{0, 1e6}, "weight of wgan-gp"}, config.lambda_gp);
  visit({"penalty-every", loss, Range{1, 1024}, "steps from one penalty to the next, each weighted by as many; the first step has one"}, config.penalty_every);
  visit({"l1", loss, Range{0, 10}, "L1 penalty on the weights"}, config.l1);
  visit({"l2", loss, Range{0, 10}, "L2 penalty on the weights"}, config.l2);

  visit({"batch", optimizer, Range{0, 65536}, "pictures a step; 0: 64, or all where there are fewer; of translations 4, with --preset full 1"}, config.batch);
  visit({"lr-g", optimizer, Range{0, 1}, "Adam learning rate of the generator"}, config.lr_g);
  visit({"lr-d", optimizer, Range{0, 1}, "Adam learning rate of the discriminator"}, config.lr_d);
  visit({"beta1", optimizer, Range{0, 0.9999}, "Adam decay of the first moment"}, config.beta1);
  visit({"beta2", optimizer, Range{0, 0.999999}, "Adam decay of the second moment"}, config.beta2);
  visit({"adam-eps", optimizer, Range{1e-16, 1}, "Adam epsilon"}, config.adam_eps);
  visit({"decay-from", optimizer, Range{0, 1},
         "part of the training after which learning rates fall linearly to 0; 1: never"},
        config.decay_from);
  visit({"ema", optimizer, Range{0, 0.999999}, "decay a step of the averaged generator; 0: no averaging"}, config.ema);
  visit({"ema-warmup", optimizer, Any{},
         "in step t the decay is at most (1 + t) / (10 + t), so that the random weights of the start are soon forgotten"},
        config.ema_warmup);

  visit({"steps", length, Range{0, 1e12}, "stop after this many steps; 0: no such limit; the first limit stops"}, config.steps);
  visit({"kimg", length, Range{0, 1e9}, "stop after this many thousand real pictures; where no limit is given 1000, of translations 100"}, config.kimg);
  visit({"epochs", length, Range{0, 1e9}, "stop after this many passes over the data"}, config.epochs);
  visit({"time", length, Form{is_duration, "a duration such as 90s, 2m or 1h30m"}, "stop after this long"}, config.time);

  visit({"out", output, Any{}, "folder that run folders are made in"}, config.out);
  visit({"name", output, Form{is_name, "letters, digits, '.', '_' and '-'"},
         "name of the run folder after its number; empty: from model and data"},
        config.name);
  visit({"snap", output, Form{is_interval, "a duration such as 2m, or a number of steps"},
         "time or steps between checkpoints, each with a picture grid"},
        config.snap);
  visit({"keep", output, Range{1, 1000000},
         "newest checkpoints to keep; a resume needs one, and the one before where that is damaged"},
        config.keep);
  visit({"grid", output, Form{is_grid, "COLUMNSxROWS, each 1 to 64"}, "pictures in a sample grid"}, config.grid);
  visit({"log-format", output, OneOf({"text", "json"}), "progress for people or for programs"}, config.log_format);

  visit({"device", machine, Any{},
         "auto, cpu, cuda, simt (the CUDA kernels on the processor), ptx (what nvcc made of them, likewise) or reference"},
        config.device);
  visit({"precision", machine, OneOf({"f32", "bf16", "tf32"}),
         "what activations are stored in; parameters, statistics and losses are f32 in each. tf32 (CUDA kernels, sm_80) "
         "stores f32, and convolutions and linear layers multiply in TF32, of 10 bits"},
        config.precision);
  visit({"kernel", machine, Kernels{},
         "the highest rung of the ladder of CUDA kernels to take in the forward pass: conv2d=RUNG, gemm=RUNG or both with "
         "a comma, RUNG from 0 naive to 5 tensor core; what a rung does not support takes the one below"},
        config.kernel);
  visit({"threads", machine, Range{0, most_threads}, "threads of the CPU backend; 0: one a core"}, config.threads);
  visit({"seed", machine, Range{0, 9007199254740991}, "same seed, same result"}, config.seed);
}

// Whether a method has an option of that name.
bool has_option(const std::string& method, std::string_view name);

// Hands a method's own options to a function object that takes members of any type.
template <bool is_const, class Visitor>
class OwnVisitor final : public OptionVisitor {
  template <class T>
  using Member = std::conditional_t<is_const, const T, T>;

 public:
  explicit OwnVisitor(Visitor& visitor) : visitor_(visitor) {}
  void visit(const Option& option, bool& member) override { visitor_(option, static_cast<Member<bool>&>(member)); }
  void visit(const Option& option, int& member) override { visitor_(option, static_cast<Member<int>&>(member)); }
  void visit(const Option& option, double& member) override { visitor_(option, static_cast<Member<double>&>(member)); }
  void visit(const Option& option, std::string& member) override { visitor_(option, static_cast<Member<std::string>&>(member)); }

 private:
  Visitor& visitor_;
};

template <class Config, class Visitor>
void visit_own_options(Config& config, Visitor&& visit) {
  if (config.own.get() == nullptr) return;
  OwnVisitor<std::is_const_v<Config>, std::remove_reference_t<Visitor>> own(visit);
  config.own.get()->visit(own);
}

// Calls visit(option, member) for each option that the config's method has, in the order of help texts and files, with member one of
// std::string, bool, int, std::int64_t, double, ImageSize (const where `config` is).
template <class Config, class Visitor>
void visit_options(Config& config, Visitor&& visit) {
  const std::string method = config.model;  // the visitor may change it
  visit_shared_options(config, [&](const Option& option, auto& member) {
    if (has_option(method, option.name)) visit(option, member);
  });
  visit_own_options(config, visit);
}

// What a file of options may hold besides the options of its method.
struct ForeignKeys {
  bool method = true;    // a `model`, which the config then is of, with that method's defaults for its own options; else `model` is passed over
  bool options = false;  // options of other methods, which are passed over; else only in whole files of version 0.1, which hold those of all
};

// Overwrites the options that the file names and leaves the others. Throws Error(bad_file) when it can't be read, and
// Error(bad_data) with line and column for an unknown key, an option of another method, a wrong type, a value that is not allowed, or a
// key that stands twice.
void load_config(const std::filesystem::path& path, TrainConfig& config, const ForeignKeys& allowed = {});

// The same from memory; `source` stands for the path in messages.
void parse_config(std::string_view toml, const std::string& source, TrainConfig& config, const ForeignKeys& allowed = {});

// Every option with its help as a comment: what load_config() reads back to the same configuration, bit for bit.
std::string config_to_toml(const TrainConfig& config);

// One JSON object, the same names.
std::string config_to_json(const TrainConfig& config);

// Checks every rule and throws Error(usage) naming the flag; gives `kimg` its default when no limit is set.
void validate(TrainConfig& config);

// The rule in words, with the type: "a whole number from 1 to 65536".
template <class T>
std::string expectation(const T&, const option::Rule& rule) {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  const std::string words = rule.expected();
  if constexpr (std::is_same_v<T, double>) return "a number from " + words;
  if (std::is_integral_v<T> && dynamic_cast<const option::Range*>(&rule) != nullptr) return "a whole number from " + words;
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

struct Penalty {
  bool r1 = false, r2 = false, wgan_gp = false;
  bool operator==(const Penalty&) const = default;
};
Penalty parse_penalty(std::string_view text);  // "none", "r1+r2", "wgan-gp"

// Exactly one is above 0.
struct Interval {
  double seconds = 0;
  std::int64_t steps = 0;
};
Interval parse_interval(std::string_view text);  // "2m" or "50" steps

}  // namespace pastiche
