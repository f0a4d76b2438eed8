#include "pastiche/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "methods/method.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/ladder.h"
#include "pastiche/losses.h"

namespace pastiche {
namespace {

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || stop != text.data() + text.size()) return {};
  return value;
}

// "64" is 64x64.
std::optional<Grid> try_grid(std::string_view text) {
  const std::size_t x = text.find('x');
  const auto columns = parse_number<int>(text.substr(0, x));
  const auto rows = x == text.npos ? columns : parse_number<int>(text.substr(x + 1));
  if (!columns || !rows || *columns < 1 || *rows < 1) return {};
  return Grid{*columns, *rows};
}

std::optional<double> try_duration(std::string_view text) {
  double seconds = 0;
  while (!text.empty()) {
    const std::size_t unit = text.find_first_not_of("0123456789.");
    if (unit == text.npos) return {};
    const auto number = parse_number<double>(text.substr(0, unit));
    const std::size_t which = std::string_view("smhd").find(text[unit]);
    if (!number || which == std::string_view::npos) return {};
    constexpr double in_seconds[] = {1, 60, 3600, 86400};
    seconds += *number * in_seconds[which];
    text.remove_prefix(unit + 1);
  }
  if (!(seconds > 0 && seconds < 1e10)) return {};
  return seconds;
}

std::optional<Interval> try_interval(std::string_view text) {
  if (const auto seconds = try_duration(text)) return Interval{.seconds = *seconds, .steps = 0};
  const auto steps = parse_number<std::int64_t>(text);
  if (!steps || *steps < 1) return {};
  return Interval{.seconds = 0, .steps = *steps};
}

std::optional<double> try_share(std::string_view text) {
  const bool percent = text.ends_with('%');
  const auto number = parse_number<double>(text.substr(0, text.size() - percent));
  const double share = number.value_or(-1) / (percent ? 100 : 1);
  if (!(share >= 0 && share < 1)) return {};
  return share;
}

std::optional<Augment> try_augment(std::string_view text) {
  Augment augment;
  if (text == "none" || text == "auto") return augment;  // open_data() has chosen by the time that it matters
  while (true) {
    const std::string_view name = text.substr(0, text.find(','));
    if (name == "color") augment.color = true;
    else if (name == "translation") augment.translation = true;
    else if (name == "cutout") augment.cutout = true;
    else return {};
    if (name.size() == text.size()) return augment;
    text.remove_prefix(name.size() + 1);
  }
}

template <class T>
T or_usage_error(const std::optional<T>& value, std::string_view text, const char* expected) {
  if (!value) throw Error(ExitCode::usage, fmt::format("{}: expected {}", quote(text), expected));
  return *value;
}

std::string with_dashes(std::string_view name) {
  std::string result(name);
  std::ranges::replace(result, '_', '-');
  return result;
}

std::vector<std::string> option_names(const TrainConfig& config) {
  std::vector<std::string> names;
  visit_options(config, [&](const Option& option, const auto&) { names.push_back(option.name); });
  return names;
}

// The JSON form of a text, which but for DEL is also its TOML form.
std::string json_text(const char* option, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ExitCode::usage, fmt::format("--{} {}: expected a text in UTF-8", option, quote(text)));
  }
}

std::string toml_text(const char* option, const std::string& text) {
  std::string result = json_text(option, text);
  for (std::size_t at = 0; (at = result.find('\x7f', at)) != result.npos;) result.replace(at, 1, "\\u007F");
  return result;
}

// What a TOML value is as a T; empty when it is of another type. A whole number may stand for the text of it.
template <class T>
std::optional<T> value_of(const toml::node& node, const option::Rule& rule) {
  if constexpr (std::is_same_v<T, bool>) {
    return node.value_exact<bool>();
  } else if constexpr (std::is_same_v<T, double>) {
    return node.is_number() ? node.value<double>() : std::nullopt;
  } else if constexpr (std::is_integral_v<T>) {
    const auto value = node.value_exact<std::int64_t>();
    return value && std::in_range<T>(*value) ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  } else {
    auto text = node.value_exact<std::string>();
    if (node.is_integer() && dynamic_cast<const option::Any*>(&rule) == nullptr) text = std::to_string(*node.value<std::int64_t>());
    if constexpr (std::is_same_v<T, std::string>) {
      return text;
    } else {
      const auto grid = text ? try_grid(*text) : std::nullopt;
      if (text == "auto") return ImageSize{};
      return grid ? std::optional(ImageSize{grid->rows, grid->columns}) : std::nullopt;
    }
  }
}

