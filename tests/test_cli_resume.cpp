// A training is never lost: what stops it, what goes on with it, and what says so.
#include <fmt/format.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli.h"
#include "pastiche/checkpoint.h"
#include "pastiche/sha256.h"
#include "pastiche/train.h"

namespace pastiche {
namespace {

using nlohmann::json;

class Resume : public Cli {
 protected:
  std::string run_folder() const { return only_run().string(); }
  json run_json() const { return json::parse(text_of(only_run() / "run.json")); }
  fs::path checkpoint(int step) const { return only_run() / "ckpt" / fmt::format("{:06}.safetensors", step); }
  std::vector<std::byte> model(const std::string& out = "runs") const { return read_file(only_run(out) / "model.safetensors"); }

  void edit(const fs::path& path, const std::string& from, const std::string& to) const {
    std::string text = text_of(path);
    const std::size_t at = text.find(from);
    ASSERT_NE(at, text.npos) << from;
    write_file_atomically(path, text.replace(at, from.size(), to));
  }
  void change_position(int step, const std::string& member, const std::string& value) const {
    SafetensorsFile file = read_safetensors(checkpoint(step));
    json position = json::parse(file.metadata["pastiche"]);
    position[member] = json::parse(value);
    position.erase("checksum");
    file.metadata["pastiche"] = position.dump();
    write_file_atomically(checkpoint(step), serialize_safetensors(file));
  }
  void flip_a_bit(const fs::path& path) const {
    std::vector<std::byte> bytes = read_file(path);
    bytes[bytes.size() - bytes.size() / 4] ^= std::byte{8};
    write_file_atomically(path, bytes);
  }
  void expect_ok(const std::string& arguments, const std::string& words = "") const {
    const Finished f = run(arguments);
    EXPECT_EQ(f.code, 0) << arguments << "\n" << f.err;
    EXPECT_NE(f.err.find(words), std::string::npos) << arguments << "\n" << f.err;
  }
  void expect_refused(const std::string& arguments, int code, const std::string& words) const {
    const Finished f = run(arguments);
    EXPECT_EQ(f.code, code) << arguments << "\n" << f.err;
    EXPECT_NE(f.err.find(words), std::string::npos) << arguments << "\n" << f.err;
  }
};

// Rates that fall towards the end are others where the end is another.
const std::string with_decay = "train --data " + emoji + small, train = with_decay + "--decay-from 1 ";

// SHA-256 of names and numbers, in the order of the names.
std::string numbers_of(const fs::path& path) {
  SafetensorsFile file = read_safetensors(path);
  std::ranges::sort(file.tensors, {}, &SafeTensor::name);
  std::vector<std::byte> all;
  for (const SafeTensor& tensor : file.tensors) {
    const auto name = std::as_bytes(std::span(tensor.name));
    all.insert(all.end(), name.begin(), name.end());
    all.insert(all.end(), tensor.bytes.begin(), tensor.bytes.end());
  }
  return sha256_hex(all);
}

// tests/golden/runs has a training of every method by the program of version 0.1 before there were methods in files of their own, on
// `reference`: what it wrote after 3 steps, and the hash of its numbers after 6. Article's and cut's checkpoints are too large to keep, so these
// two are trained again from the start.
TEST_F(Resume, WhatVersion01WroteEndsInItsBits) {
  const fs::path golden = fs::path(PASTICHE_TEST_DIR) / "golden" / "runs";
  fs::create_directories(folder_ / "pairs");
  for (const char* half : {"A", "B"}) fs::copy(emoji, folder_ / "pairs" / half, fs::copy_options::recursive);
  std::set<std::string> methods;
  for (const auto& entry : fs::directory_iterator(golden)) {
    const std::string method = entry.path().filename();
    SCOPED_TRACE(method);
    methods.insert(method);
    std::string data = " --data " + (method == "pix2pix" ? (folder_ / "pairs").string() : emoji);
    if (method == "cut" || method == "cyclegan") data += " --style " + emoji;
    fs::path run_folder = folder_ / method;
    if (fs::exists(entry.path() / "ckpt")) {
      fs::copy(entry.path(), run_folder, fs::copy_options::recursive);
      expect_ok("train --resume " + run_folder.string() + data);
    } else {
      expect_ok("train --config " + (entry.path() / "config.toml").string() + " --ema-warmup=false --out " + method + data);
      run_folder = only_run(method);
    }
    EXPECT_EQ(numbers_of(run_folder / "ckpt" / "000006.safetensors") + "\n", text_of(entry.path() / "end"));
  }
  EXPECT_EQ(methods, (std::set<std::string>{"article", "cut", "cyclegan", "dcgan", "pix2pix"}));
}

TEST_F(Resume, GoesOnForLonger) {
  expect_ok(train + "--steps 8 --out whole");
  expect_ok(train + "--steps 4");
  expect_ok("train --resume " + run_folder(), "this run is finished, at step 4");
  expect_ok("train --resume " + run_folder() + " --steps 8");
  EXPECT_EQ(model(), model("whole"));
  expect_ok("train --resume " + run_folder() + " --steps 8", "finished");
  expect_ok("train --resume " + run_folder() + " --kimg 0.08");  // takes the place of --steps 8
  EXPECT_EQ(run_json()["step"], 10);
  expect_ok("train --resume " + run_folder() + " --epochs 0.4");
  EXPECT_EQ(run_json()["step"], 13);
  EXPECT_TRUE(run_json()["other_bits"].empty());
}

TEST_F(Resume, FindsDataThatMoved) {
  fs::copy(emoji, folder_ / "pictures");
  expect_ok("train --data pictures --decay-from 1" + small + "--steps 8 --out whole");
  expect_ok("train --data pictures --decay-from 1" + small + "--steps 4");
  fs::rename(folder_ / "pictures", folder_ / "photos");
  expect_refused("train --steps 8 --resume " + run_folder(), 3, "add --data FOLDER");
  expect_ok("train --steps 8 --data photos --resume " + run_folder());
  const SafetensorsFile here = read_safetensors(only_run() / "model.safetensors"), whole = read_safetensors(only_run("whole") / "model.safetensors");
  for (const SafeTensor& tensor : whole.tensors) EXPECT_EQ(here.find(tensor.name)->bytes, tensor.bytes) << tensor.name;
  expect_ok("train --steps 9 --resume " + run_folder());  // it knows the new place
  fs::remove(fs::directory_iterator(folder_ / "photos")->path());
  expect_refused("train --steps 10 --resume " + run_folder(), 3, "fingerprint");
  expect_ok("train --steps 10 --resume " + run_folder() + " --other-bits");
  EXPECT_NE(run_json()["other_bits"].dump().find("fingerprint"), std::string::npos);
}

TEST_F(Resume, SaysThatRatesFallTowardsANewEnd) {
  expect_ok(with_decay + "--steps 4");
  expect_ok("train --resume " + run_folder() + " --steps 8", "fall towards the new end");
  const Finished same = run("train --resume " + run_folder());
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_EQ(same.err.find("fall towards"), std::string::npos) << same.err;
}

// Else the checkpoint would hold settings that config.toml does not, and each later resume would be refused.
TEST_F(Resume, OtherSettingsOfAFinishedRunChangeNothing) {
  expect_ok(train + "--steps 3");
  expect_ok("train --resume " + run_folder() + " --lr-g 0.1 --other-bits", "finished");
  expect_ok("train --resume " + run_folder() + " --steps 6");
}

TEST_F(Resume, RefusesOtherSettingsByName) {
  expect_ok(train + "--steps 4 --snap 2");
  const fs::path config = only_run() / "config.toml";
  const std::string as_it_was = text_of(config);
  for (const auto& [from, to, name] : {std::tuple("seed = 7", "seed = 8", "--seed is 8 and was 7"), {"lr-g = 0.001", "lr-g = 0.5", "--lr-g is 0.5"},
                                       {"precision = \"f32\"", "precision = \"bf16\"", "--precision is \"bf16\""},
                                       {"threads = 2", "threads = 1", "--threads is 1 and was 2"}}) {
    edit(config, from, to);
    expect_refused("train --steps 6 --resume " + run_folder(), 2, name);
    write_file_atomically(config, as_it_was);
  }
  expect_refused("train --batch 4 --resume " + run_folder(), 2, "--batch is 4 and was 8");
  expect_refused("train --ngf 5 --resume " + run_folder() + " --other-bits", 4, "start a new run");
  expect_refused("train --out elsewhere --resume " + run_folder(), 2, "leave out --out");
  expect_refused("train --steps 3 --other-bits" + small + "--data " + emoji, 2, "--resume");
  for (const char* refused : {"seed = 8", "lr-g = 0.5", "threads = 1"}) EXPECT_EQ(text_of(config).find(refused), std::string::npos) << refused;

  // What shows and what is kept may change at any time.
  edit(config, "grid = \"2x2\"", "grid = \"1x1\"");
  expect_ok("train --steps 5 --resume " + run_folder() + " --keep 1 --snap 5");
  EXPECT_TRUE(run_json()["other_bits"].empty());
}

// A run of a program that did not know a setting goes on as it was.
TEST_F(Resume, ARunFromBeforeTheWarmUpOfTheAverageHasNone) {
  expect_ok(train + "--steps 8 --ema-warmup=false --out whole");
  expect_ok(train + "--steps 4 --ema-warmup=false");
  const fs::path config = only_run() / "config.toml";
  const std::string all = text_of(config);
  const std::size_t begin = all.find("ema-warmup"), end = all.find('\n', begin) + 1;
  ASSERT_LT(begin, all.size());
  write_file_atomically(config, all.substr(0, begin) + all.substr(end));
  expect_ok("train --resume " + run_folder() + " --steps 8");
  EXPECT_EQ(model(), model("whole"));
}

TEST_F(Resume, TakesOtherSettingsThatRunJsonRecords) {
  expect_ok(train + "--steps 4");
  expect_ok("train --resume " + run_folder() + " --other-bits --steps 6 --lr-g 1e-4 --threads 1");
  const json recorded = run_json()["other_bits"];
  ASSERT_EQ(recorded.size(), 1u);
  EXPECT_EQ(recorded[0]["step"], 4);
  EXPECT_NE(recorded[0]["changes"].dump().find("--lr-g is 0.0001 and was 0.001"), std::string::npos) << recorded;
  EXPECT_NE(recorded[0]["changes"].dump().find("threads 2"), std::string::npos) << recorded;
  expect_ok("train --resume " + run_folder() + " --steps 8");  // what it is now is its own
  EXPECT_EQ(run_json()["other_bits"], recorded);
  EXPECT_EQ(run_json()["step"], 8);
}

// Another processor or library: the fingerprint of the backend tells.
TEST_F(Resume, RefusesAnotherBackend) {
  expect_ok(train + "--steps 4");
  expect_refused("train --resume " + run_folder() + " --steps 6 --device simt", 5, "--other-bits");
  expect_ok("train --resume " + run_folder() + " --steps 6 --device simt --other-bits");
  EXPECT_NE(run_json()["other_bits"].dump().find("simt"), std::string::npos);
}

TEST_F(Resume, PassesOverADamagedCheckpoint) {
  expect_ok(train + "--steps 8 --out whole");
  const auto damage = [&](auto&& how) {
    fs::remove_all(folder_ / "runs");
    expect_ok(train + "--steps 6 --snap 2");
    how();
    expect_ok("train --resume " + run_folder() + " --steps 8", "000006.safetensors' is damaged");
    EXPECT_EQ(model(), model("whole"));
    EXPECT_EQ(run_json()["status"], "finished");
  };
  damage([&] { flip_a_bit(checkpoint(6)); });
  damage([&] { fs::resize_file(checkpoint(6), 1000); });
  damage([&] { fs::resize_file(checkpoint(6), 0); });
  damage([&] { edit(checkpoint(6), "\\\"seconds\\\":", "\\\"sexonds\\\":"); });
}

TEST_F(Resume, SaysWhereNothingIsWhole) {
  expect_ok(train + "--steps 6 --snap 2 --keep 3");
  flip_a_bit(checkpoint(6));
  expect_refused("train --resume " + run_folder(), 4, "delete it");  // there is nothing to go on with
  flip_a_bit(checkpoint(4));
  fs::resize_file(checkpoint(2), 10);
  expect_refused("train --resume " + run_folder() + " --steps 8", 4, "no checkpoint of");
}

// A newer version's is whole: passing it over would lose steps.
TEST_F(Resume, RefusesANewerVersionsCheckpoint) {
  expect_ok(train + "--steps 4 --snap 2");
  change_position(4, "format_version", std::to_string(file_format_version + 1));
  expect_refused("train --resume " + run_folder() + " --steps 6", 4, "newer pastiche");
}

// What 0.1 wrote before checkpoints had a checksum and their settings.
TEST_F(Resume, TakesOlderCheckpoints) {
  expect_ok(train + "--steps 6 --out whole");
  expect_ok(train + "--steps 4");
  SafetensorsFile file = read_safetensors(checkpoint(4));
  json position = json::parse(file.metadata["pastiche"]);
  for (const char* newer : {"checksum", "config", "other_bits", "planned_steps"}) position.erase(newer);
  file.metadata["pastiche"] = position.dump();
  write_file_atomically(checkpoint(4), serialize_safetensors(file));
  expect_ok("train --resume " + run_folder() + " --steps 6");
  EXPECT_EQ(model(), model("whole"));
}

TEST_F(Resume, DoesNotTakeAnUnreadableFolderForAnEmptyOne) {
  expect_ok(train + "--steps 2");
  fs::rename(only_run() / "ckpt", folder_ / "aside");
  write("runs/" + only_run().filename().string() + "/ckpt", "no folder");
  expect_refused("train --resume " + run_folder(), 4, "can't list");
}

TEST_F(Resume, NotesAnOldCheckpointThatCantBeDeleted) {
  expect_ok(train + "--steps 2");
  fs::create_directories(checkpoint(1) / "within");
  expect_ok("train --resume " + run_folder() + " --steps 8 --keep 1 --snap 2", "old checkpoints can't be deleted");
  EXPECT_FALSE(fs::exists(checkpoint(2)));
}

TEST_F(Resume, RefusesNumbersThatCantBe) {
  expect_ok(train + "--steps 2");
  const std::vector<std::byte> whole = read_file(checkpoint(2));
  for (const auto& [member, value] : {std::pair("threads", "100000"), {"threads", "-1"}, {"threads", "0"}, {"threads", "1e99"}, {"threads", "\"two\""},
                                      {"step", "9223372036854775807"}, {"step", "-1"}, {"planned_steps", "9223372036854775807"}, {"seconds", "-1"}}) {
    write_file_atomically(checkpoint(2), whole);
    change_position(2, member, value);
    expect_refused("train --resume " + run_folder() + " --steps 4", 4, "000002.safetensors");
  }
}

// Both logs have each step once, whenever it was killed.
TEST_F(Resume, LogsAreExactAfterAKill) {
  ASSERT_EQ(run("data pairs " + emoji + " -o pairs --make gray --size 16").code, 0);
  const std::string arguments = "train pix2pix --data pairs --size 16 --ngf 4 --ndf 4 --batch 2 --holdout 10% --grid 1x1 --threads 1 --snap 2 --keep 100 --steps 14 ";
  expect_ok(arguments + "--out whole");
  const std::string whole = text_of(only_run("whole") / "holdout.jsonl");
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 7) << whole;
  for (const int steps : {3, 4, 7, 8}) {
    fs::remove_all(folder_ / "runs");
    ASSERT_EQ(interrupted(arguments, SIGKILL, steps), -SIGKILL);
    expect_ok("train --resume " + run_folder());
    EXPECT_EQ(text_of(only_run() / "holdout.jsonl"), whole) << "killed after step " << steps;
    const std::string stats = text_of(only_run() / "stats.jsonl");
    EXPECT_EQ(std::count(stats.begin(), stats.end(), '\n'), 14);
  }
}

TEST_F(Resume, HoldoutLogIsWholeAfterAnErrorInASnapshot) {
  ASSERT_EQ(run("data pairs " + emoji + " -o pairs --make gray --size 16").code, 0);
  const std::string arguments = "train pix2pix --data pairs --size 16 --ngf 4 --ndf 4 --batch 2 --holdout 10% --grid 1x1 --threads 1 --snap 2 ";
  expect_ok(arguments + "--out whole --steps 6");
  expect_ok(arguments + "--steps 2");
  fs::rename(only_run() / "model.safetensors", folder_ / "aside");
  fs::create_directory(only_run() / "model.safetensors");
  expect_refused("train --steps 6 --resume " + run_folder(), 4, "step 4 is saved");
  fs::remove(only_run() / "model.safetensors");
  expect_ok("train --steps 6 --resume " + run_folder());
  EXPECT_EQ(text_of(only_run() / "holdout.jsonl"), text_of(only_run("whole") / "holdout.jsonl"));
}

TEST_F(Resume, EverySignalThatEndsSavesFirst) {
  for (const int signal : {SIGHUP, SIGUSR1, SIGXCPU, SIGTERM, SIGINT}) {
    fs::remove_all(folder_ / "runs");
    EXPECT_EQ(interrupted(train + "--steps 1000000 --snap 1h", signal), 128 + signal);
    EXPECT_EQ(run_json()["status"], "stopped");
    EXPECT_TRUE(fs::exists(checkpoint(run_json()["step"])));
  }
}

// A terminal that closes sends SIGHUP more than once.
TEST_F(Resume, ASecondHangupWaits) {
  const pid_t child = started(train + "--steps 1000000 --snap 1h");
  for (int i = 0; i < 20; ++i) kill(child, SIGHUP);
  EXPECT_EQ(ended(child), 128 + SIGHUP);
  EXPECT_EQ(run_json()["status"], "stopped");
}

// `timeout` sends SIGTERM to the process and to its group.
TEST_F(Resume, TwoSignalsAtOnceAreOne) {
  for (int i = 0; i < 5; ++i) {
    fs::remove_all(folder_ / "runs");
    const pid_t child = started(train + "--steps 1000000 --snap 1h");
    kill(child, SIGTERM);
    kill(child, SIGINT);
    kill(child, SIGTERM);
    const int code = ended(child);
    EXPECT_TRUE(code == 128 + SIGTERM || code == 128 + SIGINT) << code;
    EXPECT_EQ(run_json()["status"], "stopped");
  }
}

// nohup's way, and that of a shell for what it starts with &.
TEST_F(Resume, WhatWasIgnoredStaysIgnored) {
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    std::signal(signal, SIG_IGN);
    fs::remove_all(folder_ / "runs");
    const pid_t child = started(train + "--steps 300 --snap 1h");
    sigaction(signal, &before, nullptr);
    kill(child, signal);
    EXPECT_EQ(ended(child), 0) << signal;
    EXPECT_EQ(run_json()["step"], 300);
  }
}

