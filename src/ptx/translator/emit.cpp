// A module in C++: registers are variables, labels are labels, and each instruction is one statement.
//
// Addresses: of shared memory an offset, as in PTX, to which the block's memory is added; every other one, generic ones too, is that
// of the host. Every word of an opcode must be understood, or the translation fails with the line.
#include "ptx/translator/emit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <set>
#include <unordered_map>

namespace pastiche::ptx_translator {
namespace {

using std::string;

// ---- types -----------------------------------------------------------------------------------------------------------

// u, s, b, f and a number of bits; pred; and what fits no such name: f16, bf16, f16x2, bf16x2, tf32.
struct Type {
  string name;
  char kind = 'b';
  int bits = 0;

  bool floating() const { return name == "f32" || name == "f64"; }
  bool small_float() const { return name.find('f') != string::npos && !floating(); }
  bool is_signed() const { return kind == 's'; }
  string cpp() const {
    if (name == "pred") return "bool";
    if (floating()) return name;
    return (kind == 's' ? "s" : "u") + std::to_string(bits);
  }
};

bool is_type(std::string_view s) {
  static const std::set<std::string_view> all = {"pred", "b8", "b16", "b32", "b64", "b128", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64",
                                                 "f16", "f16x2", "bf16", "bf16x2", "tf32", "f32", "f64"};
  return all.contains(s);
}

Type type_of(const string& name) {
  if (name == "pred") return {name, 'p', 1};
  const auto digit = name.find_first_of("0123456789");
  int bits = std::stoi(name.substr(digit)) * (name.ends_with("x2") ? 2 : 1);
  if (name == "tf32") bits = 32;
  return {name, name[0] == 'u' || name[0] == 's' || name == "f32" || name == "f64" ? name[0] : 'b', bits};
}

const Type u16{"u16", 'u', 16}, u32{"u32", 'u', 32}, u64{"u64", 'u', 64}, f32{"f32", 'f', 32}, pred{"pred", 'p', 1};
Type bits_of(int bits) { return {"b" + std::to_string(bits), 'b', bits}; }
Type unsigned_of(const Type& t) { return {"u" + std::to_string(t.bits), 'u', t.bits}; }

// ---- names -----------------------------------------------------------------------------------------------------------

// With an underscore at the end, as no name of ptx.h has it: there is a register %f32.
string identifier(const string& name) {
  string s;
  for (char c : name) {
    if (c != '%') s += c == '$' || c == '.' ? '_' : c;
  }
  return s + "_";
}

// The host compiler mangles unnamed namespaces in another way: 39_GLOBAL__N__930a28bd_7_conv_cu_9c3a55ac is 12_GLOBAL__N_1.
string host_mangled(string name) {
  static constexpr std::string_view unnamed = "_GLOBAL__N__";
  for (std::size_t at = 0; (at = name.find(unnamed, at)) != string::npos;) {
    const std::size_t begin = name.find_last_not_of("0123456789", at - 1) + 1;
    const std::size_t length = begin < at ? std::stoul(name.substr(begin)) : 0;
    if (length < unnamed.size() || at + length > name.size()) throw std::runtime_error(fmt::format("{}: the name is not understood", name));
    name.replace(begin, at + length - begin, "12_GLOBAL__N_1");
    at = begin;
  }
  return name;
}

string quoted(std::string_view s) { return fmt::format("\"{}\"", s); }

// ---- one opcode ------------------------------------------------------------------------------------------------------

// Its words after the first, each of which must be asked for.
class Words {
 public:
  explicit Words(const string& opcode) {
    for (std::size_t at = opcode.find('.'); at != string::npos;) {
      const std::size_t next = opcode.find('.', at + 1);
      const string word = opcode.substr(at + 1, next == string::npos ? next : next - at - 1);
      if (is_type(word)) types_.push_back(type_of(word));
      else words_.push_back(word);
      at = next;
    }
  }
  bool take(std::string_view word) {
    const auto at = std::find(words_.begin(), words_.end(), word);
    if (at == words_.end()) return false;
    words_.erase(at);
    return true;
  }
  // The one of them that stands there; empty: none.
  string take_one_of(std::initializer_list<std::string_view> words) {
    for (const std::string_view word : words) {
      if (take(word)) return string(word);
    }
    return "";
  }
  void ignore(std::initializer_list<std::string_view> words) {
    for (const std::string_view word : words) take(word);
  }
  void ignore_prefix(std::string_view prefix) {
    std::erase_if(words_, [&](const string& w) { return w.starts_with(prefix); });
  }
  bool has_small_floats() const {
    return std::any_of(types_.begin(), types_.end(), [](const Type& t) { return t.small_float(); });
  }
  const Type& type(std::size_t i = 0) {
    used_ = std::max(used_, i + 1);
    return types_.at(i);
  }
  std::size_t types() const { return types_.size(); }
  string unknown() const { return !words_.empty() ? words_.front() : used_ < types_.size() ? types_[used_].name : ""; }

 private:
  std::vector<string> words_;
  std::vector<Type> types_;
  std::size_t used_ = 0;
};

constexpr std::int64_t shared_gap = 128;  // between two variables, so that an overrun of one is not an access to the other

// ---- a function ------------------------------------------------------------------------------------------------------

class Emitter {
 public:
  Emitter(const Module& module, const Function& function, std::size_t& places, std::size_t& counters)
      : module_(module), function_(function), places_(places), counters_(counters) {}

  // What stands before the function (places), and the function.
  void run(string& place_table, string& code);

  struct Shared {
    string name;
    std::int64_t offset, bytes;
  };
  std::vector<Shared> shared;
  std::int64_t shared_bytes = 0;  // static; where the dynamic memory begins

 private:
  [[noreturn]] void wrong(const string& what) const {
    fail(module_.path, now_->line, fmt::format("{}: {}", now_->opcode, what));
  }

  // ---- operands ------------------------------------------------------------------------------------------------------
  const Operand& operand(std::size_t i) const {
    if (i >= now_->operands.size()) wrong("an operand is missing");
    return now_->operands[i];
  }
  std::size_t operands() const { return now_->operands.size(); }

