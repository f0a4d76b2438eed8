#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/runs.h"
#include "methods/method.h"
#include "pastiche/config.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/train.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

// What one place of the command line says: behind `train`, or behind `train METHOD`.
struct Place {
  Place(const Method& method, CLI::App* of) : command(of), config(default_config(method.name())) {}

  CLI::App* command;
  TrainConfig config;
  std::string config_file, resume, folder;
  bool plan = false, other_bits = false;
  std::vector<std::pair<std::string, CLI::Option*>> options;  // of the config
  CLI::Option* resume_option = nullptr;
};

// All of it.
struct TrainArguments {
  TrainConfig config;
  std::string config_file, resume, folder;
  bool plan = false, other_bits = false, method_given = false;
  std::set<std::string> given;  // of the config
};

const char* heading(OptionGroup group) {
  switch (group) {
    case OptionGroup::data: return "Data";
    case OptionGroup::network: return "Network";
    case OptionGroup::loss: return "Loss";
    case OptionGroup::optimizer: return "Optimizer";
    case OptionGroup::length: return "Length";
    case OptionGroup::output: return "Output";
    case OptionGroup::machine: return "Machine";
  }
  return "";
}

// An option of the config, as a flag of the same name. The default in its help is the method's.
struct AddFlag {
  Place& place;
  bool is_common;  // behind `train` without a method: only what all methods have is shown

  template <class T>
  void operator()(const Option& described, T& member) const {
    const std::string name = described.name;
    if (name == "model") return;  // is a command
    CLI::App& app = *place.command;
    const std::string flag = "--" + name;
    CLI::Option* option = nullptr;
    if constexpr (std::is_same_v<T, bool>) {
      option = app.add_flag(flag, member, member ? fmt::format("{} (on; {}=false turns it off)", described.help, flag) : described.help);
    } else if constexpr (std::is_same_v<T, ImageSize>) {
      const auto parse = [&member, flag](const std::string& text) {
        try {
          member = parse_size(text);
        } catch (const Error& e) {
          throw Error(e.code(), flag + " " + e.what());
        }
      };
      option = app.add_option_function<std::string>(flag, parse, described.help);
      option->option_text(fmt::format("SIZE [{}]", to_text(member)));
    } else {
      option = app.add_option(flag, member, described.help);
      if (flag == "--kernel") option->join(',');  // one an op
      if constexpr (std::is_same_v<T, std::string>) option->option_text(member.empty() ? "TEXT" : "[" + member + "]");
      else option->option_text(fmt::format("[{}]", member));
      // Numbers are checked here so that the message names the flag; texts by validate(), which all roads pass.
      if constexpr (!std::is_same_v<T, std::string>) {
        const auto* const range = dynamic_cast<const option::Range*>(&described.rule);
        const auto check = [&]<class Rule>(const Rule& rule) {
          option->check(CLI::Validator([rule, member](std::string& text) -> std::string {
            T value{};
            if (!CLI::detail::lexical_cast(text, value) || !rule.accepts(value)) return fmt::format("'{}' is not {}", text, expectation(member, rule));
            return {};
          }, ""));
        };
        range != nullptr ? check(*range) : check(option::Channels());
      }
    }
    const bool common = methods_with_option(name).empty();
    option->group(common || !is_common ? heading(described.group) : "");
    place.options.emplace_back(name, option);
  }
};

[[noreturn]] void throw_not_an_option(const std::string& name, const std::string& method) {
  const std::string owners = methods_with_option(name);
  throw Error(ExitCode::usage, fmt::format("--{} is an option of {}, and this is {}: pastiche train {} ...", name, owners, method,
                                           owners.substr(0, owners.find_first_of(", "))));
}

// Puts the options `names` of `from` over `config`, whose method must have them.
void overlay(const TrainConfig& from, std::set<std::string> names, TrainConfig& config) {
  std::map<std::string, const void*> members;
  const auto find = [&](const Option& option, const auto& member) { members[option.name] = &member; };
  visit_shared_options(from, find);
  visit_own_options(from, find);
  visit_options(config, [&](const Option& option, auto& member) {
    if (names.erase(option.name) > 0) member = *static_cast<const std::remove_reference_t<decltype(member)>*>(members.at(option.name));
  });
  if (!names.empty()) throw_not_an_option(*names.begin(), config.model);
}

// `train FOLDER` says what --data would.
void take_folder(TrainArguments& arguments) {
  std::error_code error;
  if (arguments.folder.empty()) return;
  if (!arguments.method_given && !fs::exists(arguments.folder, error)) {
    throw Error(ExitCode::usage, fmt::format("{} is neither there, as a folder of pictures, nor a method, which are {}", quote(arguments.folder),
                                             method_list()));
  }
  if (fs::exists(fs::path(arguments.folder) / "config.toml", error)) {
    throw Error(ExitCode::usage, fmt::format("{} is a run, not pictures; `pastiche train --resume {}` goes on with it", quote(arguments.folder),
                                             shell_word(arguments.folder)));
  }
  if (arguments.given.contains("data")) {
    throw Error(ExitCode::usage, fmt::format("{} and --data {}: expected one folder of pictures", quote(arguments.folder), quote(arguments.config.data)));
  }
  arguments.config.data = arguments.folder;
  arguments.given.insert("data");
}

