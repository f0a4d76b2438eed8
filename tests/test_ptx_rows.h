#pragma once
// Rows of the op table, and some more, run where the kernels are counted or changed.
#include "op_cases.h"

namespace pastiche {

// Of a row: its results, and the gradients of <y, random> by its inputs.
using Results = std::vector<std::vector<double>>;

// backend: a name as make_tested_backend() has it; mark: every so many elements of the activations are NaN; 0: none.
Results run_row(const std::string& backend, const OpCase&, DType, Fill, std::int64_t mark = 0);

// What a row must come to.
struct Expected {
  Results values, magnitudes;  // magnitudes: what the errors of reals are relative to (op_cases.h), if that is more than the values
  double bound = 0, floor = 0;  // relative to the L2 norm, and absolute an element; 0: no difference at all
};
Expected expected_of(const OpCase&, DType, Fill);
// Empty where each result is near enough.
std::string difference(const Results& got, const Expected&);

// How many NaN are numbers in `got`. (Where a window looks over the edge, kernels multiply by zero, and have more.)
std::size_t lost_nans(const Results& got, const Results& expected);

// Shapes that the table does without, as other backends have nothing to show there: long loops, of which nvcc makes several copies,
// tiles that only many rows fill, and results of other types than the operands.
std::vector<OpCase> further_rows();
// Some of them: small, and yet each fills a tile of matrix multiplication.
std::vector<OpCase> tile_rows();

}  // namespace pastiche
