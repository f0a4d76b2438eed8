#undef NDEBUG
#include <cassert>

#include "device.cuh"
#include "launch.cuh"
#include "ptx_kernels/isa.h"

// PTX in the source, which the host compiler must not read; nor should it wonder who uses what only stands there.
#ifndef __CUDACC__
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#endif
#ifdef __CUDA_ARCH__
#define PTX_ASM(...) asm volatile(__VA_ARGS__)
#else
#define PTX_ASM(...) static_cast<void>(0)
#endif

namespace pastiche::PASTICHE_TARGET {
namespace {

constexpr int threads = 256;

template <class T> class Buffer {
 public:
  explicit Buffer(std::size_t n) : n_(n) {
    PASTICHE_CUDA_CHECK(cudaMalloc(&data_, sizeof(T) * n));
    PASTICHE_CUDA_CHECK(cudaMemset(data_, 0, sizeof(T) * n));
  }
  explicit Buffer(const std::vector<T>& v) : Buffer(v.size()) { PASTICHE_CUDA_CHECK(cudaMemcpy(data_, v.data(), sizeof(T) * n_, cudaMemcpyHostToDevice)); }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  operator T*() const { return data_; }
  std::vector<T> host() const {
    std::vector<T> v(n_);
    PASTICHE_CUDA_CHECK(cudaMemcpy(v.data(), data_, sizeof(T) * n_, cudaMemcpyDeviceToHost));
    return v;
  }

 private:
  T* data_ = nullptr;
  std::size_t n_;
};

// ---- single instructions ---------------------------------------------------------------------------------------------

#define PTX_OPERATION(name, R, r, I, i, text, expected)                                                               \
  __global__ __launch_bounds__(threads) void name##_kernel(R* y, const I* a, const I* b, const I* c, int n) {         \
    const int at = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);                            \
    if (at >= n) return;                                                                                              \
    R result{};                                                                                                       \
    PTX_ASM(text : r(result) : i(a[at]), i(b[at]), i(c[at]));                                                         \
    y[at] = result;                                                                                                   \
  }
#include "ptx_kernels/isa.def"
#undef PTX_OPERATION

// ---- memory ----------------------------------------------------------------------------------------------------------

__constant__ u32 primes[8] = {2, 3, 5, 7, 11, 13, 17, 19};
__device__ u32 squares[4] = {1, 4, 9, 16};

// Tables, and an array in local memory that is addressed by what the input says.
__global__ __launch_bounds__(32) void tables_kernel(u32* y, const u32* x) {
  u32 local[8];
  for (u32 i = 0; i < 8; ++i) local[x[i] & 7u] = i * 10 + squares[i & 3u];
  y[threadIdx.x] = local[x[threadIdx.x] & 7u] + primes[x[threadIdx.x & 7u] & 7u];
}

// Static shared memory beside dynamic, which is turned about through a generic pointer.
__global__ __launch_bounds__(64) void shared_kernel(u32* y, const u32* x) {
  __shared__ u32 fixed[64];
  u32* const dynamic = dynamic_shared<u32>();
  const int t = static_cast<int>(threadIdx.x);
  fixed[t] = x[t];
  dynamic[63 - t] = x[t] * 3;
  __syncthreads();
  const u32* const from = x[0] % 2 == 0 ? dynamic : fixed;
  y[t] = fixed[63 - t] + from[t];
}

