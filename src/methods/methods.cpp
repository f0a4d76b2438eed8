// The registry of methods: the one place that lists them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>

#include "methods/gan.h"
#include "methods/translation.h"
#include "pastiche/files.h"

namespace pastiche {

// Each is defined in the file of its name.
const GanMethod& dcgan_method();
const GanMethod& article_method();
const GanMethod& r3gan_method();
const TranslationMethod& cut_method();
const TranslationMethod& cyclegan_method();
const TranslationMethod& pix2pix_method();

std::span<const GanMethod* const> gan_methods() {
  static const std::array list{&dcgan_method(), &r3gan_method(), &article_method()};
  return list;
}

std::span<const TranslationMethod* const> translation_methods() {
  static const std::array list{&cut_method(), &cyclegan_method(), &pix2pix_method()};
  return list;
}

std::span<const Method* const> methods() {
  static const std::vector<const Method*> list = [] {
    std::vector<const Method*> all(gan_methods().begin(), gan_methods().end());
    all.insert(all.end(), translation_methods().begin(), translation_methods().end());
    return all;
  }();
  return list;
}

namespace {

template <class List>
auto find_in(const List& list, std::string_view name) {
  const auto found = std::ranges::find_if(list, [&](const Method* method) { return name == method->name(); });
  return found == list.end() ? nullptr : *found;
}

template <class List>
std::string text_of(const List& list) {
  std::string text;
  for (std::size_t i = 0; i < list.size(); ++i) text += fmt::format("{}{}", i == 0 ? "" : i + 1 < list.size() ? ", " : " or ", list[i]->name());
  return text;
}

template <class List>
std::vector<std::string> names_of(const List& list) {
  std::vector<std::string> names;
  for (const Method* method : list) names.emplace_back(method->name());
  return names;
}

using Owners = std::map<std::string, std::vector<const Method*>, std::less<>>;

// The methods that have an option, for those that not all have.
const Owners& owners() {
  static const Owners all = [] {
    Owners result;
    for (const Method* method : methods()) {
      for (const std::string_view name : method->shared_options()) result[std::string(name)].push_back(method);
      TrainConfig config;
      config.own = OwnOptions(method->own_options());
      visit_own_options(config, [&](const Option& option, auto&) { result[option.name].push_back(method); });
    }
    return result;
  }();
  return all;
}

}  // namespace

const Method& find_method(std::string_view name) {
  if (const Method* method = find_in(methods(), name)) return *method;
  throw Error(ExitCode::usage, fmt::format("unknown method {}; expected {}", quote(name), method_list()));
}

std::vector<std::string> method_names() { return names_of(methods()); }

std::string method_list() { return text_of(methods()); }
std::string translation_method_list() { return text_of(translation_methods()); }
std::string recommended_translation_method() { return translation_methods().front()->name(); }

bool is_method(const std::string& name) { return find_in(methods(), name) != nullptr; }
bool is_translation(const std::string& method) { return find_in(translation_methods(), method) != nullptr; }

bool has_option(const std::string& method, std::string_view name) {
  const auto found = owners().find(name);
  return found == owners().end() || find_in(found->second, method) != nullptr;
}

std::string methods_with_option(std::string_view option) {
  const auto found = owners().find(option);
  return found == owners().end() || found->second.size() == methods().size() ? "" : text_of(found->second);
}

std::string not_an_option(std::string_view option, std::string_view method) {
  return fmt::format("{} is an option of {}, and this is {}", option, methods_with_option(option), method);
}

TrainConfig::TrainConfig() : model(methods().front()->name()), own(methods().front()->own_options()) {}

TrainConfig default_config(const std::string& method, const std::string& preset) {
  const Method& found = find_method(method);
  TrainConfig config;
  config.model = method;
  config.own = OwnOptions(found.own_options());
  config.preset = preset;
  found.set_defaults(config);
  return config;
}

const GanMethod& find_gan_method(std::string_view name) {
  if (const GanMethod* method = find_in(gan_methods(), name)) return *method;
  throw Error(ExitCode::bad_file, fmt::format("unknown model {}; known are: {}", quote(name), fmt::join(model_names(), ", ")));
}

const TranslationMethod& find_translation_method(std::string_view name) {
  if (const TranslationMethod* method = find_in(translation_methods(), name)) return *method;
  throw Error(ExitCode::usage, fmt::format("{} does not translate pictures; {} do", quote(name), translation_method_list()));
}

std::vector<std::string> model_names() { return names_of(gan_methods()); }

}  // namespace pastiche
