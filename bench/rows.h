#pragma once
// What is measured: the rows of the op table, every distinct launch of each model's training step, and the step itself.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pastiche/config.h"
#include "pastiche/models.h"
#include "pastiche/translators.h"
#include "recorder.h"

namespace pastiche::bench {

// What --precision names: how tensors are stored, and whether our CUDA kernels may multiply those in f32 as TF32.
struct Precision {
  std::string name;
  DType dtype() const { return name == "bf16" ? DType::bf16 : DType::f32; }
  bool tf32() const { return name == "tf32"; }
};

struct Row {
  std::string name;  // "conv2d [4,8,8,64] [4,8,8,32] [64,5,5,32] pad 2"
  long calls = 1;    // in a training step
  std::shared_ptr<const Recorder> recorder;
  std::vector<Launch> launches;
};

struct ModelCase {
  TrainConfig config;        // of a training
  ModelConfig model;         // its network, of what makes new pictures
  TranslatorConfig network;  // and of what translates them
  std::string name() const;  // "dcgan-64x48 batch 4", and "joint" where it is that
};

// The models at the sizes that are looked at; of one model where it is named, and then at that size alone if it is not auto.
// Those that translate pictures are among them only where they are named.
std::vector<ModelCase> model_cases(const std::string& model, ImageSize size, int ngf, int ndf, std::int64_t batch,
                                   const std::string& step);

// Rows that launch nothing, or do not exist in this dtype, are left out.
std::vector<Row> op_rows(DType dtype);
// What a model launches.
struct ModelRows {
  std::vector<Row> layers;  // of a training step and of a pass of the generator by running statistics, each once, in the order of
                            // their first call
  Row step;                 // all of the training step
  Row generate;             // all of the generator's pass
};
ModelRows model_rows(const ModelCase& model, DType dtype);

// One training step, on the same pictures each time, which waits for its losses.
std::function<void()> step_of(const ModelCase& model, Backend& backend, DType dtype);
// One batch of pictures, made or translated.
std::function<void()> generation_of(const ModelCase& model, Backend& backend, DType dtype);

}  // namespace pastiche::bench
