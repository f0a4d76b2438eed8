#include "cli/video.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include "io/json.h"
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

  // What it said on standard error; to ask for once it has ended.
  std::string said() const {
    std::string text(std::size_t{1} << 20, '\0');
    const ssize_t size = ::pread(said_, text.data(), text.size(), 0);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    return text;
  }
  // ": " and the first line of that, if any, without the name of who says it.
  std::string reason() const {
    std::string line = said();
    line.resize(std::min(line.size(), line.find('\n')));
    if (line.find("moov atom not found") != line.npos) return ": the index at its end is missing, so it is cut off; copy it again";
    if (line.starts_with('[') && line.find("] ") != line.npos) line.erase(0, line.find("] ") + 2);
    return line.empty() ? "" : ": " + line.substr(0, 300);
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
          "-format_whitelist", "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,ogg,flv,live_flv,asf", "-i", "file:" + video.string()};
}

std::vector<std::string> joined(std::initializer_list<std::vector<std::string>> parts) {
  std::vector<std::string> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Film probe_film(const fs::path& video) {
  Child probe(joined({{"ffprobe", "-v", "error", "-of", "json", "-show_entries",
                       "stream=codec_type,codec_name,width,height,r_frame_rate,avg_frame_rate,nb_frames,color_space,color_primaries,color_transfer:"
                       "stream_disposition=attached_pic:format=duration"},
                      reading(video)}),
              Child::Pipe::from_it);
  std::string text(std::size_t{1} << 20, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), probe.file()));
  const std::optional<Film> film = parse_film(text);
  if (!film) {
    probe.succeeded();
    throw Error(ExitCode::bad_file, fmt::format("{} is no video that ffmpeg can read{}", quote(video.string()), probe.reason()));
  }
  return *film;
}

// ---- colours ---------------------------------------------------------------------------------------------------------

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) { return std::ranges::find(words, word) != words.end(); }

bool is_hdr(const Film& film) { return one_of(film.transfer, {"smpte2084", "arib-std-b67"}); }

// Of colours that a screen of sRGB or BT.709 has not.
bool is_wide(const Film& film) {
  return is_hdr(film) || one_of(film.primaries, {"bt2020", "smpte431", "smpte432"}) || film.matrix == "bt2020nc";
}

// What to tag the result with, in ffmpeg's words. Where a film doesn't say, players go by its size.
struct Colors {
  std::string matrix, primaries, transfer;
};

Colors colors_of(const Film& film) {
  if (is_wide(film)) return {"bt709", "bt709", "bt709"};
  const bool high_definition = film.width >= 1280 || film.height > 576;
  const bool known = one_of(film.matrix, {"bt709", "smpte170m", "bt470bg", "smpte240m", "fcc"});
  Colors colors{.matrix = known ? film.matrix : high_definition ? "bt709" : film.height == 576 ? "bt470bg" : "smpte170m",
                .primaries = film.primaries,
                .transfer = film.transfer == "bt470m" ? "gamma22" : film.transfer == "bt470bg" ? "gamma28" : film.transfer};
  if (!one_of(film.primaries, {"bt709", "smpte170m", "bt470bg", "bt470m", "smpte240m"})) {
    colors.primaries = one_of(colors.matrix, {"smpte170m", "bt470bg"}) ? colors.matrix : "bt709";
  }
  if (!one_of(colors.transfer, {"bt709", "gamma22", "gamma28", "smpte170m", "smpte240m", "iec61966-2-1"})) colors.transfer = "bt709";
  return colors;
}

std::string scale_name(const std::string& matrix) { return matrix == "bt470bg" ? "bt470" : matrix; }  // the filter's word for it

// To RGB of BT.709, as the decoder's filters.
std::string narrowing(const Film& film) {
  if (!is_wide(film)) return "";
  const std::string from = fmt::format("zscale=min={}:pin={}:tin={}", one_of(film.matrix, {"bt709", "smpte170m", "bt470bg"}) ? film.matrix : "bt2020nc",
                                       one_of(film.primaries, {"bt709", "smpte431", "smpte432"}) ? film.primaries : "bt2020",
                                       is_hdr(film) || film.transfer == "iec61966-2-1" ? film.transfer : "bt709");
  return from + (is_hdr(film) ? ":t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=gbr,format=gbrp,"
                              : ":p=bt709:t=bt709:m=gbr,format=gbrp,");
}

// ---- containers ------------------------------------------------------------------------------------------------------

// What can be written, and the sound that it holds so that players take it.
struct Container {
  const char* ending;
  const char* format;
  std::set<std::string_view> sound;
};

