#include "pastiche/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "pastiche/error.h"
#include "pastiche/files.h"

namespace pastiche {
namespace {

constexpr std::uint64_t max_header = 100'000'000;
constexpr std::size_t max_tensors = 100'000;
constexpr std::size_t max_metadata = 1'000;
constexpr std::size_t max_rank = 64;
constexpr int max_depth = 8;

// In the order of the reference implementation, narrow to wide: the writer goes from the last to the first.
struct Dtype {
  std::string_view name;
  std::uint64_t bits;
};
constexpr Dtype dtypes[] = {
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}};

const Dtype* find_dtype(std::string_view name) {
  const auto* found = std::ranges::find(dtypes, name, &Dtype::name);
  return found == std::end(dtypes) ? nullptr : found;
}

// Empty when the number of bits overflows or isn't whole bytes. Left to right, as the reference does: an overflow is an
// overflow even if a later side is 0.
std::optional<std::uint64_t> byte_count(const std::vector<std::int64_t>& shape, const Dtype& dtype) {
  std::uint64_t count = 1;
  for (std::int64_t side : shape)
    if (side < 0 || __builtin_mul_overflow(count, static_cast<std::uint64_t>(side), &count)) return {};
  if (__builtin_mul_overflow(count, dtype.bits, &count) || count % 8 != 0) return {};
  return count / 8;
}

[[noreturn]] void reject(const std::string& why) {
  throw Error(ExitCode::bad_file, why + "; the file is damaged or not safetensors: copy or save it again");
}

struct Record {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

// Reads the header without building a document: the depth is bounded, and a key that stands twice is seen.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<Record> records;
  std::map<std::string, std::string> metadata;

  bool null() override { return scalar(); }
  bool boolean(bool) override { return scalar(); }
  bool number_integer(std::int64_t) override { return scalar(); }
  bool number_float(double, const std::string&) override { return scalar(); }
  bool binary(binary_t&) override { return scalar(); }

  bool number_unsigned(std::uint64_t value) override {
    if (in_list()) {
      Record& record = records.back();
      if (field_ == "data_offsets") {
        if (record.offsets->size() == 2) reject(where() + " has more than two data_offsets");
        record.offsets->push_back(value);
      } else {
        if (record.shape->size() == max_rank) reject(fmt::format("{} has more than {} sides", where(), max_rank));
        if (value > INT64_MAX) reject(where() + " has a side of more than 2^63-1");
        record.shape->push_back(static_cast<std::int64_t>(value));
      }
      return true;
    }
    return scalar();
  }

  bool string(std::string& value) override {
    if (depth() == 2 && in_metadata_) {
      metadata.emplace(field_, std::move(value));
      return true;
    }
    if (depth() == 2 && field_ == "dtype") {
      records.back().dtype = std::move(value);
      return true;
    }
    return scalar();
  }

  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) reject("header has the key " + quote(name) + " twice");
    if (depth() == 1) {
      in_metadata_ = name == "__metadata__";
      if (!in_metadata_) {
        if (records.size() == max_tensors) reject(fmt::format("header has more than {} tensors", max_tensors));
        records.push_back({.name = name, .dtype = {}, .shape = {}, .offsets = {}});
      }
    }
    if (depth() == 2) field_ = name;
    if (in_metadata_ && metadata.size() == max_metadata) reject(fmt::format("__metadata__ has more than {} keys", max_metadata));
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth() >= 2) scalar();  // allowed only where any value is
    return open();
  }
  bool end_object() override { return close(); }

  bool start_array(std::size_t) override {
    if (depth() == 2 && !in_metadata_ && field_ == "shape") {
      records.back().shape.emplace();
    } else if (depth() == 2 && !in_metadata_ && field_ == "data_offsets") {
      records.back().offsets.emplace();
    } else {
      scalar();
    }
    return open();
  }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    reject(fmt::format("header is not valid JSON in UTF-8 at byte {}", position + 8));
  }

 private:
  int depth() const { return static_cast<int>(keys_.size()); }
  bool in_list() const { return depth() == 3 && !in_metadata_ && (field_ == "shape" || field_ == "data_offsets"); }
  std::string where() const { return in_metadata_ ? "__metadata__" : "tensor " + quote(records.back().name); }

  // A value at a place that has no meaning of its own: rejected where the format wants another type, else ignored.
  bool scalar() {
    if (depth() == 1) reject(where() + " is not an object");
    if (in_metadata_) reject("__metadata__ has the key " + quote(field_) + ", which is not a string");
    const bool known = field_ == "dtype" || field_ == "shape" || field_ == "data_offsets";
    if (known && depth() <= 3) {
      reject(fmt::format("{} has a {} that is not {}", where(), field_,
                         field_ == "dtype" ? "a string" : "a list of whole numbers from 0"));
    }
    return true;
  }
  bool open() {
    if (depth() == max_depth) reject(fmt::format("header is nested more than {} deep", max_depth));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // of every open object; an array has an empty set
  std::string field_;                        // the key at depth 2
  bool in_metadata_ = false;
};

