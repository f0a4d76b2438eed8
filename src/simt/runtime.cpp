// Devices, memory, streams, events, graphs: the CUDA calls of the host.
#include <chrono>
#include <cstdio>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "simt/block.h"
#include "simt/engine.h"
#include "simt/include/cuda_runtime.h"
#include "simt/memory.h"
#include "simt/symbols.h"

namespace pastiche::simt_runtime {

using Task = std::function<cudaError_t()>;
using Lock = std::lock_guard<std::recursive_mutex>;

struct CUgraph_st {
  std::vector<Task> tasks;
};

struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
};

struct CUstream_st {
  explicit CUstream_st(bool blocks) : blocking(blocks) {}

  bool blocking;  // waits for the default stream, and it for this one
  std::deque<Task> tasks;
  std::unique_ptr<CUgraph_st> capture;  // takes the tasks while there is one
  cudaStreamCaptureMode mode{};
  std::thread::id capturing_thread;
  bool invalidated = false;

  cudaStreamCaptureStatus status() const {
    if (capture == nullptr) return cudaStreamCaptureStatusNone;
    return invalidated ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
  }
};

// A place in a stream that has been passed or not.
struct Mark {
  CUstream_st* stream;
  bool passed = false;
  std::chrono::steady_clock::time_point when;
};

struct CUevent_st {
  explicit CUevent_st(bool times) : timing(times) {}

  bool timing;
  bool captured = false;  // recorded into a graph: nothing outside can wait for it
  std::shared_ptr<Mark> mark;
};

namespace {

using Stream = CUstream_st;

struct Runtime {
  std::set<Stream*> streams;
  cudaError_t last = cudaSuccess;
  cudaError_t broken = cudaSuccess;  // since a kernel failed
  std::string report;
  std::int64_t kernels = 0;
  std::map<const void*, int> shared_limit;
  std::function<bool(const LaunchSeen&)> watcher;
};

Runtime& runtime() {
  static Runtime& runtime = *new Runtime;
  return runtime;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) runtime().last = error;
  return error;
}

// Runs what the stream holds, up to the mark. What a failed kernel leaves behind is dropped.
cudaError_t drain(Stream& stream, const Mark* until = nullptr) {
  while (!stream.tasks.empty() && (until == nullptr || !until->passed)) {
    const Task task = std::move(stream.tasks.front());
    stream.tasks.pop_front();
    const cudaError_t error = runtime().broken == cudaSuccess ? task() : runtime().broken;
    if (error == cudaSuccess) continue;
    runtime().broken = error;
    for (Stream* each : runtime().streams) each->tasks.clear();
  }
  return runtime().broken;
}

cudaError_t reach(const Mark& mark) {
  return mark.passed || !runtime().streams.contains(mark.stream) ? runtime().broken : drain(*mark.stream, &mark);
}

template <class Which> cudaError_t drain_all(Which which) {
  for (Stream* stream : runtime().streams) {
    if (which(*stream)) drain(*stream);
  }
  return runtime().broken;
}

cudaError_t invalidate(Stream& stream) {
  stream.invalidated = true;
  return cudaErrorStreamCaptureUnsupported;
}

// Calls that wait for the device or change its memory are not allowed beside a capture, but a relaxed one.
cudaError_t refuse_in_capture(bool uses_default_stream) {
  for (Stream* stream : runtime().streams) {
    if (stream->capture == nullptr) continue;
    const bool mine = stream->capturing_thread == std::this_thread::get_id();
    if (stream->mode == cudaStreamCaptureModeGlobal || (stream->mode == cudaStreamCaptureModeThreadLocal && mine) ||
        (uses_default_stream && stream->blocking))
      return invalidate(*stream);
  }
  return cudaSuccess;
}

// To the stream, or into the graph that it captures. Work for the default stream runs at once, after that of the streams that
// it waits for.
cudaError_t submit(Stream* stream, Task task) {
  if (runtime().broken != cudaSuccess) return runtime().broken;
  if (stream == nullptr) {
    if (const cudaError_t error = refuse_in_capture(true)) return error;
    if (const cudaError_t error = drain_all([](const Stream& s) { return s.blocking; })) return error;
    return runtime().broken = task();
  }
  if (stream->capture != nullptr) {
    if (stream->invalidated) return cudaErrorStreamCaptureInvalidated;
    stream->capture->tasks.push_back(std::move(task));
  } else {
    stream->tasks.push_back(std::move(task));
  }
  return cudaSuccess;
}

