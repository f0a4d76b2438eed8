// Data that breaks, that can't be read, or that programs left: what a user meets of it.
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli.h"
#include "dirty_folder.h"
#include "methods/method.h"
#include "pastiche/backend.h"
#include "pastiche/data.h"

namespace pastiche {
namespace {

class CliData : public Cli {
 protected:
  // `count` pictures of the emoji.
  void put_pictures(const std::string& name, int count) const {
    fs::create_directories(folder_ / name);
    for (const auto& entry : fs::directory_iterator(emoji)) {
      if (entry.path().extension() == ".png" && count-- > 0) fs::copy(entry.path(), folder_ / name);
    }
  }

  // As many files of one picture as no cache holds.
  static void put_many(const fs::path& folder, const Image& picture) {
    fs::create_directory(folder);
    const std::vector<std::byte> png = encode_png(picture);
    for (int i = 0; i < many; ++i) write_file_atomically(folder / (std::to_string(i) + ".png"), png, Sync::later);
  }
  static void break_a_third(const fs::path& folder) {
    for (int i = 0; i < many; i += 3) fs::resize_file(folder / (std::to_string(i) + ".png"), 100);
  }
  static constexpr int many = 1500;

  static void cut(const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); }

  static nlohmann::json run_json(const fs::path& run) { return nlohmann::json::parse(text_of(run / "run.json")); }
};

// Pictures of any size and number, and nothing said but where they are.
TEST_F(CliData, TrainsOnAFolderWithNoOtherFlag) {
  put_pictures("pictures", 20);
  for (const auto& [name, height, width] : {std::tuple("wide.png", 40, 90), {"tall.png", 200, 70}}) {
    write_file_atomically(folder_ / "pictures" / name, encode_png(Image{height, width, 3, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3), 90)}));
  }
  const Finished f = run("train --data pictures --steps 1");
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_NE(f.err.find("pictures are cropped and resized to 32; --size chooses another"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("22 pictures, batch 22, widths 64 and 64, augment color,translation,cutout, loss relativistic, penalty r1+r2 of 0.3 every 8 steps, learning rates 0.001 and 0.001, which fall from 30% of the training on"), std::string::npos) << f.err;
  const std::string config = text_of(only_run() / "config.toml");
  for (const char* words : {"size = \"32\"", "batch = 22", "ngf = 64", "ndf = 64", "augment = \"color,translation,cutout\""}) {
    EXPECT_NE(config.find(words), std::string::npos) << words;
  }
  // The time that is given decides how wide the networks are, and the number of pictures whether they are augmented.
  for (const auto& [time, widths] : {std::pair("10s", "widths 16 and 16"), {"5m", "widths 32 and 32"}, {"2h", "widths 64 and 64"}}) {
    const Finished plan = run("train --plan --data " + fashion + " --size 28 --time " + time);
    EXPECT_NE(plan.out.find(widths), std::string::npos) << plan.out << plan.err;
  }
  EXPECT_NE(run("train --plan --data pictures --ngf 8").out.find("widths 8 and 8"), std::string::npos);
  EXPECT_NE(run("train --plan --data pictures --ndf 8 --augment none --batch 4").out.find("batch 4, widths 8 and 8, augment none"), std::string::npos);
}

#ifdef PASTICHE_ZIP
TEST_F(CliData, TrainsOnAZip) {
  put_pictures("cats/256x256", 24);
  dirty::write(folder_ / "cats.zip", dirty::zip_of(folder_ / "cats"));
  const Finished f = run("train --data cats.zip --out made --steps 2" + small);
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(only_run("made").filename(), "00000-dcgan-cats");
  EXPECT_EQ(run_json(only_run("made"))["data"]["path"], (folder_ / "cats.zip").string());
  const std::string resume = "train --resume made/00000-dcgan-cats ";
  EXPECT_EQ(run(resume + "--steps 4").code, 0);
  EXPECT_EQ(run(resume + "--data cats --steps 6").code, 0);  // unpacked, it's the same data
  EXPECT_EQ(run_json(only_run("made"))["step"], 6);
  fs::remove(folder_ / "cats.zip");
  expect_error(resume + "--data cats.zip --steps 8", 3, "where the pictures are elsewhere now, add --data FOLDER");
  dirty::write(folder_ / "cats.zip", dirty::zip_of(folder_ / "cats"));
  for (const std::string command : {"inspect cats.zip --json", "data check cats.zip --json"}) {
    const auto json = nlohmann::json::parse(run(command).out);
    EXPECT_EQ(json["kind"], "zip") << command;
    EXPECT_EQ(json["usable"], 24) << command;
  }
  EXPECT_EQ(nlohmann::json::parse(run("eval cats --data cats.zip --json").out)["pictures"], 24);
  EXPECT_EQ(run("data pairs cats.zip -o pairs --make gray").code, 0);
  dirty::write(folder_ / "cats.zip", dirty::bytes_of("PK\3\4 and no more"));
  for (const char* command : {"inspect cats.zip", "data check cats.zip", "train --data cats.zip"}) expect_error(command, 3, "as a zip");
}
#endif