  static string value_of(const Operand& o, const Type& type) {
    if (o.text.starts_with("0f") || o.text.starts_with("0F")) {
      const string bits = fmt::format("0x{}u", o.text.substr(2));
      return type.floating() ? fmt::format("f32_of({})", bits) : fmt::format("{}({})", type.cpp(), bits);
    }
    if (o.text.starts_with("0d") || o.text.starts_with("0D")) {
      const string bits = fmt::format("0x{}ull", o.text.substr(2));
      return type.floating() ? fmt::format("f64_of({})", bits) : fmt::format("{}({})", type.cpp(), bits);
    }
    const bool negative = o.text.starts_with("-");
    const std::uint64_t size = std::stoull(o.text.substr(negative ? 1 : 0), nullptr, 0), value = negative ? 0 - size : size;
    return fmt::format("{}({}ull)", type.cpp(), value);
  }

  string special(const string& name) const {
    static const std::map<string, string> all = {
        {"%laneid", "laneid()"}, {"%WARP_SZ", "32u"}, {"WARP_SZ", "32u"}, {"%lanemask_eq", "(1u << laneid())"},
        {"%lanemask_lt", "((1u << laneid()) - 1)"}, {"%lanemask_le", "((2u << laneid()) - 1)"}, {"%lanemask_gt", "~((2u << laneid()) - 1)"},
        {"%lanemask_ge", "~((1u << laneid()) - 1)"}, {"%warpid", "(simt_runtime::running_thread() / 32)"}};
    if (const auto found = all.find(name); found != all.end()) return found->second;
    for (const char* vector : {"%tid.", "%ntid.", "%ctaid.", "%nctaid."}) {
      if (name.starts_with(vector)) return "thread." + name.substr(1);
    }
    return "";
  }

  // Where a symbol lies: of shared memory an offset, of other memory a pointer.
  struct Symbol {
    string text;
    bool shared;
  };
  Symbol symbol(const string& name) {
    for (const Variable& v : function_.variables) {
      if (v.name == name && v.space != "shared") return {identifier(name), false};
    }
    std::int64_t offset = 0;
    for (const Variable& v : function_.parameters) {
      offset = (offset + v.align - 1) / v.align * v.align;
      if (v.name == name) {
        return {function_.entry ? fmt::format("(parameters + {})", offset) : fmt::format("arguments[{}]", &v - function_.parameters.data()), false};
      }
      offset += v.bytes;
    }
    for (const Variable& v : function_.results) {
      if (v.name == name) return {"result", false};
    }
    for (const auto* variables : {&function_.variables, &module_.variables}) {
      for (const Variable& v : *variables) {
        if (v.name != name) continue;
        if (v.space != "shared") return {identifier(name), false};
        if (!function_.entry) wrong("shared memory in a function that is called is not known");
        return {v.external ? "dynamic_shared" : fmt::format("{}u", shared_offset(v)), true};
      }
    }
    wrong(fmt::format("{} is not known", name));
  }
  std::int64_t shared_offset(const Variable& v) {
    for (const Shared& s : shared) {
      if (s.name == v.name) return s.offset;
    }
    const std::int64_t offset = (shared_bytes + v.align - 1) / v.align * v.align;
    shared.push_back({v.name, offset, v.bytes});
    shared_bytes = offset + v.bytes + shared_gap;
    return offset;
  }

  // The operand as a value of the type.
  string read(const Operand& o, const Type& type) {
    if (o.kind == Operand::Kind::number) return value_of(o, type);
    if (o.kind == Operand::Kind::list) return packed(o, type);
    if (o.kind == Operand::Kind::address) wrong("an address where a value should stand");
    string text;
    const auto found = function_.registers.find(o.text);
    if (found == function_.registers.end()) {
      text = special(o.text);
      if (!text.empty()) return type.cpp() == "u32" ? text : fmt::format("{}({})", type.cpp(), text);
      const Symbol s = symbol(o.text);
      text = s.shared ? s.text : fmt::format("address({})", s.text);
      return fmt::format("{}({} + {})", type.cpp(), text, o.offset);
    }
    text = identifier(o.text);
    const Type have = type_of(found->second);
    if (o.negated) return "!" + text;
    return converted(text, have, type);
  }
  string read(std::size_t i, const Type& type) { return read(operand(i), type); }

  // The same bits as another type; of a wider integer the low ones.
  string converted(const string& text, const Type& have, const Type& want) const {
    if (have.cpp() == want.cpp()) return text;
    if (have.kind == 'p' || want.kind == 'p') wrong("a predicate where a number should stand, or the other way round");
    if (have.floating() && want.floating()) wrong(fmt::format("{} of type {} where {} should stand", text, have.name, want.name));
    if (have.floating()) return have.bits == want.bits && !want.is_signed() ? fmt::format("bits({})", text) : fmt::format("{}(bits({}))", want.cpp(), text);
    if (want.floating()) return fmt::format("{}_of({})", want.name, text);
    return fmt::format("{}({})", want.cpp(), text);
  }

  // {a, b} as one value, a in the low bits
  string packed(const Operand& list, const Type& type) {
    const int part = type.bits / static_cast<int>(list.parts.size());
    string text;
    for (std::size_t i = 0; i < list.parts.size(); ++i) {
      const string value = fmt::format("{}({}) << {}", unsigned_of(type).cpp(), read(list.parts[i], bits_of(part)), part * static_cast<int>(i));
      text += (i == 0 ? "" : " | ") + value;
    }
    return converted("(" + text + ")", unsigned_of(type), type);
  }

  // operand = text, which is of C++ type `type`
  void write(const Operand& o, const Type& type, const string& text) {
    if (o.text == "_") return;
    if (o.kind == Operand::Kind::list) {  // {a, b} = the halves
      const int part = type.bits / static_cast<int>(o.parts.size());
      line(fmt::format("{{ const {} all = {};", unsigned_of(type).cpp(), converted(text, type, unsigned_of(type))));
      for (std::size_t i = 0; i < o.parts.size(); ++i) {
        write(o.parts[i], bits_of(part), fmt::format("{}(all >> {})", bits_of(part).cpp(), part * static_cast<int>(i)));
      }
      line("}");
      return;
    }
    const auto found = function_.registers.find(o.text);
    if (found == function_.registers.end()) wrong(fmt::format("{} is no register", o.text));
    const Type to = type_of(found->second);
    if (type.bits > to.bits && to.kind != 'p' && !type.floating()) wrong("the register is too small");
    line(fmt::format("{} = {};", identifier(o.text), to.bits <= 16 && to.kind != 'p' ? fmt::format("{}({})", to.cpp(), converted(text, type, to)) : converted(text, type, to)));
  }
  void write(std::size_t i, const Type& type, const string& text) { write(operand(i), type, text); }

  void line(const string& text) { code_ += "  " + text + "\n"; }
  string place() const { return fmt::format("PTX_PLACE({})", places_); }

