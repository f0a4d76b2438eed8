#pragma once
// Which way the cpu backend computes a convolution. `pastiche bench --retune` measures, and rewrites the numbers of this file;
// what they were is part of the backend's fingerprint, as others give other bits.

namespace pastiche {

struct ConvRules {
  // By Winograd's algorithm from so many channels on, of the input and of the output alike; 0: never.
  struct Winograd {
    int forward = 0, dgrad = 0, wgrad = 0;
  };
  // Of 3x3 taps with stride 1, and of 5x5 and 6x6 with stride 2.
  Winograd f32 = {}, f32_stride2 = {}, bf16 = {}, bf16_stride2 = {};
  // By scattering up to so many channels on the side that is written; 0: never.
  int scatter_f32 = 0, scatter_bf16 = 0;
};

// Measured on AMD EPYC, 2 threads.
inline constexpr ConvRules conv_rules{
    .f32 = {64, 64, 64},
    .f32_stride2 = {64, 64, 64},
    .bf16 = {96, 128, 96},
    .bf16_stride2 = {0, 0, 64},
    .scatter_f32 = 8,
    .scatter_bf16 = 4,
};

}  // namespace pastiche
