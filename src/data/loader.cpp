#include <algorithm>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "pastiche/data.h"
#include "pastiche/error.h"
#include "pastiche/philox.h"
#include "pastiche/streams.h"

namespace pastiche {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Where so many draws find no picture to read, there is as good as none.
constexpr int most_draws = 64;
// Files that are gone for good must not cost their wait one by one.
constexpr std::chrono::minutes between_waits{1};

// One permutation of the data an epoch (Fisher and Yates), drawn anew from seed and epoch, so none is ever saved.
class Order {
 public:
  Order(std::int64_t size, RandomKey key) : key_(key), indices_(size) {}

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

void mirror_rows(std::uint8_t* pixels, int height, int width, int channels) {
  for (int y = 0; y < height; ++y, pixels += std::ptrdiff_t{width} * channels) {
    for (int left = 0, right = width - 1; left < right; ++left, --right) {
      std::swap_ranges(pixels + left * channels, pixels + (left + 1) * channels, pixels + right * channels);
    }
  }
}

}  // namespace

// Pictures of `data` as the options change them.
class BatchLoader::Sampler {
 public:
  Sampler(const Dataset& data, const LoaderOptions& options)
      : data_(data),
        options_(options),
        height_(options.crop_height != 0 ? options.crop_height : data.height()),
        width_(options.crop_width != 0 ? options.crop_width : data.width()),
        whole_(data.picture_bytes()) {}

  std::int64_t picture_bytes() const { return std::int64_t{height_} * width_ * data_.channels(); }

  // Writes picture `index` as sample number `sample` shows it.
  void read(std::int64_t index, std::int64_t sample, std::uint8_t* out) {
    if (height_ == data_.height() && width_ == data_.width()) {
      data_.read(index, out);
    } else {
      data_.read(index, whole_.data());
      const Philox4 random = draw(streams::crop, sample);
      const std::int64_t top = random.word[0] % (data_.height() - height_ + 1);
      const std::int64_t left = random.word[1] % (data_.width() - width_ + 1);
      const std::int64_t row_bytes = std::int64_t{width_} * data_.channels();
      for (std::int64_t y = 0; y < height_; ++y) {
        std::copy_n(whole_.data() + ((top + y) * data_.width() + left) * data_.channels(), row_bytes,
                    out + y * row_bytes);
      }
    }
    const bool mirrored = options_.mirror == MirrorMode::random && draw(streams::mirror, sample).word[0] & 1;
    if (mirrored) mirror_rows(out, height_, width_, data_.channels());
  }

 private:
  Philox4 draw(std::uint32_t stream, std::int64_t sample) const {
    return philox4x32({options_.seed, stream}, options_.domain, sample);
  }

