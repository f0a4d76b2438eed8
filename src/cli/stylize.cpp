#include "pastiche/stylize.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/runs.h"
#include "cli/video.h"
#include "methods/method.h"
#include "pastiche/checkpoint.h"
#include "pastiche/config.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

struct StylizeArguments {
  std::string model, device = "auto", precision = "f32";
  Outputs results;
  std::vector<std::string> inputs;
  double strength = 1;
  bool keep_colors = false, frames = false, no_metadata = false, force = false;
  std::optional<std::int64_t> tile;
  int size = 0, threads = 0;
};

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
    convert_video(input.path, out, [&](const Image& frame) { return film(with_size(frame, arguments_.size)); }, [](const std::string& note) { tell("note: " + printable(note)); }, progress);
    tell_result(out);
  }

  Image stylize(const Input& input) {
    const Image source = with_size(read_input(input), arguments_.size);
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
    write_result(out, encode_for(out, picture, origin_text("Model", model_.string(), loaded_.hash, arguments_.no_metadata)));
  }

 private:
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
  if (is_picture_file(a.model)) {
    throw Error(ExitCode::bad_file, fmt::format("{} is a picture and not a model; `pastiche paint {} --painting {} -o {}` paints in its manner without one", quote(a.model),
                                                shell_word(a.inputs.front()), shell_word(a.model), shell_word(a.results.out)));
  }
  const std::vector<Input> inputs = find_inputs(a.inputs, a.results.out);
  const std::vector<fs::path> outputs = find_outputs(a.inputs, inputs, a.results);
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
      "stylize", "Turn pictures into the style that a model of " + translation_method_list() + " has learned. PNG, JPEG, GIF, WebP, TIFF, HEIC and AVIF of up to 268 megapixels, as memory allows; alpha is kept, "
                 "EXIF orientation and ICC profiles are followed." +
                     examples({"pastiche stylize last photo.jpg -o painting.png",
                               "pastiche stylize runs/00007-cut-art photos -o paintings --strength 0.7 --keep-colors"}));
  command->add_option("model", a->model, model_help)->required()->option_text("MODEL");
  command->add_option("inputs", a->inputs, "pictures, videos (by ffmpeg), folders with all below them, patterns, or - for standard input")
      ->required()->option_text("IN...");
  command->add_option("-o,--out", a->results.out, "for one picture .png, .jpg (quality 95, no alpha), .webp (quality 96), or - for PNG on standard output; a FIFO or device takes PNG too; else a folder, "
                                          "where each keeps its name; a film becomes .mp4, .m4v, .mov or .mkv")->required()->option_text("OUT");
  command->add_option("--strength", a->strength, "from 0, the source, to 1, the result: blended in R, G and B")
      ->check(CLI::Range(0.0, 1.0))->option_text("[1]");
  command->add_flag("--keep-colors", a->keep_colors, "the result's luma with the source's chroma (ITU-R 601 YCbCr)");
  command->add_flag("--frames", a->frames, "pictures are frames of one film, in the order of their names: all have the look of the first, so none "
                                           "flickers; always so in videos");
  command->add_option("--size", a->size, size_help)
      ->check(CLI::Range(0, 65535))->option_text("[0]");
  command->add_option("--tile", a->tile, "pixels a side of the tiles of a resnet, which above one megapixel are as large as fits 512 MiB; "
                                         "0: whole pictures. Results are the same bytes")->check(CLI::Range(0, 65536))->option_text("PIXELS");
  command->add_option("--precision", a->precision, "f32, or bf16 for speed")->check(CLI::IsMember({"f32", "bf16"}))->option_text("[f32]");
  command->add_option("--picture-format", a->results.picture_format, "of pictures in a folder of results: png, jpg or webp")
      ->check(CLI::IsMember({"png", "jpg", "webp"}))->option_text("[png]");
  command->add_option("--film-format", a->results.film_format, "of films in a folder of results: mp4, m4v, mov or mkv")
      ->check(CLI::IsMember({"mp4", "m4v", "mov", "mkv"}))->option_text("[mp4]");
  command->add_flag("--force", a->force, force_help);
  command->add_flag("--no-metadata", a->no_metadata, no_metadata_help);
  command->add_option("--device", a->device, device_help)->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_stylize(*a); });
}

}  // namespace pastiche::cli
