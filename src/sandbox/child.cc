#include "sandbox/child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace gridiron::sandbox {
namespace {

constexpr const char* kReadOnly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
constexpr const char* kMaskedFiles[] = {"/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
                                        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                                        "/proc/kmsg",       "/proc/kallsyms"};
constexpr const char* kMaskedDirectories[] = {"/proc/acpi",     "/proc/asound",  "/proc/scsi",
                                              "/proc/pressure", "/sys/firmware", "/sys/devices/virtual/powercap"};

constexpr int kMostFiles = 8;

std::int64_t nanosNow() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

// The child's whole state: it is one thread in a process of its own.
struct Child {
  const ChildPlan& plan;

  void tell(int kind, int step, int error, std::int64_t took, const char* path, std::size_t length, int pid = 0) const {
    GridironNote note{};
    note.kind = kind;
    note.step = step;
    note.error = error;
    note.pid = pid;
    note.took = took;
    iovec parts[2] = {{&note, sizeof note}, {const_cast<char*>(path), length}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = length == 0 ? 1 : 2;
    (void)::sendmsg(plan.control, &message, MSG_NOSIGNAL);
  }
  [[noreturn]] void fail(int step) const {
    tell(gridironNoteFailed, step, errno, 0, nullptr, 0);
    ::_exit(127);
  }
  // Ends the child unless `result` tells of success.
  int must(int result, int step) const {
    if (result < 0) fail(step);
    return result;
  }
  void waitForParent() const {
    char go = 0;
    ssize_t n;
    do {
      n = ::recv(plan.control, &go, 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 1) return;
    errno = ECANCELED;
    fail(gridironStepParent);
  }

  void joinCgroups() const {
    for (int i = 0; i < plan.taskFileCount; ++i) {
      must(static_cast<int>(::write(plan.taskFiles[i], "0", 1)), gridironStepCgroup);
    }
    must(::unshare(CLONE_NEWCGROUP), gridironStepCgroup);
  }

  // Its own user namespace is owned by whom the nursery's root is: that gives the zygote, which has no privileges in
  // its own, the right to enter this one.
  void enterNursery() const {
    must(::setns(plan.nursery, CLONE_NEWUSER | CLONE_NEWPID), gridironStepBelow);
    becomeRoot();
    must(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), gridironStepBelow);  // its /proc files are root's otherwise
  }
  // The pid of the process behind `pidfd` as the host sees it, which this process, in the nursery, does not.
  int hostPid(int pidfd) const {
    char text[512] = {};
    std::snprintf(text, sizeof text, "/proc/self/fdinfo/%d", pidfd);
    const int file = must(::open(text, O_RDONLY | O_CLOEXEC), gridironStepBelow);
    const ssize_t got = ::read(file, text, sizeof text - 1);
    ::close(file);
    text[got > 0 ? got : 0] = '\0';
    const char* at = std::strstr(text, "Pid:");
    return at == nullptr ? 0 : std::atoi(at + 4);
  }
  void mapUsers(int pid) const {
    for (const char* kind : {"uid", "gid"}) {
      char path[64];
      std::snprintf(path, sizeof path, "/proc/%d/%s_map", pid, kind);
      const int file = must(::open(path, O_WRONLY | O_CLOEXEC), gridironStepBelow);
      constexpr char kMap[] = "0 0 65536\n";
      must(static_cast<int>(::write(file, kMap, sizeof kMap - 1)), gridironStepBelow);
      ::close(file);
    }
  }
  // A sibling of this process with `flags`; gives 0 in it.
  int cloneSibling(std::uint64_t flags, int* pidfd) const {
    clone_args args{};
    args.flags = flags | CLONE_PARENT | CLONE_PIDFD;
    args.pidfd = reinterpret_cast<std::uint64_t>(pidfd);
    return must(static_cast<int>(::syscall(SYS_clone3, &args, sizeof args)), gridironStepBelow);
  }

  void becomeRoot() const {
    if (!plan.userNamespace) return;
    must(static_cast<int>(::syscall(SYS_setgroups, 0, nullptr)), gridironStepIdentity);
    must(static_cast<int>(::syscall(SYS_setresgid, 0, 0, 0)), gridironStepIdentity);
    must(static_cast<int>(::syscall(SYS_setresuid, 0, 0, 0)), gridironStepIdentity);
  }

  // A new instance of a file system type as a detached mount, each option a "key=value" or a flag.
  int makeMount(const char* type, const char* const* options, unsigned attributes, int step) const {
    const int context = must(::fsopen(type, FSOPEN_CLOEXEC), step);
    for (; options != nullptr && *options != nullptr; ++options) {
      const char* equals = std::strchr(*options, '=');
      char key[32] = {};
      if (equals != nullptr) std::memcpy(key, *options, static_cast<std::size_t>(equals - *options));
      must(equals == nullptr ? ::fsconfig(context, FSCONFIG_SET_FLAG, *options, nullptr, 0)
                             : ::fsconfig(context, FSCONFIG_SET_STRING, key, equals + 1, 0),
           step);
    }
    must(::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), step);
    const int mount = must(::fsmount(context, FSMOUNT_CLOEXEC, attributes), step);
    ::close(context);
    return mount;
  }
  static int put(int mount, const char* target) {
    return ::move_mount(mount, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
  }

  // Before the identity changes: mapped root may not walk there.
  void goToStage() const { must(::chdir(plan.stage), gridironStepStage); }

  // A private tmpfs to hang the layers on, as the working directory.
  void enterStage() const {
    must(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), gridironStepStage);
    if (plan.nursery < 0) goToStage();
    becomeRoot();
    const char* const options[] = {"mode=0700", "size=1m", nullptr};
    constexpr unsigned kQuiet = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    const int stage = makeMount("tmpfs", options, kQuiet, gridironStepStage);
    must(put(stage, "."), gridironStepStage);
    must(::fchdir(stage), gridironStepStage);
  }

