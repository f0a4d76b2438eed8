#pragma once
// The cuda backend with the vendor's convolutions, GEMM and norms in place of ours: what our kernels are measured against. At the
// vendor's best: NHWC, plans and algorithms found by running all that cuDNN's and cuBLAS's heuristics offer for a shape, with the
// workspace that they ask for. Compiled with PASTICHE_TARGET=cuda; it is no part of the library.
#include <cublasLt.h>

#include <map>
#include <optional>
#include <string>

#include "backends/cuda/cuda.h"
#include "vendor_graph.h"

namespace pastiche::bench {

struct CudnnOptions {
  Tf32 tf32 = Tf32::no;
  // Take the first plan that runs, without a search.
  bool first_plan = false;
  // An upsampling convolution's phases are our idea: the vendor computes the whole map. With this, tensors in the form of phases
  // hold the whole map instead, so that no time goes to putting it into phases and back; the form is then only a name. Without
  // it, they are what backend.h says.
  bool phases_hold_the_map = false;
};

class CudnnBackend final : public cuda::CudaBackend {
 public:
  explicit CudnnBackend(const CudnnOptions& options);
  ~CudnnBackend() override;

  std::string fingerprint() const override;

  void conv2d(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p) override;
  void conv2d_norm_stats(Tensor& y, Tensor& mean, Tensor& var, const Tensor& x, const Tensor& w, const Conv& p, const NormAct& s) override;
  void conv2d_bias_act(Tensor& y, const Tensor& x, const Tensor& w, const Tensor& bias, const Conv& p, const Activation& a) override;
  void conv2d_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p) override;
  void conv2d_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p) override;
  void gemm(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p) override;
  void norm_stats(Tensor& mean, Tensor& var, const Tensor& x, const NormAct& p) override;
  void norm_act(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                const NormAct& p) override;
  void norm_act_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x, const Tensor& mean,
                     const Tensor& var, const Tensor& gamma, const Tensor& beta, const NormAct& p) override;
  void join_phases(Tensor& y, const Tensor& x, Phases from) override;
  void split_phases(Tensor& y, const Tensor& x, Phases to) override;

  // How often our kernel ran in place of one that the vendor does not have.
  long stand_ins() const { return stand_ins_; }

 private:
  struct Matmul {  // of cuBLASLt, as it was chosen
    cublasLtMatmulAlgo_t algorithm;
    std::size_t workspace;
  };
  struct Upsampled {
    std::uint64_t version;
    Tensor map;
  };

  Tensor make(const Shape& shape, DType dtype) { return Tensor::empty(*this, shape, dtype); }
  bool is_capturing() const;
  // Milliseconds that it takes; none where it returns false.
  template <class Run> std::optional<float> time(Run run);
  // False where cuDNN has no plan for the graph that `build` makes.
  template <class Build>
  bool run_graph(const std::string& key, std::size_t most, Build build, const std::vector<const void*>& data);

  Tensor in_dtype(const Tensor& x, DType dtype);  // x itself, or a copy
  Tensor map_of(const Tensor& x, Phases from);    // [N,2H,2W,K]
  Tensor held_form(const Tensor& x, Phases form) const;
  Conv held_form(Conv p) const;
  NormAct held_form(NormAct p) const;
  Tensor upsampled(const Tensor& x, bool keep);
  bool convolve(Tensor& y, const Tensor& x, const Tensor& w, const Conv& p);
  bool convolve_dgrad(Tensor& dx, const Tensor& dy, const Tensor& w, const Conv& p);
  bool convolve_wgrad(Tensor& dw, const Tensor& x, const Tensor& dy, const Conv& p);
  bool multiply(Tensor& y, const Tensor& a, const Tensor& b, const Gemm& p);
  bool normalize(Tensor& y, const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                 const NormAct& p);
  bool normalize_grad(Tensor& dx, Tensor& dgamma, Tensor& dbeta, const Tensor& dy, const Tensor& x, const Tensor& mean,
                      const Tensor& var, const Tensor& gamma, const Tensor& beta, const NormAct& p);

  CudnnOptions options_;
  cudnnHandle_t cudnn_ = nullptr;
  cublasLtHandle_t cublas_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  std::map<std::string, std::optional<Plan>> plans_;
  std::map<std::string, std::optional<Matmul>> matmuls_;
  std::map<std::uint64_t, Upsampled> upsampled_;  // by the id of the map's buffer
  long stand_ins_ = 0;
};

}  // namespace pastiche::bench
