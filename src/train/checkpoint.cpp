#include "pastiche/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "io/json.h"
#include "methods/method.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"

namespace pastiche {
namespace {

using nlohmann::ordered_json;

std::string safetensors_dtype(DType dtype) { return dtype == DType::f64 ? "F64" : "F32"; }

bool all_finite(const std::vector<std::byte>& bytes, DType dtype) {
  const auto check = [&]<class T>(T) {
    for (std::size_t i = 0; i < bytes.size(); i += sizeof(T)) {
      T value;
      std::memcpy(&value, bytes.data() + i, sizeof(T));
      if (!std::isfinite(value)) return false;
    }
    return true;
  };
  return dtype == DType::f64 ? check(double{}) : check(float{});
}

std::vector<std::int64_t> extents(const Shape& shape) {
  std::vector<std::int64_t> list;
  for (int axis = 0; axis < shape.rank(); ++axis) list.push_back(shape[axis]);
  return list;
}

// Errors of `body` with the file's name before them; what would be a wrong option elsewhere is a bad file here.
template <class Body>
auto naming(const std::filesystem::path& path, Body&& body) {
  try {
    return body();
  } catch (const Error& e) {
    throw Error(e.code() == ExitCode::usage ? ExitCode::bad_file : e.code(), fmt::format("{}: {}", quote(path.string()), e.what()));
  }
}

ordered_json own_metadata(const SafetensorsFile& file, const std::filesystem::path& path) {
  const auto entry = file.metadata.find("pastiche");
  if (entry == file.metadata.end()) {
    throw Error(ExitCode::bad_file, fmt::format("{} was not written by pastiche: its metadata has no 'pastiche' entry", quote(path.string())));
  }
  std::optional<ordered_json> json = parse_json<ordered_json>(entry->second);
  const std::string name = quote(path.string());
  if (!json || !json->is_object()) throw Error(ExitCode::bad_file, name + ": its 'pastiche' metadata is not what pastiche writes");
  const std::int64_t version = naming(path, [&] { return whole_member(*json, "format_version", 1); });
  if (version > file_format_version) {
    throw Error(ExitCode::bad_file, fmt::format("{} has format version {}, this pastiche reads up to {}: use a newer pastiche", name, version,
                                                file_format_version));
  }
  return std::move(*json);
}

std::string kind_of(const ordered_json& json) {
  const auto kind = json.find("kind");
  return kind != json.end() && kind->is_string() ? kind->get<std::string>() : "file of another kind";
}

}  // namespace

void append_parameters(SafetensorsFile& file, const std::string& prefix, const Parameters& parameters) {
  for (const Parameter& p : parameters.all()) {
    std::vector<std::byte> ours(p.value.bytes()), torch(p.value.bytes());
    p.value.copy_to_host(ours.data());
    if (!all_finite(ours, p.value.dtype())) {
      throw Error(ExitCode::diverged, fmt::format("{} holds a value that is not finite; it was not written", p.value.name()));
    }
    to_torch_order(p.layout, dtype_bytes(p.value.dtype()), ours.data(), torch.data());
    file.tensors.push_back({.name = prefix + p.name, .dtype = safetensors_dtype(p.value.dtype()), .shape = extents(p.layout.shape),
                            .bytes = std::move(torch)});
  }
}

void load_parameters(const SafetensorsFile& file, const std::string& prefix, Parameters& parameters) {
  std::vector<std::string> wrong;
  for (Parameter& p : parameters.all()) {
    const std::string name = prefix + p.name;
    const SafeTensor* tensor = file.find(name);
    if (tensor == nullptr) {
      wrong.push_back(name + " is missing");
    } else if (tensor->shape != extents(p.layout.shape) || tensor->dtype != safetensors_dtype(p.value.dtype())) {
      wrong.push_back(fmt::format("{} is {} [{}], expected {} {}", name, tensor->dtype, fmt::join(tensor->shape, ","),
                                  safetensors_dtype(p.value.dtype()), p.layout.shape.str()));
    } else if (!all_finite(tensor->bytes, p.value.dtype())) {
      wrong.push_back(name + " holds NaN or infinity");
    } else {
      std::vector<std::byte> ours(tensor->bytes.size());
      from_torch_order(p.layout, dtype_bytes(p.value.dtype()), tensor->bytes.data(), ours.data());
      p.value.copy_from_host(ours.data());
    }
  }
  if (!wrong.empty()) throw Error(ExitCode::bad_file, fmt::format("weights do not fit the model: {}", fmt::join(wrong, "; ")));
}

namespace {

template <class Card>
SafetensorsFile network_file(const char* kind, const Parameters& parameters, const char* config_key, const std::string& config,
                             const Card& card) {
  SafetensorsFile file;
  append_parameters(file, "", parameters);
  ordered_json training{{"step", card.step}, {"seed", card.seed}, {"data", card.data}, {"data_fingerprint", card.data_fingerprint}};
  if constexpr (requires { card.method; }) training["method"] = card.method;
  const ordered_json json{{"format_version", file_format_version},
                          {"kind", kind},
                          {config_key, ordered_json::parse(config)},
                          {"pictures", {{"layout", "NHWC"}, {"range", {-1, 1}}}},
                          {"training", training}};
  file.metadata = {{"format", "pt"}, {"pastiche", json_text(json)}};
  return file;
}

// Runs `read` on the metadata of a file of that kind.
template <class Read>
auto read_card(const SafetensorsFile& file, const std::filesystem::path& path, const char* kind, const std::string& advice, Read&& read) {
  const ordered_json json = own_metadata(file, path);
  if (kind_of(json) != kind) {
    throw Error(ExitCode::bad_file, fmt::format("{} is a {}, not a {}: {}", quote(path.string()), printable(kind_of(json)), kind, advice));
  }
  return naming(path, [&] { return read(json, member(json, "training")); });
}

}  // namespace

SafetensorsFile generator_file(Generator& generator, const ModelCard& card) {
  return network_file("generator", generator.parameters(), "model", model_config_to_json(card.model), card);
}

SafetensorsFile translator_file(Translator& translator, const TranslatorCard& card) {
  return network_file("translator", translator.parameters(), "network", translator_config_to_json(card.network), card);
}

std::string file_kind(const SafetensorsFile& file, const std::filesystem::path& path) {
  return kind_of(own_metadata(file, path));
}

ModelCard read_model_card(const SafetensorsFile& file, const std::filesystem::path& path) {
  const char* advice = "give the model.safetensors of a run that learned to make pictures; `pastiche stylize` takes translators";
  return read_card(file, path, "generator", advice, [](const ordered_json& json, const ordered_json& training) -> ModelCard {
    return {.model = model_config_from_json(json_text(member(json, "model"))), .step = whole_member(training, "step"),
            .data = text_member(training, "data"), .data_fingerprint = text_member(training, "data_fingerprint"), .seed = whole_member(training, "seed")};
  });
}

TranslatorCard read_translator_card(const SafetensorsFile& file, const std::filesystem::path& path) {
  const std::string advice = fmt::format("give the model.safetensors of a run of {}; `pastiche generate` takes generators", translation_method_list());
  return read_card(file, path, "translator", advice, [](const ordered_json& json, const ordered_json& training) -> TranslatorCard {
    return {.network = translator_config_from_json(json_text(member(json, "network"))), .method = text_member(training, "method"),
            .step = whole_member(training, "step"), .data = text_member(training, "data"),
            .data_fingerprint = text_member(training, "data_fingerprint"), .seed = whole_member(training, "seed")};
  });
}

namespace {

// No file can hold more numbers than it has bytes for, whatever its description says.
std::int64_t numbers_in(const SafetensorsFile& file) {
  std::size_t bytes = 0;
  for (const SafeTensor& tensor : file.tensors) bytes += tensor.bytes.size();
  return static_cast<std::int64_t>(bytes / sizeof(float));
}

}  // namespace

LoadedGenerator load_generator(Backend& backend, const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_safetensors_bytes(path);
  const SafetensorsFile file = naming(path, [&] { return parse_safetensors(bytes); });
  LoadedGenerator loaded{.generator = nullptr, .card = read_model_card(file, path), .hash = sha256_hex(bytes)};
  naming(path, [&] {
    const ParameterLimit limit(numbers_in(file));
    loaded.generator = make_generator(backend, loaded.card.model, 0);
    load_parameters(file, "", loaded.generator->parameters());
  });
  return loaded;
}

LoadedTranslator load_translator(Backend& backend, const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_safetensors_bytes(path);
  const SafetensorsFile file = naming(path, [&] { return parse_safetensors(bytes); });
  LoadedTranslator loaded{.translator = nullptr, .card = read_translator_card(file, path), .hash = sha256_hex(bytes)};
  naming(path, [&] {
    const ParameterLimit limit(numbers_in(file));
    loaded.translator = make_translator(backend, loaded.card.network, 0);
    load_parameters(file, "", loaded.translator->parameters());
  });
  return loaded;
}

}  // namespace pastiche
