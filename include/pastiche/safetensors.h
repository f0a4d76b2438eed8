#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pastiche {

// One tensor of a safetensors file: row-major, little-endian, on the host. `dtype` is the format's own word:
// F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL C64 and the F8, F6 and F4 families.
struct SafeTensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;  // empty for a scalar
  std::vector<std::byte> bytes;
};

struct SafetensorsFile {
  std::vector<SafeTensor> tensors;  // after reading: in the order of their bytes in the file
  std::map<std::string, std::string> metadata;

  const SafeTensor* find(std::string_view name) const;  // nullptr when absent
};

// Both readers check the whole header before they allocate a tensor, and throw Error(bad_file) on anything that the
// format forbids. They are stricter than the reference reader in two places where the specification is: a key that
// stands twice, and a header that does not begin with '{'; and take at most 100,000 tensors and 1,000 keys of metadata. Payloads are not
// looked at: NaN is allowed here.
SafetensorsFile parse_safetensors(std::span<const std::byte> file);
// The whole of a file that begins as safetensors do; what does not, such as the image of a disk, is not read at all.
std::vector<std::byte> read_safetensors_bytes(const std::filesystem::path& path);
inline constexpr std::size_t max_safetensors_bytes = std::size_t{16} << 30;
SafetensorsFile read_safetensors(const std::filesystem::path& path);

// The same bytes for the same content, whatever the order of `tensors`: wide types first, then by name, so that every
// tensor is aligned. Throws Error(failed) on a tensor that no reader would accept.
std::vector<std::byte> serialize_safetensors(const SafetensorsFile& file);
// The same into a file, as write_file_atomically does it, without a second copy in memory.
void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

}  // namespace pastiche
