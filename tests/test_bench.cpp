// `pastiche bench` and `pastiche doctor`. Nothing here is decided by a time that was measured.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "backends/kernel_arguments.h"
#include "backends/traced.h"
#include "check/kernel_check.h"
#include "op_cases.h"
#include "pastiche/files.h"
#include "pastiche/models.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Finished {
  int code;
  std::string out, err;
};

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Bench : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("pastiche-bench-test-" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Finished run(const std::string& arguments) const {
    const std::string command = "cd " + folder_.string() + " && exec timeout 600 " PASTICHE_PROGRAM " " + arguments + " >out 2>err </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text_of(folder_ / "out"), text_of(folder_ / "err")};
  }

  // Times in milliseconds, by row.
  void write(const std::string& file, const std::vector<std::pair<std::string, std::vector<double>>>& rows) const {
    json all{{"context", {{"date", "today"}, {"device cpu", "some processor"}, {"absent vendor", "no NVIDIA GPU"}}}};
    all["benchmarks"] = json::array();
    for (const auto& [name, times] : rows) {
      for (double ms : times) {
        all["benchmarks"].push_back({{"run_name", name + "/manual_time"}, {"run_type", "iteration"}, {"real_time", ms}, {"time_unit", "ms"},
                                     {"flop", 2e9}, {"calls", 3}, {"roofline_seconds", 1e-3}});
      }
      all["benchmarks"].push_back({{"run_name", name + "/manual_time"}, {"run_type", "aggregate"}, {"real_time", 1e9}, {"time_unit", "ms"}});
    }
    write_file_atomically(folder_ / file, all.dump());
  }

  fs::path folder_;
};

const std::string row = "dcgan-64 batch 4/conv2d [4,8,8,64]/f32/cpu/warm", other = "op table/add [7]/f32/cpu/warm";

TEST_F(Bench, CompareFailsBeyondTheLimit) {
  write("a.json", {{row, {10}}, {other, {1}}});
  write("b.json", {{row, {10.5}}, {other, {1}}});
  const Finished f = run("bench compare a.json b.json --max-regress 3%");
  EXPECT_EQ(f.code, 8) << f.err;
  EXPECT_NE(f.out.find("REGRESSED"), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("1 of 2 rows"), std::string::npos) << f.out;
  EXPECT_EQ(run("bench compare a.json b.json --max-regress 6%").code, 0);
  EXPECT_EQ(run("bench compare b.json a.json").code, 0) << "faster is no regression";
  EXPECT_EQ(run("bench compare a.json a.json --max-regress 0").code, 0);
}

TEST_F(Bench, CompareBelievesNoRegressionWithinTheSpread) {
  write("a.json", {{row, {10, 11, 12}}});
  write("b.json", {{row, {11.5, 12.5, 13.5}}});
  const Finished noisy = run("bench compare a.json b.json");
  EXPECT_EQ(noisy.code, 0) << noisy.out;
  EXPECT_NE(noisy.out.find("within the spread"), std::string::npos) << noisy.out;
  write("c.json", {{row, {10, 10.01, 15}}});  // one outlier is no spread
  write("d.json", {{row, {11, 11.01, 11.02}}});
  EXPECT_EQ(run("bench compare c.json d.json").code, 8);
}

TEST_F(Bench, CompareListsWhatOnlyOneHas) {
  write("a.json", {{row, {10}}, {other, {1}}});
  write("b.json", {{row, {10}}, {"step/new/f32/cpu/warm", {1}}});
  const Finished f = run("bench compare a.json b.json");
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.out.find("only before: " + other), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("only after: step/new/f32/cpu/warm"), std::string::npos) << f.out;
}

TEST_F(Bench, CompareFailsWhereARowFailsNow) {
  write("a.json", {{row, {10}}, {other, {1}}});
  json b = json::parse(text_of(folder_ / "a.json"));
  b["benchmarks"][0]["error_occurred"] = true;
  b["benchmarks"][0]["error_message"] = "out of memory";
  write_file_atomically(folder_ / "b.json", b.dump());
  const Finished f = run("bench compare a.json b.json");
  EXPECT_EQ(f.code, 8);
  EXPECT_NE(f.out.find("out of memory"), std::string::npos) << f.out;
}

