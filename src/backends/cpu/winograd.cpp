#include "backends/cpu/winograd.h"

#include <algorithm>

#include "backends/cpu/conv_plain.h"
#include "backends/cpu/winograd_points.h"
#include "backends/cpu/winograd_product.h"

namespace pastiche::cpu {
namespace {

constexpr std::int64_t points = 6, positions = points * points;  // of an axis, of a tile
static_assert(lanes == BlockProduct::columns);

// Outputs along one axis, cut into spans of 4 and, at the end, of 3. The last span may reach beyond the edge.
struct Axis {
  std::int64_t fours, threes;

  explicit Axis(std::int64_t extent) : fours(0), threes((4 - extent % 4) % 4) {
    if (3 * threes <= extent) fours = (extent - 3 * threes) / 4;
    else threes = (extent + 2) / 3;
  }
  std::int64_t count() const { return fours + threes; }
  std::int64_t span(std::int64_t i) const { return i < fours ? 4 : 3; }
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

  bool first() const { return begin_ == 0; }
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

constexpr std::int64_t block = BlockProduct::rows;  // tiles that are transformed and multiplied together

// Values of all tiles of a band at all positions: [blocks of tiles][channels / lanes][positions][tiles of a block][lanes]. Tiles
// that lack a position are zero there.
class AtPoints {
 public:
  AtPoints(Backend& memory, std::int64_t tiles, std::int64_t channels)
      : panels_(channels / lanes), values_(memory, (tiles + block - 1) / block * block_stride()) {}
  static constexpr std::int64_t panel_stride = (positions + 1) * block * lanes;
  std::int64_t panels() const { return panels_; }
  std::int64_t block_stride() const { return panels_ * panel_stride; }
  float* at(std::int64_t position, std::int64_t panel, std::int64_t tile) {
    return values_.get() + tile / block * block_stride() + panel * panel_stride + (position * block + tile % block) * lanes;
  }

