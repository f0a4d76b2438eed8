// Tests that pass, fail and are skipped: for main_probe.cmake.
#include <gtest/gtest.h>

TEST(Probe, Passes) {}
TEST(Probe, Fails) { FAIL(); }
TEST(Probe, IsSkipped) { GTEST_SKIP() << "on purpose"; }
TEST(Probe, IsSkippedToo) { GTEST_SKIP() << "on purpose"; }
