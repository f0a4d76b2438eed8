#include "pastiche/pairs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "folder.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"

namespace pastiche {
namespace {

namespace fs = std::filesystem;

struct Source {
  fs::path path;
  Part part = Part::whole;
};

struct Layout {
  Source a, b;
  std::string text;
};

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  const std::optional<ZipPlace> zip = find_zip(path);
  if (!zip) return fs::is_directory(path, ignored);
  try {
    open_zip(*zip);
    return true;
  } catch (const Error&) {
    return false;
  }
}

Layout find_layout(const fs::path& data, const fs::path& style) {
  if (!style.empty()) return {{data}, {style}, fmt::format("{} and {}", quote(data.native()), quote(style.native()))};
  for (const auto& [a, b] : {std::pair("A", "B"), std::pair("trainA", "trainB")}) {
    if (is_folder(data / a) && is_folder(data / b)) {
      return {{data / a}, {data / b}, fmt::format("{}/ and {}/ of {}", a, b, quote(data.native()))};
    }
  }
  if (!is_folder(data) && !find_zip(data)) {  // opening a damaged one says more
    throw Error(ExitCode::bad_data, fmt::format("no folder or zip {}, expected one with A/ and B/, trainA/ and trainB/, or "
                                                "pictures side by side; or give the second folder with --style",
                                                quote(data.native())));
  }
  return {{data, Part::left_half}, {data, Part::right_half}, fmt::format("side by side in {}", quote(data.native()))};
}

std::unique_ptr<Dataset> open_source(const Source& source, const DataOptions& options) {
  try {
    return open_part(source.path, source.part, options);
  } catch (const Error& error) {
    if (source.part == Part::whole || error.code() != ExitCode::bad_data) throw;
    throw Error(ExitCode::bad_data,
                fmt::format("{} has neither A/ and B/ nor trainA/ and trainB/, so its pictures were taken for pairs "
                            "side by side, but {}; or give the second folder with --style",
                            quote(source.path.native()), error.what()));
  }
}

// Both in one shape.
struct Domains {
  std::shared_ptr<const Dataset> a, b;
};

Domains open_both(const Layout& layout, DataOptions options) {
  Domains both{open_source(layout.a, options), open_source(layout.b, options)};
  if (both.a->height() != both.b->height() || both.a->width() != both.b->width()) {
    throw Error(ExitCode::bad_data,
                fmt::format("pictures of {}x{} and of {}x{} in {}; give --size, and all are cropped "
                            "and resized to it",
                            both.a->width(), both.a->height(), both.b->width(), both.b->height(), layout.text));
  }
  if (both.a->channels() != both.b->channels()) {  // the one is all gray
    options.channels = 3;
    if (both.a->channels() == 1) {
      both.a = open_source(layout.a, options);
    } else {
      both.b = open_source(layout.b, options);
    }
  }
  return both;
}

// Some pictures of another data set, resized where that has another size.
class Subset final : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> whole, std::vector<std::int64_t> indices, int height, int width)
      : Dataset(whole->name()), whole_(std::move(whole)), indices_(std::move(indices)) {
    size_ = static_cast<std::int64_t>(indices_.size());
    height_ = height;
    width_ = width;
    channels_ = whole_->channels();
    skipped_ = whole_->skipped();
    left_out_ = whole_->left_out();
    std::string parts = whole_->fingerprint();
    for (const std::int64_t index : indices_) {
      if (!whole_->labels().empty()) labels_.push_back(whole_->labels()[index]);
      parts += fmt::format(" {}", index);
    }
    fingerprint_ = sha256_hex(std::as_bytes(std::span(parts)));
  }

  std::string picture_name(std::int64_t index) const override { return whole_->picture_name(indices_[index]); }

  void read(std::int64_t index, std::uint8_t* out) const override {
    if (height_ == whole_->height() && width_ == whole_->width()) return whole_->read(indices_[index], out);
    const Image image = fit(whole_->picture(indices_[index]), height_, width_);
    std::copy(image.pixels.begin(), image.pixels.end(), out);
  }

 private:
  const std::shared_ptr<const Dataset> whole_;
  const std::vector<std::int64_t> indices_;
};

// What the two of a pair have in common.
std::string key_of(const Dataset& data, std::int64_t index) {
  return fs::path(data.picture_name(index)).replace_extension().native();
}

