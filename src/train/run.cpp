// A whole training: data, loader, run folder, snapshots, signals. What makes the numbers is in trainer.cpp.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "pastiche/checkpoint.h"
#include "pastiche/files.h"
#include "pastiche/report.h"
#include "pastiche/train.h"
#include "train/task.h"

namespace pastiche {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// ---- signals ---------------------------------------------------------------------------------------------------------

volatile sig_atomic_t caught_signal = 0;

void on_signal(int signal) {
  if (caught_signal != 0) _exit(128 + signal);  // the second one does not wait
  caught_signal = signal;
}

class CatchSignals {
 public:
  CatchSignals() {
    caught_signal = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, &before_int_);
    sigaction(SIGTERM, &action, &before_term_);
  }
  ~CatchSignals() {
    sigaction(SIGINT, &before_int_, nullptr);
    sigaction(SIGTERM, &before_term_, nullptr);
  }

 private:
  struct sigaction before_int_ {}, before_term_ {};
};

// ---- a run folder ----------------------------------------------------------------------------------------------------

std::string step_name(std::int64_t step) { return fmt::format("{:06}", step); }

std::vector<std::pair<std::int64_t, fs::path>> checkpoints_in(const fs::path& folder) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder / "ckpt", ignored)) {
    const std::string stem = entry.path().stem().string();
    if (entry.path().extension() == ".safetensors" && !stem.empty() && stem.size() <= 18 && stem.find_first_not_of("0123456789") == stem.npos) {
      found.emplace_back(std::stoll(stem), entry.path());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

// What a checkpoint says besides its tensors.
struct Position {
  std::int64_t step = 0;
  double seconds = 0;  // of training, over all stops
  int threads = 0;
  std::string backend = {}, data_fingerprint = {};
};

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ExitCode::bad_file, fmt::format("can't make {}: {}", quote(folder.string()), error.message()));
}

// Everything that one training holds, in the order of its making.
class Run {
 public:
  Run(TrainConfig config, const RunEvents& events, const fs::path& resumed)
      : config_(std::move(config)),
        events_(events),
        lock_(resumed.empty() ? nullptr : std::make_unique<RunLock>(resumed)),
        task_(make_task(config_)),
        position_(resumed.empty() ? Position{.threads = threads_of(config_)} : read_position(resumed)),
        device_(choose_device(config_.device)),
        backend_(make_backend(device_.name, position_.threads, kernel_choice(config_))),
        trainer_(task_->make_trainer(*backend_)) {
    snap_ = parse_interval(config_.snap);
    limit_seconds_ = config_.time.empty() ? 0 : parse_duration(config_.time);
    set_limit(steps_limit(config_, task_->pictures()));
    if (resumed.empty()) {
      const std::string name = config_.name.empty() ? config_.model + "-" + task_->data_name() : config_.name;
      folder_ = create_run_folder(config_.out, name);
      lock_ = std::make_unique<RunLock>(folder_);
    } else {
      folder_ = resumed;
    }
    make_folder(folder_ / "ckpt");
    make_folder(folder_ / "samples");
    if (resumed.empty()) begin_folder();
    else restore();
  }

  RunResult train() {
    const CatchSignals signals;
    events_.started(folder_, fmt::format("{} {}", config_.model, task_->data_name()));
    if (!device_.why.empty()) events_.note(device_.why);
    for (const std::string& note : task_->notes()) events_.note(note);
    JsonLines stats(folder_ / "stats.jsonl");
    task_->start_loading({.start_step = position_.step, .threads = std::max(1, position_.threads / 2)});
    begin_ = Clock::now();
    last_snap_seconds_ = position_.seconds;
    write_run_json("running", "");
    bool log_works = true;
    try {
      const auto prefetch = [&] { task_->prefetch(*trainer_); };
      if (!done()) prefetch();
      while (!done() && caught_signal == 0) {
        const auto step_begin = Clock::now();
        const StepStats stats_now = trainer_->step_prefetched(prefetch);
        position_.step = stats_now.step;
        const double ms = 1e3 * seconds_since(step_begin);
        if (!stats.append(stats_line(stats_now, ms)) && log_works) {
          log_works = false;
          events_.note("stats.jsonl can't be written any more; training goes on without it");
        }
        report_progress(stats_now, ms);
        if (++steps_here_ == steps_untimed) timed_from_ = Clock::now();
        if (steps_here_ == steps_untimed + steps_timed) fix_total();
        if (snap_.steps > 0 ? position_.step % snap_.steps == 0 : elapsed() - last_snap_seconds_ >= snap_.seconds) snapshot("running");
      }
      const int signal = caught_signal;
      snapshot(signal == 0 ? "finished" : "stopped");
      return {folder_, position_.step, signal};
    } catch (const Error& e) {
      write_run_json(e.code() == ExitCode::diverged ? "diverged" : "failed", e.what());
      write_report(folder_);
      if (e.code() == ExitCode::out_of_memory) throw Error(e.code(), e.what() + batch_that_fits());
      throw;
    }
  }

