#pragma once
// Who draws random numbers (philox.h), so that no two uses share a stream. Everything that draws from a seed of the user's has its
// range here, and `all` holds every range. What a trained model follows from keeps its numbers for ever.
#include <cstdint>

namespace pastiche::streams {

struct Range {
  std::uint32_t first, count;
  constexpr operator std::uint32_t() const { return first; }  // NOLINT: a use with one stream is that stream
};

inline constexpr Range latents{0x1000, 1};            // z of a training step
inline constexpr Range samples{0x2000, 1};            // z of pictures to look at
inline constexpr Range augment{0x3000, 0x100};        // + pass of the discriminator within a step
inline constexpr Range between{0x3100, 1};            // where between a real and a made picture a penalty is taken
inline constexpr Range patches{0x4000, 0x100};        // pixels whose patches are compared; + feature
inline constexpr Range pool{0x5000, 2};               // which earlier results a discriminator is shown; + direction
inline constexpr Range swd_patches{0x6000, 0x100};    // patches of a sliced Wasserstein distance; + level of the pyramid
inline constexpr Range swd_directions{0x7000, 1};     // what it projects them on
inline constexpr Range eval_pictures{0x8000, 1};      // which pictures of a set are compared
inline constexpr Range paint_directions{0x9000, 1};   // what patches of a painting are projected on
inline constexpr Range paint_pixels{0x9001, 1};       // which of its patches are compared
inline constexpr Range paint_colors{0x9002, 1};       // rotations of colours
inline constexpr Range paint_offsets{0x9003, 1};      // where a step's patches begin
inline constexpr Range dropout{0x10000, 0xf0000};     // + layer, + 256 per pass of the network within a step
inline constexpr Range init{0x100000, 0x100000};      // + number of the parameter, + the network's letter << 24
inline constexpr Range crop{0x63726f70, 1};           // "crop": where a picture is cropped
inline constexpr Range mirror{0x6d697272, 1};         // "mirr": whether it is mirrored
inline constexpr Range order{0x6f726472, 2};          // "ordr": the order of an epoch; + domain
inline constexpr Range replacement{0x72706c63, 2};    // "rplc": what stands for a picture that can't be read; + domain

inline constexpr Range all[] = {latents,       samples, augment, between, patches, pool, swd_patches, swd_directions, eval_pictures,
                                paint_directions, paint_pixels, paint_offsets, paint_colors,
                                dropout, init, crop,    mirror,  order,   replacement};

}  // namespace pastiche::streams
