// A whole training: data, loader, run folder, snapshots, resume. What makes the numbers is in trainer.cpp.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>

#include "io/json.h"
#include "methods/method.h"
#include "pastiche/files.h"
#include "pastiche/report.h"
#include "pastiche/train.h"
#include "train/checkpoints.h"
#include "train/signals.h"
#include "train/plan.h"

namespace pastiche {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;  // stands still while the machine is suspended
using nlohmann::ordered_json;

// Options that leave every bit of the result as it is, or that the fingerprints of data and backend stand for.
const std::set<std::string_view> options_without_bits{"data", "style", "out", "name", "strict", "steps", "kimg", "epochs", "time", "snap", "keep",
                                                      "grid", "log-format", "device", "kernel", "threads"};

Error as_error(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return Error(ExitCode::out_of_memory, "out of memory");
  } catch (const std::system_error& e) {
    return Error(e.code() == std::errc::resource_unavailable_try_again ? ExitCode::out_of_memory : ExitCode::failed, e.what());
  } catch (const std::exception& e) {
    return Error(ExitCode::failed, e.what());
  }
}

// Everything that one training holds, in the order of its making. Nothing is written before train().
class Run {
 public:
  // `resumed` is a run folder whose rest this is, or empty.
  Run(TrainConfig config, const RunEvents& events, const fs::path& resumed, bool other_bits)
      : config_(std::move(config)), method_(find_method(config_.model)), events_(events), folder_(resumed) {
    if (resumed.empty()) {
      position_.threads = threads_of(config_);
    } else {
      lock_ = std::make_unique<RunLock>(folder_);
      open_checkpoint(other_bits);
    }
    open_data();
    device_ = choose_device(config_.device);
    backend_ = make_backend(device_.name, position_.threads, kernel_choice(config_));
    require_memory(config_, *backend_);
    make_trainer();
    snap_ = parse_interval(config_.snap);
    limit_seconds_ = config_.time.empty() ? 0 : parse_duration(config_.time);
    limit_steps_ = steps_limit(config_, data_->pictures());
    clock_.start(position_.seconds);
    if (checkpoint_) restore(other_bits);
    position_.backend = backend_->fingerprint();
    position_.data_fingerprint = data_->fingerprint();
    position_.config = ordered_json::parse(config_to_json(config_));
    trainer_->set_total_steps(total_steps());
  }

  RunResult train() {
    const CatchSignals signals;
    if (!lock_) {
      config_to_toml(config_);  // throws where it holds what no file could
      folder_ = create_run_folder(config_.out, config_.name.empty() ? config_.model + "-" + data_->name() : config_.name);
      lock_ = std::make_unique<RunLock>(folder_);
    }
    events_.started(folder_, fmt::format("{} {}", config_.model, data_->name()));
    if (!device_.why.empty()) events_.note(device_.why);
    for (const std::string& note : notes_) events_.note(note);
    for (const std::string& note : data_->notes()) events_.note(note);
    events_.note(fmt::format("checkpoints: {} each, {}, of which the newest {} are kept (--snap, --keep)", bytes_text(trainer_->saved_bytes()),
                             snap_.steps > 0 ? fmt::format("every {} steps", snap_.steps) : "every " + config_.snap, config_.keep));
    try {
      begin_folder();
      tell_news();
      run_steps();
      const int signal = CatchSignals::caught();
      snapshot(done() ? "finished" : "stopped");
      return {folder_, position_.step, done() ? 0 : signal};
    } catch (...) {
      fail(as_error(std::current_exception()));
    }
  }

 private:
  // ---- before the first step -----------------------------------------------------------------------------------------

