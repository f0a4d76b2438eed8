#include "cudnn_backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "backends/cuda/check.h"

namespace pastiche::bench {
namespace {

using cuda::CudaBackend;
using cuda::NvtxRange;

[[noreturn]] void throw_cublas_error(cublasStatus_t status, const char* call, const char* file, int line) {
  throw Error(ExitCode::device, fmt::format("cuBLAS: {} from {} at {}:{}", cublasLtGetStatusString(status), call, file, line));
}

#define PASTICHE_CUBLAS_CHECK(...)                                                             \
  do {                                                                                         \
    const cublasStatus_t pastiche_status = (__VA_ARGS__);                                      \
    if (pastiche_status != CUBLAS_STATUS_SUCCESS)                                              \
      throw_cublas_error(pastiche_status, #__VA_ARGS__, __FILE__, __LINE__);                   \
  } while (false)

constexpr std::size_t all_plans = SIZE_MAX;
constexpr std::size_t most_compiled_plans = 3;  // of graphs that cuDNN compiles at run time, which takes it a second each
constexpr std::size_t most_upsampled = 8;       // maps kept for the weight gradient: more than any model has upsamplings

bool any_empty(std::initializer_list<const Tensor*> tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor* x) { return x->elements() == 0; });
}

Shape joined_shape(const Shape& x, Phases from) {
  switch (from) {
    case Phases::inner: return {x[0], 2 * x[1], 2 * x[2], x[3] / 4};
    case Phases::outer: return {x[0] / 4, 2 * x[1], 2 * x[2], x[3]};
    default: return x;
  }
}

// Any [...,C] as pictures.
Shape picture_shape(const Shape& x) { return x.rank() == 4 ? x : Shape{x.rows(), 1, 1, x.last()}; }

std::string geometry(const Conv& p) { return fmt::format("{} {} {}", p.stride, p.pad, p.dilation); }

}  // namespace

CudnnBackend::CudnnBackend(const CudnnOptions& options) : options_(options) {
  PASTICHE_CUDNN_CHECK(cudnnCreate(&cudnn_));
  PASTICHE_CUDNN_CHECK(cudnnSetStream(cudnn_, stream()));
  PASTICHE_CUBLAS_CHECK(cublasLtCreate(&cublas_));
  PASTICHE_CUDA_CHECK(cudaEventCreate(&begin_));
  PASTICHE_CUDA_CHECK(cudaEventCreate(&end_));
}

CudnnBackend::~CudnnBackend() {
  upsampled_.clear();
  plans_.clear();
  cudaEventDestroy(end_);
  cudaEventDestroy(begin_);
  cublasLtDestroy(cublas_);
  cudnnDestroy(cudnn_);
}

std::string CudnnBackend::fingerprint() const {
  const std::size_t dnn = cudnnGetVersion(), blas = cublasLtGetVersion();
  return fmt::format("cuDNN {}.{}.{}, cuBLAS {}.{}.{}{}, on {}", dnn / 10000, dnn / 100 % 100, dnn % 100, blas / 10000,
                     blas / 100 % 100, blas % 100, options_.tf32 == Tf32::yes ? ", TF32" : "", CudaBackend::fingerprint());
}

bool CudnnBackend::is_capturing() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  PASTICHE_CUDA_CHECK(cudaStreamIsCapturing(stream(), &status));
  return status != cudaStreamCaptureStatusNone;
}

template <class Run> std::optional<float> CudnnBackend::time(Run run) {
  if (!run()) return std::nullopt;  // and the first run's preparations are done
  float best = 1e9f;
  for (int i = 0; i < 3; ++i) {
    PASTICHE_CUDA_CHECK(cudaEventRecord(begin_, stream()));
    run();
    PASTICHE_CUDA_CHECK(cudaEventRecord(end_, stream()));
    PASTICHE_CUDA_CHECK(cudaEventSynchronize(end_));
    float milliseconds = 0;
    PASTICHE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin_, end_));
    best = std::min(best, milliseconds);
  }
  return best;
}

