#include <sys/mount.h>
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
  if (!facts.root) return;
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

HostFacts probeHost() {
  HostFacts facts;
  facts.root = ::geteuid() == 0;
  if (!facts.root) facts.problems.push_back("not root: containers need it; run as root, or the control plane alone");
  probeKernel(facts);
  probeCgroups(facts);
  probeFeatures(facts);
  probeDisk(facts);
  return facts;
}

}  // namespace gridiron::sandbox