  // The lowest layer: mount points that an image may lack, so that none need be made in the upper.
  void makeBase() const {
    for (const char* const* path = plan.baseDirectories; *path != nullptr; ++path) {
      must(::mkdir(*path, 0755), gridironStepStage);
    }
    for (const char* const* path = plan.baseFiles; *path != nullptr; ++path) {
      ::close(must(::open(*path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), gridironStepStage));
    }
  }
  // Each as a detached mount that outlives the stage.
  void makeFiles(int* mounts) const {
    for (int i = 0; i < plan.fileCount; ++i) {
      const SmallFile& file = plan.files[i];
      const int fd = must(::open(file.name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), gridironStepStage);
      must(static_cast<int>(::write(fd, file.text, file.size)), gridironStepStage);
      ::close(fd);
      mounts[i] = must(::open_tree(AT_FDCWD, file.name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), gridironStepStage);
    }
  }

  void mountOverlay() const {
    char name[16];
    for (int i = 0; i < plan.lowerCount; ++i) {
      std::snprintf(name, sizeof name, "l%d", i);
      must(::mkdir(name, 0700), gridironStepLayers);
      must(put(plan.lowers[i], name), gridironStepLayers);
    }
    must(::mkdir("u", 0700), gridironStepLayers);
    must(put(plan.upper, "u"), gridironStepLayers);
    must(::mkdir("root", 0700), gridironStepLayers);
    must(::mount("overlay", "root", "overlay", MS_NODEV, plan.overlayOptions), gridironStepOverlay);
    must(::chdir("root"), gridironStepOverlay);
  }

  // Makes the overlay the root and forgets the host's tree. A user namespace may mount a new /proc or /sys only while
  // the old ones are in sight, hence both are made first.
  void pivot() const {
    constexpr unsigned kQuiet = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    const int proc = makeMount("proc", nullptr, kQuiet, gridironStepProc);
    const int sys =
        plan.ownNetwork ? makeMount("sysfs", nullptr, kQuiet | MOUNT_ATTR_RDONLY, gridironStepSys) : plan.sys;
    must(static_cast<int>(::syscall(SYS_pivot_root, ".", ".")), gridironStepPivot);
    must(::umount2(".", MNT_DETACH), gridironStepPivot);
    must(::chdir("/"), gridironStepPivot);
    attach({proc, "/proc", true}, gridironStepProc);
    attach({sys, "/sys", true}, gridironStepSys);
  }

