// The program as its users meet it: exit codes, messages of one line, signals, files that are whole or absent.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli.h"
#include "pastiche/checkpoint.h"
#include "pastiche/files.h"
#include "pastiche/image.h"

namespace pastiche {
namespace {

using nlohmann::json;

// One line and exit code 5 where there is no GPU, or no code for one; `auto` takes the CPU.
TEST_F(Cli, AbsentDevices) {
  expect_error("train --device tpu --data " + emoji + small, 5, "this build has no device 'tpu'");
  const Finished cuda = run("train --steps 1 --device cuda --data " + emoji + small);
  if (cuda.code == 0) GTEST_SKIP() << "this machine has a GPU";
  expect_error("train --steps 1 --device cuda --data " + emoji + small, 5, "cuda");
  EXPECT_EQ(run("train --steps 1 --device auto --data " + emoji + small).code, 0);
}

// The CUDA kernels, run by the processor.
TEST_F(Cli, TrainsAndGeneratesOnSimt) {
  ASSERT_EQ(run("train --steps 3 --device simt --out runs --name one --data " + emoji + small).code, 0);
  ASSERT_EQ(run("generate runs/00000-one/model.safetensors --device simt --grid 2x2 -o grid.png").code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "grid.png"));
}

// A rung of the ladder is part of a run: what goes on with it has it, and no other.
TEST_F(Cli, TrainsOnARung) {
  expect_error("train --kernel pool=1 --device simt --data " + emoji + small, 2, "0 naive, 1 shared tile");
  expect_error("train --kernel conv2d=7 --device simt --data " + emoji + small, 2, "5 tensor core");
  expect_error("train --kernel gemm=1 --kernel gemm=2 --device simt --data " + emoji + small, 2, "gemm=RUNG");
  expect_error("train --kernel gemm=1 --device cpu --data " + emoji + small, 2, "cuda, simt or ptx");
  expect_error("train --precision tf32 --device cpu --data " + emoji + small, 2, "cuda, simt or ptx");
  const std::string rungs = " --kernel conv2d=1 --kernel gemm=2 ";
  ASSERT_EQ(run("train --steps 2 --device simt" + rungs + "--data " + emoji + small).code, 0);
  const fs::path config = only_run() / "config.toml";
  EXPECT_NE(text_of(only_run() / "run.json").find(R"("kernel": "conv2d=1,gemm=2")"), std::string::npos);
  ASSERT_EQ(run("train --resume " + only_run().string()).code, 0);
  std::string text = text_of(config);
  text.replace(text.find("conv2d=1"), 8, "conv2d=0");
  write_file_atomically(config, text);
  const Finished f = run("train --resume " + only_run().string());
  EXPECT_EQ(f.code, 5) << f.err;
  EXPECT_NE(f.err.find("conv2d=0,gemm=2"), std::string::npos) << f.err;
}

// The commands are those that the help of the program lists, and theirs.
TEST_F(Cli, HelpOpensWithTwoExamples) {
  std::vector<std::string> commands{""};
  for (std::size_t i = 0; i < commands.size(); ++i) {
    const std::string command = commands[i];
    const Finished f = run(command + " --help");
    EXPECT_EQ(f.code, 0) << command;
    const std::size_t examples = f.out.find("Examples:"), usage = f.out.find("Usage:");
    ASSERT_NE(examples, std::string::npos) << command;
    EXPECT_LT(examples, usage) << command;
    const std::size_t first = f.out.find("  pastiche ", examples);
    EXPECT_LT(f.out.find("  pastiche ", first + 1), usage) << command;

    std::istringstream lines(f.out);
    std::string line;
    while (std::getline(lines, line) && line != "Subcommands:") {
    }
    while (std::getline(lines, line)) {
      if (line.starts_with("  ") && line[2] != ' ') commands.push_back(command + " " + line.substr(2, line.find(' ', 2) - 2));
    }
  }
  for (const char* command : {" train", " bench", " data check"}) EXPECT_EQ(std::count(commands.begin(), commands.end(), command), 1) << command;
}

TEST_F(Cli, UsageErrorsNameTheNearestOption) {
  expect_error("train --bacth 3", 2, "did you mean --batch?");
  expect_error("trian", 2, "did you mean train?");
  expect_error("generate --sead 3", 2, "did you mean --seeds?");
  expect_error("train --batch -1 --data " + emoji, 2, "--batch");
  expect_error("train --batch many --data " + emoji, 2, "--batch");
  expect_error("train dcgna --data " + emoji, 2, "dcgan");
  expect_error("train --size 0 --data " + emoji, 2, "size");
  expect_error("train --size -5 --data " + emoji, 2, "size");
  expect_error("train --size 100000 --data " + emoji, 2, "size");
  expect_error("train --time soon --data " + emoji, 2, "time");
  expect_error("train", 2, "--data");
  expect_error("train --batch 300 --data " + emoji, 2, "257 pictures");
  expect_error("train --device warp --data " + emoji, 5, "reference");
  expect_error("", 2, "subcommand");
}

TEST_F(Cli, ConfigErrorsNameLineAndKey) {
  expect_error("train --config " + write("a.toml", "data = \"x\"\nbacth = 3\n").string(), 3, "batch");
  expect_error("train --config " + write("b.toml", "batch = \"many\"\n").string(), 3, "batch");
  expect_error("train --config absent.toml", 4, "absent.toml");
}

TEST_F(Cli, BadData) {
  fs::create_directories(folder_ / "empty");
  fs::create_directories(folder_ / "texts");
  write("texts/a.txt", "no picture");
  fs::create_directories(folder_ / "broken");
  write("broken/a.png", "\x89PNG\r\n\x1a\n");
  ASSERT_EQ(mkfifo((folder_ / "broken/b.png").c_str(), 0600), 0);
  fs::create_directories(folder_ / "broken/c.png");
  expect_error("train --data absent", 3, "absent");
  expect_error("train --size 16 --data empty", 3, "empty");
  expect_error("train --size 16 --data texts", 3, "texts");
  expect_error("train --size 16 --data broken", 3, "broken");
  expect_error("train --data " + write("lying.idx", std::string("\0\0\x08\x03\0\0\xff\xff\0\0\0\x1c\0\0\0\x1c", 16)).string(), 3, "lying.idx");
  const Finished check = run("data check broken --json");
  EXPECT_EQ(check.code, 3) << check.err;
  EXPECT_EQ(json::parse(check.out)["unusable"].size(), 2u) << check.out;
  EXPECT_EQ(run("data check " + emoji).code, 0);
}

TEST_F(Cli, UnwritablePlaces) {
  write("file", "");
  const Finished f = run("train --steps 1 --data " + emoji + small + "--out file/runs");
  EXPECT_EQ(f.code, 4) << f.err;
  EXPECT_NE(f.err.find("file/runs"), std::string::npos) << f.err;
  // A full disk: no file of this process may grow beyond some kilobytes.
  const std::string command = "cd " + folder_.string() + " && (ulimit -f 64; trap '' XFSZ; exec " PASTICHE_PROGRAM " train --steps 3 --ngf 64 --size 16 "
                              "--batch 8 --threads 2 --data " + emoji + ") >out 2>err";
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 4) << text_of(folder_ / "err");
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "runs")) {
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
    EXPECT_NE(entry.path().extension(), ".safetensors") << "a checkpoint that could not be written whole";
  }
}