const Container* container_of(const fs::path& path) {
  static const std::set<std::string_view> mp4{"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac"};
  static const Container containers[] = {
      {".mp4", "mp4", mp4},
      {".m4v", "mp4", mp4},
      {".mov", "mov", {"aac", "mp3", "ac3", "eac3", "alac", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"}},
      {".mkv", "matroska", {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "dts", "truehd", "pcm_u8", "pcm_s16le", "pcm_s16be",
                            "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"}},
  };
  const auto* const found = std::ranges::find(containers, ending_of(path), [](const Container& c) { return std::string_view(c.ending); });
  return found == std::end(containers) ? nullptr : found;
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

// The format of most players asks for even sides: the last column and row stand twice there.
Image even(const Image& picture) {
  Image result{picture.height + picture.height % 2, picture.width + picture.width % 2, picture.channels, {}};
  if (result.height == picture.height && result.width == picture.width) return picture;
  result.pixels.resize(std::size_t(result.height) * result.width * result.channels);
  for (int y = 0; y < result.height; ++y) {
    const std::uint8_t* row = picture.pixels.data() + std::size_t(std::min(y, picture.height - 1)) * picture.width * picture.channels;
    for (int x = 0; x < result.width; ++x) {
      std::copy_n(row + std::size_t(std::min(x, picture.width - 1)) * picture.channels, picture.channels,
                  result.pixels.data() + (std::size_t(y) * result.width + x) * result.channels);
    }
  }
  return result;
}

double per_second(std::string_view rate) {
  const std::size_t slash = rate.find('/');
  return std::stod(std::string(rate.substr(0, slash))) / std::stod(std::string(rate.substr(slash + 1)));
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

std::optional<Film> parse_film(std::string_view ffprobe_output) {
  const std::optional<nlohmann::json> json = parse_json(ffprobe_output);
  if (!json || !json->is_object() || !json->contains("streams") || !(*json)["streams"].is_array()) return std::nullopt;
  const auto text = [](const nlohmann::json& stream, const char* key) {
    const auto found = stream.find(key);
    return found != stream.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto number = [](const nlohmann::json& stream, const char* key) {
    const auto found = stream.find(key);
    return found != stream.end() && found->is_number_integer() ? static_cast<int>(std::clamp<std::int64_t>(*found, 0, 1 << 20)) : 0;
  };
  std::optional<Film> film;
  std::vector<std::string> sound;
  for (const nlohmann::json& stream : (*json)["streams"]) {
    if (!stream.is_object()) return std::nullopt;
    if (text(stream, "codec_type") == "audio") sound.push_back(text(stream, "codec_name"));
    if (film || text(stream, "codec_type") != "video") continue;
    const auto disposition = stream.find("disposition");
    if (disposition != stream.end() && disposition->is_object() && number(*disposition, "attached_pic") != 0) continue;  // a cover
    const std::optional<std::string> base = parse_frame_rate(text(stream, "r_frame_rate")), average = parse_frame_rate(text(stream, "avg_frame_rate"));
    if (!base && !average) return std::nullopt;
    // Where the rate varies, the first is that of the finest clock, such as one a millisecond.
    const bool steady = base && (!average || std::abs(per_second(*base) / per_second(*average) - 1) < 0.01);
    film = Film{.width = number(stream, "width"), .height = number(stream, "height"), .frames = steady ? std::atoll(text(stream, "nb_frames").c_str()) : 0,
                .rate = steady ? *base : *average,
                .matrix = text(stream, "color_space"), .primaries = text(stream, "color_primaries"), .transfer = text(stream, "color_transfer"), .sound = {}};
  }
  if (!film) return film;
  film->sound = std::move(sound);
  if (const auto format = json->find("format"); format != json->end() && format->is_object()) {
    const double seconds = std::strtod(text(*format, "duration").c_str(), nullptr);
    if (seconds > 0 && seconds < 1e9) film->seconds = seconds;
  }
  return film;
}

FilmCommands film_commands(const Film& film, const fs::path& from, const fs::path& to, const fs::path& part) {
  const Container& container = *container_of(to);
  const Colors colors = colors_of(film);
  const std::string exact = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";
  // Pixels become as wide as high by stretching one side, to an even number. More than four times is a mistake in the file.
  const std::string square = "w='if(gt(sar,1),2*round(iw*min(sar,4)/2),iw)':h='if(lt(sar,1),2*round(ih*min(1/sar,4)/2),ih)'";
  const std::string decoding = fmt::format("{}scale={}:in_color_matrix={}:{}", narrowing(film), square, scale_name(colors.matrix), exact);
  const std::string encoding = fmt::format("scale=out_color_matrix={}:out_range=tv:{},format=yuv420p", scale_name(colors.matrix), exact);
  std::vector<std::string> sound;
  for (std::size_t i = 0; i < film.sound.size(); ++i) {
    const bool fits = container.sound.contains(film.sound[i]);
    for (const std::string& word : {fmt::format("-c:a:{}", i), std::string(fits ? "copy" : "aac")}) sound.push_back(word);
    if (!fits) sound.insert(sound.end(), {fmt::format("-b:a:{}", i), "192k"});
  }
  // Of streams with a V those of a cover are none.
  return {.decoder = joined({{"ffmpeg", "-v", "error", "-nostdin"}, reading(from),
                             {"-map", "0:V:0", "-vf", decoding, "-r", film.rate, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"}}),
          .encoder = joined({{"ffmpeg", "-v", "error", "-y", "-f", "image2pipe", "-framerate", film.rate, "-c:v", "ppm", "-protocol_whitelist", "file,pipe",
                              "-i", "-"},
                             reading(from),
                             {"-map", "0:v", "-map", "1:a?"},
                             sound,
                             {"-c:v", "libx264", "-crf", "18", "-vf", encoding, "-color_range", "tv", "-colorspace", colors.matrix, "-color_primaries",
                              colors.primaries, "-color_trc", colors.transfer, "-f", container.format, "file:" + part.string()}})};
}

bool is_video(const fs::path& path) {
  static const std::set<std::string> extensions{".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ogv", ".3gp", ".mts", ".m2ts", ".ts", ".vob", ".flv", ".wmv", ".asf"};
  return extensions.contains(ending_of(path));
}

void convert_video(const fs::path& from, const fs::path& to, const std::function<Image(const Image&)>& each,
                   const std::function<void(const std::string&)>& note, const std::function<void(double)>& progress) {
  const Container* const container = container_of(to);
  if (container == nullptr) throw Error(ExitCode::usage, fmt::format("{}: videos are written as .mp4, .m4v, .mov or .mkv", quote(to.string())));
  const fs::path target = without_links(to);
  std::error_code error;
  if (fs::exists(target, error) && !fs::is_regular_file(target, error)) throw Error(ExitCode::usage, fmt::format("{}: a video is written to a file only", quote(to.string())));
  if (!fs::is_regular_file(from, error)) {  // a FIFO might wait for ever
    throw Error(ExitCode::bad_file, fmt::format("can't read {}: {}", quote(from.string()), error ? error.message() : "not a regular file"));
  }
  std::signal(SIGPIPE, SIG_IGN);  // an ffmpeg that ends early is an error, not the end of this process
  const Film film = probe_film(from);
  const std::string name = quote(from.string());
  if (is_wide(film)) note(fmt::format("{} has {} colours; the result has those of BT.709", name, is_hdr(film) ? "HDR" : "wide-gamut"));
  for (const std::string& codec : film.sound) {
    if (!container->sound.contains(codec)) note(fmt::format("{}: {} sound becomes AAC, as a {} can't hold it", name, codec, container->ending));
  }
  remove_abandoned_files(target.has_parent_path() ? target.parent_path() : ".");
  TemporaryFile part(target.parent_path());
  const FilmCommands commands = film_commands(film, from, to, part.path());
  Child decoder(commands.decoder, Child::Pipe::from_it);
  Child encoder(commands.encoder, Child::Pipe::to_it);
  Image frame, first;
  std::int64_t frames = 0;
  bool written = true;
  for (; written && read_ppm(decoder.file(), frame); ++frames) {
    Image result = each(frame);
    if (frames == 0) first = Image{result.height, result.width, 0, {}};
    if (result.height != first.height || result.width != first.width) result = resize(result, first.height, first.width, Filter::lanczos);
    written = write_ppm(encoder.file(), even(result));
    if (film.seconds > 0) progress(std::min(1.0, static_cast<double>(frames + 1) / per_second(film.rate) / film.seconds));
  }
  if (!encoder.succeeded() || !written) throw Error(ExitCode::bad_file, fmt::format("ffmpeg could not write {}{}", quote(to.string()), encoder.reason()));
  if (!decoder.succeeded() || frames == 0) throw Error(ExitCode::bad_file, fmt::format("ffmpeg could not read all of {}{}", name, decoder.reason()));
  part.replace(target);
  const std::string said = decoder.said();
  const bool too_few = static_cast<double>(frames) < 0.95 * static_cast<double>(film.frames);  // an AVI says nothing else
  if (too_few || said.find("partial file") != said.npos || said.find("ended prematurely") != said.npos) {
    throw Error(ExitCode::bad_file, fmt::format("{} is cut off: {} holds what there is of it, {:.1f} s", name, quote(to.string()),
                                                static_cast<double>(frames) / per_second(film.rate)));
  }
  if (!said.empty()) note(fmt::format("ffmpeg says of {}{}", name, decoder.reason()));
}

}  // namespace pastiche::cli
