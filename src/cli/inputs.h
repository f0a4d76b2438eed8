#pragma once
// Which pictures and films a command was given, and where their results go.
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "pastiche/image.h"

namespace pastiche::cli {

struct Input {
  std::filesystem::path path;  // "-": standard input
  std::filesystem::path name;  // the result's in a folder, but for its extension
  std::string problem;         // why it can't be used, a sentence that names it, where that is known already
};

// Arguments are files, folders with all below them (but for `out`), patterns, or "-". Throws where the only one can't be used.
std::vector<Input> find_inputs(std::span<const std::string> arguments, const std::filesystem::path& out);

struct Outputs {
  std::string out, picture_format = "png", film_format = "mp4";  // --out, and how results in a folder end
};

// Where the result of each goes; nowhere for one that can't be used. No result may replace a source or another result.
std::vector<std::filesystem::path> find_outputs(std::span<const std::string> arguments, std::span<const Input> inputs, const Outputs& to);

Image read_input(const Input& input);

// With `smaller_side` pixels on that side, as --size asks for; 0: as it is.
Image with_size(const Image& picture, int smaller_side);

inline constexpr const char* inputs_help = "pictures, folders with all below them, patterns, or - for standard input";
inline constexpr const char* size_help = "pixels of the smaller side, to which pictures are resized first; 0: as they are";

}  // namespace pastiche::cli