  void open_checkpoint(bool other_bits) {
    checkpoint_ = read_newest_checkpoint(folder_);
    position_ = checkpoint_->position;
    last_checkpoint_step_ = position_.step;
    const ordered_json settings = ordered_json::parse(config_to_json(config_));
    for (const auto& [name, now] : settings.items()) {
      const auto then = position_.config.find(name);
      if (name == "model" && then != position_.config.end() && *then != now) {
        throw Error(ExitCode::usage, fmt::format("this run is of {}, and {} says {}: put it back as it was", then->dump(),
                                                 quote((folder_ / "config.toml").string()), now.dump()));
      }
      const bool differs = !options_without_bits.contains(name) && then != position_.config.end() && *then != now;
      if (differs) changes_.push_back(fmt::format("--{} is {} and was {}", name, now.dump(), then->dump()));
    }
    if (config_.threads > 0 && config_.threads != position_.threads) {
      changes_.push_back(fmt::format("--threads is {} and was {}", config_.threads, position_.threads));
    }
    if (!changes_.empty() && !other_bits) {
      throw Error(ExitCode::usage, fmt::format("this run was trained with other settings: {}; leave out these flags, or put {} back as it was, or "
                                               "go on with --other-bits, which says that the result may differ", fmt::join(changes_, ", "),
                                               quote((folder_ / "config.toml").string())));
    }
    if (other_bits) position_.threads = threads_of(config_);
    const bool other_end = std::ranges::any_of(std::initializer_list<const char*>{"steps", "kimg", "epochs", "time"}, [&](const char* name) {
      const auto then = position_.config.find(name);
      return then != position_.config.end() && *then != settings.at(name);
    });
    if (!other_end) return;
    position_.planned_steps = 0;  // which was for the old end
    if (config_.decay_from < 1) {
      notes_.push_back("learning rates now fall towards the new end, so the result is not that of a run which was to end there from the start");
    }
  }

  void open_data() {
    try {
      data_ = method_.open_data(config_);
    } catch (const Error& e) {
      if (!checkpoint_ || e.code() != ExitCode::bad_data) throw;
      throw Error(e.code(), fmt::format("{}; where the pictures are elsewhere now, add --data FOLDER", e.what()));
    }
  }

  // A run folder may come from others: its networks are no larger than what its checkpoint holds.
  void make_trainer() {
    std::optional<ParameterLimit> limit;
    if (checkpoint_) {
      std::size_t bytes = 0;
      for (const SafeTensor& tensor : checkpoint_->file.tensors) bytes += tensor.bytes.size();
      limit.emplace(static_cast<std::int64_t>(bytes / sizeof(float)));
    }
    fitting([&] { trainer_ = method_.make_trainer(*backend_, config_, activation_dtype(config_)); });
  }

  template <class Action>
  void fitting(const Action& action) {
    try {
      action();
    } catch (const Error& e) {
      if (e.code() != ExitCode::bad_file) throw;
      throw Error(e.code(), fmt::format("{}; put {} back as it was, or start a new run", e.what(), quote((folder_ / "config.toml").string())));
    }
  }

  void restore(bool other_bits) {
    if (position_.data_fingerprint != data_->fingerprint()) {
      changes_.push_back("the data has another fingerprint");
      if (!other_bits) {
        throw Error(ExitCode::bad_data, fmt::format("the data in {} is not what this run was trained on (its fingerprint differs): put it back, give the "
                                                    "folder that holds it now with --data, or go on with these pictures and --other-bits",
                                                    quote(config_.data)));
      }
    }
    if (position_.backend != backend_->fingerprint()) {
      changes_.push_back(fmt::format("computed by {} and was by {}", quote(backend_->fingerprint()), quote(position_.backend)));
      if (!other_bits) {
        throw Error(ExitCode::device, fmt::format("this run was computed by {}, here it would be {}, and the result would differ: "
                                                  "resume it where it began, or go on with --other-bits, which says so",
                                                  quote(position_.backend), quote(backend_->fingerprint())));
      }
    }
    refuse_damaged_end();
    fitting([&] { trainer_->load(checkpoint_->file, position_.step); });
    checkpoint_.reset();  // its memory is needed
    if (!changes_.empty()) position_.other_bits.push_back({{"step", position_.step}, {"changes", changes_}});
    if (done()) {
      notes_.push_back(fmt::format("this run is finished, at step {} after {:.0f} s; --steps, --kimg, --epochs or --time with more than it has goes on "
                                   "with it", position_.step, position_.seconds));
    }
  }