TEST_F(Resume, AReaderThatGoesAwayStopsNothing) {
  const std::string command = "cd " + folder_.string() + " && " PASTICHE_PROGRAM " " + train +
                              "--steps 60 --snap 5 --log-format json 2>&1 </dev/null | head -1 >head";
  ASSERT_EQ(std::system(command.c_str()), 0);
  for (int i = 0; i < 1000 && text_of(folder_ / "runs/00000-dcgan-emoji32/run.json").find("\"finished\"") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the shell waits for head alone
  }
  EXPECT_EQ(run_json()["status"], "finished");
}

// What is opened must not become descriptor 2, into which messages go.
TEST_F(Resume, TrainsWithoutStandardDescriptors) {
  const std::string command = "cd " + folder_.string() + " && exec " PASTICHE_PROGRAM " " + train + "--steps 3 --snap 1 <&- >&- 2>&-";
  ASSERT_EQ(std::system(command.c_str()), 0);
  EXPECT_EQ(run_json()["status"], "finished");
  for (const auto& entry : fs::recursive_directory_iterator(only_run())) {
    if (entry.is_regular_file() && entry.path().extension() != ".html") {
      EXPECT_EQ(text_of(entry.path()).find("run folder runs/"), std::string::npos) << entry.path();
    }
  }
}

