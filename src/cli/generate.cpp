#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <filesystem>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/seeds.h"
#include "pastiche/checkpoint.h"
#include "pastiche/config.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/train.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

struct GenerateArguments {
  std::string model, seeds, grid, out, from, device = "auto";
  int interpolate = 0, fps = 20, threads = 0;
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

// What --from reads.
PictureText picture_text(const std::string& model, const std::string& hash, const std::string& seeds, const std::string& grid) {
  PictureText made_of{{"Seeds", seeds}};
  if (!grid.empty()) made_of.emplace_back("Grid", grid);
  return origin_text(model, hash, made_of);
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
    if (seeds.size() != static_cast<std::size_t>(grid.columns) * grid.rows) {
      throw Error(ExitCode::usage, fmt::format("--grid {}x{} needs {} seeds, --seeds gives {}", grid.columns, grid.rows,
                                               grid.columns * grid.rows, seeds.size()));
    }
    return tile(pictures(seeds), grid.columns, 2);
  }
};

int generate_again(const GenerateArguments& a, Backend& backend) {
  const PictureText text = read_png_text(read_file(a.from));
  const std::string *model = find(text, "Model"), *hash = find(text, "Model SHA-256"), *seeds = find(text, "Seeds");
  if (model == nullptr || hash == nullptr || seeds == nullptr) {
    throw Error(ExitCode::bad_file, fmt::format("{} does not say which model and seed made it; only pictures of `pastiche generate` do", quote(a.from)));
  }
  Maker maker{load_generator(backend, a.model.empty() ? *model : a.model)};
  if (maker.loaded.hash != *hash) {
    throw Error(ExitCode::bad_file, fmt::format("{} was made by the model {}, {} is {}: give the right model file", quote(a.from),
                                                hash->substr(0, 16), quote(a.model.empty() ? *model : a.model), maker.loaded.hash.substr(0, 16)));
  }
  const std::string* grid = find(text, "Grid");
  const Image picture = grid != nullptr ? maker.grid(parse_grid(*grid), parse_seeds(*seeds)) : maker.pictures(parse_seeds(*seeds)).front();
  write_result(a.out.empty() ? fs::path("again.png") : fs::path(a.out), encode_png(picture, text));
  return 0;
}

int run_generate(const GenerateArguments& a) {
  const auto backend = open_backend(a.device, a.threads);
  if (!a.from.empty()) return generate_again(a, *backend);
  if (a.model.empty()) throw Error(ExitCode::usage, "generate needs a model file, such as a run's model.safetensors; or --from PICTURE.png");
  Maker maker{load_generator(*backend, a.model)};
  const std::string& hash = maker.loaded.hash;
  if (a.interpolate > 0) {
    const std::vector<std::uint64_t> seeds = parse_seeds(a.seeds.empty() ? "0-7" : a.seeds);
    const fs::path out = a.out.empty() ? "morph.png" : a.out;
    const auto frames = generate_pictures(*maker.loaded.generator, interpolated_latents(seeds, a.interpolate, maker.loaded.card.model.nz));
    if (out.extension() != ".gif" && out.extension() != ".png") throw Error(ExitCode::usage, "--interpolate writes .png (APNG) or .gif");
    write_result(out, out.extension() == ".gif" ? encode_gif(frames, 1000 / a.fps) : encode_apng(frames, 1000 / a.fps));
  } else if (!a.seeds.empty() && a.grid.empty()) {
    const std::vector<std::uint64_t> seeds = parse_seeds(a.seeds);
    const fs::path folder = a.out.empty() ? "pictures" : a.out;
    make_folder(folder);
    const std::vector<Image> pictures = maker.pictures(seeds);
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      const std::string seed = std::to_string(seeds[i]);
      write_result(folder / fmt::format("seed{:06}.png", seeds[i]), encode_png(pictures[i], picture_text(a.model, hash, seed, "")));
    }
  } else {
    const std::string form = a.grid.empty() ? "8x8" : a.grid;
    const Grid grid = parse_grid(form);
    const std::string seeds = a.seeds.empty() ? fmt::format("0-{}", grid.columns * grid.rows - 1) : a.seeds;
    write_result(a.out.empty() ? fs::path("grid.png") : fs::path(a.out),
          encode_png(maker.grid(grid, parse_seeds(seeds)), picture_text(a.model, hash, seeds, form)));
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Outcome& outcome) {
  auto a = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand(
      "generate", "Make pictures with a trained model." +
                      examples({"pastiche generate runs/00003-dcgan-art/model.safetensors --seeds 0-63 -o pictures",
                                "pastiche generate runs/00003-dcgan-art/model.safetensors --grid 8x8 -o grid.png"}));
  command->add_option("model", a->model, "model.safetensors of a run")->option_text("MODEL");
  command->add_option("--seeds", a->seeds, "a picture a seed: 7, 0-63 or 1,5,9-12")->option_text("SEEDS");
  command->add_option("--grid", a->grid, "one picture of COLUMNSxROWS")->option_text("[8x8]");
  CLI::Option* interpolate = command->add_option("--interpolate", a->interpolate, "an animation through the seeds, with this many frames between two")
                                 ->check(CLI::Range(1, 1000));
  command->add_option("--fps", a->fps, "frames a second of the animation")->check(CLI::Range(1, 100))->option_text("[20]")->needs(interpolate);
  command->add_option("-o,--out", a->out, "folder for --seeds, else a file: .png, or .gif for an animation")->option_text("PATH");
  command->add_option("--from", a->from, "make this picture again, from what its PNG says of model and seed")->option_text("PNG")->excludes("--seeds")->excludes("--grid");
  command->add_option("--device", a->device, device_help)->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->callback([a, &outcome] { outcome.exit_code = run_generate(*a); });
}

}  // namespace pastiche::cli
