#include "train/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>

#include "core/system.h"
#include "pastiche/checkpoint.h"
#include "pastiche/files.h"
#include "pastiche/metrics.h"
#include "pastiche/pairs.h"

namespace pastiche {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;

std::array<std::uint8_t, 3> color_of(const std::string& hex) {
  const auto value = static_cast<std::uint32_t>(std::stoul(hex, nullptr, 16));
  return {static_cast<std::uint8_t>(value >> 16), static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}

bool on_gpu(const TrainConfig& config) { return choose_device(config.device).name == "cuda"; }

DataOptions data_options(const TrainConfig& c) {
  return {.height = c.size.height, .width = c.size.width, .most_side = on_gpu(c) ? 128 : 64, .channels = c.channels,
          .background = color_of(c.background), .strict = c.strict};
}

std::string absolute(const std::string& path) { return fs::absolute(path).lexically_normal().string(); }

void require_a_batch(const TrainConfig& config, std::int64_t pictures, const std::string& folder) {
  if (config.batch <= pictures) return;
  throw Error(ExitCode::usage, fmt::format("--batch {} is more than the {} in {}: use at most --batch {}", config.batch,
                                           pictures == 1 ? "one picture" : fmt::format("{} pictures", pictures), quote(folder), pictures));
}

std::string skipped_note(std::size_t count, const std::string& data) {
  return fmt::format("{} files of the data can't be used and are left out; `pastiche data check {}` lists them", count, shell_word(data));
}

// Of pictures that a loader replaced: the first ones by name, then each time that their number has doubled.
class ReplacedNotes {
 public:
  std::vector<std::string> add(const std::vector<SkippedFile>& replaced, const std::string& data) {
    std::vector<std::string> notes;
    for (const SkippedFile& file : replaced) {
      if (++count_ <= one_by_one) notes.push_back(file.reason + "; another picture takes its place");
      if (count_ < next_) continue;
      next_ *= 2;
      notes.push_back(fmt::format("{} pictures can't be used any more, and others take their places; `pastiche data check {}` lists them",
                                  count_, shell_word(data)));
    }
    return notes;
  }
  std::int64_t count() const { return count_; }

 private:
  static constexpr std::int64_t one_by_one = 5;
  std::int64_t count_ = 0, next_ = 2 * one_by_one;
};

LoaderOptions loader_options(const TrainConfig& c, const LoadingOptions& options) {
  return {.batch = c.batch, .seed = static_cast<std::uint64_t>(c.seed), .threads = options.threads,
          .mirror = c.mirror ? MirrorMode::random : MirrorMode::never, .start_step = options.start_step, .strict = c.strict};
}

// Evenly over all of them.
std::vector<std::int64_t> some_indices(std::int64_t size, std::int64_t count) {
  std::vector<std::int64_t> indices;
  for (std::int64_t i = 0; i < std::min(size, count); ++i) indices.push_back(i * size / std::min(size, count));
  return indices;
}

// Picture `index` of sets that belong together; empty where one of them can't be read.
std::vector<Image> pictures_at(std::initializer_list<const Dataset*> sets, std::int64_t index) {
  std::vector<Image> pictures;
  try {
    for (const Dataset* set : sets) pictures.push_back(set->picture(index));
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_data) throw;
    return {};
  }
  return pictures;
}

// [set][picture] of these indices. Where one can't be read, the next index that can takes its place in all sets.
std::vector<std::vector<Image>> pictures_of(std::initializer_list<const Dataset*> sets, const std::vector<std::int64_t>& indices) {
  const Dataset& first = **sets.begin();
  std::vector<std::vector<Image>> result(sets.size());
  for (const std::int64_t wanted : indices) {
    std::vector<Image> pictures;
    for (std::int64_t i = 0; i < first.size() && pictures.empty(); ++i) pictures = pictures_at(sets, (wanted + i) % first.size());
    if (pictures.empty()) {
      throw Error(ExitCode::bad_data, fmt::format("none of the {} pictures of {} can be read any more; bring them back", first.size(), quote(first.name())));
    }
    for (std::size_t s = 0; s < sets.size(); ++s) result[s].push_back(std::move(pictures[s]));
  }
  return result;
}

// What was left to choose, when everything else stands in `config`. The rules use what the user said and what the data is, never a time that
// was measured, so that the same command is the same training everywhere.
void choose_batch(TrainConfig& config, std::int64_t pictures, std::int64_t usual) {
  if (config.batch == 0) config.batch = static_cast<int>(std::min(usual, pictures));
}

// The widest networks whose steps would be enough by the time that was given. On a GPU that is no question.
int width_for(const TrainConfig& config, ModelConfig model) {
  constexpr int widths[] = {64, 32, 16};
  constexpr double enough_steps = 2500, processor_flop = 1e11, usual_seconds = 1800;
  if (on_gpu(config)) return widths[0];
  const double seconds = config.time.empty() ? usual_seconds : parse_duration(config.time);
  for (const int width : widths) {
    model.ngf = model.ndf = width;
    if (enough_steps * step_flop(config, model) <= seconds * processor_flop) return width;
  }
  return std::end(widths)[-1];
}

constexpr std::int64_t few_pictures = 5000;  // of fewer, a discriminator soon knows each one (Zhao et al., 2020)

// ---- new pictures ----------------------------------------------------------------------------------------------------

class GanTask final : public TrainingTask {
 public:
  explicit GanTask(TrainConfig& config) {
    if (config.model == "article" && config.base > 0 && config.size == ImageSize{}) {
      config.size = {4 * config.base, 4 * config.base};  // what that base makes
    }
    data_ = open_dataset(config.data, data_options(config));
    config.data = absolute(config.data);
    config.size = {data_->height(), data_->width()};
    config.channels = data_->channels();
    choose_batch(config, data_->size(), 64);
    require_a_batch(config, data_->size(), config.data);
    if (config.augment == "auto") config.augment = data_->size() < few_pictures ? "color,translation,cutout" : "none";
    model_ = {.name = config.model, .height = config.size.height, .width = config.size.width, .channels = config.channels,
              .nz = config.nz, .ngf = config.ngf, .ndf = config.ndf, .base = config.base, .d_norm = config.d_norm,
              .dropout = config.dropout};
    if (config.ngf == 0) config.ngf = config.ndf == 0 ? width_for(config, model_) : config.ndf;
    if (config.ndf == 0) config.ndf = config.ngf;
    model_.ngf = config.ngf, model_.ndf = config.ndf;
    config_ = config;
    const Grid grid = parse_grid(config.grid);
    std::vector<std::uint64_t> seeds(static_cast<std::size_t>(grid.columns * grid.rows));
    std::iota(seeds.begin(), seeds.end(), 0);
    latents_ = sample_latents(seeds, config.nz);
  }

