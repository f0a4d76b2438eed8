#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "dirty_folder.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/pairs.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using dirty::Bytes;
using dirty::noise;
using dirty::TemporaryFolder;

const fs::path test_data = fs::path(PASTICHE_TEST_DIR) / "data";

void write_picture(const fs::path& path, const Image& image) {
  fs::create_directories(path.parent_path());
  dirty::write(path, encode_png(image));
}

Image negative(Image image) {
  for (auto& value : image.pixels) value = static_cast<std::uint8_t>(255 - value);
  return image;
}

// `count` pictures of noise, the same for both domains but that B is the negative.
void write_pairs(const fs::path& a, const fs::path& b, int count, int height = 12, int width = 10) {
  for (int i = 0; i < count; ++i) {
    const std::string name = std::to_string(i) + ".png";
    write_picture(a / name, noise(height, width, 3, i));
    write_picture(b / name, negative(noise(height, width, 3, i)));
  }
}

void expect_pairs(const Dataset& a, const Dataset& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::int64_t i = 0; i < a.size(); ++i) EXPECT_EQ(a.picture(i), negative(b.picture(i))) << a.picture_name(i);
}

std::vector<std::string> names(const Dataset& data) {
  std::vector<std::string> result;
  for (std::int64_t i = 0; i < data.size(); ++i) result.push_back(data.picture_name(i));
  return result;
}

TEST(Pairs, FindsEveryLayout) {
  const TemporaryFolder folder;
  write_pairs(folder / "photos", folder / "paintings", 5);
  write_pairs(folder / "ab/A", folder / "ab/B", 5);
  write_pairs(folder / "cats/trainA", folder / "cats/trainB", 5);
  for (const auto& [data, style, name, where] :
       std::vector<std::array<std::string, 4>>{{"photos", "paintings", "photos-paintings", "paintings'"},
                                               {"ab", "", "ab", "A/ and B/ of "},
                                               {"cats", "", "cats", "trainA/ and trainB/ of "}}) {
    const fs::path second = style.empty() ? fs::path() : folder / style;
    const DomainPair pairs = open_domains(folder / data, second, Pairing::paired);
    EXPECT_EQ(std::tuple(pairs.height, pairs.width, pairs.channels), std::tuple(12, 10, 3));
    EXPECT_EQ(pairs.a->size(), 5);
    EXPECT_EQ(pairs.holdout_a->size(), 0);
    EXPECT_EQ(pairs.name, name);
    EXPECT_NE(pairs.summary.find(where), std::string::npos) << pairs.summary;
    EXPECT_TRUE(pairs.summary.ends_with(": 5 pairs")) << pairs.summary;
    expect_pairs(*pairs.a, *pairs.b);
    const DomainPair unpaired = open_domains(folder / data, second, Pairing::unpaired);
    EXPECT_TRUE(unpaired.summary.ends_with(": 5 and 5 pictures")) << unpaired.summary;
  }
}

TEST(Pairs, MayShareAPicture) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 5);
  fs::remove(folder / "A/4.png");
  fs::create_symlink("0.png", folder / "A/4.png");
  EXPECT_EQ(open_domains(folder.path(), {}, Pairing::paired).a->size(), 5);
  EXPECT_EQ(open_domains(folder.path(), {}, Pairing::unpaired).a->size(), 4);
}

TEST(Pairs, SplitsPicturesSideBySide) {
  const TemporaryFolder folder;
  for (int i = 0; i < 4; ++i) {
    const int width = i == 3 ? 21 : 20;  // of an odd one the middle column belongs to neither
    Image both{10, width, 3, std::vector<std::uint8_t>(10 * width * 3)};
    const Image left = noise(10, 10, 3, i), right = negative(left);
    for (int y = 0; y < 10; ++y) {
      std::copy_n(left.pixels.data() + y * 30, 30, both.pixels.data() + y * width * 3);
      std::copy_n(right.pixels.data() + y * 30, 30, both.pixels.data() + (y + 1) * width * 3 - 30);
    }
    write_picture(folder / std::to_string(i), both);
  }
  for (const std::int64_t cache : {std::int64_t{0}, std::int64_t{1} << 20}) {
    const DomainPair pairs = open_domains(folder.path(), {}, Pairing::paired, {.data = {.cache_bytes = cache}});
    EXPECT_EQ(std::tuple(pairs.a->size(), pairs.height, pairs.width), std::tuple(4, 10, 10));
    expect_pairs(*pairs.a, *pairs.b);
    EXPECT_EQ(pairs.a->picture(3), noise(10, 10, 3, 3));
  }
  // Halved first, so that neither half is cut at the seam and both show the same place.
  const DomainPair tall = open_domains(folder.path(), {}, Pairing::paired, {.data = {.height = 10, .width = 4}});
  EXPECT_EQ(tall.a->picture(0), fit(noise(10, 10, 3, 0), 10, 4));
  expect_pairs(*tall.a, *tall.b);
  // A few that are no pair are listed.
  write_picture(folder / "square.png", noise(10, 10, 3, 9));
  const DomainPair most = open_domains(folder.path(), {}, Pairing::paired);
  ASSERT_EQ(most.a->skipped().size(), 1u);
  EXPECT_EQ(most.a->skipped()[0].file, "square.png");
  EXPECT_NE(most.a->skipped()[0].reason.find("side by side"), std::string::npos);
  EXPECT_TRUE(most.summary.ends_with(": 4 pairs; 1 unusable")) << most.summary;
}

