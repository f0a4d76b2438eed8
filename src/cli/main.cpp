#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <new>
#include <string_view>
#include <system_error>

#include "cli/commands.h"
#include "cli/output.h"
#include "core/system.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

std::string typed_command;

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(sub->get_name());
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The command whose arguments could not be understood: the innermost one that was named.
const CLI::App& deepest(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : deepest(*parsed.back());
}

// Of the commands below one, the first sentence says enough; their own help has the rest.
class Help : public CLI::Formatter {
  std::string make_group(std::string group, bool is_positional, std::vector<const CLI::Option*> options) const override {
    return group == hidden_group ? "" : CLI::Formatter::make_group(std::move(group), is_positional, std::move(options));
  }
  std::string make_subcommand(const CLI::App* command) const override {
    const std::string text = command->get_description();
    const std::size_t sentence = text.find(". "), line = text.find('\n');
    return fmt::format("  {:<{}}{}\n", command->get_display_name(true), get_column_width() - 2, text.substr(0, std::min(sentence, line - 1) + 1));
  }
};

int usage_error(const CLI::App& app, const CLI::ParseError& error) {
  std::string message = error.what();
  const CLI::App& at = deepest(app);
  const std::vector<std::string> extras = at.remaining().empty() ? app.remaining(true) : at.remaining();
  if (!extras.empty()) {  // a word that nothing took: more to the point than what is missing because of it
    const std::string& word = extras.front();
    const std::string near = nearest_name(word.substr(0, word.find('=')), names_of(at));
    message = fmt::format("unknown argument {}{}", quote(word), near.empty() ? "" : fmt::format("; did you mean {}?", near));
  }
  std::string command = at.get_name();
  for (const CLI::App* parent = at.get_parent(); parent != nullptr; parent = parent->get_parent()) command = parent->get_name() + " " + command;
  tell(fmt::format("pastiche: {}; see `{} --help`", printable(message), command));
  return static_cast<int>(ExitCode::usage);
}

// "~/x" as a shell would have it, where the shell left it alone: within quotes, in --out=~/x, or where a program called us.
std::string with_home(const std::string& word) {
  const char* home = std::getenv("HOME");
  if (home == nullptr) return word;
  const std::size_t equals = word.find('=');
  const std::size_t at = word.starts_with("--") && equals != word.npos ? equals + 1 : word.starts_with("-o~/") ? 2 : 0;
  return std::string_view(word).substr(at).starts_with("~/") ? word.substr(0, at) + home + word.substr(at + 1) : word;
}

// What is opened must never be descriptor 0, 1 or 2 by chance: messages would go into it. A result must not get lost in a standard output
// that was closed, so what stands in for that takes no writing, but for a training, whose results are files.
void open_standard_descriptors(bool trains) {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) < 0) ::open("/dev/null", fd == STDOUT_FILENO && !trains ? O_RDONLY : O_RDWR);  // takes the lowest that is free
  }
}

int run(int argc, char** argv) {
  open_standard_descriptors(argc > 1 && std::string_view(argv[1]) == "train");
  for (int i = 0; i < argc; ++i) typed_command += (i == 0 ? "pastiche" : " " + shell_argument(argv[i]));
  CLI::App app{"pastiche: a GAN engine. Learns from a folder of pictures and makes new ones in their style; paints a photo in the manner of a painting.\n" +
               examples({"pastiche train my-pictures --time 30m", "pastiche generate last --grid 8x8 -o grid.png",
                         "pastiche paint photo.jpg --painting painting.jpg -o painted.png"})};
  app.set_version_flag("--version", std::string("pastiche ") + PASTICHE_VERSION);
  app.name("pastiche");
  app.require_subcommand(1);
  app.formatter(std::make_shared<Help>());
  app.get_formatter()->column_width(34);
  Outcome outcome;
  add_train(app, outcome);
  add_runs(app, outcome);
  add_generate(app, outcome);
  add_paint(app, outcome);
  add_stylize(app, outcome);
  add_inspect(app, outcome);
  add_data(app, outcome);
  add_eval(app, outcome);
  add_doctor(app, outcome);
  add_bench(app, outcome);
  try {
    std::vector<std::string> words;  // CLI11 takes them last first
    for (int i = argc - 1; i > 0; --i) words.push_back(with_home(argv[i]));
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    return usage_error(app, error);
  }
  return outcome.exit_code;
}

