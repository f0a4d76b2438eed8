#pragma once
#include <cstddef>

namespace pastiche {

std::size_t resident_bytes();  // memory that this process has now, as the system counts it; 0 where it does not tell

}  // namespace pastiche
