#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include "data/folder.h"
#include "dirty_folder.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/image.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using dirty::Bytes;
using dirty::bytes_of;
using dirty::noise;
using dirty::TemporaryFolder;

const fs::path test_data = fs::path(PASTICHE_TEST_DIR) / "data";

TEST(Data, OpensPictureFolder) {
  const auto data = open_dataset(test_data / "emoji32");
  EXPECT_EQ(data->name(), "emoji32");
  EXPECT_EQ(std::tuple(data->size(), data->height(), data->width(), data->channels()), std::tuple(257, 32, 32, 3));
  EXPECT_TRUE(data->labels().empty());
  EXPECT_TRUE(data->skipped().empty());  // COPYRIGHT is nobody's picture
  EXPECT_EQ(data->picture(0), read_picture(test_data / "emoji32" / "emoji_u0023_20e3.png"));
  const auto strict = open_dataset(test_data / "emoji32" / "", {.strict = true});
  EXPECT_EQ(strict->name(), "emoji32");
  EXPECT_EQ(strict->fingerprint(), data->fingerprint());
}

TEST(Data, NamesAreFitForFolders) {
  const TemporaryFolder folder;
  for (const auto& [name, expected] :
       std::vector<std::pair<std::string, std::string>>{{"my cats & dogs", "my-cats---dogs"},
                                                        {"a\nb", "a-b"},
                                                        {"...", "data"},
                                                        {std::string(90, 'x'), std::string(40, 'x')}}) {
    fs::create_directory(folder / name);
    dirty::write(folder / name / "a.png", dirty::make_png({}));
    EXPECT_EQ(open_dataset(folder / name)->name(), expected);
  }
}

TEST(Data, NamesSaySomething) {
  for (const auto& [path, expected] : std::vector<std::pair<std::string, std::string>>{{"/pictures/cats", "cats"},
                                                                                       {"/cats/256x256/", "cats"},
                                                                                       {"/cats/images/512", "cats"},
                                                                                       {"/cats/DATA/Train/Imgs/128px", "cats"},
                                                                                       {"/cats/trainA", "cats"},
                                                                                       {"/cats.zip", "cats"},
                                                                                       {"/cats.ZIP/A", "cats"},
                                                                                       {"/cats/images.zip", "images"},
                                                                                       {"/cats/train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"},
                                                                                       {"/cats/1990s", "1990s"},
                                                                                       {"/cats/256x", "256x"},
                                                                                       {"/cats/x256", "x256"},
                                                                                       {"/cats/a/b/a/b/a", "a"},
                                                                                       {"/data/images", "images"},
                                                                                       {"/写真", "写真"},
                                                                                       {"/Bücher & Co", "Bücher---Co"},
                                                                                       {"/a\xff" "b\xc3\xa9", "a-b--"},
                                                                                       {"/0123456789012345678901234567890123456789é", "0123456789012345678901234567890123456789"},
                                                                                       {"/012345678901234567890123456789012345678é", "012345678901234567890123456789012345678"},
                                                                                       {"/256", "256"}}) {
    EXPECT_EQ(short_name(path), expected) << path;
  }
}

TEST(Data, AsksForASizeWherePicturesDiffer) {
  const TemporaryFolder folder;
  for (int i = 0; i < 4; ++i) dirty::write(folder / ("a" + std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
  EXPECT_EQ(open_dataset(folder.path())->height(), 8);
  const Image tall = noise(20, 10, 3, 9);
  dirty::write(folder / "b.png", encode_png(tall));
  const std::string reason = refusal(ExitCode::bad_data, [&] { open_dataset(folder.path()); });
  EXPECT_NE(reason.find("--size"), std::string::npos) << reason;
  const auto data = open_dataset(folder.path(), {.height = 6, .width = 5});
  EXPECT_EQ(data->picture(4), fit(tall, 6, 5));
  // A broken file of another size is no reason to ask.
  Bytes broken = encode_png(tall);
  broken.resize(broken.size() - 100);
  dirty::write(folder / "b.png", broken);
  EXPECT_EQ(open_dataset(folder.path())->skipped().size(), 1u);
  EXPECT_EQ(open_dataset(folder.path())->size(), 4);
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_dataset(folder.path(), {.strict = true}); }).find("b.png"),
            std::string::npos);
}

