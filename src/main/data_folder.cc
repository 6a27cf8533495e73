#include "main/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace gridiron {
namespace {

std::string readOwner(int file) {
  std::array<char, 32> text{};
  auto got = ::pread(file, text.data(), text.size() - 1, 0);
  std::string owner(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return owner.substr(0, owner.find('\n'));
}

}  // namespace

Result<DataFolder> DataFolder::lock(const std::string& path) {
  RETURN_IF_ERROR(makeDirectories(path, 0700));
  std::string name = path + "/lock";
  Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) return errnoError("open " + name);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return errnoError("lock " + name);
    std::string owner = readOwner(file.get());
    return makeError(Code::failedPrecondition, "{} is in use by another gridiron{}", path,
                     owner.empty() ? "" : " (process " + owner + ")");
  }
  std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), pid.data(), pid.size(), 0) < 0)
    return errnoError("write " + name);
  return DataFolder(path, std::move(file));
}

}  // namespace gridiron
