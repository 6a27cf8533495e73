#include "sandbox/mapping.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace gridiron::sandbox {
namespace {

constexpr const char* kMap = "0 100000 65536\n";

Result<void> writeMap(const std::string& file) {
  Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return errnoError("open " + file);
  const std::string map = kMap;
  if (::write(fd.get(), map.data(), map.size()) < 0) return errnoError("write " + file);
  return {};
}

}  // namespace

Result<void> writeMaps(int pid) {
  const std::string process = "/proc/" + std::to_string(pid);
  RETURN_IF_ERROR(writeMap(process + "/uid_map"));
  return writeMap(process + "/gid_map");
}

Result<Fd> makeMapping() {
  clone_args args{};
  args.flags = CLONE_NEWUSER;
  args.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) {
    for (;;) ::pause();
  }
  if (pid < 0) return errnoError("make a user namespace");
  const auto take = [&]() -> Result<Fd> {
    RETURN_IF_ERROR(writeMaps(static_cast<int>(pid)));
    const std::string file = "/proc/" + std::to_string(pid) + "/ns/user";
    Fd space(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!space.valid()) return errnoError("open " + file);
    return space;
  };
  Result<Fd> out = take();
  ::kill(static_cast<pid_t>(pid), SIGKILL);
  ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return out;
}

bool canBeMapped(const std::string& directory, int mapping) {
  const Fd mount(::open_tree(AT_FDCWD, directory.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  mount_attr change{};
  change.attr_set = MOUNT_ATTR_IDMAP;
  change.userns_fd = static_cast<std::uint64_t>(mapping);
  return mount.valid() && ::mount_setattr(mount.get(), "", AT_EMPTY_PATH, &change, sizeof change) == 0;
}

}  // namespace gridiron::sandbox