TEST(Data, ChoosesASizeWithinTheMost) {
  const auto size_of = [](const std::vector<std::pair<int, int>>& pictures, int most) {
    const TemporaryFolder folder;
    int number = 0;
    for (const auto& [height, width] : pictures) dirty::write(folder / (std::to_string(number++) + ".png"), encode_png(noise(height, width, 3, 1)));
    const auto data = open_dataset(folder.path(), {.most_side = most});
    return std::tuple(data->height(), data->width(), data->resized());
  };
  EXPECT_EQ(size_of({{30, 50}, {30, 50}}, 64), std::tuple(30, 50, false)) << "they are as they are";
  EXPECT_EQ(size_of({{100, 200}, {100, 200}}, 64), std::tuple(32, 64, true)) << "their shape stays";
  EXPECT_EQ(size_of({{9, 300}}, 64), std::tuple(4, 64, true));
  EXPECT_EQ(size_of({{256, 256}, {300, 200}, {80, 120}}, 64), std::tuple(64, 64, true));
  EXPECT_EQ(size_of({{20, 64}, {90, 31}, {64, 64}}, 64), std::tuple(28, 28, true)) << "the median of 20, 31 and 64, a multiple of 4";
}

TEST(Data, ChannelsFollowThePictures) {
  const TemporaryFolder folder;
  dirty::write(folder / "a.png", dirty::make_png({.color = PNG_COLOR_TYPE_GRAY}));
  dirty::write(folder / "b.png", dirty::make_png({.color = PNG_COLOR_TYPE_GRAY_ALPHA}));
  EXPECT_EQ(open_dataset(folder.path())->channels(), 1);
  const dirty::PngSpec rgba{.color = PNG_COLOR_TYPE_RGB_ALPHA};
  dirty::write(folder / "c.png", dirty::make_png(rgba));
  EXPECT_EQ(open_dataset(folder.path())->channels(), 3);
  const auto composed = open_dataset(folder.path(), {.background = {9, 8, 7}});
  EXPECT_EQ(composed->picture(2), convert(dirty::png_pixels(rgba), 3, {9, 8, 7}));
  EXPECT_EQ(open_dataset(folder.path(), {.channels = 4})->picture(2), dirty::png_pixels(rgba));
  EXPECT_EQ(open_dataset(folder.path(), {.channels = 1})->channels(), 1);
  // The only colour picture turns out broken: what remains is gray.
  Bytes broken = dirty::make_png(rgba);
  broken.resize(broken.size() - 20);
  dirty::write(folder / "c.png", broken);
  const auto gray = open_dataset(folder.path());
  EXPECT_EQ(gray->channels(), 1);
  EXPECT_EQ(gray->picture(0).pixels.size(), 13u * 9u);
}

TEST(Data, RefusesWhatIsNoData) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  ::mkfifo((folder / "fifo").c_str(), 0666);
  dirty::write(folder / "picture.png", dirty::make_png({}));
  for (const char* name : {"empty", "absent", "fifo", "picture.png"}) {
    EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_dataset(folder / name); }), "") << name;
    if (std::string(name) == "picture.png") continue;
    EXPECT_NE(refusal(ExitCode::bad_data, [&] { check_dataset(folder / name); }), "") << name;
  }
  for (const DataOptions& options : {DataOptions{.height = 8}, DataOptions{.height = -1, .width = -1},
                                     DataOptions{.channels = 2}, DataOptions{.height = 70000, .width = 8}}) {
    refusal(ExitCode::usage, [&] { open_dataset(folder.path(), options); });
  }
}

TEST(Data, RefusesAFolderThatIsMostlyBroken) {
  const TemporaryFolder folder;
  dirty::write(folder / "a.png", dirty::make_png({}));
  dirty::write(folder / "b.png", Bytes(10));
  EXPECT_EQ(open_dataset(folder.path())->size(), 1);
  dirty::write(folder / "c.png", Bytes(10));
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_dataset(folder.path()); }).find("2 of 3"), std::string::npos);
  fs::remove(folder / "a.png");
  refusal(ExitCode::bad_data, [&] { open_dataset(folder.path()); });
}

TEST(Data, SurvivesADirtyFolder) {
  const TemporaryFolder temporary;
  const dirty::Folder folder = dirty::make_folder(temporary.path());
  EXPECT_GE(folder.bad.size(), 50u);
  const DataOptions options{.height = 16, .width = 16};
  const auto data = open_dataset(temporary.path(), options);
  std::vector<std::string> skipped;
  for (const SkippedFile& file : data->skipped()) {
    skipped.push_back(file.file);
    EXPECT_FALSE(file.reason.empty()) << file.file;
    EXPECT_EQ(file.reason.find('\n'), std::string::npos) << file.reason;
  }
  EXPECT_EQ(skipped, folder.bad);
  EXPECT_EQ(data->size(), static_cast<std::int64_t>(folder.good.size()));
  EXPECT_EQ(data->channels(), 3);
  refusal(ExitCode::bad_data, [&] { open_dataset(temporary.path(), {.height = 16, .width = 16, .strict = true}); });

  const DatasetReport report = check_dataset(temporary.path(), options);
  EXPECT_EQ(report.usable, data->size());
  ASSERT_EQ(report.unusable.size(), skipped.size());
  for (std::size_t i = 0; i < skipped.size(); ++i) EXPECT_EQ(report.unusable[i].file, skipped[i]);
  const std::string text = to_long_text(report);
  EXPECT_NE(text.find("new\\nline.png"), std::string::npos);
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["usable"], report.usable);
  EXPECT_EQ(json["unusable"].size(), skipped.size());

  // Read one by one instead of decoded when opened: what decodes gives the same pixels, what doesn't says so.
  const auto lazy = open_dataset(temporary.path(), {.height = 16, .width = 16, .cache_bytes = 0});
  std::int64_t decoded = 0;
  for (std::int64_t i = 0; i < lazy->size(); ++i) {
    try {
      const Image image = lazy->picture(i);
      EXPECT_EQ(image, data->picture(decoded));
      ++decoded;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::bad_data);
    }
  }
  EXPECT_EQ(decoded, data->size());
}

