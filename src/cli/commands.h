#pragma once
// One file a command: each adds its subcommand and what it runs. CLI11 is included here and in those files only.
#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche::cli {

// Set by the command that ran; what the process exits with.
struct Outcome {
  int exit_code = 0;
};

void add_train(CLI::App& app, Outcome& outcome);
void add_runs(CLI::App& app, Outcome& outcome);
void add_generate(CLI::App& app, Outcome& outcome);
void add_paint(CLI::App& app, Outcome& outcome);
void add_stylize(CLI::App& app, Outcome& outcome);
void add_inspect(CLI::App& app, Outcome& outcome);
void add_data(CLI::App& app, Outcome& outcome);
void add_doctor(CLI::App& app, Outcome& outcome);
void add_bench(CLI::App& app, Outcome& outcome);
void add_eval(CLI::App& app, Outcome& outcome);

// The command as it could be typed again, for run.json and for the pictures' text.
const std::string& command_line();

// Of options that help does not show.
constexpr const char* hidden_group = "hidden";

constexpr const char* device_help =
    "auto, cpu, cuda, simt (the CUDA kernels on the processor), ptx (what nvcc made of them, likewise) or reference";
// The backend that --device asks for. Where `auto` has to settle for less, train says why; what takes seconds just does.
std::unique_ptr<Backend> open_backend(const std::string& device, int threads);

// "pastiche train ..." lines that open a command's help.
std::string examples(std::initializer_list<const char*> lines);

}  // namespace pastiche::cli
