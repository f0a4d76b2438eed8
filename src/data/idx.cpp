#include "idx.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "inflater.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/image.h"
#include "pastiche/sha256.h"
#include "store.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t max_idx_bytes = std::int64_t{4} << 30;  // held in memory
constexpr std::size_t max_file_bytes = std::size_t{2} << 30;

[[noreturn]] void bad_idx(const std::string& message) { throw Error(ExitCode::bad_data, message); }

bool is_gzip(std::span<const std::byte> file) {
  return file.size() >= 2 && file[0] == std::byte{0x1f} && file[1] == std::byte{0x8b};
}

// Appends `count` bytes to `out` of what `file` holds, from the byte `begin`; fewer where it holds fewer.
void append_contents(std::vector<std::uint8_t>& out, std::span<const std::byte> file, std::size_t begin, std::size_t count) {
  const std::size_t wanted = out.size() + count;
  const auto take = [&](const std::uint8_t* bytes, std::size_t size) {
    const std::size_t skipped = std::min(begin, size);
    begin -= skipped;
    out.insert(out.end(), bytes + skipped, bytes + skipped + std::min(size - skipped, wanted - out.size()));
  };
  out.reserve(wanted);
  if (!is_gzip(file)) return take(reinterpret_cast<const std::uint8_t*>(file.data()), file.size());
  Inflater inflater(16 + MAX_WBITS);
  z_stream& stream = inflater.stream;
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(file.data()));
  stream.avail_in = static_cast<uInt>(file.size());
  std::vector<std::uint8_t> piece(std::size_t{1} << 18);
  while (out.size() < wanted) {
    stream.next_out = piece.data();
    stream.avail_out = static_cast<uInt>(piece.size());
    const int result = inflate(&stream, Z_NO_FLUSH);
    take(piece.data(), piece.size() - stream.avail_out);
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      if (!is_gzip(file.last(stream.avail_in))) bad_idx("bytes follow the gzip data; copy the file again");
      inflateReset(&stream);
    } else if (result == Z_BUF_ERROR && stream.avail_in == 0) {
      bad_idx("the gzip data is cut short; copy the file again");
    } else if (result != Z_OK) {
      bad_idx(
          fmt::format("broken gzip data ({}); copy the file again", stream.msg == nullptr ? "no reason" : stream.msg));
    }
  }
}

// The labels beside `images`, under the same name with "labels" and "idx1" in it; empty where there are none.
fs::path labels_of(const fs::path& images) {
  std::string name = images.filename().string();
  const std::size_t word = name.rfind("images");
  if (word == name.npos) return {};
  name.replace(word, 6, "labels");
  if (const std::size_t rank = name.find("idx3", word); rank != name.npos) name.replace(rank, 4, "idx1");
  if (name.ends_with(".gz")) name.resize(name.size() - 3);
  for (const char* ending : {"", ".gz"}) {
    const fs::path path = images.parent_path() / (name + ending);
    if (std::error_code error; fs::exists(path, error)) return path;
  }
  return {};
}

class IdxDataset final : public Dataset {
 public:
  IdxDataset(const fs::path& path, const std::string& name, const DataOptions& options) : Dataset(name) {
    Idx images = read_idx(path, 3);
    values_ = std::move(images.values);
    size_ = images.shape[0];
    stored_height_ = static_cast<int>(images.shape[1]);
    stored_width_ = static_cast<int>(images.shape[2]);
    height_ = options.height != 0 ? options.height : stored_height_;
    width_ = options.width != 0 ? options.width : stored_width_;
    channels_ = options.channels != 0 ? options.channels : 1;
    std::string parts =
        fmt::format("{}x{}x{} {}", size_, stored_height_, stored_width_, sha256_hex(std::as_bytes(std::span(values_))));
    if (const fs::path label_path = labels_of(path); !label_path.empty()) {
      const Idx labels = read_idx(label_path, 1);
      if (labels.shape[0] != size_) {
        bad_idx(fmt::format("{} labels in {} for {} pictures in {}; take both files from one set", labels.shape[0],
                            quote(label_path.native()), size_, quote(path.native())));
      }
      labels_.assign(labels.values.begin(), labels.values.end());
      parts += sha256_hex(std::as_bytes(std::span(labels.values)));
    }
    fingerprint_ = sha256_hex(std::as_bytes(std::span(parts)));
  }