TEST_F(CliData, ItsOwnRunsAreNoPictures) {
  put_pictures("pictures", 24);
  const std::string train = "train --data pictures --out pictures/runs --steps 2 --snap 1" + small;
  EXPECT_EQ(run(train).code, 0);
  const Finished second = run(train);
  EXPECT_EQ(second.code, 0);
  EXPECT_NE(second.err.find("left out: run folders (1)"), std::string::npos) << second.err;
  std::vector<nlohmann::json> data;
  for (const auto& entry : fs::directory_iterator(folder_ / "pictures/runs")) data.push_back(run_json(entry.path())["data"]);
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data[0]["pictures"], 24);
  EXPECT_EQ(data[0], data[1]);
}

TEST_F(CliData, ThumbnailsAreLeftOutAndCounted) {
  put_pictures("pictures", 24);
  put_pictures("pictures/@eaDir/a.png", 5);
  const Finished check = run("data check pictures --json");
  EXPECT_EQ(check.code, 0);
  const auto json = nlohmann::json::parse(check.out);
  EXPECT_EQ(json["files"], 24);
  EXPECT_EQ(json["left_out"], (nlohmann::json{{"thumbnails", 5}}));
  EXPECT_NE(run("data check pictures").out.find("left out: thumbnails (5)"), std::string::npos);
  EXPECT_NE(run("inspect pictures").out.find("thumbnails  5"), std::string::npos);
  EXPECT_NE(run("train --data pictures --steps 1" + small).err.find("left out: thumbnails (5)"), std::string::npos);
  EXPECT_NE(run("data pairs pictures -o pairs --make gray").out.find("left out: thumbnails (5)"), std::string::npos);
}

TEST_F(CliData, EvalTellsWhatItLeftOut) {
  put_pictures("a", 24), put_pictures("b b", 24);
  const std::string eval = "eval a --data 'b b' --json";
  const auto whole = nlohmann::json::parse(run(eval).out);
  EXPECT_EQ(whole["skipped"], 0);
  EXPECT_EQ(whole["pictures"], 24);
  cut(fs::directory_iterator(folder_ / "b b")->path());
  put_pictures("a/@eaDir", 2);
  const Finished f = run(eval);
  EXPECT_EQ(f.code, 0);
  EXPECT_NE(f.err.find("1 files in 'b b' can't be used and are left out; `pastiche data check 'b b'` lists them"), std::string::npos) << f.err;
  EXPECT_NE(f.err.find("left out of 'a': thumbnails (2)"), std::string::npos) << f.err;
  EXPECT_EQ(nlohmann::json::parse(f.out)["skipped"], 1);
  EXPECT_EQ(nlohmann::json::parse(f.out)["pictures"], 23);
}

// Permissions stop no root, so the folder is one that is nested too deep; test_data.cpp has the others.
TEST_F(CliData, AFolderThatCantBeEnteredIsRefused) {
  put_pictures("pictures", 10);
  std::string deep = "pictures/most";
  for (int i = 0; i < 70; ++i) deep += "/d";
  put_pictures(deep, 30);
  for (const std::string& command : {"train --data pictures --steps 1" + small, std::string("eval pictures --data pictures"),
                                     std::string("data pairs pictures -o out --make gray")}) {
    expect_error(command, 3, "nobody knows how many pictures would be missing");
  }
  const Finished check = run("data check pictures --json");
  EXPECT_EQ(check.code, 3);
  const auto json = nlohmann::json::parse(check.out);
  EXPECT_EQ(json["usable"], 10);
  EXPECT_EQ(json["unusable"].size(), 1u);
  EXPECT_NE(run("inspect pictures").out.find("a folder, with all in it"), std::string::npos);
}

