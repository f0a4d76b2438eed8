#include "pastiche/ladder.h"

#include <fmt/format.h>

#include "pastiche/files.h"
#include "pastiche/rungs.h"

namespace pastiche {
namespace {

// "0 naive, 1 shared tile, ...": those that `wanted` wants.
template <class F> std::string list_of(F wanted) {
  std::string text;
  for (int i = 0; i <= top_rung; ++i) {
    if (wanted(rungs[i])) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", i, rungs[i].name);
  }
  return text;
}

// "conv2d=4", or nothing where it can't be read or stands there already.
bool add(KernelChoice& kernels, std::string_view text) {
  const std::size_t equals = text.find('=');
  if (equals == text.npos || equals + 2 != text.size()) return false;
  const int rung = text.back() - '0';
  const std::string_view op = text.substr(0, equals);
  std::optional<int>* const chosen = op == "conv2d" ? &kernels.conv2d : op == "gemm" ? &kernels.gemm : nullptr;
  if (chosen == nullptr || chosen->has_value() || rung < 0 || rung > top_rung) return false;
  *chosen = rung;
  return true;
}

// Error(usage) for the first chosen rung of which `serves` is false; `wants` says what it is asked for.
template <class F> void require(const KernelChoice& kernels, const std::string& wants, F serves) {
  for (const auto& [op, chosen] : {std::pair("conv2d", kernels.conv2d), std::pair("gemm", kernels.gemm)}) {
    if (!chosen || serves(rungs[*chosen])) continue;
    const std::string others = list_of(serves);
    throw Error(ExitCode::usage, fmt::format("--kernel {}={} ({}) {}; {}", op, *chosen, rungs[*chosen].name, wants,
                                             others.empty() ? "leave it out" : "what does: " + others));
  }
}

}  // namespace

std::string KernelChoice::str() const {
  std::string text;
  if (conv2d) text = fmt::format("conv2d={}", *conv2d);
  if (gemm) text += fmt::format("{}gemm={}", text.empty() ? "" : ",", *gemm);
  return text;
}

KernelChoice parse_kernels(std::string_view text) {
  KernelChoice kernels;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t comma = rest.find(',');
    if (!add(kernels, rest.substr(0, comma)) || comma + 1 == rest.size()) {
      throw Error(ExitCode::usage, fmt::format("--kernel {}: expected {}", quote(text), expected_kernels()));
    }
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return kernels;
}

std::string expected_kernels() {
  return "conv2d=RUNG or gemm=RUNG, or both with a comma, of the rungs " + list_of([](const Rung&) { return true; });
}

void require_dtype(const KernelChoice& kernels, DType dtype) {
  const bool bf16 = dtype == DType::bf16;
  require(kernels, fmt::format("does not compute {}", bf16 ? "bf16" : "f32"),
          [&](const Rung& r) { return bf16 ? r.bf16 : r.f32 || (kernels.tf32 && r.tf32); });
}

void require_compute_capability(const KernelChoice& kernels, int compute_capability) {
  require(kernels, fmt::format("does not run on sm_{}", compute_capability),
          [&](const Rung& r) { return r.compute_capability <= compute_capability; });
  if (kernels.tf32 && rungs[top_rung].compute_capability > compute_capability) {
    throw Error(ExitCode::usage, fmt::format("--precision tf32 needs sm_{} or later, and this is sm_{}; use f32",
                                             rungs[top_rung].compute_capability, compute_capability));
  }
}

void require_none(const KernelChoice& kernels, std::string_view device) {
  require(kernels, fmt::format("is for the CUDA kernels (--device cuda, simt or ptx), and this is {}", device),
          [](const Rung&) { return false; });
  if (kernels.tf32) {
    throw Error(ExitCode::usage, fmt::format("--precision tf32 is for the CUDA kernels (--device cuda, simt or ptx), and this is {}; use f32",
                                             device));
  }
}

}  // namespace pastiche
