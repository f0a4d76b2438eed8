// What is accepted holds as many values as its shape says, and the same again when it is written plainly.
#include <cstdlib>
#include <string_view>

#include "data/idx.h"
#include "pastiche/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace pastiche;
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  for (const int rank : {1, 3}) {
    try {
      const Idx idx = parse_idx(file, rank);
      std::vector<std::uint8_t> plain{0, 0, 8, static_cast<std::uint8_t>(rank)};
      std::size_t count = 1;
      for (const std::int64_t side : idx.shape) {
        count *= static_cast<std::size_t>(side);
        for (int shift = 24; shift >= 0; shift -= 8) plain.push_back(static_cast<std::uint8_t>(side >> shift));
      }
      if (idx.values.size() != count) std::abort();
      plain.insert(plain.end(), idx.values.begin(), idx.values.end());
      const Idx again = parse_idx(std::as_bytes(std::span(plain)), rank);
      if (again.shape != idx.shape || again.values != idx.values) std::abort();
    } catch (const Error& error) {
      if (error.code() != ExitCode::bad_data || std::string_view(error.what()).find('\n') != std::string::npos)
        std::abort();
    }
  }
  return 0;
}