 private:
  // The tail of an out-of-memory message; a tenth is left to workspaces.
  std::string batch_that_fits() const {
    const std::size_t memory = backend_->available_bytes() + backend_->pool_stats().held_bytes;
    const std::int64_t batch = largest_batch(*task_, config_, config_.batch, memory / 10 * 9);
    if (batch == 0) return "; not even --batch 1 fits, so use a smaller --size, --ngf or --ndf";
    return batch < config_.batch ? fmt::format("; --batch {} would fit", batch) : "";
  }

  void set_limit(std::int64_t steps) {
    limit_steps_ = steps;
    trainer_->set_total_steps(steps);
  }

  // Learning rates that decay need to know the end. Where only a time is given, it follows from the first steps, and stands in
  // the config from then on, so that the rest of a run is the same however often it is resumed; the time is only a cap then.
  void fix_total() {
    if (config_.decay_from == 1 || limit_steps_ > 0) return;
    const double left = limit_seconds_ - elapsed();
    const double seconds_per_step = seconds_since(timed_from_) / steps_timed;
    config_.steps = position_.step + std::max<std::int64_t>(1, static_cast<std::int64_t>(0.95 * left / seconds_per_step));  // snapshots take time too
    set_limit(config_.steps);
    write_file_atomically(folder_ / "config.toml", config_to_toml(config_));
  }

  double elapsed() const { return position_.seconds + seconds_since(begin_); }

  double fraction() const {
    const double by_steps = limit_steps_ > 0 ? static_cast<double>(position_.step) / static_cast<double>(limit_steps_) : 0;
    const double by_time = limit_seconds_ > 0 ? elapsed() / limit_seconds_ : 0;
    return std::max(by_steps, by_time);
  }

  bool done() const { return fraction() >= 1; }

  double kimg() const { return static_cast<double>(position_.step) * config_.batch / 1000; }

  std::string stats_line(const StepStats& s, double ms) const {
    const std::string content = s.loss_content > 0 ? fmt::format(R"(,"loss_content":{:.6g})", s.loss_content) : "";
    return fmt::format(R"({{"step":{},"kimg":{:.6g},"loss_g":{:.6g},"loss_d":{:.6g}{},"d_real":{:.6g},"d_fake":{:.6g},"ms":{:.4g}}})",
                       s.step, kimg(), s.loss_g, s.loss_d, content, s.d_real, s.d_fake, ms);
  }

  void report_progress(const StepStats& s, double ms) {
    smooth_ms_ = smooth_ms_ == 0 ? ms : 0.95 * smooth_ms_ + 0.05 * ms;
    double eta = limit_steps_ > 0 ? 1e-3 * smooth_ms_ * static_cast<double>(limit_steps_ - position_.step) : HUGE_VAL;
    if (limit_seconds_ > 0) eta = std::min(eta, limit_seconds_ - elapsed());
    events_.stepped({.stats = s, .kimg = kimg(), .fraction = std::min(1.0, fraction()),
                     .images_per_second = 1e3 * config_.batch / smooth_ms_, .ms = smooth_ms_, .eta_seconds = std::max(0.0, eta)});
  }

  void write_checkpoint(double seconds) {
    SafetensorsFile file;
    trainer_->save(file);
    const ordered_json json{{"format_version", file_format_version},
                            {"kind", "checkpoint"},
                            {"model", task_->model_json()},
                            {"step", position_.step},
                            {"seconds", seconds},
                            {"threads", position_.threads},
                            {"backend", backend_->fingerprint()},
                            {"data_fingerprint", task_->data_fingerprint()}};
    file.metadata = {{"format", "pt"}, {"pastiche", json.dump()}};
    write_safetensors(folder_ / "ckpt" / (step_name(position_.step) + ".safetensors"), file);
  }

  // The checkpoint is the commit point: what follows it can be made again from it.
  void snapshot(const char* status) {
    const double now = elapsed();
    write_checkpoint(now);
    write_file_atomically(folder_ / "samples" / (step_name(position_.step) + ".png"), encode_png(task_->samples(*trainer_)));
    task_->write_models(*trainer_, folder_);
    measure();
    const auto kept = checkpoints_in(folder_);
    for (std::size_t i = 0; i + static_cast<std::size_t>(config_.keep) < kept.size(); ++i) fs::remove(kept[i].second);
    write_run_json(status, "");
    write_report(folder_);
    last_snap_seconds_ = now;
  }

