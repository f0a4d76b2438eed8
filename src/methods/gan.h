#pragma once
// Methods that learn to make new pictures from noise: a generator and a discriminator, and one step for all of them (gan.cpp).
#include "methods/method.h"
#include "pastiche/models.h"

namespace pastiche {

class GanMethod : public Method {
 public:
  // Networks of a ModelConfig of this method's name.
  virtual std::unique_ptr<Generator> make_generator(Backend& backend, const ModelConfig& model, std::string prefix, std::uint64_t seed,
                                                    DType dtype) const = 0;
  virtual std::unique_ptr<Discriminator> make_discriminator(Backend& backend, const ModelConfig& model, std::uint64_t seed,
                                                            DType dtype) const = 0;
  // What of the ModelConfig only this method has, out of its own options.
  virtual void set_own(ModelConfig&, const TrainConfig&) const {}
  virtual void check(const ModelConfig&) const {}                          // Error(usage) for what it can't make
  virtual ImageSize default_size(const TrainConfig&) const { return {}; }  // where it does not follow from the data

  const char* example_data() const override { return "my-pictures"; }
  double default_kimg() const override { return 1000; }  // 17 passes over MNIST: enough for clear pictures of 28 to 64 pixels
  std::unique_ptr<TrainingData> open_data(TrainConfig& config) const override;
  std::unique_ptr<Trainer> make_trainer(Backend& backend, const TrainConfig& config, DType dtype) const override;
  nlohmann::ordered_json model_json(const TrainConfig& config) const override;

  ModelConfig model_of(const TrainConfig& config) const;  // of a definite config
};

template <class G, class D>
class GanMethodOf : public GanMethod {
 public:
  std::unique_ptr<Generator> make_generator(Backend& backend, const ModelConfig& model, std::string prefix, std::uint64_t seed,
                                            DType dtype) const override {
    return std::make_unique<G>(backend, model, std::move(prefix), seed, dtype);
  }
  std::unique_ptr<Discriminator> make_discriminator(Backend& backend, const ModelConfig& model, std::uint64_t seed, DType dtype) const override {
    return std::make_unique<D>(backend, model, seed, dtype);
  }
};

// What the networks here have in common: 5x5 convolutions that keep the size or double it, and pictures in [-1, 1].
inline constexpr Conv same_conv{.pad = 2};
inline constexpr Conv up_conv{.pad = 2, .upsample = 2, .out = Phases::inner};
inline constexpr Activation to_unit{Activation::Kind::tanh};
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::string numbered(const char* name, std::size_t i) { return name + std::to_string(i + 1); }

struct Sides {
  std::int64_t height, width;
};
// Those of a picture, then those after each halving until the smaller one is at most 7. Odd ones are rounded up.
std::vector<Sides> halvings(std::int64_t height, std::int64_t width);
std::int64_t doubled(std::int64_t channels, std::size_t times);  // at most 512

const GanMethod& find_gan_method(std::string_view name);  // Error(bad_file)

}  // namespace pastiche