TEST_F(Bench, WhatIsNoBenchmarkFileIsRefused) {
  write("a.json", {{row, {10}}});
  write("unlike.json", {{other, {10}}});
  write_file_atomically(folder_ / "cut.json", text_of(folder_ / "a.json").substr(0, 100));
  write_file_atomically(folder_ / "foreign.json", R"({"benchmarks": 3})");
  for (const std::string file : {"cut.json", "foreign.json", "absent.json", "unlike.json"}) {
    const Finished f = run("bench compare a.json " + file);
    EXPECT_EQ(f.code, 4) << file;
    EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
  }
  EXPECT_EQ(run("bench compare a.json a.json --max-regress much").code, 2);
}

TEST_F(Bench, TableHasRatesAndNamesWhatIsAbsent) {
  write("a.json", {{row, {2, 4, 3}}, {"dcgan-64 batch 4/conv2d [4,8,8,64]/f32/cpu/cold", {5}}});
  const Finished f = run("bench table a.json");
  EXPECT_EQ(f.code, 0) << f.err;
  // 2 GFLOP in a median of 3 ms, of which the roofline needs 1
  for (const char* words : {"### dcgan-64 batch 4, f32, cpu", "3.00 ms", "2.00 ms", "666.7 GFLOP/s", "33%", "5.00 ms", "absent: no NVIDIA GPU"})
    EXPECT_NE(f.out.find(words), std::string::npos) << words << "\n" << f.out;
}

TEST_F(Bench, TableSetsTheVendorBesideOurs) {
  const std::string name = "dcgan-64 batch 64/conv2d [64,8,8,64]/f32/";
  write("a.json", {{name + "cuda/warm", {2}}, {name + "cudnn/warm", {3}}, {name + "cudnn-tf32/warm", {1}}});
  const Finished f = run("bench table a.json");
  const std::string line = f.out.substr(f.out.find("| conv2d"), f.out.find('\n', f.out.find("| conv2d")) - f.out.find("| conv2d"));
  for (const char* words : {"2.00 ms", "3.00 ms", "1.50", "1.00 ms", "0.50"}) EXPECT_NE(line.find(words), std::string::npos) << words << "\n" << f.out;
  EXPECT_EQ(f.out.find("f32, cudnn"), std::string::npos) << "the vendor is no section of its own";
}

TEST_F(Bench, HelpOpensWithTwoExamples) {
  for (const std::string command : {"bench", "bench compare", "bench table", "bench model"}) {
    const Finished f = run(command + " --help");
    EXPECT_EQ(f.code, 0) << command;
    EXPECT_LT(f.out.find("Examples:"), f.out.find("Usage:")) << command;
  }
}

TEST_F(Bench, SaysHowToBuildWhatMeasures) {
  fs::copy_file(PASTICHE_PROGRAM, folder_ / "pastiche");
  for (const char* arguments : {"bench --dry-run", "bench model"}) {
    const std::string command = "cd " + folder_.string() + " && ./pastiche " + arguments + " >out 2>err </dev/null";
    EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
    EXPECT_NE(text_of(folder_ / "err").find("tools/run bench"), std::string::npos) << text_of(folder_ / "err");
  }
}

// The rest needs the program that measures.
class BenchProgram : public Bench {
 protected:
  void SetUp() override {
    Bench::SetUp();
    if (!fs::exists(fs::path(PASTICHE_PROGRAM).parent_path() / "pastiche-bench")) GTEST_SKIP() << "pastiche-bench was not built";
  }
};

