#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/image.h"

namespace pastiche::cli {

// The fraction that ffprobe's output begins with, frames over seconds such as 30000/1001; none where it doesn't.
std::optional<std::string> parse_frame_rate(std::string_view ffprobe_output);

// What ffprobe says of one.
struct Film {
  int width = 0, height = 0;               // in pixels as stored
  double seconds = 0;                      // that it lasts; 0 where it doesn't say
  std::int64_t frames = 0;                 // that it says it has; 0 where it doesn't, or its rate varies
  std::string rate;                        // see parse_frame_rate(); the average where it varies
  std::string matrix, primaries, transfer;  // of its colours, in ffprobe's words; empty where it doesn't say
  std::vector<std::string> sound;          // the codec of each track
};
std::optional<Film> parse_film(std::string_view ffprobe_output);  // JSON; none where it tells of no moving pictures

// Both turn between a film and 8-bit RGB pictures: the one from `from`, upright, with square pixels, tone-mapped where it is HDR; the other to
// `part` in the format that `to` is named after, 4:2:0 of 8 bits, with the sound of `from`, copied where that format holds it, else as AAC.
struct FilmCommands {
  std::vector<std::string> decoder, encoder;
};
FilmCommands film_commands(const Film& film, const std::filesystem::path& from, const std::filesystem::path& to, const std::filesystem::path& part);

bool is_video(const std::filesystem::path& path);  // by its extension

// Every frame of a video through `each`, by the ffmpeg that is installed; `note` is told what becomes different, and
// `progress` which part is done. Error(failed) where there is no
// ffmpeg, Error(bad_file) where it can't read one file or write the other, and for a film that is cut off, of which the result is kept.
void convert_video(const std::filesystem::path& from, const std::filesystem::path& to, const std::function<Image(const Image&)>& each,
                   const std::function<void(const std::string&)>& note, const std::function<void(double)>& progress);

}  // namespace pastiche::cli
