#include <gif_lib.h>

#include <algorithm>
#include <memory>
#include <new>
#include <numeric>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "codec.h"

namespace pastiche {
namespace {

using Rgb = std::array<std::uint8_t, 3>;

// A colour of at most 8 bits a channel, and how many pixels have it.
struct Bin {
  Rgb color;
  std::int64_t count;
};

struct Palette {
  std::vector<Rgb> colors;
  int shift = 0;  // bits a channel loses before it is looked up
  std::unordered_map<std::uint32_t, std::uint8_t> index;
};

std::uint32_t key_of(const std::uint8_t* rgb, int shift) {
  return std::uint32_t(rgb[0] >> shift) << 16 | (rgb[1] >> shift) << 8 | rgb[2] >> shift;
}

// Of the colours of all frames with `shift` bits fewer a channel; none where there are more than `limit`.
std::vector<Bin> histogram(std::span<const Image> frames, int shift, std::size_t limit) {
  std::unordered_map<std::uint32_t, std::int64_t> counts;
  for (const Image& frame : frames) {
    for (std::size_t i = 0; i < frame.pixels.size(); i += 3) {
      ++counts[key_of(frame.pixels.data() + i, shift)];
      if (counts.size() > limit) return {};
    }
  }
  std::vector<Bin> bins;
  for (const auto& [key, count] : counts) {
    bins.push_back({{std::uint8_t(key >> 16), std::uint8_t(key >> 8 & 0xff), std::uint8_t(key & 0xff)}, count});
  }
  // The table's order is the standard library's own business.
  std::sort(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return a.color < b.color; });
  return bins;
}

int widest_channel(std::span<const Bin> box, int& width) {
  int widest = 0;
  width = -1;
  for (int c = 0; c < 3; ++c) {
    const auto [low, high] = std::minmax_element(box.begin(), box.end(),
                                                 [c](const Bin& a, const Bin& b) { return a.color[c] < b.color[c]; });
    const int extent = high->color[c] - low->color[c];
    if (extent > width) width = extent, widest = c;
  }
  return widest;
}

std::int64_t pixels_in(std::span<const Bin> box) {
  return std::accumulate(box.begin(), box.end(), std::int64_t{0},
                         [](std::int64_t sum, const Bin& bin) { return sum + bin.count; });
}

// Heckbert, "Color image quantization for frame buffer display", SIGGRAPH 1982: the box where colours spread most is
// split at its median until there are 256.
std::vector<std::span<Bin>> median_cut(std::span<Bin> bins) {
  struct Candidate {
    std::span<Bin> box;
    int channel;
    std::int64_t spread;
  };
  const auto candidate = [](std::span<Bin> box) {
    int width;
    const int channel = widest_channel(box, width);
    return Candidate{box, channel, width * pixels_in(box)};
  };
  std::vector<Candidate> boxes{candidate(bins)};
  while (boxes.size() < 256) {
    auto& widest = *std::max_element(boxes.begin(), boxes.end(),
                                     [](const Candidate& a, const Candidate& b) { return a.spread < b.spread; });
    if (widest.spread == 0) break;
    const auto [box, channel, spread] = widest;
    std::stable_sort(box.begin(), box.end(),
                     [c = channel](const Bin& a, const Bin& b) { return a.color[c] < b.color[c]; });
    const std::int64_t half = pixels_in(box) / 2;
    std::size_t cut = 1;
    for (std::int64_t below = box[0].count; cut + 1 < box.size() && below + box[cut].count <= half; ++cut) {
      below += box[cut].count;
    }
    widest = candidate(box.first(cut));
    boxes.push_back(candidate(box.subspan(cut)));
  }
  std::vector<std::span<Bin>> result;
  for (const Candidate& box : boxes) result.push_back(box.box);
  return result;
}

Palette palette_of(std::span<const Image> frames) {
  Palette palette;
  std::vector<Bin> bins = histogram(frames, 0, 256);
  if (bins.empty()) {
    palette.shift = 3;
    bins = histogram(frames, palette.shift, std::size_t{1} << 15);
  }
  for (const std::span<const Bin> box : median_cut(bins)) {
    const std::int64_t pixels = pixels_in(box);
    Rgb mean;
    for (int c = 0; c < 3; ++c) {
      std::int64_t sum = pixels / 2;
      for (const Bin& bin : box) {
        const int value = palette.shift == 0 ? bin.color[c] : bin.color[c] * 255 / 31;
        sum += value * bin.count;
      }
      mean[c] = static_cast<std::uint8_t>(sum / pixels);
    }
    for (const Bin& bin : box) {
      palette.index[key_of(bin.color.data(), 0)] = static_cast<std::uint8_t>(palette.colors.size());
    }
    palette.colors.push_back(mean);
  }
  return palette;
}

struct Writer {
  std::vector<std::byte> bytes;
  GifFileType* gif;

