#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "pastiche/data.h"
#include "pastiche/image.h"

namespace pastiche {

struct FolderFile {
  std::string name;     // relative to the folder
  std::string problem;  // why it can't be used; the rest is set only where this is empty
  PictureInfo info;
  std::size_t bytes = 0;
  std::string sha256;  // of the file
  std::string pixels;  // size and SHA-256 of the decoded RGBA; only with Depth::decode
};

enum class Depth { probe, decode };

// Every picture below `root`, by bytes of its relative path. What has neither a picture's name nor a picture's first
// bytes is left out, as are hidden files. Each folder is entered once, so loops of links end.
std::vector<FolderFile> inspect_folder(const std::filesystem::path& root, std::int64_t max_pixels, Depth depth);

std::unique_ptr<Dataset> open_folder(const std::filesystem::path& root, const std::string& name,
                                     const DataOptions& options);

}  // namespace pastiche
