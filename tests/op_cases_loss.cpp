#include <fmt/format.h>

#include "op_cases.h"

namespace pastiche {

void add_loss_cases(std::vector<OpCase>& cases) {
  const std::pair<Values, double> kinds[] = {{Values::any, 1}, {Values::any, 0}, {Values::wide, 0.9}};
  for (const Shape& s : elementwise_shapes()) {
    for (const auto& [values, target] : kinds) {
      const std::string detail = fmt::format("target {}", target);
      const double floor = values == Values::wide ? 1.2e-7 : 0;  // sigmoid (1 - sigmoid) cancels where it saturates
      cases.push_back({.op = "bce_logits", .detail = detail, .inputs = {{s, values}},
                       .run = [target = target](const OpRun& r) { return bce_logits(r[0], target); },
                       .bound = 1e-6, .floor = floor});
      cases.push_back({.op = "bce_logits_grad", .detail = detail,
                       .inputs = {{{}, Values::any, Role::parameter}, {s, values}},
                       .run = [target = target](const OpRun& r) { return bce_logits_grad(r[0], r[1], target); },
                       .bound = 1e-6, .floor = floor});
    }
  }
}

}  // namespace pastiche
