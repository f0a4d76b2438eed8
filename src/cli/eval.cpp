#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/runs.h"
#include "io/json.h"
#include "pastiche/checkpoint.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/metrics.h"
#include "pastiche/streams.h"
#include "pastiche/train.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

struct EvalArguments {
  std::string pictures, data, device = "auto";
  std::int64_t count = 1024;
  std::uint64_t seed = 0;
  int threads = 0;
  bool json = false;
};

struct Drawn {
  std::vector<Image> pictures;
  std::size_t unusable;  // files of the set, with those that broke since it was opened
};

// At most `count` pictures of the set, drawn without repetition: the same for the same seed.
Drawn draw(const Dataset& data, std::int64_t count, std::uint64_t seed, const std::function<void(std::size_t)>& progress) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(data.size()));
  std::iota(order.begin(), order.end(), 0);
  Drawn drawn{.pictures = {}, .unusable = data.skipped().size()};
  for (std::int64_t i = 0; i < data.size() && std::ssize(drawn.pictures) < count; ++i) {
    const Philox4 words = philox4x32({seed, streams::eval_pictures}, 0, static_cast<std::uint64_t>(i));
    std::swap(order[i], order[i + words.word[0] % static_cast<std::uint64_t>(data.size() - i)]);
    try {
      drawn.pictures.push_back(data.picture(order[i]));
      progress(drawn.pictures.size());
    } catch (const Error& error) {
      if (error.code() != ExitCode::bad_data) throw;
      ++drawn.unusable;
    }
  }
  return drawn;
}

void tell_left_out(const std::string& path, const Dataset& data, std::size_t unusable) {
  if (unusable > 0) {
    tell(fmt::format("{} files in {} can't be used and are left out; `pastiche data check {}` lists them", unusable, quote(path), shell_word(path)));
  }
  if (!data.left_out().empty()) tell(fmt::format("left out of {}: {}", quote(path), left_out_text(data.left_out())));
}

int run_eval(const EvalArguments& a) {
  std::error_code error;
  const bool is_folder = fs::is_directory(a.pictures, error);
  const bool is_model = is_folder ? fs::exists(fs::path(a.pictures) / "model.safetensors", error)
                                  : ending_of(a.pictures) == ".safetensors" || !fs::exists(a.pictures, error);
  const auto backend = open_backend(a.device, a.threads);
  LoadedGenerator model;
  DataOptions shape;
  if (is_model) {
    model = load_generator(*backend, find_model_file(a.pictures));
    const ModelConfig& config = model.card.model;
    shape = {.height = static_cast<int>(config.height), .width = static_cast<int>(config.width), .channels = static_cast<int>(config.channels)};
  }
  const auto data = open_dataset(a.data, shape);
  std::optional<WorkProgress> shown(std::in_place, "eval: pictures");
  WorkProgress& progress = *shown;
  const std::int64_t total = 2 * std::min(a.count, data->size());
  const auto tell_progress = [&](std::size_t before) { return [&progress, before, total](std::size_t drawn) { progress.update(static_cast<double>(before + drawn), total); }; };
  Drawn real = draw(*data, a.count, a.seed, tell_progress(0));
  tell_left_out(a.data, *data, real.unusable);
  std::size_t skipped = real.unusable;
  std::vector<Image> made;
  if (is_model) {
    std::vector<std::uint64_t> seeds(real.pictures.size());
    std::iota(seeds.begin(), seeds.end(), a.seed * 1'000'003);
    generate_pictures(*model.generator, sample_latents(seeds, model.card.model.nz), [&](Image picture) {
      made.push_back(std::move(picture));
      progress.update(static_cast<double>(real.pictures.size() + made.size()), total);
    });
  } else {
    const auto pictures = open_dataset(a.pictures, {.height = data->height(), .width = data->width(), .channels = data->channels()});
    Drawn drawn = draw(*pictures, std::ssize(real.pictures), a.seed + 1, tell_progress(real.pictures.size()));
    tell_left_out(a.pictures, *pictures, drawn.unusable);
    skipped += drawn.unusable;
    made = std::move(drawn.pictures);
    real.pictures.resize(made.size());
  }
  const std::size_t count = made.size();
  if (count == 0) throw Error(ExitCode::bad_data, "none of the pictures can be read; bring them back");
  shown.emplace("eval: distances");
  const SwdResult result = sliced_wasserstein(made, real.pictures, {.seed = a.seed, .observer = shown->observer()});
  shown.reset();
  if (a.json) {
    fmt::print("{}\n", json_text(nlohmann::ordered_json{{"metric", "swd"}, {"swd", result.mean}, {"levels", result.levels}, {"pictures", count}, {"skipped", skipped},
                                              {"height", data->height()}, {"width", data->width()}, {"channels", data->channels()},
                                              {"seed", a.seed}, {"data", data->name()}, {"data_fingerprint", data->fingerprint()}}));
  } else {
    fmt::print("swd {:.2f}  (levels {:.2f}; {} pictures of {}x{}x{} against {}, seed {}; lower is nearer)\n", result.mean,
               fmt::join(result.levels, " "), count, data->width(), data->height(), data->channels(), data->name(), a.seed);
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Outcome& outcome) {
  auto a = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand(
      "eval", "Sliced Wasserstein distance of a model's or a folder's pictures to a data set." +
                  examples({"pastiche eval last --data my-pictures",
                            "pastiche eval pictures --data my-pictures --count 500 --json"}));
  command->add_option("pictures", a->pictures, "a run or its model.safetensors; or a folder of pictures")->required()->option_text("MODEL|FOLDER");
  command->add_option("--data", a->data, "data set to compare with")->required()->option_text("PATH");
  command->add_option("--count", a->count, "pictures of each side; fewer where there are fewer")->check(CLI::Range(1, 1'000'000))->option_text("[1024]");
  command->add_option("--seed", a->seed, "of latents, patches and projections")->option_text("[0]");
  command->add_option("--device", a->device, device_help)->option_text("[auto]");
  command->add_option("--threads", a->threads, "threads of the CPU backend; 0: one a core")->check(CLI::Range(0, 4096));
  command->add_flag("--json", a->json, "one JSON object");
  command->callback([a, &outcome] { outcome.exit_code = run_eval(*a); });
}

}  // namespace pastiche::cli