  // ---- changes (kernel.h) --------------------------------------------------------------------------------------------
  string changed(const char* change) {
    change_ = change;
    return fmt::format("PTX_CHANGED({})", places_);
  }
  // f(a, b), or f(b, a)
  template <class F> string swappable(const char* change, const string& a, const string& b, F f) {
    if (a == b) return f(a, b);
    return fmt::format("({} ? {} : {})", changed(change), f(b, a), f(a, b));
  }

  // ---- memory --------------------------------------------------------------------------------------------------------
  string space() {
    string s = words_->take_one_of({"param", "global", "shared", "shared::cta", "local", "const"});
    words_->take("entry");
    return s == "shared::cta" ? "shared" : s;
  }
  void ignore_caching() {
    words_->ignore({"weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "nc", "cta", "gpu", "sys", "cluster", "unified",
                    "ca", "cg", "cs", "lu", "cv", "wb", "wt"});
    words_->ignore_prefix("L1::");
    words_->ignore_prefix("L2::");
  }
  // A pointer to what the address says. shift: by how much a change moves it.
  string at(const Operand& o, const string& space, std::int64_t shift) {
    if (o.kind != Operand::Kind::address) wrong("an address should stand here");
    const string moved = shift == 0 ? "" : fmt::format(" + ({} ? {} : 0)", changed("shifted_address"), shift);
    const bool is_register = function_.registers.contains(o.text);
    if (!o.text.empty() && !is_register) {
      const Symbol s = symbol(o.text);
      if (s.shared != (space == "shared")) wrong(fmt::format("{} does not lie there", o.text));
      return fmt::format("({} + {}{})", s.shared ? "thread.shared + " + s.text : s.text, o.offset, moved);
    }
    const Type type = space == "shared" ? u32 : u64;
    const string base = o.text.empty() ? "0" : read(Operand{.text = o.text}, type);
    const string sum = fmt::format("{}({} + {}{}ull{})", type.cpp(), base, o.offset < 0 ? "-" : "", std::abs(o.offset), moved);
    return space == "shared" ? fmt::format("(thread.shared + {})", sum) : fmt::format("pointer({})", sum);
  }
  int vector_width() {
    for (const int n : {2, 4, 8}) {
      if (words_->take("v" + std::to_string(n))) return n;
    }
    return 1;
  }
  static std::vector<Operand> elements(const Operand& o, int n) { return n == 1 ? std::vector<Operand>{o} : o.parts; }

  void load() {
    const string where = space();
    ignore_caching();
    const int n = vector_width();
    const Type& type = words_->type();
    const bool watched = where != "param" && where != "local" && where != "const";
    const string from = at(operand(1), where, watched ? type.bits / 8 : 0);
    line(fmt::format("{{ const u8* const at = {};", from));
    if (watched) line(fmt::format("watch(at, {}, Access::read, {});", type.bits / 8 * n, place()));
    const std::vector<Operand> to = elements(operand(0), n);
    for (int i = 0; i < n; ++i) write(to.at(i), type, fmt::format("get<{}>(at + {})", type.cpp(), type.bits / 8 * i));
    line("}");
  }
  void store() {
    const string where = space();
    ignore_caching();
    const int n = vector_width();
    const Type& type = words_->type();
    const bool watched = where != "param" && where != "local";
    const string to = at(operand(0), where, watched ? type.bits / 8 : 0);
    line(fmt::format("{{ u8* const at = {};", to));
    if (watched && !merged_) line(fmt::format("watch{}(at, {}, Access::write, {});", following_ > 1 ? fmt::format("_parts<{}>", following_) : "", type.bits / 8 * n, place()));
    const std::vector<Operand> from = elements(operand(1), n);
    for (int i = 0; i < n; ++i) line(fmt::format("put<{}>(at + {}, {});", type.cpp(), type.bits / 8 * i, read(from.at(i), type)));
    line("}");
  }
  // Of stores to neighbouring words, one after the other, ptxas makes one, where it sees that they are aligned together (it does
  // for every vector that nvcc has split in our kernels). How many there are from here on: 4, 2 or 1.
  static int neighbours(const Instruction* first, const Instruction* end) {
    const auto is_next = [&](const Instruction* i, int n) {
      return i + n < end && i[n].label.empty() && i[n].guard == i->guard && i[n].unless == i->unless && i[n].opcode == i->opcode &&
             i[n].operands[0].text == i->operands[0].text && i[n].operands[0].offset == i->operands[0].offset + 4 * n;
    };
    if (!first->opcode.starts_with("st.shared.") || !first->opcode.ends_with("32") || first->opcode.find(".v") != string::npos) return 1;
    if (is_next(first, 1) && is_next(first, 2) && is_next(first, 3)) return 4;
    return is_next(first, 1) ? 2 : 1;
  }
  void convert_address() {
    const bool to = words_->take("to");
    const string where = space();
    const Type type = words_->type();
    const string value = read(1, type);
    if (where != "shared") return write(0, type, value);
    write(0, type, fmt::format("{}({} {} address(thread.shared))", type.cpp(), value, to ? '-' : '+'));
  }
  void atomic(bool returns) {
    const string where = space();
    ignore_caching();
    const string op = words_->take_one_of({"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"});
    const Type type = words_->type();
    if (op.empty() || (type.bits != 32 && type.bits != 64) || type.name.ends_with("x2")) wrong("this operation is not known");
    const std::size_t first = returns ? 1 : 0;
    const string b = read(first + 1, type);
    static const std::map<string, string> forms = {
        {"add", "{0} + {1}"}, {"min", "{1} < {0} ? {1} : {0}"}, {"max", "{1} > {0} ? {1} : {0}"}, {"and", "{0} & {1}"}, {"or", "{0} | {1}"},
        {"xor", "{0} ^ {1}"}, {"exch", "{1}"}, {"cas", "{0} == {1} ? {2} : {0}"}, {"inc", "{0} >= {1} ? 0 : {0} + 1"},
        {"dec", "{0} == 0 || {0} > {1} ? {1} : {0} - 1"}};
    const string c = op == "cas" ? read(first + 2, type) : "";
    const string update = fmt::format("update<{}>({}, {}, [&]([[maybe_unused]] {} old) {{ return {}; }})", type.cpp(), at(operand(first), where, type.bits / 8),
                                      place(), type.cpp(), fmt::format(fmt::runtime(forms.at(op)), "old", b, c));
    if (returns) write(0, type, update);
    else line(update + ";");
  }

  // ---- integers ------------------------------------------------------------------------------------------------------
  string cast(const Type& type, const string& text) { return fmt::format("{}({})", type.cpp(), text); }

