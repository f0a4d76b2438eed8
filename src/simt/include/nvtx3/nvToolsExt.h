#pragma once
// There is no profiler to tell.
namespace pastiche::simt_runtime {

inline int nvtxRangePushA(const char*) { return 0; }
inline int nvtxRangePop() { return 0; }

}  // namespace pastiche::simt_runtime

using namespace pastiche::simt_runtime;