TEST(Pairs, MatchesNamesOfAnyFormatAndFolder) {
  const TemporaryFolder folder;
  for (const char* name : {"A/one.png", "A/sub/two.png", "A/Three.png", "A/four.png", "A/four.jpg", "A/five.png"}) {
    write_picture(folder / name, noise(8, 8, 3, 1));
  }
  write_picture(folder / "A/z.png", noise(8, 8, 3, 1));
  for (const char* name : {"B/one.jpg", "B/sub/two.jpeg", "B/three.png", "B/four.png"}) {
    write_picture(folder / name, noise(8, 8, 3, 1));
  }
  dirty::write(folder / "B/z.png", Bytes(10));  // broken, so A's is without a partner
  const DomainPair pairs = open_domains(folder.path(), {}, Pairing::paired);
  EXPECT_EQ(names(*pairs.a), (std::vector<std::string>{"four.jpg", "one.png", "sub/two.png"}));
  EXPECT_EQ(names(*pairs.b), (std::vector<std::string>{"four.png", "one.jpg", "sub/two.jpeg"}));
  std::multiset<std::string> unmatched;
  for (const SkippedFile& file : pairs.unmatched) {
    unmatched.insert(file.file);
    EXPECT_NE(file.reason, "");
  }
  EXPECT_EQ(unmatched, (std::multiset<std::string>{"Three.png", "five.png", "four.png", "three.png", "z.png"}));
  EXPECT_TRUE(pairs.summary.ends_with(": 3 pairs; 5 unmatched; 1 unusable")) << pairs.summary;
  ASSERT_EQ(pairs.b->skipped().size(), 1u);
  EXPECT_EQ(pairs.b->skipped()[0].file, "z.png");
  EXPECT_NE(refusal(ExitCode::bad_data,
                    [&] { open_domains(folder.path(), {}, Pairing::paired, {.data = {.strict = true}}); }),
            "");
  fs::remove(folder / "B/z.png");
  EXPECT_NE(
      refusal(ExitCode::bad_data, [&] { open_domains(folder.path(), {}, Pairing::paired, {.data = {.strict = true}}); })
          .find("no partner"),
      std::string::npos);
}

TEST(Pairs, TakesIdxByIndex) {
  const fs::path fashion = test_data / "fashion";
  const TemporaryFolder folder;
  EXPECT_EQ(make_pairs(fashion, folder / "set", SourceKind::mosaic).pairs, open_dataset(fashion)->size());
  const DomainPair pairs = open_domains(folder / "set/A", fashion, Pairing::paired);
  EXPECT_EQ(pairs.a->size(), open_dataset(fashion)->size());
  EXPECT_EQ(pairs.channels, 1);
  EXPECT_EQ(make_source(pairs.b->picture(7), SourceKind::mosaic), pairs.a->picture(7));
  EXPECT_EQ(pairs.b->labels().size(), static_cast<std::size_t>(pairs.b->size()));
}