TEST_F(Cli, TrainGenerateAndMakeAgain) {
  const Finished f = run("train --steps 4 --data " + emoji + small);
  ASSERT_EQ(f.code, 0) << f.err;
  const fs::path run_folder = only_run();
  EXPECT_EQ(run_folder.filename(), "00000-dcgan-emoji32");
  for (const char* name : {"config.toml", "run.json", "stats.jsonl", "model.safetensors", "report.html", "reals.png", "samples/000000.png",
                           "samples/000004.png", "ckpt/000004.safetensors"}) {
    EXPECT_TRUE(fs::exists(run_folder / name)) << name;
  }
  EXPECT_EQ(json::parse(text_of(run_folder / "run.json"))["status"], "finished");
  std::ifstream stats(run_folder / "stats.jsonl");
  std::string line;
  for (int step = 1; step <= 4; ++step) {
    ASSERT_TRUE(std::getline(stats, line));
    const json j = json::parse(line);
    EXPECT_EQ(j["step"], step);
    for (const char* key : {"kimg", "loss_g", "loss_d", "d_real", "d_fake", "ms"}) EXPECT_TRUE(j[key].is_number()) << key;
  }
  const std::string model = (run_folder / "model.safetensors").string();

  ASSERT_EQ(run("generate " + model + " --seeds 0-2,9 -o pictures").code, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "pictures"), {}), 4);
  const fs::path picture = folder_ / "pictures/seed000009.png";
  const Finished again = run("generate --from pictures/seed000009.png -o again.png");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(read_picture(folder_ / "again.png"), read_picture(picture));
  ASSERT_EQ(run("generate " + model + " --grid 3x2 -o grid.png").code, 0);
  EXPECT_EQ(read_picture(folder_ / "grid.png").width, 3 * 16 + 4 * 2);
  ASSERT_EQ(run("generate --from grid.png -o grid2.png").code, 0);
  EXPECT_EQ(read_picture(folder_ / "grid2.png"), read_picture(folder_ / "grid.png"));
  ASSERT_EQ(run("generate " + model + " --interpolate 3 --seeds 0-2 -o morph.png").code, 0);
  EXPECT_TRUE(probe_picture(read_file(folder_ / "morph.png")).animated);
  ASSERT_EQ(run("generate " + model + " --interpolate 3 --seeds 0-2 -o morph.gif").code, 0);

  const Finished inspected = run("inspect pictures/seed000009.png --json");
  EXPECT_EQ(json::parse(inspected.out)["text"]["Seeds"], "9");
  EXPECT_EQ(json::parse(run("inspect " + model + " --json").out)["metadata"]["pastiche"]["model"]["name"], "dcgan");
  EXPECT_EQ(json::parse(run("inspect " + run_folder.string() + " --json").out)["kind"], "run");
  EXPECT_EQ(run("inspect " + emoji).code, 0);
  EXPECT_EQ(run("inspect " + (run_folder / "ckpt/000004.safetensors").string()).code, 0);

  const Finished rerun = run("train --config " + (run_folder / "config.toml").string() + " --out second");
  ASSERT_EQ(rerun.code, 0) << rerun.err;
  EXPECT_EQ(read_file(only_run("second") / "model.safetensors"), read_file(model));

  const Finished eval = run("eval " + model + " --data " + emoji + " --count 64 --json");
  ASSERT_EQ(eval.code, 0) << eval.err;
  EXPECT_GT(json::parse(eval.out)["swd"], 0);
  EXPECT_EQ(json::parse(eval.out)["pictures"], 64);
}

