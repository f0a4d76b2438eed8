#pragma once
// JSON of files that others may have made, and JSON for other programs to read.
#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche {

struct JsonLimits {
  std::size_t bytes = std::size_t{1} << 20;
  int depth = 16;
  std::size_t values = 10'000;  // ordered_json looks keys up one by one, so that many in one object take its square
};

// Whether JSON is within the limits; of what is no JSON either answer. In one pass, and before anything is built of it: what walks
// or copies a document calls itself for each level.
inline bool within(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.bytes) return false;
  int depth = 0;
  std::size_t values = 1;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limits.depth || ++values > limits.values) return false;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',' && ++values > limits.values) {
      return false;
    }
  }
  return true;
}

// None for what is no JSON, or beyond the limits.
template <class Json = nlohmann::json>
std::optional<Json> parse_json(std::string_view text, const JsonLimits& limits = {}) {
  if (!within(text, limits)) return std::nullopt;
  Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

// On terminals and in pipes: what is no UTF-8 is replaced, and all but ASCII escaped.
template <class Json>
std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', true, Json::error_handler_t::replace);
}

// Members of an object, of the type that is expected. Error(bad_file) names the member that is absent, of another type or out of
// range; json.at() and get() would convert numbers that do not fit, and throw what is no Error.
template <class Json>
const Json& member(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if (found == json.end()) throw Error(ExitCode::bad_file, fmt::format("'{}' is missing", key));
  return *found;
}

template <class Json>
std::int64_t whole_member(const Json& json, const char* key, std::int64_t least = 0,
                          std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
  const Json& value = member(json, key);
  const bool fits = value.is_number_unsigned() ? value.template get<std::uint64_t>() <= std::uint64_t{INT64_MAX} : value.is_number_integer();
  const std::int64_t number = fits ? value.template get<std::int64_t>() : 0;
  if (!fits || number < least || number > most) {
    throw Error(ExitCode::bad_file, fmt::format("'{}' is {}, expected a whole number from {} to {}", key,
                                                quote(value.is_structured() ? value.type_name() : json_text(value)), least, most));
  }
  return number;
}

template <class Json>
double number_member(const Json& json, const char* key) {
  const Json& value = member(json, key);
  if (!value.is_number()) throw Error(ExitCode::bad_file, fmt::format("'{}' is a {}, expected a number", key, value.type_name()));
  return value.template get<double>();
}

template <class Json>
bool bool_member(const Json& json, const char* key) {
  const Json& value = member(json, key);
  if (!value.is_boolean()) throw Error(ExitCode::bad_file, fmt::format("'{}' is a {}, expected true or false", key, value.type_name()));
  return value.template get<bool>();
}

template <class Json>
std::string text_member(const Json& json, const char* key) {
  const Json& value = member(json, key);
  if (!value.is_string()) throw Error(ExitCode::bad_file, fmt::format("'{}' is a {}, expected a text", key, value.type_name()));
  return value.template get<std::string>();
}

}  // namespace pastiche
