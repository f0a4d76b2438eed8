// ptx_translate INPUT.ptx OUTPUT.cpp
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>

#include "ptx/translator/emit.h"

int main(int count, char** arguments) {
  using namespace pastiche::ptx_translator;
  if (count != 3) {
    std::fprintf(stderr, "ptx_translate INPUT.ptx OUTPUT.cpp\n");
    return 2;
  }
  try {
    std::ifstream in(arguments[1], std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    if (!in) throw std::runtime_error(std::string(arguments[1]) + " can't be read");
    const std::string code = translated(parse(arguments[1], text));
    std::ofstream out(arguments[2], std::ios::binary);
    out << code;
    if (!out.flush()) throw std::runtime_error(std::string(arguments[2]) + " can't be written");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