using Keys = std::map<std::string, std::int64_t>;

Keys keys_of(const Dataset& data, std::vector<SkippedFile>& unmatched) {
  Keys keys;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const auto [other, added] = keys.emplace(key_of(data, i), i);
    if (!added) unmatched.push_back({data.picture_name(i), "is named like " + quote(data.picture_name(other->second))});
  }
  return keys;
}

// Indices of pictures, for pairs in the same order.
struct Chosen {
  std::vector<std::int64_t> a, b;
};

Chosen match(const Domains& both, const Layout& layout, std::vector<SkippedFile>& unmatched) {
  const Keys a = keys_of(*both.a, unmatched);
  const Keys b = keys_of(*both.b, unmatched);
  Chosen chosen;
  for (const auto& [key, index] : a) {
    if (const auto partner = b.find(key); partner != b.end()) {
      chosen.a.push_back(index);
      chosen.b.push_back(partner->second);
    } else {
      unmatched.push_back({both.a->picture_name(index), "has no partner in " + quote(layout.b.path.native())});
    }
  }
  for (const auto& [key, index] : b) {
    if (a.contains(key)) continue;
    unmatched.push_back({both.b->picture_name(index), "has no partner in " + quote(layout.a.path.native())});
  }
  return chosen;
}

void require_pairs(const Domains& both, const Layout& layout, const Chosen& chosen,
                   const std::vector<SkippedFile>& unmatched, bool strict) {
  if (chosen.a.empty()) {
    throw Error(ExitCode::bad_data,
                fmt::format("no pair in {}: {} and {} pictures, such as {} and {}, expected files of "
                            "one name but for the extension",
                            layout.text, both.a->size(), both.b->size(), quote(both.a->picture_name(0)),
                            quote(both.b->picture_name(0))));
  }
  if (strict && !unmatched.empty()) {
    throw Error(ExitCode::bad_data,
                fmt::format("{} pictures in {} have no partner, expected none with --strict; the "
                            "first is {}: {}",
                            unmatched.size(), layout.text, quote(unmatched[0].file), unmatched[0].reason));
  }
}

// Moves `part` of the pictures from `chosen` to the result: those whose keys have the least hashes, so that the two of
// a pair go together, and few change sides when pictures are added.
std::vector<std::int64_t> hold_out(const Dataset& data, std::vector<std::int64_t>& chosen, double part) {
  if (part == 0) return {};
  const std::size_t count = std::max<std::size_t>(1, std::lround(part * static_cast<double>(chosen.size())));
  if (count >= chosen.size()) {
    throw Error(ExitCode::bad_data, fmt::format("{} held out of {} pictures in all leaves none for training; give more "
                                                "pictures or hold out less",
                                                count, chosen.size()));
  }
  std::vector<std::pair<std::string, std::size_t>> order;  // hash, position in `chosen`
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::string key = key_of(data, chosen[i]);
    order.emplace_back(sha256_hex(std::as_bytes(std::span(key))), i);
  }
  std::sort(order.begin(), order.end());
  std::vector<bool> is_held(chosen.size());
  for (std::size_t i = 0; i < count; ++i) is_held[order[i].second] = true;
  std::vector<std::int64_t> held, rest;
  for (std::size_t i = 0; i < chosen.size(); ++i) (is_held[i] ? held : rest).push_back(chosen[i]);
  chosen = std::move(rest);
  return held;
}

void require_options(const DomainOptions& options) {
  if (!(options.holdout >= 0 && options.holdout < 1)) {
    throw Error(ExitCode::usage, fmt::format("{} of the pictures held out, expected 0 to below 1", options.holdout));
  }
  if (options.load_height == 0 && options.load_width == 0) return;
  if (options.data.height == 0 || options.load_height < options.data.height ||
      options.load_width < options.data.width) {
    throw Error(ExitCode::usage,
                fmt::format("a load size of {}x{} for {}x{}, expected a size, and at least that to load",
                            options.load_width, options.load_height, options.data.width, options.data.height));
  }
}

