#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include "data/idx.h"
#include "dirty_folder.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/image.h"
#include "refusal.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;
using dirty::big_endian;
using dirty::Bytes;
using dirty::bytes_of;
using dirty::join;
using dirty::TemporaryFolder;

const fs::path test_data = fs::path(PASTICHE_TEST_DIR) / "data";

Bytes idx_images(int count, int height, int width) {
  return join({big_endian(0x803), big_endian(count), big_endian(height), big_endian(width),
               Bytes(std::size_t(count) * height * width, std::byte{3})});
}

TEST(Idx, OpensAFolder) {
  const auto data = open_dataset(test_data / "fashion");
  EXPECT_EQ(data->name(), "fashion");
  EXPECT_EQ(std::tuple(data->size(), data->height(), data->width(), data->channels()), std::tuple(1000, 28, 28, 1));
  ASSERT_EQ(data->labels().size(), 1000u);
  EXPECT_EQ(std::set<int>(data->labels().begin(), data->labels().end()).size(), 10u);
  EXPECT_TRUE(data->skipped().empty());
  const Image image = data->picture(999);
  EXPECT_GT(std::accumulate(image.pixels.begin(), image.pixels.end(), 0), 1000);
}

TEST(Idx, PlainGzipAndManyMembersAreOne) {
  const TemporaryFolder folder;
  const Bytes images = idx_images(5, 3, 4);
  const Bytes half(images.begin(), images.begin() + 30);
  const Bytes rest(images.begin() + 30, images.end());
  dirty::write(folder / "plain", images);
  dirty::write(folder / "one.gz", dirty::gzip(images));
  dirty::write(folder / "two.gz", join({dirty::gzip(half), dirty::gzip({}), dirty::gzip(rest)}));
  const auto plain = open_dataset(folder / "plain");
  EXPECT_EQ(plain->name(), "plain");
  EXPECT_EQ(open_dataset(folder / "one.gz")->fingerprint(), plain->fingerprint());
  EXPECT_EQ(open_dataset(folder / "two.gz")->fingerprint(), plain->fingerprint());
  EXPECT_EQ(open_dataset(folder / "two.gz")->name(), "two");
  EXPECT_EQ(plain->fingerprint().size(), 64u);
}

TEST(Idx, ResizesAndConverts) {
  const fs::path path = test_data / "fashion";
  const auto plain = open_dataset(path);
  const auto data = open_dataset(path, {.height = 32, .width = 40, .channels = 3});
  EXPECT_EQ(data->picture(7), convert(fit(plain->picture(7), 32, 40), 3));
  EXPECT_EQ(data->fingerprint(), plain->fingerprint());
}

TEST(Idx, PrefersTheTrainingSet) {
  const TemporaryFolder folder;
  dirty::write(folder / "t10k-images-idx3-ubyte", idx_images(2, 3, 3));
  EXPECT_EQ(open_dataset(folder.path())->size(), 2);
  dirty::write(folder / "train-images-idx3-ubyte.gz", dirty::gzip(idx_images(4, 3, 3)));
  dirty::write(folder / "train-labels-idx1-ubyte", join({big_endian(0x801), big_endian(4), Bytes(4)}));
  EXPECT_EQ(open_dataset(folder.path())->size(), 4);
  EXPECT_EQ(open_dataset(folder.path())->labels(), std::vector<int>(4, 0));
  EXPECT_TRUE(open_dataset(folder / "t10k-images-idx3-ubyte")->labels().empty());
  dirty::write(folder / "train-labels-idx1-ubyte", join({big_endian(0x801), big_endian(3), Bytes(3)}));
  const std::string reason = refusal(ExitCode::bad_data, [&] { open_dataset(folder.path()); });
  EXPECT_NE(reason.find("3 labels"), std::string::npos) << reason;
}

