// What the program does with files of others, and with places that are no plain files.
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <zlib.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "cli.h"
#include "cli/seeds.h"
#include "cli/video.h"
#include "dirty_folder.h"
#include "io/json.h"
#include "pastiche/checkpoint.h"
#include "pastiche/image.h"
#include "pastiche/report.h"
#include "pastiche/sha256.h"
#include "refusal.h"

namespace pastiche {
namespace {

using nlohmann::ordered_json;

const ModelConfig little{.name = "dcgan", .height = 16, .width = 16, .channels = 3, .nz = 4, .ngf = 4, .ndf = 4};

SafetensorsFile generator_of(const ModelConfig& config) {
  const auto backend = make_backend("cpu", 1);
  const auto generator = make_generator(*backend, config, 3);
  return generator_file(*generator, {.model = config, .step = 7, .data = "art", .data_fingerprint = "f", .seed = 3});
}

class CliFiles : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    write_safetensors(folder_ / "m.safetensors", generator_of(little));
  }

  // A command of the shell in the test's folder; its output goes to `out` and `err`.
  int shell(const std::string& command) const {
    const int status = std::system(("cd " + folder_.string() + " && { " + command + "; } >out 2>err </dev/null").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string err() const { return text_of(folder_ / "err"); }

  // m.safetensors with this in place of what it says of itself.
  void write_model(const std::string& name, const std::string& metadata) const {
    SafetensorsFile file = read_safetensors(folder_ / "m.safetensors");
    file.metadata["pastiche"] = metadata;
    write_safetensors(folder_ / name, file);
  }
  ordered_json metadata() const { return ordered_json::parse(read_safetensors(folder_ / "m.safetensors").metadata.at("pastiche")); }
  std::string hash() const { return sha256_hex(read_file(folder_ / "m.safetensors")); }

  SafetensorsFile write_translator(const TranslatorConfig& config) const {
    const auto backend = make_backend("cpu", 1);
    const SafetensorsFile file = translator_file(*make_translator(*backend, config, 3), {.network = config, .method = "cut", .data = "a", .data_fingerprint = "f"});
    write_safetensors(folder_ / "t.safetensors", file);
    return file;
  }
  void write_picture(const std::string& name, const PictureText& text) const {
    write_file_atomically(folder_ / name, encode_png({1, 1, 1, {0}}, text));
  }
  void expect_no_temporary_files() const {
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) EXPECT_FALSE(is_temporary_name(entry.path().filename().native())) << entry.path();
  }
};

bool is_png(const std::string& text) { return text.starts_with("\x89PNG\r\n\x1a\n"); }

// Each line as a terminal may show it.
void expect_plain(const std::string& text) {
  std::stringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_EQ(line, printable(line));
}

// ---- writing ---------------------------------------------------------------------------------------------------------

const std::string grid = PASTICHE_PROGRAM " generate m.safetensors --grid 1x1 --threads 1 -o ";

TEST_F(CliFiles, ResultsGoThroughLinksAndKeepModes) {
  fs::create_directory(folder_ / "elsewhere");
  write("elsewhere/old.png", "old");
  fs::permissions(folder_ / "elsewhere/old.png", fs::perms(0640));
  fs::create_symlink("elsewhere/old.png", folder_ / "link.png");
  fs::create_symlink("elsewhere/new.png", folder_ / "dangling.png");
  fs::create_symlink("dangling.png", folder_ / "second.png");
  ASSERT_EQ(shell(grid + "link.png --force && umask 027 && " + grid + "second.png"), 0) << err();
  EXPECT_TRUE(fs::is_symlink(folder_ / "link.png"));
  EXPECT_TRUE(is_png(text_of(folder_ / "elsewhere/old.png")));
  EXPECT_EQ(fs::status(folder_ / "elsewhere/old.png").permissions(), fs::perms(0640));
  EXPECT_TRUE(fs::is_symlink(folder_ / "dangling.png"));
  EXPECT_TRUE(is_png(text_of(folder_ / "elsewhere/new.png")));
  EXPECT_EQ(fs::status(folder_ / "elsewhere/new.png").permissions(), fs::perms(0640));
  fs::create_symlink("loop.png", folder_ / "loop.png");
  EXPECT_EQ(shell(grid + "loop.png"), 4);
  expect_no_temporary_files();
}

TEST_F(CliFiles, ResultsGoIntoFifosAndDevices) {
  ASSERT_EQ(mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  ASSERT_EQ(shell("cat fifo >got & " + grid + "fifo; code=$?; wait; exit $code"), 0) << err();
  EXPECT_TRUE(fs::is_fifo(folder_ / "fifo"));
  EXPECT_TRUE(is_png(text_of(folder_ / "got")));
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  write_file_atomically(folder_ / "p.png", encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  ASSERT_EQ(shell("cat fifo >got & " PASTICHE_PROGRAM " stylize t.safetensors p.png --threads 1 -o fifo; code=$?; wait; exit $code"), 0) << err();
  EXPECT_TRUE(fs::is_fifo(folder_ / "fifo"));
  EXPECT_TRUE(is_png(text_of(folder_ / "got")));
  if (mknod((folder_ / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)) != 0) GTEST_SKIP() << "no right to make a device";
  if (shell("exec 3>null") != 0) GTEST_SKIP() << "devices can't be opened here";
  ASSERT_EQ(shell(grid + "null"), 0) << err();
  EXPECT_TRUE(fs::is_character_file(folder_ / "null"));
}

TEST_F(CliFiles, OneResultGoesToStandardOutput) {
  ASSERT_EQ(run("generate m.safetensors --seeds 5 -o pictures").code, 0);
  for (const std::string arguments : {"m.safetensors --grid 2x1 -o -", "m.safetensors --seeds 5 -o -", "m.safetensors --from pictures/seed000005.png -o -",
                                      "m.safetensors --interpolate 2 --seeds 0-1 -o -", "m.safetensors --grid 2x1 -o /dev/stdout"}) {
    const Finished f = run("generate " + arguments);
    EXPECT_EQ(f.code, 0) << f.err;
    EXPECT_TRUE(is_png(f.out)) << arguments;
    EXPECT_EQ(f.out.substr(f.out.size() - 8, 4), "IEND") << arguments << ": something follows the picture";
  }
  EXPECT_FALSE(fs::exists(folder_ / "-"));
  expect_error("generate m.safetensors --seeds 0-1 -o -", 2, "2 pictures don't fit into one stream");
}

TEST_F(CliFiles, NoMetadataLeavesPathAndCommandOut) {
  const auto keys = [&](const std::string& options) {
    EXPECT_EQ(run("generate m.safetensors --seeds 5 -o pictures" + options).code, 0);
    std::vector<std::string> found;
    for (const auto& [key, value] : read_png_text(read_file(folder_ / "pictures/seed000005.png"))) found.push_back(key);
    return found;
  };
  EXPECT_EQ(keys(""), (std::vector<std::string>{"Software", "Model", "Model SHA-256", "Seeds", "Command"}));
  EXPECT_EQ(keys(" --no-metadata"), (std::vector<std::string>{"Software", "Model SHA-256", "Seeds"}));
  EXPECT_EQ(run("generate m.safetensors --from pictures/seed000005.png").code, 0);
  EXPECT_EQ(read_picture(folder_ / "m-again.png"), read_picture(folder_ / "pictures/seed000005.png"));
  EXPECT_NE(run("stylize --help").out.find("--no-metadata"), std::string::npos);
}

// What standard output did not take is not there, whatever the exit code says.
TEST_F(CliFiles, OutputThatFailsIsAnError) {
  fs::create_directory(folder_ / "d");
  for (int i = 0; i < 4; ++i) write_file_atomically(folder_ / ("d/" + std::to_string(i) + ".png"), encode_png({16, 16, 3, std::vector<std::uint8_t>(768, std::uint8_t(40 * i))}));
  write("bench.json", R"({"context":{},"benchmarks":[{"run_type":"iteration","run_name":"a/b/c/d/warm","real_time":1,"time_unit":"ms"}]})");
  for (const std::string command : {"--version", "--help", "train --help", "data check d", "data check d --json", "inspect d", "inspect m.safetensors --json",
                                    "eval d --data d --count 2 --threads 1", "eval d --data d --count 2 --threads 1 --json", "generate m.safetensors --grid 1x1 -o -",
                                    "generate m.safetensors --grid 1x1 -o o.png", "data pairs d -o p --make gray", "bench table bench.json",
                                    "bench compare bench.json bench.json", "train --data d --plan --steps 1 --size 16 --ngf 4 --ndf 4 --batch 2 --threads 1"}) {
    EXPECT_EQ(shell(PASTICHE_PROGRAM " " + command + " >/dev/full"), 4) << command << "\n" << err();
    EXPECT_NE(err().find("can't write to standard output"), std::string::npos) << command << "\n" << err();
    EXPECT_EQ(std::ranges::count(err(), '\n'), 1) << command << "\n" << err();
  }
}

TEST_F(CliFiles, ClosedOutputLosesNoResultSilently) {
  EXPECT_EQ(shell("exec 7>&2; " + grid + "- 2>&7 >&-"), 4);
  EXPECT_NE(err().find("can't write to standard output"), std::string::npos) << err();
  EXPECT_EQ(shell(PASTICHE_PROGRAM " train --data " + emoji + small + "--steps 1 >&-"), 0) << err();
}

TEST_F(CliFiles, FailedMessagesStopNothing) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  fs::create_directory(folder_ / "mix");
  write("mix/a.png", "no picture");
  for (const char* name : {"mix/b.png", "mix/c.png"}) write_file_atomically(folder_ / name, encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors mix -o made --threads 1 2>/dev/full"), 1);
  EXPECT_TRUE(fs::exists(folder_ / "made/b.png") && fs::exists(folder_ / "made/c.png"));
  EXPECT_EQ(shell(PASTICHE_PROGRAM " eval mix --data mix --count 2 --threads 1 2>/dev/full"), 0);
  EXPECT_EQ(shell(PASTICHE_PROGRAM " generate --bogus 2>/dev/full"), 2);
}

TEST_F(CliFiles, StandardOutputByItsOtherNames) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  write_file_atomically(folder_ / "p.png", encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  const std::string stylize = PASTICHE_PROGRAM " stylize t.safetensors p.png --threads 1 -o ", generate = PASTICHE_PROGRAM " generate m.safetensors --threads 1 ";
  for (const std::string& command : {stylize + "/dev/stdout", stylize + "/dev/fd/1", generate + "--seeds 0 -o /dev/stdout", generate + "--interpolate 2 --seeds 0-1 -o /dev/stdout"}) {
    EXPECT_EQ(shell(command + " >got"), 0) << command << err();
    EXPECT_TRUE(is_png(text_of(folder_ / "got"))) << command;
    EXPECT_EQ(shell("{ " + command + " || echo failed; } | cat >got"), 0);
    EXPECT_TRUE(is_png(text_of(folder_ / "got"))) << command << err();
  }
  EXPECT_EQ(shell(generate + "--seeds 0 -o /dev/null"), 0) << err();
  ASSERT_EQ(mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(shell("cat fifo >got & timeout 60 " + generate + "--seeds 0 -o fifo; code=$?; wait; exit $code"), 0) << err();
  EXPECT_TRUE(is_png(text_of(folder_ / "got")));
  expect_error("generate m.safetensors --seeds 0-1 -o fifo", 2, "2 pictures don't fit into one stream");
}

TEST_F(CliFiles, NamesThatCannotBeLookedAtAreBadFiles) {
  const std::string name = std::string(300, 'x');
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  write_file_atomically(folder_ / "p.png", encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  for (const std::string& arguments : {"inspect " + name, "stylize t.safetensors " + name + " -o o.png", "stylize t.safetensors p.png -o " + name + "/", "stylize t.safetensors p.png -o " + name + ".png",
                                       "stylize t.safetensors " + name + ".mp4 -o o.mp4", "generate m.safetensors --grid 1x1 -o " + name + ".png"}) {
    expect_error(arguments, 4, "File name too long");
  }
}

TEST_F(CliFiles, MinusIsNoFolder) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  write_file_atomically(folder_ / "p.png", encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  fs::create_directory(folder_ / "-");
  EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors - -o o.png --threads 1 <p.png"), 0) << err();
  EXPECT_TRUE(is_png(text_of(folder_ / "o.png")));
  fs::remove(folder_ / "-");
  expect_error("data pairs " + emoji + " -o - --make gray", 2, "--out -: expected a folder");
  EXPECT_FALSE(fs::exists(folder_ / "-"));
}

TEST_F(CliFiles, FilesAboveTheLimitAreAnError) {
  EXPECT_EQ(shell("ulimit -f 1; " PASTICHE_PROGRAM " generate m.safetensors --grid 8x8 --threads 1 -o big.png 2>/dev/full"), 4);
  EXPECT_EQ(shell("mkfifo e; cat e >&2 & ulimit -f 1; " PASTICHE_PROGRAM " generate m.safetensors --grid 8x8 --threads 1 -o big.png 2>e; code=$?; wait; exit $code"), 4);
  EXPECT_NE(err().find("ulimit -f"), std::string::npos) << err();
  expect_no_temporary_files();
}

TEST_F(CliFiles, StylizeTellsWhatIsLeftOut) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  fs::create_directories(folder_ / "in/.thumbnails");
  for (const char* name : {"in/p.png", "in/.thumbnails/p.png"}) write_file_atomically(folder_ / name, encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors in -o o --threads 1"), 0);
  EXPECT_NE(err().find("left out of 'in': "), std::string::npos) << err();
}

TEST_F(CliFiles, ForbiddenModelsAreToldAsSuch) {
  if (geteuid() == 0 && std::system("command -v setpriv >/dev/null") != 0) GTEST_SKIP() << "needs setpriv";
  fs::permissions(folder_, fs::perms(0755));
  fs::permissions(folder_ / "m.safetensors", fs::perms::none);
  const std::string nobody = geteuid() == 0 ? "setpriv --reuid 65534 --clear-groups " : "";
  const int code = shell(nobody + PASTICHE_PROGRAM " inspect m.safetensors");
  if (code == 127 || code == 126) GTEST_SKIP() << "the program can't be run by another";
  EXPECT_EQ(code, 4);
  EXPECT_NE(err().find("Permission denied"), std::string::npos) << err();
}

TEST_F(CliFiles, WeakFileSystemsWorkWithANote) {
  const std::string preload = "LD_PRELOAD=" PASTICHE_WEAK_FILE_SYSTEM " ";
  for (const std::string lacks : {"NO_FOLDER_SYNC=1 ", "NO_UNNAMED=1 ", "NO_HARD_LINKS=1 ", "NO_LOCKS=1 ", "NO_FOLDER_SYNC=1 NO_UNNAMED=1 NO_LOCKS=1 "}) {
    fs::remove(folder_ / "o.png");
    ASSERT_EQ(shell(lacks + preload + grid + "o.png"), 0) << lacks << err();
    EXPECT_TRUE(is_png(text_of(folder_ / "o.png"))) << lacks;
    EXPECT_EQ(err().find("can't sync everything") != std::string::npos, lacks.find("SYNC") != std::string::npos) << lacks << err();
    expect_no_temporary_files();
  }
  ASSERT_EQ(shell("NO_FOLDER_SYNC=1 NO_LOCKS=1 " + preload + PASTICHE_PROGRAM " train --steps 2 --data " + emoji + small), 0) << err();
  for (const char* words : {"has no locks", "can't sync everything"}) {
    const std::string text = err();
    const std::size_t at = text.find(words);
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_EQ(text.find(words, at + 1), std::string::npos) << "told once: " << text;
  }
  EXPECT_TRUE(fs::exists(only_run() / "model.safetensors"));
}

// Of a process that a signal ends; one that is killed outright leaves them to the next.
TEST_F(CliFiles, TemporaryFilesGoWithTheProcess) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  fs::create_directory(folder_ / "bin");
  const auto script = [&](const std::string& name, const std::string& text) {
    fs::permissions(write("bin/" + name, "#!/bin/sh\n" + text), fs::perms::owner_all);
  };
  script("ffprobe", "echo '{\"streams\":[{\"codec_type\":\"video\",\"r_frame_rate\":\"25/1\"}]}'\n");
  script("ffmpeg", "for last; do :; done\nif [ \"$last\" = - ]; then touch started; exec sleep 20; else exec cat >/dev/null; fi\n");
  write("film.mp4", "");
  const auto ended_by = [&](int signal) {
    fs::remove(folder_ / "started");
    const pid_t child = fork();
    if (child == 0) {
      std::signal(signal, SIG_DFL);  // or what ran the tests has it ignored
      const std::string command = "cd " + folder_.string() + " && PATH=$PWD/bin:$PATH exec " PASTICHE_PROGRAM " stylize t.safetensors film.mp4 -o o.mp4 >out 2>err";
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    for (int i = 0; i < 2000 && !fs::exists(folder_ / "started"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status << err();
  };
  const auto temporary_files = [&] {
    return std::ranges::count_if(fs::directory_iterator(folder_), [](const auto& entry) { return is_temporary_name(entry.path().filename().native()); });
  };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ended_by(signal);
    EXPECT_EQ(temporary_files(), 0) << signal;
  }
  ended_by(SIGKILL);
  EXPECT_EQ(temporary_files(), 1);
  ended_by(SIGTERM);
  EXPECT_EQ(temporary_files(), 0);
}

// ---- a run folder of others ------------------------------------------------------------------------------------------

TEST_F(CliFiles, ReceivedRunFoldersDoNotReachOutside) {
  ASSERT_EQ(run("train --steps 2 --snap 1 --data " + emoji + small).code, 0);
  const fs::path folder = only_run();
  const std::string precious = "{\"step\":99}\nprecious";
  for (const char* name : {"lock", "stats.jsonl", "ckpt", "samples"}) {
    SCOPED_TRACE(name);
    const fs::path away = folder_ / ("away-" + std::string(name)), own = folder / name;
    const bool is_folder = fs::is_directory(own);
    fs::rename(own, away);
    if (!is_folder) write_file_atomically(away, precious);
    fs::create_symlink(away, own);
    const Finished f = run("train --resume " + folder.string());
    EXPECT_EQ(f.code, 4) << f.err;
    EXPECT_NE(f.err.find("symbolic link"), std::string::npos) << f.err;
    EXPECT_TRUE(is_folder || text_of(away) == precious) << text_of(away);
    fs::remove(own);
    if (is_folder) fs::rename(away, own);
  }
  // Others are replaced, and the report does not bring in what a link leads to.
  write("outside.json", "{\"secret\":\"precious\"}");
  fs::remove(folder / "run.json");
  fs::create_symlink(folder_ / "outside.json", folder / "run.json");
  write_report(folder);
  EXPECT_EQ(text_of(folder / "report.html").find("precious"), std::string::npos);
  ASSERT_EQ(run("train --resume " + folder.string()).code, 0);
  EXPECT_EQ(text_of(folder_ / "outside.json"), "{\"secret\":\"precious\"}");
  EXPECT_FALSE(fs::is_symlink(folder / "run.json"));

  const auto resume_with = [&](const std::string& metadata) {
    for (const auto& entry : fs::directory_iterator(folder / "ckpt")) {
      SafetensorsFile file = read_safetensors(entry.path());
      file.metadata["pastiche"] = metadata;
      write_safetensors(entry.path(), file);
    }
    return run("train --resume " + folder.string());
  };
  ordered_json json = ordered_json::parse(read_safetensors(fs::directory_iterator(folder / "ckpt")->path()).metadata.at("pastiche"));
  json.erase("checksum");
  const std::string good = json.dump();
  std::vector<std::string> bad{good.substr(0, good.size() - 1) + ",\"x\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}"};
  for (const char* key : {"format_version", "kind", "step", "seconds", "threads", "backend", "data_fingerprint"}) {
    for (const ordered_json& other : {ordered_json(), ordered_json(true), ordered_json::array(), ordered_json::object(), ordered_json(-1)}) {
      json = ordered_json::parse(good);
      json[key] = other;
      bad.push_back(json.dump());
    }
  }
  for (const char* key : {"step", "threads"}) {
    for (const double other : {1e300, 0.5}) {
      json = ordered_json::parse(good);
      json[key] = other;
      bad.push_back(json.dump());
    }
  }
  for (const std::string& metadata : bad) {
    const Finished f = resume_with(metadata);
    EXPECT_EQ(f.code, 4) << metadata.substr(0, 1000) << f.err;
    EXPECT_EQ(std::ranges::count(f.err, '\n'), 1) << f.err;
  }
}

// ---- reading ---------------------------------------------------------------------------------------------------------

TEST_F(CliFiles, MetadataOfWrongTypesIsABadFile) {
  const auto backend = make_backend("cpu", 1);
  const ordered_json good = metadata();
  const ordered_json wrong[] = {nullptr, true, "x", -1, 1e300, 0.5, 18446744073709551615u, ordered_json::array({1}), ordered_json::object()};
  const auto expect_bad = [&](const ordered_json& json, const std::string& what) {
    write_model("bad.safetensors", json.dump());
    EXPECT_NE(refusal(ExitCode::bad_file, [&] { load_generator(*backend, folder_ / "bad.safetensors"); }).find("bad.safetensors"), std::string::npos) << what;
  };
  for (const char* section : {"", "model", "training"}) {
    const ordered_json& members = *section == 0 ? good : good[section];
    for (const auto& [key, value] : members.items()) {
      if (key == "pictures") continue;  // says what it is to people and is not read
      for (const ordered_json& other : wrong) {
        const bool good_too = (other == "x" && value.is_string() && key != "name" && key != "kind") || (other == true && value.is_boolean()) ||
                              (other == 0.5 && key == "dropout");
        if (good_too) continue;
        ordered_json json = good;
        (*section == 0 ? json : json[section])[key] = other;
        expect_bad(json, section + (":" + key) + other.dump());
      }
      ordered_json json = good;
      (*section == 0 ? json : json[section]).erase(key);
      expect_bad(json, section + (" without " + key));
    }
  }
  ordered_json json = good;
  json["model"]["height"] = 16.0;  // a whole number, but not written as one
  expect_bad(json, "16.0");
  json["model"]["height"] = 1e300;  // would be undefined as an integer
  expect_bad(json, "1e300");
  write_model("bad.safetensors", json.dump());
  expect_error("generate bad.safetensors", 4, "'height' is");
  expect_error("eval bad.safetensors --data " + emoji, 4, "'height' is");
}

TEST_F(CliFiles, DeepAndWideMetadataIsBounded) {
  std::string deep = metadata().dump();
  deep.replace(deep.find("\"model\":{"), 9, "\"model\":" + std::string(200'000, '[') + std::string(200'000, ']') + ",\"x\":{");
  write_model("deep.safetensors", deep);
  std::string wide = metadata().dump();
  wide.pop_back();
  for (int i = 0; i < 150'000; ++i) wide += ",\"k" + std::to_string(i) + "\":0";
  write_model("wide.safetensors", wide + "}");
  for (const std::string name : {"deep", "wide"}) {
    expect_error("generate " + name + ".safetensors", 4, name + ".safetensors");
    expect_error("stylize " + name + ".safetensors m.safetensors -o o.png", 4, name + ".safetensors");
    const Finished f = run("inspect " + name + ".safetensors --json");
    ASSERT_EQ(f.code, 0) << f.err;
    EXPECT_TRUE(nlohmann::json::parse(f.out)["metadata"]["pastiche"].is_string()) << "shown as the text that it is, and not taken apart";
  }
  fs::create_directory(folder_ / "run");
  write("run/run.json", "{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}");
  expect_error("inspect run", 4, "run.json");
  write("bench.json", std::string(100'000, '[') + std::string(100'000, ']'));
  expect_error("bench table bench.json", 4, "bench.json");
  write("bench.json", R"({"context":{},"benchmarks":[{"run_type":7,"run_name":[]}]})");
  EXPECT_EQ(run("bench table bench.json").code, 0);
  write("bench.json", R"({"context":{},"benchmarks":[{"run_type":"iteration","run_name":[]}]})");
  expect_error("bench table bench.json", 4, "bench.json");
}

TEST(BoundedJson, CountsOutsideOfStrings) {
  EXPECT_TRUE(within("[[[1]]]", {.depth = 3}));
  EXPECT_FALSE(within("[[[1]]]", {.depth = 2}));
  EXPECT_TRUE(within(R"({"a[[[[[":"]\"[[[[["})", {.depth = 1}));
  EXPECT_FALSE(within("[1,2,3]", {.values = 3}));
  EXPECT_TRUE(within("[1,2,3]", {.values = 4}));
  EXPECT_FALSE(within("1234", {.bytes = 3}));
  EXPECT_FALSE(parse_json("{\"a\":").has_value());
  EXPECT_EQ(parse_json("{\"a\":[1]}").value()["a"][0], 1);
}

TEST_F(CliFiles, SmallModelFilesTakeLittleMemory) {
  ordered_json json = metadata();
  json["model"].update({{"ngf", 4096}, {"height", 4096}, {"width", 4096}, {"nz", 65536}});
  write_model("big.safetensors", json.dump());
  const Finished f = run("generate big.safetensors --grid 1x1 --threads 1");
  EXPECT_EQ(f.code, 4) << f.err;
  EXPECT_NE(f.err.find("more numbers than the file holds"), std::string::npos) << f.err;
  EXPECT_LT(f.peak_mib, 300);
  SafetensorsFile file = write_translator({.name = "unet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .depth = 2});
  json = ordered_json::parse(file.metadata["pastiche"]);
  json["network"].update({{"ngf", 4096}, {"depth", 12}});
  file.metadata["pastiche"] = json.dump();
  write_safetensors(folder_ / "unet.safetensors", file);
  write_picture("p.png", {});
  const Finished unet = run("stylize unet.safetensors p.png -o o.png --threads 1");
  EXPECT_EQ(unet.code, 4) << unet.err;
  EXPECT_LT(unet.peak_mib, 300);
}

// Neither of them is read: this machine has no memory for them.
TEST_F(CliFiles, HugeFilesOfOthersAreRefusedAtOnce) {
  for (const char* name : {"zeros.safetensors", "braces.safetensors"}) {
    write(name, std::string_view(name).starts_with("z") ? std::string(9, '\0') : std::string("\xff\xff\xff\xff\xff\0\0\0{", 9));
    fs::resize_file(folder_ / name, std::uintmax_t{1} << 42);
    for (const std::string command : {"generate ", "inspect ", "stylize -o o.png ", "eval --data . "}) {
      const Finished f = run(command + name + (command.starts_with("stylize") ? " m.safetensors" : ""));
      EXPECT_EQ(f.code, 4) << command << f.err;
      EXPECT_LT(f.peak_mib, 200) << command;
    }
  }
}

// Shapes whose product does not fit, and is 0 in the end.
TEST_F(CliFiles, InspectCountsWithoutOverflow) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[9223372036854775807,2,0],"data_offsets":[0,0]}})";
  std::string file{static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  write("a.safetensors", file + header);
  const Finished f = run("inspect a.safetensors --json");
  ASSERT_EQ(f.code, 0) << f.err;
  EXPECT_EQ(nlohmann::json::parse(f.out)["numbers"], 0);
}

void write_gzip(const fs::path& path, const std::string& text) {
  const gzFile file = gzopen(path.c_str(), "wb1");
  ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
  gzclose(file);
}

TEST_F(CliFiles, GzipTakesTheMemoryThatItHolds) {
  const auto header = [](std::uint32_t count, std::uint8_t side) {
    std::string text("\0\0\x08\x03", 4);
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(count >> shift);
    return text + std::string{0, 0, 0, static_cast<char>(side), 0, 0, 0, static_cast<char>(side)};
  };
  // 192 MiB of pictures: once in memory, and little besides.
  write_gzip(folder_ / "true.gz", header(12 << 10, 128) + std::string(std::size_t{192} << 20, '\0'));
  const Finished honest = run("train --data true.gz --plan --size 8 --batch 2 --ngf 2 --ndf 2 --steps 1 --threads 1");
  EXPECT_EQ(honest.code, 0) << honest.err;
  EXPECT_LT(honest.peak_mib, 192 + 120);
  // A claim of 2 GiB in a file that is long enough to hold so much, and does not.
  std::string noise(std::size_t{3} << 20, '\0');
  std::mt19937 random(1);
  for (char& c : noise) c = static_cast<char>(random());
  write_gzip(folder_ / "false.gz", header(128 << 10, 128) + noise);
  const Finished lying = run("data check false.gz");
  EXPECT_EQ(lying.code, 3) << lying.err;
  EXPECT_NE(lying.out.find("expected 2147483648"), std::string::npos) << lying.out;
  EXPECT_LT(lying.peak_mib, 150);
}

TEST_F(CliFiles, NumbersAreRangeChecked) {
  expect_error("generate m.safetensors --grid 65x1", 2, "at most 64");
  expect_error("generate m.safetensors --grid 100000x100000", 2, "at most 64");
  expect_error("generate m.safetensors --grid 64x99999999999", 2, "at most 64");
  expect_error("generate m.safetensors --seeds 0-18446744073709551615", 2, "at most 100000");
  expect_error("generate m.safetensors --seeds 18446744073709551616", 2, "expected numbers");
  expect_error("generate m.safetensors --threads 99999999999", 2, "threads");
  EXPECT_EQ(run("generate m.safetensors --seeds 18446744073709551615 -o pictures").code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "pictures/seed18446744073709551615.png"));
  EXPECT_EQ(run("eval m.safetensors --data " + emoji + " --count 2 --threads 1 --seed 18446744073709551615").code, 0);
}

TEST(Seeds, TextIsTheReverse) {
  for (const std::string text : {"7", "0-63", "1,5,9-12", "3,3,3", "18446744073709551614-18446744073709551615", "5,4,3-4"})
    EXPECT_EQ(cli::seeds_text(cli::parse_seeds(text)), text);
  EXPECT_EQ(cli::seeds_text(cli::parse_seeds("007,8")), "7-8");
  for (const char* bad : {"", ",", "-", "3-", "-3", "3-2", "x", "1 ", "0-100000", "0-99999,7", "18446744073709551616"}) {
    EXPECT_NE(refusal(ExitCode::usage, [&] { cli::parse_seeds(bad); }), "") << bad;
  }
}

TEST(FrameRate, IsReadFromWhatFfprobeSays) {
  EXPECT_EQ(cli::parse_frame_rate("30000/1001\n"), "30000/1001");
  EXPECT_EQ(cli::parse_frame_rate("25/1\n25/1\n"), "25/1");
  for (const char* bad : {"", "25", "0/1", "25/0", "-25/1", "N/A", "/", "25/", "99999999999/1", "1/99999999999"}) EXPECT_FALSE(cli::parse_frame_rate(bad)) << bad;
}

TEST(Film, IsReadFromWhatFfprobeSays) {
  const auto film = cli::parse_film(R"({"streams": [
    {"codec_type": "audio", "codec_name": "pcm_s16le"},
    {"codec_type": "video", "codec_name": "mjpeg", "r_frame_rate": "90000/1", "avg_frame_rate": "0/0", "width": 500, "disposition": {"attached_pic": 1}},
    {"codec_type": "video", "width": 1920, "height": 1080, "r_frame_rate": "1000/1", "avg_frame_rate": "2997/100", "color_space": "bt709"},
    {"codec_type": "audio", "codec_name": "aac"}], "format": {"duration": "12.5"}})");
  ASSERT_TRUE(film);
  EXPECT_EQ(std::pair(film->seconds, film->frames), std::pair(12.5, std::int64_t{0}));
  EXPECT_EQ(std::pair(film->width, film->height), std::pair(1920, 1080));
  EXPECT_EQ(film->rate, "2997/100") << "the average, as the rate varies";
  EXPECT_EQ(film->matrix, "bt709");
  EXPECT_EQ(film->sound, (std::vector<std::string>{"pcm_s16le", "aac"}));
  const std::string video = R"({"streams": [{"codec_type": "video", "r_frame_rate": "30000/1001")";
  EXPECT_EQ(cli::parse_film(video + R"(, "avg_frame_rate": "14985/500"}]})")->rate, "30000/1001") << "a rounded average";
  EXPECT_EQ(cli::parse_film(video + R"(, "nb_frames": "70"}]})")->frames, 70);
  for (const char* odd : {R"("x")", "7", R"("-3")", R"("1e99")", "null"}) EXPECT_LE(cli::parse_film(video + R"(, "nb_frames": )" + odd + "}]}")->frames, 1) << odd;
  EXPECT_EQ(cli::parse_film(video + "}]}")->rate, "30000/1001");
  for (const char* bad : {"", "[]", "{}", R"({"streams": 7})", R"({"streams": [7]})", R"({"streams": []})", R"({"streams": [{"codec_type": "audio"}]})",
                          R"({"streams": [{"codec_type": "video", "r_frame_rate": "0/0"}]})"}) {
    EXPECT_FALSE(cli::parse_film(bad)) << bad;
  }
}

// ---- printing --------------------------------------------------------------------------------------------------------

const std::string hostile = "\x1b]0;pwn\x07\x1b[2J\x7f\xc2\x9b"  // orders to a terminal, the last in one character
                            "31m\xe2\x80\xae\xff\xed\xa0\x80";   // written from right to left; no UTF-8

std::string single_quoted(const std::string& text) { return "'" + text + "'"; }  // for any shell, and none has such a quote

TEST_F(CliFiles, NothingOfFilesReachesTheTerminalRaw) {
  write_model("m2.safetensors", hostile.substr(0, 12));
  write_file_atomically(folder_ / "p.png", encode_png({1, 1, 1, {0}}, {{"Comment", "\x1b[2J" + hostile.substr(0, 9)}, {"Wide", "\xc2\x9b\xe2\x80\xae"}}));
  fs::create_directory(folder_ / "run");
  write("run/run.json", R"({"status":"\u001b[2J\u009b\u202e","\u001b[31m":{"a":[{"b":"\u001b"}]}})");
  fs::create_directory(folder_ / "data");
  fs::create_directory(folder_ / "empty");
  write("data/" + hostile.substr(0, 3) + hostile.substr(12) + ".png", "no picture");
  write("bench.json", R"({"context":{"device \u001b[2J":"\u001b[2J"},"benchmarks":[{"run_type":"iteration","run_name":"a\u001b/b/c/d/warm","real_time":1,"time_unit":"ms"}]})");
  std::vector<std::string> commands{"data pairs data -o pairs --make gray", "bench table bench.json", "train --data empty --size 16"};
  for (const char* command : {"inspect p.png", "inspect m2.safetensors", "inspect run", "inspect data", "data check data"}) {
    commands.insert(commands.end(), {command, std::string(command) + " --json"});
  }
  for (const char* command : {"", "generate ", "train --data ", "train --bacth ", "train --", "train --grid ", "train --config ", "train --batch ", "train ",
                              "stylize m.safetensors -o x.png ", "generate m.safetensors --grid 1x1 --threads 1 -o ", "generate m.safetensors --seeds ",
                              "generate m.safetensors --threads ", "eval m.safetensors --data "}) {
    commands.push_back(command + single_quoted(hostile));
  }
  for (const std::string& command : commands) {
    const Finished f = run(command);
    EXPECT_NE(f.out + f.err, "") << command;
    SCOPED_TRACE(printable(command));
    expect_plain(f.out);
    expect_plain(f.err);
    EXPECT_TRUE(!command.ends_with("--json") || nlohmann::json::accept(f.out)) << f.out;
  }
  // A training in a folder of such a name.
  const std::string place = "o" + hostile.substr(0, 12);
  const Finished f = run("train --steps 1 --out " + single_quoted(place) + " --data " + emoji + small);
  EXPECT_EQ(f.code, 0) << f.err;
  expect_plain(f.out);
  expect_plain(f.err);
}

TEST_F(CliFiles, AdviceIsQuotedForTheShell) {
  const std::string name = "d;touch pwn $(touch pwn) 'x";
  fs::create_directory(folder_ / name);
  int copied = 0;
  for (const auto& entry : fs::directory_iterator(emoji)) {
    if (entry.path().extension() == ".png" && copied++ < 8) fs::copy(entry.path(), folder_ / name);
  }
  write(name + "/bad.png", "no picture");
  const Finished f = run("train --steps 1 --data " + shell_word(name) + small);
  ASSERT_EQ(f.code, 0) << f.err;
  const std::string begin = "`pastiche data check ";
  const std::size_t at = f.err.find(begin);
  ASSERT_NE(at, std::string::npos) << f.err;
  const std::string argument = f.err.substr(at + begin.size(), f.err.find("` lists") - at - begin.size());
  ASSERT_EQ(shell("printf %s " + argument), 0);
  EXPECT_EQ(text_of(folder_ / "out"), (folder_ / name).string());
  EXPECT_FALSE(fs::exists(folder_ / "pwn"));
}

// ---- others' pictures and films --------------------------------------------------------------------------------------

TEST_F(CliFiles, FromMakesOnePictureOfAModelThatIsGiven) {
  const auto refuses = [&](const PictureText& text, const std::string& words) {
    write_picture("a.png", text);
    expect_error("generate m.safetensors --from a.png --threads 1", 4, words);
  };
  const std::string hash = this->hash();
  refuses({{"Model SHA-256", hash}, {"Seeds", "0-99999"}}, "names 100000 seeds, expected 1");
  refuses({{"Model SHA-256", hash}, {"Seeds", "0-1"}}, "names 2 seeds, expected 1");
  refuses({{"Model SHA-256", hash}, {"Seeds", "0-2"}, {"Grid", "2x2"}}, "names 3 seeds, expected 4");
  refuses({{"Model SHA-256", hash}, {"Seeds", "0-4224"}, {"Grid", "65x65"}}, "at most 64");
  refuses({{"Model SHA-256", hash}, {"Seeds", "many"}}, "no recipe");
  refuses({{"Model SHA-256", hash.substr(1)}, {"Seeds", "1"}}, "does not say");
  refuses({{"Seeds", "1"}}, "does not say");
  refuses({{"Model SHA-256", std::string(64, '0')}, {"Seeds", "1"}}, "is not at 'm.safetensors'");

  // The path that a picture names is only a name: a FIFO there would wait for ever, and m.safetensors itself is not taken.
  write_picture("a.png", {{"Model", (folder_ / "m.safetensors").string()}, {"Model SHA-256", hash}, {"Seeds", "1"}, {"Command", "rm -rf /"}, {"Note", "foreign"}});
  expect_error("generate --from a.png --threads 1", 4, "is not at 'runs'");
  // By its hash in a folder of runs, and what stands in the picture beside the recipe is not carried on.
  fs::create_directories(folder_ / "mine/00000-a");
  fs::create_directories(folder_ / "mine/00001-b");
  fs::copy(folder_ / "m.safetensors", folder_ / "mine/00001-b/model.safetensors");
  write("mine/00000-a/model.safetensors", "another");
  ASSERT_EQ(run("generate mine --from a.png -o again.png --threads 1").code, 0);
  const auto text = read_png_text(read_file(folder_ / "again.png"));
  ASSERT_EQ(text.size(), 5u);
  EXPECT_EQ(text[1], std::pair(std::string("Model"), (fs::canonical(folder_) / "mine/00001-b/model.safetensors").string()));
  EXPECT_EQ(text[2].second, hash);
  EXPECT_EQ(text[3].second, "1");
  EXPECT_EQ(text[4].second, "pastiche generate mine --from a.png -o again.png --threads 1");
  fs::rename(folder_ / "mine", folder_ / "runs");
  // A run's name leads nowhere else.
  fs::create_directory(folder_ / "inner");
  fs::copy(folder_ / "m.safetensors", folder_ / "model.safetensors");
  write_picture("b.png", {{"Model", "x/../model.safetensors"}, {"Model SHA-256", hash}, {"Seeds", "1"}});
  const Finished up = run("generate inner --from b.png -o again.png --threads 1");
  EXPECT_EQ(up.code, 4);
  EXPECT_NE(up.err.find("is not at 'inner'"), std::string::npos) << up.err;
  EXPECT_EQ(run("generate --from a.png -o again.png --threads 1").code, 0);
  fs::remove_all(folder_ / "runs");
}

TEST_F(CliFiles, PlaylistsAreNoVideos) {
  if (std::system("command -v ffmpeg >/dev/null") != 0) GTEST_SKIP() << "needs ffmpeg";
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  for (const char* ending : {"mp4", "mkv", "avi", "webm", "mov", "mpg", "ogv"}) {
    const std::string codec = std::string_view(ending) == "webm" ? "libvpx" : std::string_view(ending) == "ogv" ? "libtheora" : "mpeg4";
    if (shell("ffmpeg -v error -f lavfi -i testsrc=size=32x32:rate=5:duration=1 -c:v " + codec + " film." + ending) != 0) continue;  // not this codec
    EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors film." + std::string(ending) + " -o o.mp4 --force --threads 1"), 0) << ending << err();
    EXPECT_GT(fs::file_size(folder_ / "o.mp4"), 0u);
    fs::remove(folder_ / "o.mp4");
  }
  ASSERT_TRUE(fs::exists(folder_ / "film.mp4"));
  const std::string film = "file:" + (folder_ / "film.mp4").string();
  write("hls.mp4", "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n" + film + "\n#EXT-X-ENDLIST\n");
  write("concat.mp4", "ffconcat version 1.0\nfile '" + film + "'\n");
  write("dash.mp4", "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"></MPD>");
  write("sdp.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n");
  for (const std::string name : {"hls", "concat", "dash", "sdp"}) {
    EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors " + name + ".mp4 -o o.mp4 --force --threads 1"), 4) << name;
    EXPECT_NE(err().find("is no video"), std::string::npos) << err();
    EXPECT_FALSE(fs::exists(folder_ / "o.mp4"));
  }
  // A name is no option, and no other protocol.
  EXPECT_EQ(shell("cp film.mp4 http:x.mp4 && " PASTICHE_PROGRAM " stylize t.safetensors http:x.mp4 -o o.mp4 --force --threads 1"), 0) << err();
  // Where a link leads, and not onto what is no file.
  fs::create_symlink("real.mp4", folder_ / "link.mp4");
  EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors film.mp4 -o link.mp4 --threads 1"), 0) << err();
  EXPECT_TRUE(fs::is_symlink(folder_ / "link.mp4"));
  EXPECT_TRUE(fs::is_regular_file(folder_ / "real.mp4"));
  // What ffmpeg says of a film is told, and not as it is.
  write("\x1b[2J.mp4", "no film");
  EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors *2J.mp4 -o o.mp4 --force --threads 1"), 4);
  expect_plain(err());
  EXPECT_EQ(std::ranges::count(err(), '\n'), 1) << err();
  EXPECT_NE(err().find("that ffmpeg can read: "), std::string::npos) << err();
  ASSERT_EQ(mkfifo((folder_ / "fifo.mp4").c_str(), 0600), 0);
  EXPECT_EQ(shell("timeout 20 " PASTICHE_PROGRAM " stylize t.safetensors fifo.mp4 -o o.mp4 --force --threads 1"), 4);
  EXPECT_NE(err().find("not a regular file"), std::string::npos) << err();
  EXPECT_EQ(shell(PASTICHE_PROGRAM " stylize t.safetensors film.mp4 -o fifo.mp4 --threads 1"), 2) << err();
  EXPECT_TRUE(fs::is_fifo(folder_ / "fifo.mp4"));
  expect_no_temporary_files();
}

// ---- names and numbers of results ------------------------------------------------------------------------------------

TEST_F(CliFiles, EndingsNameFormatsInAnyCase) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  write_file_atomically(folder_ / "p.PNG", encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  for (const std::string command : {"stylize t.safetensors p.PNG -o ", "generate m.safetensors --grid 2x2 -o ", "generate m.safetensors --seeds 3 -o "}) {
    for (const auto& [name, format] : {std::pair("x.JPG", PictureFormat::jpeg), std::pair("x.Jpeg", PictureFormat::jpeg), std::pair("x.WebP", PictureFormat::webp), std::pair("x.PNG", PictureFormat::png)}) {
      const Finished f = run(command + name + " --force");
      ASSERT_EQ(f.code, 0) << command << name << f.err;
      EXPECT_EQ(probe_picture(read_file(folder_ / name)).format, format) << command << name;
    }
    if (command.find("--seeds") == command.npos) expect_error(command + "x.tiff", 2, "ends in .png, .jpg, .jpeg or .webp");
  }
  EXPECT_EQ(run("generate m.safetensors --from x.PNG -o again.jpg").code, 0);
  EXPECT_EQ(probe_picture(read_file(folder_ / "again.jpg")).format, PictureFormat::jpeg);
  EXPECT_EQ(run("generate m.safetensors --interpolate 2 --seeds 0-1 -o x.GIF").code, 0);
  EXPECT_TRUE(text_of(folder_ / "x.GIF").starts_with("GIF89a"));
  EXPECT_EQ(run("generate m.safetensors --seeds 0-1 -o y.png").code, 0);
  EXPECT_TRUE(fs::is_directory(folder_ / "y.png")) << "of two pictures it is a folder";
}

// No shell expands it in --out=~/x or within quotes.
TEST_F(CliFiles, HomeIsExpanded) {
  fs::create_directory(folder_ / "home");
  const std::string home = "HOME=$PWD/home " PASTICHE_PROGRAM " ";
  for (const std::string out : {"'--out=~/a/x.png'", "-o '~/b/x.png'", "'-o~/c/x.png'"}) {
    fs::create_directories(folder_ / "home" / std::string(1, out[out.find('/') + 1]));
    EXPECT_EQ(shell(home + "generate m.safetensors --grid 1x1 --threads 1 " + out), 0) << out << err();
  }
  for (const char* folder : {"a", "b", "c"}) EXPECT_TRUE(fs::exists(folder_ / "home" / folder / "x.png")) << folder;
  fs::rename(folder_ / "m.safetensors", folder_ / "home/m.safetensors");
  EXPECT_EQ(shell(home + "inspect '~/m.safetensors'"), 0) << err();
  EXPECT_FALSE(fs::exists(folder_ / "~"));
}

TEST_F(CliFiles, ManyPicturesTakeNoMoreMemory) {
  write_safetensors(folder_ / "m.safetensors", generator_of({.name = "dcgan", .height = 64, .width = 64, .channels = 3, .nz = 4, .ngf = 4, .ndf = 4}));
  const double few = run("generate m.safetensors --seeds 0-63 --threads 1 -o made").peak_mib;
  const double many = run("generate m.safetensors --seeds 0-2063 --threads 1 -o made").peak_mib;
  EXPECT_LT(many - few, 8) << "2,000 more of 12 KiB";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "made"), {}), 2064);
}

TEST_F(CliFiles, AResultThatFailsDoesNotEndTheOthers) {
  fs::create_directories(folder_ / "made/seed000001.png");
  const Finished f = run("generate m.safetensors --seeds 0-2 --threads 1 -o made");
  EXPECT_EQ(f.code, 1) << f.err;
  EXPECT_EQ(f.out, "made/seed000000.png\nmade/seed000002.png\n");
  EXPECT_NE(f.err.find("1 of 3 could not be done:\n  can't write"), std::string::npos) << f.err;
}

TEST_F(CliFiles, TooLittleMemoryForAPictureIsSaid) {
  write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  write_file_atomically(folder_ / "large.png", dirty::claiming(dirty::make_png({}), 16000, 16000));
  EXPECT_EQ(shell("ulimit -v 1500000; " PASTICHE_PROGRAM " stylize t.safetensors large.png -o x.png --size 16 --threads 1"), 6) << err();
  EXPECT_NE(err().find("too large (16000x16000): decoding it may take"), std::string::npos) << err();
}

// ---- films -----------------------------------------------------------------------------------------------------------

// By what a player shows. Each film is made by the ffmpeg of the machine.
class Films : public CliFiles {
 protected:
  void SetUp() override {
    CliFiles::SetUp();
    if (std::system("command -v ffmpeg ffprobe >/dev/null") != 0) GTEST_SKIP() << "needs ffmpeg";
    write_translator({.name = "resnet", .height = 16, .width = 16, .channels = 3, .ngf = 2, .blocks = 1});
  }
  void TearDown() override { CliFiles::TearDown(); }

  // Skips a test where the codec that it takes is missing.
  bool makes(const std::string& arguments) const { return shell("ffmpeg -v error -y " + arguments) == 0; }
  // A film of one colour, red a little towards orange.
  bool makes_flat(const std::string& size, const std::string& filters, const std::string& codec, const std::string& name) const {
    return makes("-f lavfi -i color=c=0xC83C28:s=" + size + ":r=10:d=0.3,format=gbrp -vf " + filters + " " + codec + " " + name);
  }
  int stylize(const std::string& from, const std::string& to) const {
    return shell(PASTICHE_PROGRAM " stylize t.safetensors " + from + " --force -o " + to + " --strength 0 --threads 1");
  }
  std::string probe(const std::string& film, const std::string& entries) const {
    shell("ffprobe -v error -show_entries " + entries + " -of csv=p=0 " + film);
    std::string text = text_of(folder_ / "out");
    std::erase(text, '\r');
    return text.substr(0, text.find_last_not_of(",\n") + 1);
  }
  // Of the first picture, as its tags say it is to be shown, at the middle of its upper left quarter.
  std::array<int, 3> color(const std::string& film) const {
    EXPECT_EQ(shell("ffmpeg -v error -i " + film + " -frames:v 1 -vf scale=flags=accurate_rnd+full_chroma_int -pix_fmt rgb24 -c:v ppm -f image2pipe -"), 0) << err();
    const std::string ppm = text_of(folder_ / "out");
    int width = 0, height = 0, begin = 0;
    EXPECT_EQ(std::sscanf(ppm.c_str(), "P6 %d %d 255%n", &width, &height, &begin), 2);
    const std::size_t at = static_cast<std::size_t>(begin + 1 + 3 * (height / 4 * width + width / 4));
    const auto sample = [&](std::size_t i) { return static_cast<int>(static_cast<unsigned char>(ppm.at(at + i))); };
    return {sample(0), sample(1), sample(2)};
  }
  void expect_color(const std::string& film, std::array<int, 3> wanted, int tolerance = 3) const {
    const std::array<int, 3> found = color(film);
    for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(found[c], wanted[c], tolerance) << film << ", channel " << c;
  }
  static constexpr std::array<int, 3> orange{200, 60, 40};
};

TEST_F(Films, KeepTheirColours) {
  const std::string x264 = "-c:v libx264 -crf 4 ", sd = "scale=out_color_matrix=bt601:flags=accurate_rnd,format=", hd = "scale=out_color_matrix=bt709:flags=accurate_rnd,format=";
  const std::string tags = "stream=pix_fmt,color_range,color_space,color_transfer,color_primaries";
  struct Case {
    std::string size, filters, options, tagged;
  };
  for (const Case& c : {Case{"64x48", sd + "yuv420p", x264, "smpte170m,bt709,smpte170m"},  // by its size
                        Case{"32x576", sd + "yuv420p", x264, "bt470bg,bt709,bt470bg"},
                        Case{"1280x720", hd + "yuv420p", x264, "bt709,bt709,bt709"},
                        Case{"64x48", hd + "yuv420p", x264 + "-colorspace bt709", "bt709,bt709,bt709"},  // by its tag
                        Case{"1280x720", sd + "yuv420p", x264 + "-colorspace smpte170m -color_primaries bt709", "smpte170m,bt709,bt709"},
                        Case{"64x48", hd + "yuv420p10le", x264 + "-colorspace bt709", "bt709,bt709,bt709"},
                        Case{"64x48", "scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p", x264, "smpte170m,bt709,smpte170m"},
                        Case{"64x48", "format=gbrp", "-c:v ffv1 ", "smpte170m,bt709,smpte170m"}}) {
    SCOPED_TRACE(c.size + " " + c.filters + " " + c.options);
    if (!makes_flat(c.size, c.filters, c.options, "film.mkv")) GTEST_SKIP() << err();
    ASSERT_EQ(stylize("film.mkv", "o.mp4"), 0) << err();
    EXPECT_EQ(probe("o.mp4", tags), "yuv420p,tv," + c.tagged);
    expect_color("o.mp4", orange);
  }
}

TEST_F(Films, OfMoreColoursBecomeThoseOfBt709) {
  if (shell("ffmpeg -v error -h filter=zscale | grep -q primaries") != 0) GTEST_SKIP() << "needs zscale";
  const std::string x264 = "-c:v libx264 -crf 4 -color_primaries bt2020 -colorspace bt2020nc -color_trc ";
  const std::string wide = "zscale=min=gbr:pin=bt709:tin=bt709:p=bt2020:m=bt2020nc:r=tv:t=";
  if (!makes_flat("64x48", wide + "bt2020-10,format=yuv420p10le", x264 + "bt2020-10", "wide.mp4")) GTEST_SKIP() << err();
  ASSERT_EQ(stylize("wide.mp4", "o.mp4"), 0);
  EXPECT_NE(err().find("wide-gamut"), std::string::npos) << err();
  expect_color("o.mp4", orange);
  for (const std::string transfer : {"smpte2084", "arib-std-b67"}) {
    if (!makes_flat("64x48", wide + transfer + ",format=yuv420p10le", x264 + transfer, "hdr.mp4")) GTEST_SKIP() << err();
    ASSERT_EQ(stylize("hdr.mp4", "o.mp4"), 0);
    EXPECT_NE(err().find("has HDR colours"), std::string::npos) << err();
    const auto [red, green, blue] = color("o.mp4");
    EXPECT_GT(red, 100) << transfer;
    EXPECT_GT(red, green + 60) << transfer;
    EXPECT_GT(green, blue) << transfer;
    EXPECT_EQ(probe("o.mp4", "stream=color_space,color_transfer,color_primaries"), "bt709,bt709,bt709");
  }
}

TEST_F(Films, KeepTheirShape) {
  const std::string left = "-f lavfi -i color=c=0xC83C28:s=32x32:d=0.3:r=10,pad=64:32:0:0:blue -c:v libx264 -crf 4 -pix_fmt yuv420p ";
  if (!makes(left + "film.mp4")) GTEST_SKIP() << err();
  ASSERT_TRUE(makes("-i film.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4"));
  EXPECT_EQ(stylize("turned.mp4", "o.mp4"), 0) << err();
  EXPECT_EQ(probe("o.mp4", "stream=width,height:stream_side_data=rotation"), "32,64");
  expect_color("o.mp4", color("turned.mp4"));
  for (const auto& [sar, size] : {std::pair("16/15", "128,120"), std::pair("2/3", "120,180"), std::pair("1/1", "120,120")}) {
    ASSERT_TRUE(makes("-f lavfi -i testsrc=s=120x120:d=0.3:r=10,setsar=" + std::string(sar) + " -c:v libx264 sar.mp4")) << err();
    EXPECT_EQ(stylize("sar.mp4", "o.mp4"), 0) << err();
    EXPECT_EQ(probe("o.mp4", "stream=width,height"), size) << sar;
  }
  ASSERT_TRUE(makes_flat("35x27", "format=yuv444p", "-c:v ffv1", "odd.mkv")) << err();
  EXPECT_EQ(stylize("odd.mkv", "o.mp4"), 0) << err();
  EXPECT_EQ(probe("o.mp4", "stream=width,height"), "36,28");
  EXPECT_EQ(shell("ffmpeg -v error -i o.mp4 -frames:v 1 -vf format=rgb24,crop=1:1:35:27 -f rawvideo -"), 0) << err();
  EXPECT_GT(static_cast<unsigned char>(text_of(folder_ / "out").at(0)), 150) << "the last column is no black one";
}

TEST_F(Films, OfAVaryingRateKeepTheirTimes) {
  if (!makes("-f lavfi -i testsrc=s=32x32:r=30:d=2 -vf \"settb=1/1000,setpts='N*1000/30+3*mod(N,7)'\" -vsync vfr -enc_time_base 1/1000 -video_track_timescale 1000 "
             "-c:v libx264 vfr.mp4")) GTEST_SKIP() << err();
  ASSERT_EQ(probe("vfr.mp4", "stream=r_frame_rate"), "1000/1");
  ASSERT_EQ(stylize("vfr.mp4", "o.mp4"), 0) << err();
  EXPECT_NEAR(std::stod(probe("o.mp4", "stream=nb_frames")), 60, 6);
  EXPECT_NEAR(std::stod(probe("o.mp4", "stream=duration")), 2, 0.15);
}

TEST_F(Films, KeepTheirSound) {
  const std::string both = "-f lavfi -i testsrc=s=32x32:r=10:d=1 -f lavfi -i sine=d=1 -c:v mpeg4 -c:a ";
  const auto sound = [&](const std::string& film) { return probe(film, "stream=codec_name -select_streams a"); };
  if (!makes(both + "pcm_s16le pcm.AVI")) GTEST_SKIP() << err();
  for (const auto& [to, codec] : {std::pair("o.mp4", "aac"), std::pair("o.MKV", "pcm_s16le"), std::pair("o.mov", "pcm_s16le")}) {
    ASSERT_EQ(stylize("pcm.AVI", to), 0) << err();
    EXPECT_EQ(err().find("becomes AAC") != std::string::npos, std::string_view(codec) == "aac") << err();
    EXPECT_EQ(sound(to), codec) << to;
  }
  ASSERT_TRUE(makes(both + "aac aac.mp4")) << err();
  ASSERT_EQ(stylize("aac.mp4", "o.mp4"), 0);
  EXPECT_EQ(err(), "");
  EXPECT_EQ(sound("o.mp4"), "aac");
}

TEST_F(Films, ThatAreCutOffAreTold) {
  if (!makes("-f lavfi -i testsrc=s=64x48:r=10:d=4 -c:v mpeg4 -q:v 3 -movflags faststart film.mp4")) GTEST_SKIP() << err();
  ASSERT_TRUE(makes("-i film.mp4 -c copy film.mkv"));
  ASSERT_TRUE(makes("-f lavfi -i testsrc2=s=64x48:r=10:d=4 -c:v mpeg4 -q:v 3 film.avi"));
  for (const std::string film : {"film.mp4", "film.mkv", "film.avi"}) {
    fs::resize_file(folder_ / film, fs::file_size(folder_ / film) * 6 / 10);
    EXPECT_EQ(stylize(film, "o.mp4"), 4);
    EXPECT_NE(err().find("'" + film + "' is cut off: 'o.mp4' holds what there is of it"), std::string::npos) << err();
    EXPECT_LT(std::stod(probe("o.mp4", "stream=duration")), 3.9);
    fs::remove(folder_ / "o.mp4");
  }
}

TEST_F(Films, AreFoundInFolders) {
  fs::create_directories(folder_ / "in/trip");
  if (!makes("-f lavfi -i testsrc=s=32x32:r=10:d=0.3 -c:v mpeg4 in/trip/VID_1.MOV")) GTEST_SKIP() << err();
  EXPECT_EQ(stylize("in", "o"), 0) << err();
  EXPECT_EQ(text_of(folder_ / "out"), "o/trip/VID_1.mp4\n");
  write("in/broken.mp4", "no film");
  write_file_atomically(folder_ / "in/p.png", encode_png({16, 16, 3, std::vector<std::uint8_t>(768)}));
  EXPECT_EQ(stylize("in", "o"), 1);
  EXPECT_EQ(text_of(folder_ / "out"), "o/p.png\no/trip/VID_1.mp4\n");
  EXPECT_NE(err().find("1 of 3 could not be done:\n  'in/broken.mp4' is no video"), std::string::npos) << err();
}

}  // namespace
}  // namespace pastiche