  // A resume goes on from the newest checkpoint that is whole. Of a finished run there is nothing to go on with.
  void refuse_damaged_end() {
    for (const auto& [step, path, why, for_certain] : checkpoint_->passed_over) {
      if (limit_steps_ > 0 && step >= limit_steps_) {
        throw Error(ExitCode::bad_file, fmt::format("this run is finished, and its checkpoint {} is damaged: {}; to train again from step {}, delete it "
                                                    "and resume", quote(path.string()), why, position_.step));
      }
      notes_.push_back(fmt::format("checkpoint {} is damaged: {}; going on from step {}", quote(path.string()), why, position_.step));
      std::error_code ignored;  // else it is passed over once more
      if (for_certain) fs::rename(path, path.string() + ".damaged", ignored);
    }
  }

  void begin_folder() {
    started_at_ = std::time(nullptr);
    make_folder(folder_ / "ckpt");
    make_folder(folder_ / "samples");
    clock_.start(position_.seconds);
    write_run_json("running", "");
    if (!done()) write_file_atomically(folder_ / "config.toml", config_to_toml(config_));
    if (last_checkpoint_step_ < 0) {
      write_file_atomically(folder_ / "reals.png", encode_png(data_->reals()));
      write_file_atomically(folder_ / "samples" / (step_name(0) + ".png"), encode_png(trainer_->samples(data_->examples())));
    } else {
      for (const char* name : {"stats.jsonl", "holdout.jsonl"}) truncate_after_step(folder_ / name, position_.step);
      if (!changes_.empty() && !done()) save_checkpoint();
    }
    stats_.emplace(folder_ / "stats.jsonl");
    report_.emplace(folder_);
    last_snap_seconds_ = position_.seconds;
  }

  // ---- training ------------------------------------------------------------------------------------------------------

  void run_steps() {
    data_->start_loading({.start_step = position_.step, .threads = std::max(1, position_.threads / 2)});
    std::exception_ptr unreadable;  // a batch that can't be made ends the training after the step that is under way
    const auto prefetch = [&] {
      try {
        data_->prefetch(*trainer_);
      } catch (...) {
        unreadable = std::current_exception();
      }
    };
    if (!done()) prefetch();
    plan_from(position_.step);
    while (!unreadable && !done() && CatchSignals::caught() == 0) {
      const auto begin = Clock::now();
      whole_ = false;
      const StepStats stats = trainer_->step_prefetched(prefetch);
      whole_ = true;
      position_.step = stats.step;
      const double measured = 1e3 * std::chrono::duration<double>(Clock::now() - begin).count();
      const double ms = clock_.count() ? measured : smooth_ms_;
      if (!stats_->append(stats_line(stats, ms))) note_once("stats.jsonl can't be written; training goes on without it");
      report_progress(stats, ms);
      tell_news();
      ++steps_here_;
      if (steps_here_ == steps_untimed) plan_from(position_.step);
      if (is_plan_due() || is_snap_due()) snapshot("running");
    }
    if (unreadable) std::rethrow_exception(unreadable);
  }

  // Early and then ever more rarely, as the first steps tell little; and where the end that was planned comes too early.
  bool is_plan_due() {
    if (!decays_by_time() || steps_here_ < next_plan_) return false;
    while (next_plan_ <= steps_here_) next_plan_ *= 2;
    return true;
  }

  bool is_snap_due() const {
    const bool plan_is_over = decays_by_time() && steps_here_ >= steps_untimed + steps_timed && position_.step >= position_.planned_steps;
    if (plan_is_over && !done()) return true;
    return snap_.steps > 0 ? position_.step % snap_.steps == 0 : clock_.seconds() - last_snap_seconds_ >= snap_.seconds;
  }

