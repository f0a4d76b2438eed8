#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "cli/bench_options.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

BenchResults parse_results(const std::vector<std::byte>& json, const std::string& name) {
  return parse_bench_json({reinterpret_cast<const char*>(json.data()), json.size()}, name);
}

BenchResults read_results(const fs::path& path) { return parse_results(read_file(path, max_bench_bytes), path.string()); }

// Where tables go: standard output, unless that gets the JSON.
std::FILE* tables_to(const std::string& json) { return !json.empty() && is_stream(json) ? stderr : stdout; }

// "3%" or "3": three hundredths.
double parse_percent(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string_view rest = end;
  if (end == text.c_str() || (rest != "" && rest != "%") || !(value >= 0)) {
    throw Error(ExitCode::usage, fmt::format("--max-regress {} is no percentage such as 3%", quote(text)));
  }
  return value / 100;
}

fs::path bench_program() {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "pastiche-bench";
  if (!fs::exists(program)) {
    throw Error(ExitCode::failed, fmt::format("the program that measures, {}, was not built: tools/run bench builds it, or cmake -S . -B build "
                                              "-DPASTICHE_BENCH=ON && cmake --build build", quote(program.string())));
  }
  return program;
}

// The options that were given, again as arguments, but those that are not for the program.
std::vector<std::string> given_arguments(const CLI::App& command) {
  std::vector<std::string> arguments;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (option->count() == 0 || name == "--json" || name == "--markdown") continue;
    for (const std::string& value : option->results()) {
      if (!option->get_positional()) arguments.push_back(name);
      if (option->get_items_expected_max() > 0) arguments.push_back(value);
    }
  }
  return arguments;
}

// Runs it to its end; its exit code, or 128 + n where signal n ended it. What it prints goes to `output`.
int run_program(const fs::path& program, std::vector<std::string> arguments, int output = STDOUT_FILENO) {
  arguments.insert(arguments.begin(), program.string());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw Error(ExitCode::failed, "no process can be started");
  if (child == 0) {
    dup2(output, STDOUT_FILENO);
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Said before minutes of measuring, not after.
void require_writable(const std::string& file) {
  if (file.empty() || is_stream(file)) return;
  const fs::path folder = fs::absolute(file).parent_path();
  if (!fs::is_directory(folder) || access(folder.c_str(), W_OK) != 0) {
    throw Error(ExitCode::bad_file, fmt::format("{} can't be written: {} is no folder that can be written to", quote(file), quote(folder.string())));
  }
}

// Runs it with a file for its JSON and copies that to `to`, where one is named. The bytes are empty where it wrote none.
int run_program_for_json(std::vector<std::string> arguments, const std::string& to, int output, std::vector<std::byte>& json) {
  const TemporaryFile file(fs::temp_directory_path());
  arguments.insert(arguments.end(), {"--json", file.path().string()});
  const int code = run_program(bench_program(), std::move(arguments), output);
  json = read_file(file.path(), max_bench_bytes);
  if (json.empty() || to.empty()) return code;
  if (is_stream(to)) {
    write_result(to, json);
  } else {
    write_where_named(to, json);
  }
  return code;
}

struct BenchArguments {
  BenchOptions options;
  std::string markdown;
};

int run_bench(const CLI::App& command, const BenchArguments& a) {
  std::vector<std::string> arguments = given_arguments(command);
  if (a.options.dry_run || a.options.profile || a.options.retune) return run_program(bench_program(), std::move(arguments));
  require_writable(a.options.json);
  require_writable(a.markdown);
  std::vector<std::byte> json;
  const int code = run_program_for_json(std::move(arguments), a.options.json, STDOUT_FILENO, json);
  if (json.empty() || code >= 128) return code;
  const std::string tables = bench_tables(parse_results(json, "what pastiche-bench wrote"));
  if (!a.markdown.empty()) write_where_named(a.markdown, tables);
  fmt::print(tables_to(a.options.json), "{}", tables);
  return code;
}

void add_compare(CLI::App& bench, Outcome& outcome) {
  struct Arguments {
    std::string before, after, max_regress = "3%";
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* command = bench.add_subcommand("compare", "Compare two files of `pastiche bench --json`; exit code 8 where a row has regressed." +
                                                          examples({"pastiche bench compare before.json after.json",
                                                                    "pastiche bench compare before.json after.json --max-regress 5%"}));
  command->add_option("before", a->before, "file")->required()->option_text("A.json");
  command->add_option("after", a->after, "file")->required()->option_text("B.json");
  command->add_option("--max-regress", a->max_regress, "how much longer a row may take")->option_text("[3%]");
  command->callback([a, &outcome] {
    const double limit = parse_percent(a->max_regress);
    const Comparison comparison = compare_bench(read_results(a->before), read_results(a->after), limit);
    fmt::print("{}", comparison.text);
    if (comparison.regressions > 0) outcome.exit_code = static_cast<int>(ExitCode::gate_failed);
  });
}

void add_table(CLI::App& bench) {
  auto file = std::make_shared<std::string>();
  CLI::App* command = bench.add_subcommand("table", "Print the Markdown tables of a file of `pastiche bench --json`." +
                                                        examples({"pastiche bench table h100.json", "pastiche bench table h100.json > h100.md"}));
  command->add_option("file", *file, "file")->required()->option_text("FILE.json");
  command->callback([file] { fmt::print("{}", bench_tables(read_results(*file))); });
}

void add_model(CLI::App& bench, Outcome& outcome) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* command = bench.add_subcommand("model", "Say for every launch of a model's training step what bounds it on a GPU, from counts and public "
                                                    "peak rates; modelled, not measured." +
                                                        examples({"pastiche bench model --gpu a100 --model dcgan --size 64",
                                                                  "pastiche bench model --gpu rtx4090 --precision bf16 --json bounds.json"}));
  add_bound_options(*command, *o);
  command->callback([o, command, &outcome] {
    std::vector<std::string> arguments = given_arguments(*command);
    arguments.insert(arguments.begin(), "model");
    if (o->json.empty()) {
      outcome.exit_code = run_program(bench_program(), std::move(arguments));
    } else {
      require_writable(o->json);
      std::vector<std::byte> json;
      outcome.exit_code = run_program_for_json(std::move(arguments), o->json, fileno(tables_to(o->json)), json);
    }
  });
}

}  // namespace

void add_bench(CLI::App& app, Outcome& outcome) {
  auto a = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure kernels and training steps, on a GPU beside cuDNN and cuBLAS." +
                                                      examples({"pastiche bench layers step --json today.json", "pastiche bench step --model dcgan --profile"}));
  add_bench_options(*command, a->options);
  command->add_option("--markdown", a->markdown, "write the tables too")->option_text("FILE");
  command->require_subcommand(0, 1);
  add_compare(*command, outcome);
  add_table(*command);
  add_model(*command, outcome);
  command->callback([a, command, &outcome] {
    if (command->get_subcommands().empty()) outcome.exit_code = run_bench(*command, *a);
  });
}

}  // namespace pastiche::cli