TEST_F(BenchProgram, DryRunListsTheOpTableAndEveryModelsLaunches) {
  const Finished f = run("bench --device cpu --dry-run --precision f32,bf16");
  ASSERT_EQ(f.code, 0) << f.err;
  std::set<std::string> ops;
  for (const OpCase& each : op_cases()) ops.insert(each.op);
  for (const char* launches_nothing : {"reshape", "flatten"}) ops.erase(launches_nothing);
  for (const std::string& op : ops) EXPECT_NE(f.out.find("op table/" + op + " "), std::string::npos) << op;
  for (const std::string& model : model_names()) {
    const std::string group = "\n" + model + "-28 batch 4/";
    for (const char* kernel : {"conv2d ", "conv2d_dgrad ", "conv2d_wgrad ", "gemm ", "adam_ema ", "step/", "generate/"}) {
      EXPECT_NE(f.out.find(group + kernel), std::string::npos) << model << " " << kernel;
    }
  }
  for (const char* name : {"dcgan-28 batch 4/norm_act_grad ", "article-28 batch 4/norm_act_grad ", "dcgan-64 batch 4/step/bf16/cpu/warm",
                           "dcgan-128 batch 4/conv2d [4,32,32,512] [4,32,32,256] [128,5,5,256] upsample 2 inner/f32/cpu/cold"})
    EXPECT_NE(f.out.find(name), std::string::npos) << name;
}

std::set<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::set<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

TEST_F(BenchProgram, DryRunListsWhatIsThenMeasured) {
  const std::string tiny = "bench --device cpu --model dcgan --size 12 --ngf 2 --ndf 2 --batch 2 --filter 'conv2d|upsample|step|generate' ";
  const Finished measured = run(tiny + "--min-time 0 --repetitions 1 --threads 1 --json a.json");
  ASSERT_EQ(measured.code, 0) << measured.err;
  std::set<std::string> names;
  const json all = json::parse(text_of(folder_ / "a.json"));
  for (const json& each : all.at("benchmarks")) names.insert(each.at("run_name"));
  EXPECT_EQ(lines_of(run(tiny + "--dry-run").out), names);
  EXPECT_GT(names.size(), 50u);
}

// With or without one, in a build for it or not: the rows of any device of ours, and cuDNN's beside them where this build has it.
TEST_F(BenchProgram, DryRunListsTheRowsOfAGpu) {
  std::set<std::string> ours, expected = lines_of(run("bench --device simt --batch 64 --precision f32,bf16 --dry-run").out);
  const Finished f = run("bench --device cuda --precision f32,bf16 --dry-run");
  ASSERT_EQ(f.code, 0) << f.err;
  for (const std::string& line : lines_of(f.out)) {
    const std::size_t at = line.find("/cuda/");
    if (at != line.npos) ours.insert(line.substr(0, at) + "/simt/" + line.substr(at + 6));
    else EXPECT_NE(line.find("/cudnn"), line.npos) << line;
  }
  EXPECT_EQ(ours, expected);
}

// ---- the bound model -------------------------------------------------------------------------------------------------

