#pragma once
// What `pastiche bench` can be told: it checks these and passes them on to the program that measures, which reads them again.
#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "methods/method.h"

namespace pastiche::cli {

struct BenchOptions {
  std::vector<std::string> what;  // of ops, layers, step; empty: all
  std::string device = "auto";    // names between commas
  std::string filter;
  std::string model, size = "auto";
  int ngf = 64, ndf = 64;
  int batch = 0;  // 0: the device's own
  std::string step = "alternating", precision = "f32", kernel;
  int threads = 0;
  double min_time = 0.001;
  int repetitions = 3;
  std::string json;
  bool dry_run = false, profile = false, retune = false;
  std::string gpu = "h100";  // of the bound model
  bool published = false;
};

// The words between commas.
inline std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> words;
  for (const std::string& word : CLI::detail::split(text, ',')) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

// Which models, how large, in which precision.
inline void add_model_options(CLI::App& app, BenchOptions& o) {
  const auto each_is = [](std::vector<std::string> names) {
    return CLI::Validator([names](std::string& text) -> std::string {
      for (const std::string& word : split_list(text)) {
        if (std::find(names.begin(), names.end(), word) == names.end()) return "'" + word + "' is none of " + CLI::detail::join(names, ", ");
      }
      return split_list(text).empty() ? "expected one of " + CLI::detail::join(names, ", ") : "";
    }, "");
  };
  app.add_option("--model", o.model, "this method alone: " + method_list() + "; those that translate are measured only where they are named")
      ->option_text("METHOD")->check(CLI::IsMember(method_names()));
  app.add_option("--size", o.size, "of the models' pictures; auto: from 28 to 128, of those that translate 64 and 256")->option_text("[auto]");
  app.add_option("--ngf", o.ngf, "of methods that have it")->option_text("[64]")->check(CLI::Range(1, 4096));
  app.add_option("--ndf", o.ndf, "of methods that have it")->option_text("[64]")->check(CLI::Range(1, 4096));
  app.add_option("--batch", o.batch, "of the models; 64 on a GPU and 4 elsewhere where it is not given")->option_text("N")->check(CLI::Range(1, 65536));
  app.add_option("--step", o.step, "of methods that make new pictures: alternating or joint, as in train")->option_text("[alternating]")
      ->check(CLI::IsMember({"alternating", "joint"}));
  app.add_option("--precision", o.precision, "f32, bf16, or both with a comma; or tf32, as in train")->option_text("[f32]")
      ->check(each_is({"f32", "bf16", "tf32"}));
}

inline void add_bench_options(CLI::App& app, BenchOptions& o) {
  app.add_option("what", o.what, "ops: the op table; layers: every launch of the models' training steps; step: the steps; generate: a batch of pictures made, or translated; all "
                                "where none is named")
      ->check(CLI::IsMember({"ops", "layers", "step", "generate"}))->option_text("ops|layers|step|generate ...");
  app.add_option("--device", o.device, "auto, cuda, cpu, simt, ptx, reference, or several between commas; cuda brings cuDNN's columns along")
      ->option_text("[auto]");
  app.add_option("--filter", o.filter, "only rows whose name (--dry-run lists them) matches this regular expression")->option_text("REGEX");
  add_model_options(app, o);
  app.add_option("--kernel", o.kernel, "the highest rung of the ladder of CUDA kernels to take, as in train; of ours, not of cuDNN's")
      ->join(',')->option_text("OP=RUNG");
  app.add_option("--threads", o.threads, "threads of the CPU; 0: one a core")->check(CLI::Range(0, 4096));
  app.add_option("--min-time", o.min_time, "seconds that a row is repeated for, at least, for one measurement")
      ->option_text("[0.001]")->check(CLI::Range(0.0, 3600.0));
  app.add_option("--repetitions", o.repetitions, "measurements of a row")->option_text("[3]")->check(CLI::Range(1, 1000));
  app.add_option("--json", o.json, "write Google Benchmark's JSON")->option_text("FILE");
  app.add_flag("--dry-run", o.dry_run, "list what would be measured");
  app.add_flag("--profile", o.profile, "of each model's step: a table by convolution and by kernel");
  app.add_flag("--retune", o.retune, "measure which way the cpu computes a convolution fastest, and write it into the sources' conv_rules.h");
}

inline void add_bound_options(CLI::App& app, BenchOptions& o) {
  app.add_option("--gpu", o.gpu, "a100, a6000, rtx3090, rtx4090, l40s, h100 or h200")->option_text("[h100]");
  add_model_options(app, o);
  app.add_option("--json", o.json, "write the rows as JSON")->option_text("FILE");
  app.add_flag("--published", o.published, "instead, the published kernels that the model was checked against, and how far it was off");
}

}  // namespace pastiche::cli