  const std::string& data_name() const override { return data_->name(); }
  const std::string& data_fingerprint() const override { return data_->fingerprint(); }
  std::int64_t pictures() const override { return data_->size(); }
  std::int64_t skipped() const override { return static_cast<std::int64_t>(data_->skipped().size()) + replaced_.count(); }
  std::vector<std::string> notes() const override {
    std::vector<std::string> notes;
    if (!data_->skipped().empty()) notes.push_back(skipped_note(data_->skipped().size(), config_.data));
    if (!data_->left_out().empty()) notes.push_back("left out: " + left_out_text(data_->left_out()));
    if (data_->resized()) notes.push_back(fmt::format("pictures are cropped and resized to {}; --size chooses another", to_text(config_.size)));
    if (parse_share(config_.holdout) > 0) notes.push_back("--holdout is for pix2pix, cyclegan and cut: nothing is held out here");
    const std::string widths = config_.model == "article" ? "" : fmt::format("widths {} and {}, ", config_.ngf, config_.ndf);  // the article's are fixed
    notes.push_back(fmt::format("{} pictures, batch {}, {}augment {}, learning rates {:g} and {:g}", data_->size(), config_.batch, widths,
                                config_.augment, config_.lr_g, config_.lr_d));
    return notes;
  }
  std::vector<std::string> take_notes() override { return loader_ ? replaced_.add(loader_->take_replaced(), config_.data) : std::vector<std::string>(); }

  std::unique_ptr<Trainer> make_trainer(Backend& backend) const override {
    return std::make_unique<GanTrainer>(backend, config_, model_, activation_dtype(config_));
  }
  ordered_json model_json() const override { return ordered_json::parse(model_config_to_json(model_)); }

  void start_loading(const LoadingOptions& options) override {
    loader_ = std::make_unique<BatchLoader>(*data_, loader_options(config_, options));
  }
  void prefetch(Trainer& trainer) override { trainer.prefetch({loader_->next().pixels}); }