cudaError_t device_error() {
  if (!machine().driver) return cudaErrorInsufficientDriver;
  return machine().devices == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t copy(void* to, const void* from, std::size_t bytes) {
  for (const void* side : {static_cast<const void*>(to), from}) {
    if (memory().contains(side) && !memory().holds(side, bytes)) {  // released since the call
      runtime().report = "a copy touches memory that is not allocated";
      return cudaErrorIllegalAddress;
    }
  }
  std::memmove(to, from, bytes);
  if (memory().contains(to)) memory().find(to)->wrote(to, bytes);
  return cudaSuccess;
}

}  // namespace

// ---- engine.h --------------------------------------------------------------------------------------------------------

Machine& machine() {
  static Machine& machine = *new Machine;
  return machine;
}

void fail_allocations_after(std::int64_t successes, std::int64_t failures) {
  const Lock lock(runtime_mutex());
  memory().successes_before_failure = successes;
  memory().failures_to_come = failures;
}

std::size_t live_allocations() { return memory().count(); }
std::size_t live_bytes() { return memory().bytes(); }
std::int64_t allocations_made() { return static_cast<std::int64_t>(memory().made()); }
std::int64_t kernels_run() { return runtime().kernels; }
std::uint64_t bytes_allocated() { return memory().bytes_made(); }

void watch_launches(std::function<bool(const LaunchSeen&)> watcher) {
  const Lock lock(runtime_mutex());
  runtime().watcher = std::move(watcher);
}

std::string last_report() { return runtime().report; }

void clear_error() {
  const Lock lock(runtime_mutex());
  runtime().last = runtime().broken = cudaSuccess;
  runtime().report.clear();
}

// ---- errors ----------------------------------------------------------------------------------------------------------

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define PASTICHE_SIMT_ERROR(name, number, text) \
  case name: return #name;
    PASTICHE_SIMT_ERRORS(PASTICHE_SIMT_ERROR)
#undef PASTICHE_SIMT_ERROR
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const bool of_kernel = error == cudaErrorLaunchFailure || error == cudaErrorIllegalAddress;
  if (of_kernel && !runtime().report.empty()) return runtime().report.c_str();
  switch (error) {
#define PASTICHE_SIMT_ERROR(name, number, text) \
  case name: return text;
    PASTICHE_SIMT_ERRORS(PASTICHE_SIMT_ERROR)
#undef PASTICHE_SIMT_ERROR
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  const Lock lock(runtime_mutex());
  return std::exchange(runtime().last, runtime().broken);
}

cudaError_t cudaPeekAtLastError() { return runtime().last; }

// ---- devices ---------------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (const cudaError_t error = device_error()) return remember(error);
  *count = machine().devices;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return remember(device_error());
}

cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t error = device_error()) return remember(error);
  return remember(device < 0 || device >= machine().devices ? cudaErrorInvalidDevice : runtime().broken);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (const cudaError_t error = cudaSetDevice(device)) return error;
  *properties = {.name = "simulated GPU",
                 .totalGlobalMem = machine().memory,
                 .sharedMemPerBlock = 48 << 10,
                 .sharedMemPerBlockOptin = max_shared_bytes,
                 .sharedMemPerMultiprocessor = max_shared_bytes + 1024,
                 .regsPerBlock = 65536,
                 .regsPerMultiprocessor = 65536,
                 .warpSize = 32,
                 .maxThreadsPerBlock = 1024,
                 .maxThreadsPerMultiProcessor = 2048,
                 .maxBlocksPerMultiProcessor = 32,
                 .major = machine().major,
                 .minor = machine().minor,
                 .multiProcessorCount = machine().multiprocessors,
                 .l2CacheSize = 4 << 20,
                 .memoryBusWidth = 128};
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
    default: return remember(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = machine().driver ? 13000 : 0;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(runtime_mutex());
  for (Stream* stream : runtime().streams) {
    if (stream->capture != nullptr) return remember(invalidate(*stream));
  }
  return remember(drain_all([](const Stream&) { return true; }));
}

