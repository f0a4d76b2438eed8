#pragma once
// Tensor cores and asynchronous copies, one function an instruction of the PTX ISA, for sm_80 and later. On a host compiler each is
// what src/simt has for it. A kernel that uses them has an empty body on older architectures (PASTICHE_MMA), and is not launched there.
#include "device.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define PASTICHE_MMA
#endif

namespace pastiche::PASTICHE_TARGET {

// ---- shared memory, as these instructions address it -----------------------------------------------------------------
#ifdef __CUDACC__
using SharedAddress = std::uint32_t;
#else
using SharedAddress = std::uintptr_t;
#endif

__device__ inline SharedAddress shared_address(const void* at) {
#ifdef __CUDACC__
  return static_cast<SharedAddress>(__cvta_generic_to_shared(at));
#else
  return reinterpret_cast<SharedAddress>(at);
#endif
}

// In asm statements: sm_75 has none of them, and the host compiler, which reads kernels for their names, knows no registers of a GPU.
#if defined(__CUDA_ARCH__) && defined(PASTICHE_MMA)
#define PASTICHE_ASM(...) asm volatile(__VA_ARGS__)
#else
#define PASTICHE_ASM(...) static_cast<void>(0)
#endif
#ifdef __CUDACC__
#define PASTICHE_SIMT(...) static_cast<void>(0)
#else
#define PASTICHE_SIMT(...) __VA_ARGS__
#endif

// ---- cp.async --------------------------------------------------------------------------------------------------------
// 16 bytes from global to shared memory, past the first-level cache, both aligned to 16; where not `inside`, zeros, and `from` is not
// read. The thread sees them after copy_async_wait, others after a barrier that follows it.
__device__ inline void copy_async(SharedAddress to, const void* from, bool inside) {
  // The size is chosen at the operand: nvcc then makes a predicate of it, and not a register.
  PASTICHE_ASM("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
  PASTICHE_SIMT(simt_copy_async(reinterpret_cast<void*>(to), from, inside ? 16 : 0));
}
// What this thread began since the last call is a group; waits until all groups but the latest `Others` are there.
__device__ inline void copy_async_commit() {
  PASTICHE_ASM("cp.async.commit_group;" ::: "memory");
  PASTICHE_SIMT(simt_copy_async_commit());
}
template <int Others> __device__ inline void copy_async_wait() {
  PASTICHE_ASM("cp.async.wait_group %0;" ::"n"(Others) : "memory");
  PASTICHE_SIMT(simt_copy_async_wait(Others));
}

// ---- ldmatrix --------------------------------------------------------------------------------------------------------
// Four matrices of 8 x 8 bf16. Lane 8 i + r gives the address of row r of matrix i, 16 bytes; of each matrix lane 4 r + c gets
// elements 2 c and 2 c + 1 of row r.
__device__ inline void load_matrices(std::uint32_t (&to)[4], SharedAddress row) {
  PASTICHE_ASM("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(row) : "memory");
  PASTICHE_SIMT(simt_ldmatrix_x4(to, reinterpret_cast<const void*>(row)));
}
// The same, transposed: elements 2 c and 2 c + 1 of column r.
__device__ inline void load_matrices_transposed(std::uint32_t (&to)[4], SharedAddress row) {
  PASTICHE_ASM("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(row) : "memory");
  PASTICHE_SIMT(simt_ldmatrix_x4_trans(to, reinterpret_cast<const void*>(row)));
}

// ---- words -----------------------------------------------------------------------------------------------------------
__device__ inline std::uint32_t load_word(SharedAddress from) {
  std::uint32_t word = 0;
  PASTICHE_ASM("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(from) : "memory");
  PASTICHE_SIMT(word = *reinterpret_cast<const std::uint32_t*>(from));
  return word;
}

// ---- mma -------------------------------------------------------------------------------------------------------------
// sums += A B, 16 x 8 sums in f32, of which lane 4 g + c has those of rows g and g + 8 at columns 2 c and 2 c + 1, row by row.
//
// A [16,16] and B [16,8] in bf16, two elements a register. Lane 4 g + c has of A: (g, 2c), (g + 8, 2c), (g, 2c + 8), (g + 8, 2c + 8), each
// with its right neighbour; of B: (2c, g) and (2c + 8, g), each with the one below.
__device__ inline void mma_bf16(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  PASTICHE_ASM("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  PASTICHE_SIMT(simt_mma_bf16(sums, a, b0, b1));
}
// The nearest tf32, of two the one further from 0: an f32 whose last 13 bits are 0.
__device__ inline float round_to_tf32(float x) {
  std::uint32_t rounded = 0;
  PASTICHE_ASM("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  PASTICHE_SIMT(rounded = x != x ? 0x7fffffffu : (__float_as_uint(x) + 0x1000u) & ~0x1fffu);
  return __uint_as_float(rounded);
}
// A [16,8] and B [8,8] in f32, of which the last 13 bits are not read (tf32). Lane 4 g + c has of A: (g, c), (g + 8, c), (g, c + 4),
// (g + 8, c + 4); of B: (c, g) and (c + 4, g).
__device__ inline void mma_tf32(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  PASTICHE_ASM("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  PASTICHE_SIMT(simt_mma_tf32(sums, a, b0, b1));
}

#undef PASTICHE_SIMT
#undef PASTICHE_ASM

}  // namespace pastiche::PASTICHE_TARGET