  Image samples(Trainer& trainer) const override {
    return tile(generate_pictures(gan(trainer).averaged(), latents_), parse_grid(config_.grid).columns, 2);
  }
  Image reals() const override {
    const Grid grid = parse_grid(config_.grid);
    return tile(pictures_of({data_.get()}, some_indices(data_->size(), grid.columns * grid.rows))[0], grid.columns, 2);
  }
  void write_models(Trainer& trainer, const fs::path& folder) const override {
    const ModelCard card{.model = model_, .step = trainer.steps_done(), .data = data_->name(),
                         .data_fingerprint = data_->fingerprint(), .seed = config_.seed};
    write_safetensors(folder / "model.safetensors", generator_file(gan(trainer).averaged(), card));
  }
  std::string measure(Trainer&) const override { return {}; }

 private:
  static GanTrainer& gan(Trainer& trainer) { return static_cast<GanTrainer&>(trainer); }

  TrainConfig config_;
  ModelConfig model_;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<BatchLoader> loader_;
  ReplacedNotes replaced_;
  std::vector<float> latents_;  // fixed, so that grids over time show the same pictures grow
};

// ---- translations ----------------------------------------------------------------------------------------------------

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

class TranslationTask final : public TrainingTask {
 public:
  explicit TranslationTask(TrainConfig& config) {
    const Pairing pairing = config.model == "pix2pix" ? Pairing::paired : Pairing::unpaired;
    DomainOptions options{.data = data_options(config), .holdout = parse_share(config.holdout)};
    if (config.crop > 1 && config.size != ImageSize{}) {
      options.load_height = static_cast<int>(std::lround(config.crop * config.size.height));
      options.load_width = static_cast<int>(std::lround(config.crop * config.size.width));
    }
    data_ = open_domains(config.data, config.style, pairing, options);
    config.data = absolute(config.data);
    if (!config.style.empty()) config.style = absolute(config.style);
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
    network_ = translator_of(config);
    config_ = config;
    require_sides();
  }

  const std::string& data_name() const override { return data_.name; }
  const std::string& data_fingerprint() const override { return data_.fingerprint; }
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

  std::unique_ptr<Trainer> make_trainer(Backend& backend) const override {
    return std::make_unique<TranslationTrainer>(backend, config_, network_, activation_dtype(config_));
  }
  ordered_json model_json() const override { return ordered_json::parse(translator_config_to_json(network_)); }

  void start_loading(const LoadingOptions& options) override {
    shown_pictures();  // read while all of them are there
    loader_ = std::make_unique<PairLoader>(data_, loader_options(config_, options));
  }
  void prefetch(Trainer& trainer) override {
    const PairBatch batch = loader_->next();
    trainer.prefetch({batch.a.pixels, batch.b.pixels});
  }

  // Sources, results, and where there are pairs their targets: held-out ones where there are any.
  Image samples(Trainer& trainer) const override {
    const Grid grid = parse_grid(config_.grid);
    const Shown& shown = shown_pictures();
    const std::vector<Image> results = translate_pictures(translation(trainer).averaged(), shown.sources);
    std::vector<Image> groups;
    for (std::size_t i = 0; i < results.size(); ++i) {
      std::vector<Image> group{shown.sources[i], results[i]};
      if (!shown.targets.empty()) group.push_back(shown.targets[i]);
      groups.push_back(tile(group, static_cast<int>(group.size()), 0));
    }
    return tile(groups, grid.columns, 4);
  }
  Image reals() const override {
    const Grid grid = parse_grid(config_.grid);
    return tile(pictures_of({data_.b.get()}, some_indices(data_.b->size(), grid.columns * grid.rows))[0], grid.columns, 2);
  }
  void write_models(Trainer& trainer, const fs::path& folder) const override {
    TranslatorCard card{.network = network_, .method = config_.model, .step = trainer.steps_done(), .data = data_.name,
                        .data_fingerprint = data_.fingerprint, .seed = config_.seed};
    write_safetensors(folder / "model.safetensors", translator_file(translation(trainer).averaged(), card));
    if (Translator* reverse = translation(trainer).averaged_reverse()) {
      card.method += " from B to A";
      write_safetensors(folder / "reverse.safetensors", translator_file(*reverse, card));
    }
  }
  std::string measure(Trainer& trainer) const override {
    if (data_.pairing != Pairing::paired || data_.holdout_a->size() == 0 || std::min(data_.height, data_.width) < least_distance_side) return {};
    std::vector<Image> sources, targets;
    for (const std::int64_t index : some_indices(data_.holdout_a->size(), 256)) {
      std::vector<Image> pair = pictures_at({data_.holdout_a.get(), data_.holdout_b.get()}, index);
      if (pair.empty()) continue;
      sources.push_back(std::move(pair[0]));
      targets.push_back(std::move(pair[1]));
    }
    if (sources.empty()) return {};
    const PictureDistance d = picture_distance(translate_pictures(translation(trainer).averaged(), sources), targets);
    return fmt::format(R"({{"step":{},"pictures":{},"l1":{:.6g},"psnr":{:.6g},"ssim":{:.6g}}})", trainer.steps_done(), sources.size(),
                       d.l1, d.psnr, d.ssim);
  }

