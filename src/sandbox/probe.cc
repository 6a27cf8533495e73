#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "sandbox/cgroup.h"
#include "sandbox/filter.h"
#include "sandbox/mapping.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {
namespace {

bool inPath(const std::string& program) {
  for (const char* directory : {"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/"}) {
    if (::access((directory + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

bool knowsFileSystem(const std::string& name) {
  const auto text = readFile("/proc/filesystems");
  return text.ok() && text->find("\t" + name + "\n") != std::string::npos;
}

bool rootIsMount() {
  struct statx root {};
  if (::statx(AT_FDCWD, "/", 0, 0, &root) != 0 || (root.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) return true;
  return (root.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Result<void> moveIntoOwnRoot() {
  if (::unshare(CLONE_NEWNS) != 0) return errnoError("unshare the mount namespace");
  const Fd here(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Fd tree(::open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!here.valid() || !tree.valid()) return errnoError("take the root directory's tree");
  // Entering the namespace again leads to its own root, outside the chroot: only there can roots be changed.
  const Fd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (::setns(self.get(), CLONE_NEWNS) != 0) return errnoError("leave the chroot");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errnoError("make mounts private");
  if (::move_mount(tree.get(), "", here.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return errnoError("mount the root directory on itself");
  }
  if (::fchdir(tree.get()) != 0) return errnoError("enter the mounted root directory");
  if (::syscall(SYS_pivot_root, ".", ".") != 0) return errnoError("pivot_root");
  if (::umount2(".", MNT_DETACH) != 0) return errnoError("let the old root go");
  return ::chdir("/") == 0 ? Result<void>{} : errnoError("enter the root directory");
}

void probeKernel(HostFacts& facts) {
  utsname name{};
  ::uname(&name);
  facts.kernel = name.release;
  int major = 0, minor = 0;
  if (std::sscanf(name.release, "%d.%d", &major, &minor) == 2 && (major < 5 || (major == 5 && minor < 19))) {
    facts.problems.push_back("kernel " + facts.kernel +
                             " is older than 5.19, which containers need (overlay on mapped mounts): boot a newer one");
  }
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
  facts.pidfd = fd >= 0;
  if (fd >= 0) ::close(fd);
  if (!facts.pidfd) facts.problems.push_back("the kernel has no pidfd_open: boot 5.3 or newer");
}

void probeCgroups(HostFacts& facts) {
  const CgroupLayout layout = CgroupLayout::look();
  facts.cgroups = layout.kind;
  if (layout.kind == HostFacts::Cgroups::none) {
    facts.problems.push_back(
        "no cgroup hierarchy with the memory controller: mount one (mount -t cgroup2 none /sys/fs/cgroup) and, on a "
        "kernel that has it switched off, boot with cgroup_enable=memory");
    return;
  }
  if (layout.kind == HostFacts::Cgroups::v2) {
    if (::access((layout.unified + "/cgroup.subtree_control").c_str(), W_OK) != 0) {
      facts.problems.push_back(layout.unified + " is read-only here: run outside a container, or give it the cgroups");
    }
    return;
  }
  for (const char* controller : {"cpu", "pids"}) {
    if (!layout.mountOf(controller).empty()) continue;
    facts.problems.push_back(std::string("the cgroup controller ") + controller +
                             " is not mounted: its limits cannot be enforced (mount -t cgroup -o " + controller + ")");
  }
}

void probeFeatures(HostFacts& facts) {
  facts.overlay = knowsFileSystem("overlay");
  if (!facts.overlay) facts.problems.push_back("overlayfs is not there: modprobe overlay");
  facts.nftables = inPath("nft");
  if (!facts.nftables) facts.problems.push_back("the program nft is not there: install the package nftables");
  facts.seccomp = makeFilter().ok() && ::access("/proc/sys/kernel/seccomp", F_OK) == 0;
  if (!facts.seccomp)
    facts.problems.push_back("the kernel has no seccomp filters: boot one with CONFIG_SECCOMP_FILTER");
  if (!facts.root || !facts.rootIsMount) return;  // a chroot has none until its root is made a mount
  const auto mapping = makeMapping();
  facts.userNamespaces = mapping.ok();
  if (!mapping.ok()) {
    facts.problems.push_back("user namespaces cannot be made (" + mapping.error().message +
                             "): containers' root would be the host's; look at user.max_user_namespaces (sysctl)");
  }
}

void probeDisk(HostFacts& facts) {
  struct statvfs disk {};
  if (::statvfs("/var", &disk) != 0) return;
  const auto free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (free < (std::uint64_t{2} << 30)) {
    facts.problems.push_back("less than 2 GiB is free on the disk of /var: images take several");
  }
}

}  // namespace

Result<void> makeRootAMount() {
  if (rootIsMount()) return {};
  const Result<void> moved = moveIntoOwnRoot();
  if (moved.ok()) return {};
  return makeError(
      Code::failedPrecondition,
      "the root directory is no mount point (a plain chroot), and it could not be made one: {}. Mount it on "
      "itself before the chroot: mount --bind DIR DIR",
      moved.error().message);
}

HostFacts probeHost() {
  HostFacts facts;
  facts.rootIsMount = rootIsMount();
  facts.root = ::geteuid() == 0;
  if (!facts.root) facts.problems.push_back("not root: containers need it; run as root, or the control plane alone");
  probeKernel(facts);
  probeCgroups(facts);
  probeFeatures(facts);
  probeDisk(facts);
  return facts;
}

}  // namespace gridiron::sandbox