 private:
  std::int64_t panels_;
  Scratch<float> values_;
};

struct alignas(64) Tile {
  float line[points][points][lanes];
};

// Pictures [N,H,W,C] as a transform reads and writes them, or with step 2 their four phases: pixel (y, x) of channel f C + c is
// pixel (2 y + f / 2, 2 x + f % 2) of channel c.
template <class T> struct Pictures {
  T* data;
  std::int64_t h, w, c, step;
  T* pixel(std::int64_t n, std::int64_t y, std::int64_t x, std::int64_t channel, T* outside) const {
    const std::int64_t phase = channel / c, row = step * y + phase / 2, column = step * x + phase % 2;
    return row >= 0 && row < h && column >= 0 && column < w ? data + ((n * h + row) * w + column) * c + channel % c : outside;
  }
};

// Four or Three along one axis.
template <class Four, class Three, class From, class To> void along(std::int64_t span, const From* const* from, To* const* to) {
  if (span == 4) on_lanes<Four>(from, to);
  else on_lanes<Three>(from, to);
}

// body(panel of channels, first tile of a block), on all threads
template <class Body> void for_blocks(int threads, const Band& band, std::int64_t panels, Body body) {
  const std::int64_t blocks = (band.tiles() + block - 1) / block;
  for_items(threads, blocks * panels, positions * block * lanes,
            [=](std::int64_t item) { body(item % panels, item / panels * block); });
}

// The values of a band at the points. A span of M outputs reads M + border values.
template <class Four, class Three, class T>
void evaluate(int threads, const Band& band, AtPoints& to, const Pictures<const T>& from, std::int64_t top, std::int64_t left) {
  constexpr std::int64_t border = Four::from - 4;
  for_blocks(threads, band, to.panels(), [&](std::int64_t panel, std::int64_t first) {
    static constexpr T outside[lanes] = {};
    Tile tile;
    for (std::int64_t t = first; t < first + block; ++t) {
      const Band::Place at = t < band.tiles() ? band.place(t) : Band::Place{};
      const std::int64_t rows = at.height == 0 ? 0 : at.height + 2, columns = at.width == 0 ? 0 : at.width + 2;
      for (std::int64_t p = 0; p < positions; ++p) {
        if (p / points >= rows || p % points >= columns) std::fill_n(to.at(p, panel, t), lanes, 0.0f);
      }
      if (t >= band.tiles()) continue;
      for (std::int64_t r = 0; r < at.height + border; ++r) {
        const T* values[Four::from];
        float* results[points];
        for (std::int64_t s = 0; s < at.width + border; ++s) {
          values[s] = from.pixel(at.n, at.y - top + r, at.x - left + s, panel * lanes, outside);
        }
        for (std::int64_t s = 0; s < columns; ++s) results[s] = tile.line[r][s];
        along<Four, Three>(at.width, values, results);
      }
      for (std::int64_t s = 0; s < columns; ++s) {
        const float* values[Four::from];
        float* results[points];
        for (std::int64_t r = 0; r < at.height + border; ++r) values[r] = tile.line[r][s];
        for (std::int64_t r = 0; r < rows; ++r) results[r] = to.at(r * points + s, panel, t);
        along<Four, Three>(at.height, values, results);
      }
    }
  });
}

template <class T> void interpolate(int threads, const Band& band, const Pictures<T>& to, AtPoints& from) {
  for_blocks(threads, band, from.panels(), [&](std::int64_t panel, std::int64_t first) {
    Tile tile;
    T beyond[lanes];
    for (std::int64_t t = first; t < std::min(first + block, band.tiles()); ++t) {
      const Band::Place at = band.place(t);
      for (std::int64_t r = 0; r < at.height + 2; ++r) {
        const float* values[points];
        float* results[4];
        for (std::int64_t s = 0; s < at.width + 2; ++s) values[s] = from.at(r * points + s, panel, t);
        for (std::int64_t s = 0; s < at.width; ++s) results[s] = tile.line[r][s];
        along<Output4, Output3>(at.width, values, results);
      }
      for (std::int64_t s = 0; s < at.width; ++s) {
        const float* values[points];
        T* results[4];
        for (std::int64_t r = 0; r < at.height + 2; ++r) values[r] = tile.line[r][s];
        for (std::int64_t r = 0; r < at.height; ++r) results[r] = to.pixel(at.n, at.y + r, at.x + s, panel * lanes, beyond);
        along<Output4, Output3>(at.height, values, results);
      }
    }
  });
}

// ---- weights ---------------------------------------------------------------------------------------------------------
// At the points: [positions][outputs / lanes][inputs][lanes].
struct WeightsAtPoints {
  float* data;
  std::int64_t inputs, outputs;
  std::int64_t position_stride() const { return inputs * outputs + 5 * lanes; }
  std::int64_t count() const { return positions * position_stride(); }
  float* at(std::int64_t position, std::int64_t panel, std::int64_t input) const {
    return data + position * position_stride() + (panel * inputs + input) * lanes;
  }
};

// taps: 9 lines. Form is Weights.
void evaluate_weights(const WeightsAtPoints& to, std::int64_t panel, std::int64_t input, const float* const* taps) {
  Tile tile;
  for (std::int64_t r = 0; r < 3; ++r) {
    float* results[points];
    for (std::int64_t s = 0; s < points; ++s) results[s] = tile.line[r][s];
    on_lanes<Weights>(taps + 3 * r, results);
  }
  for (std::int64_t s = 0; s < points; ++s) {
    const float* const values[3] = {tile.line[0][s], tile.line[1][s], tile.line[2][s]};
    float* results[points];
    for (std::int64_t r = 0; r < points; ++r) results[r] = to.at(r * points + s, panel, input);
    on_lanes<Weights>(values, results);
  }
}

// from [outputs,3,3,inputs]
void evaluate_weights(int threads, const WeightsAtPoints& to, const float* from) {
  constexpr std::int64_t part = 16;  // inputs
  const std::int64_t parts = to.inputs / part, inputs = to.inputs;
  for_items(threads, to.outputs / lanes * parts, positions * part * lanes, [=](std::int64_t item) {
    const std::int64_t panel = item / parts, first = item % parts * part;
    float turned[9][part][lanes];
    for (std::int64_t k = 0; k < lanes; ++k) {
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        const float* const line = from + ((panel * lanes + k) * 9 + tap) * inputs + first;
        for (std::int64_t c = 0; c < part; ++c) turned[tap][c][k] = line[c];
      }
    }
    for (std::int64_t c = 0; c < part; ++c) {
      const float* taps[9];
      for (std::int64_t tap = 0; tap < 9; ++tap) taps[tap] = turned[tap][c];
      evaluate_weights(to, panel, first + c, taps);
    }
  });
}

// The same of a convolution whose adjoint is asked for: from [inputs,3,3,outputs], the taps backwards.
void evaluate_reversed_weights(int threads, const WeightsAtPoints& to, const float* from) {
  const std::int64_t panels = to.outputs / lanes, outputs = to.outputs;
  for_items(threads, to.inputs, positions * outputs, [=](std::int64_t input) {
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      const float* taps[9];
      for (std::int64_t tap = 0; tap < 9; ++tap) taps[tap] = from + (input * 9 + 8 - tap) * outputs + panel * lanes;
      evaluate_weights(to, panel, input, taps);
    }
  });
}

// dw [outputs,3,3,inputs] from its gradient at the points, [positions][inputs / lanes][outputs][lanes].
void interpolate_weights(int threads, float* dw, const WeightsAtPoints& from) {
  const std::int64_t outputs = from.inputs, inputs = from.outputs, panels = inputs / lanes;
  for_items(threads, outputs, positions * inputs, [=](std::int64_t k) {
    Tile tile;
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      for (std::int64_t r = 0; r < points; ++r) {
        const float* values[points];
        for (std::int64_t s = 0; s < points; ++s) values[s] = from.at(r * points + s, panel, k);
        float* const results[3] = {tile.line[r][0], tile.line[r][1], tile.line[r][2]};
        on_lanes<WeightsAdjoint>(values, results);
      }
      for (std::int64_t s = 0; s < 3; ++s) {
        const float* values[points];
        float* results[3];
        for (std::int64_t r = 0; r < points; ++r) values[r] = tile.line[r][s];
        for (std::int64_t r = 0; r < 3; ++r) results[r] = dw + (k * 9 + r * 3 + s) * inputs + panel * lanes;
        on_lanes<WeightsAdjoint>(values, results);
      }
    }
  });
}

