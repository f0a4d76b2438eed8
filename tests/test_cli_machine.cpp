// The program on machines that leave it little: threads, processors, memory.
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli.h"
#include "core/system.h"

namespace pastiche {
namespace {

class CliMachine : public Cli {
 protected:
  std::string status_of_run() const { return nlohmann::json::parse(text_of(only_run() / "run.json")).at("status"); }
  std::string backend_of_run() const { return nlohmann::json::parse(text_of(only_run() / "run.json")).at("backend"); }
};

// A team smaller than oneDNN planned would wait for ever in its barriers.
TEST_F(CliMachine, OpenMpSettingsNeverHangATraining) {
  for (const char* settings : {"OMP_THREAD_LIMIT=1", "OMP_THREAD_LIMIT=2", "OMP_DYNAMIC=true", "OMP_DYNAMIC=true OMP_THREAD_LIMIT=1", "OMP_NUM_THREADS=1",
                               "OMP_MAX_ACTIVE_LEVELS=0", "OMP_MAX_ACTIVE_LEVELS=3 OMP_NESTED=true", "OMP_PROC_BIND=true", "OMP_SCHEDULE=dynamic"}) {
    for (const int threads : {0, 3}) {
      const Finished f = run("train --data " + emoji + " --size 16 --ngf 4 --ndf 4 --nz 8 --batch 8 --grid 2x2 --seed 7 --steps 2 --threads " +
                             std::to_string(threads), std::string("export ") + settings);
      EXPECT_EQ(f.code, 0) << settings << ", " << threads << " threads\n" << f.err;
      fs::remove_all(folder_ / "runs");
    }
  }
  EXPECT_EQ(run("doctor --threads 2", "export OMP_THREAD_LIMIT=1 OMP_DYNAMIC=true").code, 0);
}

// The number of threads decides bits of oneDNN's, so a run must name the one that it was computed with, and go on with it.
TEST_F(CliMachine, ARunNamesTheThreadsThatItGot) {
  ASSERT_EQ(run("train --data " + emoji + small + "--steps 2", "export OMP_THREAD_LIMIT=1").code, 0);
  EXPECT_NE(backend_of_run().find("threads 1,"), std::string::npos) << backend_of_run();
}

TEST_F(CliMachine, ThreadsOfTheDefaultAreThoseOfTheMachine) {
  const auto threads = [&](const std::string& before) {
    EXPECT_EQ(run("train --data " + emoji + " --size 16 --ngf 4 --ndf 4 --nz 8 --batch 8 --grid 1x1 --steps 1", before).code, 0) << before;
    const std::string backend = backend_of_run();
    fs::remove_all(folder_ / "runs");
    return std::stoi(backend.substr(backend.find("threads ") + 8));
  };
  EXPECT_EQ(threads(":"), threads_for(0));
  EXPECT_EQ(threads("export OMP_NUM_THREADS=1"), 1);
  EXPECT_EQ(threads("export OMP_NUM_THREADS=1000"), threads_for(0));
  EXPECT_EQ(threads("taskset -cp 0 $$ >taskset.log"), 1);
}

// libgomp says what it has read from the environment: at the first start of the process, then at its second.
TEST_F(CliMachine, SpinningIsBoundedUnlessTheUserSaysHow) {
  const std::string show = "export OMP_DISPLAY_ENV=verbose; unset GOMP_SPINCOUNT OMP_WAIT_POLICY";
  const auto spins = [&](const std::string& arguments, const std::string& before) {
    const std::string err = run(arguments, before).err;
    std::vector<std::string> all;
    for (std::size_t at = 0; (at = err.find("GOMP_SPINCOUNT = '", at)) != err.npos;) {
      at += 18;
      all.push_back(err.substr(at, err.find('\'', at) - at));
    }
    return all;
  };
  const std::string train = "train --data " + emoji + small + "--steps 1";
  const std::vector<std::string> found = spins(train, show);
  if (found.empty()) GTEST_SKIP() << "not GCC's OpenMP";
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1], "10000");
  EXPECT_EQ(spins(train, show + "; export GOMP_SPINCOUNT=77"), std::vector<std::string>{"77"});
  EXPECT_EQ(spins(train, show + "; export OMP_WAIT_POLICY=passive").size(), 1u);
  EXPECT_EQ(spins("--version", show).size(), 1u);
  EXPECT_EQ(spins("train --help", show).size(), 1u);
}

TEST_F(CliMachine, TheSecondStartKeepsTheArguments) {
  std::ofstream(folder_ / "odd 'name'.toml") << "seed = 5\n";
  const Finished f = run("train --config \"odd 'name'.toml\" --data " + emoji + small + "--steps 1 --out \"  a  b\"");
  EXPECT_EQ(f.code, 0) << f.err;
  EXPECT_TRUE(fs::exists(only_run("  a  b") / "model.safetensors"));
}

