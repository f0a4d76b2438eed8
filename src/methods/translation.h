#pragma once
// Methods that learn to turn pictures of one domain into those of another: what they share (translation.cpp).
#include "methods/method.h"
#include "pastiche/ops.h"
#include "pastiche/pairs.h"

namespace pastiche {

class TranslationMethod : public Method {
 public:
  virtual Pairing pairing() const { return Pairing::unpaired; }
  virtual std::unique_ptr<TranslationTrainer> make_translation_trainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network,
                                                                       DType dtype) const = 0;

  std::vector<std::string_view> shared_options() const override {
    return {"style", "holdout", "crop", "preset", "ngf", "ndf", "dropout", "network", "blocks", "depth"};
  }
  void set_defaults(TrainConfig& config) const override;
  const char* example_data() const override { return pairing() == Pairing::paired ? "pairs" : "photos --style paintings"; }
  double default_kimg() const override { return 100; }  // a step costs ten times one of those that make new pictures
  std::unique_ptr<TrainingData> open_data(TrainConfig& config) const override;
  std::unique_ptr<Trainer> make_trainer(Backend& backend, const TrainConfig& config, DType dtype) const override;
  nlohmann::ordered_json model_json(const TrainConfig& config) const override;
  std::vector<ImageSize> bench_sizes() const override { return {{64, 64}, {256, 256}}; }
  const char* sample_order() const override { return pairing() == Pairing::paired ? ": source, result, target" : ": source, result"; }
  const char* reals_caption() const override { return "pictures of the target"; }
};

template <class T>
class TranslationMethodOf : public TranslationMethod {
 public:
  std::unique_ptr<TranslationTrainer> make_translation_trainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network,
                                                               DType dtype) const override {
    return std::make_unique<T>(backend, config, network, dtype);
  }
};

inline Var join(const Var& a, const Var& b, int axis) {
  const Var both[] = {a, b};
  return concat(both, axis);
}

// The network of a config whose size and channels are definite, with the depth or blocks that were left to choose, which then stand in the
// config.
TranslatorConfig translator_of(TrainConfig& config);

const TranslationMethod& find_translation_method(std::string_view name);  // Error(usage)

}  // namespace pastiche