  // Writes run.json, saves what can be saved, and throws on with the way out.
  [[noreturn]] void fail(const Error& error) {
    std::string what = error.what();
    const auto attempt = [](auto&& action) {
      try {
        action();
      } catch (const std::exception&) {  // what failed first is told
      }
    };
    if (error.code() == ExitCode::out_of_memory) {
      attempt([&] { what += batch_that_fits(config_, backend_->available_bytes() + backend_->pool_stats().held_bytes); });
    }
    if (whole_ && position_.step > std::max<std::int64_t>(0, last_checkpoint_step_)) {
      if (in_snapshot_) attempt([&] { measure(); });  // a resume does not come back to it
      attempt([&] {
        if (stats_) sync_stats();
        save_checkpoint();
      });
    }
    std::error_code ignored;
    if (last_checkpoint_step_ > 0 && fs::exists(folder_ / "ckpt" / (step_name(last_checkpoint_step_) + ".safetensors"), ignored)) {
      const std::string resume = "pastiche train --resume " + shell_word(folder_.string());
      what += error.code() == ExitCode::diverged
                  ? fmt::format(": `{} --lr-g {:g} --lr-d {:g} --other-bits`", resume, config_.lr_g / 2, config_.lr_d / 2)
                  : fmt::format("; step {} is saved, go on with `{}`", last_checkpoint_step_, resume);
    }
    attempt([&] { write_run_json(error.code() == ExitCode::diverged ? "diverged" : "failed", error.what()); });
    attempt([&] {
      if (report_) report_->write();
    });
    throw Error(error.code(), what);
  }

  // What pictures had to be replaced, and what the file system can't do.
  void tell_news() {
    for (const std::string& note : data_->take_notes()) events_.note(note);
    for (const std::string& note : take_file_system_notes()) events_.note(note);
  }

  void note_once(const std::string& text) {
    if (noted_.insert(text).second) events_.note(text);
  }

  // ---- how far it is -------------------------------------------------------------------------------------------------

  // Seconds of training, over all stops.
  class TrainingClock {
   public:
    void start(double seconds) { seconds_ = seconds, last_ = Clock::now(); }
    double seconds() const { return seconds_; }
    // Adds what passed since the last call, but for a time with a pause of the process (SIGSTOP, Ctrl-Z); says whether it did.
    bool count() {
      const auto now = Clock::now();
      const double passed = std::chrono::duration<double>(now - std::exchange(last_, now)).count();
      if (CatchSignals::continued()) return false;
      seconds_ += passed;
      return true;
    }

   private:
    double seconds_ = 0;
    Clock::time_point last_ = Clock::now();
  };

  // Learning rates that decay need to know the end. Where only a time is given, it is planned from the speed so far. That happens at
  // checkpoints alone and stands in them, so that between two of them the rates depend on the step alone, and a resume repeats them.
  bool decays_by_time() const { return config_.decay_from < 1 && limit_seconds_ > 0; }
  std::int64_t total_steps() const {
    if (!decays_by_time() || position_.planned_steps == 0) return limit_steps_;
    return limit_steps_ > 0 ? std::min(limit_steps_, position_.planned_steps) : position_.planned_steps;
  }

  void plan_from(std::int64_t step) { plan_from_step_ = step, plan_from_seconds_ = clock_.seconds(); }

  void plan_end() {
    const std::int64_t steps = position_.step - plan_from_step_;
    if (!decays_by_time() || steps_here_ < steps_untimed + steps_timed || steps == 0 || done()) return;
    const double seconds_per_step = (clock_.seconds() - plan_from_seconds_) / static_cast<double>(steps);
    const double left = 0.95 * (limit_seconds_ - clock_.seconds());  // snapshots take time too
    position_.planned_steps = position_.step + std::max<std::int64_t>(1, static_cast<std::int64_t>(left / seconds_per_step));
    trainer_->set_total_steps(position_.planned_steps);
    plan_from(position_.step);
  }

  double fraction() const {
    const double by_steps = limit_steps_ > 0 ? static_cast<double>(position_.step) / static_cast<double>(limit_steps_) : 0;
    const double by_time = limit_seconds_ > 0 ? clock_.seconds() / limit_seconds_ : 0;
    return std::max(by_steps, by_time);
  }

  bool done() const {
    const bool as_planned = decays_by_time() && position_.planned_steps > 0 && position_.step >= position_.planned_steps;
    return fraction() >= (as_planned ? 0.9 : 1);
  }