TEST_F(Resume, APauseIsNoTrainingTime) {
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = started(train + "--steps 1000000 --snap 1h");
  kill(child, SIGSTOP);
  std::this_thread::sleep_for(std::chrono::seconds(2));
  kill(child, SIGCONT);
  kill(child, SIGTERM);
  EXPECT_EQ(ended(child), 128 + SIGTERM);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_LT(run_json()["seconds"].get<double>(), seconds - 1.9);
}

// The end that --time is planned to have stands in the checkpoint, and the rates with it.
TEST_F(Resume, RepeatsRatesThatDecayByTime) {
  ASSERT_EQ(interrupted(with_decay + "--time 10m --decay-from 0 --snap 1h", SIGKILL, 70), -SIGKILL);
  const auto losses = [&] {
    std::map<int, std::string> of_step;
    std::ifstream log(only_run() / "stats.jsonl");
    for (std::string line; std::getline(log, line);) {
      const json stats = json::parse(line, nullptr, false);
      if (!stats.is_discarded()) of_step[stats["step"]] = fmt::format("{} {}", stats["loss_g"].dump(), stats["loss_d"].dump());
    }
    return of_step;
  };
  const auto before = losses();
  std::set<std::string> checkpoints;
  for (const auto& entry : fs::directory_iterator(only_run() / "ckpt")) checkpoints.insert(entry.path().stem().string());
  const int step = std::stoi(*checkpoints.rbegin());
  EXPECT_GE(step, 50);  // it is planned at steps 25, 50, 100 ...
  const json position = json::parse(read_safetensors(checkpoint(step)).metadata["pastiche"]);
  EXPECT_GT(position["planned_steps"], step);
  EXPECT_NE(text_of(only_run() / "config.toml").find("steps = 0"), std::string::npos);

  truncate_after_step(only_run() / "stats.jsonl", step);  // else the old lines would count as steps
  ASSERT_EQ(interrupted("train --resume " + run_folder(), SIGTERM, static_cast<int>(before.size())), 128 + SIGTERM);
  const auto after = losses();
  for (const auto& [at, values] : before) {
    if (at > step + 25) break;  // from there on the resumed run goes by a plan of its own
    EXPECT_EQ(values, after.at(at)) << at;
  }
}