TEST(Pairs, BothDomainsHaveOneShape) {
  const TemporaryFolder folder;
  for (int i = 0; i < 3; ++i) {
    write_picture(folder / ("A/" + std::to_string(i)), noise(8, 8, 1, i));
    write_picture(folder / ("B/" + std::to_string(i)), noise(16, 12, 3, i));
  }
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_domains(folder.path(), {}, Pairing::paired); }).find("--size"),
            std::string::npos);
  const DomainPair pairs = open_domains(folder.path(), {}, Pairing::paired, {.data = {.height = 6, .width = 6}});
  EXPECT_EQ(pairs.channels, 3);
  EXPECT_EQ(pairs.a->picture(1), convert(fit(noise(8, 8, 1, 1), 6, 6), 3));
  EXPECT_EQ(pairs.b->picture(1), fit(noise(16, 12, 3, 1), 6, 6));
  const DomainPair swapped =
      open_domains(folder / "B", folder / "A", Pairing::unpaired, {.data = {.height = 6, .width = 6}});
  EXPECT_EQ(swapped.b->channels(), 3);
  EXPECT_EQ(open_domains(folder / "A", folder / "A", Pairing::unpaired).channels, 1);
  EXPECT_EQ(open_domains(folder / "B", folder / "B", Pairing::unpaired, {.data = {.channels = 1}}).channels, 1);
}

TEST(Pairs, RefusesWhatIsNoPairOfDomains) {
  const TemporaryFolder folder;
  write_pairs(folder / "x", folder / "y", 3);
  write_picture(folder / "other/0x.png", noise(12, 10, 3, 0));
  fs::create_directory(folder / "empty");
  for (const auto& [data, style, words] : std::vector<std::array<std::string, 3>>{
           {"absent", "", "--style"},
           {"x/0.png", "", "--style"},
           {"x", "", "neither A/ and B/"},
           {"empty", "", "neither A/ and B/"},
           {"x", "absent", "check the path"},
           {"absent", "x", "check the path"},
           {"x", "empty", "check the path"},
           {"x", "other", "no pair"},
       }) {
    const fs::path second = style.empty() ? fs::path() : folder / style;
    const std::string reason =
        refusal(ExitCode::bad_data, [&] { open_domains(folder / data, second, Pairing::paired); });
    EXPECT_NE(reason.find(words), std::string::npos) << reason;
    EXPECT_NE(reason.find("expected"), std::string::npos) << reason;
  }
  EXPECT_NO_THROW(open_domains(folder / "x", folder / "other", Pairing::unpaired));
  for (const DomainOptions& options :
       {DomainOptions{.holdout = -0.1}, DomainOptions{.holdout = 1}, DomainOptions{.load_height = 9, .load_width = 9},
        DomainOptions{.data = {.height = 8, .width = 8}, .load_height = 9, .load_width = 7},
        DomainOptions{.data = {.height = 8}}}) {
    refusal(ExitCode::usage, [&] { open_domains(folder / "x", folder / "y", Pairing::paired, options); });
  }
}

TEST(Pairs, HoldsOutTheSameNamesEverywhere) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 40);
  const DomainOptions options{.data = {.height = 6, .width = 6}, .load_height = 8, .load_width = 8, .holdout = 0.1};
  const DomainPair pairs = open_domains(folder.path(), {}, Pairing::paired, options);
  EXPECT_TRUE(pairs.summary.ends_with(": 40 pairs, 4 of them held out")) << pairs.summary;
  EXPECT_EQ(pairs.a->size(), 36);
  EXPECT_EQ(pairs.a->height(), 8);
  EXPECT_EQ(pairs.holdout_a->height(), 6);  // whole, at the size that the networks see
  EXPECT_EQ(pairs.holdout_a->picture(0).pixels.size(), 6u * 6 * 3);
  EXPECT_EQ(names(*pairs.holdout_a), names(*pairs.holdout_b));
  const std::vector<std::string> held = names(*pairs.holdout_a);
  std::vector<std::string> all = names(*pairs.a);
  all.insert(all.end(), held.begin(), held.end());
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 40u);
  const DomainPair unpaired = open_domains(folder.path(), {}, Pairing::unpaired, options);
  EXPECT_TRUE(unpaired.summary.ends_with(": 40 and 40 pictures, 4 and 4 of them held out")) << unpaired.summary;
  EXPECT_EQ(names(*unpaired.holdout_b), held);
  // One more picture moves one name at most.
  write_pairs(folder / "A", folder / "B", 41);
  const std::vector<std::string> later = names(*open_domains(folder.path(), {}, Pairing::paired, options).holdout_a);
  std::vector<std::string> kept;
  std::set_intersection(held.begin(), held.end(), later.begin(), later.end(), std::back_inserter(kept));
  EXPECT_GE(kept.size(), 3u);
  // Never none, and never all.
  EXPECT_EQ(open_domains(folder.path(), {}, Pairing::paired, {.holdout = 0.001}).holdout_a->size(), 1);
  const TemporaryFolder one;
  write_pairs(one / "A", one / "B", 1);
  EXPECT_EQ(open_domains(one.path(), {}, Pairing::paired).a->size(), 1);
  refusal(ExitCode::bad_data, [&] { open_domains(one.path(), {}, Pairing::paired, {.holdout = 0.5}); });
}

