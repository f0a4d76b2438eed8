// Whether the tests would notice a mistake in what nvcc made of a kernel: its instructions are changed (ptx/kernel.h), one at a time,
// and something that runs the instruction in the checked form must fail.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "ptx/kernel.h"
#include "ptx_kernels/isa.h"
#include "pastiche/rungs.h"
#include "sample.h"
#include "simt/checked/checker.h"
#include "simt/symbols.h"
#include "test_ptx_rows.h"

namespace pastiche {

namespace simt_runtime {
Observer* checker();
}

namespace {

using ptx_runtime::Change;
using ptx_runtime::Kernel;
using ptx_runtime::Module;
using ptx_runtime::Place;

// Something that runs kernels, and knows what they must come to.
struct Trial {
  std::string name;
  bool whole_tile = false;
  std::function<bool()> passes;
  double seconds = 0;  // that it takes
};

enum class Verdict : std::uint8_t { survived, wrong_result, reported, launch_failed, crashed, endless };
constexpr int verdicts = 6;

struct Mutant {
  const Kernel* kernel;
  const Module* module;
  std::uint32_t place;
  std::vector<std::uint16_t> trials;  // that run the instruction
  Verdict verdict = Verdict::survived;

  const Place& at() const { return module->places[place]; }
};

// All: every row of the table, and every instruction that can be changed.
bool all_mutants() { return std::getenv("PASTICHE_ALL_MUTANTS") != nullptr; }

// Otherwise one in five of those that are many, or one in twenty, for each commit others.
bool takes(Change change, std::size_t number) {
  if (all_mutants() || ptx_runtime::is_rare(change)) return true;
  return sampling() ? in_sample("PtxMutants", number, 20) : number % 5 == 0;
}

std::vector<OpCase> rows_of_trials() {
  std::vector<OpCase> rows = tile_rows();
  std::map<std::string, int> of_op;
  for (const auto& source : {op_cases(), further_rows()}) {
    for (const OpCase& row : source) {
      std::int64_t elements = 0;
      for (const Input& input : row.inputs) elements += input.shape.elements();
      if (elements <= 12000 && (all_mutants() || ++of_op[row.op] % 5 == 1)) rows.push_back(row);
    }
  }
  return rows;
}

std::vector<Trial> trials_of_rows(const std::string& device, const std::vector<OpCase>& rows) {
  std::vector<Trial> trials;
  for (const OpCase& row : rows) {
    const bool in_bf16 = row.bf16 && rungs[kernels_of(device).conv2d.value_or(top_rung)].bf16;
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Fill fill : {Fill::integers, Fill::reals}) {
        if ((dtype == DType::bf16 && !in_bf16) || (fill == Fill::integers && !row.exact(dtype))) continue;
        const auto expected = std::make_shared<const Expected>(expected_of(row, dtype, fill));
        trials.push_back({row.name(), row.detail == "tile", [=, &row] { return difference(run_row(device, row, dtype, fill), *expected).empty(); }});
      }
      if (row.inputs.empty() || row.inputs[0].shape.elements() > 3000 || (dtype == DType::bf16 && !in_bf16)) continue;
      const auto expected = std::make_shared<const Results>(run_row("reference", row, dtype, Fill::reals, 5));
      trials.push_back({row.name(), row.detail == "tile", [=, &row] { return lost_nans(run_row(device, row, dtype, Fill::reals, 5), *expected) == 0; }});
    }
  }
  return trials;
}

// What test_ptx_isa.cpp proves of them is what they give unchanged.
std::vector<Trial> trials_of_isa_kernels() {
  std::vector<Trial> trials;
  for (const std::string name : {"copies", "shared", "votes", "counts", "mma bf16 16", "mma bf16 8", "mma f16 16", "mma f16 8", "mma f16 sums 16",
                                 "mma tf32 8", "mma tf32 4"}) {
    const bool floats = name.starts_with("mma");
    std::vector<std::uint32_t> x(384);
    for (std::uint32_t i = 0; i < x.size(); ++i) x[i] = floats ? std::bit_cast<std::uint32_t>(static_cast<float>(i * 7 % 17) - 8) : i % 3 * (i * 2654435761u);
    const auto run = [=] { return ptx_isa::run(name, x, 288); };
    trials.push_back({name, false, [=, unchanged = run()] { return run() == unchanged; }});
  }
  return trials;
}

std::size_t counters_of(const Module& module) {
  std::size_t count = 0;
  for (const Place& place : module.places) count = std::max<std::size_t>(count, place.counter + 1);
  return count;
}

std::set<const Module*> all_modules() {
  std::set<const Module*> all;
  for (const Kernel* kernel : ptx_runtime::checked_kernels()) all.insert(kernel->module);
  return all;
}