  // Says that `path` has been made, by its name without symbolic links, so that it can be taken back.
  void tellMade(const char* path) const {
    if (std::strncmp(path, "/dev/", 5) == 0) return;  // not in the upper
    char link[40];
    char real[4096];
    const int fd = ::open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return;
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = ::readlink(link, real, sizeof real);
    ::close(fd);
    if (length > 0) tell(gridironNoteMade, 0, 0, 0, real, static_cast<std::size_t>(length));
  }
  // Makes a file where a symbolic link points to nothing, as /etc/resolv.conf of many images does.
  void makeLinked(const char* link, int step, int depth) const {
    char target[4096];
    const char* slash = std::strrchr(link, '/');
    const auto parent = static_cast<std::size_t>(slash - link) + 1;
    char to[4096];
    const ssize_t length = ::readlink(link, to, sizeof to - 1);
    if (length <= 0 || parent + static_cast<std::size_t>(length) >= sizeof target) fail(step);
    to[length] = '\0';
    const std::size_t kept = to[0] == '/' ? 0 : parent;
    std::memcpy(target, link, kept);
    std::memcpy(target + kept, to, static_cast<std::size_t>(length) + 1);
    makeTarget(target, false, step, depth + 1);
  }
  void makeLeafFile(const char* path, int step, int depth) const {
    const int made = ::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (made >= 0) {
      ::close(made);
      tellMade(path);
      return;
    }
    struct stat info {};
    if (errno != EEXIST || depth > 8) fail(step);
    if (::lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && ::access(path, F_OK) != 0) makeLinked(path, step, depth);
  }
  void makeTarget(const char* target, bool directory, int step, int depth = 0) const {
    char path[4096];
    const std::size_t length = std::strlen(target);
    if (length == 0 || length >= sizeof path) {
      errno = ENAMETOOLONG;
      fail(step);
    }
    std::memcpy(path, target, length + 1);
    for (std::size_t at = 1; at <= length; ++at) {
      if (path[at] != '/' && path[at] != '\0') continue;
      const bool leaf = path[at] == '\0';
      path[at] = '\0';
      if (leaf && !directory) return makeLeafFile(path, step, depth);
      if (::mkdir(path, 0755) == 0) {
        tellMade(path);
      } else if (errno != EEXIST) {
        fail(step);
      }
      if (!leaf) path[at] = '/';
    }
  }
  void attach(const Attachment& what, int step) const {
    if (put(what.mount, what.target) == 0) return;
    if (errno != ENOENT) fail(step);
    makeTarget(what.target, what.directory, step);
    must(put(what.mount, what.target), step);
  }

  void makeDevices() const {
    const char* const devOptions[] = {"mode=0755", "size=1m", nullptr};
    attach({makeMount("tmpfs", devOptions, MOUNT_ATTR_NOSUID, gridironStepDev), "/dev", true}, gridironStepDev);
    for (const char* directory : {"/dev/pts", "/dev/shm", "/dev/mqueue"}) {
      must(::mkdir(directory, 0755), gridironStepDev);
    }
    const char* const ptsOptions[] = {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5", nullptr};
    constexpr unsigned kQuiet = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    must(put(makeMount("devpts", ptsOptions, kQuiet, gridironStepDev), "/dev/pts"), gridironStepDev);
    const char* const shmOptions[] = {"mode=1777", plan.shmOptions, nullptr};
    must(put(makeMount("tmpfs", shmOptions, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, gridironStepDev), "/dev/shm"),
         gridironStepDev);
    must(put(makeMount("mqueue", nullptr, kQuiet | MOUNT_ATTR_NODEV, gridironStepDev), "/dev/mqueue"), gridironStepDev);
    constexpr const char* kLinks[][2] = {{"pts/ptmx", "/dev/ptmx"},
                                         {"/proc/self/fd", "/dev/fd"},
                                         {"/proc/self/fd/0", "/dev/stdin"},
                                         {"/proc/self/fd/1", "/dev/stdout"},
                                         {"/proc/self/fd/2", "/dev/stderr"}};
    for (const auto& link : kLinks) must(::symlink(link[0], link[1]), gridironStepDev);
  }

  void mask() const {
    for (const char* path : kReadOnly) {
      if (::mount(path, path, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
        if (errno == ENOENT) continue;
        fail(gridironStepMask);
      }
      mount_attr readOnly{};
      readOnly.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
      must(::mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &readOnly, sizeof readOnly), gridironStepMask);
    }
    for (const char* path : kMaskedFiles) {
      if (::mount("/dev/null", path, nullptr, MS_BIND, nullptr) != 0 && errno != ENOENT) fail(gridironStepMask);
    }
    for (const char* path : kMaskedDirectories) {
      if (::mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0,mode=0755") != 0 && errno != ENOENT)
        fail(gridironStepMask);
    }
  }

  void enterWorkdir() const {
    if (::chdir(plan.workdir) == 0) return;
    if (errno != ENOENT) fail(gridironStepWorkdir);
    makeTarget(plan.workdir, true, gridironStepWorkdir);
    must(::chdir(plan.workdir), gridironStepWorkdir);
  }

  void sealRoot() const {
    mount_attr readOnly{};
    readOnly.attr_set = MOUNT_ATTR_RDONLY;
    if (plan.readOnlyRoot) must(::mount_setattr(AT_FDCWD, "/", 0, &readOnly, sizeof readOnly), gridironStepWorkdir);
  }

  void dropPrivileges() const {
    for (int capability = 0; capability < 64; ++capability) {
      if ((plan.capabilities >> capability & 1) != 0) continue;
      if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
      if (errno == EINVAL) break;  // beyond the last that this kernel knows
      fail(gridironStepCapabilities);
    }
    (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2] = {};
    for (unsigned i = 0; i < 2; ++i) {
      data[i].effective = data[i].permitted = static_cast<std::uint32_t>(plan.capabilities >> (32 * i));
    }
    must(static_cast<int>(::syscall(SYS_capset, &head, data)), gridironStepCapabilities);
    must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), gridironStepCapabilities);
    must(static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, plan.filter)), gridironStepSeccomp);
  }

  // Standard streams at 0 to 2, the control socket at 3, init above; all else is closed by exec.
  [[noreturn]] void becomeInit() const {
    const int init = must(::fcntl(plan.init, F_DUPFD_CLOEXEC, 16), gridironStepOutput);
    const int control = must(::fcntl(plan.control, F_DUPFD_CLOEXEC, 16), gridironStepOutput);
    // The container's own /dev/null, not the host's, which nothing in the container could open again.
    const int input =
        plan.input >= 0 ? plan.input : must(::open("/dev/null", O_RDONLY | O_CLOEXEC), gridironStepOutput);
    const int streams[3] = {must(::fcntl(input, F_DUPFD_CLOEXEC, 16), gridironStepOutput),
                            must(::fcntl(plan.output, F_DUPFD_CLOEXEC, 16), gridironStepOutput),
                            must(::fcntl(plan.errors, F_DUPFD_CLOEXEC, 16), gridironStepOutput)};
    for (int i = 0; i < 3; ++i) must(::dup2(streams[i], i), gridironStepOutput);
    must(::dup2(control, gridironControlFd), gridironStepOutput);
    must(::close_range(gridironControlFd + 1, ~0U, CLOSE_RANGE_CLOEXEC), gridironStepOutput);
    const rlimit none{0, 0};
    (void)::setrlimit(RLIMIT_CORE, &none);  // memory that holds secrets does not go to disk
    ::umask(022);
    dropPrivileges();
    ::syscall(SYS_execveat, init, "", plan.argv, plan.environment, AT_EMPTY_PATH);
    fail(gridironStepInit);
  }

  void resetSignals() const {
    for (int signo = 1; signo < 65; ++signo) ::signal(signo, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
  }
};

}  // namespace

