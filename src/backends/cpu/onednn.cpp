#include "backends/cpu/onednn.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>

#include "backends/cpu/cpu.h"
#include "backends/cpu/onednn_version.h"
#include "backends/cpu/vectorise.h"
#include "core/system.h"

namespace pastiche {

using dnnl::memory;
using Tag = memory::format_tag;

namespace {

memory::data_type data_type(DType dtype) {
  return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

[[noreturn]] void rethrow(const dnnl::error& error, const std::string& what) {
  throw Error(error.status == dnnl_out_of_memory ? ExitCode::out_of_memory : ExitCode::failed,
              fmt::format("{}: oneDNN: {}", what, error.what()));
}

dnnl::primitive_attr scratchpad_from_user() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

std::string describe(const ConvShape& s) {
  return fmt::format("convolution {} x [{},{},{},{}], w [{},{},{},{}], stride {}, padding {} {}, dilation {}, groups {}",
                     dtype_name(s.dtype), s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.c / s.groups, s.stride, s.top, s.left,
                     s.dilation, s.groups);
}

}  // namespace

// ---- ConvPlan --------------------------------------------------------------------------------------------------------
ConvPlan::ConvPlan(OneDnn& dnn, const ConvShape& s) : dnn_(dnn), pass_(s.pass) {
  const auto far = [&](std::int64_t in, std::int64_t out, std::int64_t taps, std::int64_t near) {
    return std::max<std::int64_t>(0, (out - 1) * s.stride + (taps - 1) * s.dilation + 1 - in - near);
  };
  const memory::dims strides{s.stride, s.stride}, dilates{s.dilation - 1, s.dilation - 1}, near{s.top, s.left};
  const memory::dims far_sides{far(s.h, s.p, s.r, s.top), far(s.w, s.q, s.s, s.left)};
  const auto written = [&](ConvShape::Pass pass) { return data_type(s.pass == pass ? s.result : s.dtype); };
  const memory::desc x({s.n, s.c, s.h, s.w}, written(ConvShape::Pass::dgrad), Tag::nhwc);
  const memory::desc y({s.n, s.k, s.p, s.q}, written(ConvShape::Pass::forward), Tag::nhwc);
  const memory::dims weight_dims = s.groups == 1
                                       ? memory::dims{s.k, s.c, s.r, s.s}
                                       : memory::dims{s.groups, s.k / s.groups, s.c / s.groups, s.r, s.s};
  plain_weights_ = memory::desc(weight_dims, memory::data_type::f32, s.groups == 1 ? Tag::ohwi : Tag::gohwi);
  const auto any_order = [&](DType dtype) { return memory::desc(weight_dims, data_type(dtype), Tag::any); };
  constexpr auto direct = dnnl::algorithm::convolution_direct;
  dnnl::primitive_attr attributes = scratchpad_from_user();
  if (s.accumulate) {
    dnnl::post_ops add_to;
    add_to.append_sum(1.0f);
    attributes.set_post_ops(add_to);
  }
  try {
    const auto forward = onednn::primitive_desc<dnnl::convolution_forward>(
        dnn.engine, attributes, dnnl::prop_kind::forward_training, direct, x, any_order(s.dtype), y, strides, dilates, near, far_sides);
    if (pass_ == ConvShape::Pass::forward) {
      primitive_ = dnnl::convolution_forward(forward);
      from_ = x, to_ = y, weights_ = forward.weights_desc(), scratchpad_ = forward.scratchpad_desc();
    } else if (pass_ == ConvShape::Pass::dgrad) {
      const auto backward = onednn::backward_primitive_desc<dnnl::convolution_backward_data>(
          dnn.engine, attributes, forward, direct, x, any_order(s.dtype), y, strides, dilates, near, far_sides);
      primitive_ = dnnl::convolution_backward_data(backward);
      from_ = y, to_ = x, weights_ = backward.weights_desc(), scratchpad_ = backward.scratchpad_desc();
    } else {
      const auto backward = onednn::backward_primitive_desc<dnnl::convolution_backward_weights>(
          dnn.engine, attributes, forward, direct, x, any_order(DType::f32), y, strides, dilates, near, far_sides);
      primitive_ = dnnl::convolution_backward_weights(backward);
      from_ = x, to_ = y, weights_ = backward.diff_weights_desc(), scratchpad_ = backward.scratchpad_desc();
    }
    const bool to_plain = pass_ == ConvShape::Pass::wgrad;
    reorder_ = dnnl::reorder(dnnl::reorder::primitive_desc(dnn.engine, to_plain ? weights_ : plain_weights_, dnn.engine,
                                                           to_plain ? plain_weights_ : weights_));
  } catch (const dnnl::error& error) {
    rethrow(error, describe(s));
  }
}

ConvPlan::~ConvPlan() {
  if (packed_weights_ != nullptr) dnn_.memory.release(packed_weights_, weights_.get_size());
}

void ConvPlan::pack(const Tensor& w, const Tensor& values) {
  if (packed_weights_ == nullptr) packed_weights_ = dnn_.memory.allocate(weights_.get_size());
  memory plain(plain_weights_, dnn_.engine, const_cast<void*>(values.raw()));
  memory packed(weights_, dnn_.engine, packed_weights_);
  reorder_.execute(dnn_.stream, plain, packed);
  packed_id_ = w.buffer_id();
  packed_version_ = w.version();
}

void ConvPlan::execute(std::initializer_list<std::pair<int, memory>> arguments) {
  cpu::Scratch<char> scratchpad(dnn_.memory, static_cast<std::int64_t>(scratchpad_.get_size()));
  std::unordered_map<int, memory> all(arguments.begin(), arguments.end());
  all.emplace(DNNL_ARG_SCRATCHPAD, memory(scratchpad_, dnn_.engine, scratchpad.get()));
  try {
    primitive_.execute(dnn_.stream, all);
  } catch (const dnnl::error& error) {
    rethrow(error, "a convolution");
  }
}

void ConvPlan::run(const void* from, void* to) {
  const bool forward = pass_ == ConvShape::Pass::forward;
  execute({{forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST, memory(from_, dnn_.engine, const_cast<void*>(from))},
           {DNNL_ARG_WEIGHTS, memory(weights_, dnn_.engine, packed_weights_)},
           {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_SRC, memory(to_, dnn_.engine, to)}});
}

void ConvPlan::run_wgrad(const void* x, const void* dy, float* dw) {
  cpu::Scratch<char> scratch(dnn_.memory, static_cast<std::int64_t>(weights_.get_size()));
  memory packed(weights_, dnn_.engine, scratch.get());
  memory plain(plain_weights_, dnn_.engine, dw);
  execute({{DNNL_ARG_SRC, memory(from_, dnn_.engine, const_cast<void*>(x))},
           {DNNL_ARG_DIFF_DST, memory(to_, dnn_.engine, const_cast<void*>(dy))},
           {DNNL_ARG_DIFF_WEIGHTS, packed}});
  reorder_.execute(dnn_.stream, packed, plain);
}

// ---- OneDnn ----------------------------------------------------------------------------------------------------------
OneDnn::OneDnn(Backend& memory, int threads, const ConvRules& rules)
    : memory(memory), threads(threads), rules(rules), engine(dnnl::engine::kind::cpu, 0), stream(engine),
      address_space_is_limited_(address_space_is_limited()) {
  const std::string isa = instruction_set();
  has_avx512_ = has_bf16_ = isa.starts_with("avx512_core");
  has_amx_ = isa.starts_with("avx512_core_amx");
}

OpenMpTeam::OpenMpTeam(int threads)
    : threads_before_(omp_get_max_threads()), dynamic_before_(omp_get_dynamic()), levels_before_(omp_get_max_active_levels()) {
  omp_set_num_threads(threads);
  omp_set_dynamic(0);
  omp_set_max_active_levels(1);
}

OpenMpTeam::~OpenMpTeam() {
  omp_set_max_active_levels(levels_before_);
  omp_set_dynamic(dynamic_before_);
  omp_set_num_threads(threads_before_);
}

OneDnn::Use::Use(OneDnn& dnn) : lock_(dnn.mutex_), team_(dnn.threads) {
  if (dnn.threads > 1 && omp_in_parallel()) {
    throw Error(ExitCode::failed, fmt::format("a kernel of {} threads was called in a parallel region of OpenMP, which leaves it one: call it "
                                              "outside, or make a backend of one thread there", dnn.threads));
  }
  constexpr std::size_t enough = 16 << 20;
  if (dnn.address_space_is_limited_) require_address_space(enough, "oneDNN's code");
}

ConvPlan& OneDnn::conv(const ConvShape& shape) {
  auto found = convs_.find(shape);
  if (found == convs_.end()) {
    if (convs_.size() == max_plans) convs_.clear();
    found = convs_.try_emplace(shape, *this, shape).first;
  }
  return found->second;
}

void OneDnn::gemm(const GemmShape& s, const void* a, const void* b, void* y) {
  auto found = gemms_.find(s);
  if (found == gemms_.end()) {
    if (gemms_.size() == max_plans) gemms_.clear();
    GemmPlan plan;
    plan.a = {{s.m, s.k}, data_type(s.dtype), s.ta == Transpose::yes ? Tag::ba : Tag::ab};
    plan.b = {{s.k, s.n}, data_type(s.dtype), s.tb == Transpose::yes ? Tag::ba : Tag::ab};
    plan.y = {{s.m, s.n}, data_type(s.result), Tag::ab};
    try {
      const auto desc = onednn::primitive_desc<dnnl::matmul>(engine, scratchpad_from_user(), plan.a, plan.b, plan.y);
      plan.primitive = dnnl::matmul(desc);
      plan.scratchpad = desc.scratchpad_desc();
    } catch (const dnnl::error& error) {
      rethrow(error, fmt::format("gemm {} [{},{}] by [{},{}]", dtype_name(s.dtype), s.m, s.k, s.k, s.n));
    }
    found = gemms_.emplace(s, std::move(plan)).first;
  }
  GemmPlan& plan = found->second;
  cpu::Scratch<char> scratchpad(memory, static_cast<std::int64_t>(plan.scratchpad.get_size()));
  try {
    plan.primitive.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(plan.a, engine, const_cast<void*>(a))},
                                    {DNNL_ARG_WEIGHTS, dnnl::memory(plan.b, engine, const_cast<void*>(b))},
                                    {DNNL_ARG_DST, dnnl::memory(plan.y, engine, y)},
                                    {DNNL_ARG_SCRATCHPAD, dnnl::memory(plan.scratchpad, engine, scratchpad.get())}});
  } catch (const dnnl::error& error) {
    rethrow(error, "a gemm");
  }
}

