#pragma once
// Where rows run, and how their time is taken.
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pastiche/backend.h"
#include "recorder.h"

namespace pastiche::bench {

// What a device can do at best, measured: multiplications and additions a second in f32 and in bf16, bytes a second from and to
// memory.
struct Roofline {
  double f32_flop = 0, bf16_flop = 0, bytes = 0;
  // The least time that a launch can take; 0 where nothing was measured.
  double seconds(const Launch& launch) const;
};

class Device {
 public:
  explicit Device(std::string name) : name_(std::move(name)) {}
  virtual ~Device() = default;

  const std::string& name() const { return name_; }
  // Made where it is first asked for: rows are listed without the hardware that would run them.
  virtual Backend& backend() = 0;
  virtual bool supports(DType) = 0;
  virtual void wait() = 0;  // for all that was launched

  // Seconds that a program takes: run again and again, and with its tensors out of the caches.
  class Timer {
   public:
    virtual ~Timer() = default;
    virtual double warm() = 0;
    virtual double cold() = 0;
  };
  // The program was run before.
  virtual std::unique_ptr<Timer> timer(const Program& program) = 0;

  virtual Roofline measure_roofline() = 0;
  // For a vendor's library: are any of these launches its business?
  virtual bool is_vendor() const { return false; }
  virtual bool serves([[maybe_unused]] const std::vector<Launch>& launches) const { return true; }
  // How often our kernel stood in for one that the vendor has not.
  virtual long stand_ins() { return 0; }

 private:
  std::string name_;
};

// "cpu", "simt", "reference" or, where they were built in, "ptx", "cuda", "cudnn" and "cudnn-tf32". Error(device) says why there is
// none. kernels: of ours.
std::unique_ptr<Device> make_device(const std::string& name, int threads, const KernelChoice& kernels);
// The vendor's devices beside ours of this name, in this build.
std::vector<std::string> vendors_of(std::string_view name);

// Multiplications and additions a second of the backend's GEMM, square and large, and bytes a second of a copy. For who has no
// better way to know.
double gemm_flop_rate(Device&, DType, std::int64_t extent);
double copy_rate(Device&, std::size_t bytes);

}  // namespace pastiche::bench
