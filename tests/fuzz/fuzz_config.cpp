// What load_config() accepts, config_to_toml() writes, and that reads back to the same text.
#include <cstdint>
#include <cstdlib>

#include "pastiche/config.h"
#include "pastiche/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  TrainConfig config;
  try {
    parse_config({reinterpret_cast<const char*>(data), size}, "config.toml", config);
  } catch (const Error& error) {
    const bool one_line = std::string_view(error.what()).find('\n') == std::string_view::npos;
    if (error.code() != ExitCode::bad_data || !one_line) std::abort();
    return 0;
  }
  validate(config);
  const std::string toml = config_to_toml(config);
  TrainConfig again;
  parse_config(toml, "config.toml", again);
  if (config_to_toml(again) != toml || config_to_json(again) != config_to_json(config)) std::abort();
  return 0;
}