// The rows that `bench layers` measures, each with all bounds, of which the largest is named.
TEST_F(BenchProgram, ModelBoundsEveryLaunchOfDcgan) {
  const std::map<std::string, double> tensor_peak{{"bf16", 312e12}, {"tf32", 156e12}};
  for (const std::string precisions : {"f32,bf16", "tf32"}) {
    const Finished f = run("bench model --gpu a100 --model dcgan --json a.json --precision " + precisions);
    ASSERT_EQ(f.code, 0) << f.err;
    for (const std::string size : {"28", "64", "128"}) {
      EXPECT_NE(f.out.find("dcgan-" + size + " batch 64, " + precisions.substr(precisions.find(',') + 1) + ", A100"), std::string::npos) << size;
    }
    std::set<std::string> names, measured;
    std::map<std::string, int> on_tensor_cores;
    int multiplying = 0;
    const json all = json::parse(text_of(folder_ / "a.json"));
    for (const json& row : all.at("rows")) {
      const std::string name = row.at("name"), kernel = row.at("kernel"), limit = row.at("limit");
      const std::string precision = name.substr(name.rfind('/') + 1);
      names.insert(name);
      EXPECT_EQ(row.at("what"), "modelled, not measured");
      const bool mma = kernel.find("_mma_") != kernel.npos;
      const std::map<std::string, double> seconds{{mma ? "tensor" : "FMA", row.at("multiply_seconds")}, {"issue", row.at("issue_seconds")},
                                                  {"shared", row.at("shared_seconds")}, {"L2", row.at("l2_seconds")},
                                                  {"DRAM", row.at("dram_seconds")}};
      for (const auto& [resource, s] : seconds) EXPECT_LE(s, seconds.at(limit)) << name << " " << resource;
      EXPECT_GT(seconds.at("DRAM"), 0) << name;
      const double flop = row.at("flop"), peak = mma ? tensor_peak.at(precision) : 19.5e12;
      if (flop > 0) {
        ++multiplying;
        on_tensor_cores[precision] += mma;
        EXPECT_GE(row.at("multiply_seconds").get<double>(), 0.99 * flop / peak) << name << " does all that it has to";
      }
    }
    EXPECT_GT(multiplying, precisions == "tf32" ? 50 : 100);
    EXPECT_EQ(on_tensor_cores["f32"], 0);
    EXPECT_GT(on_tensor_cores[precisions == "tf32" ? "tf32" : "bf16"], 20);
    for (const std::string& line : lines_of(run("bench layers --device simt --batch 64 --model dcgan --dry-run --precision " + precisions).out)) {
      measured.insert(line.substr(0, line.find("/simt/")));
    }
    EXPECT_EQ(names, measured);
  }
}

TEST_F(BenchProgram, ModelSaysOnEveryLineThatNothingWasMeasured) {
  for (const std::string gpu : {"a100", "a6000", "rtx3090", "rtx4090", "l40s", "h100", "h200"}) {
    const Finished f = run("bench model --model article --precision bf16 --gpu " + gpu);
    ASSERT_EQ(f.code, 0) << f.err;
    int figures = 0;
    for (const std::string& line : lines_of(f.out)) {
      const bool of_kernel = line.starts_with("  ") && line.find("limit") == line.npos;
      if (!of_kernel && !line.starts_with("The bounds of a step") && !line.starts_with("article-")) continue;
      ++figures;
      EXPECT_NE(line.find("modelled, not measured"), line.npos) << line;
      EXPECT_LE(line.size(), 120u) << line;
    }
    EXPECT_GT(figures, 20) << f.out;
    EXPECT_NE(f.out.find("Checked against "), std::string::npos) << f.out;
  }
  EXPECT_EQ(run("bench model --gpu voodoo2").code, 2);
  const std::string copy = "cd " + folder_.string() + " && cp " PASTICHE_PROGRAM "-bench . && strip pastiche-bench && ./pastiche-bench model "
                           "2>err";
  EXPECT_NE(std::system(copy.c_str()), 0);
  EXPECT_NE(text_of(folder_ / "err").find("stripped of the symbols"), std::string::npos);
  EXPECT_EQ(run("bench model --precision f16").code, 2);
}

// A bound is one: nobody was faster. How far above it they were is what the README states.
TEST_F(BenchProgram, ModelIsCheckedAgainstPublishedKernels) {
  const Finished f = run("bench model --published");
  ASSERT_EQ(f.code, 0) << f.err;
  int kernels = 0;
  for (const std::string& line : lines_of(f.out)) {
    const std::size_t at = line.find(", modelled, not measured | ");
    if (at == line.npos) continue;
    ++kernels;
    const double ratio = std::stod(line.substr(at + 27));
    EXPECT_GE(ratio, 1) << line;
    EXPECT_LE(ratio, 2.75) << line;
  }
  EXPECT_EQ(kernels, 16);
  EXPECT_NE(f.out.find("16 published kernels"), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("1.06 to 2.71 times"), std::string::npos) << f.out;
  EXPECT_NE(f.out.find("Of 35 pairs that the bounds tell apart by more than 2%, 34 were"), std::string::npos) << f.out;
}

