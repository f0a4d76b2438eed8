// `pastiche paint` as its users meet it.
#include "cli.h"
#include "dirty_folder.h"
#include "pastiche/image.h"

namespace pastiche {
namespace {

class CliPaint : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    write_file_atomically(folder_ / "photo.png", encode_png(resize(dirty::noise(5, 6, 3, 1), 40, 48, Filter::bicubic)));
    write_file_atomically(folder_ / "painting.jpg", encode_jpeg(dirty::noise(40, 30, 3, 2)));
  }
  const std::string light_ = " --painting painting.jpg --strength 0 ";
};

TEST_F(CliPaint, PaintsOnePhotoAndAFolder) {
  const Finished one = run("paint photo.png -o out.png" + light_);
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(one.out, "out.png\n");
  EXPECT_EQ(one.err, "");
  std::vector<std::string> keys;
  for (const auto& [key, value] : read_png_text(read_file(folder_ / "out.png"))) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"Software", "Painting", "Painting SHA-256", "Seed", "Command"}));
  const Image result = read_picture(folder_ / "out.png");
  EXPECT_EQ(std::pair(result.height, result.width), std::pair(40, 48));

  EXPECT_EQ(run("paint photo.png -o out.png" + light_).code, 0) << "its own result it may replace";
  EXPECT_EQ(read_picture(folder_ / "out.png"), result);
  EXPECT_EQ(run("paint photo.png -o sized.webp --size 20" + light_).code, 0);
  EXPECT_EQ(read_picture(folder_ / "sized.webp").width, 24);

  // A mask is as large as the photo was.
  write_file_atomically(folder_ / "mask.png", encode_png(Image{40, 48, 1, std::vector<std::uint8_t>(40 * 48, 0)}));
  EXPECT_EQ(run("paint photo.png -o masked.png --size 20 --mask mask.png" + light_).code, 0);
  EXPECT_EQ(read_picture(folder_ / "masked.png"), resize(read_picture(folder_ / "photo.png"), 20, 24, Filter::lanczos)) << "black: the photo stays";

  fs::create_directories(folder_ / "in/sub");
  fs::copy(folder_ / "photo.png", folder_ / "in/a.png");
  fs::copy(folder_ / "photo.png", folder_ / "in/sub/b.png");
  write("in/broken.png", "no picture");
  const Finished many = run("paint in -o results --picture-format jpg --no-metadata" + light_);
  EXPECT_EQ(many.code, 1) << many.err;
  EXPECT_EQ(many.out, "results/a.jpg\nresults/sub/b.jpg\n");
  EXPECT_NE(many.err.find("1 of 3 could not be done:\n  'in/broken.png'"), std::string::npos) << many.err;
}

TEST_F(CliPaint, SaysWhatIsWrong) {
  write_file_atomically(folder_ / "tiny.png", encode_png(dirty::noise(3, 3, 3, 3)));
  write_file_atomically(folder_ / "mask.png", encode_png(dirty::noise(8, 9, 1, 3)));
  write("broken.jpg", "no picture");
  write("clip.mp4", "no film");
  fs::create_directories(folder_ / "art");
  expect_error("paint photo.png -o x.png", 2, "--painting");
  expect_error("paint photo.png --painting painting.jpg", 2, "--out");
  expect_error("paint photo.png --painting absent.jpg -o x.png", 4, "absent.jpg");
  expect_error("paint photo.png --painting broken.jpg -o x.png", 4, "'broken.jpg'");
  expect_error("paint photo.png --painting art -o x.png", 2, "pastiche train cut photo.png --style art");
  expect_error("paint photo.png --painting tiny.png -o x.png", 3, "3x3");
  expect_error("paint photo.png -o x.png --mask mask.png" + light_, 3, "9x8");
  expect_error("paint photo.png -o x.png --weight 1 --weight 2" + light_, 2, "2 weights for 1 painting");
  expect_error("paint photo.png -o x.png --weight 0" + light_, 2, "weight");
  expect_error("paint clip.mp4 -o x.mp4" + light_, 2, "film");
  expect_error("paint absent.png -o x.png" + light_, 4, "absent.png");
  expect_error("paint photo.png -o x.png --stroke 9" + light_, 2, "--stroke");
  expect_error("paint photo.png -o photo.png" + light_, 2, "replaced");
  EXPECT_FALSE(fs::exists(folder_ / "x.png"));
  write("x.png", "mine");
  expect_error("paint photo.png -o x.png" + light_, 2, "--force");
  EXPECT_EQ(text_of(folder_ / "x.png"), "mine");
}

// Other commands, given one painting where they can't take it, name this one.
TEST_F(CliPaint, IsNamedWhereItIsMeant) {
  fs::create_directories(folder_ / "photos");
  fs::copy(folder_ / "photo.png", folder_ / "photos");
  expect_error("stylize painting.jpg photo.png -o x.png", 4, "pastiche paint photo.png --painting painting.jpg");
  expect_error("train cut photos --style painting.jpg", 3, "pastiche paint photos --painting painting.jpg");
}

TEST_F(CliPaint, KeepsWhatThereIsWhenInterrupted) {
  write_file_atomically(folder_ / "large.png", encode_png(resize(dirty::noise(9, 9, 3, 1), 500, 700, Filter::bicubic)));
  const pid_t painter = started("paint large.png -o out.png --painting painting.jpg", [&] { return fs::exists(folder_ / "out.png"); });
  const Image preview = read_picture(folder_ / "out.png");
  EXPECT_EQ(std::pair(preview.height, preview.width), std::pair(500, 700)) << "what is there early has the photo's size";
  kill(painter, SIGINT);
  EXPECT_EQ(ended(painter), 130);
  EXPECT_EQ(read_picture(folder_ / "out.png").width, 700);
  EXPECT_NE(text_of(folder_ / "err").find("stopped early: 'out.png' shows how far it came"), std::string::npos) << text_of(folder_ / "err");
}

}  // namespace
}  // namespace pastiche