HeaderHandler parse_header(std::string_view header) {
  if (!header.starts_with('{')) reject("header does not begin with '{'");
  // The JSON library takes a NUL for the end of its input.
  if (header.find('\0') != header.npos) reject("header holds a NUL byte");
  HeaderHandler handler;
  nlohmann::json::sax_parse(header, &handler);
  return handler;
}

// Checks a tensor's fields against each other.
void check_record(const Record& record) {
  const std::string where = "tensor " + quote(record.name);
  if (!record.dtype || !record.shape || !record.offsets) {
    reject(fmt::format("{} has no {}", where, !record.dtype ? "dtype" : !record.shape ? "shape" : "data_offsets"));
  }
  const Dtype* dtype = find_dtype(*record.dtype);
  if (!dtype) reject(fmt::format("{} has the unknown dtype {}", where, quote(*record.dtype)));
  if (record.offsets->size() != 2) reject(where + " has fewer than two data_offsets");
  const std::uint64_t begin = (*record.offsets)[0], end = (*record.offsets)[1];
  if (end < begin) reject(where + " ends before it begins");
  const std::optional<std::uint64_t> size = byte_count(*record.shape, *dtype);
  if (!size) reject(where + " has a shape whose size overflows or is not whole bytes");
  if (*size != end - begin) {
    reject(fmt::format("{} has {} bytes where its shape needs {}", where, end - begin, *size));
  }
}

}  // namespace

const SafeTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::ranges::find(tensors, name, &SafeTensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

SafetensorsFile parse_safetensors(std::span<const std::byte> file) {
  if (file.size() < 8) reject(fmt::format("{} bytes are too few for a safetensors header", file.size()));
  std::uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) header_size = header_size << 8 | std::to_integer<std::uint64_t>(file[i]);
  if (header_size > max_header || header_size > file.size() - 8) {
    reject(fmt::format("header of {} bytes does not fit the limit of {} and the file of {}", header_size, max_header,
                       file.size()));
  }
  const std::span<const std::byte> data = file.subspan(8 + header_size);
  HeaderHandler header = parse_header({reinterpret_cast<const char*>(file.data()) + 8, header_size});

  for (const Record& record : header.records) check_record(record);
  std::ranges::sort(header.records, {}, [](const Record& record) { return *record.offsets; });
  std::uint64_t at = 0;
  for (const Record& record : header.records) {
    if ((*record.offsets)[0] != at) {
      reject(fmt::format("tensor {} begins at byte {} of the data where the one before ends at {}", quote(record.name),
                         (*record.offsets)[0], at));
    }
    at = (*record.offsets)[1];
  }
  if (at != data.size()) {
    reject(fmt::format("tensors take {} bytes where the file has {} of data", at, data.size()));
  }

  SafetensorsFile result{.tensors = {}, .metadata = std::move(header.metadata)};
  result.tensors.reserve(header.records.size());
  for (Record& record : header.records) {
    const auto bytes = data.subspan((*record.offsets)[0], (*record.offsets)[1] - (*record.offsets)[0]);
    result.tensors.push_back({std::move(record.name), std::move(*record.dtype), std::move(*record.shape),
                              {bytes.begin(), bytes.end()}});
  }
  return result;
}

namespace {

// What people give for a model by mistake, by how it begins; empty for all else.
std::string mistaken_for(std::string_view head) {
  const std::size_t text = std::min(head.find_first_not_of("\xef\xbb\xbf \t\r\n"), head.size());
  const std::string_view word = head.substr(text, 2);
  if (word == "<!" || word == "<h" || word == "<H") return "the web page of a model and not the model; download the file itself";
  if (head.starts_with("version https://git-lfs")) return "a pointer of Git LFS and not the file itself; `git lfs pull` fetches that";
  for (const std::string_view magic : {"\x89PNG", "\xff\xd8\xff", "GIF8", "RIFF", "II*"}) {
    if (head.starts_with(magic)) return "a picture and not a model; expected a run of `pastiche train`, or its model.safetensors";
  }
  if (head.starts_with("PK\3\4") || head.starts_with("\x80\2")) return "a zip file or pickle, as PyTorch writes them, and not a model; expected .safetensors";
  return {};
}

}  // namespace