TEST_F(BenchProgram, MeasuresWritesJsonAndTables) {
  const std::string tiny = "bench layers step generate --device cpu --model dcgan --size 12 --ngf 2 --ndf 2 --batch 2 --min-time 0 --repetitions 2 "
                           "--threads 1 --filter 'conv2d |step|generate' ";
  const Finished f = run(tiny + "--json a.json --markdown a.md");
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(f.out, text_of(folder_ / "a.md"));
  for (const char* words : {"### dcgan-12 batch 2, f32, cpu", "| conv2d [2,", "| generate ", "pictures/s", "cuDNN and cuBLAS are absent: "})
    EXPECT_NE(f.out.find(words), std::string::npos) << words << "\n" << f.out;
  EXPECT_EQ(run("bench table a.json").out, f.out);
  EXPECT_EQ(run("bench compare a.json a.json").code, 0);
  for (const std::string& command : {tiny, std::string("bench model --model article ")}) {
    const Finished streamed = run(command + "--json -");
    ASSERT_EQ(streamed.code, 0) << streamed.err;
    EXPECT_TRUE(json::accept(streamed.out)) << streamed.out;
    EXPECT_NE(streamed.err.find("conv2d"), std::string::npos) << streamed.err;
    EXPECT_FALSE(fs::exists(folder_ / "-"));
  }
}

TEST_F(BenchProgram, MeasuresTranslationsByName) {
  for (const std::string model : {"pix2pix", "cyclegan", "cut"}) {
    const Finished f = run("bench step generate --device cpu --model " + model + " --size 16 --ngf 2 --ndf 2 --batch 2 --min-time 0 --repetitions 1 --threads 1");
    ASSERT_EQ(f.code, 0) << f.err;
    EXPECT_NE(f.out.find("### " + model + "-16 batch 2, f32, cpu"), std::string::npos) << f.out;
    for (const char* words : {"| step ", "| generate "}) EXPECT_NE(f.out.find(words), std::string::npos) << words << "\n" << f.out;
  }
}

TEST_F(BenchProgram, StepIsAlternatingOrJoint) {
  EXPECT_NE(run("bench step --device cpu --model dcgan --size 28 --dry-run").out.find("dcgan-28 batch 4/step"), std::string::npos);
  EXPECT_NE(run("bench step --device cpu --model dcgan --size 28 --step joint --dry-run").out.find("dcgan-28 batch 4 joint/step"), std::string::npos);
}

TEST_F(BenchProgram, MeasuresARung) {
  const std::string step = "bench step --model dcgan --size 12 --ngf 2 --ndf 2 --batch 2 --min-time 0 --repetitions 1 ";
  const Finished f = run(step + "--device simt --kernel conv2d=0 --kernel gemm=3");
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.out.find("conv2d=0,gemm=3"), std::string::npos) << f.out;
  EXPECT_NE(run(step + "--device simt --kernel conv2d=3 --profile").out.find(", conv2d=3: "), std::string::npos);
  for (const char* wrong : {"--device simt --kernel conv2d=6", "--device cpu --kernel conv2d=0", "--device simt --kernel gemm=5",
                            "--device simt --kernel gemm=0 --precision f32,bf16"}) {
    const Finished refused = run(step + wrong);
    EXPECT_EQ(refused.code, 2) << wrong << refused.err;
    EXPECT_NE(refused.err.find("--kernel"), std::string::npos) << refused.err;
  }
}

TEST_F(BenchProgram, MeasuresInTf32) {
  const std::string step = "bench step --model dcgan --size 12 --ngf 2 --ndf 2 --batch 2 --min-time 0 --repetitions 1 ";
  const Finished f = run(step + "--device simt --precision tf32");
  ASSERT_EQ(f.code, 0) << f.err;
  for (const char* words : {"### dcgan-12 batch 2, tf32, simt", "sm_80, TF32"}) EXPECT_NE(f.out.find(words), std::string::npos) << f.out;
  EXPECT_NE(run(step + "--device simt --precision tf32 --profile").out.find(", TF32: "), std::string::npos);
  for (const char* wrong : {"--device simt --precision tf32,bf16", "--device cpu --precision tf32"}) {
    const Finished refused = run(step + wrong);
    EXPECT_EQ(refused.code, 2) << wrong << refused.err;
    EXPECT_NE(refused.err.find("tf32"), std::string::npos) << refused.err;
  }
}