// What both places say. An option may stand before the method, too.
TrainArguments merged(const Place& train, const Place* of_method) {
  TrainArguments all;
  const Place& last = of_method != nullptr ? *of_method : train;
  all.config = last.config;
  all.method_given = of_method != nullptr;
  for (const Place* place : {&train, of_method}) {
    if (place == nullptr) continue;
    std::set<std::string> given;
    for (const auto& [name, option] : place->options) {
      if (option->count() > 0) given.insert(name);
    }
    if (place != &last) overlay(place->config, given, all.config);
    all.given.merge(given);
    const auto take = [](std::string& to, const std::string& from) {
      if (!to.empty() && !from.empty()) throw Error(ExitCode::usage, fmt::format("{} and {}: expected one", quote(to), quote(from)));
      if (to.empty()) to = from;
    };
    take(all.config_file, place->config_file);
    take(all.resume, place->resume);
    take(all.folder, place->folder);
    if (place->resume_option->count() > 0 && place->resume.empty()) throw Error(ExitCode::usage, "--resume is empty: expected a run folder");
    all.plan = all.plan || place->plan;
    all.other_bits = all.other_bits || place->other_bits;
  }
  take_folder(all);
  return all;
}

// The method's defaults, over them what the config file says, and over that the flags.
TrainConfig resolved(const TrainArguments& arguments) {
  const auto overlaid = [&](TrainConfig config) {
    if (!arguments.config_file.empty()) load_config(arguments.config_file, config, {.method = !arguments.method_given});
    overlay(arguments.config, arguments.given, config);
    return config;
  };
  const TrainConfig said = overlaid(default_config(arguments.config.model));
  return overlaid(default_config(said.model, said.preset));
}

// A new end takes the place of all that the run had: the first limit stops.
void apply_to_resumed(const TrainArguments& arguments, TrainConfig& config) {
  const bool new_end = std::ranges::any_of(std::initializer_list<const char*>{"steps", "kimg", "epochs", "time"},
                                           [&](const char* name) { return arguments.given.contains(name); });
  if (new_end) config.steps = 0, config.kimg = 0, config.epochs = 0, config.time.clear();
  overlay(arguments.config, arguments.given, config);
}

LogFormat log_format(const std::string& name) { return name == "json" ? LogFormat::json : LogFormat::text; }

int run_train(const TrainArguments& arguments) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of the progress that goes away is no reason to stop
  std::unique_ptr<Progress> progress;
  const TrainConfig config = arguments.resume.empty() ? resolved(arguments) : TrainConfig();
  if (is_picture_file(config.style)) {
    throw Error(ExitCode::bad_data, fmt::format("--style {} is one picture, and a training wants a folder of them; `pastiche paint {} --painting {} -o OUT` paints photos in its manner",
                                                quote(config.style), config.data.empty() ? "PHOTOS" : shell_word(config.data), shell_word(config.style)));
  }
  std::string log_format_name = config.log_format;
  const RunEvents events{
      .started =
          [&](const std::filesystem::path& folder, const std::string& title) {
            progress = std::make_unique<Progress>(log_format(log_format_name), title);
            progress->note("run folder " + folder.string());
          },
      .stepped =
          [&](const RunEvents::Progress& p) {
            progress->update({.step = p.stats.step, .kimg = p.kimg, .fraction = p.fraction, .images_per_second = p.images_per_second,
                              .ms = p.ms, .loss_g = p.stats.loss_g, .loss_d = p.stats.loss_d, .d_real = p.stats.d_real,
                              .d_fake = p.stats.d_fake, .loss_content = p.stats.loss_content, .eta_seconds = p.eta_seconds});
          },
      .note = [&](const std::string& text) { progress->note(text); }};
  const RunResult result =
      arguments.resume.empty() ? train(config, events)
                               : resume_training(find_run(arguments.resume), events,
                                                 {.change =
                                      [&](TrainConfig& c) {
                                        apply_to_resumed(arguments, c);
                                        log_format_name = c.log_format;
                                      },
                                  .other_bits = arguments.other_bits});
  progress->finish();
  const auto at = [&](const std::string& name) { return printable((result.folder / name).string()); };
  if (result.signal != 0) {
    progress->note(fmt::format("stopped at step {} with everything saved; go on with:\n  pastiche train --resume {}", result.step,
                               shell_word(result.folder.string())));
    return 128 + result.signal;
  }
  fmt::print("grid    {}\nmodel   {}\nreport  {}\n", at(fmt::format("samples/{:06}.png", result.step)), at("model.safetensors"),
             at("report.html"));
  return 0;
}

std::string flop_text(double flop) {
  return flop < 1e9 ? fmt::format("{:.1f} MFLOP", flop / 1e6) : fmt::format("{:.2f} GFLOP", flop / 1e9);
}