  void add_or_subtract(char sign) {
    const Type type = words_->type();
    if (type.kind == 'f') return floating_sum(sign, type);
    if (words_->types() != 1 || type.bits < 16 || type.name == "f16" || type.kind == 'b') wrong("this type is not known");
    const Type u = unsigned_of(type);
    const auto sum = [&](const string& a, const string& b) { return cast(u, fmt::format("{} {} {}", a, sign, b)); };
    write(0, u, sign == '+' ? sum(read(1, u), read(2, u)) : swappable("swapped_operands", read(1, u), read(2, u), sum));
  }
  // mul and mad: sum is the third factor's position, or 0
  void multiply(bool adds) {
    const Type type = words_->type();
    if (type.kind == 'f') return floating_product(type);
    if (type.kind == 'b') wrong("this type is not known");
    const string part = words_->take_one_of({"lo", "hi", "wide"});
    const Type u = unsigned_of(type), wide{string(1, type.kind) + std::to_string(type.bits * 2), type.kind, type.bits * 2};
    Type to = u;
    string text;
    if (part == "lo") {
      text = fmt::format("{}(u64({}) * u64({}))", u.cpp(), read(1, u), read(2, u));
    } else if (part == "hi") {
      text = cast(u, fmt::format("mul_hi<{}>({}, {})", type.cpp(), read(1, type), read(2, type)));
    } else if (part == "wide") {
      to = unsigned_of(wide);
      text = fmt::format("{}({}({}) * {}({}))", to.cpp(), wide.cpp(), read(1, type), wide.cpp(), read(2, type));
    } else {
      wrong("lo, hi or wide should stand there");
    }
    write(0, to, adds ? cast(to, fmt::format("{} + {}", text, read(3, to))) : text);
  }
  void divide(const char* function) {
    const Type type = words_->type();
    if (type.kind == 'f') return floating_quotient(type);
    const auto quotient = [&](const string& a, const string& b) { return fmt::format("{}<{}>({}, {})", function, type.cpp(), a, b); };
    write(0, type, swappable("swapped_operands", read(1, type), read(2, type), quotient));
  }
  void least_or_most(const char* function, const char* sign) {
    const Type type = words_->type();
    if (type.kind != 'f') return write(0, type, fmt::format("({0} {2} {1} ? {0} : {1})", read(1, type), read(2, type), sign));
    const bool flush = words_->take("ftz");
    string text = fmt::format("{}({}, {})", function, flushed(flush, read(1, type)), flushed(flush, read(2, type)));
    if (words_->take("NaN")) text = fmt::format("({0} != {0} || {1} != {1} ? f32_of(0x7fffffffu) : {2})", read(1, type), read(2, type), text);
    write(0, type, text);
  }
  void bitwise(const char* sign) {
    const Type type = words_->type();
    write(0, type, cast(type, fmt::format("{} {} {}", read(1, type), sign, read(2, type))));
  }
  void complement() {
    const Type type = words_->type();
    write(0, type, type.kind == 'p' ? "!" + read(1, type) : cast(type, "~" + read(1, type)));
  }
  void negate() {
    const Type type = words_->type();
    if (type.kind == 'f') return write(0, type, flushed(words_->take("ftz"), "-" + read(1, type)));
    write(0, unsigned_of(type), cast(unsigned_of(type), "0 - " + read(1, unsigned_of(type))));
  }
  void magnitude() {
    const Type type = words_->type();
    if (type.kind == 'f') return write(0, type, flushed(words_->take("ftz"), fmt::format("std::fabs({})", read(1, type))));
    const Type u = unsigned_of(type);
    write(0, u, fmt::format("({} < 0 ? {} : {})", read(1, type), cast(u, "0 - " + read(1, u)), read(1, u)));
  }
  void shift(const char* function) {
    const Type type = words_->type();
    const auto shifted = [&](const string& a, const string& b) { return fmt::format("{}<{}>({}, {})", function, type.cpp(), a, b); };
    write(0, type, shifted(read(1, type), read(2, u32)));
  }
  void funnel() {
    const string direction = words_->take_one_of({"l", "r"}), overflow = words_->take_one_of({"wrap", "clamp"});
    words_->type();
    const string n = overflow == "wrap" ? fmt::format("({} & 31)", read(3, u32)) : fmt::format("std::min(32u, {})", read(3, u32));
    write(0, u32, fmt::format("shf_{}({}, {}, {})", direction, read(1, u32), read(2, u32), n));
  }
  void count_bits(const char* function) { write(0, u32, fmt::format("u32({}({}))", function, read(1, words_->type()))); }
  void call_on_words(const char* function, std::size_t inputs) {
    const Type type = words_->type();
    std::vector<string> values;
    for (std::size_t i = 0; i < inputs; ++i) values.push_back(read(1 + i, type));
    write(0, type, fmt::format("{}({})", function, fmt::join(values, ", ")));
  }
  void extract() {
    const Type type = words_->type();
    write(0, type, fmt::format("bfe<{}>({}, {}, {})", type.cpp(), read(1, type), read(2, u32), read(3, u32)));
  }
  void insert() {
    const Type type = words_->type();
    write(0, type, fmt::format("bfi<{}>({}, {}, {}, {})", type.cpp(), read(1, type), read(2, type), read(3, u32), read(4, u32)));
  }

