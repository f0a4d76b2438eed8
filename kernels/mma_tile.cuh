#pragma once
// The tensor core form of tile.cuh: a block computes a tile of M x N results, each warp a warp tile of it,
//   result[m][n] = the sum over k of A[m][k] B[k][n],
// of bf16 operands, or of f32 ones as TF32, in slices of 64 bytes of k. Software pipelining has three stages in shared memory: the tensor
// cores multiply one slice, the next is there, and cp.async brings the one after. Fragments come half a slice ahead of the tensor cores.
// One barrier a slice.
//
// An operand is contiguous along k or across its lines. Its loader brings chunks of 16 bytes as they lie in memory. ldmatrix makes fragments
// of them and transposes those of bf16 that lie across; of f32 it can't, and words are read one by one. A swizzle permutes the chunks (slice
// layouts, below), so that neither copies nor those reads have bank conflicts.
// Sums are in f32, 32 bytes of k at a time, ascending: their bits do not depend on the tile.
// f32 is not rounded here: tensor cores do not read its last 13 bits. An operand off by at most 2^-10 of itself is the price of a loop that
// does nothing but multiply; what is rounded to nearest before it comes, as packed weights are, is off by half of that.
#include "mma.cuh"
#include "tile.cuh"

namespace pastiche::PASTICHE_TARGET {

constexpr int slice_bytes = 64;  // of a line
constexpr int mma_stages = 3, mma_threads = 128;
constexpr int chunk_bytes = 16;
constexpr int copy_step = mma_threads * chunk_bytes;  // in a slice, from one chunk of a thread to its next
template <class T> constexpr int mma_depth = slice_bytes / static_cast<int>(sizeof(T));
template <class T> constexpr int chunk_elements = chunk_bytes / static_cast<int>(sizeof(T));

// Where an operand's chunks stand in its slice, Extent * 64 bytes, and which of them a thread copies: as many as `copies`.
template <class T, int Extent, bool along_k> struct MmaSlice;

// A line is four chunks of k. Two lines share 128 bytes, so chunks change places every second line.
template <class T, int Extent> struct MmaSlice<T, Extent, true> {
  static constexpr int bytes = Extent * slice_bytes, copies = bytes / copy_step;
  __device__ static int at(int line, int chunk) { return line * slice_bytes + (chunk ^ (line / 2 % 4)) * chunk_bytes; }
  // Of this thread.
  __device__ static int chunk() { return static_cast<int>(threadIdx.x) % 4; }
  __device__ static int line(int copy) { return static_cast<int>(threadIdx.x) / 4 + copy * (mma_threads / 4); }
  __device__ static int first() { return at(line(0), chunk()); }
};

// A line is all of the extent at one k. ldmatrix reads a chunk of bf16 at each of eight k; of f32, words are read of two chunks at each
// of four.
template <class T, int Extent> struct MmaSlice<T, Extent, false> {
  static constexpr int bytes = Extent * slice_bytes, copies = bytes / copy_step, across = Extent / chunk_elements<T>;
  static constexpr int line_bytes = Extent * static_cast<int>(sizeof(T));
  __device__ static int at(int k, int chunk) { return k * line_bytes + (chunk ^ (sizeof(T) == 2 ? k % 8 : k % 4 * 2)) * chunk_bytes; }
  __device__ static int chunk() { return static_cast<int>(threadIdx.x) % across; }
  __device__ static int k(int copy) { return static_cast<int>(threadIdx.x) / across + copy * (mma_threads / across); }
  __device__ static int first() { return at(k(0), chunk()); }
};

// ---- loaders of matrices ---------------------------------------------------------------------------------------------
// A loader's copy(to) begins to copy this thread's chunks of a slice to to, to + copy_step, ..., and goes on to the next slice. What lies
// past the end of the reduction it makes zeros.

// The lines of a matrix that is contiguous along k; lines past the last repeat it.
template <class T, int Extent> class MmaAlongK {
 public:
  static constexpr bool along_k = true;
  using Slice = MmaSlice<T, Extent, true>;
  // from: k = 0 of the block's first line; line_bytes: from one line to the next; lines: how many there are from the first on; depth: how
  // many k.
  __device__ MmaAlongK(const T* from, int line_bytes, int lines, int depth)
      : from_(reinterpret_cast<const char*>(from)), left_(depth - Slice::chunk() * chunk_elements<T>) {
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) {
      offset_[i] = static_cast<std::uint32_t>(min(Slice::line(i), lines - 1) * line_bytes + Slice::chunk() * chunk_bytes);
    }
  }
  __device__ void copy(SharedAddress to) {
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) copy_async(to + i * copy_step, from_ + offset_[i], left_ > 0);
    from_ += slice_bytes;
    left_ -= mma_depth<T>;
  }

 private:
  const char* from_;
  std::uint32_t offset_[Slice::copies];
  int left_;
};

