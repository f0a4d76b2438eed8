#include <fmt/format.h>

#include "inflater.h"
#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/files.h"
#include "store.h"

#ifdef PASTICHE_ZIP
#include <sys/stat.h>
#include <zip.h>

#include <algorithm>
#include <map>
#include <mutex>
#endif

namespace pastiche {

namespace fs = std::filesystem;

#ifdef PASTICHE_ZIP
namespace {

constexpr std::ptrdiff_t max_depth = 64;
constexpr std::size_t max_name = 4096;  // no file system has a longer one

[[noreturn]] void bad_zip(const fs::path& path, const std::string& what) {
  throw Error(ExitCode::bad_data, fmt::format("can't use {}: {}", quote(path.native()), what));
}

class ZipStore final : public FileStore {
 public:
  explicit ZipStore(const ZipPlace& place) : FileStore(place.folder.empty() ? place.zip : place.zip / place.folder), file_(place.zip) {
    open();
    std::vector<std::string> names;
    std::uint64_t packed = 0;
    for (std::uint64_t i = 0; i < entries_; ++i) {
      const zip_stat_t entry = stat_of(i);
      if (__builtin_add_overflow(packed, entry.comp_size, &packed) || packed > bytes_) {
        bad_zip(file_, "its entries say that they have more bytes than it has; copy the file again");
      }
      names.push_back(name_of(entry.name));
    }
    std::string prefix = place.folder.empty() ? "" : place.folder + "/";
    const std::string own = place.zip.stem().native() + "/";
    const bool wrapped = std::ranges::all_of(names, [&](const std::string& name) { return name.starts_with(own); });
    if (wrapped && !prefix.starts_with(own)) prefix = own + prefix;
    for (std::uint64_t i = 0; i < entries_; ++i) {
      if (names[i].starts_with(prefix)) add(names[i].substr(prefix.size()), i, stat_of(i));
    }
    if (!place.folder.empty() && members_.empty()) bad_zip(file_, fmt::format("there is no folder {} in it; check the path", quote(place.folder)));
    members_[""] = {.is_folder = true};
  }

  Node look(const fs::path& name) const override {
    const auto found = members_.find(name.native());
    if (found == members_.end()) return {.error = ENOENT, .id = {}};
    const Member& member = found->second;
    return {.is_folder = member.is_folder, .is_file = !member.is_folder, .id = {0, reinterpret_cast<std::uintptr_t>(&member)}};
  }

  std::vector<fs::path> list(const fs::path& folder, std::error_code&) const override {
    std::vector<fs::path> names;
    const std::string prefix = folder.empty() ? "" : folder.native() + "/";
    for (auto at = members_.lower_bound(prefix); at != members_.end() && at->first.starts_with(prefix); ++at) {
      const std::string name = at->first.substr(prefix.size());
      if (!name.empty() && name.find('/') == name.npos) names.push_back(name);
    }
    return names;
  }

  std::string begin_of(const fs::path& name) const override {
    const Member& member = members_.at(name.native());
    if (!problem_of(member, max_picture_bytes).empty()) return "";
    constexpr std::uint64_t enough = 1024;  // for the tables that deflated bytes begin with
    std::vector<std::byte> bytes;
    try {
      bytes = packed(name, member, std::min(member.packed, enough));
    } catch (const Error&) {
      return "";
    }
    if (member.method == ZIP_CM_DEFLATE) bytes = inflate_some(bytes, begin_bytes).bytes;
    return {reinterpret_cast<const char*>(bytes.data()), std::min<std::size_t>(bytes.size(), begin_bytes)};
  }

  std::vector<std::byte> read(const fs::path& name, std::size_t max_bytes) const override {
    const Member& member = members_.at(name.native());
    if (const std::string problem = problem_of(member, max_bytes); !problem.empty()) bad_zip(path() / name, problem);
    std::vector<std::byte> bytes = packed(name, member, member.packed);
    bool whole = bytes.size() == member.bytes;
    if (member.method == ZIP_CM_DEFLATE) {
      Inflated out = inflate_some(bytes, member.bytes + 1);  // one more, to see whether there is more
      whole = out.ended && out.bytes.size() == member.bytes;
      bytes = std::move(out.bytes);
    }
    if (!whole || crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())) != member.crc) {
      bad_zip(path() / name, "it is damaged; copy the zip again");
    }
    return bytes;
  }

 private:
  struct Member {
    bool is_folder = false, is_link = false, encrypted = false;
    std::uint16_t method = ZIP_CM_STORE;
    std::uint32_t crc = 0;
    std::uint64_t index = 0, bytes = 0, packed = 0;
    bool operator==(const Member&) const = default;
  };
  struct Inflated {
    std::vector<std::byte> bytes;
    bool ended;
  };