// Of the memory of a process, from far too little to enough: never a signal, and never a run that is said to go on.
TEST_F(CliMachine, TooLittleAddressSpaceIsAnError) {
  int refused = 0, finished = 0;
  for (int mib = 120; mib <= 480; mib += mib < 260 ? 10 : 44) {
    const Finished f = run("train --data " + emoji + " --size 32 --ngf 16 --ndf 16 --nz 8 --batch 64 --grid 2x2 --steps 2 --threads " + std::to_string(1 + mib / 10 % 2),
                           "ulimit -v " + std::to_string(mib * 1024));
    if (f.code == 127) continue;  // less than the libraries take
    EXPECT_TRUE(f.code == 0 || f.code == 6) << mib << " MiB: " << f.code << "\n" << f.err;
    (f.code == 0 ? finished : refused) += 1;
    if (!fs::exists(folder_ / "runs")) continue;
    if (fs::exists(only_run() / "run.json")) {
      EXPECT_EQ(status_of_run(), f.code == 0 ? "finished" : "failed") << mib << " MiB";
    }
    fs::remove_all(folder_ / "runs");
  }
  EXPECT_GT(refused, 3);
  EXPECT_GT(finished, 0);
}

TEST_F(CliMachine, ThreadsThatCantBeStartedAreAnError) {
  const Finished f = run("train --data " + emoji + " --size 16 --ngf 4 --ndf 4 --nz 8 --batch 8 --grid 1x1 --steps 1 --threads 4000", "ulimit -v 4000000");
  EXPECT_EQ(f.code, 6) << f.err;
  EXPECT_NE(f.err.find("--threads"), std::string::npos) << f.err;
}

// A control group of our own, where this machine lets us make one.
class Group {
 public:
  explicit Group(const std::string& controller) {
    const fs::path all = "/sys/fs/cgroup";
    v2_ = fs::exists(all / "cgroup.controllers");
    folder_ = (v2_ ? all : all / controller) / ("pastiche-test-" + std::to_string(getpid()));
    std::error_code error;
    made_ = (v2_ || fs::exists(all / controller / "cgroup.procs")) && fs::create_directory(folder_, error);
  }
  ~Group() {
    std::error_code error;
    if (made_) fs::remove(folder_, error);
  }
  bool set(const std::string& v2_name, const std::string& v2_value, const std::string& v1_name, const std::string& v1_value) const {
    if (!made_) return false;
    std::ofstream file(folder_ / (v2_ ? v2_name : v1_name), std::ios::in);  // in: the file must be there
    file << (v2_ ? v2_value : v1_value) << std::flush;
    return file.good();
  }
  std::string enter() const { return "echo $$ >" + (folder_ / "cgroup.procs").string(); }

 private:
  fs::path folder_;
  bool v2_ = false, made_ = false;
};

TEST_F(CliMachine, TheMemoryOfAContainerIsAnError) {
  const Group group("memory");
  if (!group.set("memory.max", "400M", "memory.limit_in_bytes", "400M")) GTEST_SKIP() << "can't make a control group of memory";
  group.set("memory.swap.max", "0", "memory.memsw.limit_in_bytes", "400M");
  const Finished f = run("train --data " + emoji + " --size 256 --batch 16 --steps 1 --threads 1", group.enter());
  EXPECT_EQ(f.code, 6) << f.err;
  EXPECT_NE(f.err.find("--batch"), std::string::npos) << f.err;
  EXPECT_FALSE(fs::exists(folder_ / "runs"));  // it was refused before it began
  const Finished plan = run("train --plan --data " + emoji + " --size 128 --ngf 32 --ndf 32 --batch 32 --threads 1", group.enter());
  EXPECT_TRUE(plan.code == 0 || plan.code == 6) << plan.code << plan.err;
  EXPECT_EQ(run("train --data " + emoji + small + "--steps 2", group.enter()).code, 0);
}

TEST_F(CliMachine, TooFewThreadsOfAContainerAreAnError) {
  const Group group("pids");
  if (!group.set("pids.max", "3", "pids.max", "3")) GTEST_SKIP() << "can't make a control group of processes";
  const std::string train = "train --data " + emoji + " --size 16 --ngf 4 --ndf 4 --nz 8 --batch 8 --grid 1x1 --steps 2 --threads ";
  const Finished f = run(train + "8", group.enter());
  EXPECT_EQ(f.code, 6) << f.err;
  EXPECT_NE(f.err.find("--threads"), std::string::npos) << f.err;
  const Finished one = run(train + "1", group.enter());  // timeout's process, the program's, and a thread that loads
  EXPECT_EQ(one.code, 0) << one.err;
}

TEST_F(CliMachine, TheQuotaOfAContainerSetsTheThreads) {
  const Group group("cpu");
  if (!group.set("cpu.max", "100000 100000", "cpu.cfs_quota_us", "100000")) GTEST_SKIP() << "can't make a control group of processors";
  EXPECT_EQ(run("train --data " + emoji + " --size 16 --ngf 4 --ndf 4 --nz 8 --batch 8 --grid 1x1 --steps 1", group.enter()).code, 0);
  EXPECT_NE(backend_of_run().find("threads 1,"), std::string::npos) << backend_of_run();
}

}  // namespace
}  // namespace pastiche
