#include "pastiche/stylize.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/runs.h"
#include "cli/video.h"
#include "data/folder.h"
#include "pastiche/checkpoint.h"
#include "pastiche/config.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

struct StylizeArguments {
  std::string model, out, picture_format = "png", film_format = "mp4", device = "auto", precision = "f32";
  std::vector<std::string> inputs;
  double strength = 1;
  bool keep_colors = false, frames = false, no_metadata = false, force = false;
  std::optional<std::int64_t> tile;
  int size = 0, threads = 0;
};

struct Input {
  fs::path path;        // "-": standard input
  fs::path name;        // the result's in a folder, but for its extension
  std::string problem;  // why it can't be used, a sentence that names it, where that is known already
};

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

std::vector<Input> find_inputs(const StylizeArguments& a) {
  std::vector<Input> inputs;
  for (const std::string& argument : a.inputs) {
    try {
      add_argument(inputs, argument, a.out);
    } catch (const Error& e) {
      if (a.inputs.size() == 1) throw;
      inputs.push_back({argument, "", e.what()});
    }
  }
  return inputs;
}

// Where the result of each goes; nowhere for one that can't be used. No result may replace a source or another result.
std::vector<fs::path> find_outputs(const StylizeArguments& a, const std::vector<Input>& inputs) {
  const bool one = inputs.size() == 1 && a.inputs.size() == 1 && !is_folder(a.inputs.front());
  const bool to_file = one && !is_folder(a.out) && !a.out.ends_with('/');
  if (to_file && !is_video(inputs.front().path)) require_picture_name(a.out, " a folder that exists or ends in /,");
  if (!to_file && is_stream(a.out)) {
    throw Error(ExitCode::usage, fmt::format("{} results don't fit into one stream; give a folder instead of --out {}", inputs.size(), printable(a.out)));
  }
  std::error_code absent;
  if (!to_file && fs::exists(a.out, absent) && !fs::is_directory(a.out, absent)) {
    throw Error(ExitCode::usage, fmt::format("--out {} is a file; {} results need a folder", quote(a.out), inputs.size()));
  }
  std::map<fs::path, fs::path> sources;  // from places to what they are called
  std::set<fs::path> results;
  for (const Input& input : inputs) sources.emplace(place_of(input.path), input.path);
  std::vector<fs::path> outputs;
  for (const Input& input : inputs) {
    fs::path out;
    if (input.problem.empty()) {
      for (int number = 1;; ++number) {
        out = to_file ? fs::path(a.out) : result_name(a.out / input.name, "." + (is_video(input.path) ? a.film_format : a.picture_format), number);
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

Image read_input(const Input& input) {
  if (!input.problem.empty()) throw Error(ExitCode::bad_file, input.problem);
  return input.path == "-" ? decode_picture(read_stdin()) : read_picture(input.path);
}

class Worker {
 public:
  explicit Worker(const StylizeArguments& a)
      : arguments_(a),
        options_{.strength = a.strength, .keep_colors = a.keep_colors, .film = a.frames, .tile = a.tile, .precision = dtype_from_name(a.precision)},
        backend_(open_backend(a.device, a.threads)),
        model_(find_model_file(a.model)),
        loaded_(load_translator(*backend_, model_)),
        stylizer_(*loaded_.translator, options_) {}

  const std::string& model_hash() const { return loaded_.hash; }

  // `progress` is told which part of it is done.
  void video(const Input& input, const fs::path& out, const std::function<void(double)>& progress) {
    if (!input.problem.empty()) throw Error(ExitCode::bad_file, input.problem);
    options_.film = true;
    Stylizer film(*loaded_.translator, options_);
    convert_video(input.path, out, [&](const Image& frame) { return film(resized(frame)); }, [](const std::string& note) { tell("note: " + printable(note)); }, progress);
    tell_result(out);
  }

  Image stylize(const Input& input) {
    const Image source = resized(read_input(input));
    note_size(input, source);
    if (loaded_.card.network.channels == 1 && source.channels >= 3 && !arguments_.keep_colors && !noted_gray_) {
      noted_gray_ = true;
      tell("note: the model learned gray pictures, so it sees the luma, and results are gray; --keep-colors gives them the source's colours");
    }
    try {
      return stylizer_(source);
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}: {}", quote(input.path.string()), e.what()));
    }
  }

  void write(const Image& picture, const fs::path& out) {
    write_result(out, encode_for(out, picture, origin_text(model_.string(), loaded_.hash, arguments_.no_metadata)));
  }

 private:
  Image resized(const Image& picture) const {
    const int smaller = std::min(picture.height, picture.width);
    if (arguments_.size == 0 || smaller == arguments_.size) return picture;
    const double scale = static_cast<double>(arguments_.size) / smaller;
    const auto height = std::lround(scale * picture.height), width = std::lround(scale * picture.width);
    if (height > 65535 || width > 65535 || height * width > default_max_pixels) {
      throw Error(ExitCode::usage, fmt::format("--size {} makes {}x{} of a picture of {}x{}, more than {} megapixels; use a smaller one",
                                               arguments_.size, width, height, picture.width, picture.height, default_max_pixels / 1'000'000));
    }
    return resize(picture, static_cast<int>(height), static_cast<int>(width), Filter::lanczos);
  }

  // What a unet draws depends on how large it sees a thing; a resnet's strokes only become finer.
  void note_size(const Input& input, const Image& source) {
    const TranslatorConfig& network = loaded_.card.network;
    const auto learned = std::min(network.height, network.width), seen = std::int64_t{std::min(source.height, source.width)};
    if (network.name != "unet" || noted_size_ || (2 * seen < 3 * learned && 2 * learned < 3 * seen)) return;
    noted_size_ = true;
    tell(fmt::format("note: the model learned pictures of {}x{}, and {} has {}x{}: --size {} may suit it better", network.width, network.height,
                     quote(input.path.string()), source.width, source.height, learned));
  }

  const StylizeArguments& arguments_;
  StylizeOptions options_;
  std::unique_ptr<Backend> backend_;
  const fs::path model_;
  LoadedTranslator loaded_;
  Stylizer stylizer_;
  bool noted_gray_ = false, noted_size_ = false;
};

int run_stylize(const StylizeArguments& a) {
  const std::vector<Input> inputs = find_inputs(a);
  const std::vector<fs::path> outputs = find_outputs(a, inputs);
  Worker worker(a);
  require_free(outputs, worker.model_hash(), a.force);
  Failures failures;
  WorkProgress progress("stylize");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto one = [&] {
      if (outputs[i].has_parent_path() && !is_stream(outputs[i])) make_folder(outputs[i].parent_path());
      if (is_video(inputs[i].path)) worker.video(inputs[i], outputs[i], [&](double part) { progress.update(static_cast<double>(i) + part, std::ssize(inputs)); });
      else worker.write(worker.stylize(inputs[i]), outputs[i]);
    };
    if (inputs.size() == 1) one();
    else failures.attempt(inputs[i].path, one);
    progress.update(static_cast<double>(i + 1), std::ssize(inputs));
  }
  return failures.report(inputs.size());
}

}  // namespace

void add_stylize(CLI::App& app, Outcome& outcome) {
  auto a = std::make_shared<StylizeArguments>();
  CLI::App* command = app.add_subcommand(
      "stylize", "Turn pictures into the style that a model of pix2pix, cyclegan or cut has learned. PNG, JPEG, GIF, WebP, TIFF, HEIC and AVIF of up to 268 megapixels, as memory allows; alpha is kept, "
                 "EXIF orientation and ICC profiles are followed." +
                     examples({"pastiche stylize last photo.jpg -o painting.png",
                               "pastiche stylize runs/00007-cut-art photos -o paintings --strength 0.7 --keep-colors"}));
  command->add_option("model", a->model, model_help)->required()->option_text("MODEL");
  command->add_option("inputs", a->inputs, "pictures, videos (by ffmpeg), folders with all below them, patterns, or - for standard input")
      ->required()->option_text("IN...");
  command->add_option("-o,--out", a->out, "for one picture .png, .jpg (quality 95, no alpha), .webp (quality 96), or - for PNG on standard output; a FIFO or device takes PNG too; else a folder, "
                                          "where each keeps its name; a film becomes .mp4, .m4v, .mov or .mkv")->required()->option_text("OUT");
  command->add_option("--strength", a->strength, "from 0, the source, to 1, the result: blended in R, G and B")
      ->check(CLI::Range(0.0, 1.0))->option_text("[1]");
  command->add_flag("--keep-colors", a->keep_colors, "the result's luma with the source's chroma (ITU-R 601 YCbCr)");
  command->add_flag("--frames", a->frames, "pictures are frames of one film, in the order of their names: all have the look of the first, so none "
                                           "flickers; always so in videos");
  command->add_option("--size", a->size, "pixels of the smaller side, to which pictures are resized first; 0: as they are")
      ->check(CLI::Range(0, 65535))->option_text("[0]");
  command->add_option("--tile", a->tile, "pixels a side of the tiles of a resnet, which above one megapixel are as large as fits 512 MiB; "
                                         "0: whole pictures. Results are the same bytes")->check(CLI::Range(0, 65536))->option_text("PIXELS");
  command->add_option("--precision", a->precision, "f32, or bf16 for speed")->check(CLI::IsMember({"f32", "bf16"}))->option_text("[f32]");
  command->add_option("--picture-format", a->picture_format, "of pictures in a folder of results: png, jpg or webp")
      ->check(CLI::IsMember({"png", "jpg", "webp"}))->option_text("[png]");
  command->add_option("--film-format", a->film_format, "of films in a folder of results: mp4, m4v, mov or mkv")
      ->check(CLI::IsMember({"mp4", "m4v", "mov", "mkv"}))->option_text("[mp4]");
  command->add_flag("--force", a->force, force_help);
  command->add_flag("--no-metadata", a->no_metadata, no_metadata_help);
  command->add_option("--device", a->device, device_help)->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_stylize(*a); });
}

}  // namespace pastiche::cli
