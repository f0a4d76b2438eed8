#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "data/store.h"
#include "dirty_folder.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/pairs.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using dirty::Bytes;
using dirty::bytes_of;
using dirty::make_zip;
using dirty::noise;
using dirty::TemporaryFolder;

#ifdef PASTICHE_ZIP

void put(const fs::path& path, const Bytes& bytes) {
  fs::create_directories(path.parent_path());
  dirty::write(path, bytes);
}

std::vector<std::string> names_of(const Dataset& data) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < data.size(); ++i) names.push_back(data.picture_name(i));
  return names;
}

std::vector<std::string> files_of(const std::vector<SkippedFile>& skipped) {
  std::vector<std::string> files;
  for (const SkippedFile& file : skipped) files.push_back(file.file);
  return files;
}

void expect_same_data(const fs::path& a, const fs::path& b, const DataOptions& options) {
  const auto first = open_dataset(a, options), second = open_dataset(b, options);
  EXPECT_EQ(first->fingerprint(), second->fingerprint());
  EXPECT_EQ(names_of(*first), names_of(*second));
  EXPECT_EQ(files_of(first->skipped()), files_of(second->skipped()));
  EXPECT_EQ(first->left_out(), second->left_out());
  EXPECT_EQ(first->labels(), second->labels());
  EXPECT_EQ(std::tuple(first->height(), first->width(), first->channels()), std::tuple(second->height(), second->width(), second->channels()));
  for (std::int64_t i = 0; i < first->size(); ++i) EXPECT_EQ(first->picture(i), second->picture(i)) << first->picture_name(i);
  DatasetReport x = check_dataset(a), y = check_dataset(b);
  EXPECT_EQ(x.kind, "folder");
  EXPECT_EQ(y.kind, "zip");
  EXPECT_EQ(files_of(x.unusable), files_of(y.unusable));
  x.unusable.clear(), y.unusable.clear();
  y.kind = x.kind, y.path = x.path;
  EXPECT_EQ(to_json(x), to_json(y));
}

TEST(Zip, IsTheSameDataAsItsFolder) {
  const TemporaryFolder folder;
  const Bytes png = dirty::make_png({});
  for (int i = 0; i < 90; ++i) put(folder / ("data/00000/img" + std::to_string(i) + ".png"), encode_png(noise(9 + i, 13, 3, i)));
  for (const dirty::File& file : dirty::unusual_pictures()) put(folder / ("data/" + file.name), file.bytes);
  for (const dirty::File& file : dirty::broken_pictures()) put(folder / ("data/broken/" + file.name), file.bytes);
  for (const char* name : {"new\nline.png", "\xc3\xa4\xe2\x82\xac.png", "invalid-\xff\xfe.png", "a-b.png", "a/b.png", "a.png"}) {
    put(folder / "data" / name, png);
  }
  for (const char* name : {"__MACOSX/._a.png", "._b.png", "@eaDir/a.png/b.jpg", "a/a.png~", ".git/x", ".c.png"}) put(folder / "data" / name, png);
  for (const char* name : {"runs/0/samples/0.png", "runs/0/ckpt/x", "runs/1/reals.png"}) put(folder / "data" / name, png);
  put(folder / "data/runs/0/config.toml", {}), put(folder / "data/runs/1/config.toml", {}), put(folder / "data/runs/1/run.json", {});
  put(folder / "data/notes.txt", bytes_of("no picture"));
  dirty::write(folder / "data.zip", dirty::zip_of(folder / "data"));
  for (const std::int64_t cache : {std::int64_t{1} << 28, std::int64_t{0}}) {
    const DataOptions options{.height = 16, .width = 16, .cache_bytes = cache};
    if (cache > 0) {
      expect_same_data(folder / "data", folder / "data.zip", options);
    } else {
      EXPECT_EQ(open_dataset(folder / "data", options)->fingerprint(), open_dataset(folder / "data.zip", options)->fingerprint());
    }
  }
  const auto data = open_dataset(folder / "data.zip", {.height = 16, .width = 16});
  EXPECT_EQ(data->name(), "data");
  EXPECT_EQ(data->left_out().at("run folders"), 2);
  EXPECT_EQ(data->left_out().at("system files"), 2);
}