LoaderOptions of_domain(const DomainPair& data, LoaderOptions options, std::uint32_t domain) {
  options.crop_height = data.height;
  options.crop_width = data.width;
  options.domain = data.pairing == Pairing::paired ? 0 : domain;
  if (data.pairing == Pairing::paired) options.threads *= 2;  // one loader of both
  return options;
}

}  // namespace

DomainPair open_domains(const fs::path& data, const fs::path& style, Pairing pairing, const DomainOptions& options) {
  require_options(options);
  const Layout layout = find_layout(data, style);
  DataOptions load = options.data;
  load.links_count = pairing == Pairing::paired;  // one picture may be the source of several
  if (options.load_height != 0) {
    load.height = options.load_height;
    load.width = options.load_width;
  }
  const Domains both = open_both(layout, load);
  DomainPair result;
  result.pairing = pairing;
  result.height = options.data.height != 0 ? options.data.height : both.a->height();
  result.width = options.data.width != 0 ? options.data.width : both.a->width();
  result.channels = both.a->channels();
  result.name = style.empty() ? short_name(data) : both.a->name() == both.b->name() ? both.a->name() : both.a->name() + "-" + both.b->name();
  Chosen chosen;
  if (pairing == Pairing::paired) {
    chosen = match(both, layout, result.unmatched);
    require_pairs(both, layout, chosen, result.unmatched, options.data.strict);
  } else {
    chosen.a.resize(both.a->size());
    chosen.b.resize(both.b->size());
    std::iota(chosen.a.begin(), chosen.a.end(), std::int64_t{0});
    std::iota(chosen.b.begin(), chosen.b.end(), std::int64_t{0});
  }
  result.summary = layout.text + ": ";
  result.summary += pairing == Pairing::paired ? fmt::format("{} pairs", chosen.a.size())
                                               : fmt::format("{} and {} pictures", chosen.a.size(), chosen.b.size());
  const Chosen held{hold_out(*both.a, chosen.a, options.holdout), hold_out(*both.b, chosen.b, options.holdout)};
  if (pairing == Pairing::paired && !held.a.empty())
    result.summary += fmt::format(", {} of them held out", held.a.size());
  if (pairing == Pairing::unpaired && !held.a.empty()) {
    result.summary += fmt::format(", {} and {} of them held out", held.a.size(), held.b.size());
  }
  // Halves are of one file, so what one can't use the other can't.
  const std::size_t unusable = both.a->skipped().size() + (layout.b.part == Part::whole ? both.b->skipped().size() : 0);
  if (!result.unmatched.empty()) result.summary += fmt::format("; {} unmatched", result.unmatched.size());
  if (unusable > 0) result.summary += fmt::format("; {} unusable", unusable);
  result.left_out = both.a->left_out();
  if (layout.b.part == Part::whole) {
    for (const auto& [kind, count] : both.b->left_out()) result.left_out[kind] += count;
  }

  const int load_height = both.a->height();
  const int load_width = both.a->width();
  result.a = std::make_unique<Subset>(both.a, std::move(chosen.a), load_height, load_width);
  result.b = std::make_unique<Subset>(both.b, std::move(chosen.b), load_height, load_width);
  result.holdout_a = std::make_unique<Subset>(both.a, held.a, result.height, result.width);
  result.holdout_b = std::make_unique<Subset>(both.b, held.b, result.height, result.width);
  const std::string prints = result.a->fingerprint() + result.b->fingerprint();
  result.fingerprint = sha256_hex(std::as_bytes(std::span(prints)));
  return result;
}

PairLoader::PairLoader(const DomainPair& data, const LoaderOptions& options)
    : a_(data.pairing == Pairing::paired ? BatchLoader(*data.a, *data.b, of_domain(data, options, 0))
                                         : BatchLoader(*data.a, of_domain(data, options, 0))) {
  if (data.pairing == Pairing::unpaired) b_.emplace(*data.b, of_domain(data, options, 1));
}

PairBatch PairLoader::next() {
  const std::vector<Batch>& batches = a_.next_of_all();
  return {batches[0], b_ ? b_->next() : batches[1]};
}

std::vector<SkippedFile> PairLoader::take_replaced() {
  std::vector<SkippedFile> replaced = a_.take_replaced();
  if (!b_) return replaced;
  for (SkippedFile& file : b_->take_replaced()) replaced.push_back(std::move(file));
  return replaced;
}

}  // namespace pastiche
