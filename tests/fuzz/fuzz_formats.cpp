// GIF, WebP, TIFF, HEIC and AVIF, by their headers as their libraries read them.
#include "decoded.h"

// What decoders of HEIC and AVIF leave behind of spoiled files.
extern "C" const char* __lsan_default_suppressions() { return "leak:libdav1d\nleak:libde265\nleak:libheif\n"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pastiche::expect_decoded_or_refused(data, size);
  return 0;
}
