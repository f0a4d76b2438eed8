#include "backends/cpu/winograd.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

#include "backends/cpu/conv_plain.h"
#include "backends/cpu/winograd_points.h"
#include "backends/cpu/winograd_product.h"
#include "backends/cpu/winograd_tiles.h"

namespace pastiche::cpu {
namespace {

using Pass = ConvShape::Pass;

static_assert(lanes == BlockProduct::columns);
constexpr std::int64_t block = BlockProduct::rows;  // tiles that are transformed and multiplied together

// ---- pictures and their values at the points -------------------------------------------------------------------------
// Values of all tiles of a band at all positions: [blocks of tiles][channels / lanes][positions][tiles of a block][lanes]. Tiles
// that lack a position are zero there.
struct TileValues {
  float* data;
  std::int64_t panels;  // of `lanes` channels

  // Not a multiple of a page, so that the panels of a position do not share a cache's sets.
  static constexpr std::int64_t panel_stride = (positions + 1) * block * lanes;
  std::int64_t block_stride() const { return panels * panel_stride; }
  float* at(std::int64_t position, std::int64_t panel, std::int64_t tile) const {
    return data + tile / block * block_stride() + panel * panel_stride + (position * block + tile % block) * lanes;
  }
  static std::int64_t count(std::int64_t tiles, std::int64_t channels) {
    return (tiles + block - 1) / block * (channels / lanes) * panel_stride;
  }
};

// Pictures [N,H,W,C] as a transform sees them. With step 2 it sees their four phases, of half the size: pixel (y, x) of channel
// f C + c is pixel (2 y + f / 2, 2 x + f % 2) of channel c. It begins at channel `first`.
template <class T> struct Pictures {
  T* data;
  std::int64_t h, w, c;
  std::int64_t step = 1, first = 0;

  class Panel {
   public:
    Panel(const Pictures& all, std::int64_t channel)
        : data_(all.data + channel % all.c), h_(all.h), w_(all.w), c_(all.c), step_(all.step),
          i_(channel / all.c / 2), j_(channel / all.c % 2) {}
    T* pixel(std::int64_t n, std::int64_t y, std::int64_t x, T* outside) const {
      const std::int64_t row = step_ * y + i_, column = step_ * x + j_;
      return row >= 0 && row < h_ && column >= 0 && column < w_ ? data_ + ((n * h_ + row) * w_ + column) * c_ : outside;
    }

   private:
    T* data_;
    std::int64_t h_, w_, c_, step_, i_, j_;
  };
  Panel panel(std::int64_t panel) const { return {*this, first + panel * lanes}; }
};

struct alignas(64) Tile {
  float line[points][points][lanes];
};

// Four or Three along one axis.
template <class Four, class Three, class From, class To> void along(std::int64_t span, const From* const* from, To* const* to) {
  if (span == 4) on_lanes<Four>(from, to);
  else on_lanes<Three>(from, to);
}

// body(panel, first tile of a block)
template <class Body> void for_blocks(int threads, const Band& band, std::int64_t panels, Body body) {
  const std::int64_t blocks = (band.tiles() + block - 1) / block;
  for_items(threads, blocks * panels, positions * block * lanes,
            [=](std::int64_t item) { body(item % panels, item / panels * block); });
}

// Values to points. A span of M outputs reads M + border values.
template <class Four, class Three, class T>
void evaluate(int threads, const Band& band, const TileValues& to, const Pictures<const T>& pictures, std::int64_t top,
              std::int64_t left) {
  constexpr std::int64_t border = Four::from - 4;
  for_blocks(threads, band, to.panels, [&](std::int64_t panel, std::int64_t first) {
    static constexpr T outside[lanes] = {};
    const auto from = pictures.panel(panel);
    Tile tile;
    for (std::int64_t t = first; t < first + block; ++t) {
      const bool exists = t < band.tiles();
      const Band::Place at = exists ? band.place(t) : Band::Place{};
      const std::int64_t rows = exists ? at.height + 2 : 0, columns = exists ? at.width + 2 : 0;
      for (std::int64_t p = 0; p < positions; ++p) {
        if (p / points >= rows || p % points >= columns) std::fill_n(to.at(p, panel, t), lanes, 0.0f);
      }
      if (!exists) continue;
      for (std::int64_t r = 0; r < at.height + border; ++r) {
        const T* values[Four::from];
        float* results[points];
        for (std::int64_t s = 0; s < at.width + border; ++s) {
          values[s] = from.pixel(at.n, at.y - top + r, at.x - left + s, outside);
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

// Points to values.
template <class T> void interpolate(int threads, const Band& band, const Pictures<T>& pictures, const TileValues& from) {
  for_blocks(threads, band, from.panels, [&](std::int64_t panel, std::int64_t first) {
    const auto to = pictures.panel(panel);
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
        for (std::int64_t r = 0; r < at.height; ++r) results[r] = to.pixel(at.n, at.y + r, at.x + s, beyond);
        along<Output4, Output3>(at.height, values, results);
      }
    }
  });
}

// ---- weights ---------------------------------------------------------------------------------------------------------
// At the points: [positions][b / lanes][a][lanes], for channels a and b.
struct WeightValues {
  float* data;
  std::int64_t a, b;
  float* at(std::int64_t position, std::int64_t panel, std::int64_t i) const {
    return data + position * position_stride(a, b) + (panel * a + i) * lanes;
  }
  static std::int64_t count(std::int64_t a, std::int64_t b) { return positions * position_stride(a, b); }

 private:
  // Likewise: positions a multiple of a page apart would share a cache's sets.
  static std::int64_t position_stride(std::int64_t a, std::int64_t b) { return a * b + 5 * lanes; }
};

void evaluate_taps(const WeightValues& to, std::int64_t panel, std::int64_t i, const float* const* taps) {
  Tile tile;
  for (std::int64_t r = 0; r < 3; ++r) {
    float* results[points];
    for (std::int64_t s = 0; s < points; ++s) results[s] = tile.line[r][s];
    on_lanes<Weights>(taps + 3 * r, results);
  }
  for (std::int64_t s = 0; s < points; ++s) {
    const float* const values[3] = {tile.line[0][s], tile.line[1][s], tile.line[2][s]};
    float* results[points];
    for (std::int64_t r = 0; r < points; ++r) results[r] = to.at(r * points + s, panel, i);
    on_lanes<Weights>(values, results);
  }
}

// For channels first .. first + to.b of w [K,3,3,to.a].
void evaluate_weights(int threads, const WeightValues& to, const float* w, std::int64_t first) {
  constexpr std::int64_t part = 16;  // of a
  const std::int64_t parts = to.a / part;
  for_items(threads, to.b / lanes * parts, positions * part * lanes, [=](std::int64_t item) {
    const std::int64_t panel = item / parts, begin = item % parts * part;
    float turned[9][part][lanes];
    for (std::int64_t k = 0; k < lanes; ++k) {
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        const float* const line = w + ((first + panel * lanes + k) * 9 + tap) * to.a + begin;
        for (std::int64_t i = 0; i < part; ++i) turned[tap][i][k] = line[i];
      }
    }
    for (std::int64_t i = 0; i < part; ++i) {
      const float* taps[9];
      for (std::int64_t tap = 0; tap < 9; ++tap) taps[tap] = turned[tap][i];
      evaluate_taps(to, panel, begin + i, taps);
    }
  });
}

// The adjoint's: for channels first .. first + to.b of w [to.a,3,3,C], the taps backwards.
void evaluate_reversed(int threads, const WeightValues& to, const float* w, std::int64_t c, std::int64_t first) {
  for_items(threads, to.a, positions * to.b, [=](std::int64_t i) {
    for (std::int64_t panel = 0; panel < to.b / lanes; ++panel) {
      const float* taps[9];
      for (std::int64_t tap = 0; tap < 9; ++tap) taps[tap] = w + (i * 9 + 8 - tap) * c + first + panel * lanes;
      evaluate_taps(to, panel, i, taps);
    }
  });
}

// dw [from.a,3,3,from.b]
void interpolate_weights(int threads, float* dw, const WeightValues& from) {
  for_items(threads, from.a, positions * from.b, [=](std::int64_t i) {
    Tile tile;
    for (std::int64_t panel = 0; panel < from.b / lanes; ++panel) {
      for (std::int64_t r = 0; r < points; ++r) {
        const float* values[points];
        for (std::int64_t s = 0; s < points; ++s) values[s] = from.at(r * points + s, panel, i);
        float* const results[3] = {tile.line[r][0], tile.line[r][1], tile.line[r][2]};
        on_lanes<WeightsAdjoint>(values, results);
      }
      for (std::int64_t s = 0; s < 3; ++s) {
        const float* values[points];
        float* results[3];
        for (std::int64_t r = 0; r < points; ++r) values[r] = tile.line[r][s];
        for (std::int64_t r = 0; r < 3; ++r) results[r] = dw + (i * 9 + r * 3 + s) * from.b + panel * lanes;
        on_lanes<WeightsAdjoint>(values, results);
      }
    }
  });
}

// ---- stride 2 --------------------------------------------------------------------------------------------------------
// On the phases of x (Pictures) it is a convolution with stride 1: tap r of phase i is tap 2 (r - top) + i + s.top of w, where
// there is one. 5 x 5 taps become 3 x 3.
ConvShape of_phases(const ConvShape& s) {
  ConvShape t = s;
  t.h = (s.h + 1) / 2, t.w = (s.w + 1) / 2, t.c = 4 * s.c;
  t.r = t.s = 3;
  t.top = (s.top + 1) / 2, t.left = (s.left + 1) / 2;
  t.stride = 1;
  return t;
}

// body(line of w [K,R,S,C], or nullptr, line of its phases [K,3,3,4 C]) for each line of the latter
template <class From, class To, class Body> void for_taps(int threads, const ConvShape& s, From* w, To* phases, Body body) {
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

// ---- parts of a convolution ------------------------------------------------------------------------------------------
// Outputs are computed in groups, so that the weights at the points need not lie in memory all at once.
std::int64_t group_of(const ConvShape& s) {
  constexpr std::int64_t values = 5 << 20;
  return std::clamp(values / (positions * s.c) / lanes * lanes, std::min<std::int64_t>(s.k, 128), s.k);
}

// Of a group, so many outputs are multiplied and interpolated at a time.
constexpr std::int64_t part_outputs = 128;

struct Bands {
  Axis rows, columns;
  std::int64_t strips, count, team;

  // Each band reads all weights at the points, or adds to them, but its own values there should fit a cache: measured.
  Bands(const ConvShape& s, std::int64_t threads) : rows(s.p), columns(s.q), strips(s.n * rows.count()) {
    constexpr std::int64_t tiles = 64;
    count = std::clamp<std::int64_t>((strips * columns.count() + tiles - 1) / tiles, 1, strips);
    team = std::min(threads, count);
  }
  // More of them, where threads would be left over.
  void spread(std::int64_t threads) {
    if (count > 1 && count < threads) count = team = std::min(threads, strips);
  }
  Band band(std::int64_t i) const { return {rows, columns, i * strips / count, (i + 1) * strips / count}; }
  std::int64_t most_tiles() const { return (strips + count - 1) / count * columns.count(); }

  // body(i, thread): each thread of the team takes the next band that is left. A single band is for all threads together.
  template <class Body> void for_each(Body body) const {
    if (count == 1) {
      body(0, 0);
      return;
    }
#pragma omp parallel for schedule(monotonic : dynamic) num_threads(static_cast<int>(team))
    for (std::int64_t i = 0; i < count; ++i) body(i, omp_get_thread_num());
  }
};

// Of one axis: whether the taps of a stride of 2 are three or fewer in each phase, and more than two.
bool are_three_of_phases(std::int64_t taps, std::int64_t before) {
  return taps >= 5 && taps <= 2 * (3 - (before + 1) / 2) + before;
}

}  // namespace

bool takes_winograd(const OneDnn& dnn, const ConvShape& s) {
  if (s.dilation != 1 || s.groups != 1 || s.accumulate || s.c % lanes != 0 || s.k % lanes != 0) return false;
  const bool strided = s.stride == 2;
  if (strided ? !are_three_of_phases(s.r, s.top) || !are_three_of_phases(s.s, s.left) : s.stride != 1 || s.r != 3 || s.s != 3) {
    return false;
  }
  if (s.pass == Pass::dgrad && !can_reverse(strided ? of_phases(s) : s)) return false;
  const bool narrow = s.dtype == DType::bf16;
  if (narrow && dnn.has_amx()) return false;  // which multiplies bf16 faster than any algorithm saves
  const ConvRules& r = dnn.rules;
  const ConvRules::Winograd& from = narrow ? (strided ? r.bf16_stride2 : r.bf16) : strided ? r.f32_stride2 : r.f32;
  const int channels = s.pass == Pass::forward ? from.forward : s.pass == Pass::dgrad ? from.dgrad : from.wgrad;
  return channels > 0 && std::min(s.c, s.k) >= channels;
}

void winograd_data(OneDnn& dnn, const ConvShape& shape, const Target& to, const Source& from, const Tensor& w,
                   const std::function<Tensor()>& weights) {
  const bool backwards = shape.pass == Pass::dgrad;
  const ConvShape plain = shape.stride == 2 ? of_phases(shape) : shape;
  const ConvShape s = backwards ? reversed(plain, Pass::forward) : plain;

  KeptWeights& kept = dnn.kept_weights(s.c, s.k, backwards);
  const bool keep = kept.again(w);
  const std::int64_t group = keep ? s.k : group_of(s);
  Tensor taps;
  if (!keep || !kept.values) taps = shape.stride == 2 ? weights_of_phases(dnn, shape, weights()) : weights();
  const auto evaluate_group = [&](const WeightValues& at_points, std::int64_t first) {
    if (backwards) evaluate_reversed(dnn.threads, at_points, taps.data<float>(), s.k, first);
    else evaluate_weights(dnn.threads, at_points, taps.data<float>(), first);
  };
  const std::int64_t weight_values = WeightValues::count(s.c, group);
  if (keep && !kept.values) evaluate_group({kept.make(dnn.memory, weight_values), s.c, s.k}, 0);

  Bands bands(s, dnn.threads);
  bands.spread(dnn.threads);
  const std::int64_t input_values = TileValues::count(bands.most_tiles(), s.c);
  const std::int64_t band_size = input_values + TileValues::count(bands.most_tiles(), std::min(group, part_outputs));
  float* const workspace = dnn.workspace(bands.team * band_size + (keep ? 0 : weight_values));
  float* const at_points_data = keep ? kept.values->get() : workspace + bands.team * band_size;

  const MultiplyBlock multiply = multiply_block(dnn.has_avx512());
  const BlockProduct product{.runs = s.c / lanes, .steps = lanes, .a_run = TileValues::panel_stride, .a_step = 1, .a_row = lanes,
                             .b_run = lanes * lanes};
  with_float(from.dtype, to.dtype, [&]<class From, class To>(From, To) {
    Pictures<const From> x{static_cast<const From*>(from.data), shape.h, shape.w, shape.c, shape.stride};
    Pictures<To> y{static_cast<To*>(to.data), shape.p, shape.q, shape.k};
    if (backwards) {
      x = {static_cast<const From*>(from.data), shape.p, shape.q, shape.k};
      y = {static_cast<To*>(to.data), shape.h, shape.w, shape.c, shape.stride};
    }
    for (std::int64_t first = 0; first < s.k; first += group) {
      const std::int64_t outputs = std::min(group, s.k - first);
      const WeightValues at_points{at_points_data, s.c, outputs};
      if (!keep) evaluate_group(at_points, first);
      const auto compute = [&](const Band& band, float* memory) {
        const TileValues input{memory, s.c / lanes};
        evaluate<Input4, Input3>(dnn.threads, band, input, x, s.top, s.left);
        for (std::int64_t part = 0; part < outputs; part += part_outputs) {
          const std::int64_t panels = std::min(part_outputs, outputs - part) / lanes;
          const TileValues output{memory + input_values, panels};
          for_items(dnn.threads, positions * panels, band.tiles() * lanes * s.c, [&](std::int64_t item) {
            const std::int64_t position = item / panels, panel = item % panels;
            const float* const factors = at_points.at(position, part / lanes + panel, 0);
            const Band::Range range = band.with_position(position);
            for (std::int64_t tile = range.begin / block * block; tile < range.end; tile += block) {
              multiply(product, input.at(position, 0, tile), factors, output.at(position, panel, tile));
            }
          });
          Pictures<To> here = y;
          here.first = first + part;
          interpolate(dnn.threads, band, here, output);
        }
      };
      bands.for_each([&](std::int64_t i, std::int64_t thread) { compute(bands.band(i), workspace + thread * band_size); });
    }
  });
}

void winograd_weights(OneDnn& dnn, const ConvShape& shape, float* dw, const Source& x, const Source& dy) {
  const ConvShape s = shape.stride == 2 ? of_phases(shape) : shape;
  const std::int64_t group = group_of(s), panels = s.c / lanes;
  const Bands bands(s, dnn.threads);
  const std::int64_t input_values = TileValues::count(bands.most_tiles(), s.c);
  const std::int64_t band_size = input_values + TileValues::count(bands.most_tiles(), std::min(group, part_outputs));
  float* const workspace = dnn.workspace(bands.team * band_size + WeightValues::count(group, s.c));
  std::optional<Scratch<float>> phases;
  if (shape.stride == 2) phases.emplace(dnn.memory, 9 * s.k * s.c);
  // How many bands have been added at a position of a part: they wait for their turn, since sums have a fixed order.
  std::vector<std::atomic<std::int64_t>> turns(static_cast<std::size_t>((group + part_outputs - 1) / part_outputs * positions));

  const MultiplyBlock multiply = multiply_block(dnn.has_avx512());
  with_float(x.dtype, dy.dtype, [&]<class X, class Y>(X, Y) {
    const Pictures<const X> values{static_cast<const X*>(x.data), shape.h, shape.w, shape.c, shape.stride};
    const Pictures<const Y> gradients{static_cast<const Y*>(dy.data), s.p, s.q, s.k};
    for (std::int64_t first = 0; first < s.k; first += group) {
      const std::int64_t outputs = std::min(group, s.k - first);
      const WeightValues sums{workspace + bands.team * band_size, outputs, s.c};
      const auto compute = [&](std::int64_t i, float* memory) {
        const Band band = bands.band(i);
        const TileValues input{memory, panels};
        evaluate<Input4, Input3>(dnn.threads, band, input, values, s.top, s.left);
        for (std::int64_t part = 0; part < outputs; part += part_outputs) {
          const std::int64_t count = std::min(part_outputs, outputs - part);
          const TileValues output{memory + input_values, count / lanes};
          Pictures<const Y> here = gradients;
          here.first = first + part;
          evaluate<OutputAdjoint4, OutputAdjoint3>(dnn.threads, band, output, here, 0, 0);
          for_items(dnn.threads, positions, band.tiles() * s.c * count, [&](std::int64_t position) {
            const Band::Range range = band.with_position(position);
            const std::int64_t begin = range.begin / block * block, end = (range.end + block - 1) / block * block;
            const BlockProduct product{.runs = (end - begin) / block, .steps = block, .a_run = output.block_stride(),
                                       .a_step = lanes, .a_row = 1, .b_run = input.block_stride(), .add = i > 0};
            auto& turn = turns[static_cast<std::size_t>(part / part_outputs * positions + position)];
            for (std::int64_t now = turn.load(); now != i; now = turn.load()) turn.wait(now);
            for (std::int64_t panel = 0; panel < panels; ++panel) {
              for (std::int64_t k = 0; k < count; k += block) {
                multiply(product, output.at(position, k / lanes, begin) + k % lanes, input.at(position, panel, begin),
                         sums.at(position, panel, part + k));
              }
            }
            turn = i + 1;
            turn.notify_all();
          });
        }
      };
      for (auto& turn : turns) turn = 0;
      bands.for_each([&](std::int64_t i, std::int64_t thread) { compute(i, workspace + thread * band_size); });
      interpolate_weights(dnn.threads, (phases ? phases->get() : dw) + first * 9 * s.c, sums);
    }
  });
  if (!phases) return;
  for_taps(dnn.threads, shape, dw, phases->get(), [c = shape.c](float* to, const float* from) {
    if (to != nullptr) std::copy_n(from, c, to);
  });
}

}  // namespace pastiche::cpu
