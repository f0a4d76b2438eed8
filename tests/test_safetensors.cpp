#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/safetensors.h"

namespace pastiche {
namespace {

std::vector<std::byte> to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> raw(std::uint64_t header_size, std::string_view rest) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(header_size >> 8 * i);
  return to_bytes(text.append(rest));
}

std::vector<std::byte> file_of(const std::string& header, std::size_t data_size) {
  return raw(header.size(), header + std::string(data_size, 'x'));
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

SafeTensor make(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape, std::size_t size) {
  SafeTensor result{name, dtype, std::move(shape), std::vector<std::byte>(size)};
  for (std::size_t i = 0; i < size; ++i) result.bytes[i] = static_cast<std::byte>(i * 37 + name.size());
  return result;
}

struct Probe {
  const char* name;
  std::vector<std::byte> file;
  const char* why;  // a part of the message; nullptr: accepted
  friend void PrintTo(const Probe& probe, std::ostream* out) { *out << probe.name; }
};

std::string nested(int depth) {
  std::string open, close;
  for (int i = 0; i < depth; ++i) open += '[', close += ']';
  return open + close;
}

const std::string ok = tensor("w", "U8", "[4]", "[0,4]");
const std::string nan = "{" + tensor("w", "F32", "[1]", "[0,4]") + "}";

const std::vector<Probe>& probes() {
  static const std::vector<Probe> table = {
      // Framing.
      {"NoBytes", {}, "0 bytes are too few"},
      {"SevenBytes", to_bytes("1234567"), "7 bytes are too few"},
      {"HeaderOfZero", raw(0, ""), "does not begin with '{'"},
      {"HeaderBeyondFile", raw(3, "{}"), "does not fit"},
      {"HeaderBeyondLimit", raw(100'000'001, "{}"), "does not fit the limit of 100000000"},
      {"Header2To63", raw(std::uint64_t{1} << 63, "{}"), "does not fit"},
      {"Header2To64", raw(~std::uint64_t{0}, "{}"), "does not fit"},
      // JSON.
      {"BadUtf8", file_of("{\"a\xff\":{}}", 0), "not valid JSON in UTF-8"},
      {"NotJson", file_of("{hello}", 0), "not valid JSON"},
      {"TopLevelArray", file_of("[]", 0), "does not begin with '{'"},
      {"TrailingNul", file_of(std::string("{}\0", 3), 0), "NUL"},
      {"TrailingGarbage", file_of("{}{}", 0), "not valid JSON"},
      {"LoneSurrogate", file_of(R"({"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0), "not valid JSON"},
      {"Nested100k", file_of("{" + tensor("w", "U8", nested(100'000), "[0,4]") + "}", 4), "list of whole numbers"},
      {"ExtraNested100k", file_of(R"({"w":{"x":)" + nested(100'000) + "}}", 0), "nested more than 8 deep"},
      {"ExtraNestedObjects", file_of(R"({"w":{"x":{"x":{"x":{"x":{"x":{"x":{"x":{}}}}}}}}})", 0), "nested more than 8"},
      {"LeadingSpace", file_of(" {}", 0), "does not begin with '{'"},
      {"ByteOrderMark", file_of("\xef\xbb\xbf{}", 0), "does not begin with '{'"},
      // Layout.
      {"HoleAtStart", file_of("{" + tensor("w", "U8", "[4]", "[1,5]") + "}", 5), "begins at byte 1"},
      {"HoleInTheMiddle", file_of("{" + ok + "," + tensor("v", "U8", "[4]", "[5,9]") + "}", 9), "begins at byte 5"},
      {"TailBytes", file_of("{" + ok + "}", 5), "tensors take 4 bytes where the file has 5"},
      {"ShortData", file_of("{" + ok + "}", 3), "tensors take 4 bytes where the file has 3"},
      {"Overlap", file_of("{" + ok + "," + tensor("v", "U8", "[4]", "[2,6]") + "}", 6), "begins at byte 2"},
      {"SameRangeTwice", file_of("{" + ok + "," + tensor("v", "U8", "[4]", "[0,4]") + "}", 4), "begins at byte 0"},
      {"EndBeforeBegin", file_of("{" + tensor("w", "U8", "[4]", "[4,0]") + "}", 4), "ends before it begins"},
      {"SizeIsNotShape",
       file_of("{" + tensor("w", "F32", "[2]", "[0,4]") + "}", 4), "has 4 bytes where its shape needs 8"},
      {"EmptyHeaderWithData", file_of("{}", 4), "tensors take 0 bytes where the file has 4"},
      {"ZeroSizeOutOfRange", file_of("{" + ok + "," + tensor("v", "U8", "[0]", "[9,9]") + "}", 4), "begins at byte 9"},
      // Numbers.
      {"NegativeSide", file_of("{" + tensor("w", "U8", "[-4]", "[0,4]") + "}", 4), "a list of whole numbers from 0"},
      {"FloatSide", file_of("{" + tensor("w", "U8", "[4.0]", "[0,4]") + "}", 4), "a list of whole numbers from 0"},
      {"NegativeOffset", file_of("{" + tensor("w", "U8", "[4]", "[-0,4]") + "}", 4), "a list of whole numbers from 0"},
      {"FloatOffset", file_of("{" + tensor("w", "U8", "[4]", "[0,4e0]") + "}", 4), "a list of whole numbers from 0"},
      {"HugeSide", file_of("{" + tensor("w", "U8", "[18446744073709551615]", "[0,4]") + "}", 4), "more than 2^63-1"},
      {"HugerSide", file_of("{" + tensor("w", "U8", "[18446744073709551616]", "[0,4]") + "}", 4), "a list of whole"},
      {"Overflow2To62Times4",
       file_of("{" + tensor("w", "F32", "[4611686018427387904]", "[0,4]") + "}", 4), "overflows"},
      {"OverflowTimesZero",
       file_of("{" + tensor("w", "U8", "[9223372036854775807,9223372036854775807,0]", "[0,0]") + "}", 0), "overflows"},
      {"HalfAByte", file_of("{" + tensor("w", "F4", "[3]", "[0,1]") + "}", 1), "not whole bytes"},
      // Fields.
      {"UnknownDtype", file_of("{" + tensor("w", "F33", "[4]", "[0,4]") + "}", 4), "unknown dtype 'F33'"},
      {"LowerCaseDtype", file_of("{" + tensor("w", "u8", "[4]", "[0,4]") + "}", 4), "unknown dtype 'u8'"},
      {"DtypeIsNumber",
       file_of(R"({"w":{"dtype":8,"shape":[4],"data_offsets":[0,4]}})", 4), "dtype that is not a string"},
      {"NoDtype", file_of(R"({"w":{"shape":[4],"data_offsets":[0,4]}})", 4), "has no dtype"},
      {"NoShape", file_of(R"({"w":{"dtype":"U8","data_offsets":[0,4]}})", 4), "has no shape"},
      {"NoOffsets", file_of(R"({"w":{"dtype":"U8","shape":[4]}})", 4), "has no data_offsets"},
      {"ShapeIsNumber", file_of("{" + tensor("w", "U8", "4", "[0,4]") + "}", 4), "shape that is not a list"},
      {"ShapeIsNested", file_of("{" + tensor("w", "U8", "[[4]]", "[0,4]") + "}", 4), "shape that is not a list"},
      {"OneOffset", file_of("{" + tensor("w", "U8", "[4]", "[0]") + "}", 4), "fewer than two"},
      {"ThreeOffsets", file_of("{" + tensor("w", "U8", "[4]", "[0,4,4]") + "}", 4), "more than two"},
      {"TensorIsNull", file_of(R"({"w":null})", 0), "is not an object"},
      {"TensorIsArray", file_of(R"({"w":[]})", 0), "is not an object"},
      // Metadata and duplicates.
      {"MetadataInteger", file_of(R"({"__metadata__":{"a":1}})", 0), "key 'a', which is not a string"},
      {"MetadataNested", file_of(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "key 'a', which is not a string"},
      {"MetadataArray", file_of(R"({"__metadata__":{"a":["c"]}})", 0), "key 'a', which is not a string"},
      {"MetadataNull", file_of(R"({"__metadata__":null})", 0), "__metadata__ is not an object"},
      {"MetadataTwice", file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "'__metadata__' twice"},
      {"KeyTwiceOtherRange", file_of("{" + ok + "," + tensor("w", "U8", "[4]", "[4,8]") + "}", 8), "'w' twice"},
      {"KeyTwiceSameValue", file_of("{" + ok + "," + ok + "}", 4), "'w' twice"},
      {"KeyTwiceInMetadata", file_of(R"({"__metadata__":{"a":"1","a":"1"}})", 0), "'a' twice"},
      {"FieldTwice",
       file_of(R"({"w":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4), "'dtype' twice"},
      // Odd and allowed.
      {"ExtraField",
       file_of(R"({"w":{"x":[{"dtype":[1,-2.5,null]}],"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4), nullptr},
      {"EmptyName", file_of("{" + tensor("", "U8", "[4]", "[0,4]") + "}", 4), nullptr},
      {"NulInName", file_of("{" + tensor("a\\u0000b", "U8", "[4]", "[0,4]") + "}", 4), nullptr},
      {"F32AtOddOffset",
       file_of("{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("w", "F32", "[1]", "[1,5]") + "}", 5), nullptr},
      {"ZeroSizeSharesOffset", file_of("{" + ok + "," + tensor("v", "F32", "[0,9]", "[0,0]") + "}", 4), nullptr},
      {"ZeroSizeAtEnd", file_of("{" + ok + "," + tensor("v", "F32", "[0]", "[4,4]") + "}", 4), nullptr},
      {"Empty", file_of("{}", 0), nullptr},
      {"TrailingSpaces", file_of("{" + ok + "}   ", 4), nullptr},
      {"RankZero", file_of("{" + tensor("w", "F32", "[]", "[0,4]") + "}", 4), nullptr},
      {"NotSorted", file_of("{" + tensor("v", "U8", "[4]", "[4,8]") + "," + ok + "}", 8), nullptr},
      {"NanPayload", raw(nan.size(), nan + "\xff\xff\xff\xff"), nullptr},
  };
  return table;
}

class Safetensors : public testing::TestWithParam<Probe> {};

TEST_P(Safetensors, Probe) {
  const Probe& probe = GetParam();
  try {
    const SafetensorsFile file = parse_safetensors(probe.file);
    EXPECT_EQ(probe.why, nullptr);
  } catch (const Error& error) {
    ASSERT_NE(probe.why, nullptr) << error.what();
    EXPECT_NE(std::string(error.what()).find(probe.why), std::string::npos) << error.what();
    EXPECT_EQ(error.code(), ExitCode::bad_file);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, Safetensors, testing::ValuesIn(probes()),
                         [](const auto& info) { return info.param.name; });

TEST(SafetensorsReader, KeepsOddNamesAndUnalignedBytes) {
  const SafetensorsFile file = parse_safetensors(
      file_of("{" + tensor("a\\u0000b", "U8", "[1]", "[0,1]") + "," + tensor("", "F32", "[1]", "[1,5]") + "}", 5));
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].name, std::string("a\0b", 3));
  ASSERT_NE(file.find(""), nullptr);
  EXPECT_EQ(file.find("")->bytes, to_bytes("xxxx"));
  EXPECT_EQ(file.find("missing"), nullptr);
}

TEST(SafetensorsReader, CapsTheNumberOfTensorsAndTheirRank) {
  std::string many = "{";
  for (int i = 0; i <= 100'000; ++i) many += tensor(std::to_string(i), "U8", "[0]", "[0,0]") + ",";
  many.back() = '}';
  EXPECT_THROW(parse_safetensors(file_of(many, 0)), Error);
  std::string shape = "[1";
  for (int i = 1; i < 64; ++i) shape += ",1";
  EXPECT_NO_THROW(parse_safetensors(file_of("{" + tensor("w", "U8", shape + "]", "[0,1]") + "}", 1)));
  EXPECT_THROW(parse_safetensors(file_of("{" + tensor("w", "U8", shape + ",1]", "[0,1]") + "}", 1)), Error);
}

TEST(SafetensorsReader, NamesTheFile) {
  const std::string path = testing::TempDir() + "pastiche_bad.safetensors";
  std::ofstream(path) << "12345678{";
  try {
    read_safetensors(path);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::bad_file);
    EXPECT_TRUE(std::string(error.what()).starts_with("'" + path + "': header of ")) << error.what();
  }
  std::filesystem::remove(path);
  EXPECT_THROW(read_safetensors(path), Error);
}

// Every truncation and every single-byte change of a good file is either refused or read without a fault.
TEST(SafetensorsReader, SurvivesDamage) {
  const SafetensorsFile good{.tensors = {make("a", "F32", {2, 3}, 24), make("b", "BF16", {}, 2)},
                             .metadata = {{"format", "pt"}}};
  const std::vector<std::byte> bytes = serialize_safetensors(good);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THROW(parse_safetensors(std::span(bytes).first(size)), Error) << size;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> damaged = bytes;
      damaged[at] ^= static_cast<std::byte>(1 << bit);
      try {
        parse_safetensors(damaged);
      } catch (const Error&) {
      }
    }
  }
}

TEST(SafetensorsWriter, RoundTripsAndIsDeterministic) {
  SafetensorsFile file{.tensors = {make("u8", "U8", {3}, 3), make("f32.b", "F32", {2, 2}, 16),
                                   make("f64", "F64", {1}, 8), make("f32.a", "F32", {}, 4),
                                   make("bf16", "BF16", {0, 5}, 0), make("i64", "I64", {2}, 16),
                                   make("\xc3\xa9\"\\", "I32", {1}, 4)},
                       .metadata = {{"pastiche", R"({"model":"dcgan"})"}, {"a", ""}}};
  const std::vector<std::byte> bytes = serialize_safetensors(file);
  std::ranges::reverse(file.tensors);
  EXPECT_EQ(serialize_safetensors(file), bytes);
  const std::string path = testing::TempDir() + "pastiche-written.safetensors";
  write_safetensors(path, file);
  EXPECT_EQ(read_file(path), bytes);
  std::filesystem::remove(path);

  const SafetensorsFile again = parse_safetensors(bytes);
  EXPECT_EQ(again.metadata, file.metadata);
  ASSERT_EQ(again.tensors.size(), file.tensors.size());
  std::vector<std::string> order;
  for (const SafeTensor& tensor : again.tensors) {
    order.push_back(tensor.name);
    const SafeTensor* original = file.find(tensor.name);
    ASSERT_NE(original, nullptr);
    EXPECT_EQ(tensor.dtype, original->dtype);
    EXPECT_EQ(tensor.shape, original->shape);
    EXPECT_EQ(tensor.bytes, original->bytes);
  }
  EXPECT_EQ(order, (std::vector<std::string>{"i64", "f64", "f32.a", "f32.b", "\xc3\xa9\"\\", "bf16", "u8"}));
}

// The bytes that the reference implementation (safetensors 0.8.0 for Python) writes for the same tensors.
TEST(SafetensorsWriter, WritesTheReferenceBytes) {
  const SafetensorsFile file{.tensors = {{"b", "U8", {3}, to_bytes("abc")}, {"w", "F32", {1, 1}, to_bytes("wxyz")}},
                             .metadata = {{"k", "v"}}};
  const std::string header =
      R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
      R"("b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_EQ(serialize_safetensors(file), raw(padded.size(), padded + "wxyzabc"));
  EXPECT_EQ(serialize_safetensors({}), raw(8, "{}      "));
}

TEST(SafetensorsWriter, RefusesWhatNoReaderWouldAccept) {
  const auto refuses = [](const SafetensorsFile& file) {
    try {
      serialize_safetensors(file);
    } catch (const Error& error) {
      return error.code() == ExitCode::failed;
    }
    return false;
  };
  EXPECT_TRUE(refuses({{make("w", "F32", {2}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("w", "F32", {-1}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("w", "float", {1}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("", "F32", {1}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("a\nb", "F32", {1}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("\xff", "F32", {1}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("__metadata__", "F32", {1}, 4)}, {}}));
  EXPECT_TRUE(refuses({{make("w", "F32", {1}, 4), make("w", "U8", {1}, 1)}, {}}));
  EXPECT_TRUE(refuses({{}, {{"a", "\xff"}}}));
}

}  // namespace
}  // namespace pastiche
