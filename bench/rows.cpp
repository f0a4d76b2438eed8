#include "rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "methods/gan.h"
#include "methods/translation.h"
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

std::vector<std::uint8_t> some_pictures(const ModelCase& c, int count) {
  const ImageSize size = c.config.size;
  std::vector<std::uint8_t> pictures(static_cast<std::size_t>(count) * size.height * size.width * c.config.channels);
  for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i] = static_cast<std::uint8_t>(i * 37 % 251);
  return pictures;
}

// One pass of the generator, and nothing of a batch's way to it and from it.
std::function<void()> pass_of(const ModelCase& c, Backend& backend, DType dtype) {
  if (is_translation(c.config.model)) {
    const std::shared_ptr<Translator> translator = make_translator(backend, c.network, 1, "G.", dtype);
    const Var x = Tensor::empty(backend, {c.config.batch, c.network.height, c.network.width, c.network.channels}, dtype);
    return [translator, x] { (*translator)(x, {}); };
  }
  const std::shared_ptr<Generator> generator = make_generator(backend, c.model, 1, "G.", dtype);
  const Var z = Tensor::empty(backend, {c.config.batch, c.model.nz}, dtype);
  return [generator, z] { (*generator)(z, {.mode = Mode::eval}); };
}

}  // namespace

std::string ModelCase::name() const {
  return fmt::format("{}-{} batch {}{}", config.model, to_text(config.size), config.batch, config.step == "joint" ? " joint" : "");
}

std::vector<ModelCase> model_cases(const std::string& model, ImageSize size, int ngf, int ndf, std::int64_t batch,
                                   const std::string& step) {
  std::vector<ModelCase> cases;
  for (const Method* method : methods()) {
    const std::string name = method->name();
    if (model.empty() ? is_translation(name) : model != name) continue;
    std::vector<ImageSize> sizes = method->bench_sizes();
    if (size.height > 0) sizes = {size};
    for (const ImageSize each : sizes) {
      ModelCase c{.config = default_config(name), .model = {}, .network = {}};
      c.config.size = each;
      c.config.channels = std::max(each.height, each.width) <= 28 ? 1 : 3;  // those of MNIST, and pictures in colour
      if (has_option(name, "ngf")) c.config.ngf = ngf, c.config.ndf = ndf;
      c.config.batch = static_cast<int>(batch);
      if (is_translation(name)) {
        c.network = translator_of(c.config);
      } else {
        c.config.step = step;
        c.config.loss = "non-saturating";  // all steps alike, without a penalty in some; and the loss of tools/peers
        c.model = find_gan_method(name).model_of(c.config);
      }
      cases.push_back(std::move(c));
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
  const std::function<void()> take_step = step_of(c, *recorder, dtype), generate = pass_of(c, *recorder, dtype);
  const std::vector<Launch> step = launched(*recorder, take_step), generator = launched(*recorder, generate);

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

std::function<void()> step_of(const ModelCase& c, Backend& backend, DType dtype) {
  const std::vector<std::uint8_t> pictures = some_pictures(c, c.config.batch);
  const std::shared_ptr<Trainer> trainer = find_method(c.config.model).make_trainer(backend, c.config, dtype);
  return [trainer, pictures] { trainer->step({pictures, pictures}); };
}

std::function<void()> generation_of(const ModelCase& c, Backend& backend, DType dtype) {
  const auto batch = static_cast<std::size_t>(c.config.batch);
  if (is_translation(c.config.model)) {
    const std::shared_ptr<Translator> translator = make_translator(backend, c.network, 1, "G.", dtype);
    const std::vector<Image> pictures(batch, {c.config.size.height, c.config.size.width, c.config.channels, some_pictures(c, 1)});
    return [translator, pictures] { translate_pictures(*translator, pictures, static_cast<std::int64_t>(pictures.size())); };
  }
  const std::shared_ptr<Generator> generator = make_generator(backend, c.model, 1, "G.", dtype);
  const std::vector<float> latents(batch * static_cast<std::size_t>(c.model.nz), 0.5f);
  return [generator, latents, batch] { generate_pictures(*generator, latents, static_cast<std::int64_t>(batch)); };
}

}  // namespace pastiche::bench
