// Pictures of one domain turned into those of another: the steps of pix2pix, CycleGAN and CUT.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "pastiche/checkpoint.h"
#include "pastiche/philox.h"
#include "pastiche/train.h"
#include "train/pictures.h"

namespace pastiche {
namespace {

// In the order of add_network().
constexpr std::size_t net_g = 0, net_d = 1, net_reverse = 2, net_source_d = 3, net_head = 2;

Var join_channels(const Var& a, const Var& b) {
  const Var both[] = {a, b};
  return concat(both, 3);
}

Var join_batches(const Var& a, const Var& b) {
  const Var both[] = {a, b};
  return concat(both, 0);
}

Var first_half(const Var& x) { return slice(x, 0, 0, x.shape()[0] / 2); }
Var second_half(const Var& x) { return slice(x, 0, x.shape()[0] / 2, x.shape()[0] / 2); }

std::string pool_name(std::size_t direction, std::size_t i) { return fmt::format("pool.{}.{:05}", direction == 0 ? "G" : "R", i); }

}  // namespace

TranslationTrainer::TranslationTrainer(Backend& backend, const TrainConfig& config, const TranslatorConfig& network, DType dtype)
    : Trainer(backend, config, {network.height, network.width, network.channels}, 2, dtype), loss_(adversarial_loss(config.loss)) {
  add_direction(forward_, network, "G.", "EMA.", "D.");
  if (config.model == "cyclegan") {
    add_direction(reverse_, network, "R.", "EMA_R.", "S.");
    recordable_ = config.pool == 0;  // the pool's pictures are elsewhere each time
  }
  if (config.model == "cut") {
    head_ = std::make_unique<PatchHead>(backend, forward_.translator->feature_channels(), static_cast<std::uint64_t>(config.seed), "F.", dtype);
    add_network(Side::g, head_->parameters());
  }
}

void TranslationTrainer::add_direction(Direction& direction, const TranslatorConfig& network, const char* translator_prefix,
                                       const char* average_prefix, const char* discriminator_prefix) {
  const auto seed = static_cast<std::uint64_t>(config_.seed);
  direction.translator = make_translator(backend_, network, seed, translator_prefix, dtype_);
  if (config_.ema > 0) direction.average_copy = make_translator(backend_, network, seed, average_prefix, dtype_);
  const std::int64_t judged = config_.model == "pix2pix" ? 2 * network.channels : network.channels;  // with its source
  const PatchDiscriminator::Options options{.channels = judged, .ndf = config_.ndf,
                                            .layers = PatchDiscriminator::layers_for(std::min(network.height, network.width))};
  direction.discriminator = std::make_unique<PatchDiscriminator>(backend_, options, seed, discriminator_prefix, dtype_);
  add_network(Side::g, direction.translator->parameters(), direction.average_copy ? &direction.average_copy->parameters() : nullptr);
  add_network(Side::d, direction.discriminator->parameters());
}

StepStats TranslationTrainer::step(const Tensor& a, const Tensor& b) {
  const Tensor pictures[] = {a, b};
  return run_eagerly([&] { return compute(pictures); });
}

TranslationTrainer::Losses TranslationTrainer::compute(std::span<const Tensor> pictures) {
  if (config_.model == "pix2pix") return pix2pix_step(pictures[0], pictures[1]);
  if (config_.model == "cyclegan") return cyclegan_step(pictures[0], pictures[1]);
  return cut_step(pictures[0], pictures[1]);
}

TranslationTrainer::Losses TranslationTrainer::pix2pix_step(const Var& a, const Var& b) {
  const PatchDiscriminator& d = *forward_.discriminator;
  const Var fake = (*forward_.translator)(a, pass(0));                      // [N,H,W,C]
  const auto judged = [&](const Var& picture, std::uint32_t call) {         // with its source, both changed alike
    return d(join_channels(augmented(a, call), augmented(picture, call)));
  };
  const Var real_logits = judged(b, 0), fake_logits = judged(detach(fake), 1);  // [N,h,w,1]
  const Var d_loss = 0.5 * loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
  update(gradients(d_loss, {net_d}), {net_d});

  const Var content = l1_loss(fake, b);
  const Var g_loss = loss_.generator(judged(fake, 2)) + config_.lambda_l1 * content;
  update(gradients(g_loss, {net_g}), {net_g});
  return {d_loss, g_loss, real_logits, fake_logits, content};
}

TranslationTrainer::Losses TranslationTrainer::cyclegan_step(const Var& a, const Var& b) {
  const Translator &g = *forward_.translator, &r = *reverse_.translator;
  const PatchDiscriminator &d = *forward_.discriminator, &s = *reverse_.discriminator;
  // What each should leave as it is goes along with what it should turn.
  const bool identity = config_.lambda_identity > 0;
  const Var from_a = g(identity ? join_batches(a, b) : a, pass(0)), from_b = r(identity ? join_batches(b, a) : b, pass(2));
  const Var fake_b = identity ? first_half(from_a) : from_a, fake_a = identity ? first_half(from_b) : from_b;

  const Var real_logits = d(augmented(b, 0)), fake_logits = d(augmented(exchange_with_pool(forward_, fake_b), 1));
  const Var source_logits = s(augmented(a, 2)), fake_source_logits = s(augmented(exchange_with_pool(reverse_, fake_a), 3));
  const Var d_loss = 0.5 * loss_.discriminator(real_logits, fake_logits, config_.label_smoothing) +
                     0.5 * loss_.discriminator(source_logits, fake_source_logits, config_.label_smoothing);
  update(gradients(d_loss, {net_d, net_source_d}), {net_d, net_source_d});

  const Var content = l1_loss(r(fake_b, pass(3)), a) + l1_loss(g(fake_a, pass(1)), b);
  Var g_loss = loss_.generator(d(augmented(fake_b, 4))) + loss_.generator(s(augmented(fake_a, 5))) + config_.lambda_cycle * content;
  if (identity) {
    const Var kept = l1_loss(second_half(from_a), b) + l1_loss(second_half(from_b), a);
    g_loss = g_loss + config_.lambda_cycle * config_.lambda_identity * kept;
  }
  update(gradients(g_loss, {net_g, net_reverse}), {net_g, net_reverse});
  return {d_loss, g_loss, real_logits, fake_logits, content};
}

TranslationTrainer::Losses TranslationTrainer::cut_step(const Var& a, const Var& b) {
  const Translator& g = *forward_.translator;
  const PatchDiscriminator& d = *forward_.discriminator;
  // Pictures of B are to stay as they are: they keep the generator from changing more than it must.
  const std::vector<Var> source = g.encode(join_batches(a, b), pass(0));
  const Var result = g.decode(source, pass(0)), fake = first_half(result);  // [2N,H,W,C], [N,H,W,C]
  const Var real_logits = d(augmented(b, 0)), fake_logits = d(augmented(detach(fake), 1));
  const Var d_loss = 0.5 * loss_.discriminator(real_logits, fake_logits, config_.label_smoothing);
  update(gradients(d_loss, {net_d}), {net_d});

  const auto vectors_of = [&](const std::vector<Var>& features) {
    return (*head_)(features, config_.patches, {static_cast<std::uint64_t>(config_.seed), streams::patches}, state_tensor_);
  };
  std::vector<Var> source_vectors;
  {
    const Recording off(nullptr);
    source_vectors = vectors_of(source);
  }
  const Var content = patch_nce_loss(vectors_of(g.encode(result, pass(1))), source_vectors, config_.temperature);
  const Var g_loss = loss_.generator(d(augmented(fake, 2))) + config_.lambda_nce * content;
  update(gradients(g_loss, {net_g, net_head}), {net_g, net_head});
  return {d_loss, g_loss, real_logits, fake_logits, content};
}

// Shrivastava et al., 2017: half of the results that a discriminator sees are earlier ones, whose places the new ones take.
Tensor TranslationTrainer::exchange_with_pool(Direction& direction, const Var& results) {
  const Recording off(nullptr);
  const std::int64_t count = results.shape()[0];
  const std::uint32_t stream = streams::pool + (&direction == &reverse_ ? 1 : 0);
  const auto most = static_cast<std::size_t>(config_.pool);
  std::vector<Tensor> shown;
  for (std::int64_t n = 0; n < count; ++n) {
    Tensor result = slice(results, 0, n, 1).value();  // [1,H,W,C]
    const Philox4 random = philox4x32({static_cast<std::uint64_t>(config_.seed), stream}, static_cast<std::uint64_t>(steps_done()),
                                      static_cast<std::uint64_t>(n));
    if (direction.pool.size() < most) {
      direction.pool.push_back(result);
    } else if (most > 0 && random.word[0] % 2 == 1) {
      std::swap(result, direction.pool[random.word[1] % most]);
    }
    shown.push_back(std::move(result));
  }
  Tensor all = Tensor::empty(backend_, results.shape(), dtype_);
  backend_.concat(all, shown, 0);
  return all;
}

void TranslationTrainer::save(SafetensorsFile& file) const {
  Trainer::save(file);
  const Recording off(nullptr);
  for (const Direction* direction : {&forward_, &reverse_}) {
    for (std::size_t i = 0; i < direction->pool.size(); ++i) {
      const Tensor picture = cast(direction->pool[i], DType::f32).value();
      std::vector<std::byte> bytes(picture.bytes());
      picture.copy_to_host(bytes.data());
      file.tensors.push_back({.name = pool_name(direction == &forward_ ? 0 : 1, i), .dtype = "F32",
                              .shape = {picture.shape()[1], picture.shape()[2], picture.shape()[3]}, .bytes = std::move(bytes)});
    }
  }
}

void TranslationTrainer::load(const SafetensorsFile& file, std::int64_t step) {
  Trainer::load(file, step);
  const Recording off(nullptr);
  const TranslatorConfig& network = forward_.translator->config();
  for (Direction* direction : {&forward_, &reverse_}) {
    direction->pool.clear();
    while (const SafeTensor* saved = file.find(pool_name(direction == &forward_ ? 0 : 1, direction->pool.size()))) {
      Tensor picture = Tensor::empty(backend_, {1, network.height, network.width, network.channels});
      if (saved->dtype != "F32" || saved->bytes.size() != picture.bytes()) {
        throw Error(ExitCode::bad_file, fmt::format("{} is no picture of this training", saved->name));
      }
      picture.copy_from_host(saved->bytes.data());
      direction->pool.push_back(dtype_ == DType::f32 ? picture : cast(picture, dtype_).value());
    }
  }
}

std::vector<Image> translate_pictures(Translator& translator, std::span<const Image> pictures, std::int64_t batch) {
  const Recording off(nullptr);
  std::vector<Image> results;
  for (std::size_t begin = 0; begin < pictures.size(); begin += static_cast<std::size_t>(batch)) {
    const std::size_t count = std::min(static_cast<std::size_t>(batch), pictures.size() - begin);
    const Var y = translator(to_tensor(translator.parameters().backend(), pictures.subspan(begin, count)), {});
    for (Image& picture : to_pictures(y.value())) results.push_back(std::move(picture));
  }
  return results;
}

}  // namespace pastiche
