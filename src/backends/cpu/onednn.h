#pragma once
// Primitives of oneDNN, made once for each geometry and kept. Their workspace comes from the backend's pool.
#include <compare>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <string>
#include <tuple>

#include "backends/cpu/conv_rules.h"
#include "backends/cpu/vectorise.h"
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

// Weights in the order that code of our own reads them in. They are kept from the second call with the same tensor on: weights
// that a training step changes each time would only take memory from it.
struct KeptWeights {
  std::optional<cpu::Scratch<float>> values;
  std::uint64_t last_id = 0, last_version = 0;

  // Whether w is what it was at the last call. If not, nothing is kept any more.
  bool again(const Tensor& w) {
    const bool same = w.buffer_id() == last_id && w.version() == last_version;
    last_id = w.buffer_id(), last_version = w.version();
    if (!same) values.reset();
    return same;
  }
  float* make(Backend& memory, std::int64_t count) { return values.emplace(memory, count).get(); }
};

// Parallel regions of this thread get exactly so many threads, whatever the environment says, as long as the limit of all threads
// leaves them: oneDNN plans for a number, and its barriers wait for that many.
class OpenMpTeam {
 public:
  explicit OpenMpTeam(int threads);
  ~OpenMpTeam();
  OpenMpTeam(const OpenMpTeam&) = delete;
  OpenMpTeam& operator=(const OpenMpTeam&) = delete;

 private:
  int threads_before_, dynamic_before_, levels_before_;
};

class OneDnn {
 public:
  OneDnn(Backend& memory, int threads, const ConvRules& rules);

  // Holds the plans for one thread and makes its team the planned one, for the length of a kernel. Where address space is limited,
  // some must be left: oneDNN 2 does not check what it gets for the code that it generates.
  class Use {
   public:
    explicit Use(OneDnn& dnn);

   private:
    std::lock_guard<std::mutex> lock_;
    OpenMpTeam team_;
  };

  ConvPlan& conv(const ConvShape& shape);
  void gemm(const GemmShape& shape, const void* a, const void* b, void* y);
  // Memory for code of our own, until the next call. It is the same for all layers, and grows in few large steps.
  float* workspace(std::int64_t count) {
    constexpr std::int64_t step = std::int64_t{8} << 20;
    if (count > workspace_count_) {
      workspace_.reset();
      workspace_count_ = (count + step - 1) / step * step;
      workspace_.emplace(memory, workspace_count_);
    }
    return workspace_->get();
  }
  KeptWeights& kept_weights(std::int64_t inputs, std::int64_t outputs, bool reversed) {
    return kept_[{inputs, outputs, reversed}];
  }

  // bf16 where both are, and where this processor's oneDNN has it
  DType compute_dtype(const Tensor& a, const Tensor& b) const {
    return has_bf16_ && a.dtype() == DType::bf16 && b.dtype() == DType::bf16 ? DType::bf16 : DType::f32;
  }
  bool has_avx512() const { return has_avx512_; }
  bool has_amx() const { return has_amx_; }
  std::string instruction_set() const;

  Backend& memory;
  const int threads;
  const ConvRules rules;
  dnnl::engine engine;
  dnnl::stream stream;

 private:
  struct GemmPlan {
    dnnl::memory::desc a, b, y, scratchpad;
    dnnl::matmul primitive;
  };

  static constexpr std::size_t max_plans = 512;  // pictures of many sizes must not fill the memory with primitives

  std::mutex mutex_;
  const bool address_space_is_limited_;
  bool has_avx512_, has_bf16_, has_amx_;
  std::map<ConvShape, ConvPlan> convs_;
  std::map<GemmShape, GemmPlan> gemms_;
  std::map<std::tuple<std::int64_t, std::int64_t, bool>, KeptWeights> kept_;
  std::optional<cpu::Scratch<float>> workspace_;
  std::int64_t workspace_count_ = 0;
};

}  // namespace pastiche