  void read(std::int64_t index, std::uint8_t* out) const override {
    const std::int64_t stored_bytes = std::int64_t{stored_height_} * stored_width_;
    const std::uint8_t* in = values_.data() + index * stored_bytes;
    if (height_ == stored_height_ && width_ == stored_width_ && channels_ == 1) {
      std::copy_n(in, stored_bytes, out);
      return;
    }
    const Image stored{stored_height_, stored_width_, 1, {in, in + stored_bytes}};
    const Image image = convert(fit(stored, height_, width_), channels_);
    std::copy(image.pixels.begin(), image.pixels.end(), out);
  }

 private:
  std::vector<std::uint8_t> values_;  // [N, stored height, stored width]
  int stored_height_ = 0;
  int stored_width_ = 0;
};

}  // namespace

Idx parse_idx(std::span<const std::byte> file, int rank) {
  const std::size_t header_bytes = 4 + 4 * static_cast<std::size_t>(rank);
  std::vector<std::uint8_t> header;
  append_contents(header, file, 0, header_bytes);
  const auto number = [&](std::size_t at) {
    return std::int64_t{header[at]} << 24 | header[at + 1] << 16 | header[at + 2] << 8 | header[at + 3];
  };
  if (header.size() < 4 || header[0] != 0 || header[1] != 0) bad_idx("not an IDX file; check the path");
  if (header[2] != 8) bad_idx(fmt::format("IDX of type 0x{:02x}, expected 0x08 (unsigned bytes)", header[2]));
  if (header[3] != rank) {
    bad_idx(fmt::format("IDX of {} dimensions, expected {} ({})", header[3], rank, rank == 3 ? "pictures" : "labels"));
  }
  if (header.size() < header_bytes) bad_idx("the IDX header is cut short; copy the file again");
  Idx idx;
  std::int64_t count = 1;
  for (int i = 0; i < rank; ++i) {
    idx.shape.push_back(number(4 + 4 * static_cast<std::size_t>(i)));
    if (idx.shape.back() == 0) bad_idx(fmt::format("IDX with nothing in dimension {}, expected at least 1", i + 1));
    if (__builtin_mul_overflow(count, idx.shape.back(), &count) || count > max_idx_bytes) {
      bad_idx(fmt::format("IDX of {} in dimension {} is more than {} bytes; use a folder of PNG", idx.shape.back(),
                          i + 1, max_idx_bytes));
    }
    if (i > 0 && idx.shape.back() > 65535) {
      bad_idx(fmt::format("IDX of pictures with a side of {}, expected at most 65535", idx.shape.back()));
    }
  }
  // A larger claim than the file can hold is false, and not worth the memory. Deflate shrinks by at most 1032.
  if (const std::int64_t ratio = is_gzip(file) ? 1040 : 1; count / ratio > static_cast<std::int64_t>(file.size())) {
    bad_idx(fmt::format("{} bytes{} can't hold the {} bytes that the IDX header says; copy the file again", file.size(),
                        ratio > 1 ? " of gzip" : "", count));
  }
  append_contents(idx.values, file, header_bytes, static_cast<std::size_t>(count) + 1);  // one more, to see whether there is more
  if (std::ssize(idx.values) != count) {
    bad_idx(fmt::format("IDX with {} bytes of values, expected {} as its header says; copy the file again",
                        std::ssize(idx.values) > count ? "more" : std::to_string(idx.values.size()), count));
  }
  return idx;
}

Idx read_idx(const fs::path& path, int rank) {
  try {
    return parse_idx(read_file(path, max_file_bytes), rank);
  } catch (const Error& error) {
    throw Error(ExitCode::bad_data, quote(path.native()) + ": " + error.what());
  }
}

fs::path find_idx(const fs::path& path) {
  if (find_zip(path)) return {};
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_regular_file(status)) {
    if (is_picture_file(path)) bad_idx(fmt::format("{} is one picture; give the folder that it is in", quote(path.native())));
    return path;
  }
  if (!fs::is_directory(status)) {
    bad_idx(
        fmt::format("no data at {}, expected a folder or zip of pictures, or IDX; check the path", quote(path.native())));
  }
  std::vector<std::string> names;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with("idx3-ubyte") || name.ends_with("idx3-ubyte.gz")) names.push_back(name);
  }
  const auto best = std::min_element(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::pair(!a.starts_with("train"), a) < std::pair(!b.starts_with("train"), b);
  });
  return best == names.end() ? fs::path() : path / *best;
}

std::unique_ptr<Dataset> open_idx(const fs::path& images, const std::string& name, const DataOptions& options) {
  return std::make_unique<IdxDataset>(images, name, options);
}

}  // namespace pastiche
