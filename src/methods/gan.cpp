// New pictures from noise: the data, the step of a generator and a discriminator, and what the generator makes.
#include "methods/gan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "io/json.h"
#include "ops/check.h"
#include "pastiche/checkpoint.h"
#include "pastiche/files.h"
#include "pastiche/streams.h"
#include "train/pictures.h"
#include "train/plan.h"

namespace pastiche {
namespace {

constexpr std::size_t net_g = 0, net_d = 1;      // in the order of add_network()
constexpr std::uint32_t call_real = 0, call_fake = 1, call_of_generator = 2, call_real_of_generator = 3, call_between = 4;  // D's passes in a step
constexpr std::int64_t few_pictures = 5000;      // of fewer, a discriminator soon knows each one (Zhao et al., 2020)

// The widest networks whose steps would be enough by the time that was given, on two cores with AVX-512. Below 4,000 steps half the width, with more
// steps, makes the better pictures: bench/README.md. On a GPU that is no question.
int width_for(TrainConfig config) {
  constexpr int widths[] = {64, 32, 16};
  constexpr double enough_steps = 4000, processor_flop = 4e11, usual_seconds = 1800;
  if (on_gpu(config)) return widths[0];
  const double seconds = config.time.empty() ? usual_seconds : parse_duration(config.time);
  for (const int width : widths) {
    config.ngf = config.ndf = width;
    if (enough_steps * step_flop(config) <= seconds * processor_flop) return width;
  }
  return std::end(widths)[-1];
}

// Four times as much at twice the side, as Karras et al. (2021) advise.
double gamma_for(ImageSize size) { return 0.3 * size.height * size.width / (32.0 * 32.0); }

// Where they were left to choose.
TrainConfig with_penalty_chosen(TrainConfig config, ImageSize size) {
  const AdversarialLoss& loss = adversarial_loss(config.loss);
  if (config.penalty == "auto") config.penalty = loss.relativistic ? "r1+r2" : loss.critic ? "wgan-gp" : "none";
  if (config.gamma == 0) config.gamma = gamma_for(size);
  return config;
}

class GanData final : public TrainingData {
 public:
  GanData(const GanMethod& method, TrainConfig& config) {
    if (config.size == ImageSize{}) config.size = method.default_size(config);
    data_ = open_dataset(config.data, data_options(config));
    config.data = absolute_path(config.data);
    config.size = {data_->height(), data_->width()};
    config.channels = data_->channels();
    choose_batch(config, data_->size(), 64);
    require_a_batch(config, data_->size(), config.data);
    if (config.augment == "auto") config.augment = data_->size() < few_pictures ? "color,translation,cutout" : "none";
    config = with_penalty_chosen(config, config.size);
    if (has_option(config.model, "ngf")) {
      if (config.ngf == 0) config.ngf = config.ndf == 0 ? width_for(config) : config.ndf;
      if (config.ndf == 0) config.ndf = config.ngf;
    }
    config_ = config;
  }

  const std::string& name() const override { return data_->name(); }
  const std::string& fingerprint() const override { return data_->fingerprint(); }
  std::int64_t pictures() const override { return data_->size(); }
  std::int64_t skipped() const override { return static_cast<std::int64_t>(data_->skipped().size()) + replaced_.count(); }
  std::vector<std::string> notes() const override {
    std::vector<std::string> notes;
    if (!data_->skipped().empty()) {
      notes.push_back(fmt::format("{} files of the data can't be used and are left out; `pastiche data check {}` lists them", data_->skipped().size(),
                                  shell_word(config_.data)));
    }
    if (!data_->left_out().empty()) notes.push_back("left out: " + left_out_text(data_->left_out()));
    if (data_->resized()) notes.push_back(fmt::format("pictures are cropped and resized to {}; --size chooses another", to_text(config_.size)));
    const std::string decay = config_.decay_from < 1 ? fmt::format(", which fall from {:.0f}% of the training on", 100 * config_.decay_from) : "";
    const Penalty kinds = parse_penalty(config_.penalty);
    const std::string penalty = kinds == Penalty{} ? "" : fmt::format(", penalty {} of {:.3g} every {} steps", config_.penalty,
                                                                      kinds.wgan_gp ? config_.lambda_gp : config_.gamma, config_.penalty_every);
    const std::string widths = config_.ngf > 0 ? fmt::format("widths {} and {}, ", config_.ngf, config_.ndf) : "";
    notes.push_back(fmt::format("{} pictures, batch {}, {}augment {}, loss {}{}, learning rates {:g} and {:g}{}", data_->size(), config_.batch, widths,
                                config_.augment, config_.loss, penalty, config_.lr_g, config_.lr_d, decay));
    return notes;
  }
  std::vector<std::string> take_notes() override { return loader_ ? replaced_.add(loader_->take_replaced(), config_.data) : std::vector<std::string>(); }

  void start_loading(const LoadingOptions& options) override { loader_ = std::make_unique<BatchLoader>(*data_, loader_options(config_, options)); }
  void prefetch(Trainer& trainer) override { trainer.prefetch({loader_->next().pixels}); }
  Image reals() const override { return grid_of(*data_, config_); }