template <class Build>
bool CudnnBackend::run_graph(const std::string& key, std::size_t most, Build build, const std::vector<const void*>& data) {
  const auto run = [&](const Plan& plan) {
    Tensor workspace = make({static_cast<std::int64_t>(plan.workspace())}, DType::u8);
    return plan.run(cudnn_, data, workspace.mutable_raw());
  };
  const auto [at, is_new] = plans_.try_emplace(key);
  std::optional<Plan>& chosen = at->second;
  if (is_new) {
    bench::Graph graph;
    build(graph);
    // While a step is recorded nothing can be tried.
    const bool search = !options_.first_plan && !is_capturing();
    std::optional<float> best;
    for (Plan& plan : graph.plans({.handle = cudnn_}, options_.tf32, most)) {
      const std::optional<float> milliseconds = search      ? time([&] { return run(plan); })
                                                : run(plan) ? std::optional(0.0f)
                                                            : std::nullopt;
      if (!milliseconds || (best && *best <= *milliseconds)) continue;
      best = milliseconds;
      chosen.emplace(std::move(plan));
      if (!search) break;
    }
  }
  return chosen && run(*chosen);
}

Tensor CudnnBackend::in_dtype(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = make(x.shape(), dtype);
  CudaBackend::cast(y, x);
  return y;
}

Tensor CudnnBackend::map_of(const Tensor& x, Phases from) {
  const Shape shape = joined_shape(x.shape(), from);
  if (from == Phases::none || options_.phases_hold_the_map) return x.reshaped(shape);
  Tensor y = make(shape, x.dtype());
  CudaBackend::join_phases(y, x, from);
  return y;
}

// A tensor, and a kernel's parameters, as our kernels must see them.
Tensor CudnnBackend::held_form(const Tensor& x, Phases form) const {
  return options_.phases_hold_the_map ? x.reshaped(joined_shape(x.shape(), form)) : x;
}

Conv CudnnBackend::held_form(Conv p) const {
  if (options_.phases_hold_the_map) p.out = Phases::none;
  return p;
}

NormAct CudnnBackend::held_form(NormAct p) const {
  if (options_.phases_hold_the_map) p.from = Phases::none;
  return p;
}

// ---- conv ------------------------------------------------------------------------------------------------------------

// An upsampling is our kernel, then the vendor's convolution of the whole map: what everyone does. The weight gradient finds the
// map that the forward pass made, as it does where a framework saves it.
Tensor CudnnBackend::upsampled(const Tensor& x, bool keep) {
  if (const auto at = upsampled_.find(x.buffer_id()); !keep && at != upsampled_.end() && at->second.version == x.version()) {
    return at->second.map;
  }
  const Shape& s = x.shape();
  Tensor u = make({s[0], 2 * s[1], 2 * s[2], s[3]}, x.dtype());
  CudaBackend::upsample(u, x, 2);
  upsampled_.insert_or_assign(x.buffer_id(), Upsampled{x.version(), u});
  if (upsampled_.size() > most_upsampled) upsampled_.erase(upsampled_.begin());  // ids grow: the oldest
  return u;
}

bool CudnnBackend::convolve(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p) {
  const DType dtype = x.dtype();
  const Tensor weights = in_dtype(w, dtype);
  return run_graph(
      fmt::format("conv2d {} {} {} {} {}", dtype_name(dtype), y.shape().str(), x.shape().str(), w.shape().str(), geometry(p)),
      all_plans,
      [&](bench::Graph& g) {
        const auto out = g.activation(y.shape(), dtype), in = g.activation(x.shape(), dtype), filter = g.filter(w.shape(), dtype);
        g.conv2d(out, in, filter, p);
      },
      {y.mutable_raw(), x.raw(), weights.raw()});
}

bool CudnnBackend::convolve_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p) {
  const DType dtype = dy.dtype();
  const Tensor weights = in_dtype(w, dtype);
  return run_graph(
      fmt::format("dgrad {} {} {} {} {}", dtype_name(dtype), dx.shape().str(), dy.shape().str(), w.shape().str(), geometry(p)),
      all_plans,
      [&](bench::Graph& g) {
        const auto out = g.activation(dx.shape(), dtype), in = g.activation(dy.shape(), dtype),
                   filter = g.filter(w.shape(), dtype);
        g.conv2d_dgrad(out, in, filter, p);
      },
      {dx.mutable_raw(), dy.raw(), weights.raw()});
}