TEST_F(Cli, BadModelFiles) {
  ASSERT_EQ(run("train --steps 1 --data " + emoji + small + "--out trained").code, 0);
  const fs::path run_folder = only_run("trained");
  const std::vector<std::byte> model = read_file(run_folder / "model.safetensors");
  write_file_atomically(folder_ / "cut.safetensors", std::span(model).first(model.size() / 2));
  expect_error("generate cut.safetensors", 4, "cut.safetensors");
  expect_error("generate absent.safetensors", 4, "absent.safetensors");
  expect_error("generate " + (run_folder / "ckpt/000001.safetensors").string(), 4, "checkpoint");
  SafetensorsFile file = parse_safetensors(model);
  std::fill(file.tensors.front().bytes.begin(), file.tensors.front().bytes.end(), std::byte{0xff});
  write_file_atomically(folder_ / "nan.safetensors", serialize_safetensors(file));
  expect_error("generate nan.safetensors", 4, "NaN");
  file.metadata["pastiche"] = file.metadata["pastiche"].replace(file.metadata["pastiche"].find("dcgan"), 5, "stgan");
  write_file_atomically(folder_ / "other.safetensors", serialize_safetensors(file));
  expect_error("generate other.safetensors", 4, "stgan");
  expect_error("train --resume absent", 4, "absent");
  const fs::path checkpoint = run_folder / "ckpt/000001.safetensors";
  const std::vector<std::byte> whole = read_file(checkpoint);
  write_file_atomically(checkpoint, std::span(whole).first(whole.size() - 10));
  expect_error("train --resume " + run_folder.string(), 4, "000001.safetensors");
}

