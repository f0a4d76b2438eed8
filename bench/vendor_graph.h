#pragma once
// cuDNN's graphs: operations on tensors of known shape, and the plans that its heuristics offer for them. Everything is NHWC.
#include <cudnn.h>

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "pastiche/backend.h"

namespace pastiche::bench {

[[noreturn]] void throw_cudnn_error(cudnnStatus_t status, const char* call, const char* file, int line);

#define PASTICHE_CUDNN_CHECK(...)                                                                          \
  do {                                                                                                     \
    const cudnnStatus_t pastiche_status = (__VA_ARGS__);                                                   \
    if (pastiche_status != CUDNN_STATUS_SUCCESS)                                                           \
      ::pastiche::bench::throw_cudnn_error(pastiche_status, #__VA_ARGS__, __FILE__, __LINE__);             \
  } while (false)

// One of the backend API's descriptors.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) { PASTICHE_CUDNN_CHECK(cudnnBackendCreateDescriptor(type, &raw_)); }
  ~Descriptor() {
    if (raw_ != nullptr) cudnnBackendDestroyDescriptor(raw_);
  }
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&&) = delete;

  cudnnBackendDescriptor_t raw() const { return raw_; }

  template <class T> void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const std::vector<T>& values) {
    PASTICHE_CUDNN_CHECK(cudnnBackendSetAttribute(raw_, name, type, static_cast<std::int64_t>(values.size()), values.data()));
  }
  template <class T> void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    PASTICHE_CUDNN_CHECK(cudnnBackendSetAttribute(raw_, name, type, 1, &value));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) { set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.raw_); }
  void finalize() { PASTICHE_CUDNN_CHECK(cudnnBackendFinalize(raw_)); }
  bool try_finalize() { return cudnnBackendFinalize(raw_) == CUDNN_STATUS_SUCCESS; }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

// Where plans are made for: a handle's GPU, or one that is only described.
struct PlanTarget {
  cudnnHandle_t handle = nullptr;
  const Descriptor* properties = nullptr;  // CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR
};

enum class Tf32 : bool { no, yes };  // may sums of f32 products take the tensor cores, which round the factors to 10 bits?

// One way to run a graph.
class Plan {
 public:
  std::size_t workspace() const { return workspace_; }
  // `data`: of the graph's tensors that are not intermediate, in the order in which they were made; on the handle's stream.
  // False where it can't run after all, which some only find out here.
  bool run(cudnnHandle_t handle, const std::vector<const void*>& data, void* workspace) const;

 private:
  friend class Graph;
  Plan(Descriptor config, Descriptor plan, std::vector<std::int64_t> ids, std::shared_ptr<const std::vector<Descriptor>> graph);

  Descriptor config_, plan_;
  std::vector<std::int64_t> ids_;
  std::shared_ptr<const std::vector<Descriptor>> graph_;
  std::size_t workspace_ = 0;
};

class Graph {
 public:
  using Id = std::int64_t;

  Id activation(const Shape& nhwc, DType dtype) { return tensor(nhwc, dtype, Kind::real); }
  Id filter(const Shape& krsc, DType dtype) { return tensor(krsc, dtype, Kind::real); }
  Id per_channel(std::int64_t channels) { return tensor({1, 1, 1, channels}, DType::f32, Kind::real); }
  Id number() { return tensor({1, 1, 1, 1}, DType::f32, Kind::by_value); }  // its data is a float of the host
  Id intermediate(const Shape& nhwc) { return tensor(nhwc, DType::f32, Kind::intermediate); }

  void conv2d(Id y, Id x, Id w, const Conv& p);
  void conv2d_dgrad(Id dx, Id dy, Id w, const Conv& p);
  void conv2d_wgrad(Id dw, Id x, Id dy, const Conv& p);
  // y = mode(x), or mode(x, b)
  void pointwise(cudnnPointwiseMode_t mode, Id y, Id x, Id b = -1);
  void leaky_relu(Id y, Id x, double slope);
  void leaky_relu_grad(Id dx, Id dy, Id x, double slope);
  // dgamma and dbeta of a batch norm, and dx
  void batch_norm_grad(Id dx, Id dgamma, Id dbeta, Id dy, Id x, Id mean, Id inverse_deviation, Id gamma);

  // At most so many; the best first as the heuristics see it, then what they fall back to. Asked for once.
  std::vector<Plan> plans(const PlanTarget& target, Tf32 tf32, std::size_t most);

 private:
  enum class Kind : std::uint8_t { real, intermediate, by_value };
  Id tensor(const Shape& shape, DType dtype, Kind kind);
  const Descriptor& at(Id id) const { return (*descriptors_)[static_cast<std::size_t>(id)]; }
  const Descriptor& convolution(const Conv& p);
  const Descriptor& pointwise_mode(cudnnPointwiseMode_t mode, std::optional<double> slope = {});
  void add(Descriptor operation);

  std::shared_ptr<std::vector<Descriptor>> descriptors_ = std::make_shared<std::vector<Descriptor>>();  // tensors first, by id
  std::deque<Descriptor> modes_;  // of the operations
  std::vector<Descriptor> operations_;
  std::vector<std::int64_t> ids_;  // of those that are not intermediate
  bool bf16_ = false, convolves_ = false;
};

}  // namespace pastiche::bench