  static Inflated inflate_some(const std::vector<std::byte>& packed, std::size_t most) {
    Inflated out{std::vector<std::byte>(most), false};
    Inflater inflater(-MAX_WBITS);
    z_stream& stream = inflater.stream;
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.bytes.data());
    stream.avail_out = static_cast<uInt>(most);
    out.ended = inflate(&stream, Z_FINISH) == Z_STREAM_END;
    out.bytes.resize(most - stream.avail_out);
    return out;
  }

  // A name as it would be unpacked, but never is.
  std::string name_of(const char* stored) const {
    const fs::path name = fs::path(stored).relative_path().lexically_normal();
    if (name.native().size() > max_name || std::distance(name.begin(), name.end()) > max_depth || (!name.empty() && *name.begin() == "..")) {
      bad_zip(file_, fmt::format("it has an entry {}, expected names within it, of at most {} folders and {} bytes; pack it again", quote(stored),
                                 max_depth, max_name));
    }
    return name == "." || name == "./" ? "" : name.native();
  }

  Member member_of(std::uint64_t index, const zip_stat_t& entry) const {
    zip_uint8_t system = 0;
    zip_uint32_t attributes = 0;
    const bool known = zip_file_get_external_attributes(zip_.get(), index, 0, &system, &attributes) == 0 && system == ZIP_OPSYS_UNIX;
    return {.is_link = known && S_ISLNK(attributes >> 16), .encrypted = entry.encryption_method != ZIP_EM_NONE, .method = entry.comp_method,
            .crc = entry.crc, .index = index, .bytes = entry.size, .packed = entry.comp_size};
  }

  // Of two entries of one name it's the last one that unpacking leaves.
  void add(std::string name, std::uint64_t index, const zip_stat_t& entry) {
    const bool is_folder = name.ends_with('/');
    if (is_folder) name.pop_back();
    if (name.empty()) return;
    if (is_folder) members_[name] = {.is_folder = true};
    else if (Member& member = members_[name]; !member.is_folder) member = member_of(index, entry);
    for (std::size_t slash = name.rfind('/'); slash != name.npos; slash = name.rfind('/', slash - 1)) {
      Member& folder = members_[name.substr(0, slash)];
      if (folder.is_folder) break;
      folder = {.is_folder = true};
    }
  }

  static std::string problem_of(const Member& member, std::size_t max_bytes) {
    if (member.encrypted) return "it is encrypted; pack it again without a password";
    if (member.is_link) return "it is a link; zip the files that links lead to, as `zip` does without -y";
    if (member.method != ZIP_CM_STORE && member.method != ZIP_CM_DEFLATE) {
      return fmt::format("it is packed by method {}, expected none or deflate; pack it again", member.method);
    }
    if (member.bytes > max_bytes || member.packed > max_bytes) {
      return fmt::format("{} bytes, expected at most {}", std::max(member.bytes, member.packed), max_bytes);
    }
    if (member.bytes / 1040 > member.packed) return "it can't hold as many bytes as it says; copy the zip again";  // deflate shrinks by at most 1032
    return "";
  }

  // Under the mutex, or before there are threads.
  void open() const {
    std::error_code error;
    bytes_ = fs::file_size(file_, error);
    int reason = 0;
    zip_.reset(error ? nullptr : zip_open(file_.c_str(), ZIP_RDONLY, &reason));
    if (!zip_) {
      zip_error_t text;
      zip_error_init_with_code(&text, reason);
      const std::string message = error ? error.message() : zip_error_strerror(&text);
      zip_error_fini(&text);
      throw UnreadableFile(fmt::format("can't read {} as a zip: {}; if it is one, it is damaged or cut short: copy it again",
                                       quote(file_.native()), message));
    }
    entries_ = static_cast<std::uint64_t>(zip_get_num_entries(zip_.get(), 0));
  }

  zip_stat_t stat_of(std::uint64_t index) const {
    constexpr zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_COMP_METHOD |
                                    ZIP_STAT_ENCRYPTION_METHOD;
    zip_stat_t entry;
    if (index >= entries_ || zip_stat_index(zip_.get(), index, ZIP_FL_ENC_RAW, &entry) != 0 || (entry.valid & needed) != needed) {
      bad_zip(file_, fmt::format("its entry {} is broken; copy the file again", index));
    }
    return entry;
  }

  // The first `count` bytes of an entry as they are stored. One thread at a time, as libzip has it; the rest of the work is the threads' own.
  std::vector<std::byte> packed(const fs::path& name, const Member& member, std::size_t count) const {
    const std::lock_guard lock(mutex_);
    if (!zip_) open();
    if (member_of(member.index, stat_of(member.index)) != member) {
      bad_zip(file_, "it is another zip than was opened; leave data as it is while it is used");
    }
    std::vector<std::byte> bytes(count);
    std::size_t at = 0;
    std::string reason;
    {
      const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(zip_.get(), member.index, ZIP_FL_COMPRESSED), zip_fclose);
      for (zip_int64_t got = 1; file && at < count && got > 0; at += static_cast<std::size_t>(std::max<zip_int64_t>(got, 0))) {
        got = zip_fread(file.get(), bytes.data() + at, count - at);
      }
      if (at < count) reason = file ? zip_file_strerror(file.get()) : zip_strerror(zip_.get());
      else if (file) return bytes;
    }
    zip_.reset();  // what is there again after it was away has to be opened again
    throw UnreadableFile(fmt::format("can't read {}: {}; if that stays, copy the zip again", quote((path() / name).native()), reason));
  }

  const fs::path file_;
  std::map<std::string, Member> members_;  // with all folders
  mutable std::mutex mutex_;
  mutable std::unique_ptr<zip_t, void (*)(zip_t*)> zip_{nullptr, zip_discard};
  mutable std::uint64_t entries_ = 0, bytes_ = 0;
};

}  // namespace

std::unique_ptr<FileStore> open_zip(const ZipPlace& place) { return std::make_unique<ZipStore>(place); }
#else
std::unique_ptr<FileStore> open_zip(const ZipPlace& place) {
  throw Error(ExitCode::bad_data, fmt::format("can't read {}, as this program was built without libzip: install libzip-dev and build it again, or "
                                              "`unzip {}` into a folder", quote(place.zip.native()), shell_word(place.zip.native())));
}
#endif

}  // namespace pastiche