// Weights so large that activations overflow: the next step finds it, says so, and leaves the last good checkpoint.
TEST_F(Cli, DivergenceStopsWithItsOwnCode) {
  ASSERT_EQ(run("train --steps 4 --snap 2 --data " + emoji + small).code, 0);
  const fs::path checkpoint = only_run() / "ckpt/000002.safetensors";
  fs::remove(only_run() / "ckpt/000004.safetensors");
  SafetensorsFile file = read_safetensors(checkpoint);
  for (SafeTensor& tensor : file.tensors) {
    if (tensor.name != "D.head.weight") continue;
    const float huge = 3e38f;
    for (std::size_t i = 0; i < tensor.bytes.size(); i += sizeof huge) std::memcpy(tensor.bytes.data() + i, &huge, sizeof huge);
  }
  json position = json::parse(file.metadata["pastiche"]);
  position.erase("checksum");
  file.metadata["pastiche"] = position.dump();
  write_file_atomically(checkpoint, serialize_safetensors(file));
  const Finished f = run("train --resume " + only_run().string());
  EXPECT_EQ(f.code, 7) << f.err;
  EXPECT_NE(f.err.find("not finite at step 3"), std::string::npos) << f.err;
  EXPECT_EQ(json::parse(text_of(only_run() / "run.json"))["status"], "diverged");
  EXPECT_EQ(std::distance(fs::directory_iterator(only_run() / "ckpt"), {}), 1);
}

TEST_F(Cli, PlanTellsThePeakOfMemoryAndTrainsNothing) {
  for (const char* precision : {"f32", "bf16"}) {
    const std::string training = "train --data " + emoji + " --size 48 --ngf 24 --ndf 24 --batch 48 --steps 3 --threads 2 --device cpu "
                                 "--precision " + precision;
    const Finished plan = run(training + " --plan");
    ASSERT_EQ(plan.code, 0) << plan.err;
    EXPECT_FALSE(fs::exists(folder_ / "runs"));
    for (const char* words : {"257 pictures of 48x48x3, batch 48", "for 3 steps", "largest batch   257", "activations and gradients"})
      EXPECT_NE(plan.out.find(words), std::string::npos) << words << "\n" << plan.out;
    const Finished trained = run(training);
    ASSERT_EQ(trained.code, 0) << trained.err;
    fs::remove_all(folder_ / "runs");
    const double planned_mib = std::stod(plan.out.substr(plan.out.find("peak memory") + std::strlen("peak memory")));
    EXPECT_NEAR(planned_mib / trained.peak_mib, 1, 0.15) << trained.peak_mib << " MiB\n" << plan.out;
  }
}

TEST_F(Cli, PlanOnEveryDevice) {
  for (const char* device : {"simt", "reference"}) {
    const Finished f = run("train --data " + emoji + small + "--plan --steps 3 --device " + device);
    EXPECT_EQ(f.code, 0) << f.err;
    EXPECT_NE(f.out.find("peak memory "), std::string::npos) << f.out;
  }
  expect_error("train --plan", 2, "--data");
  expect_error("train --plan --resume runs/00000", 2, "excludes");
}

TEST_F(Cli, SignalsSaveAndResumeGivesTheSameBytes) {
  const std::string arguments = "train --steps 60 --data " + emoji + small;
  ASSERT_EQ(run(arguments + "--out whole").code, 0);
  const std::vector<std::byte> whole = read_file(only_run("whole") / "model.safetensors");
  for (const int signal : {SIGINT, SIGTERM}) {
    fs::remove_all(folder_ / "runs");
    ASSERT_EQ(interrupted(arguments, signal), 128 + signal) << text_of(folder_ / "err");
    EXPECT_NE(text_of(folder_ / "err").find("pastiche train --resume"), std::string::npos);
    EXPECT_EQ(json::parse(text_of(only_run() / "run.json"))["status"], "stopped");
    const Finished resumed = run("train --resume " + only_run().string());
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(read_file(only_run() / "model.safetensors"), whole);
  }
}

TEST_F(Cli, KilledOutrightResumesToTheSameBytes) {
  const std::string arguments = "train --steps 60 --snap 2 --data " + emoji + small;
  ASSERT_EQ(run(arguments + "--out whole").code, 0);
  ASSERT_EQ(interrupted(arguments, SIGKILL), -SIGKILL);
  const Finished resumed = run("train --resume " + only_run().string());
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(read_file(only_run() / "model.safetensors"), read_file(only_run("whole") / "model.safetensors"));
}

TEST_F(Cli, TwoTrainingsDoNotShareARunFolder) {
  ASSERT_EQ(run("train --steps 2 --data " + emoji + small).code, 0);
  const RunLock held(only_run());
  const Finished f = run("train --resume " + only_run().string());
  EXPECT_EQ(f.code, 1) << f.err;
  EXPECT_NE(f.err.find(std::to_string(getpid())), std::string::npos) << "names the process that holds it: " << f.err;
}

