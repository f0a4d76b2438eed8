#include <lcms2.h>

#include <algorithm>
#include <cstdlib>

#include "codec.h"

namespace pastiche::codec {
namespace {

using Profile = std::unique_ptr<void, int (*)(void*)>;

Profile own(cmsHPROFILE profile) { return {profile, [](void* p) { return p == nullptr ? 0 : cmsCloseProfile(p); }}; }

// sRGB, or gray of its lightness.
Profile srgb(bool gray) {
  Profile rgb = own(cmsCreate_sRGBProfile());
  if (!gray) return rgb;
  return own(cmsCreateGrayProfile(cmsD50_xyY(), static_cast<const cmsToneCurve*>(cmsReadTag(rgb.get(), cmsSigRedTRCTag))));
}

struct Format {
  cmsUInt32Number from, to;
  int channels, colors;
};

Format format_of(ProfilePixels pixels) {
  switch (pixels) {
    case ProfilePixels::gray: return {TYPE_GRAY_8, TYPE_GRAY_8, 1, 1};
    case ProfilePixels::gray_alpha: return {TYPE_GRAYA_8, TYPE_GRAYA_8, 2, 1};
    case ProfilePixels::rgb: return {TYPE_RGB_8, TYPE_RGB_8, 3, 3};
    case ProfilePixels::rgba: return {TYPE_RGBA_8, TYPE_RGBA_8, 4, 3};
    case ProfilePixels::cmyk: return {TYPE_CMYK_8, TYPE_RGB_8, 4, 4};
    case ProfilePixels::lab: return {TYPE_Lab_8, TYPE_RGB_8, 3, 3};
    default: return {TYPE_CMYK_8_REV, TYPE_RGB_8, 4, 4};
  }
}

}  // namespace

ToSrgb::ToSrgb(Bytes profile, ProfilePixels pixels) : transform_(nullptr, cmsDeleteTransform) {
  const Format format = format_of(pixels);
  const Profile from = own(pixels == ProfilePixels::lab ? cmsCreateLab4Profile(nullptr)
                                                        : cmsOpenProfileFromMem(profile.data(), static_cast<cmsUInt32Number>(profile.size())));
  const Profile to = srgb(format.colors == 1);
  if (from == nullptr || to == nullptr) return;
  // lcms2 makes a coarse table of what it is to do with gray, unless told not to.
  const cmsUInt32Number flags = cmsFLAGS_COPY_ALPHA | (format.colors == 1 ? cmsFLAGS_NOOPTIMIZE : 0);
  // Null also where the profile is of other colours than the pixels.
  transform_.reset(cmsCreateTransform(from.get(), format.from, to.get(), format.to, INTENT_PERCEPTUAL, flags));
  if (transform_ == nullptr || format.colors == 4) return;
  // Most profiles are those of sRGB, in one of many spellings: what moves no colour by more than a level is left out.
  constexpr int steps = 9;
  std::vector<std::uint8_t> before, after;
  for (int i = 0; i < steps * steps * steps; ++i) {
    const int levels[] = {i % steps, i / steps % steps, i / steps / steps};
    for (int c = 0; c < format.channels; ++c) {
      before.push_back(static_cast<std::uint8_t>(c < format.colors ? levels[c] * 255 / (steps - 1) : 255));
    }
  }
  after.resize(before.size());
  (*this)(before.data(), after.data(), before.size() / static_cast<std::size_t>(format.channels));
  const bool same = std::equal(before.begin(), before.end(), after.begin(), [](int a, int b) { return std::abs(a - b) <= 1; });
  if (same) transform_.reset();
}

void ToSrgb::operator()(const std::uint8_t* from, std::uint8_t* to, std::size_t pixels) const {
  cmsDoTransform(transform_.get(), from, to, static_cast<cmsUInt32Number>(pixels));
}

void to_srgb(Bytes profile, Image& image) {
  if (profile.empty()) return;
  constexpr ProfilePixels kinds[] = {ProfilePixels::gray, ProfilePixels::gray_alpha, ProfilePixels::rgb, ProfilePixels::rgba};
  const ToSrgb transform(profile, kinds[image.channels - 1]);
  if (transform) transform(image.pixels.data(), image.pixels.data(), image.pixels.size() / static_cast<std::size_t>(image.channels));
}

}  // namespace pastiche::codec
