#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "pastiche/data.h"

namespace pastiche {

// The format of MNIST (http://yann.lecun.com/exdb/mnist/), of unsigned bytes: the big-endian magic 0x00000800 + rank, a
// 32-bit size a dimension, then the values, last dimension fastest.
struct Idx {
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> values;
};

// `file` is plain or gzip (any number of members). Throws Error(bad_data) unless it holds exactly what its header says,
// in `rank` dimensions; the header is checked before its sizes are believed.
Idx parse_idx(std::span<const std::byte> file, int rank);
Idx read_idx(const std::filesystem::path& path, int rank);

// `path` itself where it's a file, and of a folder the images in IDX, the training set where there are several; empty
// for a folder without, and for a zip. Throws Error(bad_data) where there is neither file nor folder.
std::filesystem::path find_idx(const std::filesystem::path& path);

std::unique_ptr<Dataset> open_idx(const std::filesystem::path& images, const std::string& name,
                                  const DataOptions& options);

}  // namespace pastiche