TEST(Zip, HasLabels) {
  const TemporaryFolder folder;
  for (int i = 0; i < 5; ++i) put(folder / ("data/00000/img0000000" + std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
  put(folder / "data/dataset.json", bytes_of(R"({"labels": [["00000/img00000000.png", 4], ["00000/img00000001.png", 0], ["00000/img00000002.png", 4],
                                                   ["00000/img00000003.png", 1], ["00000/img00000004.png", 2]]})"));
  dirty::write(folder / "data.zip", dirty::zip_of(folder / "data"));
  EXPECT_EQ(open_dataset(folder / "data.zip")->labels(), (std::vector<int>{4, 0, 4, 1, 2}));
  EXPECT_EQ(check_dataset(folder / "data.zip").labels, (std::map<int, std::int64_t>{{0, 1}, {1, 1}, {2, 1}, {4, 2}}));
  expect_same_data(folder / "data", folder / "data.zip", {});
}

TEST(Zip, GivesTheBatchesOfItsFolder) {
  const TemporaryFolder folder;
  for (int i = 0; i < 37; ++i) put(folder / ("data/" + std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
  dirty::write(folder / "data.zip", dirty::zip_of(folder / "data"));
  const auto plain = open_dataset(folder / "data", {.cache_bytes = 0}), zipped = open_dataset(folder / "data.zip", {.cache_bytes = 0});
  for (int threads = 1; threads <= 8; ++threads) {
    const LoaderOptions options{.batch = 8, .seed = 5, .threads = threads, .mirror = MirrorMode::random};
    BatchLoader a(*plain, options), b(*zipped, options);
    for (int step = 0; step < 30; ++step) {
      const Batch& expected = a.next();
      const Batch& batch = b.next();
      EXPECT_EQ(batch.indices, expected.indices);
      EXPECT_EQ(batch.pixels, expected.pixels);
    }
  }
}

TEST(Zip, IsKnownByItsFirstBytesOrItsEnding) {
  const TemporaryFolder folder;
  const Bytes zip = make_zip({{"a.png", dirty::make_png({})}, {"sub/b.png", dirty::make_png({})}});
  for (const char* name : {"a.zip", "b.ZIP", "c"}) {
    dirty::write(folder / name, zip);
    EXPECT_EQ(open_dataset(folder / name)->size(), 2) << name;
    EXPECT_EQ(open_dataset(folder / name / "")->size(), 2) << name;
    EXPECT_EQ(names_of(*open_dataset(folder / name / "sub")), std::vector<std::string>{"b.png"}) << name;
    EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_dataset(folder / name / "absent"); }).find("no folder 'absent'"), std::string::npos);
  }
  EXPECT_EQ(open_dataset(folder / "c")->name(), "c");
  dirty::write(folder / "page.zip", bytes_of("<html>not found</html>"));
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_dataset(folder / "page.zip"); }).find("as a zip"), std::string::npos);
  fs::create_directory(folder / "folder.zip");
  dirty::write(folder / "folder.zip/a.png", dirty::make_png({}));
  EXPECT_EQ(open_dataset(folder / "folder.zip")->size(), 1);
  dirty::write(folder / "empty.zip", make_zip({}));
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_dataset(folder / "empty.zip"); }).find("no picture"), std::string::npos);
}

// Opens, checks and reads what can be.
void use(const fs::path& path) {
  const auto data = open_dataset(path, {.height = 8, .width = 8, .cache_bytes = 0});
  std::vector<std::uint8_t> pixels(data->picture_bytes());
  for (std::int64_t i = 0; i < data->size(); ++i) data->read(i, pixels.data());
  check_dataset(path);
}

