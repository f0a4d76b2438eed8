// Runs, models and results by the names that a user gives them.
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "cli.h"
#include "pastiche/image.h"

namespace pastiche {
namespace {

using nlohmann::json;

std::size_t lines_of(const std::string& text) { return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')); }

// The folder of pictures stands where a folder would be typed first, with or without a method before it.
TEST_F(Cli, TrainTakesAFolder) {
  fs::copy(emoji, folder_ / "My Pictures");
  ASSERT_EQ(run("train 'My Pictures' --steps 1" + small).code, 0);
  EXPECT_EQ(only_run().filename(), "00000-dcgan-My-Pictures");
  ASSERT_EQ(run("train cut 'My Pictures' --style 'My Pictures' --steps 1 --out other --size 16 --ngf 4 --ndf 4 --batch 2 --grid 1x1").code, 0);
  EXPECT_EQ(only_run("other").filename().string().substr(0, 9), "00000-cut");

  const auto refused = [&](const std::string& arguments, const std::string& words) {
    const Finished f = run(arguments);
    EXPECT_EQ(f.code, 2) << arguments << "\n" << f.err;
    EXPECT_NE(f.err.find(words), std::string::npos) << f.err;
    EXPECT_EQ(lines_of(f.err), 1u) << f.err;
  };
  refused("train 'My Pictures' --data " + emoji + small, "expected one folder");
  refused("train 'Your Pictures'" + small, "neither there, as a folder of pictures, nor a method");
  refused("train 'My Pictures' " + emoji + small, "is no method");
  refused("train cylegan 'My Pictures'" + small, "did you mean cyclegan?");
  refused("train runs/00000-dcgan-My-Pictures", "`pastiche train --resume runs/00000-dcgan-My-Pictures`");
}

TEST_F(Cli, RunsByNumberNameAndLast) {
  for (const char* name : {"a", "b"}) ASSERT_EQ(run("train " + emoji + " --steps 1 --name " + name + small).code, 0);
  for (const char* named : {"last", "1", "00001", "00001-b", "runs/00001-b", "runs/00001-b/model.safetensors"}) {
    const Finished f = run(std::string("generate ") + named + " --grid 1x1 --force");
    EXPECT_EQ(f.out, "00001-b-grid.png\n") << named << f.err;
  }
  EXPECT_EQ(run("generate 0 --grid 1x1").out, "00000-a-grid.png\n");
  EXPECT_EQ(run("generate 0 --from 00000-a-grid.png -o again.png").out, "again.png\n");
  EXPECT_EQ(run("inspect last").code, 0);
  fs::create_directory(folder_ / "0");  // which is no run
  EXPECT_EQ(run("generate 0 --grid 1x1").out, "00000-a-grid.png\n");
  EXPECT_EQ(run("train --resume 0 --steps 2").code, 0);
  EXPECT_NE(run("runs").out.find("00000-a"), std::string::npos);
  EXPECT_EQ(json::parse(run("runs --json").out)[0]["step"], 2);
  EXPECT_EQ(run("eval last --data " + emoji + " --count 20").code, 0);

  const auto refused = [&](const std::string& arguments, const std::string& words) {
    const Finished f = run(arguments);
    EXPECT_EQ(f.code, 4) << arguments << "\n" << f.err;
    EXPECT_NE(f.err.find(words), std::string::npos) << f.err;
    EXPECT_EQ(lines_of(f.err), 1u) << f.err;
  };
  refused("generate 7 --grid 1x1", "`pastiche runs` lists them");
  refused("train --resume 7", "`pastiche runs` lists them");
  refused("generate runs --grid 1x1", "without a model.safetensors");
  fs::create_directory(folder_ / "pictures");
  refused("train --resume pictures", "'pictures' is no run");
  fs::remove(folder_ / "runs/00001-b/model.safetensors");
  refused("generate last --grid 1x1", "has no model yet");
}

// What is listed is what is there: of a killed run that it does not run, and how far it came since its checkpoint.
TEST_F(Cli, RunsAreListedAsTheyAre) {
  EXPECT_NE(run("runs").out.find("no run in 'runs'"), std::string::npos);
  EXPECT_EQ(run("runs absent").code, 4);
  const pid_t child = started("train " + emoji + " --snap 1h --steps 100000" + small);
  EXPECT_EQ(json::parse(run("runs --json").out)[0]["status"], "running");
  kill(child, SIGKILL);
  ended(child);
  fs::create_directories(folder_ / "runs/00005-strange");
  write("runs/00005-strange/config.toml", "");  // whose run.json is absent
  const json listed = json::parse(run("runs --json").out);
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0]["status"], "killed");
  EXPECT_EQ(listed[0]["method"], "dcgan");
  EXPECT_GE(listed[0]["step"], 3);
  EXPECT_GT(listed[0]["bytes"], 1000);
  EXPECT_EQ(std::string(listed[0]["figure"]).substr(0, 2), "G ");
  EXPECT_EQ(listed[1]["status"], "-");
  EXPECT_EQ(lines_of(run("runs").out), 3u);
}

// A later model, another model and the user's own files are not in its way.
TEST_F(Cli, ResultsReplaceOnlyTheirOwn) {
  ASSERT_EQ(run("train " + emoji + " --steps 1 --name a" + small).code, 0);
  const std::string before = run("generate last --grid 1x1").out;
  EXPECT_EQ(before, "00000-a-grid.png\n");
  EXPECT_EQ(run("generate last --grid 1x1").code, 0) << "the same model made it";
  ASSERT_EQ(run("generate last --seeds 0-2").code, 0);
  fs::create_directories(folder_ / "pictures");
  write("mine.png", "no result");
  write("pictures/seed000001.png", "no result");
  ASSERT_EQ(run("train --resume last --steps 2").code, 0);
  const std::string old = text_of(folder_ / "00000-a-grid.png");
  const auto refused = [&](const std::string& arguments, const std::string& words) {
    const Finished f = run(arguments);
    EXPECT_EQ(f.code, 2) << arguments << "\n" << f.err;
    EXPECT_EQ(f.out, "");
    EXPECT_NE(f.err.find(words), std::string::npos) << f.err;
    EXPECT_EQ(lines_of(f.err), 1u) << f.err;
  };
  refused("generate last --grid 1x1", "'00000-a-grid.png' is there already");
  refused("generate last --seeds 0-9", "and 2 more are there already");
  refused("generate last --seeds 0-9 -o pictures", "--force to replace it");
  refused("generate last --seeds 7 -o mine.png", "'mine.png' is there already");
  refused("generate last --interpolate 2 --seeds 0-1 -o mine.png", "--force");
  EXPECT_EQ(text_of(folder_ / "mine.png"), "no result");
  EXPECT_EQ(text_of(folder_ / "00000-a-grid.png"), old);
  EXPECT_EQ(run("generate last --grid 1x1 --force").code, 0);
  EXPECT_NE(text_of(folder_ / "00000-a-grid.png"), old);
}

TEST_F(Cli, StyledResultsReplaceOnlyTheirOwn) {
  const std::string tiny = " --size 16 --ngf 4 --ndf 4 --batch 2 --grid 1x1 --threads 1 ";
  ASSERT_EQ(run("train cut " + emoji + " --style " + emoji + " --steps 1" + tiny).code, 0);
  fs::copy(fs::path(emoji) / "emoji_u00a9.png", folder_ / "a.png");
  fs::copy(fs::path(emoji) / "emoji_u00a9.png", folder_ / "b.png");
  ASSERT_EQ(run("stylize last a.png b.png -o styled --picture-format jpg").out, "styled/a.jpg\nstyled/b.jpg\n");
  EXPECT_EQ(probe_picture(read_file(folder_ / "styled/a.jpg")).format, PictureFormat::jpeg);
  EXPECT_EQ(run("stylize last a.png b.png -o styled --picture-format jpg").code, 2) << "a JPEG does not say who made it";
  ASSERT_EQ(run("stylize last a.png b.png -o styled").code, 0);
  EXPECT_EQ(run("stylize last a.png b.png -o styled --strength 0.5").code, 0) << "the same model made them";
  fs::copy(fs::path(emoji) / "emoji_u1f302.png", folder_ / "mine.png");
  EXPECT_EQ(run("stylize last a.png -o mine.png").code, 2);
  EXPECT_EQ(run("stylize last a.png -o mine.png --force").code, 0);
}

// On a terminal one line says how far it is, below all others: it is gone where another line begins, and at the end.
TEST_F(Cli, ProgressLeavesOtherLinesWhole) {
  ASSERT_EQ(run("train " + emoji + " --steps 1" + small).code, 0);
  if (std::system("script -qec true /dev/null >/dev/null 2>&1 </dev/null") != 0) GTEST_SKIP() << "needs script, and terminals";
  const auto begin = std::chrono::steady_clock::now();
  const std::string command = "cd " + folder_.string() + " && script -qec '" PASTICHE_PROGRAM " generate last --threads 1 --seeds 0-2999 -o pictures' typed >/dev/null </dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const bool was_slow = std::chrono::steady_clock::now() - begin > std::chrono::seconds(2);
  std::istringstream lines(text_of(folder_ / "typed"));
  int pictures = 0, progress = 0;
  for (std::string line; std::getline(lines, line);) {
    progress += line.find("ETA") != line.npos;
    const std::string erase = "\r\x1b[K";
    const std::size_t left = line.rfind(erase) == line.npos ? 0 : line.rfind(erase) + erase.size();  // of what was on this line
    if (line.starts_with("Script ") || line.substr(left).empty()) continue;
    EXPECT_EQ(line.substr(left, 13), "pictures/seed") << line;
    ++pictures;
  }
  EXPECT_EQ(pictures, 3000);
  EXPECT_TRUE(progress > 0 || !was_slow);
}

// What is no model says in one line what it is.
TEST_F(Cli, WhatIsNoModel) {
  const auto refused = [&](const std::string& name, std::string_view content, const std::string& words) {
    write(name, content);
    for (const std::string& command : {"generate " + name, "stylize " + name + " " + emoji + " -o out/", "eval " + name + " --data " + emoji}) {
      if (command.starts_with("eval") && !name.ends_with(".safetensors")) continue;
      const Finished f = run(command);
      EXPECT_EQ(f.code, 4) << command << "\n" << f.err;
      EXPECT_NE(f.err.find(words), std::string::npos) << f.err;
      EXPECT_EQ(lines_of(f.err), 1u) << f.err;
    }
  };
  refused("page.safetensors", "\n<!DOCTYPE html><html><head></head></html>", "web page");
  refused("page2.safetensors", "<html><head></head></html>", "web page");
  refused("pointer.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "`git lfs pull`");
  refused("torch.pt", std::string_view("PK\3\4\0\0\0\0\0\0\0\0\0\0", 14), "PyTorch");
  refused("text.txt", "these are the weights of a model", "does not begin with '{'");
  refused("photo.png", text_of(fs::path(emoji) / "emoji_u00a9.png"), "is a picture and not a model");
}

// On one screen, whatever is wrong; and its exit code says whether it can be trained on.
TEST_F(Cli, DataCheckFitsOneScreen) {
  const fs::path data = folder_ / "data";
  fs::copy(emoji, data);
  fs::copy(data / "emoji_u00a9.png", data / "again.png");
  for (int i = 0; i < 60; ++i) {
    write("data/broken" + std::to_string(i) + ".png", text_of(data / "emoji_u00a9.png").substr(0, static_cast<std::size_t>(20 + 4 * i)));
    write("data/gray" + std::to_string(i) + ".png", "no picture " + std::to_string(i));
    const auto bytes = encode_png(Image{i + 1, i + 2, 1, std::vector<std::uint8_t>(static_cast<std::size_t>((i + 1) * (i + 2)))});
    write_file_atomically(data / ("size" + std::to_string(i) + ".png"), bytes);
  }
  const Finished check = run("data check data");
  EXPECT_EQ(check.code, 0) << check.out;
  EXPECT_LE(lines_of(check.out), 20u) << check.out;
  EXPECT_NE(check.out.find("318 of 438 pictures usable"), std::string::npos) << check.out;
  EXPECT_NE(check.out.find("and 56 others"), std::string::npos) << check.out;
  EXPECT_NE(check.out.find("'gray0.png' and 59 more: no picture of a format"), std::string::npos) << check.out;
  EXPECT_NE(check.out.find("1 pictures are there more than once, such as 'again.png' and 'emoji_u00a9.png'"), std::string::npos) << check.out;
  EXPECT_NE(check.out.find("ready for `pastiche train data`"), std::string::npos) << check.out;
  EXPECT_NE(check.out.find("sizes (width x height): 32x32 (258), 10x9 (1)"), std::string::npos) << check.out;
  const Finished all = run("data check data --all");
  for (int i = 0; i < 60; ++i) EXPECT_NE(all.out.find("'gray" + std::to_string(i) + ".png': "), std::string::npos) << i;
  EXPECT_EQ(json::parse(run("data check data --json").out)["unusable"].size(), 120u);

  expect_error("data check data/again.png", 3, "is one picture; give the folder");
  expect_error("train data/again.png", 3, "is one picture; give the folder");

  for (int i = 0; i < 400; ++i) write("data/more" + std::to_string(i) + ".png", "no picture");
  const Finished bad = run("data check data");
  EXPECT_EQ(bad.code, 3) << bad.out;
  EXPECT_NE(bad.out.find("not to be trained on"), std::string::npos) << bad.out;
  EXPECT_EQ(run("train data --steps 1" + small).code, 3);
}

}  // namespace
}  // namespace pastiche
