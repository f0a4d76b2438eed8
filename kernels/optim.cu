// Adam with an average of the weights, the search for what is not finite, and the step's figures. The formulas stand in
// kernels.def.
// Policy: one launch for up to 256 tensors, which come in a table in the kernel's parameters; 256 threads a block, 4096 elements
// of one tensor a block, in vectors of 16 bytes. The numbers that are the same for all elements come from f64, once a block.
#include <limits>

#include "backends/cuda/cuda.h"
#include "elementwise.cuh"

namespace pastiche::PASTICHE_TARGET {

constexpr int table_size = 256, table_threads = 256;
constexpr std::int64_t block_elements = 4096;

// Tensors of one launch, and the blocks that each of them has.
template <class Entry> struct TensorTable {
  int count = 0;
  int first_block[table_size + 1] = {};  // [count]: how many there are
  Entry at[table_size];

  void add(const Entry& entry) {
    at[count] = entry;
    first_block[count + 1] = first_block[count] + static_cast<int>(ceil_div(entry.elements, block_elements));
    ++count;
  }
  int blocks() const { return first_block[count]; }
};

// Calls body(table, index of its first tensor) for the tensors i < count, given by entry(i), as many at once as a table holds.
template <class Make, class Body> void for_tables(std::size_t count, Make make, Body body) {
  for (std::size_t first = 0; first < count; first += table_size) {
    TensorTable<decltype(make(first))> table;
    for (std::size_t i = first; i < std::min(count, first + table_size); ++i) table.add(make(i));
    if (table.blocks() > 0) body(table, static_cast<int>(first));
  }
}

// The tensor that this block works on: the last whose first block is not after it.
template <class Entry> __device__ inline int tensor_of_block(const TensorTable<Entry>& table) {
  int low = 0, high = table.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.first_block[middle] <= static_cast<int>(blockIdx.x)) low = middle;
    else high = middle - 1;
  }
  return low;
}

namespace {

const StepState* state_of(const Tensor& state) { return reinterpret_cast<const StepState*>(state.data<std::uint8_t>()); }
StepState* state_of(Tensor& state) { return reinterpret_cast<StepState*>(state.mutable_data<std::uint8_t>()); }

}  // namespace

// ---- Adam ------------------------------------------------------------------------------------------------------------
struct AdamEntry {
  float* value;
  const float* grad;
  float *m, *v, *ema;  // ema may be absent
  std::int64_t elements;
};

struct AdamConstants {
  float beta1, beta2, one_minus_beta1, one_minus_beta2, eps;
};

__device__ inline double power(double base, std::int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent /= 2, base *= base) {
    if (exponent % 2 != 0) result *= base;
  }
  return result;
}

__global__ __launch_bounds__(table_threads) void adam_ema_kernel(TensorTable<AdamEntry> table, AdamConstants p, double beta1,
                                                                 double beta2, const StepState::Optim* now, const double* average_step) {
  __shared__ float shared_step_size, shared_inverse_root;
  if (threadIdx.x == 0) {
    shared_step_size = static_cast<float>(now->lr / (1.0 - power(beta1, now->t)));
    shared_inverse_root = static_cast<float>(1.0 / sqrt(1.0 - power(beta2, now->t)));
  }
  __syncthreads();
  const float step_size = shared_step_size, inverse_root = shared_inverse_root, ema_step = static_cast<float>(*average_step);
  const int i = tensor_of_block(table);
  float* const value = table.at[i].value;
  const float* const grad = table.at[i].grad;
  float *const m = table.at[i].m, *const v = table.at[i].v, *const ema = table.at[i].ema;
  const auto update = [&](float& w, float g, float& mean, float& square) {
    mean = fmaf(p.one_minus_beta1, g, p.beta1 * mean);
    square = fmaf(p.one_minus_beta2 * g, g, p.beta2 * square);
    w -= step_size * mean / fmaf(sqrtf(square), inverse_root, p.eps);
  };
  const auto average = [&](float before, float w) { return fmaf(ema_step, w - before, before); };
  const std::int64_t begin = (static_cast<int>(blockIdx.x) - table.first_block[i]) * block_elements;
  const std::int64_t n = table.at[i].elements, end = min(begin + block_elements, n);
  for (std::int64_t at = begin + threadIdx.x * 4; at < end; at += table_threads * 4) {
    if (at + 4 <= end) {
      const Vector<float, 4> g = load_vector<4>(grad + at);
      Vector<float, 4> w = load_vector<4>(value + at), mean = load_vector<4>(m + at), square = load_vector<4>(v + at);
      for (int j = 0; j < 4; ++j) update(w.at[j], g.at[j], mean.at[j], square.at[j]);
      store_vector(value + at, w);
      store_vector(m + at, mean);
      store_vector(v + at, square);
      if (ema != nullptr) {
        Vector<float, 4> e = load_vector<4>(ema + at);
        for (int j = 0; j < 4; ++j) e.at[j] = average(e.at[j], w.at[j]);
        store_vector(ema + at, e);
      }
    } else {
#pragma unroll 1  // at most three turns
      for (std::int64_t k = at; k < end; ++k) {
        float w = value[k], mean = m[k], square = v[k];
        update(w, grad[k], mean, square);
        value[k] = w;
        m[k] = mean;
        v[k] = square;
        if (ema != nullptr) ema[k] = average(ema[k], w);
      }
    }
  }
}

