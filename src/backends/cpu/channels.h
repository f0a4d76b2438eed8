#pragma once
// Walks over tensors whose last extent is C: line by line, so that lines can be shared out and sums have a fixed order, and in
// pieces wide enough for vectors, so that few channels are as fast as many.
#include <algorithm>

#include "backends/cpu/vectorise.h"

namespace pastiche::cpu {

// Visits a tensor x in the form `from` together with its spatial counterpart y. A piece is `width` consecutive elements of
// both; its element j belongs to channel j % channels. Both are cut into sections, in order, that have sums of their own: one,
// or one a picture; a line is of one section.
class Walk {
 public:
  // [rows, channels], in order, `rows` being of one section
  Walk(std::int64_t rows, std::int64_t channels, std::int64_t sections = 1)
      : channels_(channels),
        wide_(channels * std::max<std::int64_t>(1, 32 / channels)),
        elements_(rows * channels),
        sections_(sections) {
    lines_ = (elements_ + line_pieces * wide_ - 1) / (line_pieces * wide_);
  }
  // [N,2H,2W,K], or anything for `none`
  Walk(Phases from, const Shape& spatial, std::int64_t sections = 1)
      : Walk(spatial.rows() / sections, spatial.last(), sections) {
    from_ = from;
    if (from == Phases::none) return;
    n_ = spatial[0], h_ = spatial[1] / 2, w_ = spatial[2] / 2;
    wide_ = from == Phases::inner ? 2 * channels_ : channels_;
    lines_ = n_ * h_ / sections;
  }

  std::int64_t channels() const { return channels_; }
  std::int64_t wide() const { return wide_; }  // the greatest width of a piece, a multiple of channels
  std::int64_t sections() const { return sections_; }
  std::int64_t lines() const { return lines_; }        // of a section
  std::int64_t elements() const { return elements_; }  // of a section

  // body(offset in x, offset in y, width) for each piece of a line, those of all sections being counted on
  template <class Body> void line(std::int64_t l, Body body) const {
    if (from_ == Phases::none) {
      const std::int64_t section = l / lines_ * elements_, begin = section + l % lines_ * line_pieces * wide_;
      const std::int64_t end = std::min(begin + line_pieces * wide_, section + elements_);
      for (std::int64_t at = begin; at < end; at += wide_) body(at, at, std::min(wide_, end - at));
      return;
    }
    const std::int64_t n = l / h_, h = l % h_, k = channels_, y = l * 4 * w_ * k, y_row = 2 * w_ * k;
    if (from_ == Phases::inner) {  // the phases j = 0 and 1 lie side by side in x as in y
      for (std::int64_t w = 0; w < w_; ++w) {
        const std::int64_t x = (l * w_ + w) * 4 * k;
        body(x, y + w * 2 * k, 2 * k);
        body(x + 2 * k, y + y_row + w * 2 * k, 2 * k);
      }
    } else {
      for (std::int64_t f = 0; f < 4; ++f) {
        const std::int64_t x = ((f * n_ + n) * h_ + h) * w_ * k, to = y + f / 2 * y_row + f % 2 * k;
        for (std::int64_t w = 0; w < w_; ++w) body(x + w * k, to + w * 2 * k, k);
      }
    }
  }

  template <class Body> void all(int threads, Body body) const {
    for_items(threads, sections_ * lines_, elements_ / std::max<std::int64_t>(1, lines_),
              [this, body](std::int64_t l) { line(l, body); });
  }
  // The same with where the line's section begins in a table that spread() made: body(table, offset in x, offset in y, width)
  template <class Body> void all_by_section(int threads, Body body) const {
    for_items(threads, sections_ * lines_, elements_ / std::max<std::int64_t>(1, lines_), [this, body](std::int64_t l) {
      const std::int64_t table = l / lines_ * wide_;
      line(l, [&body, table](std::int64_t x, std::int64_t y, std::int64_t width) { body(table, x, y, width); });
    });
  }

  // A table [sections, wide] of value(section * channels + channel), repeated to the width of a piece.
  template <class Value> void spread(float* table, Value value) const {
    for (std::int64_t s = 0; s < sections_; ++s) {
      float* const wide = table + s * wide_;
      for (std::int64_t c = 0; c < channels_; ++c) wide[c] = value(s * channels_ + c);
      for (std::int64_t j = channels_; j < wide_; ++j) wide[j] = wide[j - channels_];
    }
  }

 private:
  static constexpr std::int64_t line_pieces = 32;  // of [rows, channels]: a line that is worth sharing out

  std::int64_t channels_, wide_, elements_, sections_, lines_ = 0;
  Phases from_ = Phases::none;
  std::int64_t n_ = 0, h_ = 0, w_ = 0;
};

// Two sums for each channel of each section, of terms a and b of each element, or one of a alone.
struct Terms {
  double a, b = 0;
};

// sums [sections, S, channels]: the sums of a, and of b, over the elements of a section and channel, for Terms =
// term(ix, iy, j): an element's places in x and y, and in a table that spread() made. Sums are in double, and their order
// follows from the shape alone, so any number of threads gives the same bits.
template <int S, class Term>
void channel_sums(Backend& backend, int threads, const Walk& walk, double* sums, Term term) {
  const std::int64_t channels = walk.channels(), wide = walk.wide(), lines = walk.lines();
  const std::int64_t chunks = std::clamp<std::int64_t>(std::min(walk.elements() / 16384, lines), 1, 128);
  Scratch<double> scratch(backend, walk.sections() * chunks * S * wide);
  double* const partial = scratch;
  for_items(threads, walk.sections() * chunks, walk.elements() / chunks, [=, &walk](std::int64_t part) {
    const std::int64_t section = part / chunks, chunk = part % chunks;
    double* const sum = partial + part * S * wide;
    std::fill_n(sum, S * wide, 0.0);
    for (std::int64_t l = chunk * lines / chunks; l < (chunk + 1) * lines / chunks; ++l) {
      walk.line(section * lines + l, [=](std::int64_t x, std::int64_t y, std::int64_t width) {
#pragma omp simd
        for (std::int64_t j = 0; j < width; ++j) {
          const Terms terms = term(x + j, y + j, section * wide + j);
          sum[j] += terms.a;
          if constexpr (S == 2) sum[wide + j] += terms.b;
        }
      });
    }
  });
  std::fill_n(sums, walk.sections() * S * channels, 0.0);
  for (std::int64_t part = 0; part < walk.sections() * chunks * S; ++part) {
    double* const sum = sums + (part / (chunks * S) * S + part % S) * channels;
    for (std::int64_t first = 0; first < wide; first += channels) {
      for (std::int64_t c = 0; c < channels; ++c) sum[c] += partial[part * wide + first + c];
    }
  }
}

}  // namespace pastiche::cpu