// cuDNN writes the weight gradient in the type of its inputs.
bool CudnnBackend::convolve_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p) {
  const DType dtype = x.dtype();
  Tensor out = dtype == dw.dtype() ? dw : make(dw.shape(), dtype);
  const bool done = run_graph(
      fmt::format("wgrad {} {} {} {} {}", dtype_name(dtype), dw.shape().str(), x.shape().str(), dy.shape().str(), geometry(p)),
      all_plans,
      [&](bench::Graph& g) {
        const auto filter = g.filter(dw.shape(), dtype), in = g.activation(x.shape(), dtype),
                   gradient = g.activation(dy.shape(), dtype);
        g.conv2d_wgrad(filter, in, gradient, p);
      },
      {out.mutable_raw(), x.raw(), dy.raw()});
  if (done && dtype != dw.dtype()) CudaBackend::cast(dw, out);
  return done;
}

void CudnnBackend::conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p) {
  const NvtxRange range("cudnn conv2d");
  if (!any_empty({&y, &x, &w})) {
    if (p.upsample == 1 && convolve(y, x, w, p)) return;
    if (p.upsample == 2) {
      const Tensor u = upsampled(x, true);
      const bool whole = p.out == Phases::none || options_.phases_hold_the_map;
      const Shape shape = joined_shape(y.shape(), p.out);
      Tensor map = whole ? y.reshaped(shape) : make(shape, y.dtype());
      if (convolve(map, u, w, p)) {
        if (!whole) CudaBackend::split_phases(y, map, p.out);
        return;
      }
    }
    ++stand_ins_;
  }
  Tensor to = held_form(y, p.out);
  CudaBackend::conv2d(to, x, w, held_form(p));
}

// cuDNN's convolution, then our pass over its result: no epilogue of ours is in the vendor's column.
void CudnnBackend::conv2d_norm_stats(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& w, const Conv& p,
                                     const NormAct& s) {
  conv2d(y, x, w, p);
  norm_stats(mean, var, y, s);
}

void CudnnBackend::conv2d_bias_act(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias, const Conv& p, const Activation& a) {
  conv2d(y, x, w, p);
  bias_act(y, y, bias, a);
}

void CudnnBackend::conv2d_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p) {
  const NvtxRange range("cudnn conv2d_dgrad");
  if (!any_empty({&dx, &dy, &w})) {
    if (p.upsample == 1 && convolve_dgrad(dx, dy, w, p)) return;
    if (p.upsample == 2) {
      const Shape& s = dx.shape();
      Tensor du = make({s[0], 2 * s[1], 2 * s[2], s[3]}, dx.dtype());
      if (convolve_dgrad(du, map_of(dy, p.out), w, p)) return CudaBackend::upsample_grad(dx, du, 2);
    }
    ++stand_ins_;
  }
  CudaBackend::conv2d_dgrad(dx, held_form(dy, p.out), w, held_form(p));
}

void CudnnBackend::conv2d_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p) {
  const NvtxRange range("cudnn conv2d_wgrad");
  if (!any_empty({&dw, &x, &dy})) {
    if (p.upsample == 1 && convolve_wgrad(dw, x, dy, p)) return;
    if (p.upsample == 2 && convolve_wgrad(dw, upsampled(x, false), map_of(dy, p.out), p)) return;
    ++stand_ins_;
  }
  CudaBackend::conv2d_wgrad(dw, x, held_form(dy, p.out), held_form(p));
}

void CudnnBackend::join_phases(Tensor& y, const Tensor& x, Phases from) {
  if (options_.phases_hold_the_map) CudaBackend::cast(y, x.reshaped(y.shape()));
  else CudaBackend::join_phases(y, x, from);
}

