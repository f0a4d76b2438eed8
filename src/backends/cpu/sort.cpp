#include <algorithm>
#include <array>

#include "backends/axis_view.h"
#include "backends/cpu/cpu.h"
#include "backends/cpu/vectorise.h"

namespace pastiche {

using namespace cpu;

namespace {

// Lines along one axis, in blocks of neighbours: an item of the work copies a block's lines to memory of its own, where each is in one
// piece, and back. The width of a block follows from the threads, and changes no bit.
struct Lines : AxisView {
  Lines(const Shape& shape, int axis, int threads) : AxisView(shape, axis) {
    constexpr std::int64_t widest = 8;  // f32 of half a cache line
    width = std::clamp<std::int64_t>(outer * inner / threads, 1, std::min(widest, std::max<std::int64_t>(inner, 1)));
    across = (inner + width - 1) / width;
  }
  std::int64_t items() const { return extent == 0 ? 0 : outer * across; }
  std::int64_t first(std::int64_t item) const { return item / across * extent * inner + item % across * width; }
  std::int64_t lines(std::int64_t item) const { return std::min(width, inner - item % across * width); }

  // f(where its line begins in the item's own memory, its index in the line, where it is in the tensor) for all elements of an item.
  template <class F> void for_each(std::int64_t item, F f) const {
    constexpr std::int64_t rows = 32;  // whose cache lines are still there for the next line
    const std::int64_t begin = first(item), count = lines(item);
    for (std::int64_t i = 0; i < extent; i += rows) {
      for (std::int64_t line = 0; line < count; ++line) {
        for (std::int64_t j = i; j < std::min(i + rows, extent); ++j) f(line * extent, j, begin + j * inner + line);
      }
    }
  }

  std::int64_t width, across;
};

// Unsigned integers in the order of the numbers (totalOrder of IEEE 754), and back.
std::uint32_t key_of(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  return bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
}
float value_of(std::uint32_t key) { return std::bit_cast<float>(key ^ (key >> 31 != 0 ? 0x80000000u : 0xffffffffu)); }

// A key, and below it the index of its number: one integer, so that one store moves both.
std::uint64_t pair_of(std::uint32_t key, std::int64_t index) { return std::uint64_t{key} << 32 | static_cast<std::uint32_t>(index); }

// Least significant digit first. Both have n pairs; returns the one that ends up sorted.
std::uint64_t* radix_sort(std::uint64_t* pairs, std::uint64_t* other, std::int64_t n) {
  constexpr int bits = 11, digits = 3;
  constexpr auto digit = [](std::uint64_t pair, int d) { return pair >> (32 + bits * d) & ((1u << bits) - 1); };
  std::array<std::array<std::uint32_t, 1u << bits>, digits> counts{};
  for (std::int64_t i = 0; i < n; ++i) {
    for (int d = 0; d < digits; ++d) ++counts[static_cast<std::size_t>(d)][digit(pairs[i], d)];
  }
  for (int d = 0; d < digits; ++d) {
    auto& count = counts[static_cast<std::size_t>(d)];
    if (count[digit(pairs[0], d)] == n) continue;  // one digit has them all, as the lowest of bf16 has
    std::uint32_t next = 0;
    for (std::uint32_t& c : count) next += std::exchange(c, next);
    for (std::int64_t i = 0; i < n; ++i) other[count[digit(pairs[i], d)]++] = pairs[i];
    std::swap(pairs, other);
  }
  return pairs;
}

}  // namespace

void CpuBackend::sort(Tensor& y, Tensor& order, const Tensor& x, int axis) {
  const Lines lines(x.shape(), axis, threads_);
  const std::int64_t n = lines.extent, block = lines.width * n;
  with_float(x, [&]<class T>(T) {
    constexpr std::int64_t passes = 8;  // over an element, about
    // Taken here: what throws in a parallel region ends the program.
    Scratch<std::uint32_t> all_keys(*this, lines.items() * block);
    Scratch<std::int32_t> all_indices(*this, lines.items() * block);
    Scratch<std::uint64_t> all_pairs(*this, 2 * lines.items() * n);
    for_items(threads_, lines.items(), passes * block,
              [=, &lines, keys_of_all = all_keys.get(), indices_of_all = all_indices.get(), pairs_of_all = all_pairs.get(), from = x.data<T>(),
               to = y.mutable_data<T>(), to_order = order.mutable_data<std::int32_t>()](std::int64_t item) {
                std::uint32_t* const keys = keys_of_all + item * block;
                std::int32_t* const indices = indices_of_all + item * block;
                std::uint64_t* const pairs = pairs_of_all + 2 * item * n;
                lines.for_each(item, [&](std::int64_t line, std::int64_t i, std::int64_t there) { keys[line + i] = key_of(load(from, there)); });
                for (std::int64_t line = 0; line < lines.lines(item); ++line) {
                  std::uint32_t* const key = keys + line * n;
                  for (std::int64_t i = 0; i < n; ++i) pairs[i] = pair_of(key[i], i);
                  const std::uint64_t* const sorted = radix_sort(pairs, pairs + n, n);
                  for (std::int64_t i = 0; i < n; ++i) {
                    key[i] = static_cast<std::uint32_t>(sorted[i] >> 32);
                    indices[line * n + i] = static_cast<std::int32_t>(sorted[i]);
                  }
                }
                lines.for_each(item, [&](std::int64_t line, std::int64_t i, std::int64_t there) {
                  store(to, there, value_of(keys[line + i]));
                  to_order[there] = indices[line + i];
                });
              });
  });
}

void CpuBackend::gather(Tensor& y, const Tensor& x, const Tensor& order, int axis) {
  const Lines lines(x.shape(), axis, threads_);
  const std::int64_t block = lines.width * lines.extent;
  with_float(x, [&]<class T>(T) {
    Scratch<T> copies(*this, lines.items() * block);
    for_items(threads_, lines.items(), 2 * block,
              [=, &lines, copies = copies.get(), from = x.data<T>(), at = order.data<std::int32_t>(), to = y.mutable_data<T>()](std::int64_t item) {
                T* const copy = copies + item * block;
                lines.for_each(item, [&](std::int64_t line, std::int64_t i, std::int64_t there) { copy[line + i] = from[there]; });
                lines.for_each(item, [&](std::int64_t line, std::int64_t, std::int64_t there) { to[there] = copy[line + at[there]]; });
              });
  });
}

void CpuBackend::scatter(Tensor& y, const Tensor& x, const Tensor& order, int axis) {
  const Lines lines(x.shape(), axis, threads_);
  const std::int64_t block = lines.width * lines.extent;
  with_float(x, [&]<class T>(T) {
    Scratch<T> copies(*this, lines.items() * block);
    for_items(threads_, lines.items(), 2 * block,
              [=, &lines, copies = copies.get(), from = x.data<T>(), at = order.data<std::int32_t>(), to = y.mutable_data<T>()](std::int64_t item) {
                T* const copy = copies + item * block;
                lines.for_each(item, [&](std::int64_t line, std::int64_t, std::int64_t there) { copy[line + at[there]] = from[there]; });
                lines.for_each(item, [&](std::int64_t line, std::int64_t i, std::int64_t there) { to[there] = copy[line + i]; });
              });
  });
}

}  // namespace pastiche