// The plan for the old end is none for the new one.
TEST_F(Resume, GoesOnForALongerTime) {
  expect_ok(with_decay + "--time 1s --decay-from 0.5");
  const int step = run_json()["step"];
  expect_ok("train --resume " + run_folder(), "finished");
  EXPECT_EQ(run_json()["step"], step);
  expect_ok("train --time 2s --resume " + run_folder());
  EXPECT_GT(run_json()["step"], step);
  EXPECT_TRUE(run_json()["other_bits"].empty());
}

// A plan that comes too early is made anew; it is not the end.
TEST_F(Resume, TheEndIsThatOfTheTime) {
  ASSERT_EQ(interrupted(with_decay + "--time 1h --decay-from 0.5 --snap 1h", SIGTERM, 30), 128 + SIGTERM);
  const int step = run_json()["step"];
  change_position(step, "planned_steps", std::to_string(step + 5));
  truncate_after_step(only_run() / "stats.jsonl", 0);
  ASSERT_EQ(interrupted("train --resume " + run_folder(), SIGTERM, 60), 128 + SIGTERM);
  EXPECT_EQ(run_json()["status"], "stopped");
  const int now = run_json()["step"];
  EXPECT_GE(now, step + 60);
  EXPECT_GT(json::parse(read_safetensors(checkpoint(now)).metadata["pastiche"])["planned_steps"], now);
}