void CudnnBackend::split_phases(Tensor& y, const Tensor& x, Phases to) {
  if (options_.phases_hold_the_map) CudaBackend::cast(y, x.reshaped(y.shape()));
  else CudaBackend::split_phases(y, x, to);
}

// ---- gemm ------------------------------------------------------------------------------------------------------------

namespace {

cudaDataType_t cuda_type(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// A row-major [R,C] is to cuBLAS, which counts by columns, a [C,R].
class Layout {
 public:
  explicit Layout(const Tensor& x) {
    const auto rows = static_cast<std::uint64_t>(x.shape()[0]), columns = static_cast<std::uint64_t>(x.shape()[1]);
    PASTICHE_CUBLAS_CHECK(cublasLtMatrixLayoutCreate(&raw_, cuda_type(x.dtype()), columns, rows, x.shape()[1]));
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(raw_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t raw() const { return raw_; }

 private:
  cublasLtMatrixLayout_t raw_ = nullptr;
};

class MatmulDescription {
 public:
  MatmulDescription(cublasComputeType_t compute, Transpose left, Transpose right) {
    PASTICHE_CUBLAS_CHECK(cublasLtMatmulDescCreate(&raw_, compute, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, left);
    set(CUBLASLT_MATMUL_DESC_TRANSB, right);
  }
  ~MatmulDescription() { cublasLtMatmulDescDestroy(raw_); }
  MatmulDescription(const MatmulDescription&) = delete;
  MatmulDescription& operator=(const MatmulDescription&) = delete;
  cublasLtMatmulDesc_t raw() const { return raw_; }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, Transpose transpose) {
    const cublasOperation_t value = transpose == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
    PASTICHE_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(raw_, attribute, &value, sizeof value));
  }
  cublasLtMatmulDesc_t raw_ = nullptr;
};

class MatmulPreference {
 public:
  explicit MatmulPreference(std::size_t most_workspace) {
    PASTICHE_CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&raw_));
    PASTICHE_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(raw_, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most_workspace,
                                                               sizeof most_workspace));
  }
  ~MatmulPreference() { cublasLtMatmulPreferenceDestroy(raw_); }
  MatmulPreference(const MatmulPreference&) = delete;
  MatmulPreference& operator=(const MatmulPreference&) = delete;
  cublasLtMatmulPreference_t raw() const { return raw_; }

 private:
  cublasLtMatmulPreference_t raw_ = nullptr;
};

}  // namespace

// y = op(a) op(b) by rows is y^T = op(b)^T op(a)^T by columns, and a matrix by rows is its own transpose by columns: so b comes
// first, and what is transposed stays so.
bool CudnnBackend::multiply(Tensor& y, const Tensor& a_given, const Tensor& b_given, const Gemm& p) {
  const bool bf16 = a_given.dtype() == DType::bf16 || b_given.dtype() == DType::bf16;
  const DType dtype = bf16 ? DType::bf16 : DType::f32;
  const Tensor a = in_dtype(a_given, dtype), b = in_dtype(b_given, dtype);
  const Layout left(b), right(a), out(y);
  const MatmulDescription description(!bf16 && options_.tf32 == Tf32::yes ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                      p.b, p.a);
  const float one = 1, zero = 0;
  void* const to = y.mutable_raw();
  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm, std::size_t bytes) {
    Tensor workspace = make({static_cast<std::int64_t>(bytes)}, DType::u8);
    return cublasLtMatmul(cublas_, description.raw(), &one, b.raw(), left.raw(), a.raw(), right.raw(), &zero, to, out.raw(), to,
                          out.raw(), &algorithm, workspace.mutable_raw(), bytes, stream());
  };
  const auto [at, is_new] =
      matmuls_.try_emplace(fmt::format("{} {} {} {} {} {}", dtype_name(dtype), dtype_name(y.dtype()), a.shape().str(),
                                       b.shape().str(), p.a == Transpose::yes, p.b == Transpose::yes));
  std::optional<Matmul>& chosen = at->second;
  if (is_new) {
    constexpr int most = 32;
    const MatmulPreference preference(std::size_t{64} << 20);
    std::vector<cublasLtMatmulHeuristicResult_t> results(most);
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(cublas_, description.raw(), left.raw(), right.raw(), out.raw(),
                                                                 out.raw(), preference.raw(), most, results.data(), &count);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) PASTICHE_CUBLAS_CHECK(status);
    results.resize(static_cast<std::size_t>(status == CUBLAS_STATUS_SUCCESS ? count : 0));
    const bool search = !options_.first_plan && !is_capturing();
    std::optional<float> best;
    for (const cublasLtMatmulHeuristicResult_t& each : results) {
      if (each.state != CUBLAS_STATUS_SUCCESS) continue;
      const std::optional<float> milliseconds =
          search ? time([&] { return run(each.algo, each.workspaceSize) == CUBLAS_STATUS_SUCCESS; }) : std::optional(0.0f);
      if (!milliseconds || (best && *best <= *milliseconds)) continue;
      best = milliseconds;
      chosen = Matmul{each.algo, each.workspaceSize};
      if (!search) break;
    }
  }
  if (!chosen) return false;
  PASTICHE_CUBLAS_CHECK(run(chosen->algorithm, chosen->workspace));
  return true;
}

