#pragma once
// Pictures of any size, with or without alpha, through a translator.
#include <cstdint>
#include <optional>

#include "pastiche/image.h"
#include "pastiche/translators.h"

namespace pastiche {

struct StylizeOptions {
  double strength = 1;       // how far from the source to the result, in each of R, G and B: 0 gives the source
  bool keep_colors = false;  // the result's luma with the source's chroma (ITU-R 601)
  bool film = false;         // pictures are the frames of one film, and have the look of the first one
  // What a tile adds to the result, in pixels a side; 0: the whole picture at once. Statistics are a reduced copy's in any case.
  // Without it pictures of up to a megapixel are whole and have their own statistics, and larger ones have tiles of a size that
  // takes 512 MiB, or more where most of that would overlap. A unet takes whole pictures only, and ignores this.
  std::optional<std::int64_t> tile = {};
  DType precision = DType::f32;  // or bf16
};

// A picture is mirrored at its right and lower border up to what the network takes, and the result cropped. Alpha shows white
// to the network and is put back into the result, unless the network has learned alpha itself. A network of gray pictures gets
// the luma and gives gray, or the source's colours where they are to be kept.
//
// Statistics of the network's norms that are not the picture's own are constants, from one pass over a copy of at most 512x512
// pixels, so tiles give the same bytes as the whole.
class Stylizer {
 public:
  // Throws Error(usage) for options out of range. The network must outlive it.
  Stylizer(Translator& network, const StylizeOptions& options);

  // Of the same height and width. Error(out_of_memory) says how much memory would be needed, before any of it is taken.
  Image operator()(const Image& source);

 private:
  struct Size {
    std::int64_t height, width;
  };
  Size padded(const Image& source, std::int64_t multiple) const;
  Image translate(const Image& source, Size top_left, Size size, NormConstants* constants) const;
  NormConstants reduced_look(const Image& source) const;
  std::int64_t tile_side(Size picture) const;
  void require_memory(Size box) const;

  Translator& network_;
  StylizeOptions options_;
  double bytes_per_pixel_;             // of what the network sees at once
  std::optional<NormConstants> look_;  // none: each picture has its own statistics
};

}  // namespace pastiche
