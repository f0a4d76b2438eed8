#include "vendor_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace pastiche::bench {
namespace {

cudnnDataType_t data_type(DType dtype) { return dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

bool has_note(const Descriptor& engine, cudnnBackendNumericalNote_t note) {
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  std::int64_t count = 0;
  PASTICHE_CUDNN_CHECK(cudnnBackendGetAttribute(engine.raw(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                                static_cast<std::int64_t>(notes.size()), &count, notes.data()));
  return std::find(notes.begin(), notes.begin() + count, note) != notes.begin() + count;
}

// What computes in less than was asked for is not the same operation. f32 on tensor cores is TF32.
bool is_allowed(const Descriptor& config, bool tensor_cores) {
  const Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  std::int64_t count = 0;
  PASTICHE_CUDNN_CHECK(
      cudnnBackendGetAttribute(config.raw(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw));
  if (has_note(engine, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS) ||
      has_note(engine, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) {
    return false;
  }
  return tensor_cores || !has_note(engine, CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
}

}  // namespace

void throw_cudnn_error(cudnnStatus_t status, const char* call, const char* file, int line) {
  char detail[512] = "";
  cudnnGetLastErrorString(detail, sizeof detail);
  throw Error(ExitCode::device,
              fmt::format("cuDNN: {} ({}) from {} at {}:{}", cudnnGetErrorString(status), detail, call, file, line));
}

// ---- plans -----------------------------------------------------------------------------------------------------------

Plan::Plan(Descriptor config, Descriptor plan, std::vector<std::int64_t> ids,
           std::shared_ptr<const std::vector<Descriptor>> graph)
    : config_(std::move(config)), plan_(std::move(plan)), ids_(std::move(ids)), graph_(std::move(graph)) {
  std::int64_t bytes = 0, count = 0;
  PASTICHE_CUDNN_CHECK(
      cudnnBackendGetAttribute(plan_.raw(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &bytes));
  workspace_ = static_cast<std::size_t>(bytes);
}

bool Plan::run(cudnnHandle_t handle, const std::vector<const void*>& data, void* workspace) const {
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids_);
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, data);
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
  pack.finalize();
  const cudnnStatus_t status = cudnnBackendExecute(handle, plan_.raw(), pack.raw());
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED) return false;
  PASTICHE_CUDNN_CHECK(status);
  return true;
}

std::vector<Plan> Graph::plans(const PlanTarget& target, Tf32 tf32, std::size_t most) {
  std::vector<cudnnBackendDescriptor_t> operations;
  for (const Descriptor& each : operations_) operations.push_back(each.raw());
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (target.handle != nullptr) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations);
  graph.finalize();

  std::vector<Plan> plans;
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    if (target.properties != nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.properties);
    if (!heuristics.try_finalize()) continue;  // nothing is known for this graph
    std::int64_t count = 0;
    PASTICHE_CUDNN_CHECK(cudnnBackendGetAttribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                  0, &count, nullptr));
    std::vector<Descriptor> configs;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (std::int64_t i = 0; i < count; ++i) raw.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
    PASTICHE_CUDNN_CHECK(cudnnBackendGetAttribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                  count, &count, raw.data()));
    for (std::int64_t i = 0; i < count && plans.size() < most; ++i) {
      Descriptor& config = configs[static_cast<std::size_t>(i)];
      if (!is_allowed(config, bf16_ || !convolves_ || tf32 == Tf32::yes)) continue;
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
      if (target.handle != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
      if (target.properties != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.properties);
      if (plan.try_finalize()) plans.push_back(Plan(std::move(config), std::move(plan), ids_, descriptors_));
    }
  }
  // The descriptors live as long as any plan of theirs.
  for (Descriptor& each : modes_) descriptors_->push_back(std::move(each));
  for (Descriptor& each : operations_) descriptors_->push_back(std::move(each));
  modes_.clear();
  operations_.clear();
  descriptors_->push_back(std::move(graph));
  return plans;
}

