// Zhu et al., 2017 (arXiv 1703.10593): two sets of pictures without pairs. A second translator leads back, and what goes there and back must
// return as it was.
#include <fmt/format.h>

#include "methods/translation.h"
#include "pastiche/philox.h"
#include "pastiche/streams.h"

namespace pastiche {
namespace {

constexpr std::size_t net_g = 0, net_d = 1, net_reverse = 2, net_source_d = 3;  // in the order of add_network()

struct CycleGanOptions final : OptionsOf<CycleGanOptions> {
  double lambda_cycle = 10;
  double lambda_identity = 0.5;
  int pool = 50;

  template <class Visitor>
  void each(Visitor&& visit) {
    using namespace option;
    using enum OptionGroup;
    visit({"lambda-cycle", loss, Range{0, 1e6}, "weight of the L1 distance to the picture after there and back"}, lambda_cycle);
    visit({"lambda-identity", loss, Range{0, 1e6}, "weight of leaving the target's pictures as they are, as a part of lambda-cycle"}, lambda_identity);
    visit({"pool", loss, Range{0, 10000}, "earlier results that the discriminators are shown again"}, pool);
  }
};

Var first_half(const Var& x) { return slice(x, 0, 0, x.shape()[0] / 2); }
Var second_half(const Var& x) { return slice(x, 0, x.shape()[0] / 2, x.shape()[0] / 2); }

std::string pool_name(std::size_t direction, std::size_t i) { return fmt::format("pool.{}.{:05}", direction == 0 ? "G" : "R", i); }

class CycleGanTrainer final : public TranslationTrainer {
 public:
  CycleGanTrainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network, DType dtype)
      : TranslationTrainer(backend, config, network, dtype, network.channels),
        own_(options_of<CycleGanOptions>(config)),
        reverse_(add_direction(network, network.channels, "R.", "EMA_R.", "S.")) {
    recordable_ = own_.pool == 0;  // the pool's pictures are elsewhere each time
  }

  void write_models(const std::filesystem::path& folder, const DataOrigin& origin) override {
    TranslationTrainer::write_models(folder, origin);
    write_translator(folder / "reverse.safetensors", reverse_.averaged(), config_.model + " from B to A", origin);
  }

  void save(SafetensorsFile& file) const override {
    TranslationTrainer::save(file);
    const Recording off(nullptr);
    for (std::size_t direction = 0; direction < 2; ++direction) {
      for (std::size_t i = 0; i < pools_[direction].size(); ++i) {
        const Tensor picture = cast(pools_[direction][i], DType::f32).value();
        std::vector<std::byte> bytes(picture.bytes());
        picture.copy_to_host(bytes.data());
        file.tensors.push_back({.name = pool_name(direction, i), .dtype = "F32",
                                .shape = {picture.shape()[1], picture.shape()[2], picture.shape()[3]}, .bytes = std::move(bytes)});
      }
    }
  }

  void load(const SafetensorsFile& file, std::int64_t step) override {
    TranslationTrainer::load(file, step);
    const Recording off(nullptr);
    const TranslatorConfig& network = forward_.translator->config();
    for (std::size_t direction = 0; direction < 2; ++direction) {
      Pool& pool = pools_[direction];
      pool.clear();
      while (const SafeTensor* saved = file.find(pool_name(direction, pool.size()))) {
        Tensor picture = Tensor::empty(backend_, {1, network.height, network.width, network.channels});
        if (saved->dtype != "F32" || saved->bytes.size() != picture.bytes()) {
          throw Error(ExitCode::bad_file, fmt::format("{} is no picture of this training", saved->name));
        }
        picture.copy_from_host(saved->bytes.data());
        pool.push_back(dtype_ == DType::f32 ? picture : cast(picture, dtype_).value());
      }
    }
  }

 private:
  using Pool = std::vector<Tensor>;  // of earlier results, each [1,H,W,C]