  double kimg() const { return static_cast<double>(position_.step) * config_.batch / 1000; }

  std::string stats_line(const StepStats& s, double ms) const {
    const std::string content = s.loss_content > 0 ? fmt::format(R"(,"loss_content":{:.6g})", s.loss_content) : "";
    return fmt::format(R"({{"step":{},"kimg":{:.6g},"loss_g":{:.6g},"loss_d":{:.6g}{},"d_real":{:.6g},"d_fake":{:.6g},"ms":{:.4g}}})",
                       s.step, kimg(), s.loss_g, s.loss_d, content, s.d_real, s.d_fake, ms);
  }

  void report_progress(const StepStats& s, double ms) {
    smooth_ms_ = smooth_ms_ == 0 ? ms : 0.95 * smooth_ms_ + 0.05 * ms;
    double eta = limit_steps_ > 0 ? 1e-3 * smooth_ms_ * static_cast<double>(limit_steps_ - position_.step) : HUGE_VAL;
    if (limit_seconds_ > 0) eta = std::min(eta, limit_seconds_ - clock_.seconds());
    events_.stepped({.stats = s, .kimg = kimg(), .fraction = std::min(1.0, fraction()),
                     .images_per_second = 1e3 * config_.batch / smooth_ms_, .ms = smooth_ms_, .eta_seconds = std::max(0.0, eta)});
  }

  // ---- the run folder ------------------------------------------------------------------------------------------------

  // The commit point: what else is in the folder is made before it, and made again after a resume.
  void save_checkpoint() {
    position_.seconds = clock_.seconds();
    SafetensorsFile file;
    trainer_->save(file);
    write_checkpoint(folder_, position_, method_.model_json(config_), std::move(file));
    last_checkpoint_step_ = position_.step;
  }

  void snapshot(const char* status) {
    if (position_.step != last_checkpoint_step_) {
      plan_end();
      in_snapshot_ = true;
      write_file_atomically(folder_ / "samples" / (step_name(position_.step) + ".png"), encode_png(trainer_->samples(data_->examples())));
      trainer_->write_models(folder_, {data_->name(), data_->fingerprint()});
      measure();
      sync_stats();
      save_checkpoint();
      in_snapshot_ = false;
      delete_old_checkpoints();
    }
    clock_.count();
    last_snap_seconds_ = clock_.seconds();
    write_run_json(status, "");
    try {
      report_->write();
    } catch (const Error& e) {
      note_once(fmt::format("{}; training goes on without a new report", e.what()));
    }
  }

  void sync_stats() {
    if (!stats_->sync()) note_once("stats.jsonl can't be synced to the disk; a power failure may cost its last lines");
  }

  void delete_old_checkpoints() {
    auto checkpoints = list_checkpoints(folder_);
    std::erase_if(checkpoints, [this](const auto& each) { return each.first > position_.step; });
    for (std::size_t i = 0; i + static_cast<std::size_t>(config_.keep) < checkpoints.size(); ++i) {
      std::error_code error;
      if (!fs::remove(checkpoints[i].second, error)) note_once(fmt::format("old checkpoints can't be deleted: {}", error.message()));
    }
  }

  void measure() {
    if (position_.step == measured_step_) return;
    const std::string line = trainer_->measure(data_->held_out());
    measured_step_ = position_.step;
    if (line.empty()) return;
    JsonLines log(folder_ / "holdout.jsonl");
    if (!log.append(line) || !log.sync()) note_once("holdout.jsonl can't be written; training goes on without it");
  }

  ordered_json parameter_counts() const {
    std::int64_t g = 0, d = 0;
    for (const Trainer::Network& network : trainer_->networks()) {
      (network.adam.settings().slot == 0 ? g : d) += network.parameters.count();
    }
    return {{"generator", g}, {"discriminator", d}};
  }