TEST(Data, NoticesFilesThatChangeLater) {
  const TemporaryFolder folder;
  for (int i = 0; i < 3; ++i) dirty::write(folder / (std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
  const auto cached = open_dataset(folder.path());
  const auto lazy = open_dataset(folder.path(), {.cache_bytes = 0});
  EXPECT_EQ(cached->fingerprint(), lazy->fingerprint());
  fs::resize_file(folder / "1.png", 50);
  fs::remove(folder / "2.png");
  EXPECT_NO_THROW(cached->picture(2));
  EXPECT_NO_THROW(lazy->picture(0));
  for (const int index : {1, 2}) refusal(ExitCode::bad_data, [&] { lazy->picture(index); });
  EXPECT_THROW(lazy->picture(2), UnreadableFile);  // which may come back
  dirty::write(folder / "0.png", encode_png(noise(8, 9, 3, 0)));
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { lazy->picture(0); }).find("bytes"), std::string::npos);
}

TEST(Data, FingerprintIsOfRelativePaths) {
  const TemporaryFolder folder;
  for (int i = 0; i < 3; ++i) dirty::write(folder / (std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
  const TemporaryFolder other;
  fs::copy(folder.path(), other / "moved");
  EXPECT_EQ(open_dataset(other / "moved")->fingerprint(), open_dataset(folder.path())->fingerprint());
  const fs::path idx = test_data / "fashion";
  for (const auto& entry : fs::directory_iterator(idx)) fs::copy(entry.path(), other / entry.path().filename().string());
  EXPECT_EQ(open_dataset(other.path())->fingerprint(), open_dataset(idx)->fingerprint());
}

// What programs leave beside pictures, by its kind.
TEST(Data, LeavesOutAndCountsWhatProgramsLeave) {
  const TemporaryFolder folder;
  const Bytes png = dirty::make_png({});
  const auto put = [&](const std::string& name) {
    fs::create_directories((folder / name).parent_path());
    dirty::write(folder / name, png);
  };
  // Names of the user's own, which only look like those.
  const std::vector<std::string> pictures{"@home/a.png", "a.png", "a~b.png", "cat_original.png", "my_original/a.png",
                                          "old.bak/a.png", "original.png", "thumbs/a.png", "tmp/a.png"};
  for (const std::string& name : pictures) put(name);
  const std::string before = open_dataset(folder.path())->fingerprint();
  std::map<std::string, std::int64_t> expected;
  for (const auto& [kind, names] : std::map<std::string, std::vector<std::string>>{
           {"thumbnails", {"@eaDir/a.png/SYNOPHOTO_THUMB_S.jpg", "my_original/@EADIR/a.png/x.jpg", "SYNOPHOTO_THUMB_a.jpg",
                           ".@__thumb/a.png", ".thumbnails/large/a.png", "My Previews.lrdata/0/a.jpg", "thumbs.DB"}},
           {"deleted files", {"#recycle/a.png", "@Recycle/a.png", "$Recycle.Bin/S-1/a.png", ".Trash-1000/files/a.png"}},
           {"backups", {"_gsdata_/a.png", ".stversions/a.png", "#snapshot/1/a.png", "[Originals]/a.png", "a.png_original", "a.png~", "a.png.bak", "a.png.orig"}},
           {"unfinished files", {"~syncthing~a.png", ".syncthing.a.png.tmp", "a.png.tmp", "A.tmp/a.png", "@tmp/a.png", "a.png.part"}},
           {"system files", {"System Volume Information/a.png", "lost+found/a.png", "__MACOSX/a.png", "._a.png"}},
           {"hidden files", {".a.png", ".git/a.png"}}}) {
    for (const std::string& name : names) put(name);
    expected[kind] = static_cast<std::int64_t>(names.size());
  }
  dirty::write(folder / ".DS_Store", bytes_of("no picture, so nobody misses it"));
  dirty::write(folder / "notes.txt~", bytes_of("no picture, so nobody misses it"));
  const auto data = open_dataset(folder.path());
  EXPECT_EQ(data->fingerprint(), before);
  EXPECT_EQ(data->left_out(), expected);
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < data->size(); ++i) names.push_back(data->picture_name(i));
  EXPECT_EQ(names, pictures);
  const DatasetReport report = check_dataset(folder.path());
  EXPECT_EQ(report.left_out, expected);
  EXPECT_EQ(nlohmann::json::parse(to_json(report))["left_out"], nlohmann::json(expected));
  EXPECT_NE(to_text(report).find("left out: backups (8)"), std::string::npos) << to_text(report);

  for (const std::string& name : pictures) fs::remove(folder / name);
  const std::string reason = refusal(ExitCode::bad_data, [&] { open_dataset(folder.path()); });
  EXPECT_NE(reason.find("hidden files (2)"), std::string::npos) << reason;
}

// As to a folder of a drive that isn't there.
TEST(Data, ListsLinksToNothing) {
  const TemporaryFolder folder;
  dirty::write(folder / "a.png", dirty::make_png({}));
  fs::create_symlink("nowhere", folder / "photos");
  const auto data = open_dataset(folder.path());
  ASSERT_EQ(data->skipped().size(), 1u);
  EXPECT_EQ(data->skipped()[0].file, "photos");
  refusal(ExitCode::bad_data, [&] { open_dataset(folder.path(), {.strict = true}); });
}

TEST(Data, CountsAPictureAndItsLinksOnce) {
  const TemporaryFolder folder, elsewhere;
  for (const char* sub : {"sub", ".hidden"}) fs::create_directory(folder / sub);
  for (const char* name : {"b.png", "d.png", "sub/e.png", ".hidden/f.png"}) dirty::write(folder / name, dirty::make_png({}));  // alike, and that counts
  dirty::write(elsewhere / "g.png", dirty::make_png({}));
  fs::create_symlink("d.png", folder / "a.png");
  fs::create_symlink("b.png", folder / "c.png");
  fs::create_symlink("../b.png", folder / "sub/c.png");
  fs::create_hard_link(folder / "sub/e.png", folder / "z.png");
  fs::create_symlink(".hidden/f.png", folder / "f.png");  // of which that is no name
  fs::create_symlink(elsewhere / "g.png", folder / "g.png");  // nor of this one, to which two lead
  fs::create_symlink(elsewhere / "g.png", folder / "h.png");
  const auto data = open_dataset(folder.path());
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < data->size(); ++i) names.push_back(data->picture_name(i));
  EXPECT_EQ(names, (std::vector<std::string>{"b.png", "d.png", "f.png", "g.png", "h.png", "sub/e.png", "z.png"}));
  const LeftOut expected{{"hidden files", 1}, {"links to pictures that are there too", 3}};
  EXPECT_EQ(data->left_out(), expected);
  EXPECT_EQ(check_dataset(folder.path()).left_out, expected);
  EXPECT_EQ(open_dataset(folder.path(), {.links_count = true})->size(), 10);
}