// ---- stride 2 --------------------------------------------------------------------------------------------------------
// The phases of x (Pictures) are pictures of half the size with four times the channels, and of these it is a convolution with
// stride 1: tap r of phase i is tap 2 (r - top) + i + s.top of w, where there is one. 5x5 taps become 3x3.
ConvShape of_phases(const ConvShape& s) {
  ConvShape t = s;
  t.h = (s.h + 1) / 2, t.w = (s.w + 1) / 2, t.c = 4 * s.c;
  t.r = t.s = 3;
  t.top = (s.top + 1) / 2, t.left = (s.left + 1) / 2;
  t.stride = 1;
  return t;
}

// body(line of w [K,R,S,C], or nullptr; line of its phases [K,3,3,4 C]) for each line of the latter
template <class T, class U> void for_taps(int threads, const ConvShape& s, T* w, U* phases, auto body) {
  for_items(threads, s.k, 36 * s.c, [=](std::int64_t k) {
    for (std::int64_t line = 0; line < 36; ++line) {
      const std::int64_t tap = line / 4, i = line % 4 / 2, j = line % 2;
      const std::int64_t r = 2 * (tap / 3 - (s.top + 1) / 2) + i + s.top, t = 2 * (tap % 3 - (s.left + 1) / 2) + j + s.left;
      const bool exists = r >= 0 && r < s.r && t >= 0 && t < s.s;
      body(exists ? w + ((k * s.r + r) * s.s + t) * s.c : nullptr, phases + (k * 36 + line) * s.c);
    }
  });
}