void CudnnBackend::gemm(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) {
  const NvtxRange range("cublas gemm");
  if (!any_empty({&y, &a, &b})) {
    if (multiply(y, a, b, p)) return;
    ++stand_ins_;
  }
  CudaBackend::gemm(y, a, b, p);
}

// ---- norm ------------------------------------------------------------------------------------------------------------
// Statistics alone are not among cuDNN's kernels for f32: ours stay. What follows them is a fused graph of cuDNN.

namespace {

// gamma (x - mean) / sqrt(var + eps) + beta, as an intermediate.
bench::Graph::Id normalized(bench::Graph& g, const Shape& shape, bench::Graph::Id x, bench::Graph::Id mean, bench::Graph::Id var,
                            bench::Graph::Id gamma, bench::Graph::Id beta, bench::Graph::Id eps) {
  const Shape channels{1, 1, 1, shape.last()};
  const auto widened = g.intermediate(channels), inverse = g.intermediate(channels), centered = g.intermediate(shape),
             scaled = g.intermediate(shape), stretched = g.intermediate(shape), moved = g.intermediate(shape);
  g.pointwise(CUDNN_POINTWISE_ADD, widened, var, eps);
  g.pointwise(CUDNN_POINTWISE_RSQRT, inverse, widened);
  g.pointwise(CUDNN_POINTWISE_SUB, centered, x, mean);
  g.pointwise(CUDNN_POINTWISE_MUL, scaled, centered, inverse);
  g.pointwise(CUDNN_POINTWISE_MUL, stretched, scaled, gamma);
  g.pointwise(CUDNN_POINTWISE_ADD, moved, stretched, beta);
  return moved;
}

}  // namespace

bool CudnnBackend::normalize(Tensor& y, const Tensor& x_form, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                             const Tensor& beta, const NormAct& p) {
  if (mean.shape().rank() != 1) return false;  // the graphs are those of a batch norm
  const Tensor x = map_of(x_form, p.from);
  const Shape shape = picture_shape(x.shape());
  const auto eps = static_cast<float>(p.eps);
  return run_graph(fmt::format("norm_act {} {} {}", dtype_name(x.dtype()), shape.str(), p.slope), most_compiled_plans,
                   [&](bench::Graph& g) {
                     const std::int64_t c = shape.last();
                     const auto out = g.activation(shape, x.dtype()), in = g.activation(shape, x.dtype()), m = g.per_channel(c),
                                v = g.per_channel(c), scale = g.per_channel(c), shift = g.per_channel(c), epsilon = g.number();
                     g.leaky_relu(out, normalized(g, shape, in, m, v, scale, shift, epsilon), p.slope);
                   },
                   {y.mutable_raw(), x.raw(), mean.raw(), var.raw(), gamma.raw(), beta.raw(), &eps});
}

