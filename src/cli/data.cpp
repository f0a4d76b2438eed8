#include <fmt/format.h>

#include <map>
#include <optional>

#include "cli/commands.h"
#include "cli/progress.h"
#include "io/json.h"
#include "pastiche/config.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/pairs.h"

namespace pastiche::cli {
namespace {

const std::map<std::string, SourceKind> kinds{
    {"edges", SourceKind::edges}, {"gray", SourceKind::gray}, {"blur", SourceKind::blur}, {"mosaic", SourceKind::mosaic}};

void add_check(CLI::App& data, Outcome& outcome) {
  struct Arguments {
    std::string path;
    bool json = false, all = false;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = data.add_subcommand(
      "check", "Say what a data set holds, what of it can't be used and why, and whether it is one to train on: exit code 0, else 3." +
                   examples({"pastiche data check my-pictures", "pastiche data check my-pictures --all"}));
  command->add_option("path", a->path, "folder or zip of pictures, or IDX file")->required()->option_text("PATH");
  command->add_flag("--all", a->all, "list every file that can't be used, and every duplicate");
  command->add_flag("--json", a->json, "the same as one JSON object");
  command->callback([a, &outcome] {
    std::optional<WorkProgress> progress(std::in_place, "data check");
    const DatasetReport report = check_dataset(a->path, {.observer = progress->observer()});
    progress.reset();
    fmt::print("{}", a->json ? to_json(report) + "\n" : a->all ? to_long_text(report) : to_text(report));
    if (!report.can_be_trained_on()) outcome.exit_code = static_cast<int>(ExitCode::bad_data);
  });
}

struct PairsArguments {
  std::string path, out, make, size = "auto";
  bool json = false;
};

void run_pairs(const PairsArguments& a) {
  if (a.out == "-") throw Error(ExitCode::usage, "--out -: expected a folder, for pairs are many files");
  const ImageSize size = parse_size(a.size);
  std::optional<WorkProgress> progress(std::in_place, "data pairs");
  const MadePairs made = make_pairs(a.path, a.out, kinds.at(a.make), size.height, size.width, progress->observer());
  progress.reset();
  if (a.json) {
    nlohmann::ordered_json json{{"path", a.path}, {"out", a.out}, {"make", a.make}, {"size", to_text(size)}, {"pairs", made.pairs}};
    json["left_out"] = made.left_out;
    for (const auto& [file, name] : made.renamed) json["renamed"].push_back({{"file", file}, {"name", name}});
    json["skipped"] = nlohmann::ordered_json::array();
    for (const SkippedFile& file : made.skipped) json["skipped"].push_back({{"file", file.file}, {"reason", file.reason}});
    fmt::print("{}\n", json_text(json, 2));
    return;
  }
  fmt::print("{0}: {1} pairs, {2} in A/ and the originals in B/\n", quote(a.out), made.pairs, a.make);
  if (!made.left_out.empty()) fmt::print("left out: {}\n", left_out_text(made.left_out));
  for (const auto& [file, name] : made.renamed) fmt::print("{} is there as {}\n", quote(file), quote(name));
  if (!made.skipped.empty()) fmt::print("skipped:\n");
  for (const SkippedFile& file : made.skipped) fmt::print("  {}: {}\n", quote(file.file), printable(file.reason));
}

void add_pairs(CLI::App& data) {
  auto a = std::make_shared<PairsArguments>();
  CLI::App* command = data.add_subcommand(
      "pairs", "Make a paired set of one folder: OUT/B holds the pictures, over white, and OUT/A what was made of each." +
                   examples({"pastiche data pairs my-pictures -o sketches --make edges --size 64",
                             "pastiche data pairs my-pictures -o gray --make gray"}));
  command->add_option("path", a->path, "folder or zip of pictures, or IDX file")->required()->option_text("PATH");
  command->add_option("-o,--out", a->out, "new or empty folder")->required()->option_text("OUT");
  command->add_option("--make", a->make, "edges (black lines on white), gray, blur or mosaic")->required()
      ->check(CLI::IsMember(kinds))->option_text("KIND");
  command->add_option("--size", a->size, "crop and resize to a side or WIDTHxHEIGHT; auto: each keeps its own")->option_text("[auto]");
  command->add_flag("--json", a->json, "one JSON object");
  command->callback([a] { run_pairs(*a); });
}

}  // namespace

void add_data(CLI::App& app, Outcome& outcome) {
  CLI::App* data = app.add_subcommand("data", "Look after data sets." + examples({"pastiche data check my-pictures",
                                                                                  "pastiche data pairs my-pictures -o sketches --make edges"}));
  data->require_subcommand(1);
  add_check(*data, outcome);
  add_pairs(*data);
}

}  // namespace pastiche::cli
