#pragma once
// What differs between oneDNN 2 (Debian 12) and oneDNN 3 (Debian 13): 3 has no operation descriptors, and knows other processors.
#include <fmt/format.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <string>

namespace pastiche::onednn {

// `arguments` are those of the operation itself, from its kind or algorithm on.
template <class Primitive, class... Arguments>
typename Primitive::primitive_desc primitive_desc(const dnnl::engine& engine, const dnnl::primitive_attr& attributes, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, arguments..., attributes};
#else
  return {typename Primitive::desc(arguments...), attributes, engine};
#endif
}

template <class Primitive, class... Arguments>
typename Primitive::primitive_desc backward_primitive_desc(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                                           const dnnl::convolution_forward::primitive_desc& forward, const Arguments&... arguments) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, arguments..., forward, attributes};
#else
  return {typename Primitive::desc(arguments...), attributes, engine, forward};
#endif
}

inline std::string instruction_set() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  switch (isa) {
    case dnnl::cpu_isa::sse41: return "sse41";
    case dnnl::cpu_isa::avx: return "avx";
    case dnnl::cpu_isa::avx2: return "avx2";
    case dnnl::cpu_isa::avx2_vnni: return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core: return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni: return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16: return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx: return "avx512_core_amx";
#if DNNL_VERSION_MAJOR >= 3
    case dnnl::cpu_isa::avx2_vnni_2: return "avx2_vnni_2";
    case dnnl::cpu_isa::avx512_core_fp16: return "avx512_core_fp16";
    case dnnl::cpu_isa::avx512_core_amx_fp16: return "avx512_core_amx_fp16";
#else
    case dnnl::cpu_isa::avx512_mic: return "avx512_mic";
    case dnnl::cpu_isa::avx512_mic_4ops: return "avx512_mic_4ops";
#endif
    default: return fmt::format("isa {:#x}", static_cast<unsigned>(isa));
  }
}

}  // namespace pastiche::onednn
