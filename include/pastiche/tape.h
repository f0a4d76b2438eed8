#pragma once
// Reverse-mode differentiation on an arena of nodes. Index order is topological order, so there is no graph search; the
// nodes, what they saved and every Var that stands on them die together at reset().
//
// An op runs its kernel and then records how to go back, in the same function:
//
//   Var tanh(const Var& x) {
//     Tensor y = Tensor::empty(...);
//     backend.tanh(y, x.value());
//     return record("tanh", y, {x}, [](const Var& y, const Var& dy, Needs) -> Grads { return {tanh_grad(dy, y)}; });
//   }
//
// What the lambda captures is exactly what is saved for backward; one that takes no y does not keep its output either.
// Backward is written in ops, so gradients can be differentiated again (CreateGraph::yes).
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "pastiche/tensor.h"

namespace pastiche {

class Tape;

// A tensor, and where it stands on a tape, if anywhere. Cheap to copy.
class Var {
 public:
  Var() = default;
  Var(Tensor constant);  // NOLINT: a constant is what a tensor means in an op

  bool defined() const { return tensor_.defined(); }
  bool tracked() const { return id_ != constant_id; }

  // Throws if the tape was reset since, or if the tensor was written since this Var was made.
  const Tensor& value() const;
  double item() const { return value().item(); }  // of a scalar, as a loss is
  const Shape& shape() const { return tensor_.shape(); }
  DType dtype() const { return tensor_.dtype(); }
  Backend& backend() const { return tensor_.backend(); }

  // A persistent leaf: what a parameter is to every tape. `leaf` comes from new_leaf_id().
  static Var leaf(Tensor value, std::int32_t leaf);
  static std::int32_t new_leaf_id();

 private:
  friend class Tape;
  friend std::vector<Var> grad(const Var&, std::span<const Var>, const struct GradOptions&);
  static constexpr std::int32_t constant_id = -1;  // below it: leaves; from 0: nodes of the tape

  Tensor tensor_;
  std::uint64_t version_ = 0;
  Tape* tape_ = nullptr;
  std::uint64_t generation_ = 0;
  std::int32_t id_ = constant_id;
};

// Which inputs of a node want a gradient.
class Needs {
 public:
  explicit Needs(std::uint32_t bits) : bits_(bits) {}
  bool operator[](int input) const { return (bits_ >> input & 1u) != 0; }

 private:
  std::uint32_t bits_;
};

// One gradient per input, in order; an undefined Var where none was needed.
class Grads {
 public:
  static constexpr int max_inputs = 8;
  Grads(std::initializer_list<Var> grads);
  Grads() = default;
  void push_back(Var grad);
  int size() const { return size_; }
  Var& operator[](int i) { return grads_[i]; }

 private:
  Var grads_[max_inputs];
  int size_ = 0;
};

class Tape {
 public:
  Tape();
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // An input to differentiate by, for the life of the tape's contents.
  Var leaf(Tensor value);
  void reset();
  std::size_t size() const { return nodes_.size(); }

  // The tape that ops of this thread record on; nullptr for none.
  static Tape* current();

 private:
  template <class Backward> friend Var record(const char*, Tensor, std::span<const Var>, Backward);
  friend std::vector<Var> grad(const Var&, std::span<const Var>, const struct GradOptions&);
  friend class Var;

  struct Node {
    const char* name;
    const std::int32_t* inputs;
    int input_count;
    Tensor output;  // only where backward takes it
    std::uint64_t output_version;
    Shape shape;
    DType dtype;
    void* closure;  // in the arena
    Grads (*run)(void* closure, const Var& y, const Var& dy, Needs);
    void (*destroy)(void* closure);
  };

  void* allocate(std::size_t bytes);
  Node& add_node(const char* name, const Tensor& y, std::span<const Var> inputs);
  Var var_of(std::int32_t id, Tensor value, std::uint64_t version) const;

  std::vector<Node*> nodes_;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t chunk_ = 0, used_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> large_;
  std::uint64_t generation_ = 1;
};

// Ops of this thread record on the tape, or (nullptr) on none, until the end of the scope.
class Recording {
 public:
  explicit Recording(Tape* tape);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  Tape* before_;
};

// The end of every op: y, and how to get from dy to the gradients of the inputs. `backward` is called as (y, dy, need) or
// as (dy, need). Nothing is recorded where no tape is current or no input is tracked.
template <class Backward>
Var record(const char* name, Tensor y, std::span<const Var> inputs, Backward backward) {
  constexpr bool takes_output = std::is_invocable_v<Backward&, const Var&, const Var&, Needs>;
  Tape* tape = Tape::current();
  bool tracked = false;
  for (const Var& input : inputs) tracked = tracked || input.tracked();
  if (tape == nullptr || !tracked) return Var(std::move(y));
  Tape::Node& node = tape->add_node(name, y, inputs);
  static_assert(alignof(Backward) <= alignof(std::max_align_t));
  node.closure = new (tape->allocate(sizeof(Backward))) Backward(std::move(backward));
  node.destroy = [](void* closure) { static_cast<Backward*>(closure)->~Backward(); };
  node.run = [](void* closure, [[maybe_unused]] const Var& y, const Var& dy, Needs need) -> Grads {
    if constexpr (takes_output) return (*static_cast<Backward*>(closure))(y, dy, need);
    else return (*static_cast<Backward*>(closure))(dy, need);
  };
  if constexpr (takes_output) node.output = y;
  node.output_version = y.version();
  return tape->var_of(static_cast<std::int32_t>(tape->nodes_.size()) - 1, std::move(y), node.output_version);
}
template <class Backward>
Var record(const char* name, Tensor y, std::initializer_list<Var> inputs, Backward backward) {
  return record(name, std::move(y), std::span<const Var>(inputs.begin(), inputs.size()), std::move(backward));
}

enum class CreateGraph : bool { no, yes };

struct GradOptions {
  CreateGraph create_graph = CreateGraph::no;
  Var cotangent = {};  // of out; 1 where not given, and then out is a scalar
};

// d out / d wrt, one for each of wrt, as values: nothing is stored in the graph. Zeros for what out does not depend on.
// Only the paths between out and wrt are walked: a frozen network costs no weight gradients.
std::vector<Var> grad(const Var& out, std::span<const Var> wrt, const GradOptions& options = {});
inline std::vector<Var> grad(const Var& out, std::initializer_list<Var> wrt, const GradOptions& options = {}) {
  return grad(out, std::span<const Var>(wrt.begin(), wrt.size()), options);
}

// The value without its history.
Var detach(const Var& x);

}  // namespace pastiche
