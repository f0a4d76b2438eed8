#pragma once
// Generators and discriminators, by name. A model is a name and a ModelConfig, and is built from them and from nothing else.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/nn.h"

namespace pastiche {

std::vector<std::string> model_names();  // of the methods that make new pictures; the file of each in src/methods/ says what its networks are

// Any height and width, 1, 3 or 4 channels. What a model has no use for stays as it is.
struct ModelConfig {
  std::string name = model_names().front();
  std::int64_t height = 28, width = 28, channels = 1;
  std::int64_t nz = 100;
  std::int64_t ngf = 64, ndf = 64;  // channels of the generator's last hidden layer, and of the discriminator's first
  std::int64_t base = 0;            // side of the generator's first map; 0: a quarter of the size
  bool d_norm = false;              // batch norm in the discriminator
  double dropout = 0;               // after each activation of the discriminator
};

std::string model_config_to_json(const ModelConfig&);
// Error(bad_file) for what is no model config, or one of a model that this version does not know.
ModelConfig model_config_from_json(std::string_view json);

class Generator {
 public:
  virtual ~Generator() = default;
  virtual Var operator()(const Var& z, const Pass& pass) const = 0;  // [N,nz] -> [N,H,W,C] in [-1, 1]
  Parameters& parameters() { return parameters_; }
  const ModelConfig& config() const { return config_; }

 protected:
  Generator(Backend& backend, const ModelConfig& config, std::string prefix, std::uint64_t seed, DType dtype)
      : config_(config), parameters_(backend, std::move(prefix), seed, dtype) {}
  ModelConfig config_;
  Parameters parameters_;
};

class Discriminator {
 public:
  virtual ~Discriminator() = default;
  virtual Var operator()(const Var& pictures, const Pass& pass) const = 0;  // [N,H,W,C] -> logits [N,1]
  Parameters& parameters() { return parameters_; }

 protected:
  Discriminator(Backend& backend, const ModelConfig& config, std::uint64_t seed, DType dtype)
      : config_(config), parameters_(backend, "D.", seed, dtype) {}
  ModelConfig config_;
  Parameters parameters_;
};

std::unique_ptr<Generator> make_generator(Backend&, const ModelConfig&, std::uint64_t seed, std::string prefix = "G.",
                                          DType dtype = DType::f32);
std::unique_ptr<Discriminator> make_discriminator(Backend&, const ModelConfig&, std::uint64_t seed, DType dtype = DType::f32);

}  // namespace pastiche
