#include "pastiche/tape.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "pastiche/backend.h"
#include "pastiche/ops.h"

namespace pastiche {
namespace {

constexpr std::size_t chunk_bytes = 64 * 1024;
thread_local Tape* current_tape = nullptr;
std::atomic<std::int32_t> leaf_count{0};

}  // namespace

Var::Var(Tensor constant) : tensor_(std::move(constant)) {
  if (tensor_.defined()) version_ = tensor_.version();
}

Var Var::leaf(Tensor value, std::int32_t leaf) {
  Var v(std::move(value));
  v.id_ = leaf;
  return v;
}

std::int32_t Var::new_leaf_id() { return constant_id - ++leaf_count; }

const Tensor& Var::value() const {
  if (!tensor_.defined()) throw Error(ExitCode::bad_shape, "use of a Var that holds nothing");
  if (tape_ != nullptr && tape_->generation_ != generation_) {
    throw Error(ExitCode::failed, fmt::format("use of a stale Var {}: its tape was reset", tensor_.shape().str()));
  }
  if (tensor_.version() != version_) {
    throw Error(ExitCode::failed, fmt::format("{} was written after it was saved",
                                              tensor_.name().empty() ? "a tensor " + tensor_.shape().str() : tensor_.name()));
  }
  return tensor_;
}

Grads::Grads(std::initializer_list<Var> grads) {
  for (const Var& g : grads) push_back(g);
}

void Grads::push_back(Var grad) {
  if (size_ == max_inputs) throw Error(ExitCode::failed, fmt::format("an op takes at most {} inputs", int{max_inputs}));
  grads_[size_++] = std::move(grad);
}

Tape::Tape() = default;
Tape::~Tape() { reset(); }

Var Tape::leaf(Tensor value) {
  Node& node = add_node("leaf", value, {});
  node.closure = nullptr;
  const std::uint64_t version = value.version();
  return var_of(static_cast<std::int32_t>(nodes_.size()) - 1, std::move(value), version);
}

void Tape::reset() {
  for (Node* node : nodes_) {
    if (node->closure != nullptr) node->destroy(node->closure);
    node->~Node();
  }
  nodes_.clear();
  large_.clear();
  chunk_ = used_ = 0;
  ++generation_;
}

Tape* Tape::current() { return current_tape; }

Recording::Recording(Tape* tape) : before_(std::exchange(current_tape, tape)) {}
Recording::~Recording() { current_tape = before_; }

void* Tape::allocate(std::size_t bytes) {
  constexpr std::size_t align = alignof(std::max_align_t);
  bytes = (bytes + align - 1) / align * align;
  if (bytes > chunk_bytes) return large_.emplace_back(new std::byte[bytes]).get();
  if (used_ + bytes > chunk_bytes) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) chunks_.emplace_back(new std::byte[chunk_bytes]);
  void* place = chunks_[chunk_].get() + used_;
  used_ += bytes;
  return place;
}

Tape::Node& Tape::add_node(const char* name, const Tensor& y, std::span<const Var> inputs) {
  auto* ids = static_cast<std::int32_t*>(allocate(inputs.size() * sizeof(std::int32_t)));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Var& input = inputs[i];
    if (input.tape_ != nullptr && (input.tape_ != this || input.generation_ != generation_)) {
      throw Error(ExitCode::failed, fmt::format("{}: input {} is of another tape, or of before its reset", name, i));
    }
    ids[i] = input.id_;
  }
  auto* node = new (allocate(sizeof(Node))) Node{.name = name,
                                                 .inputs = ids,
                                                 .input_count = static_cast<int>(inputs.size()),
                                                 .output = {},
                                                 .output_version = y.version(),
                                                 .shape = y.shape(),
                                                 .dtype = y.dtype(),
                                                 .closure = nullptr,
                                                 .run = nullptr,
                                                 .destroy = nullptr};
  nodes_.push_back(node);
  return *node;
}

Var Tape::var_of(std::int32_t id, Tensor value, std::uint64_t version) const {
  Var v;
  v.tensor_ = std::move(value);
  v.version_ = version;
  v.tape_ = const_cast<Tape*>(this);
  v.generation_ = generation_;
  v.id_ = id;
  return v;
}

