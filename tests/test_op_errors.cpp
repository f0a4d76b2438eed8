// What ops refuse, and that the message says what was given and what was expected.
#include <gtest/gtest.h>

#include <functional>

#include "pastiche/ops.h"

namespace pastiche {
namespace {

struct ErrorCase {
  const char* name;
  std::function<void(Backend&)> run;
  std::vector<const char*> said;
};

Var zeros(Backend& backend, const Shape& shape, DType dtype = DType::f32) {
  return Tensor::full(backend, shape, 0, dtype);
}

const ErrorCase error_cases[] = {
    {"add", [](Backend& b) { add(zeros(b, {2, 3}), zeros(b, {3, 2})); }, {"add", "[2,3]", "[3,2]"}},
    {"add_dtypes", [](Backend& b) { add(zeros(b, {2}), zeros(b, {2}, DType::bf16)); }, {"add", "f32 [2]", "bf16 [2]"}},
    {"sub", [](Backend& b) { sub(zeros(b, {4}), zeros(b, {4, 1})); }, {"sub", "[4]", "[4,1]"}},
    {"mul", [](Backend& b) { mul(zeros(b, {}), zeros(b, {7})); }, {"mul", "[]", "[7]"}},
    {"div", [](Backend& b) { div(zeros(b, {1}), zeros(b, {2})); }, {"div", "[1]", "[2]"}},
    {"reshape", [](Backend& b) { reshape(zeros(b, {2, 3}), {5}); }, {"[2,3]", "6", "[5]"}},
    {"slice_past_the_end", [](Backend& b) { slice(zeros(b, {2, 5}), 1, 3, 3); }, {"slice", "[2,5]", "[3, 6)"}},
    {"slice_axis", [](Backend& b) { slice(zeros(b, {2, 5}), 2, 0, 1); }, {"slice", "axis 2", "rank 2"}},
    {"unslice", [](Backend& b) { unslice(zeros(b, {4}), 0, 2, 5); }, {"unslice", "[4]", "extent 5"}},
    {"concat", [](Backend& b) { concat(std::vector<Var>{zeros(b, {2, 3}), zeros(b, {3, 3})}, 1); },
     {"concat", "[2,3]", "[3,3]"}},
    {"concat_ranks", [](Backend& b) { concat(std::vector<Var>{zeros(b, {2}), zeros(b, {2, 1})}, 0); },
     {"concat", "[2]", "[2,1]"}},
    {"concat_nothing", [](Backend&) { concat({}, 0); }, {"concat", "0 parts"}},
    {"crop_center", [](Backend& b) { crop_center(zeros(b, {1, 4, 4, 1}), 5, 4); },
     {"crop_center", "[1,4,4,1]", "5 x 4"}},
    {"sum_axis", [](Backend& b) { sum(zeros(b, {3}), 1); }, {"sum", "axis 1", "rank 1"}},
    {"broadcast_rank", [](Backend& b) { broadcast(zeros(b, {1, 2, 3, 4}), 0, 2); }, {"[1,2,3,4]"}},
    {"channel_broadcast", [](Backend& b) { channel_broadcast(zeros(b, {3}), {2, 4}); },
     {"channel_broadcast", "[3]", "[2,4]"}},
    {"gemm", [](Backend& b) { gemm(zeros(b, {2, 3}), zeros(b, {4, 5})); }, {"gemm", "[2,3]", "[4,5]"}},
    {"gemm_transposed", [](Backend& b) { gemm(zeros(b, {2, 3}), zeros(b, {3, 5}), {.b = Transpose::yes}); },
     {"gemm", "[2,3]", "[3,5] transposed"}},
    {"gemm_rank", [](Backend& b) { gemm(zeros(b, {2, 3, 1}), zeros(b, {3, 5})); }, {"gemm", "[2,3,1]", "rank 2"}},
    {"linear", [](Backend& b) { linear(zeros(b, {2, 3}), zeros(b, {5, 4})); }, {"linear", "[2,3]", "[5,4]"}},
    {"conv2d_channels", [](Backend& b) { conv2d(zeros(b, {1, 8, 8, 3}), zeros(b, {4, 3, 3, 5}), {}); },
     {"conv2d", "[1,8,8,3]", "[4,3,3,5]"}},
    {"conv2d_rank", [](Backend& b) { conv2d(zeros(b, {8, 8, 3}), zeros(b, {4, 3, 3, 3}), {}); },
     {"conv2d", "[8,8,3]", "rank 4"}},
    {"conv2d_groups", [](Backend& b) { conv2d(zeros(b, {1, 8, 8, 4}), zeros(b, {3, 3, 3, 2}), {.groups = 2}); },
     {"conv2d", "[1,8,8,4]", "[3,3,3,2]", "groups 2"}},
    {"conv2d_small", [](Backend& b) { conv2d(zeros(b, {1, 2, 2, 1}), zeros(b, {1, 5, 5, 1}), {.pad = 1}); },
     {"conv2d", "[1,2,2,1]", "[1,5,5,1]"}},
    {"conv2d_stride", [](Backend& b) { conv2d(zeros(b, {1, 2, 2, 1}), zeros(b, {1, 1, 1, 1}), {.stride = 0}); },
     {"conv2d", "stride 0"}},
    {"conv2d_upsample",
     [](Backend& b) { conv2d(zeros(b, {1, 4, 4, 1}), zeros(b, {1, 4, 4, 1}), {.pad = 1, .upsample = 2}); },
     {"upsample 2", "pad 1", "[1,4,4,1]", "odd"}},
    {"conv2d_phases",
     [](Backend& b) { conv2d(zeros(b, {1, 4, 4, 1}), zeros(b, {1, 1, 1, 1}), {.out = Phases::inner}); },
     {"conv2d", "phases", "upsample 1"}},
    {"conv2d_dgrad",
     [](Backend& b) { conv2d_dgrad(zeros(b, {1, 5, 5, 4}), zeros(b, {4, 3, 3, 2}), {.pad = 1}, {1, 6, 6, 2}); },
     {"conv2d_dgrad", "[1,5,5,4]", "[1,6,6,4]"}},
    {"conv2d_wgrad",
     [](Backend& b) { conv2d_wgrad(zeros(b, {1, 6, 6, 2}), zeros(b, {1, 6, 6, 5}), {.pad = 1}, {4, 3, 3, 2}); },
     {"conv2d_wgrad", "[1,6,6,5]", "[1,6,6,4]"}},
    {"conv_transpose2d",
     [](Backend& b) { conv_transpose2d(zeros(b, {1, 4, 4, 3}), zeros(b, {5, 4, 4, 2}), {.stride = 2}); },
     {"[1,4,4,3]", "[5,4,4,2]"}},
    {"conv_transpose2d_padding",
     [](Backend& b) { conv_transpose2d(zeros(b, {1, 4, 4, 3}), zeros(b, {3, 4, 4, 2}), {.stride = 2}, 2); },
     {"conv_transpose2d", "output padding 2", "0 to 1"}},
    {"conv2d_group_stats", [](Backend& b) { conv2d_group_stats(zeros(b, {1, 2, 2, 3}), zeros(b, {6, 1, 1, 3}), {}, 4); },
     {"conv2d_group_stats", "[1,2,2,6]", "groups of 4"}},
    {"conv2d_bias_act", [](Backend& b) { conv2d_bias_act(zeros(b, {1, 2, 2, 3}), zeros(b, {6, 1, 1, 3}), zeros(b, {3}), {}, {}); },
     {"conv2d_bias_act", "[1,2,2,6]", "[3]", "[6]"}},
    {"conv2d_bias_act_phases", [](Backend& b) {
       conv2d_bias_act(zeros(b, {1, 2, 2, 3}), zeros(b, {6, 3, 3, 3}), zeros(b, {24}), {.pad = 1, .upsample = 2, .out = Phases::inner}, {});
     }, {"conv2d_bias_act", "phases inner"}},
    {"batch_stats", [](Backend& b) { batch_stats(zeros(b, {2, 2, 2, 6}), 4); },
     {"batch_stats", "[2,2,2,6]", "4 channels"}},
    {"norm_act", [](Backend& b) {
       const NormStats stats{zeros(b, {3}).value(), zeros(b, {3}).value()};
       norm_act(zeros(b, {2, 2, 2, 3}), stats, zeros(b, {3}), zeros(b, {4}), {});
     }, {"norm_act", "[2,2,2,3]", "[3]", "[4]"}},
    {"norm_act_phases", [](Backend& b) {
       const NormStats stats{zeros(b, {8}).value(), zeros(b, {8}).value()};
       norm_act(zeros(b, {2, 2, 2, 8}), stats, zeros(b, {8}), zeros(b, {8}), {.from = Phases::inner});
     }, {"norm_act", "[2,2,2,8]", "[2]", "[8]"}},
    {"group_stats", [](Backend& b) { group_stats(zeros(b, {2, 2, 2, 6}), {.group = 4}); },
     {"group_stats", "[2,2,2,6]", "groups of 4"}},
    {"group_stats_rank", [](Backend& b) { group_stats(zeros(b, {6}), {}); }, {"group_stats", "[6]", "[N,...,C]"}},
    {"group_stats_phases", [](Backend& b) { group_stats(zeros(b, {4, 6}), {.from = Phases::outer}); },
     {"group_stats", "[4,6]", "rank 4"}},
    {"norm_act_pictures", [](Backend& b) {
       const NormStats stats{zeros(b, {3, 4}).value(), zeros(b, {3, 4}).value()};
       norm_act(zeros(b, {2, 2, 2, 4}), stats, zeros(b, {4}), zeros(b, {4}), {});
     }, {"norm_act", "[2,2,2,4]", "[2,4]", "[3,4]"}},
    {"norm_act_groups_of_a_batch", [](Backend& b) {
       const NormStats stats{zeros(b, {4}).value(), zeros(b, {4}).value()};
       norm_act(zeros(b, {2, 2, 2, 4}), stats, zeros(b, {4}), zeros(b, {4}), {.group = 2});
     }, {"norm_act", "groups of 2", "[4]"}},
    {"bias_act", [](Backend& b) { bias_act(zeros(b, {2, 5}), zeros(b, {4}), {}); },
     {"bias_act", "[2,5]", "[4]", "[5]"}},
    {"bias_act_slope", [](Backend& b) {
       bias_act(zeros(b, {2, 5}), zeros(b, {5}), {.kind = Activation::Kind::leaky_relu, .slope = -1});
     }, {"bias_act", "slope -1"}},
    {"leaky_relu_grad", [](Backend& b) { leaky_relu_grad(zeros(b, {2}), zeros(b, {3}), 0.2); },
     {"leaky_relu_grad", "[2]", "[3]"}},
    {"tanh_grad", [](Backend& b) { tanh_grad(zeros(b, {2}), zeros(b, {3})); }, {"tanh_grad", "[2]", "[3]"}},
    {"sigmoid_grad", [](Backend& b) { sigmoid_grad(zeros(b, {2}), zeros(b, {3})); }, {"sigmoid_grad", "[2]", "[3]"}},
    {"upsample", [](Backend& b) { upsample(zeros(b, {4, 4}), 2); }, {"upsample", "[4,4]", "rank 4"}},
    {"upsample_grad", [](Backend& b) { upsample_grad(zeros(b, {1, 5, 4, 1}), 2); },
     {"upsample_grad", "[1,5,4,1]", "2"}},
    {"pad", [](Backend& b) { pad(zeros(b, {4, 4}), {}); }, {"pad", "[4,4]", "rank 4"}},
    {"pad_reflect", [](Backend& b) { pad(zeros(b, {1, 4, 3, 1}), {.left = 3}); },
     {"pad", "left 3", "[1,4,3,1]", "reflect"}},
    {"pad_replicate", [](Backend& b) { pad(zeros(b, {1, 4, 3, 1}), {.top = -1, .mode = Pad::Mode::replicate}); },
     {"pad", "top -1", "[1,4,3,1]", "at least 0"}},
    {"pad_grad", [](Backend& b) { pad_grad(zeros(b, {1, 4, 3, 1}), {.top = 2, .bottom = 2}); },
     {"pad_grad", "top 2", "bottom 2", "[1,0,3,1]"}},
    {"join_phases", [](Backend& b) { join_phases(zeros(b, {1, 2, 2, 6}), Phases::inner); },
     {"join_phases", "[1,2,2,6]", "4K"}},
    {"split_phases", [](Backend& b) { split_phases(zeros(b, {1, 3, 2, 6}), Phases::outer); },
     {"split_phases", "[1,3,2,6]", "2H"}},
    {"bce_logits", [](Backend& b) { bce_logits(zeros(b, {2}), 1.5); }, {"bce_logits", "1.5"}},
    {"bce_logits_grad", [](Backend& b) { bce_logits_grad(zeros(b, {2}), zeros(b, {2}), 1); },
     {"bce_logits_grad", "[2]", "scalar"}},
    {"sort", [](Backend& b) { sort(zeros(b, {4, 4}), 2); }, {"sort", "axis 2", "rank 2"}},
    {"gather", [](Backend& b) { gather(zeros(b, {4, 4}), sort(zeros(b, {4, 3}), 0).order, 0); }, {"gather", "i32 [4,3]", "i32 [4,4]"}},
    {"scatter", [](Backend& b) { scatter(zeros(b, {4, 4}), zeros(b, {4, 4}).value(), 0); }, {"scatter", "f32 [4,4]", "i32 [4,4]"}},
    {"diff_augment", [](Backend& b) { diff_augment(zeros(b, {4, 4}), {}, make_step_state(b)); },
     {"diff_augment", "[4,4]", "rank 4"}},
    {"diff_augment_grad", [](Backend& b) { diff_augment_grad(zeros(b, {2, 0, 4, 3}), {}, make_step_state(b)); },
     {"diff_augment_grad", "[2,0,4,3]", "pictures"}},
    {"dropout", [](Backend& b) { dropout(zeros(b, {2}), {.p = 1, .key = {}}, make_step_state(b)); },
     {"dropout", "probability 1"}},
    {"sample_pixels", [](Backend& b) { sample_pixels(zeros(b, {2, 3, 5, 4}), {.count = 16, .key = {}}, make_step_state(b)); },
     {"sample_pixels", "16 pixels", "[2,3,5,4]", "1 to 15"}},
    {"sample_pixels_none", [](Backend& b) { sample_pixels(zeros(b, {1, 1, 1, 1}), {.count = 0, .key = {}}, make_step_state(b)); },
     {"sample_pixels", "0 pixels", "1 to 1"}},
    {"sample_pixels_rank", [](Backend& b) { sample_pixels(zeros(b, {15, 4}), {.count = 1, .key = {}}, make_step_state(b)); },
     {"sample_pixels", "[15,4]", "rank 4"}},
    {"sample_pixels_grad", [](Backend& b) {
       sample_pixels_grad(zeros(b, {2, 5, 4}), {.count = 6, .key = {}}, make_step_state(b), {2, 3, 5, 4});
     }, {"sample_pixels_grad", "[2,5,4]", "[2,6,4]"}},
    {"sample_pixels_grad_count", [](Backend& b) {
       sample_pixels_grad(zeros(b, {1, 3, 1}), {.count = 3, .key = {}}, make_step_state(b), {1, 1, 2, 1});
     }, {"sample_pixels_grad", "3 pixels", "[1,1,2,1]", "1 to 2"}},
};

TEST(OpErrors, SayWhatWasGivenAndExpected) {
  const auto backend = make_backend("reference");
  for (const auto& [name, run, said] : error_cases) {
    try {
      run(*backend);
      ADD_FAILURE() << name << ": nothing was thrown";
    } catch (const Error& e) {
      const std::string_view message = e.what();
      for (const char* part : said)
        EXPECT_NE(message.find(part), message.npos) << name << ": '" << message << "' lacks " << part;
    }
  }
}

}  // namespace
}  // namespace pastiche