void runChild(const ChildPlan& plan) {
  const Child child{plan};
  child.resetSignals();
  ::close(plan.parentControl);
  ::umask(0);
  if (plan.fileCount > kMostFiles) ::abort();
  child.joinCgroups();
  if (plan.userNamespace) child.waitForParent();  // for the maps
  const std::int64_t started = nanosNow();
  int files[kMostFiles];
  child.enterStage();
  child.makeBase();
  child.makeFiles(files);
  child.mountOverlay();
  child.pivot();
  child.makeDevices();
  for (int i = 0; i < plan.fileCount; ++i) child.attach({files[i], plan.files[i].target, false}, gridironStepBind);
  for (int i = 0; i < plan.attachmentCount; ++i) child.attach(plan.attachments[i], gridironStepBind);
  child.mask();
  child.must(::sethostname(plan.hostname, std::strlen(plan.hostname)), gridironStepHostname);
  child.tell(gridironNoteRootfs, 0, 0, nanosNow() - started, nullptr, 0);
  child.waitForParent();  // for the network and what must be there before the program
  child.enterWorkdir();
  child.sealRoot();
  child.becomeInit();
}

namespace {

// The second of those between, and the container's init that it makes.
struct Second {
  const Child& child;
  std::uint64_t flags;
  static int run(void* given) {
    const auto& [child, flags] = *static_cast<const Second*>(given);
    int pidfd = -1;
    if (child.cloneSibling(flags, &pidfd) == 0) runChild(child.plan);
    const int pid = child.hostPid(pidfd);
    child.mapUsers(pid);
    child.tell(gridironNoteBorn, 0, 0, 0, nullptr, 0, pid);
    ::_exit(0);
  }
};

constexpr std::size_t kStack = 512 * 1024;  // also init's, until it is executed

}  // namespace

void runBetween(const ChildPlan& plan, std::uint64_t flags) {
  const Child child{plan};
  child.resetSignals();
  ::setpgid(0, 0);  // by which the worker finds and reaps all of a start that failed
  child.goToStage();
  child.enterNursery();
  // Only who is in a pid namespace, not who is about to have children in it, can make one below it. It has this one's
  // memory: to copy that of the worker again would take longer than all else here.
  Second second{child, flags};
  alignas(16) char stack[kStack];
  child.must(::clone(Second::run, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PARENT, &second),
             gridironStepBelow);
  ::_exit(0);
}

const char* stepName(int step) {
  constexpr const char* kNames[gridironStepCount] = {
      "cgroup",   "identity", "stage",   "layers", "overlay",      "pivot",   "proc", "sys",  "dev",     "bind", "mask",
      "hostname", "prepare",  "workdir", "output", "capabilities", "seccomp", "init", "exec", "nursery", "fork"};
  return step >= 0 && step < gridironStepCount ? kNames[step] : "unknown";
}

}  // namespace gridiron::sandbox
