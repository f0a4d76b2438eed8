#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "pastiche/error.h"
#include "pastiche/files.h"
#include "pastiche/sha256.h"

namespace fs = std::filesystem;

namespace pastiche {
namespace {

class Files : public testing::Test {
 protected:
  Files() {
    std::string pattern = testing::TempDir() + "pastiche_XXXXXX";
    folder = ::mkdtemp(pattern.data());
    fs::permissions(folder, fs::perms::all);
  }
  ~Files() override { fs::remove_all(folder); }

  std::size_t entries() const { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }

  fs::path folder;
};

std::string text_of(const fs::path& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void put(const fs::path& path, std::string_view text) { std::ofstream(path) << text; }

// The message of the Error that `body` throws; empty when it throws none.
std::string message_of(const std::function<void()>& body, ExitCode code = ExitCode::bad_file) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return {};
}

constexpr int skipped = 77;

// What `body` returns in a child process, where limits, users and mounts may be changed.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

// Root may do anything, so that permissions are tested as nobody.
bool become_nobody() { return ::geteuid() != 0 || ::setuid(65534) == 0; }

TEST_F(Files, WriteReplacesAndLeavesNothingElse) {
  const fs::path path = folder / "f";
  write_file_atomically(path, std::string_view("old"));
  write_file_atomically(path, std::string_view("new content"));
  EXPECT_EQ(text_of(path), "new content");
  write_file_atomically(path, std::vector<std::byte>(3'000'000));
  EXPECT_EQ(fs::file_size(path), 3'000'000u);
  write_file_atomically(path, std::string_view());
  EXPECT_EQ(text_of(path), "");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, ManyFilesAreSyncedAtOnce) {
  const std::vector<std::byte> bytes(3);
  write_file_atomically(folder / "a", bytes, Sync::later);
  write_where_named(folder / "b", bytes, Sync::later);
  sync_file_system(folder);
  EXPECT_EQ(read_file(folder / "a"), bytes);
  EXPECT_EQ(read_file(folder / "b"), bytes);
  EXPECT_EQ(entries(), 2u);
  EXPECT_NE(message_of([&] { sync_file_system(folder / "absent"); }), "");
}

TEST(ResultName, FitsAndIsNumbered) {
  EXPECT_EQ(result_name("a/x.JPG", ".png"), "a/x.png");
  EXPECT_EQ(result_name("a/x.JPG", ".png", 2), "a/x-2.png");
  EXPECT_EQ(result_name("x", ".mp4", 10), "x-10.mp4");
  EXPECT_EQ(result_name("a/" + std::string(255, 'x'), ".png"), "a/" + std::string(251, 'x') + ".png");
  std::string wide;  // of two bytes a letter
  for (int i = 0; i < 127; ++i) wide += "\xc3\xa4";
  EXPECT_EQ(result_name(wide, ".png"), wide.substr(0, 250) + ".png");
}

TEST(Ending, IsInSmallLetters) {
  EXPECT_EQ(ending_of("a/IMG_0001.JPG"), ".jpg");
  EXPECT_EQ(ending_of("x.tar.Gz"), ".gz");
  for (const char* none : {"", "x", "a.b/x", ".PNG"}) EXPECT_EQ(ending_of(none), "") << none;
}

TEST_F(Files, WriteInTheCurrentFolder) {
  const fs::path before = fs::current_path();
  fs::current_path(folder);
  write_file_atomically("f", std::string_view("x"));
  fs::current_path(before);
  EXPECT_EQ(text_of(folder / "f"), "x");
}

TEST_F(Files, WriteNamesPathBytesAndReason) {
  EXPECT_EQ(message_of([&] { write_file_atomically(folder / "no" / "f", std::string_view("abc")); }),
            "can't write 3 bytes to '" + (folder / "no/f").native() + "': No such file or directory");
  fs::create_directory(folder / "d");
  EXPECT_EQ(message_of([&] { write_file_atomically(folder / "d", std::string_view("abc")); }),
            "can't write 3 bytes to '" + (folder / "d").native() + "': Is a directory");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, UnwritablePlaceIsOneLine) {
  fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read |
                              fs::perms::others_exec);
  EXPECT_EQ(in_child([&] {
    if (!become_nobody()) return skipped;
    const std::string write = message_of([&] { write_file_atomically(folder / "f", std::string_view("abc")); });
    const std::string run = message_of([&] { create_run_folder(folder / "out", "x"); });
    EXPECT_EQ(write, "can't write 3 bytes to '" + (folder / "f").native() +
                         "': Permission denied; change its permissions or choose another");
    EXPECT_EQ(run, "can't make run folders in '" + (folder / "out").native() +
                       "': Permission denied; change its permissions or choose another");
    return HasFailure() ? 1 : 0;
  }), 0);
}

TEST_F(Files, FailedWriteKeepsTheOldFile) {
  put(folder / "f", "old");
  EXPECT_EQ(in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = message_of([&] { write_file_atomically(folder / "f", std::string(9999, 'x')); });
    EXPECT_NE(message.find("can't write 9999 bytes to"), message.npos) << message;
    EXPECT_NE(message.find("File too large"), message.npos) << message;
    return HasFailure() ? 1 : 0;
  }), 0);
  EXPECT_EQ(text_of(folder / "f"), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, FullDiskIsSaidPlainly) {
  const int result = in_child([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=64k") != 0) return skipped;
    put(folder / "f", "old");
    const std::string message = message_of([&] { write_file_atomically(folder / "f", std::string(99999, 'x')); });
    EXPECT_EQ(message, "can't write 99999 bytes to '" + (folder / "f").native() +
                           "': No space left on device; the disk is full: free some space or write elsewhere");
    EXPECT_EQ(text_of(folder / "f"), "old");
    EXPECT_EQ(entries(), 1u);

    // A log line that does not fit is left out whole.
    JsonLines log(folder / "log");
    EXPECT_TRUE(log.append("{\"step\":1}"));
    EXPECT_FALSE(log.append(std::string(99999, 'x')));
    EXPECT_TRUE(log.append("{\"step\":2}"));
    EXPECT_EQ(text_of(folder / "log"), "{\"step\":1}\n{\"step\":2}\n");
    ::umount(folder.c_str());
    return HasFailure() ? 1 : 0;
  });
  if (result == skipped) GTEST_SKIP() << "no right to mount a small file system";
  EXPECT_EQ(result, 0);
}

