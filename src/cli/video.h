#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "pastiche/image.h"

namespace pastiche::cli {

// The fraction that ffprobe's output begins with, frames over seconds such as 30000/1001; none where it doesn't.
std::optional<std::string> parse_frame_rate(std::string_view ffprobe_output);

bool is_video(const std::filesystem::path& path);  // by its extension

// Every frame of a video through `each`, by the ffmpeg that is installed: at the same rate, with the sound as it was. Error(failed)
// where there is no ffmpeg, Error(bad_file) where it can't read one file or write the other.
void convert_video(const std::filesystem::path& from, const std::filesystem::path& to, const std::function<Image(const Image&)>& each);

}  // namespace pastiche::cli
