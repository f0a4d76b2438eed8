#ifdef PASTICHE_WEBP
#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#endif

#include <new>

#include "codec.h"

namespace pastiche {
namespace codec {

bool is_webp(Bytes file) { return file.size() >= 12 && text_of(file).starts_with("RIFF") && text_of(file.subspan(8)).starts_with("WEBP"); }

#ifdef PASTICHE_WEBP
namespace {

// A file, and of it the first frame.
class Reader {
 public:
  explicit Reader(Bytes file) {
    const WebPData data{reinterpret_cast<const std::uint8_t*>(file.data()), file.size()};
    demux_.reset(WebPDemux(&data));
    if (demux_ == nullptr || !WebPDemuxGetFrame(demux_.get(), 1, &frame)) broken("WebP", "it is cut short, or no picture is in it");
  }
  ~Reader() { WebPDemuxReleaseIterator(&frame); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  int get(WebPFormatFeature feature) const { return static_cast<int>(WebPDemuxGetI(demux_.get(), feature)); }
  int width() const { return get(WEBP_FF_CANVAS_WIDTH); }
  int height() const { return get(WEBP_FF_CANVAS_HEIGHT); }
  bool has_alpha() const { return frame.has_alpha || frame.width < width() || frame.height < height(); }

  Bytes chunk(const char* name) const {
    WebPChunkIterator found;
    if (!WebPDemuxGetChunk(demux_.get(), name, 1, &found)) return {};
    const Bytes bytes = std::as_bytes(std::span(found.chunk.bytes, found.chunk.size));  // of the file
    WebPDemuxReleaseChunkIterator(&found);
    return bytes;
  }

 private:
  std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demux_{nullptr, WebPDemuxDelete};

 public:
  WebPIterator frame{};
};

}  // namespace

PictureInfo probe_webp(Bytes file) {
  const Reader reader(file);
  Bytes exif = reader.chunk("EXIF");
  constexpr std::string_view marker("Exif\0\0", 6);  // of JPEG; some keep it
  if (text_of(exif).starts_with(marker)) exif = exif.subspan(marker.size());
  const bool alpha = reader.has_alpha();
  return {.mode = alpha ? ColorMode::rgba : ColorMode::rgb,
          .height = reader.height(),
          .width = reader.width(),
          .orientation = exif_orientation(exif),
          .has_alpha = alpha,
          .animated = reader.get(WEBP_FF_FRAME_COUNT) > 1};
}

Image decode_webp(Bytes file) {
  const Reader reader(file);
  const WebPIterator& frame = reader.frame;
  Image image{reader.height(), reader.width(), reader.has_alpha() ? 4 : 3, {}};
  const std::size_t stride = std::size_t(image.width) * image.channels;
  image.pixels.resize(stride * image.height);
  const std::size_t at = frame.y_offset * stride + std::size_t(frame.x_offset) * image.channels;
  const auto decode = image.channels == 4 ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  if (decode(frame.fragment.bytes, frame.fragment.size, image.pixels.data() + at, image.pixels.size() - at, static_cast<int>(stride)) ==
      nullptr) {
    broken("WebP", "its pixels can't be decoded");
  }
  const Bytes profile = reader.chunk("ICCP");
  if (profile.size() <= max_profile_bytes) to_srgb(profile, image);
  return image;
}

#else
namespace {
[[noreturn]] void refuse() { not_built_in("WebP", "libwebp-dev", "ffmpeg -i IN.webp OUT.png"); }
}  // namespace

PictureInfo probe_webp(Bytes) { refuse(); }
Image decode_webp(Bytes) { refuse(); }
#endif

}  // namespace codec

#ifdef PASTICHE_WEBP
std::vector<std::byte> encode_webp(const Image& image, int quality) {
  codec::require_image(image);
  if (image.channels == 1) return encode_webp(convert(image, 3), quality);
  WebPConfig config;
  WebPPicture picture;
  WebPMemoryWriter writer;
  if (!WebPConfigInit(&config) || !WebPPictureInit(&picture)) {
    throw Error(ExitCode::failed, "can't encode a WebP: another libwebp than this was built with");
  }
  config.quality = static_cast<float>(quality);
  config.use_sharp_yuv = 1;
  picture.use_argb = 1;
  picture.width = image.width;
  picture.height = image.height;
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &writer;
  WebPMemoryWriterInit(&writer);
  const std::unique_ptr<WebPPicture, decltype(&WebPPictureFree)> picture_owner(&picture, WebPPictureFree);
  const std::unique_ptr<WebPMemoryWriter, decltype(&WebPMemoryWriterClear)> writer_owner(&writer, WebPMemoryWriterClear);
  const auto import = image.channels == 4 ? WebPPictureImportRGBA : WebPPictureImportRGB;
  if (image.width > WEBP_MAX_DIMENSION || image.height > WEBP_MAX_DIMENSION) {
    throw Error(ExitCode::failed, fmt::format("can't encode a WebP of {}x{}, which has at most {} pixels a side; write a PNG", image.width,
                                              image.height, WEBP_MAX_DIMENSION));
  }
  if (!import(&picture, image.pixels.data(), image.width * image.channels)) throw std::bad_alloc();
  if (!WebPEncode(&config, &picture)) {
    throw Error(ExitCode::failed, fmt::format("can't encode a WebP (error {} of libwebp)", static_cast<int>(picture.error_code)));
  }
  const codec::Bytes bytes = std::as_bytes(std::span(writer.mem, writer.size));
  return {bytes.begin(), bytes.end()};
}
#else
std::vector<std::byte> encode_webp(const Image&, int) {
  throw Error(ExitCode::usage, "WebP is not built in; install libwebp-dev and build again, or write a PNG or JPEG");
}
#endif

}  // namespace pastiche