  // ---- floating point ------------------------------------------------------------------------------------------------
  static string flushed(bool flush, const string& text) { return flush ? fmt::format("ftz({})", text) : text; }
  static string saturated(bool saturate, const string& text) { return saturate ? fmt::format("saturate({})", text) : text; }
  // Empty: to nearest, even.
  string direction() {
    words_->take("rn");
    if (words_->take("rz")) return "Rounding::zero";
    if (words_->take("rm")) return "Rounding::down";
    if (words_->take("rp")) return "Rounding::up";
    return "";
  }
  // f of the operands, which says how it rounds
  template <class F> void floating(const Type& type, std::size_t inputs, F f) {
    const string mode = direction();
    const bool flush = words_->take("ftz"), saturate = words_->take("sat");
    if (!mode.empty() && type.bits != 32) wrong("this rounding is not known for this type");
    std::vector<string> v;
    for (std::size_t i = 0; i < inputs; ++i) v.push_back(flushed(flush, read(1 + i, type)));
    write(0, type, saturated(saturate, flushed(flush, f(mode, v))));
  }
  using Values = std::vector<string>;
  void floating_sum(char sign, const Type& type) {
    floating(type, 2, [&](const string& mode, const Values& v) {
      if (!mode.empty()) return fmt::format("fma({}, {}, 1.0f, {}{})", mode, v[0], sign == '-' ? "-" : "", v[1]);
      const auto sum = [&](const string& a, const string& b) { return fmt::format("({} {} {})", a, sign, b); };
      return sign == '+' ? sum(v[0], v[1]) : swappable("swapped_operands", v[0], v[1], sum);
    });
  }
  void floating_product(const Type& type) {
    floating(type, 2, [&](const string& mode, const Values& v) {
      return mode.empty() ? fmt::format("({} * {})", v[0], v[1]) : fmt::format("fma({}, {}, {}, -0.0f)", mode, v[0], v[1]);
    });
  }
  void fused() {
    floating(words_->type(), 3, [&](const string& mode, const Values& v) {
      const auto sum = [&](const string& b, const string& c) { return fmt::format("{}{}, {}, {})", mode.empty() ? "std::fma(" : fmt::format("fma({}, ", mode), v[0], b, c); };
      return swappable("swapped_operands", v[1], v[2], sum);
    });
  }
  void floating_quotient(const Type& type) {
    words_->ignore({"approx", "full"});
    floating(type, 2, [&](const string& mode, const Values& v) {
      if (!mode.empty()) wrong("this rounding is not known");
      return swappable("swapped_operands", v[0], v[1], [](const string& a, const string& b) { return fmt::format("({} / {})", a, b); });
    });
  }
  void unary(const char* form) {
    words_->ignore({"approx"});
    const Type type = words_->type();
    floating(type, 1, [&](const string& mode, const Values& v) {
      if (!mode.empty()) wrong("this rounding is not known");
      return fmt::format(fmt::runtime(form), v[0], type.name);
    });
  }
  void copy_sign() { write(0, words_->type(), fmt::format("std::copysign({}, {})", read(2, words_->type()), read(1, words_->type()))); }

  // ---- comparisons and conversions -----------------------------------------------------------------------------------
  string compared(const string& op, const Type& type, const string& a, const string& b) {
    static const std::map<string, string> signs = {{"eq", "=="}, {"ne", "!="}, {"lt", "<"}, {"le", "<="}, {"gt", ">"}, {"ge", ">="},
                                                   {"lo", "<"}, {"ls", "<="}, {"hi", ">"}, {"hs", ">="}};
    static const std::map<string, string> ordered_opposite = {{"equ", "({0} == {1} || {0} != {0} || {1} != {1})"}, {"neu", "{0} != {1}"},
                                                              {"ltu", "!({0} >= {1})"}, {"leu", "!({0} > {1})"}, {"gtu", "!({0} <= {1})"},
                                                              {"geu", "!({0} < {1})"}, {"num", "({0} == {0} && {1} == {1})"},
                                                              {"nan", "({0} != {0} || {1} != {1})"}};
    if (type.floating() && op == "ne") return fmt::format("({0} < {1} || {0} > {1})", a, b);
    if (type.floating() && ordered_opposite.contains(op)) return fmt::format(fmt::runtime(ordered_opposite.at(op)), a, b);
    return fmt::format("({} {} {})", a, signs.at(op), b);
  }
  void set_predicate() {
    const string op = words_->take_one_of({"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"});
    if (op.empty()) wrong("this comparison is not known");
    const string combine = words_->take_one_of({"and", "or", "xor"});
    const bool flush = words_->take("ftz");
    const Type type = words_->type();
    const string result = fmt::format("({} != {})", compared(op, type, flushed(flush, read(1, type)), flushed(flush, read(2, type))), changed("flipped_comparison"));
    const string sign = combine == "and" ? "&" : combine == "or" ? "|" : "^";
    const auto combined = [&](const string& p) { return combine.empty() ? p : fmt::format("bool({} {} {})", p, sign, read(3, pred)); };
    const Operand& to = operand(0);
    if (to.kind != Operand::Kind::list) return write(to, pred, combined(result));
    line(fmt::format("{{ const bool first = {};", result));
    write(to.parts.at(0), pred, combined("first"));
    write(to.parts.at(1), pred, combined("!first"));
    line("}");
  }
  void select() {
    const Type type = words_->type();
    write(0, type, swappable("swapped_operands", read(1, type), read(2, type), [&](const string& a, const string& b) { return fmt::format("({} ? {} : {})", read(3, pred), a, b); }));
  }
  void convert() {
    const Type to = words_->type(0), from = words_->type(1);
    const string whole = words_->take_one_of({"rni", "rzi", "rmi", "rpi"});
    const bool away = words_->take("rna"), flush = words_->take("ftz"), saturate = words_->take("sat");
    const string mode = direction();
    const bool small = to.name == "f16" || to.name == "bf16" || to.name == "f16x2" || to.name == "bf16x2";
    if (small || to.name == "tf32") {
      if (from.name != "f32" || !mode.empty() || saturate || flush || away != (to.name == "tf32")) wrong("this conversion is not known");
      if (to.name == "tf32") return write(0, u32, fmt::format("tf32_of({})", read(1, f32)));
      const string function = to.name.substr(0, to.name.find('x')) + "_of";
      if (to.bits == 16) return write(0, u16, fmt::format("{}({})", function, read(1, f32)));
      return write(0, u32, fmt::format("(u32{{{0}({1})}} << 16 | {0}({2}))", function, read(1, f32), read(2, f32)));
    }
    if (from.name == "f16" || from.name == "bf16") {
      if (to.name != "f32" || !mode.empty() || flush || away) wrong("this conversion is not known");
      return write(0, f32, saturated(saturate, fmt::format("f32_of_{}({})", from.name, read(1, u16))));
    }
    if (away || to.kind == 'b' || from.kind == 'b') wrong("this conversion is not known");
    string value = flushed(flush && from.name == "f32", read(1, from));
    static const std::map<string, string> functions = {{"rni", "std::nearbyint"}, {"rzi", "std::trunc"}, {"rmi", "std::floor"}, {"rpi", "std::ceil"}};
    if (!whole.empty()) value = fmt::format("{}({})", functions.at(whole), value);
    if (from.kind == 'f' && to.kind != 'f') {
      if (whole.empty()) wrong("a rounding to integers should stand there");
      return write(0, to, fmt::format("integer<{}>({})", to.cpp(), value));
    }
    if (from.kind != 'f' && to.kind != 'f') return write(0, to, fmt::format(fmt::runtime(saturate ? "clamped<{}>({})" : "{}({})"), to.cpp(), value));
    if (!mode.empty()) {
      if (to.bits != 32 || (from.kind != 'f' && from.bits == 64)) wrong("this rounding is not known");
      value = fmt::format("rounded({}, f64({}), 0)", mode, value);
    }
    write(0, to, saturated(saturate, flushed(flush && to.name == "f32", cast(to, value))));
  }