// ---- memory ----------------------------------------------------------------------------------------------------------

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  if (const cudaError_t error = device_error()) return remember(error);
  *total = machine().memory;
  *free = *total - std::min(*total, memory().bytes());
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  const Lock lock(runtime_mutex());
  *data = nullptr;
  if (const cudaError_t error = device_error()) return remember(error);
  if (runtime().broken != cudaSuccess) return remember(runtime().broken);
  if (const cudaError_t error = refuse_in_capture(false)) return remember(error);
  if (bytes == 0) return cudaSuccess;
  *data = memory().allocate(bytes);
  return remember(*data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t cudaFree(void* data) {
  const Lock lock(runtime_mutex());
  if (data == nullptr) return cudaSuccess;
  if (const cudaError_t error = refuse_in_capture(false)) return remember(error);
  drain_all([](const Stream& s) { return s.capture == nullptr; });
  return remember(memory().release(data) ? runtime().broken : cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned) {
  const Lock lock(runtime_mutex());
  *data = nullptr;
  if (const cudaError_t error = device_error()) return remember(error);
  if (runtime().broken != cudaSuccess) return remember(runtime().broken);
  if (const cudaError_t error = refuse_in_capture(false)) return remember(error);
  if (bytes == 0) return cudaSuccess;
  *data = memory().allocate_pinned(bytes);
  return remember(*data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t cudaMallocHost(void** data, std::size_t bytes) { return cudaHostAlloc(data, bytes, cudaHostAllocDefault); }

cudaError_t cudaFreeHost(void* data) {
  const Lock lock(runtime_mutex());
  if (data == nullptr) return cudaSuccess;
  if (const cudaError_t error = refuse_in_capture(false)) return remember(error);
  drain_all([](const Stream& s) { return s.capture == nullptr; });
  return remember(memory().release_pinned(data) ? runtime().broken : cudaErrorInvalidValue);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  const bool to_device = memory().contains(to), from_device = memory().contains(from);
  const cudaMemcpyKind real = to_device ? (from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice)
                                        : (from_device ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost);
  if (bytes == 0) return cudaSuccess;
  if ((kind != cudaMemcpyDefault && kind != real) || (to_device && !memory().holds(to, bytes)) ||
      (from_device && !memory().holds(from, bytes)))
    return remember(cudaErrorInvalidValue);
  const bool from_pageable = !from_device && !memory().pinned(from, bytes);
  const bool to_pageable = !to_device && !memory().pinned(to, bytes);
  if (stream != nullptr && stream->capture != nullptr && (from_pageable || to_pageable)) return remember(invalidate(*stream));
  if (from_pageable && to_device) {
    const auto* const begin = static_cast<const std::byte*>(from);
    auto staged = std::make_shared<const std::vector<std::byte>>(begin, begin + bytes);
    return remember(submit(stream, [=] { return copy(to, staged->data(), bytes); }));
  }
  cudaError_t error = submit(stream, [=] { return copy(to, from, bytes); });
  if (error == cudaSuccess && (from_pageable || to_pageable) && stream != nullptr) error = drain(*stream);
  return remember(error);
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (bytes == 0) return cudaSuccess;
  if (!memory().holds(data, bytes)) return remember(cudaErrorInvalidValue);
  return remember(submit(stream, [=] {
    if (!memory().holds(data, bytes)) {
      runtime().report = "a memset touches memory that is not allocated";
      return cudaErrorIllegalAddress;
    }
    std::memset(data, value, bytes);
    memory().find(data)->wrote(data, bytes);
    return cudaSuccess;
  }));
}

cudaError_t cudaMemset(void* data, int value, std::size_t bytes) { return cudaMemsetAsync(data, value, bytes, nullptr); }

// ---- streams and events ----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock(runtime_mutex());
  *stream = nullptr;
  if (const cudaError_t error = device_error()) return remember(error);
  *stream = new Stream((flags & cudaStreamNonBlocking) == 0);
  runtime().streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (!runtime().streams.contains(stream)) return remember(cudaErrorInvalidResourceHandle);
  const cudaError_t error = drain(*stream);
  runtime().streams.erase(stream);
  delete stream;
  return remember(error);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (stream == nullptr) {
    if (const cudaError_t error = refuse_in_capture(true)) return remember(error);
    return remember(drain_all([](const Stream& s) { return s.blocking; }));
  }
  if (!runtime().streams.contains(stream)) return remember(cudaErrorInvalidResourceHandle);
  return remember(stream->capture != nullptr ? invalidate(*stream) : drain(*stream));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = nullptr;
  if (const cudaError_t error = device_error()) return remember(error);
  *event = new CUevent_st((flags & cudaEventDisableTiming) == 0);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  event->mark = std::make_shared<Mark>(stream);
  event->captured = stream != nullptr && stream->capture != nullptr;
  return remember(submit(stream, [mark = event->mark] {
    mark->passed = true;
    mark->when = std::chrono::steady_clock::now();
    return cudaSuccess;
  }));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(runtime_mutex());
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  const bool capturing = stream != nullptr && stream->capture != nullptr;
  if (event->mark == nullptr) return cudaSuccess;  // never recorded: nothing to wait for
  if (event->captured && event->mark->stream == stream) return cudaSuccess;
  if (event->captured) return remember(cudaErrorNotSupported);  // would draw this stream into the capture
  if (capturing) {
    invalidate(*stream);
    return remember(cudaErrorStreamCaptureIsolation);
  }
  return remember(submit(stream, [mark = event->mark] { return reach(*mark); }));
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(runtime_mutex());
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  if (event->captured) return remember(cudaErrorStreamCaptureUnsupported);
  return remember(event->mark == nullptr ? runtime().broken : reach(*event->mark));
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Lock lock(runtime_mutex());
  for (const CUevent_st* event : {start, end}) {
    if (event == nullptr || !event->timing || event->mark == nullptr) return remember(cudaErrorInvalidResourceHandle);
    if (!event->mark->passed) return remember(cudaErrorNotReady);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->mark->when - start->mark->when).count();
  return cudaSuccess;
}

// ---- graphs ----------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock(runtime_mutex());
  if (stream == nullptr) return remember(cudaErrorStreamCaptureUnsupported);
  if (stream->capture != nullptr) return remember(cudaErrorInvalidValue);
  stream->capture = std::make_unique<CUgraph_st>();
  stream->mode = mode;
  stream->capturing_thread = std::this_thread::get_id();
  stream->invalidated = false;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(runtime_mutex());
  *graph = nullptr;
  if (stream == nullptr || stream->capture == nullptr) return remember(cudaErrorStreamCaptureUnmatched);
  auto captured = std::move(stream->capture);
  if (stream->invalidated) return remember(cudaErrorStreamCaptureInvalidated);
  *graph = captured.release();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream == nullptr ? cudaStreamCaptureStatusNone : stream->status();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = nullptr;
  if (graph == nullptr) return remember(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{std::make_shared<const CUgraph_st>(*graph)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (executable == nullptr) return remember(cudaErrorInvalidValue);
  for (const Task& task : executable->graph->tasks) {
    if (const cudaError_t error = submit(stream, task)) return remember(error);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return remember(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  if (executable == nullptr) return remember(cudaErrorInvalidValue);
  delete executable;
  return cudaSuccess;
}

// ---- kernels ---------------------------------------------------------------------------------------------------------

cudaError_t enqueue(Launch launch, cudaStream_t stream) {
  const Lock lock(runtime_mutex());
  if (const cudaError_t error = device_error()) return remember(error);
  if (!machine().has_code) return remember(cudaErrorNoKernelImageForDevice);
  const dim3 grid = launch.grid, block = launch.block;
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  const auto limit = runtime().shared_limit.find(launch.kernel);
  const std::size_t shared_limit = limit == runtime().shared_limit.end() ? 48 << 10 : static_cast<std::size_t>(limit->second);
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || threads == 0) return remember(cudaErrorInvalidConfiguration);
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) return remember(cudaErrorInvalidConfiguration);
  if (threads > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) return remember(cudaErrorInvalidConfiguration);
  if (launch.shared > shared_limit) return remember(cudaErrorInvalidValue);
  const auto& watcher = runtime().watcher;
  if (watcher && !watcher({function_name(launch.kernel), grid.x, grid.y, grid.z, static_cast<unsigned>(threads), launch.shared})) {
    return cudaSuccess;
  }
  return remember(submit(stream, [launch = std::move(launch)] {
    ++runtime().kernels;
    if (launch.observer == nullptr) memory().unwatched = memory().last_number();
    std::string failure = run(launch);
    if (failure.empty()) return cudaSuccess;
    runtime().report = std::move(failure);
    return cudaErrorLaunchFailure;
  }));
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  if (const cudaError_t error = device_error()) return remember(error);
  if (!machine().has_code) return remember(cudaErrorNoKernelImageForDevice);
  const auto limit = runtime().shared_limit.find(function);
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  attributes->ptxVersion = attributes->binaryVersion = 10 * machine().major + machine().minor;
  attributes->maxDynamicSharedSizeBytes = limit == runtime().shared_limit.end() ? 48 << 10 : limit->second;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const Lock lock(runtime_mutex());
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<std::size_t>(value) > max_shared_bytes) return remember(cudaErrorInvalidValue);
  runtime().shared_limit[function] = value;
  return cudaSuccess;
}

}  // namespace pastiche::simt_runtime