  Writer() : gif(EGifOpen(this, on_bytes, nullptr)) {
    if (gif == nullptr) throw std::bad_alloc();
  }
  ~Writer() { close(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void check(int result) {
    if (result == GIF_OK) return;
    const char* reason = GifErrorString(gif == nullptr ? 0 : gif->Error);
    throw Error(ExitCode::failed, fmt::format("can't encode a GIF: {}", reason == nullptr ? "unknown error" : reason));
  }

  int close() { return gif == nullptr ? GIF_OK : EGifCloseFile(std::exchange(gif, nullptr), nullptr); }

  static int on_bytes(GifFileType* gif, const GifByteType* data, int count) {
    auto& bytes = static_cast<Writer*>(gif->UserData)->bytes;
    try {
      const auto* begin = reinterpret_cast<const std::byte*>(data);
      bytes.insert(bytes.end(), begin, begin + count);
      return count;
    } catch (const std::bad_alloc&) {  // must not fly through C code
      return 0;
    }
  }
};

}  // namespace

std::vector<std::byte> encode_gif(std::span<const Image> frames, int delay_ms) {
  if (frames.empty() || delay_ms < 1 || delay_ms > 655350) {
    throw Error(ExitCode::usage, fmt::format("an animation of {} frames of {} ms, expected at least one frame and 1 to "
                                             "655350 ms",
                                             frames.size(), delay_ms));
  }
  const int height = frames[0].height;
  const int width = frames[0].width;
  std::vector<Image> pictures;
  for (const Image& frame : frames) {
    codec::require_image(frame);
    if (frame.height != height || frame.width != width || height > 65535 || width > 65535) {
      throw Error(ExitCode::usage, "an animation of pictures that differ in size or have a side over 65535 pixels");
    }
    pictures.push_back(convert(frame, 3));
  }
  const Palette palette = palette_of(pictures);

  Writer writer;
  GifFileType* gif = writer.gif;
  EGifSetGifVersion(gif, true);
  const int bits = std::max(1, GifBitSize(static_cast<int>(palette.colors.size())));
  const std::unique_ptr<ColorMapObject, decltype(&GifFreeMapObject)> map(GifMakeMapObject(1 << bits, nullptr),
                                                                         GifFreeMapObject);
  if (map == nullptr) throw std::bad_alloc();
  for (std::size_t i = 0; i < palette.colors.size(); ++i) {
    const Rgb& color = palette.colors[i];
    map->Colors[i] = {color[0], color[1], color[2]};
  }
  writer.check(EGifPutScreenDesc(gif, width, height, bits, 0, map.get()));
  writer.check(EGifPutExtensionLeader(gif, APPLICATION_EXT_FUNC_CODE));
  writer.check(EGifPutExtensionBlock(gif, 11, "NETSCAPE2.0"));
  writer.check(EGifPutExtensionBlock(gif, 3, "\1\0\0"));  // repeats for ever
  writer.check(EGifPutExtensionTrailer(gif));

  GraphicsControlBlock control{};
  control.DisposalMode = DISPOSE_DO_NOT;
  control.DelayTime = std::max(1, (delay_ms + 5) / 10);
  control.TransparentColor = NO_TRANSPARENT_COLOR;
  std::array<GifByteType, 4> extension;
  EGifGCBToExtension(&control, extension.data());
  std::vector<GifPixelType> row(width);
  for (const Image& picture : pictures) {
    writer.check(EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, 4, extension.data()));
    writer.check(EGifPutImageDesc(gif, 0, 0, width, height, false, nullptr));
    const std::uint8_t* in = picture.pixels.data();
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x, in += 3) row[x] = palette.index.at(key_of(in, palette.shift));
      writer.check(EGifPutLine(gif, row.data(), width));
    }
  }
  writer.check(writer.close());
  return std::move(writer.bytes);
}

}  // namespace pastiche