__global__ __launch_bounds__(32) void unwritten_kernel(u32* y, const u32* x) {
  u32* const dynamic = dynamic_shared<u32>();
  if (x[threadIdx.x] != 0) dynamic[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = dynamic[threadIdx.x];
}

__global__ __launch_bounds__(32) void vectors_kernel(u32* y, const u32* x) {
  const int t = static_cast<int>(threadIdx.x);
  const auto four = load_vector<4>(x + 4 * t);
  const auto bytes = load_vector<4>(reinterpret_cast<const std::uint8_t*>(x) + 4 * t);
  const auto pairs = load_vector<8>(reinterpret_cast<const std::uint16_t*>(x) + 8 * t);
  store_vector(y + 4 * t, Vector<u32, 4>{{four.at[3], u32{bytes.at[0]} + bytes.at[3], u32{pairs.at[1]} + pairs.at[7], four.at[0]}});
}

__global__ __launch_bounds__(64) void atomics_kernel(u32* y, const u32* x) {
  const u32 v = x[threadIdx.x];
#ifdef __CUDA_ARCH__
  atomicAdd(y, v);
  atomicMin(y + 1, v);
  atomicMax(reinterpret_cast<int*>(y + 2), static_cast<int>(v));
  atomicAnd(y + 3, v);
  atomicOr(y + 4, v);
  atomicXor(y + 5, v);
  atomicInc(y + 6, 10u);
  atomicDec(y + 7, 10u);
  atomicAdd(reinterpret_cast<unsigned long long*>(y + 8), 1ull << 33);
  if (atomicCAS(y + 10, 0u, v + 1) == 0u) y[11] = v;
  if (atomicExch(y + 12, 1u) == 0u) y[13] = 1;
  y[16 + atomicAdd(y + 14, 1u)] = v;  // each place once
#endif
}

#ifdef __CUDA_ARCH__
__device__ __noinline__ u32 collatz(u32 n, u32 limit) {
  u32 steps = 0;
  while (n != 1 && steps < limit) {
    n = n % 2 == 0 ? n / 2 : 3 * n + 1;
    ++steps;
  }
  return steps;
}
#endif

__global__ __launch_bounds__(32) void call_kernel(u32* y, const u32* x) {
#ifdef __CUDA_ARCH__
  y[threadIdx.x] = collatz(x[threadIdx.x] + 1, 1000) + collatz(threadIdx.x + 1, 3);
#endif
}

__global__ __launch_bounds__(32) void switch_kernel(u32* y, const u32* x) {
  u32* const to = y + threadIdx.x;
  const u32 v = x[threadIdx.x];
  switch (v % 8) {
    case 0: *to = v + 1; break;
    case 1: *to = v * v; break;
    case 2: *to = v ^ 0x55; break;
    case 3: *to = v / 3; break;
    case 4: *to = ~v; break;
    case 5: *to = v << 4; break;
    case 6: *to = 7; break;
    default: *to = v - 1;
  }
}

// A jump by index, as later versions of nvcc make of a switch.
__global__ __launch_bounds__(32) void jump_kernel(u32* y, const u32* x) {
  u32 result = 0;
  PTX_ASM("{\n\tts: .branchtargets J0, J1, J2;\n\tbrx.idx %1, ts;\n\tJ0: mov.u32 %0, 10;\n\tbra.uni DONE;\n\tJ1: mov.u32 %0, 20;\n\t"
          "bra.uni DONE;\n\tJ2: mov.u32 %0, 30;\n\tDONE:\n\t}" : "=r"(result) : "r"(x[threadIdx.x] % 3));
  y[threadIdx.x] = result;
}

// x[0]: whether it fails, and how.
__global__ __launch_bounds__(32) void failing_kernel(u32* y, const u32* x) {
#ifdef __CUDA_ARCH__
  assert(x[0] != 1);
  if (x[0] == 2) __trap();
#endif
  y[threadIdx.x] = x[threadIdx.x];
}

// ---- the threads of a warp and of a block ----------------------------------------------------------------------------

// x[0 .. 31]: values, then by lane the instruction's b, then its c. Results: the value, and whether the lane was inside.
template <int Mode> __global__ __launch_bounds__(32) void shuffle_kernel(u32* y, const u32* x) {
  const int lane = static_cast<int>(threadIdx.x);
  u32 value = x[lane], inside = 0;
  const u32 b = x[32 + lane], c = x[64 + lane];
#define PTX_SHUFFLE(mode)                                                                                             \
  PTX_ASM("{ .reg .pred p; shfl.sync." mode ".b32 %0|p, %2, %3, %4, 0xffffffff; selp.u32 %1, 1, 0, p; }"             \
          : "=r"(value), "=r"(inside) : "r"(x[lane]), "r"(b), "r"(c))
  if constexpr (Mode == 0) PTX_SHUFFLE("up");
  if constexpr (Mode == 1) PTX_SHUFFLE("down");
  if constexpr (Mode == 2) PTX_SHUFFLE("bfly");
  if constexpr (Mode == 3) PTX_SHUFFLE("idx");
  y[lane] = value;
  y[32 + lane] = inside;
}

__global__ __launch_bounds__(32) void votes_kernel(u32* y, const u32* x) {
  const int lane = static_cast<int>(threadIdx.x);
  const bool yes = x[lane] != 0;
  const unsigned half = lane < 16 ? 0xffffu : 0xffff0000u;
  y[lane] = __ballot_sync(all_lanes, yes);
  y[32 + lane] = static_cast<u32>(__any_sync(half, yes));
  y[64 + lane] = static_cast<u32>(__all_sync(half, yes));
  y[96 + lane] = __ballot_sync(half, yes);
  u32 same = 0, below = 0;
  PTX_ASM("{ .reg .pred p, q; setp.ne.u32 p, %1, 0; vote.sync.uni.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }" : "=r"(same) : "r"(x[lane]));
  PTX_ASM("mov.u32 %0, %%lanemask_lt;" : "=r"(below));
  y[128 + lane] = same;
  y[160 + lane] = below;
}

__global__ __launch_bounds__(96) void counts_kernel(u32* y, const u32* x) {
  const int t = static_cast<int>(threadIdx.x);
  y[t] = static_cast<u32>(__syncthreads_count(x[t] != 0));
  y[96 + t] = static_cast<u32>(__syncthreads_or(x[t] != 0));
  y[192 + t] = static_cast<u32>(__syncthreads_and(x[t] != 0));
}

// ---- copies that go on beside the thread -----------------------------------------------------------------------------

// Three groups of a copy of 16, 8 and 4 bytes each; of the last, only 3 bytes come from memory. Early waits for one group too few.
template <bool Early> __global__ __launch_bounds__(32) void copies_kernel(u32* y, const u32* x) {
  __shared__ __align__(16) u32 buffer[3][32][4];
  const int lane = static_cast<int>(threadIdx.x);
#ifdef __CUDA_ARCH__
  for (int group = 0; group < 3; ++group) {
    const u32 to = static_cast<u32>(__cvta_generic_to_shared(&buffer[group][lane][0]));
    const u32* const from = x + (group * 32 + lane) * 4;
    if (group == 0) PTX_ASM("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
    if (group == 1) PTX_ASM("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(to), "l"(from));
    if (group == 2) PTX_ASM("cp.async.ca.shared.global.L2::128B [%0], [%1], 4, 3;" ::"r"(to), "l"(from));
    PTX_ASM("cp.async.commit_group;" ::);
  }
  if (Early) PTX_ASM("cp.async.wait_group 2;" ::);
  else PTX_ASM("cp.async.wait_group 1;" ::);
#endif
  y[lane] = buffer[0][lane][3];
  y[32 + lane] = buffer[1][lane][1];
  PTX_ASM("cp.async.wait_all;" ::);
  y[64 + lane] = buffer[2][lane][0];
}

// ---- matrices --------------------------------------------------------------------------------------------------------

// x: floats A [16,K] and B [K,8]; y: A B [16,8]. A is read by ldmatrix, and B, by rows of k, by its transposing form.
enum class Kind { bf16, f16, f16_sums };
template <Kind kind, int K> __global__ __launch_bounds__(32) void mma_kernel(float* y, const float* x) {
  __shared__ __align__(16) std::uint16_t a[16][K], b[K][8];
  const int lane = static_cast<int>(threadIdx.x);
  const auto narrow = [](float v) {
    std::uint16_t bits = from_float<BFloat16>(v).bits;
    if constexpr (kind != Kind::bf16) PTX_ASM("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
    return bits;
  };
  for (int i = lane; i < 16 * K; i += 32) a[i / K][i % K] = narrow(x[i]);
  for (int i = lane; i < K * 8; i += 32) b[i / 8][i % 8] = narrow(x[16 * K + i]);
  __syncwarp();
  float c[4] = {};
#ifdef __CUDA_ARCH__
  u32 fa[4], fb[2], fc[2] = {};
  const u32 a_row = static_cast<u32>(__cvta_generic_to_shared(&a[lane % 16][K == 16 ? lane / 16 * 8 : 0]));
  const u32 b_row = static_cast<u32>(__cvta_generic_to_shared(&b[lane % K][0]));
  if constexpr (K == 16) {
    PTX_ASM("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(a_row));
    PTX_ASM("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(fb[0]), "=r"(fb[1]) : "r"(b_row));
#define PTX_MMA16(types, sums) "mma.sync.aligned.m16n8k16.row.col." types " " sums
    if constexpr (kind == Kind::bf16)
      PTX_ASM(PTX_MMA16("f32.bf16.bf16.f32", "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};")
              : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    if constexpr (kind == Kind::f16)
      PTX_ASM(PTX_MMA16("f32.f16.f16.f32", "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};")
              : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    if constexpr (kind == Kind::f16_sums)
      PTX_ASM(PTX_MMA16("f16.f16.f16.f16", "{%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1};")
              : "+r"(fc[0]), "+r"(fc[1]) : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  } else {
    PTX_ASM("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(fa[0]), "=r"(fa[1]) : "r"(a_row));
    PTX_ASM("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(fb[0]) : "r"(b_row));
    if constexpr (kind == Kind::bf16)
      PTX_ASM("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
              : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fb[0]));
    else
      PTX_ASM("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
              : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fb[0]));
  }
  if constexpr (kind == Kind::f16_sums) {
    for (int i = 0; i < 4; ++i) PTX_ASM("cvt.f32.f16 %0, %1;" : "=f"(c[i]) : "h"(static_cast<std::uint16_t>(fc[i / 2] >> 16 * (i % 2))));
  }
#endif
  for (int i = 0; i < 4; ++i) y[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}

// The same in tf32, each element where the ISA has it.
template <int K> __global__ __launch_bounds__(32) void mma_tf32_kernel(float* y, const float* x) {
  const int lane = static_cast<int>(threadIdx.x), group = lane / 4, in_group = lane % 4;
  float c[4] = {};
#ifdef __CUDA_ARCH__
  u32 fa[4], fb[2];
  for (int i = 0; i < K / 2; ++i) PTX_ASM("cvt.rna.tf32.f32 %0, %1;" : "=r"(fa[i]) : "f"(x[(group + i % 2 * 8) * K + in_group + i / 2 * 4]));
  for (int i = 0; i < K / 4; ++i) PTX_ASM("cvt.rna.tf32.f32 %0, %1;" : "=r"(fb[i]) : "f"(x[16 * K + (in_group + i * 4) * 8 + group]));
  if constexpr (K == 8)
    PTX_ASM("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
  else
    PTX_ASM("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fb[0]));
#endif
  for (int i = 0; i < 4; ++i) y[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2] = c[i];
}

}  // namespace

// ---- to run them -----------------------------------------------------------------------------------------------------

#define PTX_OPERATION(name, R, r, I, i, text, expected)                                                                          \
  std::vector<R> name(const std::vector<I>& a, const std::vector<I>& b, const std::vector<I>& c) {                               \
    const Buffer<I> from_a(a), from_b(b), from_c(c);                                                                             \
    const Buffer<R> y(a.size());                                                                                                 \
    PASTICHE_CUDA_CHECK(launch(name##_kernel, {.stream = nullptr, .blocks = grid(ceil_div(std::ssize(a), threads)), .threads = threads}, \
                               y, from_a, from_b, from_c, static_cast<int>(a.size())));                                          \
    return y.host();                                                                                                             \
  }
#include "ptx_kernels/isa.def"
#undef PTX_OPERATION

std::vector<u32> run(const std::string& name, const std::vector<u32>& x, std::size_t outputs) {
  const Buffer<u32> from(x);
  const Buffer<u32> y(outputs);
  float* const y_floats = reinterpret_cast<float*>(static_cast<u32*>(y));
  const float* const x_floats = reinterpret_cast<const float*>(static_cast<u32*>(from));
  const LaunchShape warp = {.stream = nullptr, .blocks = 1, .threads = 32};
  const auto error = [&]() -> cudaError_t {
    if (name == "tables") return launch(tables_kernel, warp, y, from);
    if (name == "shared") return launch(shared_kernel, {.stream = nullptr, .blocks = 1, .threads = 64, .shared = 64 * sizeof(u32)}, y, from);
    if (name == "unwritten") return launch(unwritten_kernel, {.stream = nullptr, .blocks = 1, .threads = 32, .shared = 32 * sizeof(u32)}, y, from);
    if (name == "vectors") return launch(vectors_kernel, warp, y, from);
    if (name == "atomics") return launch(atomics_kernel, {.stream = nullptr, .blocks = 1, .threads = 64}, y, from);
    if (name == "call") return launch(call_kernel, warp, y, from);
    if (name == "switch") return launch(switch_kernel, warp, y, from);
    if (name == "failing") return launch(failing_kernel, warp, y, from);
    if (name == "jump") return launch(jump_kernel, warp, y, from);
    if (name == "shuffle up") return launch(shuffle_kernel<0>, warp, y, from);
    if (name == "shuffle down") return launch(shuffle_kernel<1>, warp, y, from);
    if (name == "shuffle bfly") return launch(shuffle_kernel<2>, warp, y, from);
    if (name == "shuffle idx") return launch(shuffle_kernel<3>, warp, y, from);
    if (name == "votes") return launch(votes_kernel, warp, y, from);
    if (name == "counts") return launch(counts_kernel, {.stream = nullptr, .blocks = 1, .threads = 96}, y, from);
    if (name == "copies") return launch(copies_kernel<false>, warp, y, from);
    if (name == "early copies") return launch(copies_kernel<true>, warp, y, from);
    if (name == "mma bf16 16") return launch(mma_kernel<Kind::bf16, 16>, warp, y_floats, x_floats);
    if (name == "mma bf16 8") return launch(mma_kernel<Kind::bf16, 8>, warp, y_floats, x_floats);
    if (name == "mma f16 16") return launch(mma_kernel<Kind::f16, 16>, warp, y_floats, x_floats);
    if (name == "mma f16 8") return launch(mma_kernel<Kind::f16, 8>, warp, y_floats, x_floats);
    if (name == "mma f16 sums 16") return launch(mma_kernel<Kind::f16_sums, 16>, warp, y_floats, x_floats);
    if (name == "mma tf32 8") return launch(mma_tf32_kernel<8>, warp, y_floats, x_floats);
    if (name == "mma tf32 4") return launch(mma_tf32_kernel<4>, warp, y_floats, x_floats);
    throw Error(ExitCode::failed, "no such kernel: " + name);
  }();
  PASTICHE_CUDA_CHECK(error);
  return y.host();
}

// What backends/cuda/cuda.cpp has in the backend.
void throw_cuda_error(cudaError_t error, const char* call, const char* file, int line) {
  throw Error(ExitCode::device, std::string(cudaGetErrorString(error)) + " from " + call + " at " + file + ":" + std::to_string(line));
}

}  // namespace pastiche::PASTICHE_TARGET