TEST(Data, ReadsLabels) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "sub/deep");
  for (const char* name : {"a.png", "sub/b.png", "sub/c.png", "sub/deep/d.png"}) dirty::write(folder / name, dirty::make_png({}));
  const auto labels = [&](std::string note = "") {
    const DatasetReport report = check_dataset(folder.path());
    EXPECT_NE(report.labels_note.find(note), std::string::npos) << report.labels_note;
    EXPECT_EQ(report.labels_note.empty(), note.empty()) << report.labels_note;
    EXPECT_EQ(to_text(report).find("labels: none, as ") != std::string::npos, !note.empty());
    const auto data = open_dataset(folder.path());
    EXPECT_EQ(data->size(), 4);
    std::map<int, std::int64_t> counts;
    for (const int label : data->labels()) ++counts[label];
    EXPECT_EQ(report.labels, counts);
    return data->labels();
  };
  const auto json = [&](const std::string& name, const std::string& text) { dirty::write(folder / name, bytes_of(text)); };
  const std::string without = open_dataset(folder.path())->fingerprint();
  EXPECT_EQ(labels(), std::vector<int>());
  json("dataset.json", R"({"labels": null})");
  EXPECT_EQ(labels(), std::vector<int>());
  EXPECT_EQ(open_dataset(folder.path())->fingerprint(), without);
  json("dataset.json", R"({"labels": [["sub/c.png", 3], ["a.png", 0], ["sub/b.png", 7], ["sub/deep/d.png", 3], ["absent.png", 1]]})");
  EXPECT_EQ(labels(), (std::vector<int>{0, 7, 3, 3}));
  EXPECT_NE(open_dataset(folder.path())->fingerprint(), without);
  json("sub/dataset.json", R"({"labels": [["c.png", 5], ["deep/d.png", 6]]})");
  EXPECT_EQ(labels(), (std::vector<int>{0, 7, 5, 6}));
  // What can't be used costs the labels, and nothing else.
  json("dataset.json", R"({"labels": [["sub/b.png", 3]]})");
  EXPECT_EQ(labels("such as 'a.png'"), std::vector<int>());
  for (const char* text : {R"({"labels": [["a.png", 1.5]]})", R"({"labels": [["a.png", -1]]})", R"({"labels": [["a.png", [0.5, 1]]]})",
                           R"({"labels": [["a.png", 3000000000]]})", R"({"labels": [["a.png"]]})", R"({"labels": [[1, 1]]})", R"({"labels": [1]})",
                           R"({"labels": 1})", R"({})", "[]", "{", "", "[[[[[[[[[["}) {
    json("dataset.json", text);
    EXPECT_EQ(labels("'dataset.json' can't be used: "), std::vector<int>()) << text;
  }
}

