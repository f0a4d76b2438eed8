#include <gif_lib.h>

#include <algorithm>
#include <cstring>

#include "codec.h"

namespace pastiche::codec {
namespace {

// A file up to its first picture.
struct Reader {
  Bytes rest;
  std::unique_ptr<GifFileType, void (*)(GifFileType*)> gif{nullptr, [](GifFileType* gif) { DGifCloseFile(gif, nullptr); }};
  GraphicsControlBlock control{.DisposalMode = 0, .UserInputFlag = false, .DelayTime = 0, .TransparentColor = NO_TRANSPARENT_COLOR};

  explicit Reader(Bytes file) : rest(file) {
    int error = 0;
    gif.reset(DGifOpen(this, on_read, &error));
    if (gif == nullptr) broken("GIF", GifErrorString(error));
    if (!to_next_picture()) broken("GIF", "no picture in it");
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  void check(int result) const {
    if (result == GIF_OK) return;
    const char* const reason = GifErrorString(gif->Error);
    broken("GIF", reason == nullptr ? "it is cut short" : reason);
  }

  bool to_next_picture() {
    for (;;) {
      GifRecordType type;
      check(DGifGetRecordType(gif.get(), &type));
      if (type == TERMINATE_RECORD_TYPE) return false;
      if (type == IMAGE_DESC_RECORD_TYPE) {
        check(DGifGetImageDesc(gif.get()));
        return true;
      }
      int code = 0;
      GifByteType* block = nullptr;
      check(DGifGetExtension(gif.get(), &code, &block));
      if (code == GRAPHICS_EXT_FUNC_CODE && block != nullptr) DGifExtensionToGCB(block[0], block + 1, &control);
      while (block != nullptr) check(DGifGetExtensionNext(gif.get(), &block));
    }
  }

  // Most programs make the canvas larger where the first picture does not fit.
  int height() const { return std::max(gif->SHeight, gif->Image.Top + gif->Image.Height); }
  int width() const { return std::max(gif->SWidth, gif->Image.Left + gif->Image.Width); }
  // What the first picture does not cover shows what is behind.
  bool has_alpha() const {
    return control.TransparentColor != NO_TRANSPARENT_COLOR || gif->Image.Height < height() || gif->Image.Width < width();
  }
  const ColorMapObject* map() const { return gif->Image.ColorMap != nullptr ? gif->Image.ColorMap : gif->SColorMap; }

 private:
  static int on_read(GifFileType* gif, GifByteType* out, int count) {
    Bytes& rest = static_cast<Reader*>(gif->UserData)->rest;
    const std::size_t taken = std::min(rest.size(), static_cast<std::size_t>(count));
    if (taken > 0) std::memcpy(out, rest.data(), taken);
    rest = rest.subspan(taken);
    return static_cast<int>(taken);
  }
};

// Whether another picture follows that which the reader has come to.
bool has_more(Reader& reader) {
  int code_size = 0;
  GifByteType* block = nullptr;
  bool more = DGifGetCode(reader.gif.get(), &code_size, &block) == GIF_OK;
  while (more && block != nullptr) more = DGifGetCodeNext(reader.gif.get(), &block) == GIF_OK;
  try {
    return more && reader.to_next_picture();
  } catch (const Error&) {  // what is cut there harms the first picture not
    return false;
  }
}

}  // namespace

bool is_gif(Bytes file) { return text_of(file).starts_with("GIF87a") || text_of(file).starts_with("GIF89a"); }

PictureInfo probe_gif(Bytes file) {
  Reader reader(file);
  if (reader.gif->Image.Height < 1 || reader.gif->Image.Width < 1) broken("GIF", "a picture without pixels");
  if (reader.map() == nullptr) broken("GIF", "no palette");
  PictureInfo info{.mode = ColorMode::palette,
                   .height = reader.height(),
                   .width = reader.width(),
                   .bit_depth = reader.map()->BitsPerPixel,
                   .has_alpha = reader.has_alpha()};
  info.animated = has_more(reader);
  return info;
}

Image decode_gif(Bytes file) {
  Reader reader(file);
  const GifImageDesc& frame = reader.gif->Image;
  const ColorMapObject& map = *reader.map();
  Image image{reader.height(), reader.width(), reader.has_alpha() ? 4 : 3, {}};
  image.pixels.resize(std::size_t(image.height) * image.width * image.channels);
  std::vector<GifPixelType> row(static_cast<std::size_t>(frame.Width));
  struct Pass {
    int first, step;
  };
  static constexpr Pass interlaced[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}}, progressive[] = {{0, 1}};
  for (const auto [first, step] : frame.Interlace ? std::span<const Pass>(interlaced) : std::span<const Pass>(progressive)) {
    for (int y = first; y < frame.Height; y += step) {
      reader.check(DGifGetLine(reader.gif.get(), row.data(), frame.Width));
      std::uint8_t* out = image.pixels.data() + (std::size_t(frame.Top + y) * image.width + frame.Left) * image.channels;
      for (const GifPixelType index : row) {
        const GifColorType color = index < map.ColorCount ? map.Colors[index] : GifColorType{};
        const std::uint8_t rgba[] = {color.Red, color.Green, color.Blue,
                                     static_cast<std::uint8_t>(index == reader.control.TransparentColor ? 0 : 255)};
        out = std::copy_n(rgba, image.channels, out);
      }
    }
  }
  return image;
}

}  // namespace pastiche::codec
