// Names and source lines of code addresses, for messages: from the program's own symbol table, and from addr2line of binutils.
#include "simt/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <string_view>

namespace pastiche::simt_runtime {
namespace {

struct Program {
  std::uintptr_t base = 0;  // what is added to the addresses in the file
  std::vector<Symbol> functions, thread_locals;  // by address
};

void read_symbols(Program& program) {
  std::ifstream in("/proc/self/exe", std::ios::binary);
  const std::vector<char> file(std::istreambuf_iterator<char>(in), {});
  const char* const data = file.data();
  if (file.size() < sizeof(ElfW(Ehdr))) return;
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(data);
  const auto* const sections = reinterpret_cast<const ElfW(Shdr)*>(data + header.e_shoff);
  for (int s = 0; s < header.e_shnum; ++s) {
    if (sections[s].sh_type != SHT_SYMTAB) continue;
    const char* const names = data + sections[sections[s].sh_link].sh_offset;
    const auto* const symbols = reinterpret_cast<const ElfW(Sym)*>(data + sections[s].sh_offset);
    for (std::size_t i = 0; i < sections[s].sh_size / sizeof(ElfW(Sym)); ++i) {
      const ElfW(Sym)& symbol = symbols[i];
      const int type = ELF64_ST_TYPE(symbol.st_info);
      if (symbol.st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_TLS)) continue;
      auto& list = type == STT_FUNC ? program.functions : program.thread_locals;
      list.push_back({symbol.st_value, symbol.st_size, names + symbol.st_name});
    }
  }
  const auto by_address = [](const Symbol& a, const Symbol& b) { return a.address < b.address; };
  std::sort(program.functions.begin(), program.functions.end(), by_address);
  std::sort(program.thread_locals.begin(), program.thread_locals.end(), by_address);
}

const Program& program() {
  static const Program read = [] {
    Program p;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* base) {
          *static_cast<std::uintptr_t*>(base) = info->dlpi_addr;
          return 1;  // the first is the program itself
        },
        &p.base);
    read_symbols(p);
    return p;
  }();
  return read;
}

const Symbol* find(const std::vector<Symbol>& symbols, std::uintptr_t address) {
  auto after = std::upper_bound(symbols.begin(), symbols.end(), address,
                                [](std::uintptr_t a, const Symbol& s) { return a < s.address; });
  if (after == symbols.begin()) return nullptr;
  const Symbol& symbol = *--after;
  return address < symbol.address + std::max<std::uintptr_t>(symbol.bytes, 1) ? &symbol : nullptr;
}

std::string hex(const void* address) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%p", address);
  return digits;
}

}  // namespace

const std::vector<Symbol>& thread_local_symbols() { return program().thread_locals; }

std::string demangle(const std::string& name) {
  int status = 0;
  char* const plain = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string text = status == 0 ? plain : name;
  std::free(plain);
  return text;
}

std::string mangled_name(const void* function) {
  const Symbol* const symbol = find(program().functions, reinterpret_cast<std::uintptr_t>(function) - program().base);
  return symbol == nullptr ? std::string() : symbol->name;
}

// "void pastiche::simt::(anonymous namespace)::copy_kernel<pastiche::BFloat16, 4>(unsigned short*)" is copy_kernel<BFloat16, 4>.
std::string function_name(const void* function) {
  const std::string full = demangle(mangled_name(function));
  if (full.empty()) return "kernel at " + hex(function);
  const std::string_view nameless = "(anonymous namespace)";
  std::string name;
  std::size_t word = 0;  // where the word that may be a scope begins in name
  int depth = 0;
  for (std::size_t i = 0; i < full.size(); ++i) {
    if (full.compare(i, nameless.size(), nameless) == 0) {
      i += nameless.size() - 1;
    } else if (full.compare(i, 2, "::") == 0) {
      name.resize(word);
      ++i;
    } else if (depth == 0 && full[i] == ' ') {  // after the type that it returns
      name.clear();
      word = 0;
    } else if (depth == 0 && full[i] == '(') {
      break;
    } else {
      depth += full[i] == '<' ? 1 : full[i] == '>' ? -1 : 0;
      name += full[i];
      if (std::isalnum(static_cast<unsigned char>(full[i])) == 0 && full[i] != '_') word = name.size();
    }
  }
  return name;
}

namespace {

struct Lines {
  const void *begin, *end;
  std::string (*line)(const void*);
};
std::vector<Lines>& added_lines() {
  static std::vector<Lines> all;
  return all;
}

}  // namespace

void add_lines(const void* begin, const void* end, std::string (*line)(const void*)) { added_lines().push_back({begin, end, line}); }

std::vector<std::string> source_lines(const std::vector<const void*>& return_addresses) {
  static std::mutex mutex;
  static std::map<const void*, std::string> known;
  std::lock_guard lock(mutex);
  std::vector<const void*> unknown;
  for (const void* address : return_addresses) {
    const auto of = std::find_if(added_lines().begin(), added_lines().end(), [&](const Lines& l) { return address >= l.begin && address < l.end; });
    if (of != added_lines().end()) {
      known.emplace(address, of->line(address));
    } else if (known.emplace(address, hex(address)).second) {
      unknown.push_back(address);
    }
  }
  for (std::size_t first = 0; first < unknown.size(); first += 500) {  // a command line is not endless
    const std::size_t end = std::min(unknown.size(), first + 500);
    std::string command = "addr2line -a -i -e /proc/" + std::to_string(getpid()) + "/exe";
    // The call stands just before the address to which it returns.
    for (std::size_t i = first; i < end; ++i) command += " " + hex(static_cast<const char*>(unknown[i]) - 1 - program().base);
    std::FILE* const pipe = popen((command + " 2>/dev/null").c_str(), "r");
    if (pipe == nullptr) continue;
    std::size_t at = first;
    std::string lines;
    char buffer[4096];
    const auto store = [&] {
      if (at > first && !lines.empty()) known[unknown[at - 1]] = lines;
      lines.clear();
    };
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
      std::string line(buffer);
      while (!line.empty() && line.back() == '\n') line.pop_back();
      if (line.starts_with("0x")) {
        store();
        if (at++ == end) break;
        continue;
      }
      line = line.substr(0, line.find(" ("));
      if (line.starts_with("??") || line.find("/simt/device.h:") != std::string::npos) continue;
      line.erase(0, line.find_last_of('/') + 1);
      if (!lines.ends_with(line)) lines += (lines.empty() ? "" : " from ") + line;
    }
    store();
    pclose(pipe);
  }
  std::vector<std::string> result;
  for (const void* address : return_addresses) result.push_back(known[address]);
  return result;
}

std::string source_line(const void* return_address) { return source_lines({return_address}).front(); }

}  // namespace pastiche::simt_runtime