TEST(Pairs, FingerprintCoversBothAndTheChoice) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 10);
  const auto print = [&](double holdout) {
    return open_domains(folder.path(), {}, Pairing::paired, {.holdout = holdout}).fingerprint;
  };
  std::set<std::string> prints{print(0), print(0.2)};
  EXPECT_TRUE(prints.contains(print(0)));
  write_picture(folder / "B/3.png", noise(12, 10, 3, 77));
  prints.insert(print(0));
  fs::rename(folder / "B/3.png", folder / "B/33.png");
  fs::rename(folder / "A/3.png", folder / "A/33.png");
  prints.insert(print(0));
  fs::remove(folder / "A/1.png");
  prints.insert(print(0));
  EXPECT_EQ(prints.size(), 5u);
}

TEST(Pairs, FingerprintIsOfRelativePaths) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 10, 12, 24);
  const auto prints = [&](const std::string& root) {
    std::vector<std::string> prints;
    for (const Pairing pairing : {Pairing::paired, Pairing::unpaired}) {
      const DomainOptions options{.holdout = 0.2};
      prints.push_back(open_domains(folder / root, {}, pairing, options).fingerprint);
      prints.push_back(open_domains(folder / root / "A", folder / root / "B", pairing, options).fingerprint);
      prints.push_back(open_domains(folder / root / "A", {}, pairing, options).fingerprint);  // side by side
    }
    return prints;
  };
  const std::vector<std::string> before = prints("");
  fs::create_directory(folder / "moved");
  for (const char* name : {"A", "B"}) fs::rename(folder / name, folder / "moved" / name);
  EXPECT_EQ(prints("moved"), before);
}

TEST(Pairs, CountsWhatIsLeftOutOfBoth) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 3, 12, 24);
  write_pairs(folder / "A/@eaDir", folder / "B/@eaDir", 2);
  write_picture(folder / "A/0.png~", noise(8, 8, 3, 1));
  EXPECT_EQ(open_domains(folder.path(), {}, Pairing::paired).left_out, (LeftOut{{"backups", 1}, {"thumbnails", 4}}));
  EXPECT_EQ(open_domains(folder / "A", {}, Pairing::paired).left_out, (LeftOut{{"backups", 1}, {"thumbnails", 2}}));  // side by side
  EXPECT_EQ(make_pairs(folder / "B", folder / "out", SourceKind::gray).left_out, (LeftOut{{"thumbnails", 2}}));
}

struct CopiedBatch {
  Batch a, b;
  bool operator==(const CopiedBatch& other) const {
    return a.pixels == other.a.pixels && b.pixels == other.b.pixels && a.indices == other.a.indices &&
           b.indices == other.b.indices;
  }
};

std::vector<CopiedBatch> batches(const DomainPair& data, const LoaderOptions& options, int count) {
  PairLoader loader(data, options);
  std::vector<CopiedBatch> result;
  for (int i = 0; i < count; ++i) {
    const PairBatch batch = loader.next();
    result.push_back({batch.a, batch.b});
  }
  return result;
}

const DomainOptions jitter{.data = {.height = 8, .width = 8}, .load_height = 12, .load_width = 10};