TEST(Idx, RefusesWhatIsNotExact) {
  const Bytes good = idx_images(5, 3, 4);
  const Bytes zipped = dirty::gzip(good);
  const auto header = [](std::uint32_t magic, std::uint32_t n, std::uint32_t h, std::uint32_t w, std::size_t bytes) {
    return join({big_endian(magic), big_endian(n), big_endian(h), big_endian(w), Bytes(bytes)});
  };
  const Bytes zeros(std::size_t{100} << 20);
  Bytes bad_crc = zipped;
  bad_crc[bad_crc.size() - 6] ^= std::byte{1};
  const std::vector<std::pair<std::string, Bytes>> files{
      {"empty", {}},
      {"two bytes", Bytes(2)},
      {"magic", header(0x01000803, 1, 2, 2, 4)},
      {"text", bytes_of("not an IDX file at all")},
      {"signed bytes", header(0x903, 1, 2, 2, 4)},
      {"floats", header(0xd03, 1, 2, 2, 16)},
      {"labels", join({big_endian(0x801), big_endian(4), Bytes(4)})},
      {"four dimensions", header(0x804, 1, 2, 2, 4)},
      {"cut in header", Bytes(good.begin(), good.begin() + 11)},
      {"no pictures", header(0x803, 0, 2, 2, 0)},
      {"no rows", header(0x803, 2, 0, 2, 0)},
      {"one byte short", Bytes(good.begin(), good.end() - 1)},
      {"one byte over", join({good, Bytes(1)})},
      {"count over file", header(0x803, 1000, 2, 2, 4)},
      {"overflow", header(0x803, 0xffffffff, 0xffffffff, 0xffffffff, 4)},
      {"overflow to small", header(0x803, 1u << 31, 1u << 31, 4, 4)},
      {"wide", header(0x803, 1, 1, 65536, 65536)},
      {"5 GiB", header(0x803, 5, 1 << 15, 1 << 15, 4)},
      {"gzip of nothing", dirty::gzip({})},
      {"gzip cut in half", Bytes(zipped.begin(), zipped.begin() + static_cast<std::ptrdiff_t>(zipped.size() / 2))},
      {"gzip cut at its end", Bytes(zipped.begin(), zipped.end() - 1)},
      {"gzip header only", Bytes(zipped.begin(), zipped.begin() + 10)},
      {"gzip CRC", bad_crc},
      {"gzip then garbage", join({zipped, bytes_of("garbage")})},
      {"gzip then cut member", join({zipped, Bytes(zipped.begin(), zipped.begin() + 12)})},
      {"gzip one byte over", dirty::gzip(join({good, Bytes(1)}))},
      {"gzip bomb", dirty::gzip(join({good, zeros}))},
      {"gzip that claims 1 GB", dirty::gzip(header(0x803, 1000, 1000, 1000, 100))},
  };
  for (const auto& [name, bytes] : files) {
    SCOPED_TRACE(name);
    EXPECT_NE(refusal(ExitCode::bad_data, [&bytes = bytes] { parse_idx(bytes, 3); }), "");
  }
  // Memory for what a header claims is asked for only where the file can hold it.
  const Bytes claims_3_gb = header(0x803, 50'000, 250, 250, 4);
  for (const Bytes& file : {claims_3_gb, dirty::gzip(claims_3_gb)}) {
    const std::string reason = refusal(ExitCode::bad_data, [&] { parse_idx(file, 3); });
    EXPECT_NE(reason.find("can't hold"), std::string::npos) << reason;
  }
  EXPECT_EQ(parse_idx(good, 3).shape, (std::vector<std::int64_t>{5, 3, 4}));
  for (std::size_t size = 0; size < zipped.size(); ++size) {
    EXPECT_THROW(parse_idx(std::span(zipped).first(size), 3), Error) << size;
  }
}

TEST(Idx, IsChecked) {
  const DatasetReport report = check_dataset(test_data / "fashion");
  EXPECT_EQ(std::pair(report.files, report.usable), std::pair(std::int64_t{1000}, std::int64_t{1000}));
  EXPECT_EQ(report.labels.size(), 10u);
  EXPECT_EQ(nlohmann::json::parse(to_json(report))["sizes"]["28x28"], 1000);
  const TemporaryFolder folder;
  dirty::write(folder / "same", idx_images(3, 2, 2));
  EXPECT_EQ(check_dataset(folder / "same").duplicates.at(0).files, (std::vector<std::string>{"#0", "#1", "#2"}));
  dirty::write(folder / "broken", Bytes(7));
  const DatasetReport broken = check_dataset(folder / "broken");
  EXPECT_EQ(broken.usable, 0);
  EXPECT_EQ(broken.unusable.size(), 1u);
}

}  // namespace
}  // namespace pastiche