TEST_F(Files, ReadRefusesWhatIsNotARegularFile) {
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0666), 0);
  EXPECT_EQ(message_of([&] { read_file(folder / "fifo"); }),
            "can't read '" + (folder / "fifo").native() + "': not a regular file");
  EXPECT_NE(message_of([&] { read_file(folder); }), "");
  EXPECT_NE(message_of([&] { read_file("/dev/zero"); }), "");
  EXPECT_EQ(message_of([&] { read_file(folder / "none"); }),
            "can't read '" + (folder / "none").native() + "': No such file or directory");
  put(folder / "f", "12345");
  EXPECT_EQ(read_file(folder / "f", 5).size(), 5u);
  EXPECT_EQ(message_of([&] { read_file(folder / "f", 4); }),
            "can't read '" + (folder / "f").native() + "': 5 bytes, expected at most 4");
}

TEST_F(Files, RunFoldersAreNumbered) {
  const fs::path out = folder / "a" / "runs";
  EXPECT_EQ(create_run_folder(out, "dcgan-fashion"), out / "00000-dcgan-fashion");
  EXPECT_EQ(create_run_folder(out, "dcgan-fashion"), out / "00001-dcgan-fashion");
  fs::create_directory(out / "00041-other");
  fs::create_directory(out / "notes");
  fs::create_directory(out / "99-");
  fs::create_directory(out / "100");
  EXPECT_EQ(create_run_folder(out, "x"), out / "00100-x");
  put(folder / "file", "");
  EXPECT_NE(message_of([&] { create_run_folder(folder / "file", "x"); }), "");
}

TEST_F(Files, RunFoldersOfProcessesDiffer) {
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    children.push_back(::fork());
    if (children.back() == 0) {
      for (int j = 0; j < 5; ++j) create_run_folder(folder, std::to_string(i) + "-" + std::to_string(j));
      ::_exit(0);
    }
  }
  for (pid_t child : children) ::waitpid(child, nullptr, 0);
  std::set<std::string> numbers;
  for (const fs::path& path : fs::directory_iterator(folder)) numbers.insert(path.filename().native().substr(0, 5));
  EXPECT_EQ(numbers.size(), 40u);
  EXPECT_EQ(*numbers.rbegin(), "00039");
}

// A child that holds the lock until it is killed.
pid_t lock_in_child(const fs::path& folder) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const RunLock lock(folder);
    if (::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(1);
  }
  char byte;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  return child;
}

