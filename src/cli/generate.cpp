#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <filesystem>
#include <optional>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/runs.h"
#include "cli/seeds.h"
#include "pastiche/checkpoint.h"
#include "pastiche/config.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/sha256.h"
#include "pastiche/train.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

struct GenerateArguments {
  std::string model, seeds, grid, out, from, device = "auto";
  int interpolate = 0, fps = 20, threads = 0;
  bool no_metadata = false, force = false;
};

// From one seed to the next along the sphere that normal latents lie near (White, 2016), and back to the first.
std::vector<float> interpolated_latents(std::span<const std::uint64_t> seeds, int steps, std::int64_t nz) {
  std::vector<float> latents;
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    const std::vector<float> a = sample_latent(seeds[i], nz), b = sample_latent(seeds[(i + 1) % seeds.size()], nz);
    double aa = 0, bb = 0, ab = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
      aa += a[k] * a[k];
      bb += b[k] * b[k];
      ab += a[k] * b[k];
    }
    const double angle = std::acos(std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0));
    for (int step = 0; step < steps; ++step) {
      const double t = static_cast<double>(step) / steps;
      const double wa = angle < 1e-6 ? 1 - t : std::sin((1 - t) * angle) / std::sin(angle);
      const double wb = angle < 1e-6 ? t : std::sin(t * angle) / std::sin(angle);
      for (std::size_t k = 0; k < a.size(); ++k) latents.push_back(static_cast<float>(wa * a[k] + wb * b[k]));
    }
  }
  return latents;
}

// What results are called where --out says nothing: "00003-dcgan-art-grid.png", after the run, or else the file, of the model.
fs::path usual_name(const fs::path& model, const char* what) {
  std::error_code error;
  const fs::path folder = fs::absolute(model, error).lexically_normal().parent_path();
  const bool of_run = fs::exists(folder / "config.toml", error);
  const fs::path name = (of_run ? folder.filename().native() : model.stem().native()) + "-" + what;
  return result_name(name, name.extension().native());
}

// What --from reads.
PictureText picture_text(const GenerateArguments& a, const fs::path& model, const std::string& hash, std::span<const std::uint64_t> seeds,
                         const std::optional<Grid>& grid = {}) {
  PictureText made_of{{"Seeds", seeds_text(seeds)}};
  if (grid) made_of.emplace_back("Grid", fmt::format("{}x{}", grid->columns, grid->rows));
  return origin_text("Model", model.string(), hash, a.no_metadata, made_of);
}

const std::string* find(const PictureText& text, std::string_view key) {
  for (const auto& [name, value] : text) {
    if (name == key) return &value;
  }
  return nullptr;
}

struct Maker {
  LoadedGenerator loaded;

  std::vector<Image> pictures(const std::vector<std::uint64_t>& seeds) {
    return generate_pictures(*loaded.generator, sample_latents(seeds, loaded.card.model.nz));
  }
  Image grid(const Grid& grid, const std::vector<std::uint64_t>& seeds) {
    const ModelConfig& model = loaded.card.model;
    const std::int64_t count = std::int64_t{grid.columns} * grid.rows;
    if (std::ssize(seeds) != count) {
      throw Error(ExitCode::usage, fmt::format("--grid {}x{} needs {} seeds, --seeds gives {}", grid.columns, grid.rows, count, seeds.size()));
    }
    if (count * model.height * model.width > most_grid_pixels) {
      throw Error(ExitCode::usage, fmt::format("--grid {}x{} of pictures of {}x{} is more than {} megapixels: use a smaller one, or --seeds",
                                               grid.columns, grid.rows, model.width, model.height, most_grid_pixels >> 20));
    }
    return tile(pictures(seeds), grid.columns, 2);
  }
  static constexpr std::int64_t most_grid_pixels = std::int64_t{1} << 28;
};

// ---- again -----------------------------------------------------------------------------------------------------------

// What a picture says of its making. A picture may come from others, so each word of it is read as what it must be.
struct Recipe {
  std::string hash, run;  // of the model: its SHA-256, and the name of the folder it was in, where that is known
  std::vector<std::uint64_t> seeds;
  std::optional<Grid> grid;
};

