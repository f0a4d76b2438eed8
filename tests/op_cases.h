#pragma once
// The op table: every function of ops.h, and every kernel that no op reaches, on shapes that hurt. A row says what to run
// and how close a backend must come to the reference; tests and benches go through all rows. To add an op, add its rows to
// the file of its family.
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pastiche/ops.h"

namespace pastiche {

// What an input may hold, as reals or as integers (where these are not said: -8..8 but 0,
// so that no sum of one product is empty).
enum class Values {
  any,         // in (-1, 1)
  wide,        // in (-30, 30)
  positive,    // in (0.5, 2); 1..8
  away,        // 0.25 < |x| < 1: away from a kink at 0; -8..8, on it too
  small,       // 0.02 < |x| < 0.05: an offset that moves nothing of `away` or `two_sided` across 0
  two_sided,   // 0.5 < |x| < 1, the sign alternating along rows and channels: away from a kink at the mean of a channel
  sixteenths,  // multiples of 1/16 in [-1.5, 1.5], as reals and as integers
  bytes,       // 0..255, in u8
};

// activation: of the row's dtype. parameter: f32 (f64 in f64 rows). statistic: the same, and a constant to the op.
enum class Role { activation, parameter, statistic };

struct Input {
  Shape shape;
  Values values = Values::any;
  Role role = Role::activation;
};

// One execution of a row: where, in which dtype, on what.
struct OpRun {
  Backend& backend;
  DType dtype;
  std::span<const Var> inputs;

  const Var& operator[](std::size_t i) const { return inputs[i]; }
};

struct Outputs : std::vector<Var> {
  Outputs(Var y) : std::vector<Var>{std::move(y)} {}  // NOLINT: most ops have one
  Outputs(std::initializer_list<Var> all) : std::vector<Var>(all) {}
};

struct OpCase {
  std::string op;      // as in ops.h or kernels.def
  std::string detail = {};  // what the shapes do not say
  std::vector<Input> inputs = {};
  std::function<Outputs(const OpRun&)> run;
  double bound = 0;            // relative L2 error in f32 (bf16: 1e-2); 0: exact, no bit differs on integers
  double floor = 0;            // absolute error an element may have besides, where results saturate or cancel to zero
  bool bf16 = true;            // the row exists in bf16 too
  bool differentiable = true;  // then run returns one Var
  bool twice = true;           // its gradient is differentiated too, where there is one: false for large shapes
  bool rounds_twice = false;   // a backend may, in bf16: then it is not exact
  bool many_zeros = false;     // more than 30% of the result is zero, and that is meant

  bool exact(DType dtype) const { return bound == 0 && !(rounds_twice && dtype == DType::bf16); }
  std::string name() const;  // "conv2d [2,5,7,3] [4,3,3,3] pad 1"
};

const std::vector<OpCase>& op_cases();

// magnitudes: of the reals. What sums come to without cancellation, and so what their rounding errors are relative to.
enum class Fill { integers, reals, magnitudes };

// The i-th input of a row, the same values on every backend (in bf16 the reals are cut to it).
Tensor make_input(Backend&, const OpCase&, std::size_t i, DType, Fill);
// Values that depend only on the key: uniform in (-1, 1), or integers in -8..8 but 0.
Tensor make_random(Backend&, const Shape&, DType, Fill, std::uint64_t key);
std::vector<double> host_values(const Tensor&);
Tensor state_at(Backend&, std::int64_t step);  // a StepState

// A device, or one with a choice of its kernels: "simt conv2d=0,gemm=0", "simt tf32".
std::unique_ptr<Backend> make_tested_backend(const std::string& name);
KernelChoice kernels_of(const std::string& name);

// The families.
void add_arith_cases(std::vector<OpCase>&);
void add_shape_cases(std::vector<OpCase>&);
void add_gemm_cases(std::vector<OpCase>&);
void add_conv_cases(std::vector<OpCase>&);
void add_norm_cases(std::vector<OpCase>&);
void add_activation_cases(std::vector<OpCase>&);
void add_resample_cases(std::vector<OpCase>&);
void add_sort_cases(std::vector<OpCase>&);
void add_augment_cases(std::vector<OpCase>&);
void add_loss_cases(std::vector<OpCase>&);
void add_optim_cases(std::vector<OpCase>&);
void add_random_cases(std::vector<OpCase>&);

// What a row runs, where it is nothing but the op.
std::function<Outputs(const OpRun&)> unary(Var (*op)(const Var&));
std::function<Outputs(const OpRun&)> binary(Var (*op)(const Var&, const Var&));

// Twenty ragged shapes for what works element by element.
std::span<const Shape> elementwise_shapes();

}  // namespace pastiche
