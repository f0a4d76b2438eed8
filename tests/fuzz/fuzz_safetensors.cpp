// What the reader accepts, the writer writes (odd names aside), and the reader reads that back the same.
#include <cstdlib>

#include "pastiche/error.h"
#include "pastiche/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  SafetensorsFile file;
  try {
    file = parse_safetensors({reinterpret_cast<const std::byte*>(data), size});
  } catch (const Error& error) {
    const bool one_line = std::string_view(error.what()).find('\n') == std::string_view::npos;
    if (error.code() != ExitCode::bad_file || !one_line) std::abort();
    return 0;
  }
  std::vector<std::byte> written;
  try {
    written = serialize_safetensors(file);
  } catch (const Error& error) {
    if (error.code() != ExitCode::failed) std::abort();
    return 0;
  }
  const SafetensorsFile again = parse_safetensors(written);
  if (again.metadata != file.metadata || again.tensors.size() != file.tensors.size()) std::abort();
  for (const SafeTensor& tensor : again.tensors) {
    const SafeTensor* original = file.find(tensor.name);
    if (!original || original->dtype != tensor.dtype || original->shape != tensor.shape ||
        original->bytes != tensor.bytes) {
      std::abort();
    }
  }
  return 0;
}