TEST(Data, LeavesOutRunFolders) {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& name) {
    fs::create_directories((folder / name).parent_path());
    dirty::write(folder / name, dirty::make_png({}));
  };
  put("a.png");
  const std::string before = open_dataset(folder.path())->fingerprint();
  for (const std::string run : {"runs/00000-a", "runs/00001-b", "runs/00002-c"}) {
    put(run + "/samples/000000.png");
    put(run + "/reals.png");
    fs::create_directory(folder / (run + "/ckpt"));
    dirty::write(folder / (run + "/config.toml"), {});
    if (!run.ends_with('c')) dirty::write(folder / (run + "/run.json"), {});  // the last one has just begun
  }
  const auto data = open_dataset(folder.path());
  EXPECT_EQ(data->fingerprint(), before);
  EXPECT_EQ(data->left_out(), (LeftOut{{"run folders", 3}}));
  // Neither alone makes one.
  put("config/a.png"), put("json/a.png");
  dirty::write(folder / "config/config.toml", {});
  dirty::write(folder / "json/run.json", {});
  EXPECT_EQ(open_dataset(folder.path())->size(), 3);
}

// Root may enter anything, so the tests' root becomes someone else.
class AsNobody {
 public:
  AsNobody() {
    if (::geteuid() == 0) set(65534);
  }
  ~AsNobody() {
    if (::getuid() == 0) set(0);
  }

 private:
  static void set(uid_t user) { EXPECT_EQ(::seteuid(user), 0); }
};

TEST(Data, RefusesAFolderItCantEnter) {
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms(0755));
  for (const char* name : {"data/most/deeper", "closed"}) fs::create_directories(folder / name);
  for (const char* name : {"data/a.png", "data/most/a.png", "data/most/deeper/a.png", "closed/a.png"}) {
    dirty::write(folder / name, dirty::make_png({}));
  }
  fs::permissions(folder / "closed", fs::perms::none);
  const auto expect_refused = [&](int mode) {
    fs::permissions(folder / "data/most", fs::perms(mode));
    {
      const AsNobody nobody;
      const std::string reason = refusal(ExitCode::bad_data, [&] { open_dataset(folder / "data"); });
      EXPECT_NE(reason.find("Permission denied"), std::string::npos) << reason;
      EXPECT_NE(reason.find("chmod -R u+rX " + (folder / "data/most").string()), std::string::npos) << reason;
      refusal(ExitCode::bad_data, [&] { open_dataset(folder / "data", {.height = 8, .width = 8, .strict = true}); });
      const DatasetReport report = check_dataset(folder / "data");
      EXPECT_EQ(report.usable, 1);
      EXPECT_TRUE(std::any_of(report.unusable.begin(), report.unusable.end(), [](const SkippedFile& file) {
        return file.file.starts_with("most") && file.reason.starts_with("a folder, with all in it: Permission denied");
      }));
      const std::string closed = refusal(ExitCode::bad_data, [&] { open_dataset(folder / "closed"); });
      EXPECT_NE(closed.find("can't list"), std::string::npos) << closed;
    }
    fs::permissions(folder / "data/most", fs::perms(0755));
  };
  expect_refused(0000);
  expect_refused(0444);  // names can be listed, and nothing more
  fs::permissions(folder / "closed", fs::perms(0755));

  std::string deep = "data/deep";
  for (int i = 0; i < 70; ++i) deep += "/d";
  fs::create_directories(folder / deep);
  dirty::write(folder / (deep + "/a.png"), dirty::make_png({}));
  const std::string reason = refusal(ExitCode::bad_data, [&] { open_dataset(folder / "data"); });
  EXPECT_NE(reason.find("64 deep"), std::string::npos) << reason;
  EXPECT_EQ(check_dataset(folder / "data").unusable.size(), 1u);
}