TEST_F(Files, SecondTrainingIsRefusedAndADeadOneIsNot) {
  const pid_t child = lock_in_child(folder);
  EXPECT_EQ(message_of([&] { const RunLock second(folder); }, ExitCode::failed),
            "'" + folder.native() + "' is being trained by process " + std::to_string(child) +
                ": wait for it, stop it, or train into another folder");
  const fs::path torn = folder / "ckpt" / ".pastiche-0123456789abcdef.tmp";
  fs::create_directory(folder / "ckpt");
  put(torn, "torn");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  { const RunLock taken_over(folder); }
  { const RunLock again(folder); }
  EXPECT_EQ(text_of(folder / "lock"), std::to_string(::getpid()));
  EXPECT_FALSE(fs::exists(torn));
}

mode_t mode_of(const fs::path& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0);
  return info.st_mode & 07777;
}

TEST_F(Files, ModesAreKeptAndNewOnesFollowTheUmask) {
  EXPECT_EQ(in_child([&] {
    ::umask(027);
    write_file_atomically(folder / "new", std::string_view("x"));
    EXPECT_EQ(mode_of(folder / "new"), 0640u);
    put(folder / "old", "x");
    ::chmod((folder / "old").c_str(), 04604);
    write_file_atomically(folder / "old", std::string_view("y"));
    EXPECT_EQ(mode_of(folder / "old"), 0604u) << "and no set-user-id bit on another content";
    if (::geteuid() == 0) {
      EXPECT_EQ(::chown((folder / "old").c_str(), 65534, 65534), 0);
      write_file_atomically(folder / "old", std::string_view("z"));
      struct stat info {};
      ::stat((folder / "old").c_str(), &info);
      EXPECT_EQ(info.st_uid, 65534u);
    }
    return HasFailure() ? 1 : 0;
  }), 0);
}