std::string OneDnn::instruction_set() const { return onednn::instruction_set(); }

// ---- CpuBackend ------------------------------------------------------------------------------------------------------
namespace {

// The team that OpenMP gives for certain where `wanted` threads are asked for: what waits for more would wait for ever.
int sure_team(int wanted) {
  require_threads(wanted - 1);  // OpenMP ends the process where it can't start one
  const OpenMpTeam team(wanted);
  int given = 1;
#pragma omp parallel num_threads(wanted)
#pragma omp single
  given = omp_get_num_threads();
  return given;
}

}  // namespace

CpuBackend::CpuBackend(int threads, const ConvRules& rules)
    : threads_(sure_team(threads_for(threads))), dnn_(std::make_unique<OneDnn>(*this, threads_, rules)) {}

CpuBackend::~CpuBackend() {
  dnn_.reset();
  release_pool();
}

std::string CpuBackend::fingerprint() const {
  constexpr int algorithm_rules = 3;  // move it whenever a kernel may give other bits than before
  const ConvRules& r = dnn_->rules;
  std::string channels = fmt::format("{} {}", r.scatter_f32, r.scatter_bf16);
  for (const auto& [forward, dgrad, wgrad] : {r.f32, r.f32_stride2, r.bf16, r.bf16_stride2}) {
    channels += fmt::format(" {} {} {}", forward, dgrad, wgrad);
  }
  return fmt::format("cpu {}, threads {}, oneDNN {}.{}.{}, rules {} ({})", dnn_->instruction_set(), threads_, dnnl_version()->major,
                     dnnl_version()->minor, dnnl_version()->patch, algorithm_rules, channels);
}

}  // namespace pastiche