 private:
  TrainConfig config_;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<BatchLoader> loader_;
  ReplacedNotes replaced_;
};

}  // namespace

// ---- the method ------------------------------------------------------------------------------------------------------

std::unique_ptr<TrainingData> GanMethod::open_data(TrainConfig& config) const {
  if (config.data.empty()) {
    throw Error(ExitCode::usage, "train needs pictures to learn from: pastiche train FOLDER (of pictures, or a zip or IDX file); --data FOLDER says the same");
  }
  return std::make_unique<GanData>(*this, config);
}

std::unique_ptr<Trainer> GanMethod::make_trainer(Backend& backend, const TrainConfig& config, DType dtype) const {
  return std::make_unique<GanTrainer>(backend, config, model_of(config), dtype);
}

nlohmann::ordered_json GanMethod::model_json(const TrainConfig& config) const {
  return nlohmann::ordered_json::parse(model_config_to_json(model_of(config)));
}

ModelConfig GanMethod::model_of(const TrainConfig& config) const {
  ModelConfig model{.name = name(), .height = config.size.height, .width = config.size.width, .channels = config.channels,
                    .nz = config.nz, .dropout = config.dropout};
  if (config.ngf > 0) model.ngf = config.ngf;  // else the method has no widths
  if (config.ndf > 0) model.ndf = config.ndf;
  set_own(model, config);
  return model;
}

// ---- the step --------------------------------------------------------------------------------------------------------

GanTrainer::GanTrainer(Backend& backend, const TrainConfig& config, const ModelConfig& model, DType dtype)
    : Trainer(backend, with_penalty_chosen(config, {static_cast<int>(model.height), static_cast<int>(model.width)}),
              {model.height, model.width, model.channels}, 1, dtype),
      model_(model),
      loss_(adversarial_loss(config.loss)),
      penalty_(parse_penalty(config_.penalty)),
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

// Both pictures of a relativistic pair are changed alike.
GanTrainer::Losses GanTrainer::alternating_step(const Var& real_pictures, const Var& z) {
  const Discriminator& d = *discriminator_;
  const Var made = (*generator_)(z, pass(0));  // [N,H,W,C]
  const Var real = judged(real_pictures), fake = judged(detach(made));
  const Var real_logits = d(augmented(real, call_real), pass(call_real));  // [N,1]
  const Var fake_logits = d(augmented(fake, loss_.relativistic ? call_real : call_fake), pass(call_fake));
  const Var d_loss = loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
  gradients_d_ = gradients(with_penalty(d_loss, real, real_logits, fake, fake_logits), {net_d});
  update(gradients_d_, {net_d});

  const Var g_loss = loss_.generator_loss([&] { return d(augmented(real_pictures, call_of_generator), pass(call_real_of_generator)); },
                                          d(augmented(made, call_of_generator), pass(call_of_generator)));
  gradients_g_ = gradients(g_loss, {net_g});
  update(gradients_g_, {net_g});
  return {d_loss, g_loss, real_logits, fake_logits};
}

GanTrainer::Losses GanTrainer::joint_step(const Var& real_pictures, const Var& z) {
  const Discriminator& d = *discriminator_;
  const Var real = judged(real_pictures), fake = (*generator_)(z, pass(0));
  const Var fake_logits = d(augmented(fake, loss_.relativistic ? call_real : call_fake), pass(call_fake));  // [N,1]
  const Var real_logits = d(augmented(real, call_real), pass(call_real));
  const Var d_loss = loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
  const Var g_loss = loss_.generator_loss([&] { return real_logits; }, fake_logits);
  gradients_d_ = gradients(with_penalty(d_loss, real, real_logits, fake, fake_logits), {net_d});
  gradients_g_ = gradients(g_loss, {net_g});
  update(gradients_d_, {net_d});
  update(gradients_g_, {net_g});
  return {d_loss, g_loss, real_logits, fake_logits};
}

// A step with a penalty takes derivatives by the pictures.
Var GanTrainer::judged(const Var& pictures) { return has_penalty() ? Tape::current()->leaf(pictures.value()) : pictures; }

// The penalties of other steps are in this one's weight: lazy regularization (Karras et al., 2020, arXiv 1912.04958, appendix B).
Var GanTrainer::with_penalty(const Var& d_loss, const Var& real, const Var& real_logits, const Var& fake, const Var& fake_logits) {
  if (!has_penalty()) return d_loss;
  if (penalty_.wgan_gp) {
    const Var between = judged(between_pairs(real, fake));
    return d_loss + config_.lambda_gp * config_.penalty_every * one_centered_penalty((*discriminator_)(between, pass(call_between)), between);
  }
  const double weight = config_.gamma * config_.penalty_every;
  Var loss = d_loss;
  if (penalty_.r1) loss = loss + weight / 2 * zero_centered_penalty(real_logits, real);
  if (penalty_.r2) loss = loss + weight / 2 * zero_centered_penalty(fake_logits, fake);
  return loss;
}

// A random point on the line between each real picture and a made one.
Tensor GanTrainer::between_pairs(const Var& real, const Var& fake) {
  const Recording off(nullptr);
  const Shape& shape = real.shape();
  Tensor normal = Tensor::empty(backend_, {shape[0], 2}, parameter_dtype(dtype_));
  backend_.random_normal(normal, {static_cast<std::uint64_t>(config_.seed), streams::between}, state_tensor_);
  const Var n(normal), uniform = exp(-0.5 * sum(n * n, 1));  // [N]; Box and Muller, 1958, backwards
  const Var share = cast(reshape(broadcast(uniform, 1, shape.elements() / shape[0]), shape), dtype_);
  return (fake + share * (real - fake)).value();
}

Image GanTrainer::samples(const Examples&) {
  const Grid grid = parse_grid(config_.grid);
  std::vector<std::uint64_t> seeds(static_cast<std::size_t>(grid.columns * grid.rows));  // fixed, so that grids over time show the same pictures grow
  std::iota(seeds.begin(), seeds.end(), 0);
  return tile(generate_pictures(*averaged_, sample_latents(seeds, model_.nz)), grid.columns, 2);
}

void GanTrainer::write_models(const std::filesystem::path& folder, const DataOrigin& origin) {
  const ModelCard card{.model = model_, .step = steps_done(), .data = origin.name, .data_fingerprint = origin.fingerprint, .seed = config_.seed};
  write_safetensors(folder / "model.safetensors", generator_file(*averaged_, card));
}

// ---- pictures --------------------------------------------------------------------------------------------------------

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
  const std::int64_t count = std::ssize(latents) / nz;
  require(std::ssize(latents) % nz == 0, "generate_pictures", "{} numbers, expected latents of {}", latents.size(), nz);
  require(batch > 0, "generate_pictures", "batch {}, expected at least 1", batch);
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

// ---- networks --------------------------------------------------------------------------------------------------------

std::vector<Sides> halvings(std::int64_t height, std::int64_t width) {
  std::vector<Sides> sides{{height, width}};
  while (std::min(sides.back().height, sides.back().width) > 7) {
    sides.push_back({ceil_div(sides.back().height, 2), ceil_div(sides.back().width, 2)});
  }
  return sides;
}

std::int64_t doubled(std::int64_t channels, std::size_t times) {
  return std::min(std::int64_t{512}, channels << std::min<std::size_t>(times, 10));
}

namespace {

// A size that no picture has would only show as an allocation that fails.
void require_valid(const ModelConfig& c) {
  const auto in = [](std::int64_t value, std::int64_t least, std::int64_t most) { return value >= least && value <= most; };
  const GanMethod& method = find_gan_method(c.name);
  if (in(c.height, 1, 4096) && in(c.width, 1, 4096) && (c.channels == 1 || c.channels == 3 || c.channels == 4) && in(c.nz, 1, 65536) &&
      in(c.ngf, 1, 4096) && in(c.ndf, 1, 4096) && in(c.base, 0, 1024) && c.dropout >= 0 && c.dropout < 1) {
    return method.check(c);
  }
  throw Error(ExitCode::bad_file, "model config out of range: " + model_config_to_json(c));
}

}  // namespace

std::unique_ptr<Generator> make_generator(Backend& backend, const ModelConfig& model, std::uint64_t seed, std::string prefix, DType dtype) {
  require_valid(model);
  return find_gan_method(model.name).make_generator(backend, model, std::move(prefix), seed, dtype);
}

std::unique_ptr<Discriminator> make_discriminator(Backend& backend, const ModelConfig& model, std::uint64_t seed, DType dtype) {
  require_valid(model);
  return find_gan_method(model.name).make_discriminator(backend, model, seed, dtype);
}

std::string model_config_to_json(const ModelConfig& c) {
  return nlohmann::ordered_json{{"name", c.name}, {"height", c.height}, {"width", c.width}, {"channels", c.channels},
                                {"nz", c.nz}, {"ngf", c.ngf}, {"ndf", c.ndf}, {"base", c.base}, {"d_norm", c.d_norm},
                                {"dropout", c.dropout}}.dump();
}

ModelConfig model_config_from_json(std::string_view json) {
  const auto j = parse_json(json);
  if (!j) throw Error(ExitCode::bad_file, "not a model config: no JSON of its size");
  ModelConfig c{.name = text_member(*j, "name"), .height = whole_member(*j, "height"), .width = whole_member(*j, "width"),
                .channels = whole_member(*j, "channels"), .nz = whole_member(*j, "nz"), .ngf = whole_member(*j, "ngf"),
                .ndf = whole_member(*j, "ndf"), .base = whole_member(*j, "base"), .d_norm = bool_member(*j, "d_norm"),
                .dropout = number_member(*j, "dropout")};
  try {
    require_valid(c);
  } catch (const Error& error) {
    throw Error(ExitCode::bad_file, error.what());  // also of what would be a wrong option
  }
  return c;
}

}  // namespace pastiche