void CudaBackend::launch_adam_ema(const AdamTensors& tensors, const Adam& p, const Tensor& state) {
  const AdamConstants constants{.beta1 = static_cast<float>(p.beta1),
                                .beta2 = static_cast<float>(p.beta2),
                                .one_minus_beta1 = static_cast<float>(1 - p.beta1),
                                .one_minus_beta2 = static_cast<float>(1 - p.beta2),
                                .eps = static_cast<float>(p.eps)};
  const auto entry = [&](std::size_t i) {
    return AdamEntry{tensors.value[i].mutable_data<float>(),
                     tensors.grad[i].data<float>(),
                     tensors.m[i].mutable_data<float>(),
                     tensors.v[i].mutable_data<float>(),
                     tensors.ema.empty() ? nullptr : tensors.ema[i].mutable_data<float>(),
                     tensors.value[i].elements()};
  };
  for_tables(tensors.value.size(), entry, [&](const TensorTable<AdamEntry>& table, int) {
    PASTICHE_CUDA_CHECK(launch(adam_ema_kernel,
                               {.stream = stream(), .blocks = grid(table.blocks()), .threads = table_threads}, table, constants,
                               p.beta1, p.beta2, &state_of(state)->optim[static_cast<std::size_t>(p.slot)],
                               &state_of(state)->ema_step));
  });
}

// ---- ema -------------------------------------------------------------------------------------------------------------
struct EmaStep {
  const StepState* state;
  __device__ float operator()(float y, float x) const { return fmaf(static_cast<float>(state->ema_step), x - y, y); }
};

void CudaBackend::launch_ema(Tensor& y, const Tensor& x, const Tensor& state) {
  map(stream(), y, EmaStep{state_of(state)}, y, x);
}

// ---- the search for what is not finite -------------------------------------------------------------------------------
struct SearchEntry {
  const void* data;
  std::int64_t elements;
  bool bf16;
};

// The exponent of a NaN or an infinity is all ones; two bf16 lie in a word.
__device__ inline bool nonfinite(std::uint32_t word, bool bf16) {
  return (word & 0x7f800000u) == 0x7f800000u || (bf16 && (word & 0x7f80u) == 0x7f80u);
}

// first: the least index of a tensor that was found, all ones before. The least does not depend on who comes first.
__global__ __launch_bounds__(table_threads) void find_nonfinite_kernel(unsigned* first, TensorTable<SearchEntry> table,
                                                                       int first_index) {
  const int i = tensor_of_block(table);
  const bool bf16 = table.at[i].bf16;
  const std::int64_t begin = (static_cast<int>(blockIdx.x) - table.first_block[i]) * block_elements;
  const std::int64_t elements = min(block_elements, table.at[i].elements - begin), bytes = elements * (bf16 ? 2 : 4);
  const auto* const data = static_cast<const unsigned char*>(table.at[i].data) + begin * (bf16 ? 2 : 4);
  const auto* const words = reinterpret_cast<const std::uint32_t*>(data);
  bool found = false;
  std::int64_t at = threadIdx.x * 16;
  for (; at + 16 <= bytes; at += table_threads * 16) {
    const Vector<std::uint32_t, 4> four = load_vector<4>(words + at / 4);
    for (int j = 0; j < 4; ++j) found = found || nonfinite(four.at[j], bf16);
  }
#pragma unroll 1
  for (; at < bytes; at += bf16 ? 2 : 4) {  // the elements after the last whole vector, by one thread
    const std::uint32_t word = bf16 ? *reinterpret_cast<const std::uint16_t*>(data + at) : words[at / 4];
    found = found || nonfinite(word, bf16);
  }
  if (found) atomicMin(first, static_cast<unsigned>(first_index + i));
}

__global__ __launch_bounds__(1) void store_nonfinite_kernel(StepState* state, const unsigned* first, int first_id) {
  if (state->nonfinite < 0 && *first != 0xffffffffu) state->nonfinite = first_id + static_cast<int>(*first);
}

void CudaBackend::launch_find_nonfinite(Tensor& state, std::span<const Tensor> tensors, int first_id) {
  Tensor first = Tensor::empty(*this, {1}, DType::i32);
  auto* const at = reinterpret_cast<unsigned*>(first.mutable_data<std::int32_t>());
  PASTICHE_CUDA_CHECK(cudaMemsetAsync(at, 0xff, sizeof *at, stream()));
  const auto entry = [&](std::size_t i) {
    const Tensor& x = tensors[i];
    if (x.dtype() != DType::bf16) return SearchEntry{x.data<float>(), x.elements(), false};
    return SearchEntry{x.data<BFloat16>(), x.elements(), true};
  };
  for_tables(tensors.size(), entry, [&](const TensorTable<SearchEntry>& table, int first_index) {
    PASTICHE_CUDA_CHECK(launch(find_nonfinite_kernel,
                               {.stream = stream(), .blocks = grid(table.blocks()), .threads = table_threads}, at, table,
                               first_index));
  });
  PASTICHE_CUDA_CHECK(launch(store_nonfinite_kernel, {.stream = stream(), .blocks = dim3(1), .threads = 1}, state_of(state), at,
                             first_id));
}

// ---- figures ---------------------------------------------------------------------------------------------------------
template <class T> __global__ __launch_bounds__(1) void store_metric_kernel(double* metric, const T* x) {
  *metric = static_cast<double>(to_float(*x));
}

void CudaBackend::launch_store_metric(Tensor& state, const Tensor& x, int slot) {
  with_float(x.dtype(), [&]<class T>(T) {
    PASTICHE_CUDA_CHECK(launch(store_metric_kernel<T>, {.stream = stream(), .blocks = dim3(1), .threads = 1},
                               &state_of(state)->metric[static_cast<std::size_t>(slot)], x.data<T>()));
  });
}

}  // namespace pastiche::PASTICHE_TARGET