TEST_F(Resume, TakesTheSettingsOfTheCheckpointWhereConfigIsGone) {
  expect_ok(train + "--steps 6 --out whole");
  for (const bool empty : {false, true}) {
    fs::remove_all(folder_ / "runs");
    expect_ok(train + "--steps 4");
    write("runs/" + only_run().filename().string() + "/config.toml", "no settings");
    expect_refused("train --steps 6 --resume " + run_folder(), 3, "delete the file");
    if (empty) fs::resize_file(only_run() / "config.toml", 0);
    else fs::remove(only_run() / "config.toml");
    expect_ok("train --steps 6 --resume " + run_folder());
    EXPECT_EQ(model(), model("whole"));
  }
}

TEST_F(Resume, NeedsARunFolder) {
  expect_refused("train --resume '' --data " + emoji, 2, "--resume is empty");
  fs::create_symlink("loop", folder_ / "loop");
  expect_refused("train --resume loop", 4, "no run folder");
}

// An error that is none of a step's saves what there is.
TEST_F(Resume, AnErrorSavesFirst) {
  TrainConfig config;
  config.data = emoji;
  config.out = (folder_ / "runs").string();
  config.size = {16, 16};
  config.ngf = config.ndf = 4;
  config.nz = config.batch = 8;
  config.grid = "1x1";
  config.steps = 20;
  config.snap = "7";
  const RunEvents events{.started = [](const fs::path&, const std::string&) {},
                         .stepped =
                             [&](const RunEvents::Progress& p) {
                               if (p.stats.step != 5) return;
                               fs::rename(only_run() / "samples", folder_ / "aside");  // so that no picture can be written
                               write_file_atomically(only_run() / "samples", std::string_view("no folder"));
                             },
                         .note = [](const std::string&) {}};
  try {
    pastiche::train(config, events);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::bad_file);
    EXPECT_NE(std::string(e.what()).find("step 7 is saved, go on with `pastiche train --resume"), std::string::npos) << e.what();
  }
  EXPECT_TRUE(fs::exists(checkpoint(7)));
  EXPECT_EQ(run_json()["status"], "failed");
  fs::remove(only_run() / "samples");
  expect_ok("train --resume " + run_folder());
  EXPECT_EQ(run_json()["step"], 20);
}

}  // namespace
}  // namespace pastiche
