#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "pastiche/data.h"
#include "pastiche/image.h"

namespace pastiche {

struct FolderFile {
  std::string name;        // relative to the folder
  bool is_folder = false;  // one that can't be entered, so no one knows what it holds
  std::string problem;     // why it can't be used; the rest is set only where this is empty
  PictureInfo info;
  std::size_t bytes = 0;
  std::string sha256;  // of the file
  std::string pixels;  // size and SHA-256 of the decoded RGBA; only with Depth::decode
};

struct FolderContents {
  std::vector<FolderFile> files;
  LeftOut left_out;
};

enum class Depth { probe, decode };

// Every picture below `root`, by bytes of its relative path. What has neither a picture's name nor a picture's first
// bytes is none. What programs leave beside pictures is left out and counted: see the table in scan.cpp. Each folder is
// entered once, so loops of links end. Throws Error(bad_data) where there is none, and where `root` can't be listed.
FolderContents inspect_folder(const std::filesystem::path& root, std::int64_t max_pixels, Depth depth);

// Throws Error(bad_data) for a folder among `files`: a set of which an unknown part is missing is none to train on.
void require_folders(const std::filesystem::path& root, const std::vector<FolderFile>& files);

// What to take of each picture: all of it, or one of two that stand side by side in it. Of an odd width the middle
// column is left out.
enum class Part { whole, left_half, right_half };

// "fashion-mnist" of /usr/share/datasets/fashion-mnist/, "train-images-idx3-ubyte" of that with .gz.
std::string short_name(const std::filesystem::path& path);

// open_dataset(), of pictures whole or in part. IDX has no parts.
std::unique_ptr<Dataset> open_part(const std::filesystem::path& path, Part part, const DataOptions& options);

std::unique_ptr<Dataset> open_folder(const std::filesystem::path& root, const std::string& name, Part part,
                                     const DataOptions& options);

}  // namespace pastiche