TEST(Data, FingerprintCoversNamesAndContents) {
  const TemporaryFolder folder;
  for (int i = 0; i < 3; ++i) dirty::write(folder / (std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
  const std::string before = open_dataset(folder.path())->fingerprint();
  dirty::write(folder / "notes.txt", bytes_of("changes nothing"));
  EXPECT_EQ(open_dataset(folder.path())->fingerprint(), before);
  EXPECT_EQ(open_dataset(folder.path(), {.height = 4, .width = 4})->fingerprint(), before);
  fs::rename(folder / "1.png", folder / "3.png");
  const std::string renamed = open_dataset(folder.path())->fingerprint();
  EXPECT_NE(renamed, before);
  dirty::write(folder / "3.png", encode_png(noise(8, 8, 3, 99)));
  EXPECT_NE(open_dataset(folder.path())->fingerprint(), renamed);
}

TEST(Data, CheckFindsDuplicates) {
  const TemporaryFolder folder;
  const Image image = noise(8, 8, 3, 1);
  dirty::write(folder / "a.png", encode_png(image));
  dirty::write(folder / "b.png", encode_png(image));
  const Image other = noise(8, 8, 3, 2);
  dirty::write(folder / "c.png", encode_png(other));
  dirty::write(folder / "d.png", encode_png(other, {{"note", "the same pixels in another file"}}));
  dirty::write(folder / "e.png", encode_png(noise(8, 8, 3, 3)));
  const DatasetReport report = check_dataset(folder.path());
  ASSERT_EQ(report.duplicates.size(), 2u);
  EXPECT_TRUE(report.duplicates[0].same_bytes);
  EXPECT_EQ(report.duplicates[0].files, (std::vector<std::string>{"a.png", "b.png"}));
  EXPECT_FALSE(report.duplicates[1].same_bytes);
  EXPECT_EQ(report.duplicates[1].files, (std::vector<std::string>{"c.png", "d.png"}));
  EXPECT_EQ(report.sizes, (std::map<std::string, std::int64_t>{{"8x8", 5}}));
  EXPECT_EQ(report.modes, (std::map<std::string, std::int64_t>{{"png rgb 8-bit", 5}}));
  EXPECT_NE(to_long_text(report).find("same bytes: 'a.png' 'b.png'"), std::string::npos) << to_long_text(report);
}

// Pictures of 2x3 whose pixels tell their index. Of those that `broken` or `away` says it throws.
class CountingData final : public Dataset {
 public:
  using Which = std::function<bool(std::int64_t index)>;
  explicit CountingData(std::int64_t size, Which broken = {}, Which away = {}) : Dataset("counting"), broken_(broken), away_(away) {
    size_ = size;
    height_ = 2;
    width_ = 3;
    channels_ = 1;
  }
  void read(std::int64_t index, std::uint8_t* out) const override {
    if (broken_ && broken_(index)) throw Error(ExitCode::bad_data, "this one is bad");
    if (away_ && away_(index)) throw UnreadableFile("this one is away");
    for (int i = 0; i < 6; ++i) out[i] = static_cast<std::uint8_t>(6 * index + i);
  }

 private:
  const Which broken_, away_;
};

std::vector<Batch> batches(const Dataset& data, const LoaderOptions& options, int count) {
  BatchLoader loader(data, options);
  std::vector<Batch> result;
  for (int i = 0; i < count; ++i) result.push_back(loader.next());
  return result;
}

bool equal(const Batch& a, const Batch& b) { return a.pixels == b.pixels && a.indices == b.indices; }

TEST(Loader, OrderDependsOnTheSeedAlone) {
  const CountingData data(37);
  LoaderOptions options{.batch = 8, .seed = 5, .threads = 1, .mirror = MirrorMode::random};
  const std::vector<Batch> expected = batches(data, options, 40);
  for (int threads = 1; threads <= 8; ++threads) {
    for (const int prefetch : {1, 4, 9}) {
      options.threads = threads;
      options.prefetch = prefetch;
      const std::vector<Batch> again = batches(data, options, 40);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), again.begin(), equal)) << threads << " " << prefetch;
    }
  }
  options.seed = 6;
  EXPECT_FALSE(equal(batches(data, options, 1)[0], expected[0]));
}

TEST(Loader, StartsAtAnyStep) {
  const CountingData data(37);
  LoaderOptions options{.batch = 8, .seed = 5, .threads = 3, .mirror = MirrorMode::random};
  const std::vector<Batch> expected = batches(data, options, 20);
  for (int start = 0; start < 15; ++start) {
    options.start_step = start;
    const std::vector<Batch> later = batches(data, options, 5);
    EXPECT_TRUE(std::equal(later.begin(), later.end(), expected.begin() + start, equal)) << start;
  }
}

