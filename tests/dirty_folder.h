#pragma once
#include <cstdio>  // before jpeglib.h, which needs FILE

#include <jpeglib.h>
#include <png.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/image.h"

// Picture files of every variety and every defect, made at test time, so that none has to be kept.
namespace pastiche::dirty {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text);
std::string_view text_of(const Bytes& bytes);
Bytes big_endian(std::uint32_t value, int count = 4);
Bytes join(std::initializer_list<Bytes> parts);
Bytes gzip(const Bytes& bytes);

struct ZipEntry {
  std::string name;
  Bytes bytes;
  bool deflated = true;
  bool encrypted = false;  // it says so
  bool link = false;       // likewise
  int method = -1;         // that it says; -1: that which it has
  int more_bytes = 0;      // that it says, beyond those it has; of packed ones
  int more_packed = 0;     // likewise
};
Bytes make_zip(const std::vector<ZipEntry>& entries);
Bytes zip_of(const std::filesystem::path& folder);  // its regular files and folders, in no order, every other one deflated

void write(const std::filesystem::path& path, const Bytes& bytes);

struct PngSpec {
  int color = PNG_COLOR_TYPE_RGB;
  int depth = 8;
  bool adam7 = false;
  bool transparent = false;  // a tRNS chunk
  int width = 13;
  int height = 9;
};
Bytes make_png(const PngSpec& spec);
Image png_pixels(const PngSpec& spec);  // what it must decode to, as RGBA

Bytes png_chunk(std::string_view type, const Bytes& data);  // with length and CRC
// `png` with `chunks` (whole ones, from png_chunk) right after its IHDR.
Bytes after_header(const Bytes& png, const Bytes& chunks);

Bytes claiming(Bytes png, std::uint32_t width, std::uint32_t height);  // this size in its header, whatever it holds

struct JpegSpec {
  J_COLOR_SPACE space = JCS_YCbCr;  // or JCS_GRAYSCALE, JCS_RGB, JCS_CMYK, JCS_YCCK
  bool progressive = false;
  bool arithmetic = false;
  bool adobe = true;       // a marker that says CMYK is inverted
  int sampling = 1;        // horizontal factor of luma
  int orientation = 0;     // EXIF; 0: none
  int repeated_scans = 0;  // baseline, one scan a component, and the last one so many times again
  int width = 21;
  int height = 14;
};
Bytes make_jpeg(const JpegSpec& spec);
Image jpeg_pixels(const JpegSpec& spec);  // what it must decode to as RGB, but for its losses, before orientation

Bytes exif(int orientation, bool little_endian);  // the TIFF structure

struct File {
  std::string name;
  Bytes bytes;
};
std::vector<File> unusual_pictures();  // must decode
std::vector<File> broken_pictures();   // must be refused with a reason

Image noise(int height, int width, int channels, unsigned seed);

// A new empty folder, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

struct Folder {
  std::vector<std::string> good;
  std::vector<std::string> bad;
};
// All of the above and enough plain pictures that most are good, with links, FIFOs, hidden files and odd names.
Folder make_folder(const std::filesystem::path& root);

}  // namespace pastiche::dirty
