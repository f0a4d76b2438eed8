#pragma once
// Long tables are run in parts, so that in time all of them is run: PASTICHE_SAMPLE holds the hash of a commit, which says what part. Where
// it is not set, or is `all`, everything is run. What was left out is said at the end (main.cpp) and in the log of ctest.
#include <cstddef>
#include <string>
#include <string_view>

namespace pastiche {

// Whether row i of a table is in the part that `hash` chooses, of one row in `one_in`, at least one in each `one_in` in a row.
bool in_sample(std::string_view hash, std::string_view table, std::size_t i, std::size_t one_in);

// Whether PASTICHE_SAMPLE asks for a part.
bool sampling();

// in_sample() for PASTICHE_SAMPLE, counted.
bool in_sample(std::string_view table, std::size_t i, std::size_t one_in);

// Whether long test `number` of so many, which take turns from commit to commit, has its turn.
bool has_turn(std::size_t number, std::size_t of);

// For the tables of the core suites: 1, or 8 where PASTICHE_SAMPLE_CORE is set, which says that all rows were run in another build.
std::size_t core_one_in();

// "32 of 128 rows", or empty where nothing was left out.
std::string sample_summary();

}  // namespace pastiche
