#include <algorithm>
#include <cctype>
#include <set>

#include <fmt/format.h>

#include "folder.h"
#include "idx.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

void require_options(const DataOptions& options) {
  const auto fits = [](int side) { return side >= 0 && side <= 65535; };
  if (!fits(options.height) || !fits(options.width) || (options.height == 0) != (options.width == 0)) {
    throw Error(ExitCode::usage, fmt::format("a data size of {}x{}, expected two numbers from 1 to 65535, or none for "
                                             "the data's own",
                                             options.width, options.height));
  }
  if (options.channels != 0 && options.channels != 1 && options.channels != 3 && options.channels != 4) {
    throw Error(ExitCode::usage,
                fmt::format("{} data channels, expected 1, 3, 4, or 0 for the data's own", options.channels));
  }
}

// Of a folder: a size, or what it holds in every set.
bool says_nothing(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static const std::set<std::string> words{"a", "b", "traina", "trainb", "testa", "testb", "train", "test", "val", "valid", "validation",
                                           "training", "all", "data", "dataset", "image", "images", "img", "imgs", "pic", "pics", "png", "pngs", "jpg", "jpgs", "jpeg",
                                           "jpegs", "raw", "resized"};
  constexpr const char* digits = "0123456789";
  const std::size_t first = std::min(name.find_first_not_of(digits), name.size());
  const std::string rest = name.substr(first);
  const bool second_side = rest.size() > 1 && rest[0] == 'x' && rest.find_first_not_of(digits, 1) == rest.npos;
  return (first > 0 && (rest.empty() || rest == "px" || second_side)) || words.contains(name);
}

}  // namespace

std::string short_name(const fs::path& path) {
  fs::path whole = fs::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  std::error_code ignored;
  fs::path telling = whole;
  constexpr int levels = 4;
  for (int i = 0; i < levels && says_nothing(telling.filename().native()) && !fs::is_regular_file(telling, ignored); ++i) {
    telling = telling.parent_path();
  }
  if (telling.has_filename() && !says_nothing(telling.filename().native())) whole = telling;
  std::string name = whole.filename().string();
  if (const std::string ending = ending_of(whole); ending == ".gz" || ending == ".zip") name.resize(name.size() - ending.size());
  if (constexpr std::size_t most = 40; name.size() > most) {
    std::size_t cut = most;
    while (cut > 0 && (static_cast<unsigned char>(name[cut]) & 0xc0) == 0x80) --cut;  // within a character of UTF-8
    name.resize(cut);
  }
  const bool readable = printable(name) == name;  // letters of any script stay
  for (char& c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 ? !readable : !std::isalnum(byte) && c != '.' && c != '_' && c != '-') c = '-';
  }
  return name.find_first_not_of("-.") == name.npos ? "data" : name;
}

std::string Dataset::picture_name(std::int64_t index) const { return fmt::format("{:06}", index); }

Image Dataset::picture(std::int64_t index) const {
  Image image{height_, width_, channels_, std::vector<std::uint8_t>(static_cast<std::size_t>(picture_bytes()))};
  read(index, image.pixels.data());
  return image;
}

std::unique_ptr<Dataset> open_part(const fs::path& path, Part part, const DataOptions& options) {
  require_options(options);
  const fs::path idx = part == Part::whole ? find_idx(path) : fs::path();
  return idx.empty() ? open_files(open_store(path), short_name(path), part, options) : open_idx(idx, short_name(path), options);
}

std::unique_ptr<Dataset> open_dataset(const fs::path& path, const DataOptions& options) {
  return open_part(path, Part::whole, options);
}

}  // namespace pastiche
