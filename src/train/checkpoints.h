#pragma once
// The checkpoints of a run folder, RUN/ckpt/000120.safetensors: all that a resume needs, in one file each.
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pastiche/safetensors.h"

namespace pastiche {

// What a checkpoint says besides its tensors.
struct Position {
  std::int64_t step = 0;
  double seconds = 0;              // of training, over all stops
  std::int64_t planned_steps = 0;  // at which --time is expected to end, for learning rates that decay; 0: no such plan
  int threads = 0;
  std::string backend = {}, data_fingerprint = {};
  nlohmann::ordered_json config = nullptr;  // every option; null in checkpoints that older versions wrote
  nlohmann::ordered_json other_bits = nlohmann::ordered_json::array();  // {"step", "changes"} of each resume with --other-bits
};

std::string step_name(std::int64_t step);  // "000120"

// By step. None where there is no such folder; Error(bad_file) where it can't be listed.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& run_folder);

// `file` holds the tensors; its metadata is written here, with a checksum of all.
void write_checkpoint(const std::filesystem::path& run_folder, const Position& position, const nlohmann::ordered_json& model, SafetensorsFile file);

struct Checkpoint {
  Position position;
  SafetensorsFile file;
  struct Damaged {
    std::int64_t step;
    std::filesystem::path path;
    std::string why;
    bool for_certain;  // else it could not be read
  };
  std::vector<Damaged> passed_over;  // newer ones, the newest first
};

// The newest whole one. Error(bad_file) where there is none, and where one can't be read for another reason than damage.
Checkpoint read_newest_checkpoint(const std::filesystem::path& run_folder);

}  // namespace pastiche
