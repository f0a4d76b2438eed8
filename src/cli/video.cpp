#include "cli/video.h"

#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "cli/commands.h"
#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

// A command of the shell that this process reads from or writes to.
class Pipe {
 public:
  Pipe(const std::string& command, const char* mode) : file_(::popen(command.c_str(), mode)) {
    if (file_ == nullptr) throw Error(ExitCode::failed, "can't start ffmpeg; is there memory for another process?");
  }
  ~Pipe() {
    if (file_ != nullptr) ::pclose(file_);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  std::FILE* file() { return file_; }
  bool succeeded() { return ::pclose(std::exchange(file_, nullptr)) == 0; }

 private:
  std::FILE* file_;
};

struct RemovedAtEnd {
  fs::path path;
  ~RemovedAtEnd() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

std::string file_word(const fs::path& path) { return shell_word("file:" + path.string()); }

std::string frame_rate(const fs::path& video) {
  Pipe probe("ffprobe -v error -select_streams v:0 -show_entries stream=r_frame_rate -of csv=p=0 " + file_word(video), "r");
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), probe.file()));
  const std::optional<std::string> rate = parse_frame_rate(text);
  if (!rate) throw Error(ExitCode::bad_file, fmt::format("{} is no video that ffmpeg can read", quote(video.string())));
  return *rate;
}

// The next picture of a stream of PPM; false at its end.
bool read_ppm(std::FILE* file, Image& image) {
  int most = 0;
  image.channels = 3;
  if (std::fscanf(file, "P6 %d %d %d", &image.width, &image.height, &most) != 3 || image.width < 1 || image.height < 1 ||
      std::int64_t{image.width} * image.height > default_max_pixels || most != 255 || std::fgetc(file) == EOF) {
    return false;
  }
  image.pixels.resize(std::size_t(image.width) * image.height * 3);
  return std::fread(image.pixels.data(), 1, image.pixels.size(), file) == image.pixels.size();
}

bool write_ppm(std::FILE* file, const Image& image) {
  const Image rgb = convert(image, 3);
  std::fprintf(file, "P6 %d %d 255\n", rgb.width, rgb.height);
  return std::fwrite(rgb.pixels.data(), 1, rgb.pixels.size(), file) == rgb.pixels.size();
}

}  // namespace

std::optional<std::string> parse_frame_rate(std::string_view text) {
  int frames = 0, seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [slash, bad] = std::from_chars(text.data(), end, frames);
  if (bad != std::errc{} || slash == end || *slash != '/') return std::nullopt;
  if (std::from_chars(slash + 1, end, seconds).ec != std::errc{} || frames <= 0 || seconds <= 0) return std::nullopt;
  return fmt::format("{}/{}", frames, seconds);
}

bool is_video(const fs::path& path) {
  static const std::set<std::string> extensions{".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ogv"};
  return extensions.contains(path.extension().string());
}

void convert_video(const fs::path& from, const fs::path& to, const std::function<Image(const Image&)>& each) {
  if (std::system("command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null") != 0) {
    throw Error(ExitCode::failed, fmt::format("{} is a video, which takes ffmpeg, and that is not installed: apt-get install ffmpeg",
                                              quote(from.string())));
  }
  if (to.extension() != ".mp4" && to.extension() != ".mkv") {
    throw Error(ExitCode::usage, fmt::format("{}: videos are written as .mp4 or .mkv", quote(to.string())));
  }
  std::signal(SIGPIPE, SIG_IGN);  // an ffmpeg that ends early is an error, not the end of this process
  const std::string rate = frame_rate(from);
  const RemovedAtEnd part{to.parent_path() / ("." + to.stem().string() + ".tmp" + to.extension().string())};
  Pipe decoder(fmt::format("ffmpeg -v error -nostdin -i {} -map 0:v:0 -r {} -f image2pipe -c:v ppm -", file_word(from), rate), "r");
  // The format of most players asks for even sides.
  Pipe encoder(fmt::format("ffmpeg -v error -y -f image2pipe -framerate {} -c:v ppm -i - -i {} -map 0:v -map '1:a?' -c:a copy -c:v libx264 "
                           "-crf 18 -pix_fmt yuv420p -vf 'pad=ceil(iw/2)*2:ceil(ih/2)*2' {}", rate, file_word(from), file_word(part.path)), "w");
  Image frame;
  bool any = false, written = true;
  for (; written && read_ppm(decoder.file(), frame); any = true) written = write_ppm(encoder.file(), each(frame));
  if (!encoder.succeeded() || !written) {
    throw Error(ExitCode::bad_file, fmt::format("ffmpeg could not write {}; where the sound is the reason, .mkv may take it", quote(to.string())));
  }
  if (!decoder.succeeded() || !any) throw Error(ExitCode::bad_file, fmt::format("ffmpeg could not read all of {}", quote(from.string())));
  fs::rename(part.path, to);
}

}  // namespace pastiche::cli
