#pragma once
#include <string>

#include "ptx/translator/module.h"

namespace pastiche::ptx_translator {

// The module in C++, over ptx/ptx.h.
std::string translated(const Module&);

}  // namespace pastiche::ptx_translator
