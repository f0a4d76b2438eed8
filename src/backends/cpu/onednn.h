#pragma once
// Primitives of oneDNN, made once for each geometry and kept. Their workspace comes from the backend's pool.
#include <compare>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <tuple>

#include "pastiche/backend.h"

namespace pastiche {

// A convolution as oneDNN computes it: no upsampling, each side with its own padding, far sides padded as far as y reaches.
struct ConvShape {
  enum class Pass : std::uint8_t { forward, dgrad, wgrad } pass;
  DType dtype, result;                     // of what is read and of what is written, but for weights
  std::int64_t n, h, w, c;                 // x [N,H,W,C]
  std::int64_t p, q, k;                    // y [N,P,Q,K]
  std::int64_t r, s;                       // w [K,R,S,C / groups]
  std::int64_t stride, top, left, dilation, groups;
  bool accumulate = false;                 // forward: y is added to
  bool reversed = false;                   // of two convolutions of one shape and one weight, one may be the other's adjoint
  auto operator<=>(const ConvShape&) const = default;
};

struct GemmShape {
  DType dtype, result;
  Transpose ta, tb;
  std::int64_t m, n, k;
  auto operator<=>(const GemmShape&) const = default;
};

class OneDnn;

// One primitive. Weights are kept in the order it wants, for the last tensor it was run with: repeating that for a layer of
// the same geometry costs far less than a convolution, and what lives for one step only leaves nothing behind.
class ConvPlan {
 public:
  ConvPlan(OneDnn& dnn, const ConvShape& shape);
  ~ConvPlan();
  ConvPlan(const ConvPlan&) = delete;
  ConvPlan& operator=(const ConvPlan&) = delete;

  // forward: x -> y, dgrad: dy -> dx. packed() is asked first; `values` [K,R,S,C / groups] were made from w.
  bool packed(const Tensor& w) const { return w.buffer_id() == packed_id_ && w.version() == packed_version_; }
  void pack(const Tensor& w, const Tensor& values);
  void run(const void* from, void* to);
  void run_wgrad(const void* x, const void* dy, float* dw);

 private:
  void execute(std::initializer_list<std::pair<int, dnnl::memory>> arguments);

  OneDnn& dnn_;
  dnnl::primitive primitive_;
  dnnl::memory::desc from_, to_, weights_, plain_weights_, scratchpad_;  // wgrad: x, dy
  dnnl::reorder reorder_;                                                // plain to packed; wgrad: packed to plain
  ConvShape::Pass pass_;
  void* packed_weights_ = nullptr;
  std::uint64_t packed_id_ = 0, packed_version_ = 0;
};

// Weights of a convolution that our own code computes, in the order that it reads. They are kept from the second call with the
// same tensor on: those that a training step changes each time need their memory for other things.
struct KeptWeights {
  void* data = nullptr;
  std::size_t bytes = 0;
  std::uint64_t seen_id = 0, seen_version = 0;  // of the last call
  bool filled = false;

  bool holds(const Tensor& w) const { return filled && w.buffer_id() == seen_id && w.version() == seen_version; }
  // Whether what is now made of w is to be kept, in `data`.
  bool keep(Backend& memory, const Tensor& w, std::size_t size) {
    const bool again = w.buffer_id() == seen_id && w.version() == seen_version;
    seen_id = w.buffer_id(), seen_version = w.version();
    if (again && data == nullptr) data = memory.allocate(bytes = size);
    if (!again) release(memory);
    return filled = again;
  }
  void release(Backend& memory) {
    if (data != nullptr) memory.release(data, bytes);
    data = nullptr;
    filled = false;
  }
};

class OneDnn {
 public:
  OneDnn(Backend& memory, int threads);
  ~OneDnn();

  // Holds the plans for one thread and sets its number of OpenMP threads, for the length of a kernel.
  class Use {
   public:
    explicit Use(OneDnn& dnn);
    ~Use();

   private:
    std::lock_guard<std::mutex> lock_;
    int threads_before_;
  };

  ConvPlan& conv(const ConvShape& shape);
  void gemm(const GemmShape& shape, const void* a, const void* b, void* y);
  KeptWeights& kept_weights(std::int64_t inputs, std::int64_t outputs, bool reversed) {
    return kept_[{inputs, outputs, reversed}];
  }

  // bf16 where both are, and where this processor's oneDNN has it
  DType compute_dtype(const Tensor& a, const Tensor& b) const {
    return has_bf16_ && a.dtype() == DType::bf16 && b.dtype() == DType::bf16 ? DType::bf16 : DType::f32;
  }
  bool has_avx512() const { return has_avx512_; }
  std::string instruction_set() const;

  Backend& memory;
  const int threads;
  dnnl::engine engine;
  dnnl::stream stream;

 private:
  struct GemmPlan {
    dnnl::memory::desc a, b, y, scratchpad;
    dnnl::matmul primitive;
  };

  static constexpr std::size_t max_plans = 512;  // pictures of many sizes must not fill the memory with primitives

  std::mutex mutex_;
  bool has_bf16_, has_avx512_;
  std::map<ConvShape, ConvPlan> convs_;
  std::map<GemmShape, GemmPlan> gemms_;
  std::map<std::tuple<std::int64_t, std::int64_t, bool>, KeptWeights> kept_;
};

}  // namespace pastiche