  // ---- control and threads -------------------------------------------------------------------------------------------
  void branch() {
    words_->ignore({"uni"});
    line(fmt::format("goto {};", identifier(operand(0).text)));
  }
  void branch_by_index() {
    words_->ignore({"uni"});
    line(fmt::format("switch ({}) {{", read(0, u32)));
    for (std::size_t i = 0; i < operand(1).parts.size(); ++i) line(fmt::format("case {}: goto {};", i, identifier(operand(1).parts[i].text)));
    line("}");
  }
  void block_barrier() {
    words_->ignore({"cta", "aligned"});
    const string reduce = words_->take("red") ? words_->take_one_of({"popc", "or", "and"}) : (words_->take("sync"), "");
    const std::size_t number = reduce.empty() ? 0 : 1;
    if (operand(number).text != "0" || operands() > 1 + 2 * number) wrong("a barrier of some threads is not known");
    if (reduce.empty()) return line(fmt::format("if (!{}) barrier(false, {});", changed("no_barrier"), place()));
    const Type type = words_->type();
    const string p = read(2, pred);
    if (reduce == "popc") write(0, type, fmt::format("u32(barrier({}, {}))", p, place()));
    else write(0, pred, fmt::format(fmt::runtime(reduce == "or" ? "barrier({}, {}) != 0" : "barrier(!{}, {}) == 0"), p, place()));
  }
  void warp_barrier() {
    words_->ignore({"warp", "sync"});
    line(fmt::format("if (!{}) meet(Wait::warp_barrier, {}, 0, laneid(), {});", changed("no_barrier"), read(0, u32), place()));
  }
  void shuffle() {
    words_->take("sync");
    const string mode = words_->take_one_of({"up", "down", "bfly", "idx"});
    words_->type();
    const Operand& to = operand(0);
    const bool both = to.kind == Operand::Kind::list;
    line(fmt::format("{{ const Shuffled got = shuffle(Shuffle::{}, {}, {}, {}, {}, {});", mode, read(1, u32), read(2, u32), read(3, u32), read(4, u32), place()));
    write(both ? to.parts[0] : to, u32, "got.value");
    if (both) write(to.parts.at(1), pred, "got.inside");
    line("}");
  }
  void vote() {
    words_->take("sync");
    const string mode = words_->take_one_of({"ballot", "any", "all", "uni"});
    words_->type();
    const string p = read(1, pred), mask = read(2, u32);
    const auto ballot = [&](const string& value) { return fmt::format("ballot({}, {}, {})", value, mask, place()); };
    if (mode == "ballot") return write(0, u32, ballot(p));
    if (mode == "any") return write(0, pred, ballot(p) + " != 0");
    if (mode == "all") return write(0, pred, ballot("!" + p) + " == 0");
    line(fmt::format("{{ const u32 votes = {};", ballot(p)));
    write(0, pred, fmt::format("votes == 0 || votes == {}", mask));
    line("}");
  }
  void give_up(const char* why) { line(fmt::format("simt_runtime::give_up({}, {});", quoted(why), place())); }
  void call() {
    words_->take("uni");
    const bool returns = operands() > 1 && operand(0).kind == Operand::Kind::list;
    const string& name = operand(returns ? 1 : 0).text;
    if (name == "__assertfail") return give_up("an assertion does not hold");
    const bool known = std::any_of(module_.functions.begin(), module_.functions.end(), [&](const Function& f) { return !f.entry && f.name == name; });
    if (!known) wrong(fmt::format("{} is not in this file", name));
    std::vector<string> arguments;
    if (const std::size_t at = returns ? 2 : 1; at < operands()) {
      for (const Operand& o : operand(at).parts) arguments.push_back(identifier(o.text));
    }
    arguments.push_back("nullptr");
    line(fmt::format("{{ u8* const arguments[] = {{{}}}; {}(thread, {}, arguments); }}", fmt::join(arguments, ", "), identifier(name),
                     returns ? identifier(operand(0).parts.at(0).text) : "nullptr"));
  }

  // ---- tensor cores and asynchronous copies (warp.h) -----------------------------------------------------------------
  void asynchronous_copy() {
    if (words_->take("commit_group")) return line("close_copies();");
    if (words_->take("wait_all")) return line("close_copies(), finish_copies(0);");
    if (words_->take("wait_group")) {
      return line(fmt::format("finish_copies({} + ({} ? 1 : 0));", read(0, u32), changed("early_wait")));
    }
    const string where = words_->take_one_of({"shared", "shared::cta"});
    ignore_caching();
    if (where.empty() || !words_->take("global") || operands() < 3) wrong("this form is not known");
    const string size = read(2, u32);
    line(fmt::format("begin_copy({}, {}, {}, {}, {});", at(operand(0), "shared", 4), at(operand(1), "global", 0), size, operands() > 3 ? read(3, u32) : size, place()));
  }
  void load_matrix() {
    words_->ignore({"sync", "aligned", "m8n8"});
    const bool transposed = words_->take("trans");
    const string count = words_->take_one_of({"x1", "x2", "x4"});
    const string where = space();
    words_->type();
    line(fmt::format("{{ u32 got[{}]; load_matrices<{}, {}>(thread, got, {}, {});", count[1], count[1], transposed, read_shared_address(operand(1), where), place()));
    const std::vector<Operand> to = operand(0).kind == Operand::Kind::list ? operand(0).parts : std::vector<Operand>{operand(0)};
    for (std::size_t i = 0; i < to.size(); ++i) write(to[i], u32, fmt::format("got[{}]", i));
    line("}");
  }
  string read_shared_address(const Operand& o, const string& space) { return fmt::format("u32({} - thread.shared)", at(o, space, 16)); }
  void matrix_product() {
    words_->ignore({"sync", "aligned", "row", "col"});
    const string shape = words_->take_one_of({"m16n8k4", "m16n8k8", "m16n8k16"});
    const string d = words_->type(0).name, a = words_->type(1).name, b = words_->type(2).name, c = words_->type(3).name;
    const bool known = a == b && c == d && ((a == "tf32" && d == "f32" && shape != "m16n8k16") || (a == "bf16" && d == "f32" && shape != "m16n8k4") ||
                                            (a == "f16" && (d == "f32" || d == "f16") && shape != "m16n8k4"));
    if (!known) wrong("this product is not known");
    const auto list = [&](std::size_t i, const Type& type) {
      std::vector<string> values;
      for (const Operand& o : operand(i).parts) values.push_back(read(o, type));
      return values;
    };
    const Type sums = d == "f32" ? f32 : u32;
    const std::vector<string> fa = list(1, u32), fb = list(2, u32), fc = list(3, sums);
    line(fmt::format("{{ const u32 a[] = {{{}}}, b[] = {{{}}}; {} c[] = {{{}}};", fmt::join(fa, ", "), fmt::join(fb, ", "), sums.cpp(), fmt::join(fc, ", ")));
    line(fmt::format("multiply_matrices<Element::{}, {}>(a, b, c, {}, {});", a, shape.substr(shape.find('k') + 1), changed("swapped_fragments"), place()));
    for (std::size_t i = 0; i < fc.size(); ++i) write(operand(0).parts.at(i), sums, fmt::format("c[{}]", i));
    line("}");
  }

