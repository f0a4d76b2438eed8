#pragma once
// How a thread finds its place: division by what is fixed for a launch, the phases of an upsampling convolution, and walks over
// [rows, channels] in which a thread keeps its channels.
#include <algorithm>
#include <bit>

#include "device.cuh"
#include "launch.cuh"
#include "pastiche/backend.h"

namespace pastiche::PASTICHE_TARGET {

// 64-bit division takes a GPU a hundred instructions. What is divided here was checked to be below 2^31.
inline std::uint32_t checked_index(std::int64_t n, const char* what) {
  if (n > 0x7fffffff) throw Error(ExitCode::failed, std::to_string(n) + " " + what + " are more than a kernel can count");
  return static_cast<std::uint32_t>(n);
}

// n / divisor as a multiplication and a shift, for n < 2^31 (Granlund and Montgomery, "Division by invariant integers", 1994).
struct Divider {
  Divider() : Divider(1) {}
  explicit Divider(std::uint32_t d)
      : divisor(d),
        shift(static_cast<std::uint32_t>(std::bit_width(d - 1))),
        multiplier(static_cast<std::uint32_t>((((std::uint64_t{1} << shift) - d) << 32) / d + 1)) {}

  __device__ std::uint32_t operator()(std::uint32_t n) const {
    return (static_cast<std::uint32_t>(std::uint64_t{n} * multiplier >> 32) + n) >> shift;
  }

  std::uint32_t divisor, shift, multiplier;
};

// ---- phases ----------------------------------------------------------------------------------------------------------
// The pixels of a picture y [N,2H,2W,K] and where its counterpart x in the form `from` has them. They are counted in an order
// that goes through x and through y in whole lines, nearly: that of x for phases::inner (two pixels of a line, then the two
// below them), that of y otherwise.
struct PixelOrder {
  struct Pixel {
    std::int64_t x, y;  // in rows of K channels
  };

  PixelOrder(Phases from, const Shape& y) : form(from) {
    if (from == Phases::none) return;
    width = Divider(checked_index(y[2] / 2, "pixels of a line"));
    phase = checked_index(y.rows(), "pixels") / 4;
  }

  __device__ Pixel operator()(std::int64_t pixel) const {
    if (form == Phases::none) return {pixel, pixel};
    const auto p = static_cast<std::uint32_t>(pixel);
    const std::uint32_t j = p & 1u, pair = p >> 1;
    if (form == Phases::inner) {  // p = [line, w, i, j], line = n H + h
      const std::uint32_t i = pair & 1u, line = width(pair >> 1), w = (pair >> 1) - line * width.divisor;
      return {pixel, std::int64_t{(2 * line + i) * width.divisor + w} * 2 + j};
    }
    const std::uint32_t line2 = width(pair), w = pair - line2 * width.divisor;  // p = [line, i, w, j]
    const std::uint32_t i = line2 & 1u, line = line2 >> 1;
    return {std::int64_t{2 * i + j} * phase + line * width.divisor + w, pixel};
  }

  Phases form;
  Divider width;            // W
  std::uint32_t phase = 0;  // N H W
};

// ---- walks over channels ---------------------------------------------------------------------------------------------
// N channels of one pixel, N being 4 where the number of channels is a multiple of that, else 1.
template <int N, class T> __device__ inline Vector<T, N> load_unit(const T* from) {
  if constexpr (N == 1) return {{*from}};
  else return load_vector<N>(from);
}
template <int N, class T> __device__ inline void store_unit(T* to, const Vector<T, N>& v) {
  if constexpr (N == 1) *to = v.at[0];
  else store_vector(to, v);
}
template <class F> void with_unit(std::int64_t channels, F f) {
  if (channels % 4 == 0) return f(std::integral_constant<int, 4>{});
  return f(std::integral_constant<int, 1>{});
}

constexpr int walk_threads = 256;

// x[outer, rows, units], in blocks. A block has `width` units of `repeat` rows at a time, lying one after the other, and goes on
// to rows that are `repeat` further on; where a whole [rows, units] is less than a block, it has `groups` of them. Everything
// follows from the shape, so that sums have one order on all GPUs.
struct ChannelWalk {
  // steps: how many rows a thread takes, if that gives no more than max_blocks blocks
  ChannelWalk(std::int64_t outer_, std::int64_t rows_, std::int64_t units_, std::int64_t steps, std::int64_t max_blocks)
      : outer(outer_), rows(rows_), units(units_) {
    const std::int64_t across = ceil_div(units, walk_threads);
    tiles = checked_index(across, "tiles of channels");
    width = static_cast<int>(ceil_div(units, across));
    repeat = whole_sectors(std::clamp<std::int64_t>(walk_threads / width, 1, std::max<std::int64_t>(rows, 1)));
    groups = whole_sectors(std::min<std::int64_t>(walk_threads / (width * repeat), outer));
    const std::int64_t lines = std::max<std::int64_t>(ceil_div(rows, repeat), 1), others = ceil_div(outer, groups) * across;
    const std::int64_t parts = std::max<std::int64_t>(std::min(ceil_div(lines, steps), max_blocks / others), 1);
    rows_per_chunk = ceil_div(lines, parts) * repeat;
    chunks = checked_index(std::max<std::int64_t>(ceil_div(rows, rows_per_chunk), 1), "parts of a sum");
  }
  dim3 blocks() const { return grid(ceil_div(outer, groups) * tiles * chunks); }

  std::int64_t outer, rows, units, rows_per_chunk;
  std::uint32_t tiles, chunks;  // of the units, and of the rows
  int width, repeat, groups;

 private:
  // Sixteen of anything begin and end with a sector of 32 bytes.
  static int whole_sectors(std::int64_t count) { return static_cast<int>(count < 16 ? count : count / 16 * 16); }
};

// For kernels without sums over rows.
inline ChannelWalk map_walk(std::int64_t outer, std::int64_t rows, std::int64_t units) {
  return ChannelWalk(outer, rows, units, 4, 0x7fffffff);
}

// What one thread takes of it: the unit `unit` of the rows row, row + repeat, ... before `end`, counted in [outer, rows].
struct ChannelPlace {
  __device__ explicit ChannelPlace(const ChannelWalk& walk) {
    const int thread = static_cast<int>(threadIdx.x), column = thread % walk.width, line = thread / walk.width;
    const std::uint32_t part = blockIdx.x / walk.tiles, set = part / walk.chunks;
    chunk = part - set * walk.chunks;
    lane = line < walk.repeat * walk.groups ? line % walk.repeat : walk.repeat;
    outer = std::int64_t{set} * walk.groups + line / walk.repeat;
    unit = std::int64_t{blockIdx.x - part * walk.tiles} * walk.width + column;
    inside = lane < walk.repeat && outer < walk.outer && unit < walk.units;
    const std::int64_t first = outer * walk.rows, begin = chunk * walk.rows_per_chunk;
    row = first + begin + lane;
    end = inside ? first + min(begin + walk.rows_per_chunk, walk.rows) : 0;
  }

  std::int64_t outer, unit, row, end;
  std::uint32_t chunk;
  int lane;  // among the `repeat` threads that have the same unit; `repeat` for a thread that is left over
  bool inside;
};

}  // namespace pastiche::PASTICHE_TARGET
