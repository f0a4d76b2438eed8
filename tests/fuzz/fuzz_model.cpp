// Cards of models from anywhere: what is no card is refused in one line as a bad file, and what is one asks for no more memory than its
// file can fill.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "pastiche/checkpoint.h"
#include "pastiche/error.h"
#include "pastiche/safetensors.h"

namespace {

using namespace pastiche;

// Memory, and kernels that do nothing.
class NoBackend final : public Backend {
 public:
  ~NoBackend() override { release_pool(); }
  std::string_view name() const override { return "none"; }
  bool supports(DType) const override { return true; }
  std::string fingerprint() const override { return "none"; }
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-parameter"
#define PASTICHE_KERNEL(name, parameters, arguments) void name parameters override {}
#include "pastiche/kernels.def"
#undef PASTICHE_KERNEL
#pragma clang diagnostic pop
  void copy_from_host(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy_to_host(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  std::size_t available_bytes() const override { return 0; }

 protected:
  void* system_allocate(std::size_t bytes) override { return std::malloc(bytes); }
  void system_release(void* data, std::size_t) override { std::free(data); }
};

// Whether it gave a result; if not, it said why in one line.
template <class F>
bool gives(F read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    if (error.code() != ExitCode::bad_file || std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  SafetensorsFile file;
  file.metadata["pastiche"].assign(reinterpret_cast<const char*>(data), size);
  const bool ours = gives([&] { file_kind(file, "model.safetensors"); });
  const bool generator = gives([&] { read_model_card(file, "model.safetensors"); });
  const bool translator = gives([&] { read_translator_card(file, "model.safetensors"); });
  if (generator && translator) std::abort();
  if (!ours && (generator || translator)) std::abort();
  if (!generator && !translator) return 0;

  // A file without a weight holds no network.
  static const std::filesystem::path path = std::filesystem::temp_directory_path() / ("fuzz-model-" + std::to_string(getpid()));
  const std::vector<std::byte> bytes = serialize_safetensors(file);
  std::ofstream(path).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  NoBackend backend;
  if (gives([&] { load_generator(backend, path); }) || gives([&] { load_translator(backend, path); })) std::abort();
  std::filesystem::remove(path);
  if (backend.pool_stats().peak_bytes > std::size_t{64} << 20) std::abort();
  return 0;
}
