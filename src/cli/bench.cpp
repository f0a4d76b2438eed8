#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/bench_options.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

BenchResults read_results(const fs::path& path) {
  const std::vector<std::byte> bytes = read_file(path, max_bench_bytes);
  return parse_bench_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

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

// Runs it to its end; its exit code, or 128 + n where signal n ended it.
int run_program(const fs::path& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program.string());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) throw Error(ExitCode::failed, "no process can be started");
  if (child == 0) {
    execv(program.c_str(), argv.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// A file of its own for what the program writes, gone with the scope.
class TemporaryFile {
 public:
  TemporaryFile() : path_((fs::temp_directory_path() / "pastiche-bench-XXXXXX").string()) {
    const int fd = mkstemp(path_.data());
    if (fd < 0) throw Error(ExitCode::bad_file, fmt::format("no file can be made in {}", quote(fs::temp_directory_path().string())));
    close(fd);
  }
  ~TemporaryFile() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Said before minutes of measuring, not after.
void require_writable(const std::string& file) {
  if (file.empty()) return;
  const fs::path folder = fs::absolute(file).parent_path();
  if (!fs::is_directory(folder) || access(folder.c_str(), W_OK) != 0) {
    throw Error(ExitCode::bad_file, fmt::format("{} can't be written: {} is no folder that can be written to", quote(file), quote(folder.string())));
  }
}

struct BenchArguments {
  BenchOptions options;
  std::string markdown;
};

int run_bench(const CLI::App& command, const BenchArguments& a) {
  const fs::path program = bench_program();
  std::vector<std::string> arguments = given_arguments(command);
  if (a.options.dry_run || a.options.profile || a.options.retune) return run_program(program, std::move(arguments));
  require_writable(a.options.json);
  require_writable(a.markdown);
  const TemporaryFile json;
  arguments.insert(arguments.end(), {"--json", json.path()});
  const int code = run_program(program, std::move(arguments));
  if (fs::file_size(json.path()) == 0) return code;
  if (!a.options.json.empty()) write_where_named(a.options.json, read_file(json.path()));
  if (code >= 128) return code;
  const std::string tables = bench_tables(read_results(json.path()));
  if (!a.markdown.empty()) write_where_named(a.markdown, tables);
  fmt::print("{}", tables);
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
    if (!o->json.empty()) arguments.insert(arguments.end(), {"--json", o->json});
    outcome.exit_code = run_program(bench_program(), std::move(arguments));
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