// Those of one that is contiguous across its lines; their number is a multiple of 8.
template <class T, int Extent> class MmaAcross {
 public:
  static constexpr bool along_k = false;
  using Slice = MmaSlice<T, Extent, false>;
  __device__ MmaAcross(const T* from, int k_bytes, int lines, int depth)
      : from_(further(from + min(Slice::chunk() * chunk_elements<T>, lines - chunk_elements<T>), Slice::k(0), k_bytes)),
        k_bytes_(k_bytes),
        left_(depth - Slice::k(0)) {}
  __device__ void copy(SharedAddress to) {
    PASTICHE_UNROLL
    for (int i = 0; i < Slice::copies; ++i) {
      const int k = Slice::k(i) - Slice::k(0);
      copy_async(to + i * copy_step, further(from_, k, k_bytes_), left_ > k);
    }
    from_ = further(from_, mma_depth<T>, k_bytes_);
    left_ -= mma_depth<T>;
  }

 private:
  const T* from_;
  int k_bytes_, left_;
};

// ---- the tile --------------------------------------------------------------------------------------------------------
// What a warp reads of an operand's slice, WarpExtent lines from `first` on, 16 lines and 32 bytes of k by one ldmatrix. The order of its
// four matrices is that of the fragment's registers: of A, the lower lines come first, then the higher k; of B, the higher k, then the
// lines.
template <class T, int Extent, int WarpExtent, bool along_k, bool is_a> class MmaFragments {
 public:
  static constexpr int count = WarpExtent / 16;

  __device__ MmaFragments(SharedAddress slice, int first) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    const int row = is_a == along_k ? lane % 16 : lane % 8 + lane / 16 * 8, chunk = is_a == along_k ? lane / 16 : lane / 8 % 2;
    PASTICHE_UNROLL
    for (int i = 0; i < addresses; ++i) {
      at_[i] = slice + (along_k ? MmaSlice<T, Extent, true>::at(first + row, chunk + 2 * i)
                                : MmaSlice<T, Extent, false>::at(row, first / chunk_elements<T> + chunk + 2 * i));
    }
  }

  // Of the slice in the stage, one half of its k.
  __device__ void load(std::uint32_t (&to)[count][4], int stage, int half) const {
    PASTICHE_UNROLL
    for (int i = 0; i < count; ++i) {
      if constexpr (along_k) load_matrices(to[i], at_[half] + (stage + i * 16 * slice_bytes));
      else load_matrices_transposed(to[i], at_[i] + (stage + half * 16 * MmaSlice<T, Extent, false>::line_bytes));
    }
  }

 private:
  static constexpr int addresses = along_k ? 2 : count;  // others are a constant further
  SharedAddress at_[addresses];
};

// Of f32 across its lines each lane reads its own words, a warp those of eight lines at four k at a time.
template <int Extent, int WarpExtent, bool is_a> class MmaFragments<float, Extent, WarpExtent, false, is_a> {
 public:
  static constexpr int count = WarpExtent / 16;

  __device__ MmaFragments(SharedAddress slice, int first) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size, line = first + lane / 4;
    PASTICHE_UNROLL
    for (int i = 0; i < addresses; ++i) at_[i] = slice + Slice::at(lane % 4, line / 4 + 2 * i) + line % 4 * 4;
  }

  __device__ void load(std::uint32_t (&to)[count][4], int stage, int half) const {
    PASTICHE_UNROLL
    for (int eight = 0; eight < WarpExtent / 8; ++eight) {
      PASTICHE_UNROLL
      for (int higher = 0; higher < 2; ++higher) {
        const int k = half * 8 + higher * 4;
        const int place = is_a ? eight % 2 + higher * 2 : eight % 2 * 2 + higher;
        to[eight / 2][place] = load_word(at_[eight % addresses] + (stage + k * Slice::line_bytes + eight / addresses * 2 * addresses * chunk_bytes));
      }
    }
  }

 private:
  using Slice = MmaSlice<float, Extent, false>;
  static constexpr int addresses = 4;  // others are a constant further
  SharedAddress at_[addresses];
};

