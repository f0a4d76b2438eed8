#pragma once
#include <gtest/gtest.h>

#include <string>

#include "pastiche/error.h"

namespace pastiche {

// The one-line message of the Error with `code` that `body` must throw.
template <class Body>
std::string refusal(ExitCode code, Body body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace pastiche
