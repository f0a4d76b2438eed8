#pragma once
// A file of PTX as it stands there: functions, their variables and instructions. What the words mean is emit.cpp's concern.
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pastiche::ptx_translator {

struct Operand {
  enum class Kind { word, number, address, list } kind = Kind::word;
  std::string text{};          // register, symbol, label or literal; of an address, what it counts from (empty: from zero)
  std::int64_t offset = 0;     // of an address
  bool negated = false;        // !p
  std::vector<Operand> parts{};  // of {a, b}, (a, b) or a|b
};

struct Instruction {
  int line = 0;          // in the file
  std::size_t location = 0;
  std::string guard{};   // predicate, if any
  bool unless = false;   // @!p
  std::string label{};   // this is a label, or
  std::string opcode{};  // "fma.rn.f32"
  std::vector<Operand> operands{};
};

struct Variable {
  std::string space{}, type{}, name{};  // space: param, shared, global, const, local
  std::int64_t align = 1, bytes = 0;
  bool external = false;  // dynamic shared memory
  std::vector<std::uint8_t> value{};  // empty: zero
};

struct Function {
  bool entry = false;
  std::string name{};
  int line = 0;
  std::int64_t max_threads = 1024;  // a block
  std::vector<Variable> results{}, parameters{}, variables{};
  std::map<std::string, std::string> registers{};  // and their types
  std::vector<Instruction> body{};
};

// A line of the source. from: the place of the call that was expanded there; -1: none.
struct Location {
  std::size_t file = 0;
  std::int64_t line = 0;
  std::int64_t from = -1;
};

struct Module {
  std::string path;
  std::map<std::size_t, std::string> files;
  std::vector<Location> locations;
  std::vector<Variable> variables;
  std::vector<Function> functions;
};

// With the line of the PTX.
[[noreturn]] void fail(const std::string& path, int line, const std::string& what);

Module parse(const std::string& path, std::string_view text);

}  // namespace pastiche::ptx_translator