// A run folder's files are replaced where they stand; where a user names a place, a link is followed.
TEST_F(Files, LinksAreReplacedOrFollowed) {
  put(folder / "victim", "precious");
  ::chmod((folder / "victim").c_str(), 0600);
  fs::create_symlink("victim", folder / "link");
  write_file_atomically(folder / "link", std::string_view("new"));
  EXPECT_EQ(text_of(folder / "victim"), "precious");
  EXPECT_FALSE(fs::is_symlink(folder / "link"));
  EXPECT_NE(mode_of(folder / "link"), 0600u) << "of the file that was replaced, not of what it led to";
  fs::remove(folder / "link");
  fs::create_symlink("victim", folder / "link");
  write_where_named(folder / "link", std::string_view("new"));
  EXPECT_EQ(text_of(folder / "victim"), "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(without_links(folder / "link"), folder / "victim");
  fs::create_symlink("a", folder / "b");
  fs::create_symlink("b", folder / "a");
  EXPECT_NE(message_of([&] { write_where_named(folder / "a", std::string_view("x")); }).find("symbolic links"), std::string::npos);
}

TEST_F(Files, LongNamesCanBeWritten) {
  const fs::path path = folder / std::string(255, 'n');
  write_file_atomically(path, std::string_view("x"));
  EXPECT_EQ(text_of(path), "x");
}

TEST_F(Files, TemporaryFilesAreOurOwn) {
  EXPECT_TRUE(is_temporary_name(temporary_name()));
  EXPECT_NE(temporary_name(), temporary_name());
  for (const char* other : {"notes.tmp", ".pastiche-.tmp", ".pastiche-0123456789abcdeg.tmp", ".pastiche-0123456789abcdef.tmp.png"}) EXPECT_FALSE(is_temporary_name(other));
  const fs::path abandoned = folder / temporary_name(), user = folder / "notes.tmp", link = folder / temporary_name(), a_folder = folder / temporary_name();
  put(abandoned, "");
  put(user, "");
  fs::create_symlink(user, link);
  fs::create_directory(a_folder);
  {
    TemporaryFile file(folder), other(folder);
    EXPECT_EQ(mode_of(file.path()) & 0022, 0u);
    remove_abandoned_files(folder);
    EXPECT_FALSE(fs::exists(abandoned));
    for (const fs::path& path : {user, link, a_folder, file.path(), other.path()}) EXPECT_TRUE(fs::exists(fs::symlink_status(path))) << path;
    put(file.path(), "content");
    file.replace(folder / "result");
    remove_temporary_files();  // as a signal's handler does
    EXPECT_FALSE(fs::exists(other.path()));
  }
  EXPECT_EQ(text_of(folder / "result"), "content");
  EXPECT_EQ(entries(), 4u) << "result, notes.tmp, the link, the folder";
}

TEST_F(Files, RunLockLeavesOthersFilesAlone) {
  const fs::path outside = folder / "outside", run = folder / "run";
  fs::create_directories(outside);
  fs::create_directories(run / "mine");
  put(outside / ".pastiche-0123456789abcdef.tmp", "");
  put(run / "notes.tmp", "");
  put(run / "mine" / ".pastiche-0123456789abcdef.tmp", "");
  { const RunLock lock(run); }
  EXPECT_TRUE(fs::exists(run / "notes.tmp"));
  EXPECT_TRUE(fs::exists(run / "mine" / ".pastiche-0123456789abcdef.tmp"));
  for (const char* name : {"ckpt", "samples"}) {
    fs::create_symlink(outside, run / name);
    EXPECT_NE(message_of([&] { const RunLock lock(run); }).find("symbolic link"), std::string::npos);
    fs::remove(run / name);
  }
  EXPECT_TRUE(fs::exists(outside / ".pastiche-0123456789abcdef.tmp"));

  put(folder / "victim", "precious");
  fs::remove(run / "lock");
  fs::create_symlink("../victim", run / "lock");
  EXPECT_NE(message_of([&] { const RunLock lock(run); }).find("symbolic link"), std::string::npos);
  fs::remove(run / "lock");
  fs::create_hard_link(folder / "victim", run / "lock");
  { const RunLock lock(run); }
  fs::remove(run / "lock");
  ASSERT_EQ(::mkfifo((run / "lock").c_str(), 0600), 0);
  EXPECT_NE(message_of([&] { const RunLock lock(run); }).find("not a regular file"), std::string::npos);
  EXPECT_EQ(text_of(folder / "victim"), "precious");
}

TEST_F(Files, LogsAreRegularFilesOfTheirOwn) {
  put(folder / "victim", "{\"step\":9}\n");
  fs::create_symlink("victim", folder / "log");
  EXPECT_NE(message_of([&] { JsonLines log(folder / "log"); }).find("symbolic link"), std::string::npos);
  EXPECT_NE(message_of([&] { truncate_after_step(folder / "log", 1); }).find("symbolic link"), std::string::npos);
  EXPECT_EQ(text_of(folder / "victim"), "{\"step\":9}\n");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_NE(message_of([&] { JsonLines log(folder / "fifo"); }), "");
  EXPECT_NE(message_of([&] { truncate_after_step(folder / "fifo", 1); }), "");
}

// `cp -al RUN BACKUP` gives each file a second name.
TEST_F(Files, LogsLeaveTheirBackupsAlone) {
  put(folder / "log", "{\"step\":1}\n");
  fs::create_hard_link(folder / "log", folder / "backup");
  JsonLines log(folder / "log");
  ASSERT_TRUE(log.append("{\"step\":2}"));
  EXPECT_EQ(text_of(folder / "backup"), "{\"step\":1}\n");
  EXPECT_EQ(text_of(folder / "log"), "{\"step\":1}\n{\"step\":2}\n");
}

TEST_F(Files, RunNumbersDoNotOverflow) {
  fs::create_directory(folder / "9223372036854775807-x");
  fs::create_directory(folder / "20240131120000-holiday");
  EXPECT_EQ(create_run_folder(folder, "x"), folder / "00000-x");
  fs::create_directory(folder / "999999999-x");
  EXPECT_EQ(create_run_folder(folder, "x"), folder / "1000000000-x");
  EXPECT_EQ(create_run_folder(folder, "x"), folder / "1000000001-x");
}

TEST_F(Files, JsonLinesAppends) {
  const fs::path path = folder / "stats.jsonl";
  {
    JsonLines log(path);
    EXPECT_TRUE(log.append(R"({"step":1})"));
  }
  JsonLines log(path);
  EXPECT_TRUE(log.append(R"({"step":2})"));
  EXPECT_EQ(text_of(path), "{\"step\":1}\n{\"step\":2}\n");
  EXPECT_NE(message_of([&] { JsonLines none(folder / "no" / "f"); }), "");
}

TEST_F(Files, TruncateDropsLaterAndTornLines) {
  const fs::path path = folder / "stats.jsonl";
  truncate_after_step(path, 5);
  EXPECT_FALSE(fs::exists(path));
  const std::string kept = "{\"step\":1}\n{\"event\":\"start\"}\n{\"step\":5,\"x\":{\"step\":9}}\n";
  put(path, kept + "{\"step\":6}\n{\"ste\n[5]\n{\"step\":2}");
  truncate_after_step(path, 5);
  EXPECT_EQ(text_of(path), kept);
  truncate_after_step(path, 5);
  EXPECT_EQ(text_of(path), kept);
  truncate_after_step(path, 0);
  EXPECT_EQ(text_of(path), "{\"event\":\"start\"}\n");
  put(path, kept + "{\"step\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}\n");
  truncate_after_step(path, 5);
  EXPECT_EQ(text_of(path), kept);
}

TEST(NearestName, FindsSlipsAndNothingElse) {
  const std::vector<std::string> names = {"batch", "lr-g", "lr-d", "label-smoothing", "seed", "out"};
  EXPECT_EQ(nearest_name("bacth", names), "batch");
  EXPECT_EQ(nearest_name("LR_G", names), "lr-g");
  EXPECT_EQ(nearest_name("lrd", names), "lr-d");
  EXPECT_EQ(nearest_name("label_smothing", names), "label-smoothing");
  EXPECT_EQ(nearest_name("sede", names), "seed");
  EXPECT_EQ(nearest_name("momentum", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name(std::string(1'000'000, 'b'), names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
}

TEST(Quote, KeepsMessagesOnOneLine) {
  EXPECT_EQ(quote("a b"), "'a b'");
  EXPECT_EQ(quote(std::string_view("\0\n\t\x7f", 4)), "'\\x00\\n\\x09\\x7f'");
  EXPECT_EQ(quote("\xc3\xa9\xf0\x9f\x98\x80"), "'\xc3\xa9\xf0\x9f\x98\x80'");
  EXPECT_EQ(quote("\xff\xc3"), "'\\xff\\xc3'");
  EXPECT_EQ(quote(std::string(300, 'x')), "'" + std::string(199, 'x') + "...'");
}

// Orders to a terminal, marks that turn the direction, and what is no UTF-8.
TEST(Printable, HidesNoOrders) {
  EXPECT_EQ(printable("a b \xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80 \\"), "a b \xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x98\x80 \\");
  EXPECT_EQ(printable("\x1b[2J\n\r\x7f"), "\\x1b[2J\\n\\x0d\\x7f");
  EXPECT_EQ(printable("\xc2\x9b" "31m\xc2\xa0"), "\\xc2\\x9b31m\xc2\xa0");
  EXPECT_EQ(printable("\xe2\x80\xae" "gnp\xe2\x81\xa6\xe2\x80\xa8"), "\\xe2\\x80\\xaegnp\\xe2\\x81\\xa6\\xe2\\x80\\xa8");
  EXPECT_EQ(printable("\xc0\xaf\xe0\x80\xaf\xed\xa0\x80\xf4\x90\x80\x80\xf8"),
            "\\xc0\\xaf\\xe0\\x80\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xf8");
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(ShellWord, CanBePasted) {
  EXPECT_EQ(shell_word("a/b-c.png"), "a/b-c.png");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word("-o x"), "'./-o x'");
  EXPECT_EQ(shell_argument("--out"), "--out");
  EXPECT_EQ(shell_word("a\n\x1b'\\\xff"), "$'a\\n\\x1b\\'\\\\\\xff'");
  if (std::system("command -v bash >/dev/null") != 0) GTEST_SKIP() << "needs bash";
  const std::string odd = "\x1b[2J\n'\\n \xff\xc2\x9b" "31\xe2\x80\xae$x`";
  const fs::path script = fs::temp_directory_path() / ("pastiche-word-" + std::to_string(getpid()));
  std::ofstream(script) << "printf %s " << shell_word(odd) << " >" << script.native() << ".out\n";
  EXPECT_EQ(std::system(("bash " + script.native()).c_str()), 0);
  EXPECT_EQ(text_of(script.native() + ".out"), odd);
  fs::remove(script);
  fs::remove(script.native() + ".out");
}

std::string sha256_of(std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); }

// From FIPS 180-4's examples and the SHA test vectors of NIST's CAVP; the lengths around a block from coreutils.
TEST(Sha256, MatchesKnownDigests) {
  EXPECT_EQ(sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_of(std::string(1'000'000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(sha256_of(std::string(55, 'a')), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  EXPECT_EQ(sha256_of(std::string(56, 'a')), "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  EXPECT_EQ(sha256_of(std::string(63, 'a')), "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34");
  EXPECT_EQ(sha256_of(std::string(64, 'a')), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  EXPECT_EQ(sha256_of(std::string(65, 'a')), "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0");
  EXPECT_EQ(sha256_of(std::string(119, 'a')), "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
  EXPECT_EQ(sha256_of(std::string(120, 'a')), "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c");
}

}  // namespace
}  // namespace pastiche