std::string duration_text(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  return seconds < 5400 ? fmt::format("{:.0f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

int print_plan(const TrainArguments& arguments) {
  const TrainingPlan plan = plan_training(resolved(arguments));
  const TrainConfig& c = plan.config;
  fmt::print("{} {}, {} pictures of {}x{}x{}, batch {}, {}, on {}\n", c.model, plan.data, plan.pictures, c.size.width, c.size.height,
             c.channels, c.batch, c.precision, plan.backend);
  for (const std::string& note : plan.notes) fmt::print("{}\n", note);
  fmt::print("\n");
  fmt::print("arithmetic      {} a picture in a training step, {} to generate one\n", flop_text(plan.flop_per_picture),
             flop_text(plan.flop_to_generate));
  fmt::print("time            {:.3g} ms a step, {:.0f} pictures a second", 1e3 * plan.seconds_per_step, c.batch / plan.seconds_per_step);
  if (plan.steps > 0) {
    fmt::print("; {} for {} steps", duration_text(static_cast<double>(plan.steps) * plan.seconds_per_step), plan.steps);
  }
  if (!c.time.empty()) fmt::print("; {:.0f} steps in {}", parse_duration(c.time) / plan.seconds_per_step, c.time);
  fmt::print("\ncheckpoints     {} each, of which the newest {} are kept\n", bytes_text(plan.checkpoint_bytes), c.keep);
  fmt::print("largest batch   {}\n", plan.largest_batch > 0 ? std::to_string(plan.largest_batch) : "none fits: use a smaller --size, --ngf or --ndf");
  fmt::print("peak memory     {}, of {} that are available\n", bytes_text(plan.peak_bytes), bytes_text(plan.available_bytes));
  for (const auto& [what, bytes] : plan.memory) fmt::print("  {:<36}{:>12}\n", what, bytes_text(bytes));
  return 0;
}

}  // namespace

std::string why_not_here(const std::string& word) {
  if (!word.starts_with("-")) return fmt::format("{} is one folder too many: expected one folder of pictures, or a method and then one folder; pictures of a style come with --style", quote(word));
  const std::string name = word.starts_with("--") ? word.substr(2, word.find('=') - 2) : "";
  const std::string owners = methods_with_option(name);
  return owners.empty() ? "" : fmt::format("--{} is an option of {}", name, owners);
}

void add_train(CLI::App& app, Outcome& outcome) {
  auto places = std::make_shared<std::vector<Place>>();
  places->reserve(methods().size() + 1);
  const auto add_place = [&](const Method& method, CLI::App* command, bool is_common) {
    Place& place = places->emplace_back(method, command);
    command->add_option("folder", place.folder, "the pictures, as --data FOLDER")->option_text("[FOLDER]");
    const AddFlag add_flag{place, is_common};
    if (is_common) visit_shared_options(place.config, add_flag), visit_own_options(place.config, add_flag);
    else visit_options(place.config, add_flag);
    CLI::Option* config_file = command->add_option("--config", place.config_file, "TOML file of these options; flags go over it");
    place.resume_option = command->add_option("--resume", place.resume,
                                              "go on with this run: its folder, its number in `runs`, or last; needs no other flag. --data and --style say where its pictures are now; "
                                              "--steps, --kimg, --epochs or --time gives it a later end")
                              ->excludes(config_file)->option_text("RUN");
    command->add_flag("--other-bits", place.other_bits,
                      "resume even where the result will differ from that of a run that never stopped: on another processor, with another number of "
                      "threads or version of a library, or with other settings; run.json records it")->needs(place.resume_option);
    command->add_flag("--plan", place.plan, "say what this training would take in arithmetic, memory and time, and stop")->excludes(place.resume_option);
  };
  const std::string translate = fmt::format("pastiche train {} photos --style paintings --time 30m", recommended_translation_method());
  CLI::App* train = app.add_subcommand("train", "Learn from pictures, into a new run folder." +
                                                    examples({"pastiche train my-pictures --time 30m", translate.c_str(), "pastiche train --resume last"}));
  train->require_subcommand(0, 1);
  train->footer(fmt::format("Without a method it is {}. `pastiche train METHOD --help` shows the options of a method.", methods().front()->name()));
  add_place(*methods().front(), train, true);
  for (const Method* method : methods()) {
    const std::string start = fmt::format("pastiche train {} {}", method->name(), method->example_data()), timed = start + " --time 30m", plan = start + " --plan";
    CLI::App* command = train->add_subcommand(method->name(), fmt::format("{} ({}).", method->summary(), method->source()) +
                                                                  examples({timed.c_str(), plan.c_str()}));
    add_place(*method, command, false);
  }
  train->callback([places, &outcome] {
    const Place* of_method = nullptr;
    for (const Place& place : std::span(*places).subspan(1)) {
      if (place.command->parsed()) of_method = &place;
    }
    const TrainArguments arguments = merged(places->front(), of_method);
    for (const char* name : {"out", "name"}) {
      if (!arguments.resume.empty() && arguments.given.contains(name)) {
        throw Error(ExitCode::usage, fmt::format("--resume goes on in the run's own folder; leave out --{}", name));
      }
    }
    outcome.exit_code = arguments.plan ? print_plan(arguments) : run_train(arguments);
  });
}

}  // namespace pastiche::cli