std::vector<std::byte> read_safetensors_bytes(const std::filesystem::path& path) {
  std::error_code error;
  char head[32] = {};
  std::ifstream file;
  if (std::filesystem::is_regular_file(path, error)) file.open(path, std::ios::binary);
  file.read(head, sizeof head);
  const std::uint64_t file_size = file.gcount() >= 9 ? std::filesystem::file_size(path, error) : 0;
  if (file_size >= 9 && !error) {
    std::uint64_t header_size = 0;
    for (int i = 7; i >= 0; --i) header_size = header_size << 8 | static_cast<unsigned char>(head[i]);
    std::string problem;
    if (head[8] != '{') problem = ": header does not begin with '{'";
    else if (header_size > max_header || header_size > file_size - 8) {
      problem = fmt::format(": header of {} bytes does not fit the limit of {} and the file of {}", header_size, max_header, file_size);
    }
    const std::string mistake = mistaken_for({head, static_cast<std::size_t>(file.gcount())});
    if (!problem.empty() && !mistake.empty()) throw Error(ExitCode::bad_file, fmt::format("{} is {}", quote(path.native()), mistake));
    if (!problem.empty()) reject(quote(path.native()) + problem);
  }
  return read_file(path, max_safetensors_bytes);  // which says what else is wrong
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_safetensors_bytes(path);
  try {
    return parse_safetensors(bytes);
  } catch (const Error& error) {
    throw Error(error.code(), quote(path.native()) + ": " + error.what());
  }
}

namespace {

// What stands in a file, one after the other: its header, and its tensors in the order of the header.
struct Parts {
  std::string header;  // its length before it
  std::vector<std::span<const std::byte>> all;
};

Parts parts_of(const SafetensorsFile& file) {
  const auto refuse = [](const SafeTensor& tensor, const std::string& why) {
    throw Error(ExitCode::failed, fmt::format("can't save tensor {}: {}", quote(tensor.name), why));
  };
  std::vector<const SafeTensor*> order;
  std::set<std::string_view> names = {"__metadata__"};
  for (const SafeTensor& tensor : file.tensors) {
    const Dtype* dtype = find_dtype(tensor.dtype);
    if (!dtype) refuse(tensor, "unknown dtype " + quote(tensor.dtype));
    if (byte_count(tensor.shape, *dtype) != tensor.bytes.size()) {
      refuse(tensor, fmt::format("{} bytes are not what shape [{}] of {} needs", tensor.bytes.size(),
                                 fmt::join(tensor.shape, ","), tensor.dtype));
    }
    const bool control = std::ranges::any_of(tensor.name, [](unsigned char c) { return c < 32 || c == 127; });
    if (tensor.name.empty() || control) refuse(tensor, "a name needs characters, and no control characters");
    if (!names.insert(tensor.name).second) refuse(tensor, "the name is taken");
    order.push_back(&tensor);
  }
  std::ranges::sort(order, [](const SafeTensor* a, const SafeTensor* b) {
    if (a->dtype != b->dtype) return find_dtype(a->dtype) > find_dtype(b->dtype);
    return a->name < b->name;
  });

  std::string header = "{";
  std::uint64_t size = 0;
  try {
    if (!file.metadata.empty()) header += "\"__metadata__\":" + nlohmann::json(file.metadata).dump();
    for (const SafeTensor* tensor : order) {
      header += fmt::format(R"({}{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", header == "{" ? "" : ",",
                            nlohmann::json(tensor->name).dump(), tensor->dtype, fmt::join(tensor->shape, ","), size,
                            size + tensor->bytes.size());
      size += tensor->bytes.size();
    }
  } catch (const nlohmann::json::exception&) {
    throw Error(ExitCode::failed, "can't save a tensor name or metadata that is not UTF-8");
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > max_header) {
    throw Error(ExitCode::failed, fmt::format("can't save a header of {} bytes, only {}", header.size(), max_header));
  }

  Parts parts;
  for (int i = 0; i < 8; ++i) parts.header.push_back(static_cast<char>(header.size() >> 8 * i));
  parts.header += header;
  for (const SafeTensor* tensor : order) parts.all.emplace_back(tensor->bytes);
  return parts;
}

}  // namespace

std::vector<std::byte> serialize_safetensors(const SafetensorsFile& file) {
  const Parts parts = parts_of(file);
  const auto header = std::as_bytes(std::span(parts.header));
  std::vector<std::byte> result(header.begin(), header.end());
  for (const auto& part : parts.all) result.insert(result.end(), part.begin(), part.end());
  return result;
}

void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file) {
  Parts parts = parts_of(file);
  parts.all.insert(parts.all.begin(), std::as_bytes(std::span(parts.header)));
  write_file_atomically(path, parts.all);
}

}  // namespace pastiche