  void measure() {
    const std::string line = task_->measure(*trainer_);
    if (!line.empty() && !JsonLines(folder_ / "holdout.jsonl").append(line)) events_.note("holdout.jsonl can't be written");
  }

  void begin_folder() {
    started_at_ = std::time(nullptr);
    write_file_atomically(folder_ / "config.toml", config_to_toml(config_));
    write_file_atomically(folder_ / "reals.png", encode_png(task_->reals()));
    write_file_atomically(folder_ / "samples" / (step_name(0) + ".png"), encode_png(task_->samples(*trainer_)));
  }

  static Position read_position(const fs::path& folder) {
    const auto checkpoints = checkpoints_in(folder);
    if (checkpoints.empty()) {
      throw Error(ExitCode::bad_file, fmt::format("{} has no checkpoint to resume from; start anew with `pastiche train --config {}`",
                                                  quote(folder.string()), quote((folder / "config.toml").string())));
    }
    const SafetensorsFile file = read_safetensors(checkpoints.back().second);
    if (file_kind(file, checkpoints.back().second) != "checkpoint") {
      throw Error(ExitCode::bad_file, fmt::format("{} is not a checkpoint", quote(checkpoints.back().second.string())));
    }
    try {
      const auto json = nlohmann::json::parse(file.metadata.at("pastiche"));
      return {.step = json.at("step"), .seconds = json.at("seconds"), .threads = json.at("threads"), .backend = json.at("backend"),
              .data_fingerprint = json.at("data_fingerprint")};
    } catch (const nlohmann::json::exception& e) {
      throw Error(ExitCode::bad_file, fmt::format("{}: its metadata is incomplete: {}", quote(checkpoints.back().second.string()), e.what()));
    }
  }

  void restore() {
    if (position_.data_fingerprint != task_->data_fingerprint()) {
      throw Error(ExitCode::bad_data, fmt::format("the data in {} is not what this run was trained on (its fingerprint differs): put it "
                                                  "back, or start a new run", quote(config_.data)));
    }
    if (position_.backend != backend_->fingerprint()) {
      throw Error(ExitCode::device, fmt::format("this run was computed by '{}', here it would be '{}', and the result would differ: "
                                                "resume it where it began, or start a new run", position_.backend, backend_->fingerprint()));
    }
    const fs::path path = folder_ / "ckpt" / (step_name(position_.step) + ".safetensors");
    trainer_->load(read_safetensors(path), position_.step);
    for (const char* name : {"stats.jsonl", "holdout.jsonl"}) truncate_after_step(folder_ / name, position_.step);
    started_at_ = std::time(nullptr);
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
        {"model", task_->model_json()},
        {"parameters", parameter_counts()},
        {"data", {{"path", config_.data}, {"name", task_->data_name()}, {"pictures", task_->pictures()}, {"fingerprint", task_->data_fingerprint()},
                  {"skipped", task_->skipped()}}},
        {"backend", backend_->fingerprint()},
        {"seed", config_.seed},
        {"step", position_.step},
        {"kimg", kimg()},
        {"seconds", elapsed()},
        {"started", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(started_at_))},
        {"config", ordered_json::parse(config_to_json(config_))}};
    write_file_atomically(folder_ / "run.json", json.dump(2) + "\n");
  }

  TrainConfig config_;
  const RunEvents& events_;
  std::unique_ptr<RunLock> lock_;
  std::unique_ptr<TrainingTask> task_;
  Position position_;
  DeviceChoice device_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Trainer> trainer_;
  Interval snap_;
  std::int64_t limit_steps_ = 0;
  double limit_seconds_ = 0;
  fs::path folder_;
  std::time_t started_at_ = 0;
  Clock::time_point begin_ = Clock::now();
  double last_snap_seconds_ = 0;
  double smooth_ms_ = 0;
  static constexpr int steps_untimed = 5, steps_timed = 20;  // the first ones make what later ones find made
  Clock::time_point timed_from_{};
  std::int64_t steps_here_ = 0;  // since this process began or resumed
};

}  // namespace

RunResult train(TrainConfig config, const RunEvents& events) {
  validate(config);
  return Run(std::move(config), events, {}).train();
}

RunResult resume_training(const fs::path& folder, const RunEvents& events) {
  if (!fs::is_directory(folder)) throw Error(ExitCode::bad_file, fmt::format("no run folder {}", quote(folder.string())));
  TrainConfig config;
  load_config(folder / "config.toml", config);
  validate(config);
  return Run(std::move(config), events, folder).train();
}

}  // namespace pastiche