TEST_F(BenchProgram, ProfilesAStepByKernel) {
  const Finished f = run("bench step --device cpu --model dcgan --size 12 --ngf 2 --ndf 2 --batch 2 --threads 1 --profile");
  ASSERT_EQ(f.code, 0) << f.err;
  for (const char* words : {"dcgan-12 batch 2, f32, cpu", "| conv2d_wgrad [", "| adam_ema ", "between kernels", "Neither convolution nor GEMM: "})
    EXPECT_NE(f.out.find(words), std::string::npos) << words << "\n" << f.out;
}

TEST_F(BenchProgram, RetuneWritesNumbersAndNothingElse) {
  EXPECT_EQ(run("bench --retune").code, 4) << "there are no sources here";
  const fs::path rules = "src/backends/cpu/conv_rules.h";
  fs::create_directories(folder_ / rules.parent_path());
  fs::copy_file(fs::path(PASTICHE_TEST_DIR).parent_path() / rules, folder_ / rules);
  const auto without_numbers = [&] {
    std::istringstream lines(text_of(folder_ / rules));
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("// Measured on ")) continue;
      for (const char c : line) {
        if (std::isdigit(static_cast<unsigned char>(c)) == 0) kept += c;
        else if (kept.empty() || kept.back() != '0') kept += '0';  // a number of any length
      }
      kept += '\n';
    }
    return kept;
  };
  const std::string before = without_numbers();
  const Finished f = run("bench --retune --threads 1 --repetitions 1");
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(without_numbers(), before);
  EXPECT_NE(text_of(folder_ / rules).find(", 1 threads.\n"), std::string::npos);
  for (const char* way : {"f32 stride 2 dgrad ", "bf16 wgrad ", "bf16 scattered "}) EXPECT_NE(f.out.find(way), std::string::npos) << f.out;
}

TEST_F(BenchProgram, SaysWhatIsWrongWithItsArguments) {
  EXPECT_EQ(run("bench --device warp --dry-run").code, 5);
  EXPECT_EQ(run("bench --filter 'no such row' --min-time 0 --model article --size 4").code, 2);
  EXPECT_EQ(run("bench --size 0 --dry-run").code, 2);
  EXPECT_EQ(run("bench --json /absent/folder/a.json").code, 4);
}

// ---- doctor ----------------------------------------------------------------------------------------------------------

std::vector<std::string> failing(const std::vector<KernelCheck>& checks) {
  std::vector<std::string> names;
  for (const KernelCheck& check : checks) {
    if (!check.ok()) names.push_back(check.kernel);
  }
  return names;
}

using KernelsSeen = std::set<std::pair<std::string, DType>>;  // bf16 where any of a kernel's tensors is, else f32

// Writes down what is launched, and in which dtype.
class SeeingBackend final : public TracedBackend {
 private:
  auto see(const char* kernel) {
    return [this, kernel](auto&... arguments) {
      std::tuple<decltype(own(arguments))...> all{own(arguments)...};
      DType dtype = DType::f32;
      for_each_tensor_of(all, [&](Tensor& x) { dtype = x.dtype() == DType::bf16 ? DType::bf16 : dtype; });
      seen.insert({kernel, dtype});
    };
  }

