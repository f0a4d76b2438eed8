#pragma once
// The training step, and a whole training with its run folder.
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "pastiche/config.h"
#include "pastiche/image.h"
#include "pastiche/losses.h"
#include "pastiche/models.h"
#include "pastiche/optim.h"
#include "pastiche/safetensors.h"
#include "pastiche/translators.h"

namespace pastiche {

struct StepStats {
  std::int64_t step = 0;  // the first is 1
  double loss_g = 0, loss_d = 0;  // without penalties
  double d_real = 0, d_fake = 0;  // mean of sigmoid(D(.)) before the update; of a relativistic loss, of the logits' differences
  double loss_content = 0;        // of a translator, unweighted: how far results are from what the method wants kept of their sources
};

// Pictures of the data that a sample grid shows or that results are measured by; both empty where the method makes new ones.
struct Examples {
  std::vector<Image> sources, targets;  // targets: as many, or none where no one knows them
};

// What a model file says of the data.
struct DataOrigin {
  std::string name, fingerprint;
};

using PictureBytes = std::span<const std::uint8_t>;  // [N,H,W,C]

// What every training step has, whatever its networks: their Adams and averages, learning rates, pictures on their way to the
// device, the recorded step, and what is saved.
class Trainer {
 public:
  virtual ~Trainer() = default;
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // One step on pictures of each domain. Error(diverged) names the first tensor that is not finite.
  StepStats step(std::initializer_list<PictureBytes> domains);
  // The same in two halves: pictures go on their way to the device, and a step on them follows. It calls `meanwhile` while the
  // device works, which is the time to prefetch the next ones.
  void prefetch(std::initializer_list<PictureBytes> domains);
  StepStats step_prefetched(const std::function<void()>& meanwhile = {});

  std::int64_t steps_done() const { return state_.step; }
  // Of the whole training, 0 where no one knows: what the decay of the learning rates ends with.
  void set_total_steps(std::int64_t steps) { total_steps_ = steps; }

  // A grid of what it makes, the same pictures at every step: new ones, or results beside their sources and targets.
  virtual Image samples(const Examples& examples) = 0;
  // Writes the networks that use what was learned, model.safetensors first.
  virtual void write_models(const std::filesystem::path& folder, const DataOrigin& origin) = 0;
  // How far results are from their targets, as a line for holdout.jsonl; empty where there is nothing to measure.
  virtual std::string measure(const Examples&) { return {}; }

  // All that the next step depends on but the data: weights, averages, moments, running statistics, counters.
  virtual void save(SafetensorsFile& file) const;
  virtual void load(const SafetensorsFile& file, std::int64_t step);

  struct Network {
    Network(Parameters& of, Parameters* average, const Adam& settings) : parameters(of), averaged(average), adam(of, settings, average) {}
    Parameters& parameters;
    Parameters* averaged;  // or nullptr
    AdamOptimizer adam;
  };
  const std::deque<Network>& networks() const { return networks_; }
  std::size_t saved_bytes() const;  // of what save() writes

 protected:
  // Uses of TrainConfig what concerns a step. The backend must outlive it. `picture` is [H,W,C].
  Trainer(Backend& backend, const TrainConfig& config, const Shape& picture, std::size_t domains, DType dtype);

  enum class Side { g, d };
  void add_network(Side side, Parameters& parameters, Parameters* averaged = nullptr);

  struct Losses {
    Var d, g, real_logits, fake_logits;
    Var content = {};
  };
  // What happens between begin and end: nothing in it waits for the device.
  virtual Losses compute(std::span<const Tensor> pictures) = 0;  // of each domain [N,H,W,C] in [-1, 1]
  StepStats run_eagerly(const std::function<Losses()>& compute);
  // Of the loss, and of the penalties, by the parameters of these networks one after the other.
  std::vector<Var> gradients(const Var& loss, std::initializer_list<std::size_t> networks) const;
  void update(std::span<const Var> gradients, std::initializer_list<std::size_t> networks);
  // As config.augment says, what a discriminator is to see in its `call`th pass of the step.
  Var augmented(const Var& pictures, std::uint32_t call) const;
  Pass pass(std::uint32_t call) const { return {.mode = Mode::train, .state = state_tensor_, .call = call}; }
  // Steps that launch other kernels than the rest have another number.
  virtual std::size_t step_variant() const { return 0; }
  virtual void forget_step();  // gives its memory back to the pool