TEST_F(Cli, ResumeTakesNoOtherSettingsAndRefusesOtherData) {
  fs::create_directories(folder_ / "pictures");
  for (const auto& entry : fs::directory_iterator(emoji)) {
    if (entry.path().extension() == ".png" && entry.path().filename().string() < "emoji_u1f4") fs::copy(entry.path(), folder_ / "pictures");
  }
  ASSERT_EQ(run("train --steps 2 --data pictures" + small).code, 0);
  const std::string folder = only_run().string();
  const Finished with_flag = run("train --batch 4 --resume " + folder);
  EXPECT_EQ(with_flag.code, 2);
  EXPECT_NE(with_flag.err.find("--batch"), std::string::npos) << with_flag.err;
  fs::remove(fs::directory_iterator(folder_ / "pictures")->path());
  const Finished other_data = run("train --resume " + folder);
  EXPECT_EQ(other_data.code, 3) << other_data.err;
}

// A translator as a training leaves it, but for what it has learned.
void write_translator(const fs::path& path, const TranslatorConfig& config) {
  const auto backend = make_backend("cpu", 1);
  const auto network = make_translator(*backend, config, 3);
  const SafetensorsFile file = translator_file(*network, {.network = config, .method = "cut", .step = 7, .data = "art", .data_fingerprint = "f", .seed = 3});
  write_file_atomically(path, serialize_safetensors(file));
}

TEST_F(Cli, Stylizes) {
  write_translator(folder_ / "model.safetensors", {.ngf = 4, .blocks = 1});
  fs::create_directories(folder_ / "in/sub");
  const Image source = convert(read_picture(emoji + "/emoji_u0023_20e3.png"), 3);
  write_file_atomically(folder_ / "in/a.png", encode_png(source));
  write_file_atomically(folder_ / "in/sub/b.jpg", encode_jpeg(resize(source, 20, 45, Filter::box)));
  write("in/broken.png", "no picture");

  ASSERT_EQ(run("stylize model.safetensors in/a.png -o one.png").code, 0);
  EXPECT_EQ(text_of(folder_ / "out"), "one.png\n");
  const PictureText text = read_png_text(read_file(folder_ / "one.png"));
  std::vector<std::string> keys;
  for (const auto& [key, value] : text) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"Software", "Model", "Model SHA-256", "Command"}));
  EXPECT_EQ(text.back().second, "pastiche stylize model.safetensors in/a.png -o one.png");
  const Image one = read_picture(folder_ / "one.png");
  EXPECT_EQ(std::pair(one.height, one.width), std::pair(source.height, source.width));

  const Finished all = run("stylize model.safetensors in -o results --device cpu --precision bf16");
  EXPECT_EQ(all.code, 1) << all.err;
  EXPECT_EQ(all.out, "results/a.png\nresults/sub/b.png\n");
  EXPECT_NE(all.err.find("1 of 3 could not be done:\n  'in/broken.png': no picture of a format that is known"), std::string::npos) << all.err;
  EXPECT_EQ(read_picture(folder_ / "results/sub/b.png").width, 45);

  for (int time = 0; time < 2; ++time) {  // results within the folder are no inputs of the second run
    EXPECT_EQ(run("stylize model.safetensors in -o in/results").out, "in/results/a.png\nin/results/sub/b.png\n");
  }

  ASSERT_EQ(run("stylize model.safetensors in/a.png -o small.jpg --strength 0").code, 0);
  EXPECT_EQ(probe_picture(read_file(folder_ / "small.jpg")).format, PictureFormat::jpeg);
  ASSERT_EQ(run("stylize model.safetensors in/a.png -o same.png --strength 0").code, 0);
  EXPECT_EQ(read_picture(folder_ / "same.png"), source);
  ASSERT_EQ(run("stylize model.safetensors 'in/[a]*.png' -o matched/ --tile 16").code, 0);
  ASSERT_EQ(run("stylize model.safetensors in/a.png -o whole.png --tile 0").code, 0);
  EXPECT_EQ(read_picture(folder_ / "matched/a.png"), read_picture(folder_ / "whole.png"));

  ASSERT_EQ(run("stylize model.safetensors in/sub/b.jpg -o large.png --size 40 --strength 0").code, 0);
  EXPECT_EQ(read_picture(folder_ / "large.png"), resize(read_picture(folder_ / "in/sub/b.jpg"), 40, 90, Filter::lanczos));

  const std::string piped = "cd " + folder_.string() + " && " PASTICHE_PROGRAM " stylize model.safetensors - -o - <in/a.png >piped.png 2>err";
  ASSERT_EQ(std::system(piped.c_str()), 0) << text_of(folder_ / "err");
  EXPECT_EQ(read_picture(folder_ / "piped.png"), one);

  const json inspected = json::parse(run("inspect model.safetensors --json").out);
  EXPECT_EQ(inspected["metadata"]["pastiche"]["kind"], "translator");
  EXPECT_EQ(inspected["metadata"]["pastiche"]["network"]["name"], "resnet");
  EXPECT_EQ(inspected["metadata"]["pastiche"]["training"]["method"], "cut");
  const std::string described = run("inspect model.safetensors").out;
  for (const char* words : {"kind  translator", "name  resnet", "method  cut", "block1.conv2.weight"}) {
    EXPECT_NE(described.find(words), std::string::npos) << words << "\n" << described;
  }
}