  const Dataset& data_;
  const LoaderOptions& options_;
  const int height_;
  const int width_;
  std::vector<std::uint8_t> whole_;  // [H,W,C], before the crop
};

BatchLoader::BatchLoader(const Dataset& data, const LoaderOptions& options) : BatchLoader(std::vector{&data}, options) {}

BatchLoader::BatchLoader(const Dataset& data, const Dataset& partner, const LoaderOptions& options)
    : BatchLoader(std::vector{&data, &partner}, options) {}

BatchLoader::BatchLoader(std::vector<const Dataset*> sets, const LoaderOptions& options)
    : sets_(std::move(sets)),
      options_(options),
      next_to_make_(options.start_step),
      next_to_give_(options.start_step),
      first_kept_(options.start_step) {
  const Dataset& data = *sets_[0];
  if (options.batch < 1 || options.batch > data.size()) {
    throw Error(ExitCode::usage, fmt::format("a batch of {}, expected 1 to {}, the number of pictures; use --batch",
                                             options.batch, data.size()));
  }
  if (options.threads < 1 || options.prefetch < 1 || options.start_step < 0) {
    throw Error(ExitCode::usage, fmt::format("a loader with {} threads, {} batches ahead, from step {}, expected at "
                                             "least 1, 1 and 0",
                                             options.threads, options.prefetch, options.start_step));
  }
  const auto fits = [](int crop, int side) { return crop >= 0 && crop <= side; };
  if (!fits(options.crop_height, data.height()) || !fits(options.crop_width, data.width())) {
    throw Error(ExitCode::usage, fmt::format("a crop of {}x{}, expected at most {}x{}, the size of the pictures",
                                             options.crop_width, options.crop_height, data.width(), data.height()));
  }
  ring_.resize(static_cast<std::size_t>(options.prefetch) + 1);  // and the one that the caller holds
  for (int i = 0; i < options.threads; ++i) workers_.emplace_back([this](std::stop_token stop) { work(stop); });
}

const std::vector<Batch>& BatchLoader::next_of_all() {
  std::unique_lock lock(mutex_);
  first_kept_ = next_to_give_;
  slot_free_.notify_all();
  Slot& slot = slot_of(next_to_give_);
  slot_ready_.wait(lock, [&] { return slot.ready_step == next_to_give_; });
  if (slot.error) std::rethrow_exception(slot.error);
  ++next_to_give_;
  return slot.batches;
}

std::vector<SkippedFile> BatchLoader::take_replaced() {
  if (!has_news_) return {};
  const std::lock_guard lock(mutex_);
  has_news_ = false;
  return std::exchange(not_told_, {});
}

void BatchLoader::work(std::stop_token stop) {
  Order order(sets_[0]->size(), {options_.seed, streams::order + options_.domain});
  std::vector<Sampler> samplers;
  for (const Dataset* set : sets_) samplers.emplace_back(*set, options_);
  std::vector<std::uint8_t*> out(sets_.size());
  for (;;) {
    std::unique_lock lock(mutex_);
    slot_free_.wait(lock, stop, [&] { return next_to_make_ < first_kept_ + std::int64_t(ring_.size()); });
    if (stop.stop_requested()) return;
    const std::int64_t step = next_to_make_++;
    lock.unlock();

    Slot& slot = slot_of(step);
    std::exception_ptr error;
    try {
      slot.batches.resize(sets_.size());
      for (std::size_t s = 0; s < sets_.size(); ++s) {
        slot.batches[s].pixels.resize(options_.batch * samplers[s].picture_bytes());
        slot.batches[s].indices.resize(options_.batch);
      }
      for (std::int64_t j = 0; j < options_.batch; ++j) {
        const std::int64_t sample = step * options_.batch + j;
        for (std::size_t s = 0; s < sets_.size(); ++s) out[s] = slot.batches[s].pixels.data() + j * samplers[s].picture_bytes();
        const std::int64_t index = read(order.index_of(sample), sample, samplers, out, stop);
        for (Batch& batch : slot.batches) batch.indices[j] = index;
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

void BatchLoader::pause(milliseconds time, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  slot_free_.wait_for(lock, stop, time, [] { return false; });
  if (stop.stop_requested()) throw Error(ExitCode::failed, "the loader was stopped");  // nobody sees it
}

// Reads picture `wanted` of every set as sample number `sample` shows it, or where one can't be read another index, and
// returns which one it was.
std::int64_t BatchLoader::read(std::int64_t wanted, std::int64_t sample, std::vector<Sampler>& samplers,
                               const std::vector<std::uint8_t*>& out, const std::stop_token& stop) {
  const auto begin = Clock::now();
  for (milliseconds wait{50};; wait = std::min(2 * wait, milliseconds{1000})) {
    std::vector<SkippedFile> failures;
    bool away = false;  // some may be there again
    for (int draw = 0; draw < most_draws; ++draw) {
      std::int64_t index = wanted;
      if (draw > 0) {
        const Philox4 random = philox4x32({options_.seed, streams::replacement + options_.domain}, draw, sample);
        const std::uint64_t number = std::uint64_t{random.word[0]} << 32 | random.word[1];
        index = static_cast<std::int64_t>(number % static_cast<std::uint64_t>(sets_[0]->size()));
      }
      if (read_one(index, sample, samplers, out, stop, failures.emplace_back(), away)) {
        failures.pop_back();
        if (failures.empty()) return index;
        const std::lock_guard lock(mutex_);
        for (SkippedFile& failure : failures) {
          if (replaced_.insert(failure.file).second) not_told_.push_back(std::move(failure));
        }
        has_news_ = !not_told_.empty();
        return index;
      }
    }
    const double waited = std::chrono::duration<double>(Clock::now() - begin).count();
    if (!away || waited >= options_.patience_seconds) {
      std::set<std::string> files;
      for (const SkippedFile& failure : failures) files.insert(failure.file);
      throw Error(ExitCode::bad_data,
                  fmt::format("the data can't be read any more: {} of its {} pictures were tried for {:.0f} s, and none can be "
                              "used; the last one: {}; bring the files back", files.size(), sets_[0]->size(), waited, failures.back().reason));
    }
    pause(wait, stop);
  }
}

// False where it can't be read in one of the sets. A file that may only be away for a moment is waited for.
bool BatchLoader::read_one(std::int64_t index, std::int64_t sample, std::vector<Sampler>& samplers,
                           const std::vector<std::uint8_t*>& out, const std::stop_token& stop, SkippedFile& failure, bool& away) {
  const auto begin = Clock::now();
  const std::chrono::duration<double> patience(0.4 * options_.patience_seconds);
  std::size_t s = 0;
  for (milliseconds wait{50};; wait *= 2) {
    try {
      for (s = 0; s < sets_.size(); ++s) samplers[s].read(index, sample, out[s]);
      return true;
    } catch (const UnreadableFile& error) {
      const auto now = Clock::now();
      if (now >= impatient_until_.load() && now - begin < patience) {
        pause(wait, stop);
        continue;
      }
      if (now - begin >= patience) impatient_until_ = now + between_waits;
      away = true;
      failure = {sets_[s]->picture_name(index), error.what()};
    } catch (const Error& error) {
      if (error.code() != ExitCode::bad_data) throw;
      failure = {sets_[s]->picture_name(index), error.what()};
    }
    if (options_.strict) throw Error(ExitCode::bad_data, failure.reason + "; --strict lets no picture be replaced by another");
    return false;
  }
}

}  // namespace pastiche
