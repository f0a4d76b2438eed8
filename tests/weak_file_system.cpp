// For LD_PRELOAD: a file system that lacks what NO_FOLDER_SYNC, NO_LOCKS, NO_UNNAMED and NO_HARD_LINKS say, as VirtualBox's, 9p, SMB and
// exFAT do. The environment is read at each call, so a test can have them one by one.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdlib>

namespace {

bool lacks(const char* what) { return std::getenv(what) != nullptr; }

template <class Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

extern "C" {

int fsync(int fd) {
  struct stat info;
  if (lacks("NO_FOLDER_SYNC") && fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) return fail(EINVAL);
  return original<int(int)>("fsync")(fd);
}

int flock(int fd, int operation) noexcept {
  if (lacks("NO_LOCKS")) return fail(ENOLCK);
  return original<int(int, int)>("flock")(fd, operation);
}

int linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) noexcept {
  if (lacks("NO_HARD_LINKS")) return fail(EPERM);
  return original<int(int, const char*, int, const char*, int)>("linkat")(from_folder, from, to_folder, to, flags);
}

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  if (lacks("NO_UNNAMED") && (flags & O_TMPFILE) == O_TMPFILE) return fail(EOPNOTSUPP);
  return original<int(const char*, int, ...)>("open")(path, flags, mode);
}

}
