#include "cli/inputs.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "cli/output.h"
#include "cli/video.h"
#include "data/folder.h"
#include "pastiche/backend.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

// Files that a shell's pattern stands for; none where it is no pattern either.
std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return paths;
}

// "-" is standard input, though a folder should bear that name.
bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return path != "-" && fs::is_directory(path, ignored);
}

// By which a file is known again; as it was given where the system doesn't say.
fs::path place_of(const fs::path& path) {
  std::error_code error;
  fs::path found = fs::absolute(path, error);
  if (!error) found = fs::weakly_canonical(found, error);
  return error ? path : found;
}

// Films below a folder, but for hidden ones, by their names in it.
std::vector<std::string> films_in(const fs::path& folder) {
  std::vector<std::string> films;
  std::error_code error, ignored;
  for (fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error), end; !error && entry != end; entry.increment(error)) {
    const bool hidden = entry->path().filename().native().starts_with('.');
    if (hidden) entry.disable_recursion_pending();
    else if (is_video(entry->path()) && entry->is_regular_file(ignored)) films.push_back(entry->path().lexically_relative(folder).native());
  }
  std::ranges::sort(films);
  return films;
}

void add_folder(std::vector<Input>& inputs, const fs::path& path, const fs::path& out) {
  // What an earlier run left in a folder of results within is no input.
  const std::string results = (place_of(out).lexically_relative(place_of(path)) / "").native();
  const std::vector<std::string> films = films_in(path);
  FolderContents contents;
  try {
    contents = inspect_files(*open_store(path), default_max_pixels, Depth::probe, Links::each);
  } catch (const Error&) {  // there is no picture
    if (films.empty()) throw;
  }
  if (!contents.left_out.empty()) tell(fmt::format("left out of {}: {}", quote(path.string()), left_out_text(contents.left_out)));
  for (const FolderFile& file : contents.files) {
    const std::string problem = file.problem.empty() ? "" : fmt::format("{}: {}", quote((path / file.name).native()), file.problem);
    if (!file.name.starts_with(results)) inputs.push_back({path / file.name, file.name, problem});
  }
  for (const std::string& film : films) {
    if (!film.starts_with(results)) inputs.push_back({path / film, film, ""});
  }
}

void add_argument(std::vector<Input>& inputs, const std::string& argument, const fs::path& out) {
  std::error_code error;  // then reading tells why
  std::vector<std::string> paths{argument};
  if (argument != "-" && !fs::exists(argument, error) && !error) paths = matches(argument);
  if (paths.empty()) throw Error(ExitCode::bad_file, fmt::format("there is no {}; expected pictures, a folder, a pattern such as 'in/*.jpg', or -", quote(argument)));
  for (const fs::path path : paths) {
    if (is_folder(path)) add_folder(inputs, path, out);
    else inputs.push_back({path, path == "-" ? "stdin" : path.filename(), ""});
  }
}

std::vector<std::byte> read_stdin() {
  std::vector<std::byte> bytes(1 << 16);
  std::size_t size = 0;
  while (const std::size_t count = std::fread(bytes.data() + size, 1, bytes.size() - size, stdin)) {
    size += count;
    if (size > max_picture_bytes) throw Error(ExitCode::bad_file, fmt::format("standard input is longer than {}", bytes_text(max_picture_bytes)));
    if (size == bytes.size()) bytes.resize(2 * size);
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace

std::vector<Input> find_inputs(std::span<const std::string> arguments, const fs::path& out) {
  std::vector<Input> inputs;
  for (const std::string& argument : arguments) {
    try {
      add_argument(inputs, argument, out);
    } catch (const Error& e) {
      if (arguments.size() == 1) throw;
      inputs.push_back({argument, "", e.what()});
    }
  }
  return inputs;
}

std::vector<fs::path> find_outputs(std::span<const std::string> arguments, std::span<const Input> inputs, const Outputs& to) {
  const bool one = inputs.size() == 1 && arguments.size() == 1 && !is_folder(arguments.front());
  const bool to_file = one && !is_folder(to.out) && !to.out.ends_with('/');
  if (to_file && !is_video(inputs.front().path)) require_picture_name(to.out, " a folder that exists or ends in /,");
  if (!to_file && is_stream(to.out)) {
    throw Error(ExitCode::usage, fmt::format("{} results don't fit into one stream; give a folder instead of --out {}", inputs.size(), printable(to.out)));
  }
  std::error_code absent;
  if (!to_file && fs::exists(to.out, absent) && !fs::is_directory(to.out, absent)) {
    throw Error(ExitCode::usage, fmt::format("--out {} is a file; {} results need a folder", quote(to.out), inputs.size()));
  }
  std::map<fs::path, fs::path> sources;  // from places to what they are called
  std::set<fs::path> results;
  for (const Input& input : inputs) sources.emplace(place_of(input.path), input.path);
  std::vector<fs::path> outputs;
  for (const Input& input : inputs) {
    fs::path out;
    if (input.problem.empty()) {
      for (int number = 1;; ++number) {
        out = to_file ? fs::path(to.out) : result_name(to.out / input.name, "." + (is_video(input.path) ? to.film_format : to.picture_format), number);
        if (is_stream(out)) break;
        const auto source = sources.find(place_of(out));
        if (source != sources.end() && number == 1) {
          throw Error(ExitCode::usage, fmt::format("{} would be replaced by a result; give another --out", quote(source->second.native())));
        }
        if (source == sources.end() && !results.contains(place_of(out))) break;
      }
      if (!to_file && out.stem() != input.name.stem()) tell(fmt::format("note: the result of {} is {}", quote(input.path.native()), quote(out.native())));
      results.insert(place_of(out));
    }
    outputs.push_back(out);
  }
  return outputs;
}

Image read_input(const Input& input) {
  if (!input.problem.empty()) throw Error(ExitCode::bad_file, input.problem);
  return input.path == "-" ? decode_picture(read_stdin()) : read_picture(input.path);
}

Image with_size(const Image& picture, int smaller_side) {
  const int smaller = std::min(picture.height, picture.width);
  if (smaller_side == 0 || smaller == smaller_side) return picture;
  const double scale = static_cast<double>(smaller_side) / smaller;
  const auto height = std::lround(scale * picture.height), width = std::lround(scale * picture.width);
  if (height > 65535 || width > 65535 || height * width > default_max_pixels) {
    throw Error(ExitCode::usage, fmt::format("--size {} makes {}x{} of a picture of {}x{}, more than {} megapixels; use a smaller one",
                                             smaller_side, width, height, picture.width, picture.height, default_max_pixels / 1'000'000));
  }
  return resize(picture, static_cast<int>(height), static_cast<int>(width), Filter::lanczos);
}

}  // namespace pastiche::cli