TEST(Loader, EveryEpochIsAPermutationOfItsOwn) {
  const CountingData data(37);
  std::vector<std::int64_t> order;
  for (const Batch& batch : batches(data, {.batch = 10, .seed = 1}, 37)) {
    order.insert(order.end(), batch.indices.begin(), batch.indices.end());
    for (int j = 0; j < 10; ++j) EXPECT_EQ(batch.pixels[6 * j], static_cast<std::uint8_t>(6 * batch.indices[j]));
  }
  std::set<std::vector<std::int64_t>> epochs;
  for (int epoch = 0; epoch < 10; ++epoch) {
    std::vector<std::int64_t> one(order.begin() + 37 * epoch, order.begin() + 37 * (epoch + 1));
    epochs.insert(one);
    std::sort(one.begin(), one.end());
    for (int i = 0; i < 37; ++i) EXPECT_EQ(one[i], i);
  }
  EXPECT_EQ(epochs.size(), 10u);
  // Every picture is about as often at every position: chi squared of 5 x 5 over 5,000 epochs, 24 degrees of freedom.
  const CountingData five(5);
  std::array<std::array<int, 5>, 5> seen{};
  for (const Batch& batch : batches(five, {.batch = 5}, 5000)) {
    for (int j = 0; j < 5; ++j) ++seen[j][batch.indices[j]];
  }
  double chi_squared = 0;
  for (const auto& row : seen) {
    for (const int count : row) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000;
  }
  EXPECT_LT(chi_squared, 43);  // p = 0.01
}

TEST(Loader, MirrorsAboutHalf) {
  const CountingData data(37);
  int mirrored = 0;
  for (const Batch& batch : batches(data, {.batch = 37, .mirror = MirrorMode::random}, 40)) {
    for (int j = 0; j < 37; ++j) {
      const std::uint8_t* pixels = batch.pixels.data() + 6 * j;
      const auto first = static_cast<std::uint8_t>(6 * batch.indices[j]);
      const bool turned = pixels[0] != first;
      const std::vector<int> order = turned ? std::vector<int>{2, 1, 0, 5, 4, 3} : std::vector<int>{0, 1, 2, 3, 4, 5};
      for (int i = 0; i < 6; ++i) EXPECT_EQ(pixels[i], static_cast<std::uint8_t>(first + order[i]));
      mirrored += turned;
    }
  }
  EXPECT_NEAR(mirrored, 740, 80);
}

TEST(Loader, ReplacesWhatIsBroken) {
  const CountingData whole(37), data(37, [](std::int64_t index) { return index % 5 == 3; });
  LoaderOptions options{.batch = 8, .seed = 5, .threads = 1, .mirror = MirrorMode::random};
  const std::vector<Batch> before = batches(whole, options, 40), expected = batches(data, options, 40);
  std::set<std::int64_t> replacements;
  for (int step = 0; step < 40; ++step) {
    for (int j = 0; j < 8; ++j) {
      const std::int64_t index = expected[step].indices[j];
      EXPECT_NE(index % 5, 3);
      if (before[step].indices[j] % 5 == 3) replacements.insert(index);
      else EXPECT_EQ(index, before[step].indices[j]);
      const std::uint8_t* pixels = expected[step].pixels.data() + 6 * j;
      EXPECT_EQ(*std::min_element(pixels, pixels + 6), static_cast<std::uint8_t>(6 * index));
    }
  }
  EXPECT_GT(replacements.size(), 15u);  // not always the same ones
  for (int threads = 1; threads <= 8; ++threads) {
    options.threads = threads;
    const std::vector<Batch> again = batches(data, options, 40);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), again.begin(), equal)) << threads;
  }
  for (options.start_step = 0; options.start_step < 15; ++options.start_step) {
    const std::vector<Batch> later = batches(data, options, 5);
    EXPECT_TRUE(std::equal(later.begin(), later.end(), expected.begin() + options.start_step, equal)) << options.start_step;
  }
}

TEST(Loader, TellsOnceWhatItReplaced) {
  const CountingData data(37, [](std::int64_t index) { return index % 5 == 3; });
  BatchLoader loader(data, {.batch = 8, .threads = 3});
  std::vector<std::string> told;
  for (int step = 0; step < 100; ++step) {
    loader.next();
    for (const SkippedFile& file : loader.take_replaced()) {
      told.push_back(file.file);
      EXPECT_EQ(file.reason, "this one is bad");
    }
  }
  std::sort(told.begin(), told.end());
  EXPECT_EQ(told, (std::vector<std::string>{"000003", "000008", "000013", "000018", "000023", "000028", "000033"}));
}

