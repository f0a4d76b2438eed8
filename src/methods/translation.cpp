// Pictures of one domain turned into those of another: the data, and what the methods share.
#include "methods/translation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "ops/check.h"
#include "pastiche/checkpoint.h"
#include "pastiche/files.h"
#include "pastiche/metrics.h"
#include "train/pictures.h"

namespace pastiche {
namespace {

std::int64_t depth_for(std::int64_t side, bool full) {
  const auto least = static_cast<std::uint64_t>(full ? 1 : 7);
  std::int64_t depth = 2;
  while (static_cast<std::uint64_t>(side) >> depth > least) ++depth;
  return depth;
}

std::int64_t blocks_for(std::int64_t side, bool full) {
  if (full) return side >= 256 ? 9 : 6;
  return side >= 128 ? 6 : 4;
}

class TranslationData final : public TrainingData {
 public:
  TranslationData(Pairing pairing, TrainConfig& config) {
    DomainOptions options{.data = data_options(config), .holdout = parse_share(config.holdout)};
    if (config.crop > 1 && config.size != ImageSize{}) {
      options.load_height = static_cast<int>(std::lround(config.crop * config.size.height));
      options.load_width = static_cast<int>(std::lround(config.crop * config.size.width));
    }
    data_ = open_domains(config.data, config.style, pairing, options);
    config.data = absolute_path(config.data);
    if (!config.style.empty()) config.style = absolute_path(config.style);
    config.size = {data_.height, data_.width};
    config.channels = data_.channels;
    const bool fewer_targets = !config.style.empty() && data_.b->size() < data_.a->size();
    const std::int64_t fewer = std::min(data_.a->size(), data_.b->size());
    choose_batch(config, fewer, config.preset == "full" ? 1 : 4);
    require_a_batch(config, fewer, fewer_targets ? config.style : config.data);
    if (config.augment == "auto") config.augment = "none";
    const TrainConfig usual = default_config(config.model, config.preset);
    if (config.ngf == 0) config.ngf = usual.ngf;
    if (config.ndf == 0) config.ndf = usual.ndf;
    require_sides(translator_of(config), config.size);
    config_ = config;
  }

  const std::string& name() const override { return data_.name; }
  const std::string& fingerprint() const override { return data_.fingerprint; }
  std::int64_t pictures() const override { return data_.a->size(); }
  std::int64_t skipped() const override {
    return static_cast<std::int64_t>(data_.a->skipped().size() + data_.b->skipped().size() + data_.unmatched.size()) + replaced_.count();
  }
  std::vector<std::string> notes() const override {
    std::vector<std::string> notes{data_.summary};
    constexpr std::size_t most = 10;
    for (std::size_t i = 0; i < std::min(most, data_.unmatched.size()); ++i) {
      notes.push_back(fmt::format("left out: {} {}", quote(data_.unmatched[i].file), data_.unmatched[i].reason));
    }
    if (data_.unmatched.size() > most) notes.push_back(fmt::format("left out: {} more like these", data_.unmatched.size() - most));
    if (!data_.left_out.empty()) notes.push_back("left out: " + left_out_text(data_.left_out));
    return notes;
  }
  std::vector<std::string> take_notes() override { return loader_ ? replaced_.add(loader_->take_replaced(), config_.data) : std::vector<std::string>(); }

  void start_loading(const LoadingOptions& options) override {
    examples();  // read while all of them are there
    loader_ = std::make_unique<PairLoader>(data_, loader_options(config_, options));
  }
  void prefetch(Trainer& trainer) override {
    const PairBatch batch = loader_->next();
    trainer.prefetch({batch.a.pixels, batch.b.pixels});
  }

  Image reals() const override { return grid_of(*data_.b, config_); }