TEST(Zip, DamageIsRefusedOrHarmless) {
  const TemporaryFolder folder;
  const Bytes good = make_zip({{"a.png", encode_png(noise(2, 2, 1, 1))}, {.name = "b.png", .bytes = encode_png(noise(2, 2, 1, 2)), .deflated = false},
                               {"dataset.json", bytes_of(R"({"labels": [["a.png", 1]]})")}});
  const fs::path path = folder / "a.zip";
  for (std::size_t size = 0; size < good.size(); ++size) {
    dirty::write(path, Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
    EXPECT_NE(refusal(ExitCode::bad_data, [&] { use(path); }), "") << size;
  }
  int refused = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const int change : {1, 0x80, 0xff}) {
      Bytes bytes = good;
      bytes[at] ^= std::byte(change);
      dirty::write(path, bytes);
      try {
        use(path);
      } catch (const Error& error) {
        ++refused;
        EXPECT_EQ(error.code(), ExitCode::bad_data) << error.what();
        EXPECT_EQ(std::strchr(error.what(), '\n'), nullptr) << error.what();
      }
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(Zip, ListsWhatCantBeUnpacked) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.zip";
  const Bytes png = dirty::make_png({}), zeros(std::size_t{2} << 20);
  const auto reason = [&](const dirty::ZipEntry& bad) {
    dirty::write(path, make_zip({{"a.png", png}, {"b.png", png}, bad}));
    const auto data = open_dataset(path);
    EXPECT_EQ(data->size(), 2);
    EXPECT_EQ(data->skipped().size(), 1u);
    return data->skipped().empty() ? "" : data->skipped()[0].reason;
  };
  const auto expect = [&](const char* text, const dirty::ZipEntry& bad) {
    const std::string found = reason(bad);
    EXPECT_NE(found.find(text), std::string::npos) << found;
  };
  expect("encrypted", {.name = "c.png", .bytes = png, .encrypted = true});
  expect("without -y", {.name = "c.png", .bytes = bytes_of("a.png"), .link = true});
  expect("method 14", {.name = "c.png", .bytes = png, .method = 14});
  expect("damaged", {.name = "c.png", .bytes = png, .more_bytes = 1});
  expect("damaged", {.name = "c.png", .bytes = png, .more_bytes = -1});
  expect("damaged", {.name = "c.png", .bytes = png, .deflated = false, .more_bytes = 1});
  expect("damaged", {.name = "c.png", .bytes = png, .more_packed = -1});
  expect("can't hold", {.name = "c.png", .bytes = png, .more_bytes = 400 << 20});
  expect("at most", {.name = "c.png", .bytes = png, .more_bytes = 600 << 20});
  expect("no picture of a format", {.name = "c.png", .bytes = zeros});
  // Which would be pictures by their first bytes.
  dirty::write(path, make_zip({{"a.png", png}, {"b", png}, {.name = "c", .bytes = png, .deflated = false}, {.name = "d", .bytes = png, .encrypted = true},
                               {"e", bytes_of("PNG")}, {"f", {}}}));
  EXPECT_EQ(names_of(*open_dataset(path)), (std::vector<std::string>{"a.png", "b", "c"}));
}

TEST(Zip, RefusesBombsAndNamesThatLeadElsewhere) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.zip";
  const Bytes png = dirty::make_png({});
  const auto reason = [&](const dirty::ZipEntry& bad) {
    dirty::write(path, make_zip({{"a.png", png}, bad}));
    return refusal(ExitCode::bad_data, [&] { open_dataset(path); });
  };
  EXPECT_NE(reason({.name = "b.png", .bytes = png, .more_packed = 1 << 20}).find("more bytes than it has"), std::string::npos);
  std::string deep = "a.png";
  for (int i = 0; i < 64; ++i) deep = "d/" + deep;
  for (const std::string& name : {std::string("../b.png"), std::string("/../b.png"), std::string("a/../../b.png"), deep, std::string(5000, 'b')}) {
    EXPECT_NE(reason({name, png}).find("expected names within it"), std::string::npos) << name;
  }
  // Of what is written to the disk, names are those of files below the place.
  dirty::write(path, make_zip({{"/abs.png", png}, {"./dot.png", png}, {"a//b/../c.png", png}, {"twice.png", bytes_of("x")}, {"twice.png", png}, {"./", {}}}));
  EXPECT_EQ(names_of(*open_dataset(path)), (std::vector<std::string>{"a/c.png", "abs.png", "dot.png", "twice.png"}));
  EXPECT_EQ(make_pairs(path, folder / "pairs", SourceKind::gray).pairs, 4);
  EXPECT_TRUE(fs::exists(folder / "pairs/A/a/c.png"));
}