Tensor weights_of_phases(OneDnn& dnn, const ConvShape& s, const Tensor& w) {
  Tensor phases = Tensor::empty(dnn.memory, {s.k, 3, 3, 4 * s.c});
  for_taps(dnn.threads, s, w.data<float>(), phases.mutable_data<float>(), [c = s.c](const float* from, float* to) {
    if (from != nullptr) std::copy_n(from, c, to);
    else std::fill_n(to, c, 0.0f);
  });
  return phases;
}

// ---- bands -----------------------------------------------------------------------------------------------------------
// Calls body(band) for all bands of a convolution. Measured: a band's values at the points should fit a cache, but each band reads
// all weights at the points, or adds to them.
template <class Body> void for_bands(const ConvShape& s, Body body) {
  const std::int64_t values = std::clamp<std::int64_t>(24 * s.c * s.k, 768 << 10, 4 << 20);
  const Axis rows(s.p), columns(s.q);
  const std::int64_t strips = s.n * rows.count();
  const std::int64_t each = std::max<std::int64_t>(1, values / (positions * (s.c + s.k) * columns.count()));
  for (std::int64_t begin = 0; begin < strips; begin += each) body(Band(rows, columns, begin, std::min(strips, begin + each)));
}

}  // namespace

bool takes_winograd(const ConvShape& s) {
  if (s.dilation != 1 || s.groups != 1 || s.accumulate || s.c % lanes != 0 || s.k % lanes != 0) return false;
  if (s.stride == 2 ? s.r < 4 || s.r > 6 || s.s < 4 || s.s > 6 : s.stride != 1 || s.r != 3 || s.s != 3) return false;
  const ConvShape plain = s.stride == 2 ? of_phases(s) : s;
  if (s.stride == 2 && (2 * (3 - plain.top) + s.top < s.r || 2 * (3 - plain.left) + s.left < s.s)) return false;
  if (s.pass == ConvShape::Pass::dgrad && !can_reverse(plain)) return false;
  return plain.c >= 64 && plain.k >= 64;
}

void winograd_data(OneDnn& dnn, const ConvShape& shape, const Target& to, const Source& from, const Tensor& w,
                   const std::function<Tensor()>& weights) {
  const bool strided = shape.stride == 2, backwards = shape.pass == ConvShape::Pass::dgrad;
  const ConvShape plain = strided ? of_phases(shape) : shape;
  const ConvShape s = backwards ? reversed(plain, ConvShape::Pass::forward) : plain;
  KeptWeights& kept = dnn.kept_weights(s.c, s.k, backwards);
  WeightsAtPoints at_points{nullptr, s.c, s.k};
  std::optional<Scratch<float>> scratch;
  if (!kept.holds(w)) {
    const bool keep = kept.keep(dnn.memory, w, static_cast<std::size_t>(at_points.count()) * sizeof(float));
    at_points.data = keep ? static_cast<float*>(kept.data) : scratch.emplace(dnn.memory, at_points.count()).get();
    const Tensor values = strided ? weights_of_phases(dnn, shape, weights()) : weights();
    if (backwards) evaluate_reversed_weights(dnn.threads, at_points, values.data<float>());
    else evaluate_weights(dnn.threads, at_points, values.data<float>());
  } else {
    at_points.data = static_cast<float*>(kept.data);
  }
  const MultiplyBlock multiply = multiply_block(dnn.has_avx512());
  with_float(from.dtype, to.dtype, [&]<class From, class To>(From, To) {
    const Pictures<const From> x{static_cast<const From*>(from.data), backwards ? shape.p : shape.h, backwards ? shape.q : shape.w,
                                 backwards ? shape.k : shape.c, backwards ? 1 : shape.stride};
    const Pictures<To> y{static_cast<To*>(to.data), backwards ? shape.h : shape.p, backwards ? shape.w : shape.q,
                         backwards ? shape.c : shape.k, backwards ? shape.stride : 1};
    for_bands(s, [&](const Band& band) {
      AtPoints input(dnn.memory, band.tiles(), s.c), output(dnn.memory, band.tiles(), s.k);
      evaluate<Input4, Input3>(dnn.threads, band, input, x, s.top, s.left);
      const BlockProduct product{.runs = s.c / lanes, .steps = lanes, .a_run = AtPoints::panel_stride, .a_step = 1,
                                 .a_row = lanes, .b_run = lanes * lanes};
      const std::int64_t panels = s.k / lanes;
      for_items(dnn.threads, positions * panels, band.tiles() * lanes * s.c, [&](std::int64_t item) {
        const std::int64_t position = item / panels, panel = item % panels;
        const Band::Range range = band.with_position(position);
        for (std::int64_t tile = range.begin / block * block; tile < range.end; tile += block) {
          multiply(product, input.at(position, 0, tile), at_points.at(position, panel, 0), output.at(position, panel, tile));
        }
      });
      interpolate(dnn.threads, band, y, output);
    });
  });
}

