#include <fmt/format.h>

#include <cstring>
#include <tuple>
#include <utility>

#include "ptx/translator/module.h"

namespace pastiche::ptx_translator {
namespace {

struct Token {
  enum class Kind { word, number, text, sign, end } kind = Kind::end;
  std::string_view text;
  int line = 0;
};

bool starts_word(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || std::strchr("_$%.", c) != nullptr; }
bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::strchr("_$%.", c) != nullptr; }

std::vector<Token> tokens_of(const std::string& path, std::string_view s) {
  std::vector<Token> tokens;
  int line = 1;
  std::size_t i = 0;
  const auto take = [&](Token::Kind kind, std::size_t end) {
    tokens.push_back({kind, s.substr(i, end - i), line});
    i = end;
  };
  while (i < s.size()) {
    const char c = s[i];
    std::size_t end = i + 1;
    if (c == '\n') {
      ++line;
      ++i;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      ++i;
    } else if (s.substr(i, 2) == "//") {
      i = std::min(s.find('\n', i), s.size());
    } else if (s.substr(i, 2) == "/*") {
      for (end = std::min(s.find("*/", i + 2), s.size() - 2) + 2; i < end; ++i) line += s[i] == '\n';
    } else if (starts_word(c)) {
      while (end < s.size() && (in_word(s[end]) || s.substr(end, 2) == "::")) end += s[end] == ':' ? 2 : 1;  // .L2::128B
      take(Token::Kind::word, end);
    } else if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      while (end < s.size() && (std::isalnum(static_cast<unsigned char>(s[end])) != 0 || s[end] == '.')) ++end;
      take(Token::Kind::number, end);
    } else if (c == '"') {
      while (end < s.size() && s[end] != '"') ++end;
      take(Token::Kind::text, std::min(end + 1, s.size()));
    } else if (std::strchr("()[]{}<>,;:|@!+-=", c) != nullptr) {
      take(Token::Kind::sign, end);
    } else {
      fail(path, line, fmt::format("unexpected '{}'", c));
    }
  }
  tokens.push_back({Token::Kind::end, "the end of the file", line});
  return tokens;
}

std::int64_t bytes_of_type(std::string_view type) {
  if (type == "pred") return 1;
  return std::strtol(type.data() + type.find_first_of("0123456789"), nullptr, 10) / 8;
}

class Parser {
 public:
  Parser(const std::string& path, std::string_view text) : tokens_(tokens_of(path, text)) { module_.path = path; }

  Module run() {
    bool external = false;
    while (here().kind != Token::Kind::end) {
      const std::string word(expect_word());
      if (word == ".version" || word == ".target" || word == ".address_size") {
        skip_line();
      } else if (word == ".file") {
        const auto number = static_cast<std::size_t>(expect_number());
        module_.files[number] = here().text.substr(1, here().text.size() - 2);
        skip_line();
      } else if (word == ".section") {  // of the debugger
        while (!accept("}")) ++at_;
      } else if (word == ".pragma") {
        skip_pragma();
      } else if (word == ".visible" || word == ".weak") {
      } else if (word == ".extern") {
        external = true;
        continue;
      } else if (word == ".entry" || word == ".func") {
        function(word == ".entry");
      } else if (word == ".shared" || word == ".global" || word == ".const") {
        module_.variables.push_back(variable(word.substr(1), external));
        expect(";");
      } else {
        unexpected(word);
      }
      external = false;
    }
    return std::move(module_);
  }

 private:
  // ---- tokens --------------------------------------------------------------------------------------------------------
  const Token& here() const { return tokens_[at_]; }
  [[noreturn]] void unexpected(std::string_view what) const { fail(module_.path, tokens_[at_ - 1].line, fmt::format("'{}' is not known here", what)); }
  bool accept(std::string_view sign) {
    if (here().text != sign || here().kind == Token::Kind::text) return false;
    ++at_;
    return true;
  }
  void expect(std::string_view sign) {
    if (!accept(sign)) fail(module_.path, here().line, fmt::format("'{}' where '{}' should stand", here().text, sign));
  }
  std::string_view expect_word() {
    if (here().kind != Token::Kind::word) fail(module_.path, here().line, fmt::format("'{}' where a word should stand", here().text));
    return tokens_[at_++].text;
  }
  std::int64_t expect_number() {
    const bool negative = accept("-");
    if (here().kind != Token::Kind::number) fail(module_.path, here().line, fmt::format("'{}' where a number should stand", here().text));
    const auto value = static_cast<std::int64_t>(std::strtoull(tokens_[at_++].text.data(), nullptr, 0));
    return negative ? -value : value;
  }
  void skip_line() {
    for (const int line = here().line; here().line == line && here().kind != Token::Kind::end;) ++at_;
  }
  void skip_pragma() {  // advice to ptxas
    while (!accept(";")) ++at_;
  }