Recipe read_recipe(const std::string& picture) {
  const PictureText text = read_png_text(read_file(picture, max_picture_bytes));
  const std::string *model = find(text, "Model"), *hash = find(text, "Model SHA-256"), *seeds = find(text, "Seeds"), *grid = find(text, "Grid");
  const auto refuse = [&](const std::string& why) { throw Error(ExitCode::bad_file, fmt::format("{} {}", quote(picture), why)); };
  if (hash == nullptr || seeds == nullptr || hash->size() != 64 || hash->find_first_not_of("0123456789abcdef") != hash->npos) {
    refuse("does not say which model and seed made it; only pictures of `pastiche generate` do");
  }
  Recipe recipe{.hash = *hash, .run = model == nullptr ? "" : fs::path(*model).parent_path().filename().string(), .seeds = {}, .grid = {}};
  if (recipe.run == "." || recipe.run == "..") recipe.run.clear();
  try {
    if (grid != nullptr) recipe.grid = parse_grid(*grid);
    recipe.seeds = parse_seeds(*seeds);
  } catch (const Error& e) {
    refuse(fmt::format("says what is no recipe ({})", e.what()));
  }
  const std::int64_t count = recipe.grid ? std::int64_t{recipe.grid->columns} * recipe.grid->rows : 1;
  if (std::ssize(recipe.seeds) != count) refuse(fmt::format("names {} seeds, expected {}", recipe.seeds.size(), count));
  return recipe;
}

// The model of this hash: `where` itself, or below a folder of runs, where the run of the same name is looked at first. What path the
// picture names is not opened: that is the picture's word.
fs::path find_model(const fs::path& where, const Recipe& recipe) {
  std::error_code error;
  std::vector<fs::path> candidates{where};
  if (fs::is_directory(where, error)) {
    candidates = {where / "model.safetensors", where / recipe.run / "model.safetensors"};
    for (fs::directory_iterator entry(where, error), end; !error && entry != end; entry.increment(error)) candidates.push_back(entry->path() / "model.safetensors");
  }
  for (const fs::path& path : candidates) {
    try {
      if (fs::is_regular_file(path, error) && sha256_hex(read_safetensors_bytes(path)) == recipe.hash) return path;
    } catch (const Error&) {  // one that can't be read is not it
    }
  }
  throw Error(ExitCode::bad_file, fmt::format("the model of this picture, SHA-256 {}..., is not at {}: give its file, or the folder that its run is in",
                                              recipe.hash.substr(0, 16), quote(where.string())));
}

int generate_again(const GenerateArguments& a, Backend& backend) {
  const Recipe recipe = read_recipe(a.from);
  const fs::path path = find_model(a.model.empty() ? fs::path("runs") : find_run(a.model), recipe);
  const fs::path out = a.out.empty() ? usual_name(path, "again.png") : fs::path(a.out);
  require_picture_name(out);
  require_free(std::span(&out, 1), recipe.hash, a.force);
  Maker maker{load_generator(backend, path)};
  const Image picture = recipe.grid ? maker.grid(*recipe.grid, recipe.seeds) : maker.pictures(recipe.seeds).front();
  write_result(out, encode_for(out, picture, picture_text(a, path, maker.loaded.hash, recipe.seeds, recipe.grid)));
  return 0;
}

// Each as soon as its batch is made.
int write_pictures(const GenerateArguments& a, Maker& maker, const fs::path& model, std::span<const std::uint64_t> seeds, const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const std::uint64_t seed : seeds) paths.push_back(folder / fmt::format("seed{:06}.png", seed));
  require_free(paths, maker.loaded.hash, a.force);
  Failures failures;
  WorkProgress progress("generate");
  std::size_t made = 0;
  generate_pictures(*maker.loaded.generator, sample_latents(seeds, maker.loaded.card.model.nz), [&](const Image& picture) {
    const fs::path& path = paths[made];
    const std::span<const std::uint64_t> seed = seeds.subspan(made++, 1);
    failures.attempt(path, [&] { write_result(path, encode_png(picture, picture_text(a, model, maker.loaded.hash, seed)), Sync::later); });
    progress.update(static_cast<double>(made), std::ssize(seeds));
  });
  sync_file_system(folder);
  return failures.report(seeds.size());
}