// The instructions that can be changed, each with the trials that run it.
std::vector<Mutant> mutants_of(std::vector<Trial>& trials) {
  std::vector<Mutant> mutants;
  for (const Kernel* kernel : ptx_runtime::checked_kernels()) {
    const std::string name = simt_runtime::demangle(kernel->name);
    if (name.find("pastiche::ptx::") == name.npos && name.find("pastiche::ptx_isa::") == name.npos) continue;
    for (std::uint32_t place = kernel->first_place; place < kernel->first_place + kernel->places; ++place) {
      const Change change = kernel->module->places[place].change;
      if (change != Change::none && ptx_runtime::can_change(place, change)) mutants.push_back({kernel, kernel->module, place, {}});
    }
  }
  const std::set<const Module*> modules = all_modules();
  for (std::size_t i = 0; i < trials.size(); ++i) {
    for (const Module* module : modules) std::fill_n(module->counters, counters_of(*module), 0);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(trials[i].passes()) << trials[i].name << " fails where nothing is changed";
    trials[i].seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (Mutant& m : mutants) {
      if (m.module->counters[m.at().counter] > 0) m.trials.push_back(static_cast<std::uint16_t>(i));
    }
  }
  for (Mutant& m : mutants) {
    std::sort(m.trials.begin(), m.trials.end(), [&](auto a, auto b) { return trials[a].seconds < trials[b].seconds; });
    // The four quickest, then those of whole tiles, then others as it comes.
    if (m.trials.size() <= 4) continue;
    std::shuffle(m.trials.begin() + 4, m.trials.end(), std::minstd_rand(m.place));
    std::stable_partition(m.trials.begin() + 4, m.trials.end(), [&](auto i) { return trials[i].whole_tile; });
  }
  return mutants;
}

// In a process of its own, which may crash, and is ended when it takes ten times as long as it should.
Verdict verdict_on(const Mutant& m, const std::vector<Trial>& trials) {
  const pid_t child = fork();
  if (child == 0) {
    *m.module->changed = m.place;
    const std::size_t most = all_mutants() ? 24 : 12;
    for (std::size_t i = 0; i < std::min(m.trials.size(), most); ++i) {
      const Trial& trial = trials[m.trials[i]];
      const double limit = 10 * trial.seconds + 0.2;
      const itimerval timer{{}, {static_cast<time_t>(limit), static_cast<suseconds_t>((limit - std::floor(limit)) * 1e6)}};
      setitimer(ITIMER_VIRTUAL, &timer, nullptr);
      Verdict verdict = Verdict::survived;
      try {
        if (!trial.passes()) verdict = Verdict::wrong_result;
      } catch (const std::exception&) {
        verdict = Verdict::launch_failed;
      }
      if (verdict == Verdict::survived && simt_runtime::report_count() > 0) verdict = Verdict::reported;
      if (verdict != Verdict::survived) _exit(static_cast<int>(verdict));
    }
    _exit(static_cast<int>(Verdict::survived));
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGVTALRM ? Verdict::endless : Verdict::crashed;
  return static_cast<Verdict>(WEXITSTATUS(status));
}

TEST(PtxMutants, TestsNoticeThem) {
  if (!has_turn(1, 2)) GTEST_SKIP() << "its turn, and that of the coverage, are at other commits";
  ptx_runtime::use_checked_form(simt_runtime::checker());
  simt_runtime::clear_reports();
  const std::vector<OpCase> rows = rows_of_trials();
  std::vector<Trial> trials = trials_of_rows("ptx", rows);
  const std::vector<OpCase> tiles = tile_rows();
  for (int rung = 0; rung < double_buffer_rung; ++rung) {
    for (Trial& trial : trials_of_rows(fmt::format("ptx conv2d={},gemm={}", rung, rung), tiles)) trials.push_back(std::move(trial));
  }
  for (Trial& trial : trials_of_isa_kernels()) trials.push_back(std::move(trial));
  std::vector<Mutant> mutants = mutants_of(trials);
  EXPECT_EQ(simt_runtime::report_count(), 0);

  std::map<Change, std::array<int, verdicts>> table;
  std::map<Change, int> found;
  int run = 0, survived = 0;
  std::size_t number = 0;
  std::ofstream survivors(PASTICHE_PTX_TABLES "/ptx_survivors.tsv");
  for (Mutant& m : mutants) {
    ++found[m.at().change];
    if (m.trials.empty()) continue;
    if (!takes(m.at().change, number++)) continue;
    m.verdict = verdict_on(m, trials);
    ++run;
    ++table[m.at().change][static_cast<std::size_t>(m.verdict)];
    if (m.verdict != Verdict::survived) continue;
    ++survived;
    survivors << fmt::format("{}\t{}\t{}:{}\t{}\n", change_name(m.at().change), simt_runtime::demangle(m.kernel->name), m.module->name, m.at().line,
                             source_line(*m.module, m.at()));
  }
  std::ofstream out(PASTICHE_PTX_TABLES "/ptx_mutants.tsv");
  out << "change\tinstructions\trun\twrong result\treported\tlaunch failed\tcrashed\tendless\tsurvived\n";
  for (const auto& [change, n] : table) {
    const int all = n[0] + n[1] + n[2] + n[3] + n[4] + n[5];
    out << fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", change_name(change), found[change], all, n[1], n[2], n[3], n[4], n[5], n[0]);
  }
  EXPECT_GT(run, 100);
  const double limit = run / 20.0;  // a sample may have some more by chance: three standard deviations
  EXPECT_LE(survived, sampling() ? limit + 3 * std::sqrt(limit) : limit) << "of " << run << "; " PASTICHE_PTX_TABLES "/ptx_survivors.tsv has them";
}

}  // namespace
}  // namespace pastiche
