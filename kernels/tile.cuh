#pragma once
// The main loop that convolution and GEMM share. A block computes a tile of M x N results, each thread a register tile of it,
//   result[m][n] = the sum over k of A[m][k] B[k][n],
// in slices of 16 k. Double buffering: while the threads multiply one slice out of shared memory they hold the next one in registers, on its
// way from global memory to the other half of the buffer. One barrier a slice.
//
// Three parts that know nothing of each other:
//   - a Source says where the elements of one line of an operand are (a pixel's taps, a row of a matrix), and which are zero;
//   - a loader (AlongK, AlongOuter) spreads the lines over the threads and brings them into the layout of shared memory;
//   - the Tile multiplies, and hands out its results four at a time: what is done with them is the caller's.
// Every result is summed by one thread, k ascending, one fmaf each: its bits do not depend on the tile.
#include "device.cuh"

// For loops over registers, which are none unless the loop is gone.
#ifdef __CUDACC__
#define PASTICHE_UNROLL _Pragma("unroll")
#define PASTICHE_NO_UNROLL _Pragma("unroll 1")
#else
#define PASTICHE_UNROLL _Pragma("GCC unroll 16")
#define PASTICHE_NO_UNROLL
#endif

namespace pastiche::PASTICHE_TARGET {

// `steps` steps of `bytes` further on, in one instruction.
template <class T> __device__ inline const T* further(const T* from, int steps, int bytes = sizeof(T)) {
  return reinterpret_cast<const T*>(reinterpret_cast<const char*>(from) + static_cast<std::int64_t>(steps) * bytes);
}

constexpr int slice_depth = 16;

// Where element (4 k4 + k, i) of a slice is in shared memory: [k][i] with a swizzle, so that no two lanes of a warp have a bank conflict,
// neither those that write all four k4 of eight neighbouring i, nor those that read a row. i .. i + 3 stay together.
template <int Extent> struct SliceLayout {
  static_assert(Extent % warp_size == 0);
  static constexpr int size = slice_depth * Extent;
  __device__ static constexpr int at(int k4, int k, int i) { return (k4 * 4 + k) * Extent + (i ^ k4 * 8); }
};
template <> struct SliceLayout<16> {  // a row is half the banks: rows k and k + 2 take one half each, and so do k4 and k4 + 2
  static constexpr int size = (slice_depth + 1) * 16;
  __device__ static constexpr int at(int k4, int k, int i) {
    return (k4 * 4 + k4 / 2 + k % 2 * 2 + k / 2) * 16 + (i ^ k4 % 2 * 8);
  }
};

// ---- loaders ---------------------------------------------------------------------------------------------------------
// A Source is made from the index of its line, and has
//   using Element = float or BFloat16;
//   auto place(int k) const;            // what all lines of a block share about k
//   bool has(place) const;              // false: the element is a zero (vector: and its three neighbours are)
//   const Element* at(place) const;     // where it is, if it has one

// Of an operand whose lines are contiguous in k. Four neighbouring lanes read 16 k of a line, 64 contiguous bytes of f32.
template <class Source, int Extent, int Threads, bool vector> class AlongK {
 public:
  using Line = Source;
  // source(i) is line i of the tile.
  template <class F> __device__ explicit AlongK(F source) {
    PASTICHE_UNROLL
    for (int i = 0; i < lines; ++i) source_[i] = source(line(i));
  }

  __device__ void fetch(int k) {
    k += part() * 4;
    PASTICHE_UNROLL
    for (int e = 0; e < 4; e += width) {
      const auto place = source_[0].place(k + e);
      PASTICHE_UNROLL
      for (int i = 0; i < lines; ++i) {
        Vector<Element, width> v{};
        if (source_[i].has(place)) v = load_vector<width>(source_[i].at(place));
        fetched_[i][e / width] = v;
      }
    }
  }

  __device__ void store(float* slice) const {
    PASTICHE_UNROLL
    for (int i = 0; i < lines; ++i) {
      if (idle(i)) return;
      PASTICHE_UNROLL
      for (int e = 0; e < 4; ++e) {
        slice[SliceLayout<Extent>::at(part(), e, line(0)) + i * step] = to_float(fetched_[i][e / width].at[e % width]);
      }
    }
  }

 private:
  using Element = typename Source::Element;
  static constexpr int width = vector ? 4 : 1, parts = slice_depth / 4;
  static constexpr int step = Threads / parts, lines = (Extent + step - 1) / step;

  __device__ static int part() { return static_cast<int>(threadIdx.x) % parts; }
  __device__ static int line(int i) { return static_cast<int>(threadIdx.x) / parts + i * step; }
  __device__ static bool idle(int i) { return Extent % step != 0 && line(i) >= Extent; }

  Source source_[lines];
  Vector<Element, width> fetched_[lines][4 / width];
};

// Of an operand that is contiguous across its lines. A thread keeps to its line (vector: four lines) and takes a
// few neighbouring k.
template <class Source, int Extent, int Threads, bool vector> class AlongOuter {
 public:
  using Line = Source;
  template <class F> __device__ explicit AlongOuter(F source) : source_(source(line())) {}

  __device__ void fetch(int k) {
    PASTICHE_UNROLL
    for (int i = 0; i < depths; ++i) {
      const auto place = source_.place(k + depth(i));
      Vector<Element, width> v{};
      if (source_.has(place)) v = load_vector<width>(source_.at(place));
      fetched_[i] = v;
    }
  }

  __device__ void store(float* slice) const {
    PASTICHE_UNROLL
    for (int i = 0; i < depths; ++i) {
      if (idle(i)) return;
      Vector<float, width> v;
      PASTICHE_UNROLL
      for (int e = 0; e < width; ++e) v.at[e] = to_float(fetched_[i].at[e]);
      store_vector(slice + SliceLayout<Extent>::at(depth(i) / 4, depth(i) % 4, line()), v);
    }
  }

 private:
  using Element = typename Source::Element;
  static constexpr int width = vector ? 4 : 1, across = Extent / width, step = Threads / across;
  static constexpr int depths = (slice_depth + step - 1) / step;

  __device__ static int line() { return static_cast<int>(threadIdx.x) % across * width; }
  __device__ static int depth(int i) { return static_cast<int>(threadIdx.x) / across * depths + i; }
  __device__ static bool idle(int i) { return step * depths != slice_depth && depth(i) >= slice_depth; }

  Source source_;
  Vector<Element, width> fetched_[depths];
};

// ---- the tile --------------------------------------------------------------------------------------------------------
// M x N results, ThreadM x ThreadN of them a thread: blocks of 4 x 4 that are spread over the tile, so that the lanes of a warp,
// lanes_m x lanes_n of them, read neighbouring groups of four.
template <int M, int N, int ThreadM, int ThreadN> class Tile {
 public:
  static constexpr int m = M, n = N, threads = M * N / (ThreadM * ThreadN);
  static constexpr int blocks = 384 / threads;  // that fit a multiprocessor, at up to 168 registers a thread

  template <class Source, bool vector> using AlongKOfA = AlongK<Source, M, threads, vector>;
  template <class Source, bool vector> using AlongKOfB = AlongK<Source, N, threads, vector>;
  template <class Source, bool vector> using AlongOuterOfA = AlongOuter<Source, M, threads, vector>;
  template <class Source, bool vector> using AlongOuterOfB = AlongOuter<Source, N, threads, vector>;

  // Adds up k = begin .. end - 1. What a source gives from `end` on, up to two slices, must be zero.
  template <class A, class B> __device__ void sum(A& a, B& b, int begin, int end) {
    alignas(16) __shared__ float left[2][SliceLayout<M>::size];
    alignas(16) __shared__ float right[2][SliceLayout<N>::size];
    a.fetch(begin);
    b.fetch(begin);
    a.store(left[0]);
    b.store(right[0]);
    __syncthreads();
    int now = 0;
    for (int k = begin; k < end; k += slice_depth) {
      a.fetch(k + slice_depth);
      b.fetch(k + slice_depth);
      multiply(left[now], right[now]);
      a.store(left[now ^ 1]);
      b.store(right[now ^ 1]);
      __syncthreads();
      now ^= 1;
    }
  }

  // Calls write(m, n, four) for each four results that this thread has beside one another: m, n .. n + 3 of the tile.
  template <class F> __device__ void each_four(F write) const {
    PASTICHE_UNROLL
    for (int i = 0; i < ThreadM; ++i) {
      PASTICHE_UNROLL
      for (int j = 0; j < ThreadN; j += 4) {
        Vector<float, 4> four;
        PASTICHE_UNROLL
        for (int e = 0; e < 4; ++e) four.at[e] = sums_[i][j + e];
        write(first_m() + i / 4 * step_m + i % 4, first_n() + j / 4 * step_n, four);
      }
    }
  }

 private:
  static constexpr int lanes_n = N / ThreadN < 8 ? N / ThreadN : 8, lanes_m = warp_size / lanes_n;
  static constexpr int warps_n = N / (lanes_n * ThreadN);
  static constexpr int step_m = M * 4 / ThreadM, step_n = N * 4 / ThreadN;

  __device__ static int first_m() {
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    return (warp / warps_n * lanes_m + lane / lanes_n) * 4;
  }
  __device__ static int first_n() {
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    return (warp % warps_n * lanes_n + lane % lanes_n) * 4;
  }

  __device__ void multiply(const float* left, const float* right) {
    const int m0 = first_m(), n0 = first_n();
    PASTICHE_UNROLL
    for (int k = 0; k < slice_depth; ++k) {
      float a[ThreadM], b[ThreadN];
      PASTICHE_UNROLL
      for (int i = 0; i < ThreadM; i += 4) {
        const auto four = load_vector<4>(left + SliceLayout<M>::at(k / 4, k % 4, m0) + i / 4 * step_m);
        PASTICHE_UNROLL
        for (int e = 0; e < 4; ++e) a[i + e] = four.at[e];
      }
      PASTICHE_UNROLL
      for (int j = 0; j < ThreadN; j += 4) {
        const auto four = load_vector<4>(right + SliceLayout<N>::at(k / 4, k % 4, n0) + j / 4 * step_n);
        PASTICHE_UNROLL
        for (int e = 0; e < 4; ++e) b[j + e] = four.at[e];
      }
      PASTICHE_UNROLL
      for (int i = 0; i < ThreadM; ++i) {
        PASTICHE_UNROLL
        for (int j = 0; j < ThreadN; ++j) sums_[i][j] = fmaf(a[i], b[j], sums_[i][j]);
      }
    }
  }

  float sums_[ThreadM][ThreadN] = {};
};

// to[0 .. 3] = four, as many of them as `count` allows; aligned: `to` is a multiple of four elements and count of 4.
template <class T> __device__ inline void store_four(T* to, const Vector<float, 4>& four, int count, bool aligned) {
  if (aligned) {
    Vector<T, 4> v;
    PASTICHE_UNROLL
    for (int e = 0; e < 4; ++e) v.at[e] = from_float<T>(four.at[e]);
    if (count > 0) store_vector(to, v);
  } else {
    PASTICHE_UNROLL
    for (int e = 0; e < 4; ++e) {
      if (e < count) to[e] = from_float<T>(four.at[e]);
    }
  }
}

}  // namespace pastiche::PASTICHE_TARGET
