#include "sandbox/criu.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/subprocess.h"
#include "sandbox/mapping.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {
namespace {

constexpr int kPid = 32000;  // of CRIU in the container: the low ones are wanted by what it restores
constexpr int kFirstInherited = 100;
constexpr const char* kLoader = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
constexpr const char* kLibraries = "/usr/lib/x86_64-linux-gnu";
constexpr const char* kProgram = "/usr/sbin/criu";
constexpr int kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;

// What the forked processes need; made before, for they may not allocate.
struct Prepared {
  int root, init, log;
  bool joinsUsers;
  std::vector<int> cgroups, inherited;
  std::vector<std::string> texts;
  std::vector<char*> argv;
};

[[noreturn]] void become(const Prepared& run) {
  if (run.joinsUsers) {
    if (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::syscall(SYS_setresgid, 0, 0, 0) != 0 ||
        ::syscall(SYS_setresuid, 0, 0, 0) != 0)
      ::_exit(71);
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  for (std::size_t i = 0; i < run.inherited.size(); ++i) {
    if (::dup2(run.inherited[i], kFirstInherited + static_cast<int>(i)) < 0) ::_exit(72);
  }
  if (::dup2(run.log, 1) < 0 || ::dup2(run.log, 2) < 0) ::_exit(72);
  static char faults[] = "CRIU_FAULT=130";  // without hardware breakpoints, which virtual machines may lack
  static char path[] = "PATH=/nonexistent";
  char* const environment[] = {path, faults, nullptr};
  ::syscall(SYS_execveat, run.root, kLoader, run.argv.data(), environment, 0);
  ::_exit(73);
}

// In the process between: a new pid namespace is for its children.
[[noreturn]] void enter(const Prepared& run) {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // until exec its memory is a copy of ours
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int entry : run.cgroups) {
    if (::write(entry, "0", 1) != 1) ::_exit(74);
  }
  if (::setns(run.init, kNamespaces | (run.joinsUsers ? CLONE_NEWUSER : 0)) != 0) ::_exit(75);
  pid_t wanted[1] = {kPid};
  clone_args args{};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<std::uint64_t>(wanted);
  args.set_tid_size = 1;
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) ::_exit(76);
  if (pid == 0) become(run);
  // Other credentials have taken that back; and what is open is the worker's, whose end must end it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::close_range(0, ~0U, 0);
  int status = 0;
  while (::waitpid(static_cast<pid_t>(pid), &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 77);
}

// The lines that tell of errors, less those that are no reason to fail.
std::string complaint(int log) {
  std::string text(64 * 1024, '\0');
  const ssize_t got = ::pread(log, text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  std::string out;
  for (std::size_t at = text.find("Error ("); at != std::string::npos; at = text.find("Error (", at + 1)) {
    const std::string line = text.substr(at, text.find('\n', at) - at);
    const bool harmless = line.find("RLIMIT_NOFILE") != std::string::npos || line.find("tun.c") != std::string::npos;
    if (!harmless && out.size() < 400) out += (out.empty() ? "" : "; ") + line;
  }
  return out.empty() ? "it gave no reason" : out;
}

Result<void> run(const CriuRun& what, bool joinsUsers, std::vector<std::string> arguments) {
  const Fd root(::open(what.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return errnoError("open " + what.root);
  const Fd images(::open(what.images.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!images.valid()) return errnoError("open " + what.images);
  const Fd log(::memfd_create("criu", MFD_CLOEXEC));
  // Not closed by exec: CRIU finds its libraries and the images by them. Nothing else of this process gets that far.
  const Fd openRoot(::fcntl(root.get(), F_DUPFD_CLOEXEC, 10)), openImages(::fcntl(images.get(), F_DUPFD_CLOEXEC, 10));
  if (!log.valid() || !openRoot.valid() || !openImages.valid()) return errnoError("prepare to run criu");
  const std::string tree = "/proc/self/fd/" + std::to_string(openRoot.get());
  Prepared prepared{openRoot.get(), what.init, log.get(), joinsUsers, what.cgroups, what.inherited, {}, {}};
  prepared.texts = {kLoader, "--library-path", tree + kLibraries, tree + kProgram};
  prepared.texts.insert(prepared.texts.end(), arguments.begin(), arguments.end());
  prepared.texts.insert(prepared.texts.end(),
                        {"-D", "/proc/self/fd/" + std::to_string(openImages.get()), "--manage-cgroups=ignore", "-v2"});
  for (std::string& text : prepared.texts) prepared.argv.push_back(text.data());
  prepared.argv.push_back(nullptr);
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::fcntl(openRoot.get(), F_SETFD, 0);
    ::fcntl(openImages.get(), F_SETFD, 0);
    enter(prepared);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return errnoError("fork");
  const Fd ended(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd wait{ended.get(), POLLIN, 0};
  const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(what.patience);
  int ready;
  do {
    ready = ::poll(&wait, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (ready == 0) return makeError(Code::deadlineExceeded, "criu took more than {} ms", patience.count());
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return makeError(Code::failedPrecondition, "criu {} ended with {}: {}", arguments.front(), code,
                   complaint(log.get()));
}

// A field of a protobuf message: a number, or bytes as they are.
struct Field {
  std::uint64_t number = 0;
  unsigned kind = 0;  // 0 a number, 2 a string, 1 and 5 eight and four bytes
  std::uint64_t value = 0;
  std::string text{};
};

std::optional<std::uint64_t> readNumber(const std::string& bytes, std::size_t& at) {
  std::uint64_t out = 0;
  for (unsigned shift = 0; at < bytes.size() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[at++]);
    out |= static_cast<std::uint64_t>(byte & 127U) << shift;
    if (byte < 128) return out;
  }
  return std::nullopt;
}

void writeNumber(std::string& out, std::uint64_t number) {
  for (; number > 127; number >>= 7) out += static_cast<char>((number & 127U) | 128U);
  out += static_cast<char>(number);
}

std::optional<std::vector<Field>> fieldsOf(const std::string& bytes) {
  std::vector<Field> out;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto key = readNumber(bytes, at);
    if (!key) return std::nullopt;
    Field field{*key >> 3U, static_cast<unsigned>(*key & 7U)};
    std::uint64_t length = field.kind == 1 ? 8 : field.kind == 5 ? 4 : 0;
    if (field.kind == 0 || field.kind == 2) {
      const auto value = readNumber(bytes, at);
      if (!value) return std::nullopt;
      (field.kind == 0 ? field.value : length) = *value;
    } else if (length == 0) {
      return std::nullopt;
    }
    if (length > bytes.size() - at) return std::nullopt;
    field.text = bytes.substr(at, length);
    at += length;
    out.push_back(std::move(field));
  }
  return out;
}

void write(std::string& out, const Field& field) {
  writeNumber(out, field.number << 3U | field.kind);
  if (field.kind == 0) writeNumber(out, field.value);
  if (field.kind == 2) writeNumber(out, field.text.size());
  out += field.text;
}

// Numbers that tell the kind (the inventory has one, others two); then the size of the one message, and it.
constexpr std::size_t kInventoryMagic = 4, kMagic = 8;
constexpr std::uint64_t kRootIds = 3, kUserNamespace = 10;  // of inventory_entry, of task_kobj_ids_entry

std::optional<std::vector<Field>> entryOf(const std::string& image, std::size_t magic) {
  std::uint32_t size = 0;
  if (image.size() < magic + sizeof size) return std::nullopt;
  std::memcpy(&size, image.data() + magic, sizeof size);
  if (size > image.size() - magic - sizeof size) return std::nullopt;
  return fieldsOf(image.substr(magic + sizeof size, size));
}

Result<void> adaptToRoot(const std::string& images) {
  namespace fs = std::filesystem;
  ASSIGN_OR_RETURN(const std::string inventory, readFile(images + "/inventory.img"));
  std::error_code failed;
  for (const auto& file : fs::directory_iterator(images, failed)) {
    if (!file.path().filename().string().starts_with("ids-")) continue;
    ASSIGN_OR_RETURN(const std::string ids, readFile(file.path()));
    ASSIGN_OR_RETURN(const std::string changed, withRootsUserNamespace(ids, inventory));
    RETURN_IF_ERROR(writeFileAtomic(file.path(), changed, 0600, Durable::no));
  }
  return {};
}

// The container's root reads them.
Result<void> giveToContainers(const std::string& images) {
  std::error_code failed;
  for (const auto& file : std::filesystem::directory_iterator(images, failed)) {
    const std::string path = file.path();
    if (::chmod(path.c_str(), 0400) != 0 || ::chown(path.c_str(), kFirstUser, kFirstUser) != 0)
      return errnoError("give " + path + " to containers");
  }
  if (::chown(images.c_str(), kFirstUser, kFirstUser) != 0) return errnoError("give " + images + " to containers");
  return {};
}

}  // namespace

Result<std::string> withRootsUserNamespace(const std::string& ids, const std::string& inventory) {
  const auto known = entryOf(inventory, kInventoryMagic);
  auto fields = entryOf(ids, kMagic);
  if (!known || !fields) return Error{Code::dataLoss, "images of criu that are none"};
  std::optional<std::uint64_t> users;
  for (const Field& field : *known) {
    if (field.number != kRootIds || field.kind != 2) continue;
    const auto rootIds = fieldsOf(field.text);
    if (!rootIds) return Error{Code::dataLoss, "images of criu that are none"};
    for (const Field& id : *rootIds) {
      if (id.number == kUserNamespace) users = id.value;
    }
  }
  if (!users) return Error{Code::dataLoss, "criu's own user namespace is not in its images"};
  std::string entry;
  for (Field& field : *fields) {
    if (field.number == kUserNamespace && field.kind == 0) field.value = *users;
    write(entry, field);
  }
  std::string out = ids.substr(0, kMagic);
  const auto size = static_cast<std::uint32_t>(entry.size());
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  return out + entry;
}

Result<void> criuDump(const CriuRun& what, int pid) {
  RETURN_IF_ERROR(run(
      what, false, {"dump", "-t", std::to_string(pid), "--leave-running", "--network-lock", "skip", "--unprivileged"}));
  RETURN_IF_ERROR(adaptToRoot(what.images));
  return giveToContainers(what.images);
}

Result<void> criuRestore(const CriuRun& what, const std::vector<std::string>& streams) {
  std::vector<std::string> arguments{"restore", "--restore-detached", "--unprivileged"};
  for (std::size_t i = 0; i < streams.size(); ++i) {
    arguments.push_back("--inherit-fd");
    arguments.push_back("fd[" + std::to_string(kFirstInherited + static_cast<int>(i)) + "]:" + streams[i]);
  }
  return run(what, true, std::move(arguments));
}

Result<std::string> checkCriu(const std::string& root) {
  const auto ask = [&root](const char* what) -> Result<Finished> {
    Command command;
    command.argv = {root + "/" + kLoader, "--library-path", root + kLibraries, root + kProgram, what};
    command.environment = {{"CRIU_FAULT", "130"}};
    command.timeout = std::chrono::seconds(10);
    return runCommand(command);
  };
  ASSIGN_OR_RETURN(const Finished version, ask("--version"));
  const std::size_t at = version.output.find("Version: ");
  if (version.exitCode != 0 || at == std::string::npos)
    return makeError(Code::failedPrecondition, "{}{} does not run: {}", root, kProgram, version.output);
  const std::string number = version.output.substr(at + 9, version.output.find('\n', at) - at - 9);
  ASSIGN_OR_RETURN(const Finished checked, ask("check"));
  if (checked.exitCode == 0) return "criu " + number;
  return makeError(Code::failedPrecondition, "criu {} at {} does not suit this kernel: {}", number, root,
                   checked.output.substr(0, 400));
}

}  // namespace gridiron::sandbox
