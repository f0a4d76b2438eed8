// Park et al., 2020 (arXiv 2007.15651): two sets of pictures without pairs. A patch of the result must be told from others of its picture by the
// patch at its place in the source.
#include "methods/translation.h"
#include "pastiche/patch_nce.h"
#include "pastiche/streams.h"

namespace pastiche {
namespace {

constexpr std::size_t net_g = 0, net_d = 1, net_head = 2;  // in the order of add_network()

struct CutOptions final : OptionsOf<CutOptions> {
  double lambda_nce = 1;
  int patches = 256;
  double temperature = 0.07;

  template <class Visitor>
  void each(Visitor&& visit) {
    using namespace option;
    using enum OptionGroup;
    visit({"lambda-nce", loss, Range{0, 1e6}, "weight of the patchwise contrastive loss"}, lambda_nce);
    visit({"patches", loss, Range{2, 65536}, "patches of a picture that are compared"}, patches);
    visit({"temperature", loss, Range{0.02, 10}, "what similarities are divided by"}, temperature);
  }
};

class CutTrainer final : public TranslationTrainer {
 public:
  CutTrainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network, DType dtype)
      : TranslationTrainer(backend, config, network, dtype, network.channels),
        own_(options_of<CutOptions>(config)),
        head_(backend, forward_.translator->feature_channels(), static_cast<std::uint64_t>(config.seed), "F.", dtype) {
    add_network(Side::g, head_.parameters());
  }

 private:
  Losses compute(std::span<const Tensor> pictures) override {
    const Var a = pictures[0], b = pictures[1];
    const Translator& g = *forward_.translator;
    const PatchDiscriminator& d = *forward_.discriminator;
    // Pictures of B are to stay as they are: they keep the generator from changing more than it must.
    const std::vector<Var> source = g.encode(join(a, b, 0), pass(0));
    const Var result = g.decode(source, pass(0)), fake = slice(result, 0, 0, a.shape()[0]);  // [2N,H,W,C], [N,H,W,C]
    const std::uint32_t made_call = loss_.relativistic ? 0 : 1;  // a pair is changed alike
    const Var real_logits = d(augmented(b, 0)), fake_logits = d(augmented(detach(fake), made_call));
    const Var d_loss = 0.5 * loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
    update(gradients(d_loss, {net_d}), {net_d});

    const auto vectors_of = [&](const std::vector<Var>& features) {
      return head_(features, own_.patches, {static_cast<std::uint64_t>(config_.seed), streams::patches}, state_tensor_);
    };
    std::vector<Var> source_vectors;
    {
      const Recording off(nullptr);
      source_vectors = vectors_of(source);
    }
    const Var content = patch_nce_loss(vectors_of(g.encode(result, pass(1))), source_vectors, own_.temperature);
    const Var g_loss = loss_.generator_loss([&] { return d(augmented(b, 2)); }, d(augmented(fake, 2))) + own_.lambda_nce * content;
    update(gradients(g_loss, {net_g, net_head}), {net_g, net_head});
    return {d_loss, g_loss, real_logits, fake_logits, content};
  }

  const CutOptions own_;
  PatchHead head_;
};

class Cut final : public TranslationMethodOf<CutTrainer> {
 public:
  const char* name() const override { return "cut"; }
  const char* summary() const override { return "Pictures turned into the style of another folder; no pairs needed"; }
  const char* source() const override { return "Park et al., 2020"; }
  std::unique_ptr<MethodOptions> own_options() const override { return std::make_unique<CutOptions>(); }
};

}  // namespace

const TranslationMethod& cut_method() {
  static const Cut method;
  return method;
}

}  // namespace pastiche