TEST(PairLoader, DoesTheSameToBothOfAPair) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 7);
  const DomainPair pairs = open_domains(folder.path(), {}, Pairing::paired, jitter);
  std::map<std::tuple<bool, int, int>, int> seen;  // mirrored, top, left
  for (const CopiedBatch& batch : batches(pairs, {.batch = 5, .seed = 3, .mirror = MirrorMode::random}, 200)) {
    EXPECT_EQ(batch.a.indices, batch.b.indices);
    ASSERT_EQ(batch.a.pixels.size(), 5u * 8 * 8 * 3);
    for (std::size_t i = 0; i < batch.a.pixels.size(); ++i) ASSERT_EQ(batch.a.pixels[i], 255 - batch.b.pixels[i]);
    for (int j = 0; j < 5; ++j) {
      const Image given{8, 8, 3, {batch.a.pixels.begin() + j * 192, batch.a.pixels.begin() + (j + 1) * 192}};
      const Image whole = pairs.a->picture(batch.a.indices[j]);
      int found = 0;
      for (int k = 0; k < 2 * 3 * 5; ++k) {
        const int top = k / 2 % 5, left = k / 10;
        const Image part = crop(whole, top, left, 8, 8);
        if ((k % 2 == 1 ? mirror(part) : part) == given) ++found, ++seen[{k % 2 == 1, top, left}];
      }
      EXPECT_EQ(found, 1);
    }
  }
  EXPECT_EQ(seen.size(), 2u * 3 * 5);
  for (const auto& [what, count] : seen) EXPECT_NEAR(count, 1000 / 30, 24);  // four standard deviations
}

TEST(PairLoader, ShufflesUnpairedDomainsIndependently) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 9);
  for (const int i : {0, 1, 2, 3}) fs::remove(folder / ("B/" + std::to_string(i) + ".png"));
  const DomainPair data = open_domains(folder.path(), {}, Pairing::unpaired, jitter);
  std::vector<std::int64_t> a, b;
  for (const CopiedBatch& batch : batches(data, {.batch = 3}, 60)) {
    a.insert(a.end(), batch.a.indices.begin(), batch.a.indices.end());
    b.insert(b.end(), batch.b.indices.begin(), batch.b.indices.end());
  }
  // Epochs of their own length, each a permutation.
  for (const auto& [order, size] : {std::pair(a, 9), std::pair(b, 5)}) {
    for (int epoch = 0; epoch < 180 / size; ++epoch) {
      EXPECT_EQ(std::set(order.begin() + epoch * size, order.begin() + (epoch + 1) * size).size(), std::size_t(size));
    }
  }
  // Over one folder twice, so that one choice for both would show.
  const DomainPair same = open_domains(folder / "A", folder / "A", Pairing::unpaired, jitter);
  for (const CopiedBatch& batch : batches(same, {.batch = 9, .mirror = MirrorMode::random}, 5)) {
    EXPECT_NE(batch.a.indices, batch.b.indices);
    EXPECT_NE(batch.a.pixels, batch.b.pixels);
  }
}

TEST(PairLoader, BatchesDependOnTheSeedAloneAndResume) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 11);
  for (const Pairing pairing : {Pairing::paired, Pairing::unpaired}) {
    const DomainPair data = open_domains(folder.path(), {}, pairing, jitter);
    LoaderOptions options{.batch = 4, .seed = 8, .threads = 1, .mirror = MirrorMode::random};
    const std::vector<CopiedBatch> expected = batches(data, options, 20);
    for (int threads = 1; threads <= 8; ++threads) {
      options.threads = threads;
      options.prefetch = 1 + threads % 4;
      EXPECT_EQ(batches(data, options, 20), expected) << threads;
    }
    for (int start = 0; start < 15; ++start) {
      options.start_step = start;
      EXPECT_EQ(batches(data, options, 5), std::vector(expected.begin() + start, expected.begin() + start + 5));
    }
    options = {.batch = 4, .seed = 9, .mirror = MirrorMode::random};
    EXPECT_FALSE(batches(data, options, 1)[0] == expected[0]);
  }
}

TEST(PairLoader, RefusesBadOptions) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 4);
  fs::remove(folder / "B/3.png");
  const DomainPair data = open_domains(folder.path(), {}, Pairing::paired, jitter);
  EXPECT_NE(refusal(ExitCode::usage, [&] { PairLoader loader(data, {.batch = 4}); }).find("1 to 3"), std::string::npos);
  refusal(ExitCode::usage, [&] { BatchLoader loader(*data.a, {.batch = 1, .crop_height = 13, .crop_width = 4}); });
}