TEST_F(Cli, StylizeSaysWhatIsWrong) {
  write_translator(folder_ / "model.safetensors", {.ngf = 4, .blocks = 1});
  write_translator(folder_ / "gray.safetensors", {.channels = 1, .ngf = 4, .blocks = 0});
  fs::create_directories(folder_ / "in");
  fs::create_directories(folder_ / "empty");
  const Image source = convert(read_picture(emoji + "/emoji_u0023_20e3.png"), 3);
  write_file_atomically(folder_ / "in/a.png", encode_png(source));
  write_file_atomically(folder_ / "in/a.jpg", encode_jpeg(source));
  write("broken.png", "no picture");
  expect_error("stylize model.safetensors in/a.png", 2, "--out");
  expect_error("stylize model.safetensors -o x.png", 2, "inputs");
  expect_error("stylize model.safetensors absent.png -o x.png", 4, "absent.png");
  expect_error("stylize model.safetensors 'in/*.tif' -o x", 4, "in/*.tif");
  expect_error("stylize model.safetensors broken.png -o x.png", 4, "broken.png");
  expect_error("stylize model.safetensors empty -o x", 3, "empty");
  expect_error("stylize absent.safetensors in/a.png -o x.png", 4, "absent.safetensors");
  expect_error("stylize model.safetensors in/a.png -o x.gif", 2, ".png");
  expect_error("stylize model.safetensors in/a.png in/a.jpg -o -", 2, "a folder");
  expect_error("stylize model.safetensors in/a.png -o in/a.png", 2, "replaced");
  expect_error("stylize model.safetensors in/a.png -o in", 2, "replaced");
  expect_error("stylize model.safetensors in/a.png -o in/../broken.png/x.png", 4, "broken.png");
  expect_error("stylize model.safetensors in/a.png -o x.png --strength 1.5", 2, "--strength");
  expect_error("stylize model.safetensors in/a.png -o x.png --precision f16", 2, "bf16");
  expect_error("generate model.safetensors", 4, "is a translator, not a generator");
  ASSERT_EQ(run("train --steps 1 --out trained --data " + emoji + small).code, 0);
  expect_error("stylize " + (only_run("trained") / "model.safetensors").string() + " in/a.png -o x.png", 4, "is a generator, not a translator");
  EXPECT_FALSE(fs::exists(folder_ / "x.png"));

  write_translator(folder_ / "unet.safetensors", {.name = "unet", .ngf = 4, .depth = 2});
  const Finished other_size = run("stylize unet.safetensors in/a.png -o other.png");
  EXPECT_EQ(other_size.code, 0);
  EXPECT_NE(other_size.err.find("the model learned pictures of 64x64, and 'in/a.png' has 32x32: --size 64"), std::string::npos) << other_size.err;
  EXPECT_EQ(run("stylize unet.safetensors in/a.png -o other.png --size 64").err, "");

  const Finished gray = run("stylize gray.safetensors in/a.png -o x.png");
  EXPECT_EQ(gray.code, 0);
  EXPECT_NE(gray.err.find("results are gray"), std::string::npos) << gray.err;
  EXPECT_EQ(read_picture(folder_ / "x.png").channels, 1);
  EXPECT_EQ(run("stylize gray.safetensors in/a.png -o x.png --keep-colors").err, "");
  EXPECT_EQ(read_picture(folder_ / "x.png").channels, 3);
}