  Losses compute(std::span<const Tensor> pictures) override {
    const Var a = pictures[0], b = pictures[1];
    const Translator &g = *forward_.translator, &r = *reverse_.translator;
    const PatchDiscriminator &d = *forward_.discriminator, &s = *reverse_.discriminator;
    // What each should leave as it is goes along with what it should turn.
    const bool identity = own_.lambda_identity > 0;
    const Var from_a = g(identity ? join(a, b, 0) : a, pass(0)), from_b = r(identity ? join(b, a, 0) : b, pass(2));
    const Var fake_b = identity ? first_half(from_a) : from_a, fake_a = identity ? first_half(from_b) : from_b;

    const std::uint32_t apart = loss_.relativistic ? 0 : 1;  // else a pair is changed alike
    const Var real_logits = d(augmented(b, 0)), fake_logits = d(augmented(exchange_with_pool(0, fake_b), apart));
    const Var source_logits = s(augmented(a, 2)), fake_source_logits = s(augmented(exchange_with_pool(1, fake_a), 2 + apart));
    const Var d_loss = 0.5 * loss_.discriminator(real_logits, fake_logits, config_.label_smoothing) +
                       0.5 * loss_.discriminator(source_logits, fake_source_logits, config_.label_smoothing);
    update(gradients(d_loss, {net_d, net_source_d}), {net_d, net_source_d});

    const Var content = l1_loss(r(fake_b, pass(3)), a) + l1_loss(g(fake_a, pass(1)), b);
    Var g_loss = loss_.generator_loss([&] { return d(augmented(b, 4)); }, d(augmented(fake_b, 4))) +
                 loss_.generator_loss([&] { return s(augmented(a, 5)); }, s(augmented(fake_a, 5))) + own_.lambda_cycle * content;
    if (identity) {
      const Var kept = l1_loss(second_half(from_a), b) + l1_loss(second_half(from_b), a);
      g_loss = g_loss + own_.lambda_cycle * own_.lambda_identity * kept;
    }
    update(gradients(g_loss, {net_g, net_reverse}), {net_g, net_reverse});
    return {d_loss, g_loss, real_logits, fake_logits, content};
  }

  // Shrivastava et al., 2017: half of the results that a discriminator sees are earlier ones, whose places the new ones take.
  Tensor exchange_with_pool(std::uint32_t direction, const Var& results) {
    const Recording off(nullptr);
    const std::int64_t count = results.shape()[0];
    Pool& pool = pools_[direction];
    const auto most = static_cast<std::size_t>(own_.pool);
    std::vector<Tensor> shown;
    for (std::int64_t n = 0; n < count; ++n) {
      Tensor result = slice(results, 0, n, 1).value();  // [1,H,W,C]
      const Philox4 random = philox4x32({static_cast<std::uint64_t>(config_.seed), streams::pool + direction}, static_cast<std::uint64_t>(steps_done()),
                                        static_cast<std::uint64_t>(n));
      if (pool.size() < most) {
        pool.push_back(result);
      } else if (most > 0 && random.word[0] % 2 == 1) {
        std::swap(result, pool[random.word[1] % most]);
      }
      shown.push_back(std::move(result));
    }
    Tensor all = Tensor::empty(backend_, results.shape(), dtype_);
    backend_.concat(all, shown, 0);
    return all;
  }

  const CycleGanOptions own_;
  Direction reverse_;
  Pool pools_[2];  // of the results of forward_ and reverse_
};

class CycleGan final : public TranslationMethodOf<CycleGanTrainer> {
 public:
  const char* name() const override { return "cyclegan"; }
  const char* summary() const override { return "Pictures turned into those of another folder, and back; no pairs needed"; }
  const char* source() const override { return "Zhu et al., 2017"; }
  std::unique_ptr<MethodOptions> own_options() const override { return std::make_unique<CycleGanOptions>(); }
};

}  // namespace

const TranslationMethod& cyclegan_method() {
  static const CycleGan method;
  return method;
}

}  // namespace pastiche