// A drive that is away for a moment changes nothing.
TEST(Loader, WaitsForWhatIsAway) {
  const LoaderOptions options{.batch = 8, .seed = 5, .threads = 2, .patience_seconds = 600};
  const std::vector<Batch> expected = batches(CountingData(37), options, 10);
  for (const bool all : {false, true}) {
    std::atomic<int> times_away = 4;
    const CountingData data(37, {}, [&](std::int64_t index) { return (all || index == 20) && times_away-- > 0; });
    BatchLoader loader(data, options);
    for (const Batch& batch : expected) EXPECT_TRUE(equal(loader.next(), batch));
    EXPECT_LT(times_away, 0);
    EXPECT_TRUE(loader.take_replaced().empty());
  }
  // Where a file is waited for in vain, and then all: the whole set is waited for.
  std::atomic<int> times_away = 150;
  const CountingData data(37, {}, [&](std::int64_t) { return times_away-- > 0; });
  BatchLoader loader(data, {.batch = 8, .seed = 5, .threads = 1, .patience_seconds = 10});
  EXPECT_NO_THROW(loader.next());
}

TEST(Loader, WaitsInVainOnlyOnce) {
  std::vector<std::int64_t> tried;
  const CountingData data(1'000'000, {}, [&](std::int64_t index) {
    tried.push_back(index);
    return index % 2 == 0;
  });
  batches(data, {.batch = 100, .threads = 1, .patience_seconds = 0.5}, 10);
  std::set<std::int64_t> waited_for;
  for (std::size_t i = 1; i < tried.size(); ++i) {
    if (tried[i] == tried[i - 1]) waited_for.insert(tried[i]);
  }
  EXPECT_LE(waited_for.size(), 1u);
}

TEST(Loader, EndsWhereNothingCanBeRead) {
  const auto all = [](std::int64_t) { return true; };
  for (const CountingData& data : {CountingData(10, all), CountingData(10, {}, all)}) {
    BatchLoader loader(data, {.batch = 5, .threads = 4, .patience_seconds = 0.1});
    const std::string reason = refusal(ExitCode::bad_data, [&] { loader.next(); });
    EXPECT_NE(reason.find("10 of its 10 pictures"), std::string::npos) << reason;
    EXPECT_NE(reason.find("this one is"), std::string::npos) << reason;
    refusal(ExitCode::bad_data, [&] { loader.next(); });
  }
  // One that waits can be ended.
  const CountingData data(10, {}, all);
  const BatchLoader loader(data, {.batch = 5, .threads = 4, .patience_seconds = 1e6});
}

TEST(Loader, ReplacesNothingWhereStrict) {
  const CountingData data(10, [](std::int64_t index) { return index == 3; });
  BatchLoader loader(data, {.batch = 5, .threads = 4, .strict = true});
  int given = 0;
  const std::string reason = refusal(ExitCode::bad_data, [&] {
    for (; given < 3; ++given) loader.next();
  });
  EXPECT_TRUE(reason.starts_with("this one is bad; --strict")) << reason;
  EXPECT_LT(given, 2);  // the bad one is in the first epoch of two batches
  EXPECT_THROW(loader.next(), Error);
}

TEST(Loader, PassesOtherErrorsOn) {
  const CountingData data(10, [](std::int64_t) -> bool { throw std::bad_alloc(); });
  BatchLoader loader(data, {.batch = 5, .threads = 4});
  EXPECT_THROW(loader.next(), std::bad_alloc);
}

TEST(Loader, EndsAtAnyTime) {
  const CountingData data(37);
  for (int i = 0; i < 200; ++i) {
    BatchLoader loader(data, {.batch = 4, .threads = 1 + i % 8, .prefetch = 1 + i % 3});
    for (int j = 0; j < i % 5; ++j) loader.next();
  }
}

TEST(Loader, RefusesBadOptions) {
  const CountingData data(10);
  for (const LoaderOptions& options :
       {LoaderOptions{.batch = 11}, LoaderOptions{.batch = 0}, LoaderOptions{.batch = 2, .threads = 0},
        LoaderOptions{.batch = 2, .start_step = -1}, LoaderOptions{.batch = 2, .prefetch = 0}}) {
    refusal(ExitCode::usage, [&] { BatchLoader loader(data, options); });
  }
}

TEST(Loader, FeedsRealPictures) {
  const auto data = open_dataset(test_data / "emoji32");
  for (const Batch& batch : batches(*data, {.batch = 64, .threads = 4}, 12)) {
    for (int j = 0; j < 64; ++j) {
      const Image image = data->picture(batch.indices[j]);
      ASSERT_EQ(std::memcmp(image.pixels.data(), batch.pixels.data() + j * data->picture_bytes(), image.pixels.size()),
                0);
    }
  }
}

}  // namespace
}  // namespace pastiche
