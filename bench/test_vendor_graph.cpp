// cuDNN needs no GPU to say whether it can plan a graph for one that is described to it. So what the baseline asks of it is known
// to be asked right, though nothing here runs it.
#include <gtest/gtest.h>

#include <cstring>

#include "vendor_graph.h"

namespace pastiche::bench {
namespace {

// What an H100 says of itself; with compute capability 8.0 it stands for an A100 too.
Descriptor described_gpu(int capability) {
  std::string text =
      R"({"deviceName":"described","cudaDeviceId":0,"driverVer":13000,"totalGlobalMem":42505273344,"maxGridSize":[2147483647,65535,65535],)"
      R"("maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":108,"warpSize":32,"maxSharedMemoryPerBlock":49152,)"
      R"("maxSharedMemoryPerBlockOptin":166912,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,"maxCtasPerSM":32,)"
      R"("maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,"supportCoopLaunch":1,"smClockRateKHz":1410000,)"
      R"("memClockRateKHz":1215000,"l2CacheSize":41943040,"deviceVer":)" +
      std::to_string(capability) + "}";
  Descriptor gpu(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  gpu.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::vector<char>(text.begin(), text.end()));
  gpu.finalize();
  return gpu;
}

struct Geometry {
  Shape y, x, w;
  Conv p;
};

const Geometry geometries[] = {
    {{64, 28, 28, 64}, {64, 28, 28, 128}, {64, 5, 5, 128}, {.pad = 2}},             // what an upsampling convolution becomes
    {{64, 28, 28, 1}, {64, 28, 28, 64}, {1, 5, 5, 64}, {.pad = 2}},                 // to one channel
    {{64, 14, 14, 64}, {64, 28, 28, 1}, {64, 5, 5, 1}, {.stride = 2, .pad = 2}},    // from one channel
    {{4, 64, 64, 3}, {4, 64, 64, 64}, {3, 5, 5, 64}, {.pad = 2}},
    {{2, 3, 3, 9}, {2, 6, 6, 12}, {9, 3, 3, 4}, {.stride = 2, .pad = 1, .groups = 3}},
    {{1, 11, 11, 4}, {1, 11, 11, 3}, {4, 3, 3, 3}, {.pad = 2, .dilation = 2}},
};

TEST(CudnnGraph, EveryConvolutionHasPlansForADescribedGpu) {
  for (const int capability : {800, 900}) {
    const Descriptor gpu = described_gpu(capability);
    for (const Geometry& g : geometries) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        for (int kernel = 0; kernel < 3; ++kernel) {
          std::size_t plans[2];
          for (const Tf32 tf32 : {Tf32::no, Tf32::yes}) {
            Graph graph;
            const auto y = graph.activation(g.y, dtype), x = graph.activation(g.x, dtype), w = graph.filter(g.w, dtype);
            if (kernel == 0) graph.conv2d(y, x, w, g.p);
            if (kernel == 1) graph.conv2d_dgrad(x, y, w, g.p);
            if (kernel == 2) graph.conv2d_wgrad(w, x, y, g.p);
            plans[static_cast<int>(tf32)] = graph.plans({.properties = &gpu}, tf32, SIZE_MAX).size();
          }
          const std::string what =
              g.x.str() + " " + g.w.str() + " kernel " + std::to_string(kernel) + " " + std::string(dtype_name(dtype));
          EXPECT_GT(plans[0], 0u) << what;
          EXPECT_GE(plans[1], plans[0]) << what;
        }
      }
    }
  }
}

// Plans for these are compiled for the GPU, which takes its driver; that the graphs are well formed does not.
TEST(CudnnGraph, FusedGraphsAreWellFormed) {
  const Descriptor gpu = described_gpu(900);
  const Shape shape{64, 28, 28, 64}, channels{1, 1, 1, 64};
  Graph graph;
  const auto y = graph.activation(shape, DType::bf16), x = graph.activation(shape, DType::bf16), var = graph.per_channel(64),
             eps = graph.number();
  const auto widened = graph.intermediate(channels), inverse = graph.intermediate(channels), scaled = graph.intermediate(shape);
  graph.pointwise(CUDNN_POINTWISE_ADD, widened, var, eps);
  graph.pointwise(CUDNN_POINTWISE_RSQRT, inverse, widened);
  graph.pointwise(CUDNN_POINTWISE_MUL, scaled, x, inverse);
  graph.leaky_relu(y, scaled, 0.2);
  EXPECT_NO_THROW(graph.plans({.properties = &gpu}, Tf32::no, 3));
}

}  // namespace
}  // namespace pastiche::bench
