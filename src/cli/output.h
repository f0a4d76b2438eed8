#pragma once
// How commands write pictures.
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "pastiche/image.h"

namespace pastiche::cli {

void make_folder(const std::filesystem::path& folder);                                       // Error(bad_file) where it can't be
void write_result(const std::filesystem::path& path, std::span<const std::byte> bytes);  // and prints its path

// What a picture says of its making: Software, Model, Model SHA-256, `more`, Command.
PictureText origin_text(const std::string& model, const std::string& hash, const PictureText& more = {});

}  // namespace pastiche::cli