  Backend& backend_;
  const TrainConfig config_;
  const DType dtype_;
  Tensor state_tensor_;   // the backend's StepState
  bool recordable_ = true;  // its steps launch the same kernels on the same memory

 private:
  void begin_step();
  void launch_step(const std::function<Losses()>& compute);
  StepStats end_step();
  void refuse_nonfinite(std::int32_t id) const;

  const Shape picture_;
  std::deque<Network> networks_;
  std::int64_t total_steps_ = 0;
  StepState state_;  // the host's copy
  Tape tape_;

  struct Domain {
    Tensor bytes[2];  // u8: of this step, and of the next
  };
  std::vector<Domain> domains_;
  std::vector<Tensor> pictures_;  // of each domain, what a recorded step reads
  int current_ = 0;
  struct Variant {
    int steps = 0;  // taken on the shape of pictures_
    std::unique_ptr<Backend::Replay> replay;
  };
  std::map<std::size_t, Variant> variants_;  // by step_variant()
};

// Generator, discriminator, and the averaged generator: new pictures from noise.
class GanTrainer final : public Trainer {
 public:
  GanTrainer(Backend& backend, const TrainConfig& config, const ModelConfig& model, DType dtype = DType::f32);

  StepStats step(PictureBytes pictures) { return Trainer::step({pictures}); }  // z is drawn from the seed
  // One step on given pictures in [-1, 1] and latents [N,nz].
  StepStats step(const Tensor& real, const Tensor& z);

  Image samples(const Examples& examples) override;
  void write_models(const std::filesystem::path& folder, const DataOrigin& origin) override;

  Generator& generator() { return *generator_; }
  Discriminator& discriminator() { return *discriminator_; }
  Generator& averaged() { return *averaged_; }  // what is used and shared; the generator itself where ema is 0
  // Of the last step, aligned with parameters().vars() of each network.
  const std::vector<Var>& gradients_g() const { return gradients_g_; }
  const std::vector<Var>& gradients_d() const { return gradients_d_; }

 private:
  Losses compute(std::span<const Tensor> pictures) override;
  Losses alternating_step(const Var& real, const Var& z);
  Losses joint_step(const Var& real, const Var& z);
  Var judged(const Var& pictures);
  Var with_penalty(const Var& d_loss, const Var& real, const Var& real_logits, const Var& fake, const Var& fake_logits);
  Tensor between_pairs(const Var& real, const Var& fake);
  bool has_penalty() const { return penalty_ != Penalty{} && (steps_done() - 1) % config_.penalty_every == 0; }
  std::size_t step_variant() const override { return has_penalty() ? 1 : 0; }
  void forget_step() override;

  ModelConfig model_;
  const AdversarialLoss& loss_;
  const Penalty penalty_;
  std::unique_ptr<Generator> generator_, average_copy_;
  std::unique_ptr<Discriminator> discriminator_;
  Generator* averaged_;
  std::vector<Var> gradients_g_, gradients_d_;
};

// Turns pictures of domain A into those of B. D is updated first, then G against the new D; D's losses are halved, as in the papers. What is
// special to a method is in the file of its name in src/methods/.
class TranslationTrainer : public Trainer {
 public:
  // Pictures of both domains; where they are paired, picture i of the one belongs to picture i of the other.
  StepStats step(PictureBytes a, PictureBytes b) { return Trainer::step({a, b}); }
  StepStats step(const Tensor& a, const Tensor& b);  // [N,H,W,C] in [-1, 1]

  Translator& translator() { return *forward_.translator; }
  PatchDiscriminator& discriminator() { return *forward_.discriminator; }
  Translator& averaged() { return forward_.averaged(); }  // what is used and shared; the translator itself where ema is 0

  Image samples(const Examples& examples) override;
  void write_models(const std::filesystem::path& folder, const DataOrigin& origin) override;
  std::string measure(const Examples& examples) override;

 protected:
  // A translator, and the discriminator of its results.
  struct Direction {
    std::unique_ptr<Translator> translator, average_copy;
    std::unique_ptr<PatchDiscriminator> discriminator;