TEST(PairLoader, ReplacesBothOfAPair) {
  const TemporaryFolder folder;
  write_pairs(folder / "A", folder / "B", 7);
  DomainOptions lazy = jitter;
  lazy.data.cache_bytes = 0;
  const DomainPair pairs = open_domains(folder.path(), {}, Pairing::paired, lazy);
  const DomainPair unpaired = open_domains(folder.path(), {}, Pairing::unpaired, lazy);
  dirty::write(folder / "A/2.png", Bytes(10));
  fs::remove(folder / "B/1.png");
  const LoaderOptions options{.batch = 5, .seed = 3, .mirror = MirrorMode::random, .patience_seconds = 0.1};
  for (const CopiedBatch& batch : batches(pairs, options, 30)) {
    EXPECT_EQ(batch.a.indices, batch.b.indices);
    for (const std::int64_t index : batch.a.indices) EXPECT_TRUE(index != 1 && index != 2) << index;
    for (std::size_t i = 0; i < batch.a.pixels.size(); ++i) ASSERT_EQ(batch.a.pixels[i], 255 - batch.b.pixels[i]);
  }
  const auto replaced = [&](const DomainPair& data) {
    PairLoader loader(data, options);
    for (int i = 0; i < 30; ++i) loader.next();
    std::set<std::string> files;
    for (const SkippedFile& file : loader.take_replaced()) files.insert(file.file);
    EXPECT_TRUE(loader.take_replaced().empty());
    return files;
  };
  const std::set<std::string> both{"1.png", "2.png"};
  EXPECT_EQ(replaced(pairs), both);
  EXPECT_EQ(replaced(unpaired), both);
  fs::remove_all(folder / "B");
  for (const DomainPair* data : {&pairs, &unpaired}) {
    PairLoader loader(*data, options);
    refusal(ExitCode::bad_data, [&] { loader.next(); });
  }
}

Image square() {  // of 6x6 pixels in the middle of 16x16
  Image image{16, 16, 3, std::vector<std::uint8_t>(16 * 16 * 3, 200)};
  for (int y = 5; y < 11; ++y) std::fill_n(image.pixels.data() + (y * 16 + 5) * 3, 18, 40);
  return image;
}

TEST(MakeSource, EdgesOfASquareAreItsOutline) {
  const Image lines = make_source(square(), SourceKind::edges);
  EXPECT_EQ(std::tuple(lines.height, lines.width, lines.channels), std::tuple(16, 16, 1));
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      const bool outside = y < 4 || y > 11 || x < 4 || x > 11;
      const bool inside = y > 5 && y < 10 && x > 5 && x < 10;
      EXPECT_EQ(lines.pixels[y * 16 + x], outside || inside ? 255 : 0) << y << " " << x;
    }
  }
}

TEST(MakeSource, EdgesSeeColourAndSkipFaintSteps) {
  // Red beside a gray of the same luma.
  Image image{4, 8, 3, {}};
  for (int i = 0; i < 32; ++i) {
    const std::array<std::uint8_t, 3> color =
        i % 8 < 4 ? std::array<std::uint8_t, 3>{255, 0, 0} : std::array<std::uint8_t, 3>{76, 76, 76};
    image.pixels.insert(image.pixels.end(), color.begin(), color.end());
  }
  for (int i = 0; i < 32; ++i)
    EXPECT_EQ(make_source(image, SourceKind::edges).pixels[i], i % 8 == 3 || i % 8 == 4 ? 0 : 255);
  for (const int step : {31, 32}) {
    Image gray{4, 8, 1, {}};
    for (int i = 0; i < 32; ++i) gray.pixels.push_back(static_cast<std::uint8_t>(i % 8 < 4 ? 100 : 100 + step));
    const Image lines = make_source(gray, SourceKind::edges);
    EXPECT_EQ(std::count(lines.pixels.begin(), lines.pixels.end(), 0), step < 32 ? 0 : 8);
  }
  // What shows through is white, so a transparent border is none.
  const Image clear{4, 4, 4, std::vector<std::uint8_t>(64, 0)};
  EXPECT_EQ(make_source(clear, SourceKind::edges).pixels, std::vector<std::uint8_t>(16, 255));
}

