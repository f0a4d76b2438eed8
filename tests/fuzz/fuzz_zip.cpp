// What opens can be listed, and each file of it is read or refused.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "data/store.h"
#include "pastiche/error.h"

namespace {

using namespace pastiche;

void expected(const Error& error) {
  if (error.code() != ExitCode::bad_data || std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
}

void walk(const FileStore& store, const std::filesystem::path& folder) {
  std::error_code error;
  for (const std::filesystem::path& name : store.list(folder, error)) {
    const FileStore::Node node = store.look(folder / name);
    if (node.error != 0 || node.is_folder == node.is_file) std::abort();
    if (node.is_folder) {
      walk(store, folder / name);
      continue;
    }
    try {
      const std::string begin = store.begin_of(folder / name);
      const std::vector<std::byte> bytes = store.read(folder / name, 1 << 20);
      if (bytes.size() > 1 << 20) std::abort();
      const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      if (begin.size() > FileStore::begin_bytes || !all.starts_with(begin)) std::abort();
    } catch (const Error& error) {
      expected(error);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = ::memfd_create("zip", 0);
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  try {
    const auto store = open_zip({"/proc/self/fd/" + std::to_string(file), ""});
    walk(*store, "");
  } catch (const Error& error) {
    expected(error);
  }
  return 0;
}