// Four warps, each WarpM x WarpN results. T: BFloat16, or float for TF32.
template <class T, int M, int N, int WarpM, int WarpN, int Blocks> class MmaTile {
 public:
  using Element = T;
  static constexpr int m = M, n = N, threads = mma_threads;
  static constexpr int blocks = Blocks;  // that fit a multiprocessor
  static constexpr int stage_bytes = (M + N) * slice_bytes, shared_bytes = mma_stages * stage_bytes;
  static_assert(M / WarpM * (N / WarpN) * warp_size == threads);

  // Adds up `slices` slices.
  template <class A, class B> __device__ void sum(A& a, B& b, int slices) {
    const SharedAddress all = shared_address(dynamic_shared<char>());
    const SharedAddress to_a = all + A::Slice::first(), to_b = all + A::Slice::bytes + B::Slice::first();
    const MmaFragments<T, M, WarpM, A::along_k, true> from_a(all, warp_m());
    const MmaFragments<T, N, WarpN, B::along_k, false> from_b(all + A::Slice::bytes, warp_n());
    std::uint32_t left[2][WarpM / 16][4], right[2][WarpN / 16][4];
    PASTICHE_UNROLL
    for (int stage = 0; stage < mma_stages - 1; ++stage) {
      a.copy(to_a + stage * stage_bytes);
      b.copy(to_b + stage * stage_bytes);
      copy_async_commit();
    }
    copy_async_wait<mma_stages - 2>();
    __syncthreads();
    int now = 0, next = (mma_stages - 1) * stage_bytes;  // the stages that are multiplied, and to fill
    from_a.load(left[0], now, 0);
    from_b.load(right[0], now, 0);
    PASTICHE_NO_UNROLL
    for (int slice = 0; slice < slices; ++slice) {
      from_a.load(left[1], now, 1);
      from_b.load(right[1], now, 1);
      a.copy(to_a + next);
      b.copy(to_b + next);
      copy_async_commit();
      multiply(left[0], right[0]);
      next = now;
      now = now == (mma_stages - 1) * stage_bytes ? 0 : now + stage_bytes;
      copy_async_wait<mma_stages - 2>();
      __syncthreads();
      from_a.load(left[0], now, 0);
      from_b.load(right[0], now, 0);
      multiply(left[1], right[1]);
    }
    copy_async_wait<0>();
  }

  // Calls write(m, n, four) for each four results that this thread has beside one another: m, n .. n + 3 of the tile. mma leaves it pairs
  // of two neighbouring products: the lanes of a pair swap, and the even one has four of the left, the odd one of the right.
  template <class F> __device__ void each_four(F write) const {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    const bool odd = lane % 2 != 0;
    PASTICHE_UNROLL
    for (int i = 0; i < WarpM / 16; ++i) {
      PASTICHE_UNROLL
      for (int half = 0; half < 2; ++half) {
        PASTICHE_UNROLL
        for (int j = 0; j < WarpN / 16; ++j) {
          Vector<float, 4> four;
          PASTICHE_UNROLL
          for (int e = 0; e < 2; ++e) {
            const float left = sums_[i][2 * j][2 * half + e], right = sums_[i][2 * j + 1][2 * half + e];
            const float got = __shfl_xor_sync(all_lanes, odd ? left : right, 1);
            four.at[e] = odd ? got : left;
            four.at[2 + e] = odd ? right : got;
          }
          write(warp_m() + i * 16 + half * 8 + lane / 4, warp_n() + j * 16 + lane % 2 * 8 + lane % 4 / 2 * 4, four);
        }
      }
    }
  }

  // v = of(n)(v, e) for each sum v of column n + e of the tile, which are two neighbours for each n.
  template <class F> __device__ void each_pair(F of) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    PASTICHE_UNROLL
    for (int j = 0; j < pairs; ++j) {
      const auto changed = of(warp_n() + j * 8 + lane % 4 * 2);
      PASTICHE_UNROLL
      for (int i = 0; i < WarpM / 16; ++i) {
        PASTICHE_UNROLL
        for (int k = 0; k < 4; ++k) sums_[i][j][k] = changed(sums_[i][j][k], k % 2);
      }
    }
  }

  // The mean of a column over each Rows rows, without those from `rows` on, and the sum of squared deviations from it: calls
  // write(part, n, mean, square) for two neighbouring columns, n and n + 1 of the tile. last_weight is 1 / how many rows the part has in
  // which the rows end. The order of sums does not depend on the tile. Nothing branches: nvcc has a second form of each shuffle for lanes
  // that may have.
  template <int Rows, class F> __device__ void each_statistic(int rows, float last_weight, F write) const {
    static_assert(WarpM % Rows == 0 && Rows % 16 == 0);
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    PASTICHE_UNROLL
    for (int part = 0; part < WarpM / Rows; ++part) {
      const int first = warp_m() + part * Rows, inside = rows - first;
      // Of each column that the lane has, over its rows; then over the lanes of the column.
      const auto over_rows = [&](auto plus) {
        float of_columns[pairs][2] = {};
        PASTICHE_UNROLL
        for (int k = 0; k < Rows / 8; ++k) {
          const bool in = lane / 4 + k * 8 < inside;
          PASTICHE_UNROLL
          for (int j = 0; j < pairs; ++j) {
            PASTICHE_UNROLL
            for (int e = 0; e < 2; ++e) {
              of_columns[j][e] = plus(of_columns[j][e], sums_[part * (Rows / 16) + k / 2][j][k % 2 * 2 + e], in, j, e);
            }
          }
        }
        return over_lanes(of_columns);
      };
      Vector<float, 2> mean = over_rows([](float all, float v, bool in, int, int) { return all + (in ? v : 0.0f); });
      float means[pairs][2];
      PASTICHE_UNROLL
      for (int e = 0; e < 2; ++e) {
        mean.at[e] *= inside < Rows ? last_weight : 1.0f / Rows;
        PASTICHE_UNROLL
        for (int j = 0; j < pairs; ++j) means[j][e] = __shfl_sync(all_lanes, mean.at[e], j * (warp_size / pairs) + lane % 4);
      }
      const Vector<float, 2> square = over_rows([&](float all, float v, bool in, int j, int e) {
        const float d = in ? v - means[j][e] : 0.0f;
        return fmaf(d, d, all);
      });
      if (inside > 0 && lane / 4 % (8 / pairs) == 0) {
        write(first / Rows, warp_n() + lane * pairs / warp_size * 8 + lane % 4 * 2, mean, square);
      }
    }
  }

 private:
  static constexpr int pairs = WarpN / 8;  // of columns that a lane has

  // Adds up what the eight lanes of each column have. They share the columns: half of them go to the other half of the lanes, and so on,
  // until the lane has those of pair lane pairs / 32, or several lanes have the same.
  __device__ static Vector<float, 2> over_lanes(float (&of_columns)[pairs][2]) {
    const int lane = static_cast<int>(threadIdx.x) % warp_size;
    PASTICHE_UNROLL
    for (int distance = warp_size / 2, left = pairs; distance >= 4; distance /= 2, left = max(left / 2, 1)) {
      const bool upper = (lane & distance) != 0;
      PASTICHE_UNROLL
      for (int j = 0; j < (pairs + 1) / 2; ++j) {
        if (j >= (left + 1) / 2) continue;
        PASTICHE_UNROLL
        for (int e = 0; e < 2; ++e) {
          const float lower_half = of_columns[j][e], upper_half = of_columns[j + left / 2][e];
          const float got = __shfl_xor_sync(all_lanes, upper ? lower_half : upper_half, distance);
          of_columns[j][e] = (upper ? upper_half : lower_half) + got;
        }
      }
    }
    return {{of_columns[0][0], of_columns[0][1]}};
  }

  __device__ static int warp_m() { return static_cast<int>(threadIdx.x) / warp_size / (N / WarpN) * WarpM; }
  __device__ static int warp_n() { return static_cast<int>(threadIdx.x) / warp_size % (N / WarpN) * WarpN; }

  __device__ void multiply(const std::uint32_t (&left)[WarpM / 16][4], const std::uint32_t (&right)[WarpN / 16][4]) {
    PASTICHE_UNROLL
    for (int i = 0; i < WarpM / 16; ++i) {
      PASTICHE_UNROLL
      for (int j = 0; j < WarpN / 8; ++j) {
        const std::uint32_t b0 = right[j / 2][j % 2 * 2], b1 = right[j / 2][j % 2 * 2 + 1];
        if constexpr (std::is_same_v<T, float>) mma_tf32(sums_[i][j], left[i], b0, b1);
        else mma_bf16(sums_[i][j], left[i], b0, b1);
      }
    }
  }

  float sums_[WarpM / 16][WarpN / 8][4] = {};
};

template <class T> using LargeMmaTile = MmaTile<T, 128, 128, 64, 64, 2>;
template <class T> using SmallMmaTile = MmaTile<T, 64, 64, 32, 32, 4>;

}  // namespace pastiche::PASTICHE_TARGET