  static const std::unordered_map<std::string_view, std::function<void(Emitter&)>>& handlers();
  void statement(const Instruction&);

  const Module& module_;
  const Function& function_;
  std::size_t &places_, &counters_;
  const Instruction* now_ = nullptr;
  Words* words_ = nullptr;
  string code_;
  const char* change_ = "none";
  int following_ = 1;    // stores that are one with this one, itself among them
  bool merged_ = false;  // this store is one with an earlier one
};

const std::unordered_map<std::string_view, std::function<void(Emitter&)>>& Emitter::handlers() {
  static const std::unordered_map<std::string_view, std::function<void(Emitter&)>> all = {
      {"ld", [](Emitter& e) { e.load(); }},
      {"ldu", [](Emitter& e) { e.load(); }},
      {"st", [](Emitter& e) { e.store(); }},
      {"cvta", [](Emitter& e) { e.convert_address(); }},
      {"atom", [](Emitter& e) { e.atomic(true); }},
      {"red", [](Emitter& e) { e.atomic(false); }},
      {"mov", [](Emitter& e) { e.write(0, e.words_->type(), e.read(1, e.words_->type())); }},
      {"add", [](Emitter& e) { e.add_or_subtract('+'); }},
      {"sub", [](Emitter& e) { e.add_or_subtract('-'); }},
      {"mul", [](Emitter& e) { e.multiply(false); }},
      {"mad", [](Emitter& e) { e.words_->type().kind == 'f' ? e.fused() : e.multiply(true); }},
      {"fma", [](Emitter& e) { e.fused(); }},
      {"div", [](Emitter& e) { e.divide("quotient"); }},
      {"rem", [](Emitter& e) { e.divide("remainder"); }},
      {"min", [](Emitter& e) { e.least_or_most("minimum", "<"); }},
      {"max", [](Emitter& e) { e.least_or_most("maximum", ">"); }},
      {"abs", [](Emitter& e) { e.magnitude(); }},
      {"neg", [](Emitter& e) { e.negate(); }},
      {"and", [](Emitter& e) { e.bitwise("&"); }},
      {"or", [](Emitter& e) { e.bitwise("|"); }},
      {"xor", [](Emitter& e) { e.bitwise("^"); }},
      {"not", [](Emitter& e) { e.complement(); }},
      {"shl", [](Emitter& e) { e.shift("shl"); }},
      {"shr", [](Emitter& e) { e.shift("shr"); }},
      {"shf", [](Emitter& e) { e.funnel(); }},
      {"bfe", [](Emitter& e) { e.extract(); }},
      {"bfi", [](Emitter& e) { e.insert(); }},
      {"prmt", [](Emitter& e) { e.call_on_words("prmt", 3); }},
      {"lop3", [](Emitter& e) { e.call_on_words("lop3", 4); }},
      {"popc", [](Emitter& e) { e.count_bits("std::popcount"); }},
      {"clz", [](Emitter& e) { e.count_bits("std::countl_zero"); }},
      {"brev", [](Emitter& e) { e.call_on_words("brev", 1); }},
      {"rcp", [](Emitter& e) { e.unary("(1 / {0})"); }},
      {"sqrt", [](Emitter& e) { e.unary("std::sqrt({0})"); }},
      {"rsqrt", [](Emitter& e) { e.unary("(1 / std::sqrt({0}))"); }},
      {"sin", [](Emitter& e) { e.unary("std::sin({0})"); }},
      {"cos", [](Emitter& e) { e.unary("std::cos({0})"); }},
      {"ex2", [](Emitter& e) { e.unary("std::exp2({0})"); }},
      {"lg2", [](Emitter& e) { e.unary("std::log2({0})"); }},
      {"tanh", [](Emitter& e) { e.unary("std::tanh({0})"); }},
      {"copysign", [](Emitter& e) { e.copy_sign(); }},
      {"setp", [](Emitter& e) { e.set_predicate(); }},
      {"selp", [](Emitter& e) { e.select(); }},
      {"cvt", [](Emitter& e) { e.convert(); }},
      {"bra", [](Emitter& e) { e.branch(); }},
      {"brx", [](Emitter& e) { e.words_->take("idx"); e.branch_by_index(); }},
      {"ret", [](Emitter& e) { e.words_->ignore({"uni"}); e.line("return;"); }},
      {"exit", [](Emitter& e) { e.function_.entry ? e.line("return;") : e.wrong("a function that ends its thread is not known"); }},
      {"trap", [](Emitter& e) { e.give_up("a trap"); }},
      {"call", [](Emitter& e) { e.call(); }},
      {"bar", [](Emitter& e) { e.now_->opcode.starts_with("bar.warp") ? e.warp_barrier() : e.block_barrier(); }},
      {"barrier", [](Emitter& e) { e.block_barrier(); }},
      {"membar", [](Emitter& e) { e.ignore_caching(); e.words_->ignore({"gl"}); e.line("__atomic_thread_fence(__ATOMIC_SEQ_CST);"); }},
      {"fence", [](Emitter& e) { e.ignore_caching(); e.words_->ignore({"sc"}); e.line("__atomic_thread_fence(__ATOMIC_SEQ_CST);"); }},
      {"shfl", [](Emitter& e) { e.shuffle(); }},
      {"vote", [](Emitter& e) { e.vote(); }},
      {"activemask", [](Emitter& e) { e.write(0, e.words_->type(), "simt_runtime::present_lanes()"); }},
      {"cp", [](Emitter& e) { e.words_->take("async") ? e.asynchronous_copy() : e.wrong("this form is not known"); }},
      {"ldmatrix", [](Emitter& e) { e.load_matrix(); }},
      {"mma", [](Emitter& e) { e.matrix_product(); }},
  };
  return all;
}

void Emitter::statement(const Instruction& i) {
  now_ = &i;
  Words words(i.opcode);
  words_ = &words;
  change_ = "none";
  const auto handler = handlers().find(std::string_view(i.opcode).substr(0, i.opcode.find('.')));
  if (handler == handlers().end()) wrong("the instruction is not known");
  if (words.has_small_floats() && handler->first != "cvt" && handler->first != "mma") wrong("this type is not known");
  try {
    handler->second(*this);
  } catch (const std::out_of_range&) {
    wrong("the form is not known");
  }
  if (!words.unknown().empty()) wrong(fmt::format(".{} is not known here", words.unknown()));
}

void Emitter::run(string& place_table, string& code) {
  bool begins = true;  // a run of instructions that all run if the first does
  int left = 0;  // of the stores that are one
  for (const Instruction& i : function_.body) {
    merged_ = left > 0;
    if (left == 0) left = following_ = neighbours(&i, function_.body.data() + function_.body.size());
    --left;
    if (!i.label.empty()) {
      code_ += identifier(i.label) + ":\n";
      begins = true;
      continue;
    }
    const bool jumps = i.opcode.starts_with("bra") || i.opcode.starts_with("brx") || i.opcode.starts_with("ret") || i.opcode.starts_with("exit");
    const bool conditional = !i.guard.empty() && !jumps;
    if (begins || conditional) {
      ++counters_;
      begins = conditional;
      if (!conditional) line(fmt::format("PTX_COUNT({});", counters_ - 1));
    }
    if (!i.guard.empty()) line(fmt::format("if ({}{}) {{{}", i.unless ? "!" : "", identifier(i.guard), conditional ? fmt::format(" PTX_COUNT({});", counters_ - 1) : ""));
    statement(i);
    if (!i.guard.empty()) line("}");
    if (jumps) begins = true;
    place_table += fmt::format("{{{},{},{},Change::{}}},{}", i.line, i.location, counters_ - 1, change_, places_ % 8 == 7 ? "\n" : "");
    ++places_;
  }
  string declarations;
  std::map<string, string> by_type;
  for (const auto& [name, type] : function_.registers) {
    string& all = by_type[type_of(type).cpp()];
    all += (all.empty() ? "" : ", ") + identifier(name) + "{}";
  }
  for (const auto& [type, names] : by_type) declarations += fmt::format("  {} {};\n", type, names);
  for (const Variable& v : function_.variables) {
    if (v.space != "shared") declarations += fmt::format("  alignas({}) u8 {}[{}];\n", std::max<std::int64_t>(v.align, 8), identifier(v.name), v.bytes);
  }
  code += declarations + code_;
}

// ---- a file ----------------------------------------------------------------------------------------------------------

std::int64_t bytes_of(const std::vector<Variable>& parameters) {
  std::int64_t bytes = 0;
  for (const Variable& v : parameters) bytes = (bytes + v.align - 1) / v.align * v.align + v.bytes;
  return bytes;
}

}  // namespace

string translated(const Module& module) {
  string places, functions, kernels;
  std::size_t place_count = 0, counter_count = 0, number = 0;
  for (const Function& f : module.functions) {
    if (!f.entry) functions += fmt::format("void {}(Thread&, u8*, u8* const*);\n", identifier(f.name));
  }
  for (const Function& f : module.functions) {
    const std::size_t first_place = place_count;
    Emitter emitter(module, f, place_count, counter_count);
    string body;
    emitter.run(places, body);
    if (!f.entry) {
      functions += fmt::format("void {}([[maybe_unused]] Thread& thread, [[maybe_unused]] u8* result, [[maybe_unused]] u8* const* arguments) {{\n{}}}\n\n",
                               identifier(f.name), body);
      continue;
    }
    const std::int64_t dynamic = (emitter.shared_bytes + 15) / 16 * 16;
    const string name = host_mangled(f.name);
    functions += fmt::format("void kernel_{0}(const void*) __asm__({1} PTX_FORM);\nvoid kernel_{0}(const void* arguments) {{\n"
                             "  [[maybe_unused]] u8* const parameters = static_cast<u8*>(const_cast<void*>(arguments));\n"
                             "  [[maybe_unused]] constexpr u32 dynamic_shared = {2};\n  Thread thread;\n{3}}}\n\n",
                             number, quoted(name), dynamic, body);
    string shared;
    for (const auto& v : emitter.shared) shared += fmt::format("{{{}, {}, {}}}, ", quoted(v.name), v.offset, v.bytes);
    if (!shared.empty()) kernels += fmt::format("constexpr simt_runtime::SharedVariable shared_{}[] = {{{}}};\n", number, shared);
    kernels += fmt::format("PTX_KERNEL({}, {}, {}, {}, {}, {}, {}, {})\n", number, quoted(name), first_place, place_count - first_place, bytes_of(f.parameters),
                           dynamic, f.max_threads, shared.empty() ? "{}" : fmt::format("shared_{}", number));
    ++number;
  }
  string files, locations, variables;
  const std::size_t last_file = module.files.empty() ? 0 : module.files.rbegin()->first;
  for (std::size_t i = 0; i <= last_file; ++i) {
    const auto found = module.files.find(i);
    files += quoted(found == module.files.end() ? "" : found->second.substr(found->second.find_last_of('/') + 1)) + ", ";
  }
  for (const Location& l : module.locations) locations += fmt::format("{{{},{},{}}},\n", l.file, l.line, l.from);
  for (const Variable& v : module.variables) {
    if (v.space == "shared") continue;
    variables += fmt::format("alignas({}) u8 {}[{}] = {{{}}};\n", v.align, identifier(v.name), v.bytes, fmt::join(v.value, ", "));
  }
  const string name = module.path.substr(module.path.find_last_of('/', module.path.find_last_of('/') - 1) + 1);  // ladder/conv.ptx
  return fmt::format(R"(// Made from a file of PTX.
#include "ptx/ptx.h"
#include "ptx/warp.h"

namespace pastiche::ptx_runtime {{
namespace {{

constexpr const char* files[] = {{{1}}};
constexpr Location locations[] = {{
{2}}};
constexpr Place places[] = {{
{3}}};
PTX_MODULE({0}, {4})
{5}
{6}}}
{7}
}}
)",
                     quoted(name), files, locations, places, counter_count, variables, functions, kernels);
}

}  // namespace pastiche::ptx_translator