std::string describe(const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return quote(*text);
  if (const auto number = node.value_exact<double>()) {
    const std::string digits = fmt::format("{}", *number);
    return digits.find_first_of(".en") == digits.npos ? digits + ".0" : digits;  // {:#} does so in fmt 9 and not in 10
  }
  std::ostringstream text;
  node.visit([&](const auto& value) { text << value; });
  return text.str();
}

[[noreturn]] void fail_at(const std::string& source, const toml::source_region& where, const std::string& why) {
  throw Error(ExitCode::bad_data, fmt::format("{}:{}:{}: {}", source, where.begin.line, where.begin.column, why));
}

// A configuration needs no tables, arrays or texts of several lines. So outside of strings and comments few characters
// may stand, one '=' a line and no quote within a word. Refusing the rest here keeps it from toml++ 3.3, which has
// undefined behaviour on some of it.
void check_characters(std::string_view toml, const std::string& source) {
  // No key has a dot, and the parser calls itself once for each: enough of them end the stack.
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.:= \t\r\"'#";
  char inside = 0;        // the quote or '#' that opened the string or comment around `at`
  bool in_value = false;  // behind the '=' of a line
  std::size_t at = toml.starts_with("\xef\xbb\xbf") ? 3 : 0, line = 1, line_begin = at;
  for (; at < toml.size(); ++at) {
    const char c = toml[at];
    const bool is_quote = c == '"' || c == '\'';
    if (c == '\n') {
      ++line, line_begin = at + 1, inside = 0, in_value = false;
    } else if (inside == '"' && c == '\\' && !toml.substr(at + 1).starts_with('\n')) {
      ++at;
    } else if (inside) {
      if (is_quote && c == inside) inside = 0;
    } else {
      const bool within_word = at > line_begin && !std::strchr(in_value ? "\t =" : "\t ", toml[at - 1]);
      if (plain.find(c) == plain.npos || (c == '=' && in_value) || (c == '.' && !in_value) || (is_quote && within_word)) {
        std::size_t end = at + 1;
        while (end < toml.size() && (static_cast<unsigned char>(toml[end]) & 0xc0) == 0x80) ++end;
        throw Error(ExitCode::bad_data,
                    fmt::format("{}:{}:{}: unexpected {}: expected lines such as batch = 64 or loss = \"minimax\"",
                                source, line, at - line_begin + 1, quote(toml.substr(at, end - at))));
      }
      if (is_quote || c == '#') inside = c;
      if (c == '=') in_value = true;
    }
  }
}

}  // namespace

