#pragma once
// One block of a kernel on one core: its threads as fibers, in the order of their index, each until it must wait for others.
#include <array>
#include <string>

#include "simt/fiber.h"
#include "simt/launch.h"

namespace pastiche::simt_runtime {

constexpr std::size_t max_shared_bytes = 227 << 10;

class Block {
 public:
  Block();
  ~Block();

  // Empty, or why it failed.
  std::string run(const Launch&, uint3 index);

  // Called from the fibers.
  int wait_for_block(int predicate, const void* site);
  std::uint64_t wait_for_warp(Wait, unsigned mask, std::uint64_t value, int from, const void* site);
  const void* show_lanes(const void* mine, std::size_t bytes, const void* site);
  void begin_copy(void* to, const void* from, unsigned bytes, unsigned bytes_of_source, const void* site);
  void close_copies() { ++current_->groups; }
  void finish_copies(unsigned others);
  [[noreturn]] void stop();  // gives up the block
  [[noreturn]] void give_up(const char* why, const void* site);
  int lane() const { return static_cast<int>(current_->number % 32); }
  unsigned present_lanes() const { return warps_[current_->number / 32].present; }
  void* shared() const { return shared_; }
  Observer* observer() const { return launch_->observer; }
  unsigned thread() const { return current_->number; }
  const Stack& stack() const { return *current_->stack; }

 private:
  struct Copy {
    void* to;
    const void* from;
    unsigned bytes, bytes_of_source, group;
    const void* site;
  };
  struct Fiber {
    Context context;
    Stack* stack;
    Fiber* next;
    uint3 index;
    unsigned number;
    Wait wait;
    bool ended;
    const void* site;  // of its last barrier or collective
    unsigned turn;     // of the two that show_lanes takes
    unsigned groups;   // of copies that were closed
    std::vector<Copy> copies;  // that go on
  };
  struct Warp {
    unsigned present = 0;  // lanes that exist and have not ended
    unsigned waiting = 0;  // at a collective
    struct Lane {
      Wait kind;
      unsigned mask;
      int from;
      std::uint64_t value, result;
    };
    std::array<Lane, 32> lane;
    alignas(16) std::array<std::array<std::byte, 32 * 32>, 2> shown;
  };
  // What a fiber found wrong; the text is made later, on a larger stack.
  struct Mistake {
    const char* what = nullptr;
    unsigned mask = 0;
    const Fiber* fiber = nullptr;
  };
  class Queue {
   public:
    bool empty() const { return first_ == nullptr; }
    void push(Fiber& fiber);
    Fiber& pop();
    void take(Queue& other);

   private:
    Fiber *first_ = nullptr, *last_ = nullptr;
  };

  void run_threads();
  void start_flow(Context& from);
  void go_on(Context& from);
  void suspend(Wait);
  [[noreturn]] void mistake(const char* what, unsigned mask);  // gives up the block
  std::string explain(uint3 block) const;

  const Launch* launch_ = nullptr;
  std::byte* shared_;
  std::vector<std::unique_ptr<Stack>> stacks_;
  std::vector<Stack*> free_stacks_;
  Stack* starting_ = nullptr;  // what the next flow runs on
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Context main_, fresh_, abandoned_;
  Fiber* current_ = nullptr;
  Queue ready_, at_barrier_;
  uint3 next_index_{};
  unsigned threads_ = 0, started_ = 0, ended_ = 0, arrived_ = 0;
  int predicates_ = 0, predicates_of_last_ = 0;
  const void *site_ = nullptr, *other_site_ = nullptr;
  bool stopped_ = false;
  Mistake mistake_;
};

}  // namespace pastiche::simt_runtime