// Three launches: 1 / sqrt(var + eps); the gradient at the norm's result, whose sign is found again; cuDNN's own gradient of a
// batch norm.
bool CudnnBackend::normalize_grad(Tensor& dx_form, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x_form,
                                  const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                                  const NormAct& p) {
  if (mean.shape().rank() != 1) return false;
  const Tensor x = map_of(x_form, p.from);
  const Shape shape = picture_shape(x.shape());
  const std::int64_t c = shape.last();
  const DType dtype = x.dtype();
  const auto eps = static_cast<float>(p.eps);
  Tensor inverse = make({c}, DType::f32), g_at = make(x.shape(), dtype);
  const bool whole = p.from == Phases::none || options_.phases_hold_the_map;
  Tensor dx = whole ? dx_form.reshaped(x.shape()) : make(x.shape(), dtype);
  const bool done =
      run_graph(
          fmt::format("inverse deviation {}", c), most_compiled_plans,
          [&](bench::Graph& g) {
            const auto out = g.per_channel(c), v = g.per_channel(c), epsilon = g.number(), widened = g.intermediate({1, 1, 1, c});
            g.pointwise(CUDNN_POINTWISE_ADD, widened, v, epsilon);
            g.pointwise(CUDNN_POINTWISE_RSQRT, out, widened);
          },
          {inverse.mutable_raw(), var.raw(), &eps}) &&
      run_graph(fmt::format("norm_act gradient {} {} {}", dtype_name(dtype), shape.str(), p.slope), most_compiled_plans,
                [&](bench::Graph& g) {
                  const auto out = g.activation(shape, dtype), upper = g.activation(shape, dtype),
                             in = g.activation(shape, dtype), m = g.per_channel(c), v = g.per_channel(c),
                             scale = g.per_channel(c), shift = g.per_channel(c), epsilon = g.number();
                  g.leaky_relu_grad(out, upper, normalized(g, shape, in, m, v, scale, shift, epsilon), p.slope);
                },
                {g_at.mutable_raw(), dy.raw(), x.raw(), mean.raw(), var.raw(), gamma.raw(), beta.raw(), &eps}) &&
      run_graph(fmt::format("batch norm gradient {} {}", dtype_name(dtype), shape.str()), most_compiled_plans,
                [&](bench::Graph& g) {
                  const auto out = g.activation(shape, dtype), scale_out = g.per_channel(c), shift_out = g.per_channel(c),
                             upper = g.activation(shape, dtype), in = g.activation(shape, dtype), m = g.per_channel(c),
                             deviation = g.per_channel(c), scale = g.per_channel(c);
                  g.batch_norm_grad(out, scale_out, shift_out, upper, in, m, deviation, scale);
                },
                {dx.mutable_raw(), dgamma.mutable_raw(), dbeta.mutable_raw(), g_at.raw(), x.raw(), mean.raw(), inverse.raw(),
                 gamma.raw()});
  if (done && !whole) CudaBackend::split_phases(dx_form, dx, p.from);
  return done;
}

void CudnnBackend::norm_stats(Tensor& mean, Tensor& var, const Tensor& x, const NormAct& p) {
  CudaBackend::norm_stats(mean, var, held_form(x, p.from), held_form(p));
}

void CudnnBackend::norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                            const Tensor& beta, const NormAct& p) {
  const NvtxRange range("cudnn norm_act");
  if (x.elements() > 0) {
    if (normalize(y, x, mean, var, gamma, beta, p)) return;
    ++stand_ins_;
  }
  CudaBackend::norm_act(y, held_form(x, p.from), mean, var, gamma, beta, held_form(p));
}

void CudnnBackend::norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x, const Tensor& mean,
                                 const Tensor& var, const Tensor& gamma, const Tensor& beta, const NormAct& p) {
  const NvtxRange range("cudnn norm_act_grad");
  if (x.elements() > 0) {
    if (normalize_grad(dx, dgamma, dbeta, dy, x, mean, var, gamma, beta, p)) return;
    ++stand_ins_;
  }
  Tensor to = held_form(dx, p.from);
  CudaBackend::norm_act_grad(to, dgamma, dbeta, dy, held_form(x, p.from), mean, var, gamma, beta, held_form(p));
}

}  // namespace pastiche::bench
