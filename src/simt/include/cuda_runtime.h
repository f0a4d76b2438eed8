#pragma once
// The part of the CUDA runtime that the project uses, for the simulated GPU, under the names and signatures of CUDA 13.
// Everything is in a namespace, since the real runtime may be linked into the same program.
#include "simt/launch.h"

#include <tuple>

namespace pastiche::simt_runtime {

// ---- errors ----------------------------------------------------------------------------------------------------------
#define PASTICHE_SIMT_ERRORS(ERROR)                                                                                       \
  ERROR(cudaSuccess, 0, "no error")                                                                                       \
  ERROR(cudaErrorInvalidValue, 1, "invalid argument")                                                                     \
  ERROR(cudaErrorMemoryAllocation, 2, "out of memory")                                                                    \
  ERROR(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                               \
  ERROR(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient for CUDA runtime version")                  \
  ERROR(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                                     \
  ERROR(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                                            \
  ERROR(cudaErrorNoKernelImageForDevice, 209, "no kernel image is available for execution on the device")                 \
  ERROR(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                                   \
  ERROR(cudaErrorNotReady, 600, "device not ready")                                                                       \
  ERROR(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                                         \
  ERROR(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                                        \
  ERROR(cudaErrorNotSupported, 801, "operation not supported")                                                            \
  ERROR(cudaErrorStreamCaptureUnsupported, 900, "operation not permitted when stream is capturing")                       \
  ERROR(cudaErrorStreamCaptureInvalidated, 901, "operation failed due to a previous error during capture")                \
  ERROR(cudaErrorStreamCaptureUnmatched, 903, "capture was not initiated in this stream")                                 \
  ERROR(cudaErrorStreamCaptureIsolation, 905, "dependency created on uncaptured work in another stream")
enum cudaError_t {
#define PASTICHE_SIMT_ERROR(name, number, text) name = number,
  PASTICHE_SIMT_ERRORS(PASTICHE_SIMT_ERROR)
#undef PASTICHE_SIMT_ERROR
};
const char* cudaGetErrorName(cudaError_t);
const char* cudaGetErrorString(cudaError_t);  // after a kernel failed: why (last_report())
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();

// ---- devices ---------------------------------------------------------------------------------------------------------
struct cudaDeviceProp {
  char name[256];
  std::size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
  int regsPerBlock, regsPerMultiprocessor, warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor, maxBlocksPerMultiProcessor;
  int major, minor, multiProcessorCount, l2CacheSize, memoryBusWidth;
};
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDeviceSynchronize();

// ---- memory ----------------------------------------------------------------------------------------------------------
enum cudaMemcpyKind {
  cudaMemcpyHostToHost = 0,
  cudaMemcpyHostToDevice = 1,
  cudaMemcpyDeviceToHost = 2,
  cudaMemcpyDeviceToDevice = 3,
  cudaMemcpyDefault = 4,
};
constexpr unsigned cudaHostAllocDefault = 0;
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaGraph_t = struct CUgraph_st*;
using cudaGraphExec_t = struct CUgraphExec_st*;

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaMalloc(void** data, std::size_t bytes);
cudaError_t cudaFree(void* data);  // waits for the device
cudaError_t cudaHostAlloc(void** data, std::size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void** data, std::size_t bytes);
cudaError_t cudaFreeHost(void* data);
template <class T> cudaError_t cudaMalloc(T** data, std::size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(data), bytes);
}
template <class T> cudaError_t cudaMallocHost(T** data, std::size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void**>(data), bytes);
}
// Host memory that is not pinned is read at the call and written before it returns; pinned memory when the copy runs.
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t stream = nullptr);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind);
cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* data, int value, std::size_t bytes);

// ---- streams and events ----------------------------------------------------------------------------------------------
// What a stream was given runs when something waits for it, and not before: who forgets to wait reads old data.
constexpr unsigned cudaStreamDefault = 0, cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned flags);
cudaError_t cudaStreamCreate(cudaStream_t*);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t*);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

// ---- graphs ----------------------------------------------------------------------------------------------------------
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal = 0,
  cudaStreamCaptureModeThreadLocal = 1,
  cudaStreamCaptureModeRelaxed = 2,
};
enum cudaStreamCaptureStatus {
  cudaStreamCaptureStatusNone = 0,
  cudaStreamCaptureStatusActive = 1,
  cudaStreamCaptureStatusInvalidated = 2,
};
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);

// ---- kernels ---------------------------------------------------------------------------------------------------------
struct cudaFuncAttributes {
  std::size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
  int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, cacheModeCA, maxDynamicSharedSizeBytes;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9 };
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, const void* function);
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute, int value);
template <class F> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* to, F* function) {
  return cudaFuncGetAttributes(to, reinterpret_cast<const void*>(function));
}

cudaError_t enqueue(Launch, cudaStream_t);
Observer* checker();  // of kernels in the checked form (checked/checker.cpp)

#ifndef PASTICHE_PTX  // which has its own (src/ptx/include)
template <class F> cudaError_t cudaFuncSetAttribute(F* function, cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(function), attribute, value);
}

#ifdef PASTICHE_SIMT_CHECKED
inline namespace checked {
#else
inline namespace plain {
#endif

template <class... Parameters> struct Bound {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> arguments;

  static void call(const void* self) {
    const auto& bound = *static_cast<const Bound*>(self);
    std::apply(bound.kernel, bound.arguments);
  }
};

template <class... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, std::size_t shared = 0,
                             cudaStream_t stream = nullptr) {
  using Call = Bound<Parameters...>;
  const auto bind = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::make_shared<const Call>(Call{kernel, {*static_cast<std::remove_cvref_t<Parameters>*>(arguments[I])...}});
  };
  Observer* observer = nullptr;
#ifdef PASTICHE_SIMT_CHECKED
  observer = checker();
#endif
  return enqueue({.kernel = reinterpret_cast<const void*>(kernel),
                  .grid = grid,
                  .block = block,
                  .shared = shared,
                  .observer = observer,
                  .call = Call::call,
                  .arguments = bind(std::index_sequence_for<Parameters...>()),
                  .argument_bytes = sizeof(Call)},
                 stream);
}

}  // namespace checked or plain
#endif
}  // namespace pastiche::simt_runtime

using namespace pastiche::simt_runtime;
