#pragma once
// How commands write pictures.
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "pastiche/image.h"

namespace pastiche::cli {

// To where the user named, and prints that; "-" and what else is standard output gets the bytes alone.
void write_result(const std::filesystem::path& path, std::span<const std::byte> bytes);

// A line on standard error. Where that can't be written, the command goes on.
void tell(const std::string& line);

// "-", standard output by another name, a FIFO or a device: its name says nothing of a format, so PNG goes there.
bool is_stream(const std::filesystem::path& path);

// What a picture says of its making: Software, Model, Model SHA-256, `more`, Command; `anonymous` leaves out the model's path and the command.
PictureText origin_text(const std::string& model, const std::string& hash, bool anonymous, const PictureText& more = {});

constexpr const char* no_metadata_help = "write neither the model's path nor the command into PNG";

// Temporary files go with a process that a signal ends.
void clean_up_on_signals();

}  // namespace pastiche::cli