// ---- operations ------------------------------------------------------------------------------------------------------

Graph::Id Graph::tensor(const Shape& shape, DType dtype, Kind kind) {
  const auto id = static_cast<Id>(descriptors_->size());
  const std::int64_t outer = shape[0], height = shape[1], width = shape[2], inner = shape[3];
  Descriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, data_type(dtype));
  // Named as NCHW, laid out as NHWC.
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, std::vector<std::int64_t>{outer, inner, height, width});
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, std::vector<std::int64_t>{height * width * inner, 1, width * inner, inner});
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::int64_t{kind == Kind::by_value ? 4 : 16});
  if (kind == Kind::intermediate) t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, true);
  if (kind == Kind::by_value) t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, true);
  t.finalize();
  descriptors_->push_back(std::move(t));
  if (kind != Kind::intermediate) ids_.push_back(id);
  bf16_ = bf16_ || dtype == DType::bf16;
  return id;
}

void Graph::add(Descriptor operation) {
  operation.finalize();
  operations_.push_back(std::move(operation));
}

const Descriptor& Graph::convolution(const Conv& p) {
  Descriptor& c = modes_.emplace_back(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const auto both = [](std::int64_t value) { return std::vector<std::int64_t>{value, value}; };
  c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2});
  c.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  c.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  c.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, both(p.pad));
  c.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, both(p.pad));
  c.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, both(p.stride));
  c.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, both(p.dilation));
  c.finalize();
  convolves_ = true;
  return c;
}

void Graph::conv2d(Id y, Id x, Id w, const Conv& p) {
  const Descriptor& c = convolution(p);
  Descriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, c);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, at(x));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, at(w));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, at(y));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 0.0f);
  add(std::move(op));
}

void Graph::conv2d_dgrad(Id dx, Id dy, Id w, const Conv& p) {
  const Descriptor& c = convolution(p);
  Descriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, c);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, at(dx));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, at(w));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, at(dy));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 0.0f);
  add(std::move(op));
}

void Graph::conv2d_wgrad(Id dw, Id x, Id dy, const Conv& p) {
  const Descriptor& c = convolution(p);
  Descriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, c);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, at(x));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, at(dw));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, at(dy));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1.0f);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 0.0f);
  add(std::move(op));
}

const Descriptor& Graph::pointwise_mode(cudnnPointwiseMode_t mode, std::optional<double> slope) {
  Descriptor& p = modes_.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  p.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
  p.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  if (slope) {
    p.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 0.0);
    p.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, static_cast<double>(std::numeric_limits<float>::max()));
    p.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, *slope);
  }
  p.finalize();
  return p;
}

void Graph::pointwise(cudnnPointwiseMode_t mode, Id y, Id x, Id b) {
  Descriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(mode));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
  if (b >= 0) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(b));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
  add(std::move(op));
}

void Graph::leaky_relu(Id y, Id x, double slope) {
  Descriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(CUDNN_POINTWISE_RELU_FWD, slope));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
  add(std::move(op));
}

void Graph::leaky_relu_grad(Id dx, Id dy, Id x, double slope) {
  Descriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_mode(CUDNN_POINTWISE_RELU_BWD, slope));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, at(dy));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, at(dx));
  add(std::move(op));
}

void Graph::batch_norm_grad(Id dx, Id dgamma, Id dbeta, Id dy, Id x, Id mean, Id inverse_deviation, Id gamma) {
  Descriptor op(CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR);
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_MODE, CUDNN_TYPE_NORM_MODE, CUDNN_BATCH_NORM);
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_XDESC, at(x));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_DYDESC, at(dy));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_SCALE_DESC, at(gamma));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_MEAN_DESC, at(mean));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_INV_VARIANCE_DESC, at(inverse_deviation));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_DSCALE_DESC, at(dgamma));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_DBIAS_DESC, at(dbeta));
  op.set(CUDNN_ATTR_OPERATION_NORM_BWD_DXDESC, at(dx));
  add(std::move(op));
}

}  // namespace pastiche::bench
