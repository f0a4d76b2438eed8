#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/report.h"

namespace fs = std::filesystem;

namespace pastiche {
namespace {

// The reader looks at no more of a picture than its signature.
const std::string png = "\x89PNG\r\n\x1a\n";

class Report : public testing::Test {
 protected:
  Report() {
    std::string pattern = testing::TempDir() + "pastiche_XXXXXX";
    run = fs::path(::mkdtemp(pattern.data())) / "00003-dcgan-<x>";
    fs::create_directories(run / "samples");
  }
  ~Report() override { fs::remove_all(run.parent_path()); }

  void put(const std::string& name, const std::string& text) { std::ofstream(run / name, std::ios::binary) << text; }

  void put_stats(int steps) {
    std::ofstream out(run / "stats.jsonl");
    for (int step = 1; step <= steps; ++step) {
      out << R"({"step":)" << step << R"(,"kimg":)" << step * 0.064 << R"(,"loss_g":1.5,"loss_d":)" << 1.0 / step
          << R"(,"d_real":0.7,"d_fake":0.3,"ms":40})" "\n";
    }
  }

  std::string written() {
    write_report(run);
    const std::vector<std::byte> bytes = read_file(run / "report.html");
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  fs::path run;
};

int count(const std::string& text, const std::string& part) {
  int result = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++result;
  return result;
}

TEST_F(Report, ShowsWhatTheRunHolds) {
  put("config.toml", "data = \"a&b\"\nlr-g = 0.0005\n");
  put("run.json",
      R"({"status":"finished","argv":["pastiche","train"],"data":{"images":60000},"config":{"withheld":1}})");
  put_stats(100);
  put("samples/000010.png", png);
  put("samples/000100.png", png + "\xff");
  put("samples/latest.png", png);
  put("samples/000050.png", "no picture");
  put("reals.png", png);
  const std::string html = written();
  EXPECT_EQ(count(html, "<h1>00003-dcgan-&lt;x&gt;</h1>"), 1);
  EXPECT_EQ(count(html, "dcgan trained on a&amp;b"), 1);
  EXPECT_EQ(count(html, "<b>100</b><span>steps</span>"), 1);
  EXPECT_EQ(count(html, "<b>6.4</b><span>thousand pictures seen</span>"), 1);
  EXPECT_EQ(count(html, "<b>1600</b><span>pictures a second</span>"), 1);
  EXPECT_EQ(count(html, "<svg "), 3);
  EXPECT_EQ(count(html, "<path class=\"a\""), 3);
  EXPECT_EQ(count(html, "<path class=\"b\""), 2);
  EXPECT_EQ(count(html, "base64,iVBORw0KGgo=\""), 2);   // real pictures, step 10
  EXPECT_EQ(count(html, "base64,iVBORw0KGgr/\""), 2);  // step 100, large and in the strip
  EXPECT_EQ(count(html, "step 50<"), 0);
  EXPECT_EQ(count(html, "<td>data images</td><td>60000</td>"), 1);
  EXPECT_EQ(count(html, "<td>argv</td><td>pastiche train</td>"), 1);
  EXPECT_EQ(count(html, "withheld"), 0);
  EXPECT_EQ(count(html, "<tr class=\"changed\">"), 2);
  EXPECT_EQ(count(html, "<script"), 0);
  EXPECT_EQ(count(html, "http"), 0);
}

TEST_F(Report, ThinsLongRuns) {
  put_stats(20'000);
  for (int i = 0; i <= 100; ++i) put("samples/" + std::to_string(100000 + i) + ".png", png);
  const std::string html = written();
  EXPECT_LT(html.size(), 150'000u);
  EXPECT_EQ(count(html, "<img "), 13);
  EXPECT_EQ(count(html, "alt=\"step 100000\""), 1);
  EXPECT_EQ(count(html, "alt=\"step 100100\""), 2);
}

TEST_F(Report, LeavesOutWhatIsAbsentOrBroken) {
  EXPECT_EQ(count(written(), "<h2>"), 0);
  put("config.toml", "batch = ");
  put("run.json", "[1");
  put("stats.jsonl", "{\"step\":1,\"loss_g\":null,\"ms\":5}\n5\n{\"step\":\"x\"}\n{\"step\":2,\"lo");
  fs::create_directory(run / "samples" / "000001.png");
  const std::string html = written();
  EXPECT_EQ(count(html, "<svg "), 1);  // one step's time
  EXPECT_EQ(count(html, "<img "), 0);
  EXPECT_EQ(count(html, "nan"), 0);
  EXPECT_EQ(count(html, "inf"), 0);
  EXPECT_EQ(count(html, "<h2>Configuration"), 0);
}

TEST_F(Report, DrawsConstantAndHugeCurves) {
  put("stats.jsonl", "{\"step\":0,\"loss_g\":0}\n{\"step\":1,\"loss_g\":0}\n");
  EXPECT_EQ(count(written(), "<svg "), 1);
  put("stats.jsonl", "{\"step\":1,\"loss_g\":-1e308}\n{\"step\":1000000000,\"loss_g\":1e308}\n");
  EXPECT_EQ(count(written(), "<svg "), 1);
}

TEST_F(Report, NeedsAFolder) {
  try {
    write_report(run / "none");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bad_file);
    EXPECT_EQ(std::string(error.what()),
              "no run folder '" + (run / "none").native() + "': expected one that train made");
  }
}

TEST_F(Report, ShowsTranslations) {
  put("config.toml", "model = \"pix2pix\"\nsize = 64\ncrop = 1.125\nmirror = true\nngf = 32\nndf = 48\n");
  put("stats.jsonl", R"({"step":1,"loss_g":1.5,"loss_d":1,"loss_content":0.3}
{"step":2,"loss_g":1.5,"loss_d":1,"loss_content":0.2})");
  put("holdout.jsonl", R"({"step":1,"pictures":9,"l1":0.2,"psnr":11.25,"ssim":0.3}
{"step":2,"pictures":9,"l1":0.1,"psnr":12.5,"ssim":0.4})");
  put("samples/000002.png", png);
  put("reals.png", png);
  const std::string html = written();
  EXPECT_EQ(count(html, "step 2: source, result, target<"), 1);
  EXPECT_EQ(count(html, "pictures of the target<"), 1);
  EXPECT_EQ(count(html, "At step 2: L1 0.1000, PSNR 12.50 dB, SSIM 0.4000."), 1);
  EXPECT_EQ(count(html, "<svg "), 5);  // losses, content, and three of what was held out
  // What differs is told from the model's own defaults, not dcgan's: here what stands in no line, and ndf.
  EXPECT_EQ(count(html, "<tr class=\"changed\"><td>ndf</td>"), 1);
  EXPECT_EQ(count(html, "<tr class=\"changed\"><td>ngf</td>"), 0);
}

}  // namespace
}  // namespace pastiche
