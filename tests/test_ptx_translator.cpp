// What the translator does not know stops the build, with the line.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ptx/translator/emit.h"

namespace pastiche::ptx_translator {
namespace {

// Of an entry with one instruction, or some lines, in line 5.
std::string translation_of(const std::string& line) {
  const std::string text = fmt::format(
      ".version 9.0\n.target sm_80\n.visible .entry kernel(.param .u64 to) {{\n.reg .pred %p<3>; .reg .b16 %h<4>; .reg .b32 %r<9>; .reg .b64 %d<5>; .reg .f32 %f<5>;\n"
      "{}\nret;\n}}\n", line);
  return translated(parse("kernel.ptx", text));
}

class PtxUnknown : public testing::TestWithParam<const char*> {};

TEST_P(PtxUnknown, StopsTheTranslationWithItsLine) {
  try {
    translation_of(GetParam());
    ADD_FAILURE() << "it was translated";
  } catch (const std::exception& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("kernel.ptx:5: ")) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, PtxUnknown,
    testing::Values("frobnicate.b32 %r0, %r1;", "redux.sync.add.s32 %r0, %r1, %r2;", "mbarrier.init.shared.b64 [%r0], 1;",  // instructions
                    "add.sat.s32 %r0, %r1, %r2;", "add.cc.u32 %r0, %r1, %r2;", "fma.rn.relu.f32 %f0, %f1, %f2, %f3;",          // forms
                    "cvt.rn.satfinite.e4m3x2.f32 %h0, %f0, %f1;", "cvt.s32.f32 %r0, %f0;", "cvt.rz.bf16.f32 %h0, %f0;",
                    "ld.global.v3.f32 {%f0, %f1, %f2}, [%d0];", "shfl.sync.round.b32 %r0, %r1, 1, 31, -1;", "setp.maybe.s32 %p0, %r0, %r1;",
                    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r0, %r1, %r2, %r3}, {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%r0, %r1, %r2, %r3};",
                    "cp.async.bulk.commit_group;", "bar.sync 1, 64;", "atom.global.add.noftz.f16x2 %r0, [%d0], %r1;",
                    "fma.rn.bf16x2 %r0, %r1, %r2, %r3;", "neg.f16 %h0, %h1;", "max.f16x2 %r0, %r1, %r2;",                       // types
                    "mov.b32 %r0, %q1;", "ld.shared.f32 %f0, [somewhere];", "add.s32 %r0, %r1;", "call.uni elsewhere, ();",      // names
                    ".surprise 5;", "mov.b32 %r0, #5;"));

TEST(PtxTranslation, OfWhatIsKnown) {
  EXPECT_NE(translation_of("@!%p1 add.s32 %r0, %r1, -2;").find("if (!p1_) {"), std::string::npos);
}

}  // namespace
}  // namespace pastiche::ptx_translator
