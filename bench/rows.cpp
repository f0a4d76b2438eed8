#include "rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "op_cases.h"
#include "pastiche/train.h"

namespace pastiche::bench {
namespace {

// Names are fields between slashes.
std::string without_slashes(std::string text) {
  std::replace(text.begin(), text.end(), '/', ':');
  return text;
}

// What is launched on a recorder by `body`.
template <class F> std::vector<Launch> launched(Recorder& recorder, F body) {
  recorder.launches.clear();
  body();
  return std::exchange(recorder.launches, {});
}

}  // namespace

std::string ModelCase::name() const {
  const std::string size =
      model.width == model.height ? std::to_string(model.height) : fmt::format("{}x{}", model.width, model.height);
  return fmt::format("{}-{} batch {}{}", model.name, size, batch, step == "joint" ? " joint" : "");
}

std::vector<ModelCase> model_cases(const std::string& model, ImageSize size, int ngf, int ndf, std::int64_t batch,
                                   const std::string& step) {
  std::vector<ModelCase> cases;
  for (const std::string& name : model_names()) {
    if (!model.empty() && model != name) continue;
    std::vector<ImageSize> sizes{{28, 28}, {64, 64}, {128, 128}};
    if (name == "article") sizes.resize(1);  // the article's own
    if (size.height > 0) sizes = {size};
    for (const ImageSize each : sizes) {
      const std::int64_t channels = std::max(each.height, each.width) <= 28 ? 1 : 3;  // those of MNIST, and pictures in colour
      const ModelConfig config{.name = name, .height = each.height, .width = each.width, .channels = channels, .ngf = ngf, .ndf = ndf};
      cases.push_back({config, batch, step});
    }
  }
  return cases;
}

std::vector<Row> op_rows(DType dtype) {
  std::vector<Row> rows;
  for (const OpCase& op : op_cases()) {
    if (dtype == DType::bf16 && !op.bf16) continue;
    auto recorder = std::make_shared<Recorder>();
    std::vector<Var> inputs;
    for (std::size_t i = 0; i < op.inputs.size(); ++i) inputs.emplace_back(make_input(*recorder, op, i, dtype, Fill::reals));
    std::vector<Launch> launches = launched(*recorder, [&] { op.run({*recorder, dtype, inputs}); });
    if (!launches.empty()) rows.push_back({without_slashes(op.name()), 1, recorder, std::move(launches)});
  }
  return rows;
}

ModelRows model_rows(const ModelCase& c, DType dtype) {
  auto recorder = std::make_shared<Recorder>();
  GanTrainer trainer(*recorder, train_config(c), c.model, dtype);
  const Var z = Tensor::empty(*recorder, {c.batch, c.model.nz}, dtype);
  const std::vector<Launch> step = launched(*recorder, [&] { trainer.step(some_pictures(c)); });
  const std::vector<Launch> generator = launched(*recorder, [&] { trainer.generator()(z, {.mode = Mode::eval}); });

  ModelRows rows{{}, {"step", 1, recorder, step}, {"generate", 1, recorder, generator}};
  for (const auto* launches : {&step, &generator}) {
    for (const Launch& launch : *launches) {
      const std::string name = launch.kernel + " " + launch.shapes;
      const auto at = std::find_if(rows.layers.begin(), rows.layers.end(), [&](const Row& row) { return row.name == name; });
      Row& row = at != rows.layers.end() ? *at : rows.layers.emplace_back(Row{name, 0, recorder, {launch}});
      row.calls += launches == &step;
    }
  }
  return rows;
}

TrainConfig train_config(const ModelCase& c) {
  TrainConfig config;
  config.model = c.model.name;
  config.batch = static_cast<int>(c.batch);
  config.step = c.step;
  return config;
}

std::vector<std::uint8_t> some_pictures(const ModelCase& c) {
  std::vector<std::uint8_t> pictures(static_cast<std::size_t>(c.batch * c.model.height * c.model.width * c.model.channels));
  for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i] = static_cast<std::uint8_t>(i * 37 % 251);
  return pictures;
}

}  // namespace pastiche::bench