 private:
  struct Shown {
    std::vector<Image> sources, targets;
  };

  static TranslationTrainer& translation(Trainer& trainer) { return static_cast<TranslationTrainer&>(trainer); }

  // At the size that the network learns at, whatever the data is loaded at. Read once: what is shown stays the same, and can be
  // shown when its files are gone.
  const Shown& shown_pictures() const {
    if (shown_) return *shown_;
    const Grid grid = parse_grid(config_.grid);
    const bool held = data_.holdout_a->size() > 0, paired = data_.pairing == Pairing::paired;
    const Dataset &a = held ? *data_.holdout_a : *data_.a, &b = held ? *data_.holdout_b : *data_.b;
    const std::vector<std::int64_t> indices = some_indices(a.size(), grid.columns * grid.rows);
    std::vector<std::vector<Image>> pictures = paired ? pictures_of({&a, &b}, indices) : pictures_of({&a}, indices);
    for (std::vector<Image>& set : pictures) {
      for (Image& picture : set) picture = fit(picture, data_.height, data_.width);
    }
    shown_ = Shown{.sources = std::move(pictures[0]), .targets = {}};
    if (paired) shown_->targets = std::move(pictures[1]);
    return *shown_;
  }

  void require_sides() const {
    const auto multiple = static_cast<int>(side_multiple(network_)), least = static_cast<int>(least_side(network_));
    const ImageSize size = config_.size;
    if (size.height % multiple == 0 && size.width % multiple == 0 && std::min(size.height, size.width) >= least) return;
    const auto near = [&](int side) { return std::max((side + multiple / 2) / multiple * multiple, (least + multiple - 1) / multiple * multiple); };
    throw Error(ExitCode::usage, fmt::format("a size of {} does not suit this {}: sides must be multiples of {}, and at least {}; use --size {}",
                                             to_text(size), network_.name, multiple, least,
                                             to_text({.height = near(size.height), .width = near(size.width)})));
  }

  TrainConfig config_;
  TranslatorConfig network_;
  DomainPair data_;
  mutable std::optional<Shown> shown_;
  std::unique_ptr<PairLoader> loader_;
  ReplacedNotes replaced_;
};

}  // namespace

TranslatorConfig translator_of(TrainConfig& config) {
  const bool full = config.preset == "full";
  const int side = std::min(config.size.height, config.size.width);
  if (config.network == "unet" && config.depth == 0) config.depth = static_cast<int>(depth_for(side, full));
  if (config.network == "resnet" && config.blocks == 0) config.blocks = static_cast<int>(blocks_for(side, full));
  return {.name = config.network, .height = config.size.height, .width = config.size.width, .channels = config.channels,
          .ngf = config.ngf, .blocks = config.blocks, .depth = std::max(config.depth, 2),
          .dropout = config.network == "unet" ? config.dropout : 0};
}

std::unique_ptr<TrainingTask> make_task(TrainConfig& config) {
  if (config.data.empty()) {
    throw Error(ExitCode::usage, is_translation(config.model)
                                     ? "train needs pictures to turn into others: FOLDER --style FOLDER, or one FOLDER with both in it; --data FOLDER says the same"
                                     : "train needs pictures to learn from: pastiche train FOLDER (of pictures, or a zip or IDX file); --data FOLDER says the same");
  }
  if (is_translation(config.model)) return std::make_unique<TranslationTask>(config);
  if (!config.style.empty()) {
    throw Error(ExitCode::usage, fmt::format("--style is for pix2pix, cyclegan and cut; {} makes new pictures like those of --data", config.model));
  }
  return std::make_unique<GanTask>(config);
}

int threads_of(const TrainConfig& config) { return threads_for(config.threads); }

std::int64_t steps_limit(const TrainConfig& config, std::int64_t pictures) {
  std::int64_t limit = config.steps;
  const auto include = [&](double steps) {
    const auto whole = static_cast<std::int64_t>(std::ceil(steps));
    if (steps > 0) limit = limit == 0 ? whole : std::min(limit, whole);
  };
  include(config.kimg * 1000 / config.batch);
  include(config.epochs * static_cast<double>(pictures) / config.batch);
  return limit;
}

}  // namespace pastiche