namespace option {

std::string Range::expected() const { return fmt::format("{} to {}", min, max); }

bool OneOf::accepts(const std::string& value) const { return std::ranges::find(names, value) != names.end(); }
std::string OneOf::expected() const { return fmt::format("{}", fmt::join(names, names.size() > 2 ? ", " : " or ")); }

bool Sides::accepts(ImageSize size) const {
  const auto fits = [&](int side) { return side >= min && side <= max; };
  return size == ImageSize{} || (fits(size.height) && fits(size.width));
}
std::string Sides::expected() const {
  return fmt::format("auto, a side, or WIDTHxHEIGHT, with sides of {} to {}", min, max);
}

bool is_duration(const std::string& text) { return text.empty() || try_duration(text); }
bool is_interval(const std::string& text) { return try_interval(text).has_value(); }
bool is_grid(const std::string& text) {
  const auto grid = try_grid(text);
  return grid && grid->columns <= 64 && grid->rows <= 64;
}
bool is_color(const std::string& text) {
  return text.size() == 6 && text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
}
bool is_augment(const std::string& text) { return try_augment(text).has_value(); }
bool is_share(const std::string& text) { return try_share(text).has_value(); }
bool is_name(const std::string& text) {
  constexpr const char* allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return text.size() <= 100 && text.find_first_not_of(allowed) == text.npos;
}

std::string Methods::expected() const { return method_list(); }

bool Losses::accepts(const std::string& name) const { return std::ranges::count(adversarial_losses(), name, &AdversarialLoss::name) > 0; }
std::string Losses::expected() const {
  std::vector<std::string> names;
  for (const AdversarialLoss& loss : adversarial_losses()) names.emplace_back(loss.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

bool Kernels::accepts(const std::string& value) const {
  try {
    parse_kernels(value);
    return true;
  } catch (const Error&) {
    return false;
  }
}
std::string Kernels::expected() const { return expected_kernels(); }

}  // namespace option

ImageSize parse_size(std::string_view text) {
  if (text == "auto") return {};
  const Grid grid = or_usage_error(try_grid(text), text, "auto, a side such as 64, or WIDTHxHEIGHT such as 64x48");
  return {.height = grid.rows, .width = grid.columns};
}

std::string to_text(ImageSize size) {
  if (size == ImageSize{}) return "auto";
  return size.height == size.width ? std::to_string(size.width) : fmt::format("{}x{}", size.width, size.height);
}

Augment parse_augment(std::string_view text) {
  return or_usage_error(try_augment(text), text, "auto, none, or of color, translation and cutout, with commas between");
}

Penalty parse_penalty(std::string_view text) {
  if (text == "none") return {};
  if (text == "r1") return {.r1 = true};
  if (text == "r2") return {.r2 = true};
  if (text == "r1+r2") return {.r1 = true, .r2 = true};
  if (text == "wgan-gp") return {.wgan_gp = true};
  throw Error(ExitCode::usage, fmt::format("{}: expected none, r1, r2, r1+r2 or wgan-gp", quote(text)));
}

double parse_share(std::string_view text) { return or_usage_error(try_share(text), text, "a share such as 5% or 0.05, below 1"); }

double parse_duration(std::string_view text) {
  return or_usage_error(try_duration(text), text, "a duration such as 90s, 2m or 1h30m");
}

Grid parse_grid(std::string_view text) {
  return or_usage_error(option::is_grid(std::string(text)) ? try_grid(text) : std::nullopt, text, "COLUMNSxROWS such as 8x8, each at most 64");
}

Interval parse_interval(std::string_view text) {
  return or_usage_error(try_interval(text), text, "a duration such as 2m, or a number of steps");
}

namespace {

// Sets the option `name` by `node`, where the config's method has one. Fails at a value that it does not allow.
bool set_option(TrainConfig& config, const std::string& name, const toml::node& node, const std::string& source) {
  bool known = false;
  visit_options(config, [&](const Option& option, auto& member) {
    if (name != option.name) return;
    known = true;
    const auto value = value_of<std::remove_reference_t<decltype(member)>>(node, option.rule);
    if (!value || !option.rule.accepts(*value)) {
      fail_at(source, node.source(), fmt::format("{} is {}: expected {}", option.name, describe(node), expectation(member, option.rule)));
    }
    member = *value;
  });
  return known;
}

// Version 0.1 wrote the options of every method into each file.
bool is_of_version_01(const toml::table& table) {
  std::set<std::string> keys;
  for (const auto& [key, node] : table) keys.insert(with_dashes(key.str()));
  return std::ranges::all_of(std::initializer_list<const char*>{"base", "d-norm", "lambda-l1", "lambda-cycle", "lambda-identity", "pool", "lambda-nce",
                                                                "patches", "temperature"},
                             [&](const char* name) { return keys.contains(name); });
}

}  // namespace

void parse_config(std::string_view toml, const std::string& source, TrainConfig& config, const ForeignKeys& allowed) {
  check_characters(toml, source);
  toml::table table;
  try {
    table = toml::parse(toml);
  } catch (const toml::parse_error& error) {
    std::string why(error.description());  // may hold a piece of the file, line breaks and all
    std::ranges::replace_if(why, [](unsigned char c) { return c < 32 || c == 127; }, ' ');
    fail_at(source, error.source(), why);
  }
  // The table is sorted by key; the first mistake in the file is the one to show.
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) entries.emplace_back(&key, &node);
  std::ranges::sort(entries, {}, [](const auto& entry) {
    const toml::source_position at = entry.first->source().begin;
    return std::pair(at.line, at.column);
  });

  // The method first: it says which other options there are.
  const std::string model = config.model;
  for (const auto& [key, node] : entries) {
    if (key->str() == "model") set_option(config, "model", *node, source);
  }
  if (!allowed.method) config.model = model;
  if (config.model != model) config.own = default_config(config.model).own;

  const bool pass_over = allowed.options || is_of_version_01(table);
  std::map<std::string, toml::source_position> seen;
  for (const auto& [key, node] : entries) {
    const std::string name = with_dashes(key->str());
    const auto [first, is_new] = seen.emplace(name, key->source().begin);
    if (!is_new) fail_at(source, key->source(), fmt::format("{} stands in line {} already", name, first->second.line));
    if (name == "model" || set_option(config, name, *node, source)) continue;
    if (!methods_with_option(name).empty()) {
      if (pass_over) continue;
      fail_at(source, key->source(), not_an_option(name, config.model));
    }
    const std::string nearest = nearest_name(name, option_names(config));
    fail_at(source, key->source(), fmt::format("unknown key {}: {}", quote(key->str()),
                                               nearest.empty() ? fmt::format("`pastiche train {} --help` lists them", config.model)
                                                               : "did you mean '" + nearest + "'?"));
  }
}

void load_config(const std::filesystem::path& path, TrainConfig& config, const ForeignKeys& allowed) {
  const std::vector<std::byte> bytes = read_file(path, 1 << 20);
  parse_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.native(), config, allowed);
}

