#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/philox.h"

namespace pastiche {
namespace {

// Streams of RandomKey that nothing else draws from.
constexpr std::uint32_t order_stream = 0x6f726472;   // "ordr"
constexpr std::uint32_t mirror_stream = 0x6d697272;  // "mirr"

// One permutation of the data an epoch (Fisher and Yates), drawn anew from seed and epoch, so none is ever saved.
class Order {
 public:
  Order(std::int64_t size, std::uint64_t seed) : key_{seed, order_stream}, indices_(size) {}

  std::int64_t index_of(std::int64_t sample) {
    const auto size = static_cast<std::int64_t>(indices_.size());
    if (sample / size != epoch_) shuffle(sample / size);
    return indices_[sample % size];
  }

 private:
  void shuffle(std::int64_t epoch) {
    epoch_ = epoch;
    std::iota(indices_.begin(), indices_.end(), std::int64_t{0});
    Philox4 words{};
    for (std::size_t i = 0; i + 1 < indices_.size(); ++i) {
      if (i % 2 == 0) words = philox4x32(key_, epoch, i / 2);
      const std::uint64_t random = std::uint64_t{words.word[i % 2 * 2]} << 32 | words.word[i % 2 * 2 + 1];
      // The bias of a remainder of 64 bits is below size / 2^64.
      std::swap(indices_[i], indices_[i + random % (indices_.size() - i)]);
    }
  }

  const RandomKey key_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> indices_;
};

bool mirrored(std::uint64_t seed, std::int64_t sample) {
  return philox4x32({seed, mirror_stream}, 0, sample).word[0] & 1;
}

void mirror_rows(std::uint8_t* pixels, const Dataset& data) {
  const int channels = data.channels();
  for (int y = 0; y < data.height(); ++y, pixels += std::ptrdiff_t{data.width()} * channels) {
    for (int left = 0, right = data.width() - 1; left < right; ++left, --right) {
      std::swap_ranges(pixels + left * channels, pixels + (left + 1) * channels, pixels + right * channels);
    }
  }
}

}  // namespace

BatchLoader::BatchLoader(const Dataset& data, const LoaderOptions& options)
    : data_(data),
      options_(options),
      next_to_make_(options.start_step),
      next_to_give_(options.start_step),
      first_kept_(options.start_step) {
  if (options.batch < 1 || options.batch > data.size()) {
    throw Error(ExitCode::usage, fmt::format("a batch of {}, expected 1 to {}, the number of pictures; use --batch",
                                             options.batch, data.size()));
  }
  if (options.threads < 1 || options.prefetch < 1 || options.start_step < 0) {
    throw Error(ExitCode::usage, fmt::format("a loader with {} threads, {} batches ahead, from step {}, expected at "
                                             "least 1, 1 and 0",
                                             options.threads, options.prefetch, options.start_step));
  }
  ring_.resize(static_cast<std::size_t>(options.prefetch) + 1);  // and the one that the caller holds
  for (int i = 0; i < options.threads; ++i) workers_.emplace_back([this](std::stop_token stop) { work(stop); });
}

const Batch& BatchLoader::next() {
  std::unique_lock lock(mutex_);
  first_kept_ = next_to_give_;
  slot_free_.notify_all();
  Slot& slot = slot_of(next_to_give_);
  slot_ready_.wait(lock, [&] { return slot.ready_step == next_to_give_; });
  if (slot.error) std::rethrow_exception(slot.error);
  ++next_to_give_;
  return slot.batch;
}

void BatchLoader::work(std::stop_token stop) {
  Order order(data_.size(), options_.seed);
  const std::int64_t bytes = data_.picture_bytes();
  for (;;) {
    std::unique_lock lock(mutex_);
    slot_free_.wait(lock, stop, [&] { return next_to_make_ < first_kept_ + std::int64_t(ring_.size()); });
    if (stop.stop_requested()) return;
    const std::int64_t step = next_to_make_++;
    lock.unlock();

    Slot& slot = slot_of(step);
    std::exception_ptr error;
    try {
      slot.batch.pixels.resize(options_.batch * bytes);
      slot.batch.indices.resize(options_.batch);
      for (std::int64_t j = 0; j < options_.batch; ++j) {
        const std::int64_t sample = step * options_.batch + j;
        std::uint8_t* out = slot.batch.pixels.data() + j * bytes;
        slot.batch.indices[j] = order.index_of(sample);
        data_.read(slot.batch.indices[j], out);
        if (options_.mirror == MirrorMode::random && mirrored(options_.seed, sample)) mirror_rows(out, data_);
      }
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    slot.error = error;
    slot.ready_step = step;
    slot_ready_.notify_one();
  }
}

}  // namespace pastiche