TEST(Zip, MayBeAwayForAWhile) {
  const TemporaryFolder folder;
  const fs::path path = folder / "a.zip";
  std::vector<dirty::ZipEntry> entries;
  for (int i = 0; i < 3; ++i) entries.push_back({std::to_string(i) + ".png", encode_png(noise(64, 64, 3, i))});  // more than a buffer
  const Bytes zip = make_zip(entries);
  dirty::write(path, zip);
  const auto data = open_dataset(path, {.cache_bytes = 0});
  fs::resize_file(path, 20);
  EXPECT_THROW(data->picture(2), UnreadableFile);
  fs::remove(path);
  EXPECT_THROW(data->picture(2), UnreadableFile);
  dirty::write(path, zip);
  EXPECT_EQ(data->picture(2), noise(64, 64, 3, 2));
  // Another one in its place is no such case.
  fs::resize_file(path, 20);
  EXPECT_THROW(data->picture(2), UnreadableFile);
  entries[2].bytes = encode_png(noise(64, 64, 3, 9));
  dirty::write(path, make_zip(entries));
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { data->picture(2); }).find("another zip"), std::string::npos);
  EXPECT_EQ(data->picture(1), noise(64, 64, 3, 1));
}

TEST(Zip, HoldsPairs) {
  const TemporaryFolder folder;
  for (int i = 0; i < 6; ++i) {
    put(folder / ("set/A/" + std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, i)));
    put(folder / ("set/B/" + std::to_string(i) + ".png"), encode_png(noise(8, 8, 3, 10 + i)));
    put(folder / ("sides/" + std::to_string(i) + ".png"), encode_png(noise(8, 16, 3, i)));
  }
  for (const char* set : {"set", "sides"}) {
    const fs::path zip = folder / (std::string(set) + ".zip");
    dirty::write(zip, dirty::zip_of(folder / set));
    const DomainPair plain = open_domains(folder / set, {}, Pairing::paired, {.holdout = 0.3}), zipped = open_domains(zip, {}, Pairing::paired, {.holdout = 0.3});
    EXPECT_EQ(zipped.fingerprint, plain.fingerprint);
    EXPECT_EQ(zipped.name, set);
    EXPECT_EQ(zipped.a->size(), 4);
    EXPECT_EQ(zipped.holdout_b->picture(1), plain.holdout_b->picture(1));
  }
  // Zipped with the folder itself, it's still that folder.
  fs::create_directory(folder / "around");
  fs::rename(folder / "set", folder / "around/set");
  dirty::write(folder / "set.zip", dirty::zip_of(folder / "around"));
  EXPECT_EQ(open_domains(folder / "set.zip", {}, Pairing::paired).fingerprint, open_domains(folder / "around/set", {}, Pairing::paired).fingerprint);
  EXPECT_EQ(open_domains(folder / "set.zip/set", {}, Pairing::paired).fingerprint, open_domains(folder / "around/set", {}, Pairing::paired).fingerprint);
  EXPECT_EQ(open_dataset(folder / "set.zip")->fingerprint(), open_dataset(folder / "around/set")->fingerprint());
  dirty::write(folder / "broken.zip", bytes_of("PK"));
  EXPECT_NE(refusal(ExitCode::bad_data, [&] { open_domains(folder / "broken.zip", {}, Pairing::paired); }).find("as a zip"), std::string::npos);
  EXPECT_EQ(open_domains(folder / "set.zip/A", folder / "set.zip/B", Pairing::unpaired).name, "set");
  EXPECT_EQ(open_domains(folder / "set.zip", folder / "sides.zip", Pairing::unpaired, {.data = {.height = 8, .width = 8}}).name, "set-sides");
}

#else

TEST(Zip, IsRefusedWithAWayOut) {
  const TemporaryFolder folder;
  dirty::write(folder / "a.zip", make_zip({{"a.png", dirty::make_png({})}}));
  for (const auto& use : {+[](const fs::path& path) { open_dataset(path); }, +[](const fs::path& path) { check_dataset(path); }}) {
    const std::string reason = refusal(ExitCode::bad_data, [&] { use(folder / "a.zip"); });
    EXPECT_NE(reason.find("libzip-dev"), std::string::npos) << reason;
    EXPECT_NE(reason.find("`unzip "), std::string::npos) << reason;
  }
}

#endif

}  // namespace
}  // namespace pastiche