bool computes(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  for (const char* word : {"--help", "-h"}) {
    if (std::find(argv, argv + argc, std::string_view(word)) != argv + argc) return false;
  }
  return !command.starts_with('-') && command != "inspect" && command != "data" && command != "runs" && !command.empty();
}

// By default OpenMP's idle threads spin for milliseconds: beside other busy programs they take the core from the very thread that they
// wait for, and a step takes fifty times as long. How long they spin is read from the environment before main() begins, so the program
// starts itself again. Where that can't be, it goes on as it is.
void spin_less(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  if (getauxval(AT_BASE) == 0) return;  // run as an argument of the dynamic loader, which /proc/self/exe is then
  if (setenv("GOMP_SPINCOUNT", "10000", 1) != 0) return;
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length > 0) {
    path[length] = 0;
    execv(path, argv);  // which keeps the name that lists of processes show
  }
  execv("/proc/self/exe", argv);  // the file has been replaced or removed
}

}  // namespace

const std::string& command_line() { return typed_command; }

std::unique_ptr<Backend> open_backend(const std::string& device, int threads) {
  return make_backend(choose_device(device).name, threads);
}

std::string examples(std::initializer_list<const char*> lines) {
  std::string text = "\nExamples:\n";
  for (const char* line : lines) text += fmt::format("  {}\n", line);
  return text;
}

}  // namespace pastiche::cli

namespace {

// Whatever the command said: a result that standard output did not take is none. `code` else.
int flushed(int code) {
  const bool written = std::fflush(stdout) == 0;
  if (written && std::ferror(stdout) == 0) return code;
  std::fprintf(stderr, "pastiche: can't write to standard output%s%s; what was to stand there is lost\n", written ? "" : ": ",
               written ? "" : std::strerror(errno));
  return static_cast<int>(pastiche::ExitCode::bad_file);
}

int guarded(int argc, char** argv) {
  using pastiche::ExitCode;
  const auto fail = [](ExitCode code, const char* what) {
    std::string text;
    try {
      text = pastiche::printable(what);
    } catch (const std::bad_alloc&) {  // then as it is
    }
    // A write that failed says so once, by flushed().
    if (std::ferror(stdout) == 0) std::fprintf(stderr, "pastiche: %s\n", text.empty() ? what : text.c_str());
    return static_cast<int>(code);
  };
  try {
    return pastiche::cli::run(argc, argv);
  } catch (const pastiche::Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::out_of_memory, "out of memory; try a smaller --batch, --size or picture");
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(ExitCode::bad_file, error.what());
  } catch (const std::system_error& error) {
    const bool no_thread = error.code() == std::errc::resource_unavailable_try_again;
    return no_thread ? fail(ExitCode::out_of_memory, "a thread could not be started: give the process more memory, processes or threads "
                                                     "(ulimit -v, ulimit -u), or use fewer --threads")
                     : fail(ExitCode::failed, error.what());
  } catch (const std::exception& error) {
    return fail(ExitCode::failed, error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::fputs("pastiche: this processor lacks AVX2 or FMA; build from source with -march=native\n", stderr);
    return static_cast<int>(pastiche::ExitCode::device);
  }
#endif
  if (pastiche::cli::computes(argc, argv)) pastiche::cli::spin_less(argv);
  if (pastiche::address_space_is_limited()) mallopt(M_ARENA_MAX, 1);  // each thread's own would reserve 64 MiB
  pastiche::cli::clean_up_on_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // then a file above `ulimit -f` is an error
  const int code = guarded(argc, argv);
  for (const std::string& note : pastiche::take_file_system_notes()) pastiche::cli::tell("note: " + note);
  return flushed(code);
}
