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

struct TrainArguments {
  TrainConfig config;                 // what several methods have
  std::vector<TrainConfig> each;      // of each method, for what it alone has
  std::string config_file, resume, folder;
  bool plan = false, other_bits = false;
  std::set<std::string> given;  // of the options
};

// A flag, and what its help is made of.
struct Flag {
  std::string name;
  OptionGroup group;
  std::string help;
  CLI::Option* option;
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

// An option, as a flag of the same name.
struct AddFlag {
  CLI::App& app;
  std::vector<Flag>& flags;

  template <class T>
  void operator()(const Option& described, T& member) const {
    const std::string name = described.name, flag = "--" + name;
    if (name == "model" || std::ranges::count(flags, name, &Flag::name) > 0) return;  // a word of its own, or of another method, too
    CLI::Option* option = nullptr;
    if constexpr (std::is_same_v<T, bool>) {
      option = app.add_flag(flag, member);
    } else if constexpr (std::is_same_v<T, ImageSize>) {
      option = app.add_option_function<std::string>(flag, [&member, flag](const std::string& text) {
        try {
          member = parse_size(text);
        } catch (const Error& e) {
          throw Error(e.code(), flag + " " + e.what());
        }
      });
    } else {
      option = app.add_option(flag, member);
      if (flag == "--kernel") option->join(',');  // one an op
      // Numbers are checked here so that the message names the flag; texts by validate(), which all roads pass.
      if constexpr (!std::is_same_v<T, std::string>) {
        const auto check = [&](const auto* rule) {
          if (rule == nullptr) return;
          option->check(CLI::Validator([rule = *rule, member](std::string& text) -> std::string {
            T value{};
            if (!CLI::detail::lexical_cast(text, value) || !rule.accepts(value)) return fmt::format("'{}' is not {}", text, expectation(member, rule));
            return {};
          }, ""));
        };
        check(dynamic_cast<const option::Range*>(&described.rule));
        check(dynamic_cast<const option::Channels*>(&described.rule));
      }
    }
    flags.push_back({name, described.group, described.help, option});
  }
};

// Help shows what this method has, with its defaults; of no method what all have.
void show_options(const std::vector<Flag>& flags, const Method* method) {
  std::map<std::string, std::string> defaults, on;
  const TrainConfig config = default_config(method != nullptr ? method->name() : methods().front()->name());
  visit_options(config, [&](const Option& option, const auto& member) {
    using T = std::remove_cvref_t<decltype(member)>;
    std::string& text = defaults[option.name];
    if constexpr (std::is_same_v<T, bool>) on[option.name] = member ? fmt::format(" (on; --{}=false turns it off)", option.name) : "";
    else if constexpr (std::is_same_v<T, ImageSize>) text = fmt::format("SIZE [{}]", to_text(member));
    else if constexpr (std::is_same_v<T, std::string>) text = member.empty() ? "TEXT" : "[" + member + "]";
    else text = fmt::format("[{}]", member);
  });
  for (const Flag& flag : flags) {
    const bool shown = method != nullptr ? defaults.contains(flag.name) : methods_with_option(flag.name).empty();
    flag.option->group(shown ? heading(flag.group) : hidden_group);
    flag.option->description(flag.help + on[flag.name]);
    if (!defaults[flag.name].empty()) flag.option->option_text(defaults[flag.name]);
  }
}

[[noreturn]] void throw_not_an_option(const std::string& name, const std::string& method) {
  const std::string owners = methods_with_option(name);
  throw Error(ExitCode::usage, fmt::format("--{}: pastiche train {} ...", not_an_option(name, method), owners.substr(0, owners.find_first_of(", "))));
}

// Puts the flags that were given over `config`, whose method must have them.
void overlay(const TrainArguments& arguments, TrainConfig& config) {
  std::map<std::string, const void*> members;
  const auto find = [&](const Option& option, const auto& member) { members.emplace(option.name, &member); };  // the first is the flag's
  visit_shared_options(arguments.config, find);
  for (const TrainConfig& each : arguments.each) visit_own_options(each, find);
  std::set<std::string> names = arguments.given;
  names.erase("model");
  visit_options(config, [&](const Option& option, auto& member) {
    if (names.erase(option.name) > 0) member = *static_cast<const std::remove_reference_t<decltype(member)>*>(members.at(option.name));
  });
  if (!names.empty()) throw_not_an_option(*names.begin(), config.model);
}

// `train my-pictures`, or a method and then pictures, say what --data would.
void take_folder(TrainArguments& arguments) {
  TrainConfig& config = arguments.config;
  std::error_code error;
  if (arguments.given.contains("model") && !is_method(config.model)) {
    if (!arguments.folder.empty()) {
      const std::string near = nearest_name(config.model, method_names());
      throw Error(ExitCode::usage, fmt::format("{} is no method{}; expected one of {}, and then one folder; pictures of the style come with --style",
                                               quote(config.model), near.empty() ? "" : fmt::format(" (did you mean {}?)", near), method_list()));
    }
    if (!fs::exists(config.model, error)) {
      throw Error(ExitCode::usage, fmt::format("{} is neither there, as a folder of pictures, nor a method, which are {}", quote(config.model), method_list()));
    }
    arguments.folder = std::exchange(config.model, TrainConfig().model);
    arguments.given.erase("model");
  }
  if (arguments.folder.empty()) return;
  if (fs::exists(fs::path(arguments.folder) / "config.toml", error)) {
    throw Error(ExitCode::usage, fmt::format("{} is a run, not pictures; `pastiche train --resume {}` goes on with it", quote(arguments.folder),
                                             shell_word(arguments.folder)));
  }
  if (arguments.given.contains("data")) {
    throw Error(ExitCode::usage, fmt::format("{} and --data {}: expected one folder of pictures", quote(arguments.folder), quote(config.data)));
  }
  config.data = arguments.folder;
  arguments.given.insert("data");
}

// The method's defaults, over them what the config file says, and over that the flags.
TrainConfig resolved(const TrainArguments& arguments) {
  const auto overlaid = [&](TrainConfig config) {
    if (!arguments.config_file.empty()) load_config(arguments.config_file, config, {.method = !arguments.given.contains("model")});
    overlay(arguments, config);
    return config;
  };
  const TrainConfig said = overlaid(default_config(arguments.config.model));
  std::error_code error;
  if (said.data.empty() && arguments.given.contains("model") && fs::exists(said.model, error)) {
    throw Error(ExitCode::usage, fmt::format("{} is a method; for the folder of that name write ./{}", said.model, said.model));
  }
  return overlaid(default_config(said.model, said.preset));
}

// A new end takes the place of all that the run had: the first limit stops.
void apply_to_resumed(const TrainArguments& arguments, TrainConfig& config) {
  if (arguments.given.contains("model") && arguments.config.model != config.model) {
    throw Error(ExitCode::usage, fmt::format("this run is of {}; leave out {}", config.model, arguments.config.model));
  }
  const bool new_end = std::ranges::any_of(std::initializer_list<const char*>{"steps", "kimg", "epochs", "time"},
                                           [&](const char* name) { return arguments.given.contains(name); });
  if (new_end) config.steps = 0, config.kimg = 0, config.epochs = 0, config.time.clear();
  overlay(arguments, config);
}

LogFormat log_format(const std::string& name) { return name == "json" ? LogFormat::json : LogFormat::text; }

int run_train(const TrainArguments& arguments) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of the progress that goes away is no reason to stop
  std::unique_ptr<Progress> progress;
  const TrainConfig config = arguments.resume.empty() ? resolved(arguments) : arguments.config;
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

void add_train(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<TrainArguments>();
  const std::string translate = fmt::format("pastiche train {} photos --style paintings --time 30m", recommended_translation_method());
  CLI::App* command = app.add_subcommand("train", "Learn from pictures, into a new run folder." +
                                                      examples({"pastiche train my-pictures --time 30m", translate.c_str(), "pastiche train --resume last"}));
  std::string list = "Methods:\n";
  for (const Method* method : methods()) list += fmt::format("  {:<32}{} ({}).\n", method->name(), method->summary(), method->source());
  command->footer(list + fmt::format("\nWithout a method it is {}. `pastiche train METHOD --help` shows the options of a method.", methods().front()->name()));

  auto flags = std::make_shared<std::vector<Flag>>();
  const auto take_method = [arguments, flags, command](const std::string& name) {
    arguments->config.model = name;
    if (!is_method(name)) return;
    const Method& method = find_method(name);
    const std::string start = fmt::format("pastiche train {} {}", name, method.example_data()), timed = start + " --time 30m", plan = start + " --plan";
    command->description(fmt::format("{} ({}).", method.summary(), method.source()) + examples({timed.c_str(), plan.c_str()}));
    command->footer("");
    show_options(*flags, &method);
  };
  CLI::Option* model = command->add_option_function<std::string>("method", take_method, method_list() + "; the first is meant where none is named")->option_text("[METHOD]");
  command->add_option("folder", arguments->folder, "the pictures, as --data FOLDER")->option_text("[FOLDER]");
  const AddFlag add_flag{*command, *flags};
  visit_shared_options(arguments->config, add_flag);
  for (const Method* method : methods()) arguments->each.push_back(default_config(method->name()));
  for (TrainConfig& each : arguments->each) visit_own_options(each, add_flag);
  show_options(*flags, nullptr);

  CLI::Option* config_file = command->add_option("--config", arguments->config_file, "TOML file of these options; flags go over it");
  CLI::Option* resume = command->add_option("--resume", arguments->resume,
                                            "go on with this run: its folder, its number in `runs`, or last; needs no other flag. --data and --style say where its pictures are now; "
                                            "--steps, --kimg, --epochs or --time gives it a later end")
                            ->excludes(config_file)->option_text("RUN");
  command->add_flag("--other-bits", arguments->other_bits,
                    "resume even where the result will differ from that of a run that never stopped: on another processor, with another number of "
                    "threads or version of a library, or with other settings; run.json records it")->needs(resume);
  command->add_flag("--plan", arguments->plan, "say what this training would take in arithmetic, memory and time, and stop")->excludes(resume);
  command->callback([arguments, flags, model, resume, &outcome] {
    if (model->count() > 0) arguments->given.insert("model");
    for (const Flag& flag : *flags) {
      if (flag.option->count() > 0) arguments->given.insert(flag.name);
    }
    take_folder(*arguments);
    if (resume->count() > 0 && arguments->resume.empty()) throw Error(ExitCode::usage, "--resume is empty: expected a run folder");
    for (const char* name : {"out", "name"}) {
      if (!arguments->resume.empty() && arguments->given.contains(name)) {
        throw Error(ExitCode::usage, fmt::format("--resume goes on in the run's own folder; leave out --{}", name));
      }
    }
    outcome.exit_code = arguments->plan ? print_plan(*arguments) : run_train(*arguments);
  });
}

}  // namespace pastiche::cli