  // Held-out ones where there are any, at the size that the network learns at, whatever the data is loaded at. Read once: what is shown stays the
  // same, and can be shown when its files are gone.
  Examples examples() const override {
    if (examples_) return *examples_;
    const Grid grid = parse_grid(config_.grid);
    const bool held = data_.holdout_a->size() > 0, paired = data_.pairing == Pairing::paired;
    const Dataset &a = held ? *data_.holdout_a : *data_.a, &b = held ? *data_.holdout_b : *data_.b;
    const std::vector<std::int64_t> indices = some_indices(a.size(), grid.columns * grid.rows);
    std::vector<std::vector<Image>> pictures = paired ? pictures_of({&a, &b}, indices) : pictures_of({&a}, indices);
    for (std::vector<Image>& set : pictures) {
      for (Image& picture : set) picture = fit(picture, data_.height, data_.width);
    }
    examples_ = Examples{.sources = std::move(pictures[0]), .targets = {}};
    if (paired) examples_->targets = std::move(pictures[1]);
    return *examples_;
  }

  Examples held_out() const override {
    Examples held;
    if (data_.pairing != Pairing::paired || std::min(data_.height, data_.width) < least_distance_side) return held;
    for (const std::int64_t index : some_indices(data_.holdout_a->size(), 256)) {
      std::vector<Image> pair = pictures_at({data_.holdout_a.get(), data_.holdout_b.get()}, index);
      if (pair.empty()) continue;
      held.sources.push_back(std::move(pair[0]));
      held.targets.push_back(std::move(pair[1]));
    }
    return held;
  }

 private:
  static void require_sides(const TranslatorConfig& network, ImageSize size) {
    const auto multiple = static_cast<int>(side_multiple(network)), least = static_cast<int>(least_side(network));
    if (size.height % multiple == 0 && size.width % multiple == 0 && std::min(size.height, size.width) >= least) return;
    const auto near = [&](int side) { return std::max((side + multiple / 2) / multiple * multiple, (least + multiple - 1) / multiple * multiple); };
    throw Error(ExitCode::usage, fmt::format("a size of {} does not suit this {}: sides must be multiples of {}, and at least {}; use --size {}",
                                             to_text(size), network.name, multiple, least,
                                             to_text({.height = near(size.height), .width = near(size.width)})));
  }

  TrainConfig config_;
  DomainPair data_;
  mutable std::optional<Examples> examples_;
  std::unique_ptr<PairLoader> loader_;
  ReplacedNotes replaced_;
};

}  // namespace

// ---- the method ------------------------------------------------------------------------------------------------------

void TranslationMethod::set_defaults(TrainConfig& config) const {
  const bool full = config.preset == "full";
  config.augment = "none";
  config.size = full ? ImageSize{256, 256} : ImageSize{64, 64};
  config.mirror = true;
  config.crop = 1.125;
  config.ngf = config.ndf = full ? 64 : 32;
  config.lr_g = config.lr_d = 2e-4;
  config.beta1 = 0.5;
  config.beta2 = 0.999;
  config.decay_from = 0.5;
  config.ema = 0;
  config.grid = "4x8";
  config.loss = "lsgan";
}

std::unique_ptr<TrainingData> TranslationMethod::open_data(TrainConfig& config) const {
  if (config.data.empty()) {
    throw Error(ExitCode::usage, "train needs pictures to turn into others: FOLDER --style FOLDER, or one FOLDER with both in it; --data FOLDER says the same");
  }
  if (adversarial_loss(config.loss).critic) {
    throw Error(ExitCode::usage, fmt::format("--loss {}: it needs a penalty on the discriminator, and {} has none", config.loss, config.model));
  }
  return std::make_unique<TranslationData>(pairing(), config);
}

std::unique_ptr<Trainer> TranslationMethod::make_trainer(Backend& backend, const TrainConfig& config, DType dtype) const {
  TrainConfig definite = config;
  return make_translation_trainer(backend, config, translator_of(definite), dtype);
}

nlohmann::ordered_json TranslationMethod::model_json(const TrainConfig& config) const {
  TrainConfig definite = config;
  return nlohmann::ordered_json::parse(translator_config_to_json(translator_of(definite)));
}

std::unique_ptr<TranslationTrainer> make_translation_trainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network,
                                                             DType dtype) {
  return find_translation_method(config.model).make_translation_trainer(backend, config, network, dtype);
}

TranslatorConfig translator_of(TrainConfig& config) {
  const bool full = config.preset == "full";
  const int side = std::min(config.size.height, config.size.width);
  if (config.network == "unet" && config.depth == 0) config.depth = static_cast<int>(depth_for(side, full));
  if (config.network == "resnet" && config.blocks == 0) config.blocks = static_cast<int>(blocks_for(side, full));
  return {.name = config.network, .height = config.size.height, .width = config.size.width, .channels = config.channels,
          .ngf = config.ngf, .blocks = config.blocks, .depth = std::max(config.depth, 2),
          .dropout = config.network == "unet" ? config.dropout : 0};
}