TEST(MakeSource, GrayBlurAndMosaic) {
  const Image image = noise(64, 80, 3, 5);
  EXPECT_EQ(make_source(image, SourceKind::gray), convert(image, 1));
  const Image mosaic = make_source(image, SourceKind::mosaic);
  ASSERT_EQ(mosaic.pixels.size(), image.pixels.size());
  for (int y = 0; y < 64; y += 4) {
    for (int x = 0; x < 80; x += 4) {
      for (int c = 0; c < 3; ++c) {
        double sum = 0;
        for (int i = 0; i < 16; ++i) {
          const std::size_t at = ((y + i / 4) * 80 + x + i % 4) * 3 + c;
          EXPECT_EQ(mosaic.pixels[at], mosaic.pixels[(y * 80 + x) * 3 + c]);
          sum += image.pixels[at];
        }
        EXPECT_NEAR(mosaic.pixels[(y * 80 + x) * 3 + c], sum / 16, 1.5);
      }
    }
  }
  const Image blur = make_source(image, SourceKind::blur);
  const auto roughness = [](const Image& picture) {  // mean step from a pixel to the one on its right
    double sum = 0;
    for (std::size_t i = 3; i < picture.pixels.size(); ++i) sum += std::abs(picture.pixels[i] - picture.pixels[i - 3]);
    return sum / static_cast<double>(picture.pixels.size());
  };
  EXPECT_LT(roughness(blur), roughness(image) / 6);
  const auto mean = [](const Image& picture) {
    double sum = 0;
    for (const std::uint8_t value : picture.pixels) sum += value;
    return sum / static_cast<double>(picture.pixels.size());
  };
  EXPECT_NEAR(mean(blur), mean(image), 1);
  for (const SourceKind kind : {SourceKind::edges, SourceKind::gray, SourceKind::blur, SourceKind::mosaic}) {
    EXPECT_EQ(make_source(noise(1, 3, 1, 1), kind).width, 3);
  }
}

TEST(MakePairs, MakesASetThatOpens) {
  const TemporaryFolder folder;
  for (const auto& [kind, channels] : {std::pair(SourceKind::edges, 1), std::pair(SourceKind::blur, 3)}) {
    const fs::path out = folder / std::to_string(channels);
    const MadePairs made = make_pairs(test_data / "emoji32", out, kind);
    EXPECT_EQ(made.pairs, 257);
    EXPECT_TRUE(made.skipped.empty());
    const DomainPair pairs = open_domains(out, {}, Pairing::paired);
    EXPECT_EQ(pairs.summary.substr(pairs.summary.rfind(':')), ": 257 pairs");
    const auto original = open_dataset(test_data / "emoji32");
    for (const std::int64_t i : {0, 100, 256}) {
      EXPECT_EQ(pairs.b->picture(i), original->picture(i));
      EXPECT_EQ(pairs.a->picture(i), convert(make_source(original->picture(i), kind), 3));
      EXPECT_EQ(read_picture(out / "A" / pairs.a->picture_name(i)).channels, channels);
    }
  }
}

TEST(MakePairs, SurvivesADirtyFolder) {
  const TemporaryFolder folder;
  const dirty::Folder files = dirty::make_folder(folder / "data");
  const MadePairs made = make_pairs(folder / "data", folder / "out", SourceKind::edges, 16, 20);
  EXPECT_EQ(made.pairs + made.skipped.size(), files.good.size() + files.bad.size());
  std::set<std::string> skipped;
  for (const SkippedFile& file : made.skipped) {
    skipped.insert(file.file);
    EXPECT_FALSE(file.reason.empty());
  }
  EXPECT_TRUE(std::includes(skipped.begin(), skipped.end(), files.bad.begin(), files.bad.end()));
  const DomainPair pairs = open_domains(folder / "out", {}, Pairing::paired);
  EXPECT_EQ(std::tuple(pairs.a->size(), pairs.height, pairs.width), std::tuple(made.pairs, 16, 20));
  EXPECT_TRUE(pairs.unmatched.empty());
  const MadePairs again = make_pairs(folder / "data", folder / "again", SourceKind::edges, 16, 20);
  EXPECT_EQ(open_domains(folder / "again", {}, Pairing::paired).fingerprint, pairs.fingerprint);
}

TEST(MakePairs, KeepsSizesFoldersAndTellsNamesApart) {
  const TemporaryFolder folder;
  write_picture(folder / "data/sub/tall.png", noise(20, 10, 3, 1));
  write_picture(folder / "data/same.jpg", noise(8, 8, 4, 2));
  write_picture(folder / "data/same.png", noise(8, 8, 3, 3));
  write_picture(folder / ("data/" + std::string(255, 'x')), noise(8, 8, 3, 3));
  const MadePairs made = make_pairs(folder / "data", folder / "out", SourceKind::gray);
  EXPECT_EQ(made.pairs, 4);
  EXPECT_TRUE(made.skipped.empty());
  const std::string x(255, 'x');
  EXPECT_EQ(made.renamed, (std::vector<std::pair<std::string, std::string>>{{"same.png", "same-2.png"}, {x, x.substr(4) + ".png"}}));
  EXPECT_EQ(read_picture(folder / "out/B/same-2.png"), noise(8, 8, 3, 3));
  EXPECT_EQ(read_picture(folder / "out/A/same-2.png"), convert(noise(8, 8, 3, 3), 1));
  EXPECT_EQ(read_picture(folder / "out/B/sub/tall.png"), noise(20, 10, 3, 1));
  EXPECT_EQ(read_picture(folder / "out/A/sub/tall.png"), convert(noise(20, 10, 3, 1), 1));
  EXPECT_EQ(read_picture(folder / "out/B/same.png"), convert(noise(8, 8, 4, 2), 3));
}