  void write_run_json(const char* status, const std::string& reason) {
    const ordered_json json{
        {"status", status},
        {"reason", reason},
        {"model", method_.model_json(config_)},
        {"parameters", parameter_counts()},
        {"data", {{"path", config_.data}, {"name", data_->name()}, {"pictures", data_->pictures()}, {"fingerprint", data_->fingerprint()},
                  {"skipped", data_->skipped()}}},
        {"backend", backend_->fingerprint()},
        {"other_bits", position_.other_bits},
        {"seed", config_.seed},
        {"step", position_.step},
        {"kimg", kimg()},
        {"seconds", clock_.seconds()},
        {"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(started_at_))},
        {"config", position_.config}};
    write_file_atomically(folder_ / "run.json", json_text(json, 2) + "\n");
  }

  TrainConfig config_;
  const Method& method_;
  const RunEvents& events_;
  fs::path folder_;
  std::unique_ptr<RunLock> lock_;
  std::optional<Checkpoint> checkpoint_;  // that this goes on from, until it is loaded
  std::vector<std::string> changes_;      // of what decides the bits, since that checkpoint
  std::vector<std::string> notes_;        // for the time when someone listens
  Position position_;
  std::unique_ptr<TrainingData> data_;
  DeviceChoice device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Trainer> trainer_;
  std::optional<JsonLines> stats_;
  std::optional<ReportWriter> report_;
  Interval snap_;
  std::int64_t limit_steps_ = 0;
  double limit_seconds_ = 0;
  std::int64_t last_checkpoint_step_ = -1;
  std::int64_t measured_step_ = -1;
  bool in_snapshot_ = false;
  bool whole_ = true;  // between two steps; within one the networks are of two minds
  std::time_t started_at_ = 0;
  TrainingClock clock_;
  double last_snap_seconds_ = 0;
  double smooth_ms_ = 0;
  static constexpr int steps_untimed = 5, steps_timed = 20;  // the first ones make what later ones find made
  std::int64_t steps_here_ = 0;  // since this process began or resumed
  std::int64_t next_plan_ = steps_untimed + steps_timed;
  std::int64_t plan_from_step_ = 0;
  double plan_from_seconds_ = 0;
  std::set<std::string> noted_;
};

}  // namespace

RunResult train(TrainConfig config, const RunEvents& events) {
  validate(config);
  return Run(std::move(config), events, {}, false).train();
}

namespace {

// What config.toml says; where it is gone or empty, what the newest checkpoint does.
TrainConfig config_of_run(const fs::path& folder) {
  const fs::path path = folder / "config.toml";
  constexpr ForeignKeys any{.options = true};  // in runs of earlier versions
  TrainConfig config;
  config.ema_warmup = false;  // of runs that began before there was one
  std::error_code error;
  if (fs::file_size(path, error) > 0 && !error) {
    try {
      load_config(path, config, any);
    } catch (const Error& e) {
      if (e.code() != ExitCode::bad_data) throw;
      throw Error(e.code(), fmt::format("{}; or delete the file, and the settings are taken from the checkpoint", e.what()));
    }
    return config;
  }
  std::string toml;
  const ordered_json settings = read_newest_checkpoint(folder).position.config;
  for (const auto& [name, value] : settings.items()) toml += fmt::format("{} = {}\n", name, value.dump());
  if (toml.empty()) throw Error(ExitCode::bad_file, fmt::format("{} is gone, and the checkpoint is too old to have the settings", quote(path.string())));
  parse_config(toml, "the checkpoint's settings", config, any);
  return config;
}

}  // namespace

RunResult resume_training(const fs::path& folder, const RunEvents& events, const ResumeOptions& options) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) throw Error(ExitCode::bad_file, fmt::format("no run folder {}", quote(folder.string())));
  if (!fs::exists(folder / "config.toml", error) && !fs::exists(folder / "ckpt", error)) {
    throw Error(ExitCode::bad_file, fmt::format("{} is no run: there is neither config.toml nor ckpt in it", quote(folder.string())));
  }
  TrainConfig config = config_of_run(folder);
  if (options.change) options.change(config);
  validate(config);
  return Run(std::move(config), events, folder, options.other_bits).train();
}

}  // namespace pastiche