// ---- the trainer -----------------------------------------------------------------------------------------------------

TranslationTrainer::TranslationTrainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network, DType dtype,
                                       std::int64_t judged_channels)
    : Trainer(backend, config, {network.height, network.width, network.channels}, 2, dtype),
      loss_(adversarial_loss(config.loss)),
      forward_(add_direction(network, judged_channels, "G.", "EMA.", "D.")) {}

TranslationTrainer::Direction TranslationTrainer::add_direction(const TranslatorConfig& network, std::int64_t judged_channels,
                                                                const char* translator_prefix, const char* average_prefix,
                                                                const char* discriminator_prefix) {
  const auto seed = static_cast<std::uint64_t>(config_.seed);
  Direction direction;
  direction.translator = make_translator(backend_, network, seed, translator_prefix, dtype_);
  if (config_.ema > 0) direction.average_copy = make_translator(backend_, network, seed, average_prefix, dtype_);
  const PatchDiscriminator::Options options{.channels = judged_channels, .ndf = config_.ndf,
                                            .layers = PatchDiscriminator::layers_for(std::min(network.height, network.width))};
  direction.discriminator = std::make_unique<PatchDiscriminator>(backend_, options, seed, discriminator_prefix, dtype_);
  add_network(Side::g, direction.translator->parameters(), direction.average_copy ? &direction.average_copy->parameters() : nullptr);
  add_network(Side::d, direction.discriminator->parameters());
  return direction;
}

StepStats TranslationTrainer::step(const Tensor& a, const Tensor& b) {
  const Tensor pictures[] = {a, b};
  return run_eagerly([&] { return compute(pictures); });
}

// Sources, results, and where they are known their targets.
Image TranslationTrainer::samples(const Examples& examples) {
  const std::vector<Image> results = translate_pictures(averaged(), examples.sources);
  std::vector<Image> groups;
  for (std::size_t i = 0; i < results.size(); ++i) {
    std::vector<Image> group{examples.sources[i], results[i]};
    if (!examples.targets.empty()) group.push_back(examples.targets[i]);
    groups.push_back(tile(group, static_cast<int>(group.size()), 0));
  }
  return tile(groups, parse_grid(config_.grid).columns, 4);
}

void TranslationTrainer::write_models(const std::filesystem::path& folder, const DataOrigin& origin) {
  write_translator(folder / "model.safetensors", averaged(), config_.model, origin);
}

void TranslationTrainer::write_translator(const std::filesystem::path& path, Translator& translator, const std::string& method,
                                          const DataOrigin& origin) const {
  const TranslatorCard card{.network = translator.config(), .method = method, .step = steps_done(), .data = origin.name,
                            .data_fingerprint = origin.fingerprint, .seed = config_.seed};
  write_safetensors(path, translator_file(translator, card));
}

std::string TranslationTrainer::measure(const Examples& examples) {
  if (examples.targets.empty()) return {};
  const PictureDistance d = picture_distance(translate_pictures(averaged(), examples.sources), examples.targets);
  return fmt::format(R"({{"step":{},"pictures":{},"l1":{:.6g},"psnr":{:.6g},"ssim":{:.6g}}})", steps_done(), examples.sources.size(), d.l1,
                     d.psnr, d.ssim);
}

std::vector<Image> translate_pictures(Translator& translator, std::span<const Image> pictures, std::int64_t batch) {
  require(batch > 0, "translate_pictures", "batch {}, expected at least 1", batch);
  const Recording off(nullptr);
  std::vector<Image> results;
  for (std::size_t begin = 0; begin < pictures.size(); begin += static_cast<std::size_t>(batch)) {
    const std::size_t count = std::min(static_cast<std::size_t>(batch), pictures.size() - begin);
    const Var y = translator(to_tensor(translator.parameters().backend(), pictures.subspan(begin, count)), {});
    for (Image& picture : to_pictures(y.value())) results.push_back(std::move(picture));
  }
  return results;
}

}  // namespace pastiche
