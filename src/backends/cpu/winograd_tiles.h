#pragma once
// How the outputs of a Winograd convolution are cut into tiles.
#include <algorithm>
#include <cstdint>

namespace pastiche::cpu {

constexpr std::int64_t points = 6, positions = points * points;  // of an axis, of a tile

// Outputs along one axis, cut into spans of 4 and, at the end, of 3. The last span may reach beyond the edge.
struct Axis {
  std::int64_t fours, threes;

  explicit Axis(std::int64_t extent) : fours(0), threes((4 - extent % 4) % 4) {
    if (3 * threes <= extent) fours = (extent - 3 * threes) / 4;
    else threes = (extent + 2) / 3;
  }
  std::int64_t count() const { return fours + threes; }
  std::int64_t first(std::int64_t i) const { return i < fours ? 4 * i : 4 * fours + 3 * (i - fours); }
};

// Strips are the spans of rows of all pictures, counted through. A band is some of them, which are computed together. Its tiles
// stand in the order 4x3, 4x4, 3x4, 3x3 (rows x columns), so that those that have a position are next to each other: the last
// point of an axis exists in spans of 4 only.
class Band {
 public:
  Band(const Axis& rows, const Axis& columns, std::int64_t begin, std::int64_t end)
      : rows_(rows), columns_(columns), begin_(begin), first_four_(fours_before(begin)),
        fours_(fours_before(end) - first_four_), threes_(end - begin - fours_) {}

  std::int64_t tiles() const { return (fours_ + threes_) * columns_.count(); }

  struct Place {
    std::int64_t n, y, x, height, width;  // of the outputs
  };
  Place place(std::int64_t tile) const {
    const std::int64_t four_rows = fours_ * columns_.count();
    const bool tall = tile < four_rows;
    const std::int64_t strips = tall ? fours_ : threes_, in_rows = tall ? tile : tile - four_rows;
    // 4x3 stand before 4x4, but 3x4 before 3x3.
    const std::int64_t first_part = strips * (tall ? columns_.threes : columns_.fours);
    const bool second = in_rows >= first_part, wide = tall == second;
    const std::int64_t in_part = second ? in_rows - first_part : in_rows;
    const std::int64_t width = wide ? columns_.fours : columns_.threes;
    const std::int64_t strip = in_part / width + (tall ? first_four_ : begin_ - first_four_);
    const std::int64_t height = tall ? rows_.fours : rows_.threes;
    return {strip / height, rows_.first(strip % height + (tall ? 0 : rows_.fours)),
            columns_.first(in_part % width + (wide ? 0 : columns_.fours)), tall ? 4 : 3, wide ? 4 : 3};
  }

  struct Range {
    std::int64_t begin, end;  // tiles
  };
  Range with_position(std::int64_t position) const {
    const bool last_row = position / points == points - 1, last_column = position % points == points - 1;
    const std::int64_t four_rows = fours_ * columns_.count();
    return {last_column ? fours_ * columns_.threes : 0,
            last_row ? four_rows : last_column ? four_rows + threes_ * columns_.fours : tiles()};
  }

 private:
  std::int64_t fours_before(std::int64_t strip) const {
    return strip / rows_.count() * rows_.fours + std::min(strip % rows_.count(), rows_.fours);
  }

  Axis rows_, columns_;
  std::int64_t begin_, first_four_, fours_, threes_;  // strips
};

}  // namespace pastiche::cpu