std::string config_to_toml(const TrainConfig& config) {
  std::string result;
  visit_options(config, [&](const Option& option, const auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    std::string value;
    if constexpr (std::is_same_v<T, std::string>) {
      value = toml_text(option.name, member);
    } else if constexpr (std::is_same_v<T, ImageSize>) {
      value = toml_text(option.name, to_text(member));
    } else {
      value = fmt::format("{}", member);
    }
    result += fmt::format("{:<35} # {}\n", fmt::format("{} = {}", option.name, value), option.help);
  });
  return result;
}

std::string config_to_json(const TrainConfig& config) {
  nlohmann::ordered_json result;
  visit_options(config, [&](const Option& option, const auto& member) {
    if constexpr (std::is_same_v<decltype(member), const ImageSize&>) {
      result[option.name] = to_text(member);
    } else {
      result[option.name] = member;
    }
  });
  return result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

DType activation_dtype(const TrainConfig& config) { return config.precision == "bf16" ? DType::bf16 : DType::f32; }

KernelChoice kernel_choice(const TrainConfig& config) {
  KernelChoice kernels = parse_kernels(config.kernel);
  kernels.tf32 = config.precision == "tf32";
  return kernels;
}

namespace {

// Of the options that the method lacks: name and value.
std::map<std::string, std::string> unused_values(const TrainConfig& config) {
  std::map<std::string, std::string> values;
  visit_shared_options(config, [&](const Option& option, const auto& member) {
    if (has_option(config.model, option.name)) return;
    if constexpr (std::is_same_v<decltype(member), const ImageSize&>) values[option.name] = to_text(member);
    else values[option.name] = fmt::format("{}", member);
  });
  return values;
}

}  // namespace

void validate(TrainConfig& config) {
  const auto usual = unused_values(default_config(config.model, has_option(config.model, "preset") ? config.preset : TrainConfig().preset));
  for (const auto& [name, value] : unused_values(config)) {
    if (value != usual.at(name)) {
      throw Error(ExitCode::usage, "--" + not_an_option(name, config.model));
    }
  }
  const auto check = [](const Option& option, const auto& member) {
    std::string value;
    if constexpr (std::is_same_v<decltype(member), const std::string&>) {
      json_text(option.name, member);  // throws on what no file could hold
      value = quote(member);
    } else if constexpr (std::is_same_v<decltype(member), const ImageSize&>) {
      value = to_text(member);
    } else {
      value = fmt::format("{}", member);
    }
    if (!option.rule.accepts(member)) {
      throw Error(ExitCode::usage, fmt::format("--{} {}: expected {}", option.name, value, expectation(member, option.rule)));
    }
  };
  visit_options(std::as_const(config), check);
  require_dtype(kernel_choice(config), activation_dtype(config));
  if (config.label_smoothing > 0 && adversarial_loss(config.loss).critic) {
    throw Error(ExitCode::usage, fmt::format("--label-smoothing {:g}: the loss {} has no target to smooth", config.label_smoothing, config.loss));
  }
  const bool limited = config.steps > 0 || config.kimg > 0 || config.epochs > 0 || !config.time.empty();
  if (!limited) config.kimg = find_method(config.model).default_kimg();
}

}  // namespace pastiche