// Whatever fails, the others are done.
TEST_F(Cli, StylizesAllOfABatchThatCanBe) {
  write_translator(folder_ / "model.safetensors", {.ngf = 4, .blocks = 1});
  fs::create_directories(folder_ / "in");
  fs::create_directories(folder_ / "other");
  const Image source = convert(read_picture(emoji + "/emoji_u0023_20e3.png"), 3);
  for (const char* name : {"in/a.png", "in/c.png", "other/a.png"}) write_file_atomically(folder_ / name, encode_png(source));
  write_file_atomically(folder_ / "in/a.jpg", encode_jpeg(source));
  write("in/b.png", "no picture");
  write_file_atomically(folder_ / "b.png", encode_png(source));
  fs::create_directories(folder_ / "x/c.png");  // where a result should go
  const Finished f = run("stylize model.safetensors in absent.png other/a.png b.png -o x --strength 0");
  EXPECT_EQ(f.code, 1) << f.err;
  // What can't be used claims no name; of two results of one name, one gets another.
  EXPECT_EQ(f.out, "x/a.png\nx/a-2.png\nx/a-3.png\nx/b.png\n") << f.err;
  EXPECT_NE(f.err.find("note: the result of 'in/a.png' is 'x/a-2.png'"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("3 of 7 could not be done:\n  'in/b.png': no picture of a format"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("there is no 'absent.png'"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("to 'x/c.png'"), std::string::npos) << f.err;
  EXPECT_EQ(read_picture(folder_ / "x/a-3.png"), source);
  expect_error("stylize model.safetensors in/a.png in/c.png -o in", 2, "replaced");
}

// Stand-ins for ffmpeg and ffprobe: two frames of PPM come out of the one, and what goes into it is the film.
TEST_F(Cli, StylizesVideos) {
  write_translator(folder_ / "model.safetensors", {.ngf = 4, .blocks = 1});
  write("film.mp4", "");
  const Image source = convert(read_picture(emoji + "/emoji_u0023_20e3.png"), 3);
  const std::string frame = "P6 32 32 255\n" + std::string(source.pixels.begin(), source.pixels.end());
  write("frames", frame + frame);
  fs::create_directories(folder_ / "bin");
  const auto script = [&](const std::string& name, const std::string& text) {
    fs::permissions(write("bin/" + name, "#!/bin/sh\n" + text), fs::perms::owner_all);
  };
  script("ffprobe", "echo '{\"streams\":[{\"codec_type\":\"video\",\"r_frame_rate\":\"30000/1001\"},{\"codec_type\":\"audio\",\"codec_name\":\"mp3\"}]}'\n");
  script("ffmpeg", "echo \"$@\" >>calls\nfor last; do :; done\nif [ \"$last\" = - ]; then cat frames; else cat >\"${last#file:}\"; fi\n");
  const std::string at = "cd " + folder_.string() + " && PATH=", program = " " PASTICHE_PROGRAM " stylize model.safetensors ";
  EXPECT_EQ(WEXITSTATUS(std::system((at + "none" + program + "film.mp4 -o out.mp4 >out 2>err").c_str())), 1);
  EXPECT_NE(text_of(folder_ / "err").find("apt-get install ffmpeg"), std::string::npos) << text_of(folder_ / "err");
  const std::string command = at + "$PWD/bin:$PATH" + program;
  ASSERT_EQ(std::system((command + "film.mp4 -o out.mp4 >out 2>err").c_str()), 0) << text_of(folder_ / "err");
  EXPECT_EQ(text_of(folder_ / "out"), "out.mp4\n");
  const std::string film = text_of(folder_ / "out.mp4");
  ASSERT_EQ(film.size(), 2 * frame.size());
  EXPECT_EQ(film.substr(0, 13), frame.substr(0, 13));
  EXPECT_EQ(film.substr(0, frame.size()), film.substr(frame.size()));
  EXPECT_NE(film.substr(0, frame.size()), frame);
  const std::string calls = text_of(folder_ / "calls");
  EXPECT_NE(calls.find("-i file:film.mp4 -map 0:V:0 -vf scale="), std::string::npos) << calls;
  EXPECT_NE(calls.find("-framerate 30000/1001"), std::string::npos) << calls;
  EXPECT_NE(calls.find("-map 1:a? -c:a:0 copy"), std::string::npos) << calls;

  const auto fails = [&](const std::string& arguments, int code, const std::string& words) {
    const int status = std::system((command + arguments + " >out 2>err").c_str());
    EXPECT_EQ(WEXITSTATUS(status), code) << arguments;
    EXPECT_NE(text_of(folder_ / "err").find(words), std::string::npos) << text_of(folder_ / "err");
  };
  fails("film.mp4 -o out.avi", 2, ".mkv");
  script("ffmpeg", "for last; do :; done\nif [ \"$last\" = - ]; then cat frames; else exit 1; fi\n");
  fails("film.mp4 -o failed.mp4", 4, "could not write 'failed.mp4'");
  script("ffmpeg", "for last; do :; done\nif [ \"$last\" = - ]; then exit 1; else cat >\"${last#file:}\"; fi\n");
  fails("film.mp4 -o failed.mp4", 4, "could not read all of 'film.mp4'");
  script("ffprobe", "exit 1\n");
  fails("film.mp4 -o failed.mp4", 4, "no video");
  EXPECT_FALSE(fs::exists(folder_ / "failed.mp4"));
  for (const auto& entry : fs::directory_iterator(folder_)) EXPECT_FALSE(is_temporary_name(entry.path().filename().native())) << entry.path();
}

TEST_F(Cli, MakesPairs) {
  const Finished f = run("data pairs " + emoji + " -o sketches --make edges --size 24x16");
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(f.out, "'sketches': 257 pairs, edges in A/ and the originals in B/\n");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "sketches"), {}), 2);
  const Image picture = read_picture(folder_ / "sketches/A/emoji_u0023_20e3.png");
  EXPECT_EQ(std::pair(picture.width, picture.height), std::pair(24, 16));

  fs::create_directory(folder_ / "mixed");
  write("mixed/bad.png", "no picture");
  write("mixed/\xff.png", "nor this");
  fs::copy(folder_ / "sketches/B/emoji_u0023_20e3.png", folder_ / "mixed/good.png");
  const Finished mixed = run("data pairs mixed --make mosaic -o mixed-pairs");
  EXPECT_EQ(mixed.code, 0) << mixed.err;
  EXPECT_NE(mixed.out.find("1 pairs"), std::string::npos) << mixed.out;
  EXPECT_NE(mixed.out.find("'bad.png': no picture of a format that is known"), std::string::npos) << mixed.out;
  const Finished as_json = run("data pairs mixed --make gray -o gray --json");
  const json summary = json::parse(as_json.out);
  EXPECT_EQ(summary["pairs"], 1);
  EXPECT_EQ(summary["make"], "gray");
  EXPECT_EQ(summary["skipped"].size(), 2u);
  EXPECT_EQ(summary["skipped"][0]["file"], "bad.png");

  expect_error("data pairs mixed -o new", 2, "--make");
  expect_error("data pairs mixed -o new --make lines", 2, "edges");
  expect_error("data pairs mixed -o new --make lines", 2, "pastiche data pairs --help");
  expect_error("data pairs mixed --make edges", 2, "--out");
  expect_error("data pairs mixed -o new --make edges --size 0", 2, "0");
  expect_error("data pairs absent -o new --make edges", 3, "absent");
  EXPECT_FALSE(fs::exists(folder_ / "new"));
  expect_error("data pairs mixed -o gray --make edges", 4, "holds something already");
  fs::remove(folder_ / "mixed/good.png");
  expect_error("data pairs mixed -o new --make edges", 3, "none of the 2 pictures");
  // A full disk: no file may grow beyond a kilobyte. Nothing half is left.
  const std::string command = "cd " + folder_.string() + " && (ulimit -f 2; trap '' XFSZ; exec " PASTICHE_PROGRAM
                              " data pairs " + emoji + " -o full --make blur --size 128) >out 2>err";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 4) << text_of(folder_ / "err");
  EXPECT_NE(text_of(folder_ / "err").find("can't write"), std::string::npos) << text_of(folder_ / "err");
  EXPECT_TRUE(fs::is_empty(folder_ / "full"));
}

TEST_F(Cli, DoctorChecksATrainingStep) {
  const Finished f = run("doctor");
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.out.find("oneDNN"), std::string::npos) << f.out;
}

}  // namespace
}  // namespace pastiche
