#pragma once
// Runs by the names that a user gives them.
#include <filesystem>
#include <string>

namespace pastiche::cli {

// The folder of a run: as named where that is there; else the one in `runs` of that name, or of that number (3 or 00003); the newest there
// for "last". Error(bad_file) where there is none.
std::filesystem::path find_run(const std::string& named);

// A model's file: as named where that is a file, else model.safetensors of the run that is named. Error(bad_file) where there is none.
std::filesystem::path find_model_file(const std::string& named);

constexpr const char* model_help = "model.safetensors of a run, or the run: its folder, its number in `runs`, or last";

}  // namespace pastiche::cli