int run_generate(const GenerateArguments& a) {
  const auto backend = open_backend(a.device, a.threads);
  if (!a.from.empty()) return generate_again(a, *backend);
  if (a.model.empty()) throw Error(ExitCode::usage, "generate needs a model: a run, such as last, or a model.safetensors; or --from PICTURE.png");
  const fs::path model = find_model_file(a.model);
  Maker maker{load_generator(*backend, model)};
  const std::string& hash = maker.loaded.hash;
  if (a.interpolate > 0) {
    const std::vector<std::uint64_t> seeds = parse_seeds(a.seeds.empty() ? "0-7" : a.seeds);
    const fs::path out = a.out.empty() ? usual_name(model, "morph.png") : fs::path(a.out);
    if (!is_stream(out) && ending_of(out) != ".gif" && ending_of(out) != ".png") {
      throw Error(ExitCode::usage, "--interpolate writes .png (APNG) or .gif, or - for APNG on standard output");
    }
    require_free(std::span(&out, 1), hash, a.force);
    const auto frames = generate_pictures(*maker.loaded.generator, interpolated_latents(seeds, a.interpolate, maker.loaded.card.model.nz));
    write_result(out, ending_of(out) == ".gif" ? encode_gif(frames, 1000 / a.fps) : encode_apng(frames, 1000 / a.fps));
  } else if (!a.seeds.empty() && a.grid.empty()) {
    const std::vector<std::uint64_t> seeds = parse_seeds(a.seeds);
    const fs::path folder = a.out.empty() ? usual_name(model, "pictures") : fs::path(a.out);
    const bool one_stream = is_stream(folder);
    if (one_stream && seeds.size() > 1) {
      throw Error(ExitCode::usage, fmt::format("{} pictures don't fit into one stream; give a folder instead of --out {}, or a --grid", seeds.size(), printable(a.out)));
    }
    std::error_code absent;
    if (one_stream || (seeds.size() == 1 && is_picture_name(folder) && !fs::is_directory(folder, absent))) {
      require_picture_name(folder);
      require_free(std::span(&folder, 1), hash, a.force);
      write_result(folder, encode_for(folder, maker.pictures(seeds).front(), picture_text(a, model, hash, seeds)));
      return 0;
    }
    make_folder(folder);
    return write_pictures(a, maker, model, seeds, folder);
  } else {
    const Grid grid = parse_grid(a.grid.empty() ? "8x8" : a.grid);
    const std::vector<std::uint64_t> seeds = parse_seeds(a.seeds.empty() ? fmt::format("0-{}", grid.columns * grid.rows - 1) : a.seeds);
    const fs::path out = a.out.empty() ? usual_name(model, "grid.png") : fs::path(a.out);
    require_picture_name(out);
    require_free(std::span(&out, 1), hash, a.force);
    write_result(out, encode_for(out, maker.grid(grid, seeds), picture_text(a, model, hash, seeds, grid)));
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Outcome& outcome) {
  auto a = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand(
      "generate", "Make pictures with a trained model." +
                      examples({"pastiche generate last", "pastiche generate runs/00003-dcgan-art --seeds 0-63 -o pictures",
                                "pastiche generate art.safetensors --grid 8x8 -o grid.png"}));
  command->add_flag("--force", a->force, force_help);
  command->add_flag("--no-metadata", a->no_metadata, no_metadata_help);
  command->add_option("model", a->model, model_help)->option_text("MODEL");
  command->add_option("--seeds", a->seeds, "a picture a seed: 7, 0-63 or 1,5,9-12")->option_text("SEEDS");
  command->add_option("--grid", a->grid, "one picture of COLUMNSxROWS")->option_text("[8x8]");
  CLI::Option* interpolate = command->add_option("--interpolate", a->interpolate, "an animation through the seeds, with this many frames between two")
                                 ->check(CLI::Range(1, 1000));
  command->add_option("--fps", a->fps, "frames a second of the animation")->check(CLI::Range(1, 100))->option_text("[20]")->needs(interpolate);
  command->add_option("-o,--out", a->out, "folder for --seeds; for one picture a file: .png, .jpg or .webp (quality 95 and 96, and no text for --from), or - for PNG on standard output; .png or .gif for an animation; else named after the model")->option_text("PATH");
  command->add_option("--from", a->from, "make this picture again, from what its PNG says of seeds and model; that is found by its SHA-256, "
                                          "in MODEL, which may be a folder of runs, or else in runs")->option_text("PNG")->excludes("--seeds")->excludes("--grid")->excludes(interpolate);
  command->add_option("--device", a->device, device_help)->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_generate(*a); });
}

}  // namespace pastiche::cli
