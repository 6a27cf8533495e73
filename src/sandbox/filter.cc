#include "sandbox/filter.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>

#include "base/fd.h"

namespace gridiron::sandbox {
namespace {

constexpr const char* kDenied[] = {
    // The machine: clock, modules, kexec, power, accounting, swap, host-wide limits and names.
    "acct", "adjtimex", "clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "create_module",
    "delete_module", "finit_module", "get_kernel_syms", "init_module", "ioperm", "iopl", "kexec_file_load",
    "kexec_load", "nfsservctl", "query_module", "quotactl", "quotactl_fd", "reboot", "settimeofday", "stime", "swapoff",
    "swapon", "syslog", "vhangup", "_sysctl", "sysfs", "uselib", "ustat", "lookup_dcookie", "vm86", "vm86old",
    // Mounts and namespaces.
    "mount", "umount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "setns", "unshare", "open_by_handle_at", "name_to_handle_at",
    // Kernel keys are not kept apart by namespaces.
    "add_key", "keyctl", "request_key",
    // Attack surface.
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "kcmp",
    "process_madvise", "fanotify_init", "move_pages", "mbind", "set_mempolicy", "migrate_pages",
    "set_mempolicy_home_node"};

constexpr std::uint64_t kNamespaceFlags[] = {CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                             CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};
constexpr int kDeniedFamilies[] = {AF_VSOCK, AF_ALG, AF_PACKET, AF_XDP, AF_TIPC, AF_CAN, AF_BLUETOOTH, AF_KEY};

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

int addRules(scmp_filter_ctx context, FilterFor whom) {
  for (const char* name : kDenied) {
    if (whom == FilterFor::zygote && std::string_view(name) == "setns") continue;
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;  // newer than the library, or of another architecture
    const int failed = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), number, 0);
    if (failed != 0) return failed;
  }
  for (const std::uint64_t flag : kNamespaceFlags) {
    const int failed =
        seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    if (failed != 0) return failed;
  }
  for (const int family : kDeniedFamilies) {
    const int failed = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                                        SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)));
    if (failed != 0) return failed;
  }
  return seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

}  // namespace

Result<std::vector<sock_filter>> makeFilter(FilterFor whom) {
  const Context context(seccomp_init(SCMP_ACT_ALLOW), seccomp_release);
  if (!context) return Error{Code::internal, "libseccomp: no filter can be made"};
#if defined(__x86_64__)
  seccomp_arch_add(context.get(), SCMP_ARCH_X86);  // 32-bit programs keep to the same list
#endif
  seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree: a few comparisons for each call
  if (const int failed = addRules(context.get(), whom); failed != 0)
    return errnoError("libseccomp: add a rule", -failed);
  Fd file(::memfd_create("filter", MFD_CLOEXEC));
  if (!file.valid()) return errnoError("memfd_create");
  if (const int failed = seccomp_export_bpf(context.get(), file.get()); failed != 0) {
    return errnoError("libseccomp: export the filter", -failed);
  }
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> out(static_cast<std::size_t>(size) / sizeof(sock_filter));
  const auto wanted = static_cast<ssize_t>(out.size() * sizeof(sock_filter));
  if (::pread(file.get(), out.data(), static_cast<std::size_t>(wanted), 0) != wanted)
    return errnoError("read the filter");
  return out;
}

}  // namespace gridiron::sandbox
