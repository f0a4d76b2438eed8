#include "cli/output.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {

namespace fs = std::filesystem;

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ExitCode::bad_file, fmt::format("can't make {}: {}", quote(folder.string()), error.message()));
}

void write_result(const fs::path& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, bytes);
  fmt::print("{}\n", path.string());
}

PictureText origin_text(const std::string& model, const std::string& hash, const PictureText& more) {
  PictureText text{{"Software", std::string("pastiche ") + PASTICHE_VERSION},
                   {"Model", fs::absolute(model).lexically_normal().string()},
                   {"Model SHA-256", hash}};
  text.insert(text.end(), more.begin(), more.end());
  text.emplace_back("Command", command_line());
  return text;
}

}  // namespace pastiche::cli
