#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

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
  const std::string text = to_text(report);
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
  EXPECT_NE(to_text(report).find("same bytes: 'a.png' 'b.png'"), std::string::npos) << to_text(report);
}

// Pictures of 2x3 whose pixels tell their index; it throws when asked for `bad`.
class CountingData final : public Dataset {
 public:
  explicit CountingData(std::int64_t size, std::int64_t bad = -1) : Dataset("counting"), bad_(bad) {
    size_ = size;
    height_ = 2;
    width_ = 3;
    channels_ = 1;
  }
  void read(std::int64_t index, std::uint8_t* out) const override {
    if (index == bad_) throw Error(ExitCode::bad_data, "this one is bad");
    for (int i = 0; i < 6; ++i) out[i] = static_cast<std::uint8_t>(6 * index + i);
  }

 private:
  std::int64_t bad_;
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

TEST(Loader, PassesErrorsOn) {
  const CountingData data(10, 3);
  BatchLoader loader(data, {.batch = 5, .threads = 4});
  int given = 0;
  try {
    for (; given < 3; ++given) loader.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "this one is bad");
  }
  EXPECT_LT(given, 2);  // the bad one is in the first epoch of two batches
  EXPECT_THROW(loader.next(), Error);
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
