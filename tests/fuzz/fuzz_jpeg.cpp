// JPEG, by our own reading of its markers.
#include "decoded.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pastiche::expect_decoded_or_refused(data, size);
  return 0;
}