 public:
  SeeingBackend() : TracedBackend(make_backend("cpu", 2)) {}
  ~SeeingBackend() override { release_pool(); }

#define PASTICHE_KERNEL(name, parameters, arguments) \
  void name parameters override {                    \
    see(#name) arguments;                            \
    TracedBackend::name arguments;                   \
  }
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL

  KernelsSeen seen;
};

// What the rows of the op table launch, with their gradients; large ones launch nothing else.
KernelsSeen kernels_of_the_table() {
  SeeingBackend backend;
  for (const OpCase& row : op_cases()) {
    std::int64_t elements = 0;
    for (const Input& input : row.inputs) elements += input.shape.elements();
    if (elements > 5'000) continue;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && !row.bf16) continue;
      Tape tape;
      const Recording recording(&tape);
      std::vector<Var> inputs;
      for (std::size_t i = 0; i < row.inputs.size(); ++i) inputs.push_back(tape.leaf(make_input(backend, row, i, dtype, Fill::reals)));
      const Outputs y = row.run({backend, dtype, inputs});
      if (row.differentiable) grad(y[0], inputs, {.cotangent = make_random(backend, y[0].shape(), y[0].dtype(), Fill::reals, 1)});
    }
  }
  return backend.seen;
}

// Every kernel of kernels.def, in every dtype that the op table has it in.
TEST(Doctor, RunsEveryKernelAndCpuPasses) {
  const std::vector<KernelCheck> checks = check_kernels(make_backend("cpu", 2));
  EXPECT_EQ(failing(checks), std::vector<std::string>());
  KernelsSeen checked;
  for (const KernelCheck& check : checks) checked.insert({check.kernel, check.dtype});
  const KernelsSeen table = kernels_of_the_table();
  for (const auto& [kernel, dtype] : table) EXPECT_TRUE(checked.contains({kernel, dtype})) << kernel << " in " << dtype_name(dtype);
  static constexpr const char* kernels[] = {
#define PASTICHE_KERNEL(name, parameters, arguments) #name,
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL
  };
  for (const char* kernel : kernels) {
    EXPECT_TRUE(checked.contains({kernel, DType::f32}) || checked.contains({kernel, DType::bf16})) << kernel;
    EXPECT_TRUE(table.contains({kernel, DType::f32}) || table.contains({kernel, DType::bf16})) << kernel << " is in no row";
  }
}

// A backend with one kernel that is wrong by a little, one that writes to its input, one that is wrong in one element, and one that makes
// no number.
class WrongBackend final : public TracedBackend {
 public:
  WrongBackend() : TracedBackend(make_backend("reference")) {}
  ~WrongBackend() override { release_pool(); }

  void affine(Tensor& y, const Tensor& x, const Affine& p) override {
    TracedBackend::affine(y, x, {.scale = 1.0001 * p.scale, .shift = p.shift});
  }
  void upsample(Tensor& y, const Tensor& x, std::int64_t factor) override {
    TracedBackend::upsample(y, x, factor);
    *static_cast<std::uint16_t*>(const_cast<void*>(x.raw())) ^= 0x5a5a;
  }
  void gemm(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) override {
    TracedBackend::gemm(y, a, b, p);
    if (y.dtype() == DType::f32) y.mutable_data<float>()[y.elements() - 1] += 1;
  }
  void bce_logits(Tensor& loss, const Tensor&, double) override { TracedBackend::fill(loss, std::numeric_limits<double>::quiet_NaN()); }
};

TEST(Doctor, NamesTheKernelsThatAreWrong) {
  std::set<std::string> names;
  for (const std::string& name : failing(check_kernels(std::make_unique<WrongBackend>()))) names.insert(name);
  EXPECT_EQ(names, (std::set<std::string>{"affine", "upsample", "gemm", "bce_logits"}));
}

TEST_F(Bench, DoctorPrintsATableOfKernels) {
  const Finished f = run("doctor --device cpu");
  EXPECT_EQ(f.code, 0) << f.err;
  for (const char* words : {"device     cuda ", "device     cpu ", "conv2d_wgrad", "find_nonfinite", "every kernel is right"})
    EXPECT_NE(f.out.find(words), std::string::npos) << words << "\n" << f.out;
  EXPECT_EQ(f.out.find("FAILED"), std::string::npos) << f.out;
  EXPECT_EQ(run("doctor --device warp").code, 5);
}

}  // namespace
}  // namespace pastiche