TEST_F(CliData, InterruptedPairsCanBeRepeated) {
  const std::string pairs = "data pairs " + emoji + " --make edges --size 200 -o pairs";
  const pid_t child = fork();
  if (child == 0) {
    execl("/bin/sh", "sh", "-c", ("cd " + folder_.string() + " && exec " PASTICHE_PROGRAM " " + pairs + " >out 2>err").c_str(), nullptr);
    _exit(127);
  }
  const auto made = [&] {
    std::error_code ignored;
    std::ptrdiff_t count = 0;
    for (fs::directory_iterator file(folder_ / "pairs/pairs.tmp/B", ignored), end; file != end; file.increment(ignored)) ++count;
    return count;
  };
  int status = 0;
  while (made() < 5 && waitpid(child, &status, WNOHANG) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << text_of(folder_ / "err");
  EXPECT_TRUE(fs::exists(folder_ / "pairs/pairs.tmp"));
  const Finished again = run(pairs);
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("257 pairs"), std::string::npos) << again.out;
  EXPECT_FALSE(fs::exists(folder_ / "pairs/pairs.tmp"));
  expect_error(pairs, 4, "holds something already");
}

// In a set that is larger than the cache. Both kinds of task go on, and tell it.
TEST_F(CliData, PicturesThatBreakLaterAreReplacedAndTold) {
  const Image picture{256, 512, 3, std::vector<std::uint8_t>(256 * 512 * 3, 99)};
  for (const std::string model : {"dcgan", "pix2pix"}) {
    const fs::path data = folder_ / model;
    put_many(data, picture);
    TrainConfig config = default_config(model);
    config.data = data;
    config.size = {256, 256};
    config.ngf = config.ndf = 1;
    config.batch = 4;
    config.grid = "2x2";
    if (model == "pix2pix") config.holdout = "0.01";
    const Method& method = find_method(model);
    const auto training_data = method.open_data(config);
    const auto backend = make_backend("cpu", 1);
    const auto trainer = method.make_trainer(*backend, config, DType::f32);
    const Image before = trainer->samples(training_data->examples());
    training_data->start_loading({.threads = 1});
    break_a_third(data);
    std::vector<std::string> notes;
    for (int step = 0; step < 20; ++step) {
      training_data->prefetch(*trainer);
      for (std::string& note : training_data->take_notes()) notes.push_back(std::move(note));
    }
    // Five by name, and then each time that their number has doubled.
    ASSERT_GE(notes.size(), 6u);
    EXPECT_LE(notes.size(), 8u);
    EXPECT_NE(notes[0].find(".png': it has 100 bytes"), std::string::npos) << notes[0];
    EXPECT_NE(notes[0].find("; another picture takes its place"), std::string::npos) << notes[0];
    EXPECT_NE(notes[5].find("10 pictures can't be used any more"), std::string::npos) << notes[5];
    EXPECT_NE(notes[5].find("`pastiche data check " + data.string() + "`"), std::string::npos) << notes[5];
    EXPECT_GE(training_data->skipped(), 10);
    EXPECT_EQ(trainer->samples(training_data->examples()), before);  // what is shown was read at the start
    EXPECT_NO_THROW(training_data->reals());
    const std::string measured = trainer->measure(training_data->held_out());
    if (model == "dcgan") continue;
    const auto pictures = nlohmann::json::parse(measured)["pictures"].get<int>();  // of 15 held out
    EXPECT_GT(pictures, 0);
    EXPECT_LT(pictures, 15);
  }
}

TEST_F(CliData, ATrainingTellsWhatItReplaced) {
  const Image picture{256, 256, 3, std::vector<std::uint8_t>(256 * 256 * 3, 99)};
  put_many(folder_ / "data", picture);
  const pid_t child = fork();
  if (child == 0) {
    const std::string train = " train --data data --size 256 --ngf 1 --ndf 1 --nz 4 --batch 4 --grid 1x1 --threads 1 --steps 100000";
    execl("/bin/sh", "sh", "-c", ("cd " + folder_.string() + " && exec " PASTICHE_PROGRAM + train + " >out 2>err").c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  bool ended = false;
  const auto wait_for = [&](const auto& condition) {
    while (!condition() && !ended) {
      ended = waitpid(child, &status, WNOHANG) != 0;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  };
  wait_for([&] {
    std::error_code none_yet;
    const fs::directory_iterator runs(folder_ / "runs", none_yet);
    return runs != fs::directory_iterator() && text_of(runs->path() / "stats.jsonl") != "";
  });
  break_a_third(folder_ / "data");
  wait_for([&] { return text_of(folder_ / "err").find("another picture takes its place") != std::string::npos; });
  ASSERT_FALSE(ended) << text_of(folder_ / "err");
  kill(child, SIGTERM);
  waitpid(child, &status, 0);
  EXPECT_EQ(run_json(only_run())["status"], "stopped") << text_of(folder_ / "err");
  EXPECT_GE(run_json(only_run())["data"]["skipped"], 1);
}

}  // namespace
}  // namespace pastiche
