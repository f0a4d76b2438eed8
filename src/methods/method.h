#pragma once
// A method of training: what it learns from which data, with which options, networks and step. Each has a file in this folder, methods.cpp
// lists them, and nothing else names one.
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "methods/training_data.h"
#include "pastiche/config.h"
#include "pastiche/train.h"

namespace pastiche {

class Method {
 public:
  virtual ~Method() = default;

  virtual const char* name() const = 0;
  virtual const char* summary() const = 0;       // a line for help texts
  virtual const char* source() const = 0;        // the paper
  virtual const char* example_data() const = 0;  // what stands behind `pastiche train METHOD`

  // Of visit_shared_options(), those that this method has and not all have.
  virtual std::vector<std::string_view> shared_options() const = 0;
  virtual std::unique_ptr<MethodOptions> own_options() const { return nullptr; }  // with their defaults
  // What differs from TrainConfig's own defaults; config.preset is set.
  virtual void set_defaults(TrainConfig& config) const = 0;
  virtual double default_kimg() const = 0;  // of a training without a limit

  // Path, size, channels, batch and widths then stand in the config, as does all else that was left to choose. Error(usage) for less than
  // a batch.
  virtual std::unique_ptr<TrainingData> open_data(TrainConfig& config) const = 0;
  // Of a config that open_data() has made definite. The backend must outlive it.
  virtual std::unique_ptr<Trainer> make_trainer(Backend& backend, const TrainConfig& config, DType dtype) const = 0;
  virtual nlohmann::ordered_json model_json(const TrainConfig& config) const = 0;  // of the same

  virtual std::vector<ImageSize> bench_sizes() const = 0;  // that `pastiche bench` measures
  // Captions of the report: what a sample shows after the step, such as ": source, result", and what reals.png shows.
  virtual const char* sample_order() const { return ""; }
  virtual const char* reals_caption() const { return "real pictures"; }
};

// Options of one method: Own has `template <class V> void each(V&& visit)`, which calls visit(option, member) for each.
template <class Own>
class OptionsOf : public MethodOptions {
 public:
  std::unique_ptr<MethodOptions> copy() const final { return std::make_unique<Own>(static_cast<const Own&>(*this)); }
  void visit(OptionVisitor& visitor) final {
    static_cast<Own&>(*this).each([&](const Option& option, auto& member) { visitor.visit(option, member); });
  }
};

// The config's own options, which must be an Own: those of its method.
template <class Own>
const Own& options_of(const TrainConfig& config) {
  const auto* const own = dynamic_cast<const Own*>(config.own.get());
  if (own == nullptr) throw Error(ExitCode::usage, "a config of " + config.model + " with options of another method: make it by default_config()");
  return *own;
}

class GanMethod;
class TranslationMethod;

std::span<const Method* const> methods();  // the first one is the default
std::span<const GanMethod* const> gan_methods();
std::span<const TranslationMethod* const> translation_methods();
const Method& find_method(std::string_view name);  // Error(usage)

std::vector<std::string> method_names();
// The names with commas and "or" between, of all or of those that learn to translate.
std::string method_list();
std::string translation_method_list();
std::string recommended_translation_method();
// Of the methods that have an option of that name; empty where none has, or all.
std::string methods_with_option(std::string_view option);
// "NAME is an option of ..., and this is METHOD", for a message.
std::string not_an_option(std::string_view option, std::string_view method);

}  // namespace pastiche