  // ---- declarations --------------------------------------------------------------------------------------------------
  // [.align n] .type name [n] [= value]
  Variable variable(std::string space, bool external) {
    Variable v{.space = std::move(space), .external = external};
    bool aligned = false;
    while (v.name.empty()) {
      const std::string_view word = expect_word();
      if (word == ".align") {
        v.align = expect_number();
        aligned = true;
      } else if (word == ".ptr") {  // what the parameter points to
        while (here().text == ".global" || here().text == ".shared" || here().text == ".const" || here().text == ".local") ++at_;
        if (accept(".align")) expect_number();
      } else if (word[0] == '.') {
        v.type = word.substr(1);
      } else {
        v.name = word;
      }
    }
    const std::int64_t element = bytes_of_type(v.type);
    v.bytes = element;
    while (accept("[")) {
      if (accept("]")) continue;
      v.bytes *= expect_number();
      expect("]");
    }
    if (!aligned) v.align = element;
    if (accept("=")) {
      const bool list = accept("{");
      do {
        const std::int64_t value = expect_number();
        const auto* const bytes = reinterpret_cast<const std::uint8_t*>(&value);
        v.value.insert(v.value.end(), bytes, bytes + element);
      } while (accept(","));
      if (list) expect("}");
    }
    return v;
  }

  std::vector<Variable> parameters() {
    std::vector<Variable> all;
    expect("(");
    while (!accept(")")) {
      expect(".param");
      all.push_back(variable("param", false));
      accept(",");
    }
    return all;
  }

  void function(bool entry) {
    Function f{.entry = entry};
    if (!entry && here().text == "(") f.results = parameters();
    f.line = here().line;
    f.name = expect_word();
    if (here().text == "(") f.parameters = parameters();
    for (;;) {
      if (accept(";")) return;  // it is only declared
      if (accept("{")) break;
      const std::string word(expect_word());
      if (word == ".maxntid" || word == ".reqntid") {
        f.max_threads = 1;
        do f.max_threads *= expect_number();
        while (accept(","));
      } else if (word == ".minnctapersm") {
        expect_number();
      } else if (word == ".pragma") {
        skip_pragma();
      } else if (word != ".noreturn") {
        unexpected(word);
      }
    }
    scopes_ = {{}};
    calls_.clear();
    location_ = add_location({});
    body(f);
    module_.functions.push_back(std::move(f));
  }

  // ---- bodies --------------------------------------------------------------------------------------------------------
  void body(Function& f) {
    while (!scopes_.empty()) {
      if (accept("{")) {
        scopes_.emplace_back();
        ++blocks_;
      } else if (accept("}")) {
        scopes_.pop_back();
      } else if (accept(".reg")) {
        const std::string type(expect_word().substr(1));
        do {
          const std::string name(expect_word());
          if (accept("<")) {
            const std::int64_t count = expect_number();
            for (std::int64_t i = 0; i < count; ++i) f.registers[declare(name + std::to_string(i))] = type;
            expect(">");
          } else {
            f.registers[declare(name)] = type;
          }
        } while (accept(","));
        expect(";");
      } else if (here().text == ".local" || here().text == ".shared" || here().text == ".param") {
        Variable v = variable(std::string(expect_word().substr(1)), false);
        v.name = declare(v.name);
        f.variables.push_back(std::move(v));
        expect(";");
      } else if (accept(".loc")) {
        location();
      } else if (accept(".pragma")) {
        skip_pragma();
      } else {
        statement(f);
      }
    }
  }

