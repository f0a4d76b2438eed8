#include "pastiche/paint.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/video.h"
#include "methods/method.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"
#include "train/signals.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

struct PaintArguments {
  std::vector<std::string> photos, paintings;
  std::vector<double> weights;
  std::string mask, device = "auto";
  Outputs results;
  PaintOptions options;
  bool no_metadata = false, force = false;
  int size = 0, threads = 0;
};

// What pictures say of their making.
struct Origin {
  std::string paintings;  // paths
  std::string hash;       // SHA-256 of the paintings' files, one after the other
};

Origin read_paintings(const PaintArguments& a, std::vector<Painting>& paintings) {
  if (!a.weights.empty() && a.weights.size() != a.paintings.size()) {
    throw Error(ExitCode::usage, fmt::format("{} weights for {} paintings, expected one each", a.weights.size(), a.paintings.size()));
  }
  Origin origin;
  std::vector<std::byte> all;
  for (std::size_t i = 0; i < a.paintings.size(); ++i) {
    const std::string& path = a.paintings[i];
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      throw Error(ExitCode::usage, fmt::format("{} is a folder; --painting takes one picture, and for many there is `pastiche train {} {} --style {}`", quote(path),
                                               recommended_translation_method(), a.photos.empty() ? "PHOTOS" : shell_word(a.photos.front()), shell_word(path)));
    }
    const std::vector<std::byte> file = read_file(path, max_picture_bytes);
    try {
      paintings.push_back({decode_picture(file), a.weights.empty() ? 1 : a.weights[i]});
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}: {}", quote(path), e.what()));
    }
    all.insert(all.end(), file.begin(), file.end());
    origin.paintings += (i == 0 ? "" : ", ") + path;
  }
  origin.hash = sha256_hex(all);
  return origin;
}

int run_paint(const PaintArguments& a) {
  const std::vector<Input> inputs = find_inputs(a.photos, a.results.out);
  for (const Input& input : inputs) {
    if (!is_video(input.path)) continue;
    throw Error(ExitCode::usage, fmt::format("{} is a film, and paint makes pictures; `pastiche stylize` turns films with a model of `pastiche train {}`", quote(input.path.native()), recommended_translation_method()));
  }
  const std::vector<fs::path> outputs = find_outputs(a.photos, inputs, a.results);
  std::vector<Painting> paintings;
  const Origin origin = read_paintings(a, paintings);
  require_free(outputs, origin.hash, a.force);
  const auto backend = open_backend(a.device, a.threads);
  PaintOptions options = a.options;
  if (!a.mask.empty()) options.mask = with_size(read_picture(a.mask, {.channels = 1}), a.size);
  const CatchSignals signals;  // what there is when one comes becomes the result
  options.stop = [] { return CatchSignals::caught() != 0; };

  WorkProgress progress("paint");
  const auto one = [&](std::size_t i) {
    const Image photo = with_size(read_input(inputs[i]), a.size);
    const fs::path& out = outputs[i];
    if (out.has_parent_path() && !is_stream(out)) make_folder(out.parent_path());
    const auto encoded = [&](const Image& picture) {
      return encode_for(out, picture, origin_text("Painting", origin.paintings, origin.hash, a.no_metadata, {{"Seed", std::to_string(a.options.seed)}}));
    };
    options.on_step = [&](double done) { progress.update(static_cast<double>(i) + done, std::ssize(inputs)); };
    if (!is_stream(out)) {
      options.on_scale = [&](const std::function<Image()>& picture) { write_where_named(out, encoded(picture()), Sync::later); };
    }
    write_result(out, encoded(paint(*backend, photo, paintings, options)));
  };
  Failures failures;
  std::size_t done = 0;
  for (; done < inputs.size() && CatchSignals::caught() == 0; ++done) {
    const auto named = [&] {
      try {
        one(done);
      } catch (const Error& e) {
        const std::string name = quote(inputs[done].path.native());
        throw std::string_view(e.what()).find(name) == std::string_view::npos ? Error(e.code(), fmt::format("{}: {}", name, e.what())) : e;
      }
    };
    if (inputs.size() == 1) named();
    else failures.attempt(inputs[done].path, named);
  }
  const int signal = CatchSignals::caught();
  if (signal == 0) return failures.report(inputs.size());
  const std::size_t left = inputs.size() - done;
  const std::string shown = done == 0 ? "nothing is painted" : quote(outputs[done - 1].native()) + " shows how far it came";
  tell(fmt::format("stopped early: {}{}", shown, left > 0 ? fmt::format("; {} of {} photos are not begun", left, inputs.size()) : ""));
  return 128 + signal;
}

}  // namespace

void add_paint(CLI::App& app, Outcome& outcome) {
  auto a = std::make_shared<PaintArguments>();
  CLI::App* command = app.add_subcommand(
      "paint", "Paint photos in the manner of one painting, in seconds to minutes and without a model. The result is there early, and becomes finer; "
               "Ctrl-C keeps what there is. Alpha is kept, EXIF orientation and ICC profiles are followed." +
                   examples({"pastiche paint photo.jpg --painting starry-night.jpg -o painted.png",
                             "pastiche paint photos --painting a.jpg --painting b.jpg --weight 2 --weight 1 -o painted --strength 0.3"}));
  command->add_option("photos", a->photos, inputs_help)->required()->option_text("PHOTO...");
  command->add_option("--painting", a->paintings, "a picture of the painting; several are mixed")->required()->take_all()->allow_extra_args(false)->option_text("PICTURE");
  command->add_option("-o,--out", a->results.out, "for one photo .png, .jpg (quality 95, no alpha), .webp (quality 96), or - for PNG on standard output; else a folder, "
                                                  "where each keeps its name")->required()->option_text("OUT");
  command->add_option("--strength", a->options.strength, "from 0, brush strokes over the photo, to 1, where only the largest things stay in their place")
      ->check(CLI::Range(0.0, 1.0))->option_text("[0.5]");
  command->add_option("--stroke", a->options.stroke, "how large the strokes are, relative to those of the painting at the photo's size")
      ->check(CLI::Range(0.25, 4.0))->option_text("[1]");
  command->add_flag("--keep-colors", a->options.keep_colors, "the photo's colours, in the painting's strokes");
  command->add_option("--mask", a->mask, "a picture of the photo's size: white is painted, black stays the photo")->option_text("PICTURE");
  command->add_option("--weight", a->weights, "a painting's share, relative to the others'; one for each --painting, in their order")
      ->take_all()->allow_extra_args(false)->option_text("[1]");
  command->add_option("--seed", a->options.seed, "another one lays other strokes")->option_text("[0]");
  command->add_option("--size", a->size, size_help)->check(CLI::Range(0, 65535))->option_text("[0]");
  command->add_option("--picture-format", a->results.picture_format, "of pictures in a folder of results: png, jpg or webp")
      ->check(CLI::IsMember({"png", "jpg", "webp"}))->option_text("[png]");
  command->add_flag("--force", a->force, force_help);
  command->add_flag("--no-metadata", a->no_metadata, no_metadata_help);
  command->add_option("--device", a->device, device_help)->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_paint(*a); });
}

}  // namespace pastiche::cli
