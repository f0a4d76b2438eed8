#pragma once
// What the system tells of this process and this machine.
#include <cstddef>
#include <string>

namespace pastiche {

std::size_t resident_bytes();  // memory that this process has now, as the system counts it; 0 where it does not tell
std::string processor_name();  // "AMD EPYC", or "unknown"

}  // namespace pastiche
