#include "main/data_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace gridiron {
namespace {

// Of all of the file: the kernel's owner of such a lock is the process, so children that a killed grid leaves half
// made, which have its descriptors, do not keep it.
struct flock wholeFile() {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return whole;
}

}  // namespace

Result<DataFolder> DataFolder::lock(const std::string& path) {
  RETURN_IF_ERROR(makeDirectories(path, 0700));
  std::string name = path + "/lock";
  Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) return errnoError("open " + name);
  struct flock wanted = wholeFile();
  if (::fcntl(file.get(), F_SETLK, &wanted) != 0) {
    if (errno != EACCES && errno != EAGAIN) return errnoError("lock " + name);
    struct flock held = wholeFile();
    const bool known = ::fcntl(file.get(), F_GETLK, &held) == 0 && held.l_type != F_UNLCK && held.l_pid > 0;
    return makeError(Code::failedPrecondition, "{} is in use by another gridiron{}", path,
                     known ? " (process " + std::to_string(held.l_pid) + ")" : "");
  }
  return DataFolder(path, std::move(file));
}

}  // namespace gridiron