TEST(MakePairs, Refuses) {
  const TemporaryFolder folder;
  write_picture(folder / "data/a.png", noise(8, 8, 3, 1));
  fs::create_directory(folder / "broken");
  fs::create_directory(folder / "empty");
  dirty::write(folder / "broken/a.png", Bytes());
  const auto make = [&](const std::string& data, const std::string& out) {
    make_pairs(folder / data, folder / out, SourceKind::edges);
  };
  for (const char* data : {"absent", "broken", "empty"}) {
    EXPECT_NE(refusal(ExitCode::bad_data, [&] { make(data, "out"); }), "") << data;
  }
  make("data", "empty");
  for (const char* out : {"data", "empty", "data/a.png", "data/a.png/b"}) {
    EXPECT_NE(refusal(ExitCode::bad_file, [&] { make("data", out); }).find(out), std::string::npos);
  }
  refusal(ExitCode::usage, [&] { make_pairs(folder / "data", folder / "large", SourceKind::gray, 70000, 8); });
}

// What a call leaves that was killed at any time; see Staging.
TEST(MakePairs, BeginsAnewAfterAnInterruptedCall) {
  const TemporaryFolder folder;
  write_picture(folder / "data/a.png", noise(8, 8, 3, 1));
  write_picture(folder / "picture", noise(8, 8, 3, 2));
  const fs::path out = folder / "out";
  const auto put = [&](const std::string& name) {
    fs::create_directories((out / name).parent_path());
    fs::copy_file(folder / "picture", out / name);
  };
  using Names = std::vector<std::string>;
  for (const Names& left : {Names{}, Names{"pairs.tmp/A/x.png"}, Names{"pairs.tmp/A/x.png", "pairs.tmp/B/x.png"},
                            Names{"pairs.ready.tmp/A/x.png", "pairs.ready.tmp/B/x.png"}, Names{"A/x.png", "pairs.ready.tmp/B/x.png"}}) {
    fs::remove_all(out);
    fs::create_directory(out);
    for (const std::string& name : left) put(name);
    EXPECT_EQ(make_pairs(folder / "data", out, SourceKind::gray).pairs, 1);
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(out)) names.insert(entry.path().lexically_relative(out));
    EXPECT_EQ(names, (std::set<std::string>{"A", "A/a.png", "B", "B/a.png"}));
  }
  // What may be the user's is never touched.
  for (const Names& kept : {Names{"A/x.png"}, Names{"A/x.png", "B/x.png"}, Names{"A/x.png", "pairs.tmp/B/x.png"},
                            Names{"pairs.tmp/A/x.png", "mine.png"}, Names{"A/x.png", "pairs.ready.tmp/A/x.png", "pairs.ready.tmp/B/x.png"},
                            Names{"A/x.png", "B/x.png", "pairs.ready.tmp/B/x.png"}}) {
    fs::remove_all(out);
    for (const std::string& name : kept) put(name);
    refusal(ExitCode::bad_file, [&] { make_pairs(folder / "data", out, SourceKind::gray); });
    for (const std::string& name : kept) EXPECT_TRUE(fs::exists(out / name)) << name;
  }
}

TEST(MakePairs, RefusesAFolderThatAnotherProcessFills) {
  const TemporaryFolder folder;
  write_picture(folder / "data/a.png", noise(8, 8, 3, 1));
  fs::create_directory(folder / "out");
  const int other = ::open((folder / "out").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(other, LOCK_EX), 0);
  const auto make = [&] { make_pairs(folder / "data", folder / "out", SourceKind::gray); };
  EXPECT_NE(refusal(ExitCode::bad_file, make).find("another process"), std::string::npos);
  ::close(other);
  make();
}

}  // namespace
}  // namespace pastiche
