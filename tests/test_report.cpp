#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
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

TEST_F(Report, ReadsLongLogsInBoundedMemory) {
  put_stats(400'000);
  ASSERT_GT(fs::file_size(run / "stats.jsonl"), std::uintmax_t{35} << 20);
  const pid_t child = ::fork();
  if (child == 0) {  // with 16 MiB more than it has
    long pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t limit = static_cast<rlim_t>(pages * ::sysconf(_SC_PAGESIZE)) + (rlim_t{16} << 20);
    const rlimit limits{limit, limit};
    if (::setrlimit(RLIMIT_AS, &limits) != 0) ::_exit(2);
    try {
      write_report(run);
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  std::ifstream file(run / "report.html");
  const std::string html{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(count(html, "<b>400k</b>") + count(html, "<b>400000</b>"), 1);
  EXPECT_EQ(count(html, "<b>40 ms</b><span>median step</span>"), 1);
}

// Again and again while the log grows, as a training does.
TEST_F(Report, GoesOnWhereItWas) {
  std::string log;
  for (int step = 1; step <= 3000; ++step) {
    log += R"({"step":)" + std::to_string(step) + R"(,"kimg":)" + std::to_string(step * 0.5) + R"(,"loss_g":)" +
           std::to_string(step % 7) + R"(,"loss_d":-1.25,"ms":)" + std::to_string(10 + step % 3) + "}\n";
  }
  const auto page = [&] {
    const std::vector<std::byte> bytes = read_file(run / "report.html");
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  ReportWriter writer(run);
  for (const std::size_t size : {std::size_t{0}, std::size_t{10}, log.size() / 3, log.size() / 2, log.size() / 2 + 1, log.size()}) {
    put("stats.jsonl", log.substr(0, size));  // cut anywhere
    writer.write();
    const std::string continued = page();
    EXPECT_EQ(continued, written()) << size;
  }
  EXPECT_EQ(count(page(), "<b>11 ms</b><span>median step</span>"), 1);
  put("stats.jsonl", log.substr(0, log.size() / 4));  // as a resume does
  writer.write();
  const std::string shorter = page();
  EXPECT_EQ(shorter, written());
  fs::remove(run / "stats.jsonl");
  writer.write();
  EXPECT_EQ(count(page(), "<svg "), 0);
}

TEST_F(Report, BinsKeepEveryPoint) {
  std::string log;
  for (int step = 1; step <= 5000; ++step) {
    log += R"({"step":)" + std::to_string(step) + R"(,"loss_g":)" + (step == 3210 ? "0" : "1") + "}\n";
  }
  put("stats.jsonl", log + std::string(200'000, 'x') + "\n" + R"({"step":5001,"loss_g":1})");
  const std::string html = written();
  EXPECT_EQ(count(html, "<b>5001</b><span>steps</span>"), 1);  // behind a line that is none of ours
  const std::size_t band = html.find("band a");
  const std::string line = html.substr(html.find("class=\"a\"", band), 20'000);
  const int points = count(line.substr(0, line.find("/>")), "L") + 1;
  EXPECT_GE(points, 200);
  EXPECT_LE(points, 400);
  // The one outlier reaches the bottom of the band, and of the mean it is a sixteenth.
  EXPECT_EQ(count(html.substr(band, html.find("/>", band) - band), " 206.0"), 1);
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
  // Steps that no training has, whose axis would have ticks nearer than neighbouring numbers; and ticks of 0.
  put("stats.jsonl", "{\"step\":1000000000000000000,\"loss_g\":1}\n{\"step\":1000000000000000128,\"loss_g\":2}\n");
  EXPECT_EQ(count(written(), "<svg "), 0);
  put("stats.jsonl", "{\"step\":1,\"loss_g\":1e-322}\n{\"step\":2,\"loss_g\":1e-322}\n");
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