  // Names that are declared in a block of their own are made different from those outside.
  std::string declare(const std::string& name) {
    const std::string own = scopes_.size() == 1 ? name : fmt::format("{}_in{}", name, blocks_);
    scopes_.back()[name] = own;
    return own;
  }
  std::string resolve(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) return found->second;
    }
    return std::string(name);
  }

  // .loc file line column [, function_name label, inlined_at file line column]: the call was told before.
  using Position = std::tuple<std::int64_t, std::int64_t, std::int64_t>;
  void location() {
    const auto position = [this] {
      const std::int64_t file = expect_number(), line = expect_number(), column = expect_number();
      return Position{file, line, column};
    };
    const Position now = position();
    Location l{.file = static_cast<std::size_t>(std::get<0>(now)), .line = std::get<1>(now)};
    while (accept(",")) {
      if (accept("inlined_at")) {
        const auto [call, is_new] = calls_.try_emplace(position());
        if (is_new) {
          call->second = add_location({.file = static_cast<std::size_t>(std::get<0>(call->first)), .line = std::get<1>(call->first)});
        }
        l.from = static_cast<std::int64_t>(call->second);
      } else {
        expect("function_name");
        expect_word();
        if (accept("+")) expect_number();
      }
    }
    location_ = calls_[now] = add_location(l);
  }
  std::size_t add_location(const Location& l) {
    const auto [at, is_new] = known_.try_emplace({static_cast<std::int64_t>(l.file), l.line, l.from}, module_.locations.size());
    if (is_new) module_.locations.push_back(l);
    return at->second;
  }

  void statement(Function& f) {
    Instruction i{.line = here().line, .location = location_};
    if (accept("@")) {
      i.unless = accept("!");
      i.guard = resolve(expect_word());
    }
    i.opcode = expect_word();
    if (accept(":")) {
      if (accept(".branchtargets")) {  // a table, which has the label's name
        targets_of_[i.opcode] = operands();
        expect(";");
        return;
      }
      i.label = std::exchange(i.opcode, {});
      f.body.push_back(std::move(i));
      return;
    }
    i.operands = operands();
    expect(";");
    f.body.push_back(std::move(i));
    if (f.body.back().opcode.starts_with("brx.idx")) {  // its table stands before it
      f.body.back().operands.at(1) = {.kind = Operand::Kind::list, .text = "", .parts = targets_of_.at(f.body.back().operands.at(1).text)};
    }
  }

  std::vector<Operand> operands() {
    std::vector<Operand> all;
    if (here().text == ";") return all;
    do all.push_back(operand());
    while (accept(","));
    return all;
  }

  Operand operand() {
    Operand o;
    if (accept("[")) {
      o.kind = Operand::Kind::address;
      if (here().kind == Token::Kind::word) o.text = resolve(expect_word());
      const bool plus = accept("+");
      if (plus || o.text.empty()) o.offset = expect_number();
      expect("]");
      return o;
    }
    for (const auto& [open, close] : {std::pair{"{", "}"}, std::pair{"(", ")"}}) {
      if (!accept(open)) continue;
      o.kind = Operand::Kind::list;
      while (!accept(close)) {
        o.parts.push_back(operand());
        accept(",");
      }
      return o;
    }
    o.negated = accept("!");
    if (here().kind == Token::Kind::word) {
      o.text = resolve(expect_word());
      if (accept("+")) o.offset = expect_number();
      if (here().text == "|") {
        o = {.kind = Operand::Kind::list, .text = "", .parts = {o}};
        while (accept("|")) o.parts.push_back({.text = resolve(expect_word())});
      }
      return o;
    }
    o.kind = Operand::Kind::number;
    if (accept("-")) o.text = "-";
    if (here().kind != Token::Kind::number) fail(module_.path, here().line, fmt::format("'{}' where an operand should stand", here().text));
    o.text += tokens_[at_++].text;
    return o;
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  Module module_;
  std::vector<std::map<std::string, std::string, std::less<>>> scopes_;
  int blocks_ = 0;
  std::map<std::string, std::vector<Operand>> targets_of_;
  std::size_t location_ = 0;
  std::map<Position, std::size_t> known_, calls_;
};

}  // namespace

void fail(const std::string& path, int line, const std::string& what) { throw std::runtime_error(fmt::format("{}:{}: {}", path, line, what)); }

Module parse(const std::string& path, std::string_view text) { return Parser(path, text).run(); }

}  // namespace pastiche::ptx_translator
