// Isola et al., 2017 (arXiv 1611.07004): pairs of pictures. D judges a picture together with its source, and an L1 distance keeps the result near
// its target.
#include "methods/translation.h"

namespace pastiche {
namespace {

constexpr std::size_t net_g = 0, net_d = 1;  // in the order of add_network()

struct Pix2PixOptions final : OptionsOf<Pix2PixOptions> {
  double lambda_l1 = 100;

  template <class Visitor>
  void each(Visitor&& visit) {
    visit({"lambda-l1", OptionGroup::loss, option::Range{0, 1e6}, "weight of the L1 distance to the picture's partner"}, lambda_l1);
  }
};

class Pix2PixTrainer final : public TranslationTrainer {
 public:
  Pix2PixTrainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network, DType dtype)
      : TranslationTrainer(backend, config, network, dtype, 2 * network.channels), lambda_l1_(options_of<Pix2PixOptions>(config).lambda_l1) {}

 private:
  Losses compute(std::span<const Tensor> pictures) override {
    const Var a = pictures[0], b = pictures[1];
    const PatchDiscriminator& d = *forward_.discriminator;
    const Var fake = (*forward_.translator)(a, pass(0));                      // [N,H,W,C]
    const auto judged = [&](const Var& picture, std::uint32_t call) {         // with its source, both changed alike
      return d(join(augmented(a, call), augmented(picture, call), 3));
    };
    const std::uint32_t made_call = loss_.relativistic ? 0 : 1;  // a pair is changed alike
    const Var real_logits = judged(b, 0), fake_logits = judged(detach(fake), made_call);  // [N,h,w,1]
    const Var d_loss = 0.5 * loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
    update(gradients(d_loss, {net_d}), {net_d});

    const Var content = l1_loss(fake, b);
    const Var g_loss = loss_.generator_loss([&] { return judged(b, 2); }, judged(fake, 2)) + lambda_l1_ * content;
    update(gradients(g_loss, {net_g}), {net_g});
    return {d_loss, g_loss, real_logits, fake_logits, content};
  }

  const double lambda_l1_;
};

class Pix2Pix final : public TranslationMethodOf<Pix2PixTrainer> {
 public:
  const char* name() const override { return "pix2pix"; }
  const char* summary() const override { return "Pictures turned into others, learned from pairs, such as drawings and photos of the same things"; }
  const char* source() const override { return "Isola et al., 2017"; }
  Pairing pairing() const override { return Pairing::paired; }
  std::unique_ptr<MethodOptions> own_options() const override { return std::make_unique<Pix2PixOptions>(); }
  void set_defaults(TrainConfig& config) const override {
    TranslationMethod::set_defaults(config);
    config.network = "unet";
    if (config.preset == "full") {
      config.dropout = 0.5;
    } else {  // at equal rates the discriminator wins before the small generator has learned which colour goes where
      config.lr_g = 6e-4;
      config.lr_d = 3e-5;
    }
  }
};

}  // namespace

const TranslationMethod& pix2pix_method() {
  static const Pix2Pix method;
  return method;
}

}  // namespace pastiche
