#pragma once
// How commands write pictures.
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/files.h"
#include "pastiche/image.h"

namespace pastiche::cli {

// To where the user named, and prints that; "-" and what else is standard output gets the bytes alone.
void write_result(const std::filesystem::path& path, std::span<const std::byte> bytes, Sync sync = Sync::now);

// JPEG (quality 95, no alpha and no text) where the name ends in .jpg or .jpeg, WebP (quality 96, no text) in .webp, else PNG, be that a name
// or a stream.
std::vector<std::byte> encode_for(const std::filesystem::path& path, const Image& picture, const PictureText& text);
bool is_picture_name(const std::filesystem::path& path);  // of a format that encode_for() writes
// Error(usage) for --out that is neither that nor a stream. `or_else` names what may stand there instead.
void require_picture_name(const std::filesystem::path& out, std::string_view or_else = "");

// What could not be done of many: one that fails does not end the others.
class Failures {
 public:
  // Runs `body`; what ends it early is kept, and false.
  bool attempt(const std::filesystem::path& name, const std::function<void()>& body);
  void add(const std::string& reason) { reasons_.push_back(reason); }
  // Lists them on standard error. What the process exits with: 0, or 1 where there are some of `count`.
  int report(std::size_t count) const;

 private:
  std::vector<std::string> reasons_;
};

// Error(usage) where one of these results would take the place of a file that does not say that it was made with the model or painting of this SHA-256; with `force` never.
void require_free(std::span<const std::filesystem::path> results, const std::string& hash, bool force);
constexpr const char* force_help = "replace files that something else made, or of which nobody knows";

void tell_result(const std::filesystem::path& path);  // a line on standard output
// A line on standard error. Where that can't be written, the command goes on.
void tell(const std::string& line);

// "-", standard output by another name, a FIFO or a device: its name says nothing of a format, so PNG goes there.
bool is_stream(const std::filesystem::path& path);

// What a picture says of its making: Software, `what` ("Model") and its SHA-256, `more`, Command; `anonymous` leaves out the path and the command.
PictureText origin_text(const std::string& what, const std::string& path, const std::string& hash, bool anonymous, const PictureText& more = {});

constexpr const char* no_metadata_help = "write neither paths nor the command into PNG";

// Temporary files go with a process that a signal ends.
void clean_up_on_signals();

}  // namespace pastiche::cli