std::vector<Var> grad(const Var& out, std::span<const Var> wrt, const GradOptions& options) {
  out.value();  // throws where out is stale
  std::vector<Var> result(wrt.size());
  const bool has_cotangent = options.cotangent.defined();
  if (!has_cotangent && out.value().elements() != 1) {
    throw Error(ExitCode::failed, fmt::format("grad: out is {}, not a scalar, and no cotangent was given", out.shape().str()));
  }
  if (has_cotangent && options.cotangent.shape() != out.shape()) {
    throw Error(ExitCode::failed, fmt::format("grad: the cotangent is {}, out is {}", options.cotangent.shape().str(),
                                              out.shape().str()));
  }
  Tape* tape = out.tape_;
  const Recording recording(options.create_graph == CreateGraph::yes ? tape : nullptr);

  // Where the gradient of a node or leaf goes; several of wrt may be the same.
  std::vector<std::pair<std::int32_t, std::size_t>> wanted;  // (id, index in wrt), sorted
  for (std::size_t i = 0; i < wrt.size(); ++i) {
    wrt[i].value();
    if (wrt[i].tracked()) wanted.emplace_back(wrt[i].id_, i);
  }
  std::sort(wanted.begin(), wanted.end());
  const auto is_wanted = [&](std::int32_t id) {
    const auto at = std::lower_bound(wanted.begin(), wanted.end(), std::pair{id, std::size_t{0}});
    return at != wanted.end() && at->first == id;
  };
  const auto deliver = [&](std::int32_t id, const Var& g) {
    for (auto at = std::lower_bound(wanted.begin(), wanted.end(), std::pair{id, std::size_t{0}});
         at != wanted.end() && at->first == id; ++at) {
      Var& r = result[at->second];
      r = r.defined() ? add(r, g) : g;
    }
  };

  const Var seed = has_cotangent ? options.cotangent : Var(Tensor::full(out.backend(), out.shape(), 1, out.dtype()));
  if (tape == nullptr) {  // a leaf or a constant: no node stands between
    if (out.tracked()) deliver(out.id_, seed);
  } else {
    // leads[i]: something wanted lies at or below node i.
    std::vector<char> leads(static_cast<std::size_t>(out.id_) + 1, 0);
    const auto leads_on = [&](std::int32_t id) { return id >= 0 ? leads[id] != 0 : id != Var::constant_id && is_wanted(id); };
    for (std::int32_t i = 0; i <= out.id_; ++i) {
      const Tape::Node& node = *tape->nodes_[i];
      leads[i] = is_wanted(i);
      for (int k = 0; k < node.input_count && leads[i] == 0; ++k) leads[i] = leads_on(node.inputs[k]);
    }
    std::vector<Var> cotangents(leads.size());
    cotangents[out.id_] = seed;
    for (std::int32_t i = out.id_; i >= 0; --i) {
      if (!cotangents[i].defined() || leads[i] == 0) continue;
      const Var dy = std::exchange(cotangents[i], Var());
      if (is_wanted(i)) deliver(i, dy);
      const Tape::Node& node = *tape->nodes_[i];
      std::uint32_t need = 0;
      for (int k = 0; k < node.input_count; ++k) need |= leads_on(node.inputs[k]) ? 1u << k : 0u;
      if (need == 0) continue;
      const Var y = node.output.defined() ? tape->var_of(i, node.output, node.output_version) : Var();
      Grads grads = node.run(node.closure, y, dy, Needs(need));
      for (int k = 0; k < node.input_count; ++k) {
        if ((need >> k & 1u) == 0) continue;
        const std::int32_t id = node.inputs[k];
        if (k >= grads.size() || !grads[k].defined()) continue;  // the derivative is zero
        if (id < 0) {
          deliver(id, grads[k]);
        } else {
          Var& sum = cotangents[id];
          sum = sum.defined() ? add(sum, grads[k]) : std::move(grads[k]);
        }
      }
    }
  }
  for (std::size_t i = 0; i < wrt.size(); ++i) {
    if (!result[i].defined()) result[i] = Tensor::full(wrt[i].backend(), wrt[i].shape(), 0, wrt[i].dtype());
  }
  return result;
}

Var detach(const Var& x) { return Var(x.value()); }

}  // namespace pastiche
