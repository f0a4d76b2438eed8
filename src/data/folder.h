#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "pastiche/data.h"
#include "pastiche/image.h"
#include "store.h"

namespace pastiche {

struct FolderFile {
  std::string name;        // in its FileStore
  bool is_folder = false;  // one that can't be entered, so no one knows what it holds
  std::string problem;     // why it can't be used; the rest is set only where this is empty
  PictureInfo info;
  std::size_t bytes = 0;
  std::string sha256;  // of the file
  std::string pixels;  // size and SHA-256 of the decoded RGBA; only with Depth::decode
  int label = -1;      // from 0, of dataset.json
};

struct FolderContents {
  std::vector<FolderFile> files;
  LeftOut left_out;
  std::string labels_note;  // why a dataset.json gave no labels
};

enum class Depth { probe, decode };
enum class Links { once, each };  // how often a picture counts that links within the set lead to

// Every picture of `store`, by bytes of its name. What has neither a picture's name nor a picture's first
// bytes is none. What programs leave beside pictures is left out and counted: see the table in scan.cpp. Each folder is
// entered once, so loops of links end. Throws Error(bad_data) where there is none, and where it can't be listed.
FolderContents inspect_files(const FileStore& store, std::int64_t max_pixels, Depth depth, Links links,
                             const WorkObserver& observer = {});

// Sets the labels that files in StyleGAN's format, dataset.json, give to the pictures below them; none at all, and the note, where one of
// these files can't be used.
void add_labels(const FileStore& store, std::vector<std::filesystem::path> label_files, FolderContents& contents);
// Those of the files that can be used: one each, or none at all, and then `note` says why, unless there is none to say.
std::vector<int> labels_of(const std::vector<FolderFile>& files, std::string& note);

// Throws Error(bad_data) for a folder among `files`: a set of which an unknown part is missing is none to train on.
void require_folders(const std::filesystem::path& root, const std::vector<FolderFile>& files);

// What to take of each picture: all of it, or one of two that stand side by side in it. Of an odd width the middle
// column is left out.
enum class Part { whole, left_half, right_half };

// "fashion-mnist" of /usr/share/datasets/fashion-mnist/, "train-images-idx3-ubyte" of that with .gz, "cats" of cats.zip. Of a folder
// whose name says nothing, such as 256x256 or images, that of the one it is in: "cats" of cats/images/256x256.
std::string short_name(const std::filesystem::path& path);

// open_dataset(), of pictures whole or in part. IDX has no parts.
std::unique_ptr<Dataset> open_part(const std::filesystem::path& path, Part part, const DataOptions& options);

std::unique_ptr<Dataset> open_files(std::unique_ptr<FileStore> store, const std::string& name, Part part, const DataOptions& options);

}  // namespace pastiche
