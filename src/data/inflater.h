#pragma once
#include <zlib.h>

#include <new>

namespace pastiche {

struct Inflater {
  z_stream stream{};
  explicit Inflater(int window_bits) {  // of zlib's, which say what surrounds the deflated bytes
    if (inflateInit2(&stream, window_bits) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

}  // namespace pastiche