    Translator& averaged() const { return average_copy ? *average_copy : *translator; }
  };

  // `judged_channels` are those of what the discriminator sees.
  TranslationTrainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network, DType dtype, std::int64_t judged_channels);
  Direction add_direction(const TranslatorConfig& network, std::int64_t judged_channels, const char* translator_prefix, const char* average_prefix,
                          const char* discriminator_prefix);
  void write_translator(const std::filesystem::path& path, Translator& translator, const std::string& method, const DataOrigin& origin) const;

  const AdversarialLoss& loss_;
  Direction forward_;
};
// Of the method that config.model names; Error(usage) where that makes new pictures.
std::unique_ptr<TranslationTrainer> make_translation_trainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network,
                                                             DType dtype = DType::f32);

// Results of pictures of one shape, at most `batch` at a time.
std::vector<Image> translate_pictures(Translator& translator, std::span<const Image> pictures, std::int64_t batch = 8);

// What a training would take: what `pastiche train --plan` prints.
struct TrainingPlan {
  TrainConfig config;  // made definite
  std::string data, backend;
  std::vector<std::string> notes;  // on the data, and on what was chosen
  std::int64_t pictures;
  double flop_per_picture;     // multiplications and additions of a training step's convolutions and GEMMs, upsampling folded
  double flop_to_generate;     // of one picture
  struct MemoryGroup {
    std::string what;
    std::size_t bytes;
  };
  std::vector<MemoryGroup> memory;   // of the backend, at its peak, then of the process besides
  std::size_t checkpoint_bytes;      // of each on the disk
  std::size_t peak_bytes;            // on a device with memory of its own: the backend's; else the process's
  std::size_t available_bytes;       // to all of that
  std::int64_t largest_batch;        // that fits; 0 where not even one picture does
  double seconds_per_step;           // from steps of at most 32 pictures, timed
  std::int64_t steps;                // until the first limit; 0 where only --time is given
};
// Opens the data, and takes a few steps on at most 32 pictures to measure what no count tells: seconds, and the backend's workspaces.
TrainingPlan plan_training(TrainConfig config);

// Latents of picture `seed`, for pictures to look at: [nz] standard normal numbers, the same on every backend.
std::vector<float> sample_latent(std::uint64_t seed, std::int64_t nz);
// The same of several seeds, one after the other: [seeds * nz].
std::vector<float> sample_latents(std::span<const std::uint64_t> seeds, std::int64_t nz);

// Pictures of latents [count * nz], by running statistics, at most `batch` at a time.
std::vector<Image> generate_pictures(Generator& generator, std::span<const float> latents, std::int64_t batch = 64);
// The same one by one, in order, of which no more than a batch is held.
void generate_pictures(Generator& generator, std::span<const float> latents, const std::function<void(Image)>& each, std::int64_t batch = 64);

// What the shell of a training does with its events.
struct RunEvents {
  std::function<void(const std::filesystem::path& folder, const std::string& title)> started;
  struct Progress {
    StepStats stats;
    double kimg, fraction, images_per_second, ms, eta_seconds;
  };
  std::function<void(const Progress&)> stepped;
  std::function<void(const std::string&)> note;
};

struct RunResult {
  std::filesystem::path folder;
  std::int64_t step = 0;
  int signal = 0;  // that ended it, 0 for none
};

// A whole training in a new run folder. SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGXCPU end it after the current step, with
// everything saved; a second SIGINT or SIGTERM, a second later or more, ends the process. An error saves first where the last step is complete, leaves
// "failed" or "diverged" in run.json, and its message says how to go on.
RunResult train(TrainConfig config, const RunEvents& events);

struct ResumeOptions {
  std::function<void(TrainConfig&)> change;  // of the run's own settings: another place of the data, a later end
  // Go on where the result will differ from that of a run without this stop: another processor, thread count, library
  // version, or settings. run.json says so from then on.
  bool other_bits = false;
};

// The rest of the training in `folder`, from its newest checkpoint that is whole. Without options the result has the same
// bytes as a run that was never stopped; where that can't be, it throws Error and says what to do.
RunResult resume_training(const std::filesystem::path& folder, const RunEvents& events, const ResumeOptions& options = {});

}  // namespace pastiche
