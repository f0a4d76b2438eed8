#include "cli/video.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche::cli {
namespace {

namespace fs = std::filesystem;

// A program found in PATH, of which this process reads the standard output or writes the standard input.
class Child {
 public:
  enum class Pipe : int { from_it = STDOUT_FILENO, to_it = STDIN_FILENO };

  Child(std::vector<std::string> arguments, Pipe pipe) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(ExitCode::failed, fmt::format("can't start {}: {}", arguments.front(), std::strerror(errno)));
    const int ours = pipe == Pipe::from_it ? 0 : 1;
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    if (pipe == Pipe::from_it) ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1 - ours], static_cast<int>(pipe));
    // It quotes names and words of the file, so what it says doesn't go to the terminal as it is.
    said_ = ::memfd_create("said", MFD_CLOEXEC);
    if (said_ >= 0) ::posix_spawn_file_actions_adddup2(&actions, said_, STDERR_FILENO);
    else ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const int error = ::posix_spawnp(&process_, argv[0], &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1 - ours]);
    if (error != 0) {
      ::close(ends[ours]);
      ::close(said_);
      throw Error(ExitCode::failed, error == ENOENT ? fmt::format("videos take ffmpeg and ffprobe, and {} is not installed: apt-get install ffmpeg", arguments.front())
                                                    : fmt::format("can't start {}: {}", arguments.front(), std::strerror(error)));
    }
    file_ = ::fdopen(ends[ours], pipe == Pipe::from_it ? "r" : "w");
  }
  ~Child() {
    succeeded();
    ::close(said_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  std::FILE* file() { return file_; }

  // Waits for its end.
  bool succeeded() {
    if (file_ == nullptr) return false;
    std::fclose(std::exchange(file_, nullptr));
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  // ": " and the first line that it said, if any; to ask for once it has ended.
  std::string reason() const {
    char text[300];
    const ssize_t size = ::pread(said_, text, sizeof text, 0);
    if (size <= 0) return "";
    const std::string_view said(text, static_cast<std::size_t>(size));
    return ": " + std::string(said.substr(0, said.find('\n')));
  }

 private:
  pid_t process_ = -1;
  int said_ = -1;
  std::FILE* file_ = nullptr;
};

// A file by its content may be a playlist or a script that names others, in the network too. So ffmpeg reads files alone, and of the
// formats that is_video() stands for.
std::vector<std::string> reading(const fs::path& video) {
  return {"-protocol_whitelist", "file",
          "-format_whitelist", "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,ogg", "-i", "file:" + video.string()};
}

std::vector<std::string> joined(std::initializer_list<std::vector<std::string>> parts) {
  std::vector<std::string> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::string frame_rate(const fs::path& video) {
  Child probe(joined({{"ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=r_frame_rate", "-of", "csv=p=0"}, reading(video)}),
              Child::Pipe::from_it);
  std::string text(4096, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), probe.file()));
  const std::optional<std::string> rate = parse_frame_rate(text);
  if (!rate) {
    probe.succeeded();
    throw Error(ExitCode::bad_file, fmt::format("{} is no video that ffmpeg can read{}", quote(video.string()), probe.reason()));
  }
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
  if (to.extension() != ".mp4" && to.extension() != ".mkv") {
    throw Error(ExitCode::usage, fmt::format("{}: videos are written as .mp4 or .mkv", quote(to.string())));
  }
  const fs::path target = without_links(to);
  std::error_code error;
  if (fs::exists(target, error) && !fs::is_regular_file(target, error)) throw Error(ExitCode::usage, fmt::format("{}: a video is written to a file only", quote(to.string())));
  if (!fs::is_regular_file(from, error)) {  // a FIFO might wait for ever
    throw Error(ExitCode::bad_file, fmt::format("can't read {}: {}", quote(from.string()), error ? error.message() : "not a regular file"));
  }
  std::signal(SIGPIPE, SIG_IGN);  // an ffmpeg that ends early is an error, not the end of this process
  const std::string rate = frame_rate(from);
  remove_abandoned_files(target.has_parent_path() ? target.parent_path() : ".");
  TemporaryFile part(target.parent_path());
  Child decoder(joined({{"ffmpeg", "-v", "error", "-nostdin"}, reading(from), {"-map", "0:v:0", "-r", rate, "-f", "image2pipe", "-c:v", "ppm", "-"}}),
                Child::Pipe::from_it);
  // The format of most players asks for even sides.
  Child encoder(joined({{"ffmpeg", "-v", "error", "-y", "-f", "image2pipe", "-framerate", rate, "-c:v", "ppm", "-protocol_whitelist", "file,pipe", "-i", "-"},
                        reading(from),
                        {"-map", "0:v", "-map", "1:a?", "-c:a", "copy", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-vf",
                         "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-f", to.extension() == ".mp4" ? "mp4" : "matroska", "file:" + part.path().string()}}),
                Child::Pipe::to_it);
  Image frame;
  bool any = false, written = true;
  for (; written && read_ppm(decoder.file(), frame); any = true) written = write_ppm(encoder.file(), each(frame));
  if (!encoder.succeeded() || !written) {
    throw Error(ExitCode::bad_file, fmt::format("ffmpeg could not write {}; where the sound is the reason, .mkv may take it{}", quote(to.string()), encoder.reason()));
  }
  if (!decoder.succeeded() || !any) throw Error(ExitCode::bad_file, fmt::format("ffmpeg could not read all of {}{}", quote(from.string()), decoder.reason()));
  part.replace(target);
}

}  // namespace pastiche::cli