void winograd_weights(OneDnn& dnn, const ConvShape& shape, float* dw, const Source& x, const Source& dy) {
  const ConvShape s = shape.stride == 2 ? of_phases(shape) : shape;
  WeightsAtPoints sums{nullptr, s.k, s.c};
  Scratch<float> scratch(dnn.memory, sums.count());
  sums.data = scratch;
  const MultiplyBlock multiply = multiply_block(dnn.has_avx512());
  with_float(x.dtype, dy.dtype, [&]<class From, class To>(From, To) {
    const Pictures<const From> values{static_cast<const From*>(x.data), shape.h, shape.w, shape.c, shape.stride};
    const Pictures<const To> gradients{static_cast<const To*>(dy.data), s.p, s.q, s.k, 1};
    for_bands(s, [&](const Band& band) {
      AtPoints input(dnn.memory, band.tiles(), s.c), output(dnn.memory, band.tiles(), s.k);
      evaluate<Input4, Input3>(dnn.threads, band, input, values, s.top, s.left);
      evaluate<OutputAdjoint4, OutputAdjoint3>(dnn.threads, band, output, gradients, 0, 0);
      const std::int64_t panels = s.c / lanes;
      for_items(dnn.threads, positions * panels, band.tiles() * lanes * s.k, [&](std::int64_t item) {
        const std::int64_t position = item / panels, panel = item % panels;
        const Band::Range range = band.with_position(position);
        const std::int64_t begin = range.begin / block, end = (range.end + block - 1) / block;
        const BlockProduct product{.runs = end - begin, .steps = block, .a_run = output.block_stride(), .a_step = lanes,
                                   .a_row = 1, .b_run = input.block_stride(), .add = !band.first()};
        for (std::int64_t k = 0; k < s.k; k += block) {
          multiply(product, output.at(position, k / lanes, begin * block) + k % lanes, input.at(position, panel, begin * block),
                   sums.at(position, panel, k));
        }
      });
    });
  });
  if (shape.stride == 1) {
    interpolate_weights(dnn.threads, dw, sums);
    return;
  }
  Scratch<float> phases(dnn.memory, 36 * shape.k * shape.c);
  interpolate_weights(dnn.threads, phases, sums);
  for_taps(dnn.threads, shape, dw, phases.get(), [c = shape.c](float* to, const float* from) {
    if (to != nullptr) std::copy_n(from, c, to);
  });
}

}  // namespace pastiche::cpu
