#include "base/fd.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "base/id.h"

namespace gridiron {
namespace {

Result<void> writeAll(int fd, std::string_view data, const std::string& path) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errnoError("write " + path);
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> syncDirectoryOf(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return errnoError("fsync directory " + directory);
  return {};
}

}  // namespace

Result<std::string> readFile(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errnoError("open " + path);
  std::string out;
  std::string buffer(64 * 1024, '\0');
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errnoError("read " + path);
    if (n == 0) return out;
    out.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

Result<void> writeFileAtomic(const std::string& path, std::string_view data, int mode, Durable durable) {
  const std::string temporary = path + "." + randomAlnum(8) + ".tmp";
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd.valid()) return errnoError("create " + temporary);
  Result<void> written = writeAll(fd.get(), data, temporary);
  if (written.ok() && durable == Durable::yes && ::fsync(fd.get()) != 0) written = errnoError("fsync " + temporary);
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) written = errnoError("rename to " + path);
  if (!written.ok()) {
    ::unlink(temporary.c_str());
    return written;
  }
  return durable == Durable::yes ? syncDirectoryOf(path) : Result<void>{};
}

Result<void> makeDirectories(const std::string& path, int mode) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string prefix = path.substr(0, at);
    if (::mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST) return errnoError("mkdir " + prefix);
  }
  return {};
}

}  // namespace gridiron
