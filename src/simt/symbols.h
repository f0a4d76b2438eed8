#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace pastiche::simt_runtime {

struct Symbol {
  std::uintptr_t address;  // in the file; of a thread-local variable, its offset in the block of them
  std::uintptr_t bytes;
  std::string name;  // mangled
};
const std::vector<Symbol>& thread_local_symbols();

std::string demangle(const std::string& name);
std::string mangled_name(const void* function);
// name<arguments> of a function, without its scope and parameters.
std::string function_name(const void* function);
// Addresses in [begin, end) are not of code; line(address) says what they stand for.
void add_lines(const void* begin, const void* end, std::string (*line)(const void*));
// file:line of a call, and of those that the compiler expanded around it; the address where the program does not tell.
std::string source_line(const void* return_address);
std::vector<std::string> source_lines(const std::vector<const void*>& return_addresses);

}  // namespace pastiche::simt_runtime
