#pragma once
#include <filesystem>
#include <memory>

namespace pastiche {

// Writes RUN/report.html, one file with no script and no outside link, from what the run folder holds: config.toml,
// run.json, stats.jsonl (an object a step: step, kimg, loss_g, loss_d, d_real, d_fake, ms) and samples/STEP.png.
// Whatever is absent or broken is left out, so a run that is still going, or that died, has a report too.
// Throws Error(bad_file) when the folder is absent or the page can't be written.
void write_report(const std::filesystem::path& run_folder);

// The same for a training, which writes it again and again: it reads what its logs have got since the last time, and its
// memory does not grow with them.
class ReportWriter {
 public:
  explicit ReportWriter(const std::filesystem::path& run_folder);
  ~ReportWriter();
  ReportWriter(const ReportWriter&) = delete;
  ReportWriter& operator=(const ReportWriter&) = delete;

  void write();

 private:
  struct Logs;
  const std::filesystem::path folder_;
  const std::unique_ptr<Logs> logs_;
};

}  // namespace pastiche
