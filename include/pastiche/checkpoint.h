#pragma once
// Networks in safetensors files, with PyTorch's names and weight order. What a file is stands as JSON in its metadata, under
// the key "pastiche".
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "pastiche/models.h"
#include "pastiche/safetensors.h"
#include "pastiche/translators.h"

namespace pastiche {

inline constexpr int file_format_version = 1;

// Appends every parameter as "PREFIX" + its name. Error(diverged) for a value that is not finite.
void append_parameters(SafetensorsFile& file, const std::string& prefix, const Parameters& parameters);
// The reverse. Error(bad_file) lists everything that is missing, of another shape or dtype, or not finite.
void load_parameters(const SafetensorsFile& file, const std::string& prefix, Parameters& parameters);

// What a generator file says of its making.
struct ModelCard {
  ModelConfig model;
  std::int64_t step = 0;
  std::string data;              // name of the data set
  std::string data_fingerprint;
  std::int64_t seed = 0;
};

// A generator with everything needed to use it.
SafetensorsFile generator_file(Generator& generator, const ModelCard& card);

struct LoadedGenerator {
  std::unique_ptr<Generator> generator;
  ModelCard card;
  std::string hash;  // SHA-256 of the file
};
LoadedGenerator load_generator(Backend& backend, const std::filesystem::path& path);
ModelCard read_model_card(const SafetensorsFile& file, const std::filesystem::path& path);

// The same of a network that turns pictures into others.
struct TranslatorCard {
  TranslatorConfig network;
  std::string method;  // that it was learned by
  std::int64_t step = 0;
  std::string data;
  std::string data_fingerprint;
  std::int64_t seed = 0;
};

SafetensorsFile translator_file(Translator& translator, const TranslatorCard& card);

struct LoadedTranslator {
  std::unique_ptr<Translator> translator;
  TranslatorCard card;
  std::string hash;  // SHA-256 of the file
};
LoadedTranslator load_translator(Backend& backend, const std::filesystem::path& path);
TranslatorCard read_translator_card(const SafetensorsFile& file, const std::filesystem::path& path);

// "generator", "translator" or "checkpoint"; Error(bad_file) for a file that is not ours.
std::string file_kind(const SafetensorsFile& file, const std::filesystem::path& path);

}  // namespace pastiche
