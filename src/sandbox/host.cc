#include <linux/sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>

#include "sandbox/cgroup.h"
#include "sandbox/criu.h"
#include "sandbox/filter.h"
#include "sandbox/fork.h"
#include "sandbox/mapping.h"
#include "sandbox/network.h"
#include "sandbox/plan.h"
#include "sandbox/sandbox.h"

namespace gridiron::sandbox {
namespace {

// What all containers of a Sandboxes share; outlives them.
struct Shared {
  Shared(Sandboxes::Options given, std::string groupName)
      : options(std::move(given)),
        group(std::move(groupName)),
        layout(CgroupLayout::look()),
        network({options.bridge, options.subnet, options.instance, options.gridHost, options.gridPort}) {}

  const Sandboxes::Options options;
  const std::string group;  // of cgroups
  const CgroupLayout layout;
  HostNetwork network;
  std::vector<sock_filter> filter, zygoteFilter;
  Fd mapping, init;

  std::string boxes() const { return options.stateDirectory + "/boxes"; }
};

Nanos sinceBoot() { return std::chrono::steady_clock::now().time_since_epoch(); }

// A packet from the container with, for a note that was sent with them, its sender's pid.
struct Received {
  GridironNote note{};
  std::string path;
  int pid = 0;
};

// Nothing when the container has closed its end (errno 0), or when nothing has come in time or, with MSG_DONTWAIT, by
// now (errno EAGAIN).
std::optional<Received> receive(int control, int flags) {
  Received out;
  char path[4096];
  alignas(cmsghdr) char extra[CMSG_SPACE(sizeof(ucred)) + 64];
  iovec parts[2] = {{&out.note, sizeof out.note}, {path, sizeof path}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  message.msg_control = extra;
  message.msg_controllen = sizeof extra;
  ssize_t n;
  errno = 0;
  do {
    n = ::recvmsg(control, &message, flags | MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < static_cast<ssize_t>(sizeof out.note)) return std::nullopt;
  out.path.assign(path, static_cast<std::size_t>(n) - sizeof out.note);
  for (cmsghdr* item = CMSG_FIRSTHDR(&message); item != nullptr; item = CMSG_NXTHDR(&message, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(item), sizeof sender);
    out.pid = sender.pid;
  }
  return out;
}

Result<Fd> listenOnLoopback(int port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return errnoError("make a socket");
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd.get(), 512) != 0) {
    return errnoError("listen at 127.0.0.1:" + std::to_string(port) + " in the container");
  }
  return fd;
}

constexpr auto kForkPatience = std::chrono::seconds(2);
constexpr auto kParkPatience = std::chrono::seconds(8);  // it yields the processor

// One end of a pair of packet sockets for us, with the senders' pids and `patience` for what comes, one for a child.
Result<std::pair<Fd, Fd>> packetPair(std::chrono::seconds patience) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errnoError("make a socket pair");
  std::pair<Fd, Fd> out{Fd(ends[0]), Fd(ends[1])};
  const int one = 1;
  const timeval limit{patience.count(), 0};
  ::setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one);
  ::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return out;
}

// The pid of process `pid` one level down, in the pid namespace of its nursery.
int pidBelow(int pid) {
  const auto text = readFile("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = text.ok() ? text->find("\nNSpid:") : std::string::npos;
  if (at == std::string::npos) return 0;
  std::istringstream in(text->substr(at + 7));
  int outer = 0, out = 0;
  in >> outer >> out;
  return out;
}

// As the kernel and CRIU call it.
std::string pipeName(int fd) {
  struct stat info {};
  (void)::fstat(fd, &info);
  return "pipe:[" + std::to_string(info.st_ino) + "]";
}

// The pid of process `pid` in the innermost of its pid namespaces.
int pidInside(int pid) {
  const auto text = readFile("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = text.ok() ? text->find("\nNSpid:") : std::string::npos;
  if (at == std::string::npos) return 0;
  std::istringstream in(text->substr(at + 7, text->find('\n', at + 1) - at - 7));
  int out = 0;
  for (int next = 0; in >> next;) out = next;
  return out;
}

constexpr const char* kStreamsFile = "/gridiron-streams";  // beside the images: pid and names of streams

class HostZygote;

// Members are undone from the last to the first: the processes, the network, the cgroup, the directory.
class HostSandbox final : public Sandbox {
 public:
  HostSandbox(Shared& shared, Spec spec) : shared_(shared), spec_(std::move(spec)) {}
  ~HostSandbox() override { (void)remove().ok(); }

  Result<void> start(const std::function<Result<void>(Sandbox&)>& prepare);
  // All of start() but the program, and, after that, the program.
  Result<void> park(const std::function<Result<void>(Sandbox&)>& prepare);
  Result<void> become(const Spec& spec);
  bool waits() const;  // parked, and alive

  const std::string& name() const override { return spec_.name; }
  int pid() const override { return mainPid_ != 0 ? mainPid_ : initPid_; }
  Result<Fd> listenInside(int port) override;
  Result<Fd> socketInside() override;
  Fd takeStdout() override { return std::move(output_); }
  Fd takeStderr() override { return std::move(errors_); }
  int exitFd() const override { return init_.get(); }
  Exit wait() override;
  Result<void> signal(int signo) override;
  void kill() override;
  Result<void> dump(const std::string& images, Nanos patience) override;
  const std::vector<Phase>& phases() const override { return phases_; }
  Result<void> remove() override;

  int initFd() const { return init_.get(); }
  Result<void> yield(bool yields) { return cgroup_.yield(yields); }
  // Of a nursery: the wait status of its process `pid` (in its own pid namespace), which has ended or is about to.
  std::optional<int> endOf(int pid);

 private:
  template <class Act>
  Result<void> step(const char* name, Act act) {
    const Nanos started = sinceBoot();
    const Result<void> done = act();
    phases_.push_back({name, sinceBoot() - started});
    return done.ok() ? done : done.error().within(name);
  }
  Result<void> makeDirectory();
  Result<void> prepareChild();
  Result<void> clone();
  Result<void> cloneBelow(int pid);
  Result<void> connect();
  Result<void> letGo();
  Result<void> awaitMain();
  void tellInit(GridironNoteKind kind, int pid);
  Result<void> forkOrRun();
  Result<void> restore();
  bool held() const { return spec_.zygote || !spec_.images.empty(); }
  Result<void> make(const std::function<Result<void>(Sandbox&)>& prepare);
  // Has the zygote's child, which says so by `talk_`, become the main process.
  Result<void> fork(Child kind, std::string orders);
  Result<void> adopt();
  Result<Received> hear();
  Result<void> sendGo();
  // Takes notes until one of `kind` comes.
  Result<Received> awaitNote(int kind);

  Shared& shared_;
  Spec spec_;
  std::vector<Phase> phases_;
  std::unique_ptr<BoxDirectory> directory_;
  Cgroup cgroup_;
  std::unique_ptr<HostNetwork::Lease> lease_;
  std::unique_ptr<PreparedChild> child_;  // while starting
  Fd control_, childControl_, output_, errors_;
  Fd init_, main_;    // pidfds
  Fd talk_, orders_;  // of a zygote's child that has not gone on yet
  int initPid_ = 0, mainPid_ = 0;
  std::string streams_;  // names of its output and errors
  bool forked_ = false, parked_ = false;
  int pidInNursery_ = 0;
  std::mutex waiting_;
  std::optional<Exit> exit_;
  std::map<int, int> ends_;  // of a nursery
};

class HostParked final : public Parked {
 public:
  explicit HostParked(std::unique_ptr<HostSandbox> box) : box_(std::move(box)) {}
  bool alive() const override { return box_ && box_->waits(); }
  std::int64_t privateBytes() const override {
    std::ifstream file(box_ ? "/proc/" + std::to_string(box_->pid()) + "/smaps_rollup" : "");
    std::int64_t bytes = 0;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("Private_Dirty:")) bytes += std::stoll(line.substr(14)) * 1024;
    }
    return bytes;
  }
  Result<std::unique_ptr<Sandbox>> become(const Spec& spec) override {
    std::unique_ptr<HostSandbox> box = std::move(box_);
    if (!box) return makeError(Code::failedPrecondition, "it has been told already");
    RETURN_IF_ERROR(box->become(spec));
    return std::unique_ptr<Sandbox>(std::move(box));
  }

 private:
  std::unique_ptr<HostSandbox> box_;
};

class HostZygote final : public Zygote {
 public:
  HostZygote(std::unique_ptr<HostSandbox> box, Fd door, std::string report)
      : box_(std::move(box)), door_(std::move(door)), report_(std::move(report)) {}
  const std::string& report() const override { return report_; }
  bool alive() const override {
    pollfd closed{door_.get(), 0, 0};
    return ::poll(&closed, 1, 0) == 0;
  }
  void retire() override { (void)box_->signal(SIGKILL).ok(); }
  std::int64_t residentBytes() const override {
    std::ifstream file("/proc/" + std::to_string(box_->pid()) + "/statm");
    std::int64_t all = 0, resident = 0;
    if (!alive() || !(file >> all >> resident)) return 0;
    return resident * ::sysconf(_SC_PAGESIZE);
  }
  HostSandbox& box() { return *box_; }
  int door() const { return door_.get(); }

 private:
  const std::unique_ptr<HostSandbox> box_;
  const Fd door_;
  const std::string report_;
};

Result<void> HostSandbox::start(const std::function<Result<void>(Sandbox&)>& prepare) {
  RETURN_IF_ERROR(make(prepare));
  if (spec_.zygote) RETURN_IF_ERROR(forkOrRun());
  if (!spec_.images.empty()) RETURN_IF_ERROR(step("restore", [&] { return restore(); }));
  child_.reset();
  return {};
}

Result<void> HostSandbox::park(const std::function<Result<void>(Sandbox&)>& prepare) {
  parked_ = true;
  const bool prompt = std::exchange(spec_.limits.prompt, false);  // it is made with what is left of the processor
  RETURN_IF_ERROR(make(prepare));
  RETURN_IF_ERROR(fork(Child::parked, rightsOrders(child_->plan().capabilities, shared_.filter)));
  RETURN_IF_ERROR(adopt());
  child_.reset();
  RETURN_IF_ERROR(cgroup_.yield(false));
  spec_.limits.prompt = prompt;
  return cgroup_.limit(spec_.limits);  // to change that takes the kernel longer than all that become() does
}

Result<void> HostSandbox::become(const Spec& spec) {
  const Nanos begun = sinceBoot();
  std::shared_ptr<Zygote> zygote = std::move(spec_.zygote);
  spec_ = spec;
  spec_.zygote = std::move(zygote);
  RETURN_IF_ERROR(cgroup_.limit(spec.limits));
  RETURN_IF_ERROR(append(orders_, programOrders(spec)));
  const timeval limit{kForkPatience.count(), 0};
  ::setsockopt(talk_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  RETURN_IF_ERROR(sendGo());
  ASSIGN_OR_RETURN(const Received said, hear());
  if (said.note.kind != gridironNoteStarted) return Error{Code::failedPrecondition, said.path};
  talk_.reset();
  orders_.reset();
  phases_ = {{"parked", sinceBoot() - begun}};
  return {};
}

bool HostSandbox::waits() const {
  pollfd ended{main_.get(), POLLIN, 0};
  return main_.valid() && ::poll(&ended, 1, 0) == 0;
}

Result<void> HostSandbox::make(const std::function<Result<void>(Sandbox&)>& prepare) {
  RETURN_IF_ERROR(step("directory", [&] { return makeDirectory(); }));
  RETURN_IF_ERROR(step("cgroup", [&]() -> Result<void> {
    ASSIGN_OR_RETURN(cgroup_, Cgroup::make(shared_.layout, shared_.group, spec_.name, spec_.limits));
    // What is done ahead is in nobody's way; startZygote() and park() end that.
    if (spec_.nursery || parked_) return cgroup_.yield(true);
    return {};
  }));
  RETURN_IF_ERROR(step("layers", [&] { return prepareChild(); }));
  RETURN_IF_ERROR(step("namespaces", [&] { return clone(); }));
  RETURN_IF_ERROR(step("network", [&] { return connect(); }));
  if (prepare) RETURN_IF_ERROR(step("prepare", [&] { return prepare(*this); }));
  ASSIGN_OR_RETURN(const Received rootfs, awaitNote(gridironNoteRootfs));
  phases_.push_back({"rootfs", Nanos(rootfs.note.took)});
  return step(held() ? "init" : "exec", [&] { return letGo(); });
}

Result<void> HostSandbox::forkOrRun() {
  const Nanos begun = sinceBoot();
  const Child kind = spec_.imports >= 0 ? Child::tellsImports : Child::plain;
  Result<void> forked = fork(kind, forkOrders(spec_, child_->plan().capabilities, shared_.filter));
  if (forked.ok()) forked = adopt();
  if (forked.ok()) forked = sendGo();
  talk_.reset();
  orders_.reset();
  if (forked.ok()) {
    phases_.push_back({"fork", sinceBoot() - begun});
    return {};
  }
  tellInit(gridironNoteRun, 0);
  const Result<void> ran = awaitMain();
  if (!ran.ok()) return ran.error().within("exec");
  phases_.push_back({"exec", sinceBoot() - begun, forked.error().message});
  return {};
}

Result<void> HostSandbox::makeDirectory() {
  ASSIGN_OR_RETURN(directory_, BoxDirectory::make(shared_.boxes(), spec_));
  if (spec_.network != Network::nat) return {};
  ASSIGN_OR_RETURN(lease_, shared_.network.lease(spec_.gridInternal));
  return {};
}

Result<void> HostSandbox::prepareChild() {
  const std::string address = lease_ ? addressText(lease_->address()) : "";
  const std::string grid = lease_ && spec_.gridInternal ? addressText(shared_.network.gateway()) : "";
  const auto& filter = spec_.nursery ? shared_.zygoteFilter : shared_.filter;
  const Common common{shared_.init.get(), &filter, shared_.mapping.get()};
  ASSIGN_OR_RETURN(child_, PreparedChild::make(spec_, common, *directory_, address, grid));
  if (spec_.zygote) child_->setNursery(static_cast<HostZygote&>(*spec_.zygote).box().initFd());
  child_->setTaskFiles(cgroup_.taskFds());
  output_ = child_->takeOutput();
  errors_ = child_->takeErrors();
  streams_ = pipeName(output_.get()) + "\n" + pipeName(errors_.get()) + "\n";
  ASSIGN_OR_RETURN(auto ends, packetPair(std::chrono::seconds(60)));
  control_ = std::move(ends.first);
  childControl_ = std::move(ends.second);
  child_->setControl(childControl_.get(), control_.get());
  return {};
}

Result<void> HostSandbox::clone() {
  int pidfd = -1;
  clone_args args{};
  args.flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
  if (spec_.network != Network::host) args.flags |= CLONE_NEWNET;
  if (child_->plan().userNamespace) args.flags |= CLONE_NEWUSER;
  const std::uint64_t below = args.flags & ~std::uint64_t{CLONE_PIDFD};
  if (spec_.zygote) args.flags = CLONE_PIDFD;
  if (cgroup_.unifiedFd() >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(cgroup_.unifiedFd());
  }
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  // No handler of ours may run in the child.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0 && spec_.zygote) runBetween(child_->plan(), below);
  if (pid == 0) runChild(child_->plan());
  const int failed = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return errnoError("clone3", failed);
  childControl_.reset();
  Fd first(pidfd);
  if (spec_.zygote) return cloneBelow(static_cast<int>(pid));
  initPid_ = static_cast<int>(pid);
  init_ = std::move(first);
  if (!child_->plan().userNamespace) return {};
  RETURN_IF_ERROR(writeMaps(initPid_));
  (void)::send(control_.get(), "m", 1, MSG_NOSIGNAL);
  return {};
}

// Of the processes between, the first is `pid`; what the second clones is a child of ours, in the nursery's namespaces.
Result<void> HostSandbox::cloneBelow(int pid) {
  const Result<Received> born = awaitNote(gridironNoteBorn);
  if (!born.ok()) {
    control_.reset();  // ends whatever waits
    while (::waitpid(-pid, nullptr, 0) > 0 || errno == EINTR) {
    }
    return born.error();
  }
  for (const int between : {pid, born->pid}) {
    while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  initPid_ = born->note.pid;
  init_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, initPid_, 0)));
  if (!init_.valid()) return errnoError("open the container's init");
  (void)::send(control_.get(), "m", 1, MSG_NOSIGNAL);
  return {};
}

Result<void> HostSandbox::connect() {
  if (spec_.network == Network::host) return {};
  if (lease_) return lease_->attach(initPid_, init_.get());
  return inNetworkOf(init_.get(), raiseLoopback);
}

Result<void> HostSandbox::letGo() {
  (void)::send(control_.get(), "g", 1, MSG_NOSIGNAL);
  if (!held()) return awaitMain();
  ASSIGN_OR_RETURN(const Received held, awaitNote(gridironNoteHeld));
  (void)held;
  return {};
}

Result<void> HostSandbox::awaitMain() {
  ASSIGN_OR_RETURN(const Received main, awaitNote(gridironNoteMain));
  mainPid_ = main.pid;
  main_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, mainPid_, 0)));
  ASSIGN_OR_RETURN(const Received running, awaitNote(gridironNoteStarted));
  (void)running;
  return {};
}

Result<void> HostSandbox::dump(const std::string& images, Nanos patience) {
  if (shared_.options.criuRoot.empty() || !shared_.mapping.valid())
    return Error{Code::unimplemented, "there is no criu, or containers have no user namespaces of their own"};
  const int inside = pidInside(pid());
  if (inside == 0 || forked_) return makeError(Code::failedPrecondition, "{} cannot be dumped", spec_.name);
  RETURN_IF_ERROR(criuDump({shared_.options.criuRoot, images, init_.get(), patience}, inside));
  return writeFileAtomic(images + kStreamsFile, std::to_string(inside) + "\n" + streams_, 0600, Durable::no);
}

Result<void> HostSandbox::restore() {
  ASSIGN_OR_RETURN(const std::string known, readFile(spec_.images + kStreamsFile));
  std::istringstream in(known);
  int inside = 0;
  std::string output, errors;
  if (!(in >> inside >> output >> errors)) return makeError(Code::dataLoss, "{}: no dump", spec_.images);
  ASSIGN_OR_RETURN(const std::vector<Fd> entries, cgroup_.entries());
  CriuRun run{shared_.options.criuRoot, spec_.images, init_.get(), spec_.patience};
  for (const Fd& entry : entries) run.cgroups.push_back(entry.get());
  run.inherited = {child_->plan().output, child_->plan().errors};
  RETURN_IF_ERROR(criuRestore(run, {output, errors}));
  const std::string init = std::to_string(initPid_);
  ASSIGN_OR_RETURN(const std::string children, readFile("/proc/" + init + "/task/" + init + "/children"));
  std::istringstream pids(children);
  for (int pid = 0; pids >> pid;) {
    if (pidInside(pid) == inside) mainPid_ = pid;
  }
  if (mainPid_ == 0) return Error{Code::aborted, "it ended as soon as it was restored"};
  main_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, mainPid_, 0)));
  tellInit(gridironNoteOwn, inside);
  return {};
}

void HostSandbox::tellInit(GridironNoteKind kind, int pid) {
  GridironNote note{};
  note.kind = kind;
  note.pid = pid;
  (void)::send(control_.get(), &note, sizeof note, MSG_NOSIGNAL);
}

Result<void> HostSandbox::fork(Child kind, std::string orders) {
  const HostZygote& zygote = static_cast<HostZygote&>(*spec_.zygote);
  const ChildPlan& plan = child_->plan();
  ASSIGN_OR_RETURN(orders_, memoryFile(orders));
  ASSIGN_OR_RETURN(const std::vector<Fd> entries, cgroup_.entries());
  ASSIGN_OR_RETURN(auto talk, packetPair(parked_ ? kParkPatience : kForkPatience));
  talk_ = std::move(talk.first);
  std::vector<int> fds{orders_.get(), talk.second.get(), init_.get(), plan.output, plan.errors};
  if (spec_.imports >= 0) fds.push_back(spec_.imports);
  for (const Fd& entry : entries) fds.push_back(entry.get());
  return askForFork(zygote.door(), kind, fds);
}

Result<Received> HostSandbox::hear() {
  std::optional<Received> said = receive(talk_.get(), 0);
  if (said) return *std::move(said);
  if (errno != EAGAIN) return makeError(Code::unavailable, "the zygote has ended");
  if (parked_) return makeError(Code::deadlineExceeded, "the parked process does not answer");
  spec_.zygote->retire();
  return makeError(Code::deadlineExceeded, "the zygote took more than {} s", kForkPatience.count());
}

Result<void> HostSandbox::adopt() {
  ASSIGN_OR_RETURN(const Received said, hear());
  if (said.note.kind != gridironNoteMain) return Error{Code::failedPrecondition, said.path};
  Fd main(static_cast<int>(::syscall(SYS_pidfd_open, said.pid, 0)));
  if (!main.valid()) return errnoError("open the zygote's child");
  pidInNursery_ = pidBelow(said.pid);
  tellInit(gridironNoteAdopt, said.note.pid);
  main_ = std::move(main);
  mainPid_ = said.pid;
  forked_ = true;
  return {};
}

Result<void> HostSandbox::sendGo() {
  if (::send(talk_.get(), "g", 1, MSG_NOSIGNAL) != 1) return errnoError("let the zygote's child go");
  return {};
}

std::optional<int> HostSandbox::endOf(int pid) {
  const std::lock_guard lock(waiting_);
  const auto deadline = std::chrono::steady_clock::now() + kForkPatience;
  while (!ends_.contains(pid)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd more{control_.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&more, 1, static_cast<int>(left.count())) == 0) return std::nullopt;
    const auto note = receive(control_.get(), MSG_DONTWAIT);
    if (!note) return std::nullopt;
    if (note->note.kind == gridironNoteEnded) ends_[note->note.pid] = note->note.status;
  }
  const int status = ends_.at(pid);
  ends_.erase(pid);
  return status;
}

Result<Received> HostSandbox::awaitNote(int kind) {
  for (;;) {
    std::optional<Received> got = receive(control_.get(), 0);
    if (!got) return Error{Code::aborted, "the container ended while it was starting"};
    if (got->note.kind == gridironNoteMade) RETURN_IF_ERROR(directory_->noteMade(got->path));
    if (got->note.kind == gridironNoteFailed) {
      const std::string about = got->note.step == gridironStepExec ? " " + spec_.argv[0] : "";
      return errnoError(stepName(got->note.step) + about, got->note.error);
    }
    if (got->note.kind == kind) return *std::move(got);
  }
}

Result<Fd> HostSandbox::listenInside(int port) {
  if (spec_.network == Network::host) return listenOnLoopback(port);
  Fd out;
  RETURN_IF_ERROR(inNetworkOf(init_.get(), [&]() -> Result<void> {
    ASSIGN_OR_RETURN(out, listenOnLoopback(port));
    return {};
  }));
  return out;
}

Result<Fd> HostSandbox::socketInside() {
  Fd out;
  const auto make = [&]() -> Result<void> {
    out = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return out.valid() ? Result<void>{} : errnoError("make a socket in the container");
  };
  RETURN_IF_ERROR(spec_.network == Network::host ? make() : inNetworkOf(init_.get(), make));
  return out;
}

Exit exitOf(const siginfo_t& ended) {
  Exit out;
  out.signal = ended.si_code == CLD_EXITED ? 0 : ended.si_status;
  out.code = ended.si_code == CLD_EXITED ? ended.si_status : 128 + ended.si_status;
  return out;
}

Exit exitOf(int status) {
  if (WIFSIGNALED(status)) return {128 + WTERMSIG(status), WTERMSIG(status), false};
  return {WEXITSTATUS(status), 0, false};
}

Exit HostSandbox::wait() {
  const std::lock_guard lock(waiting_);
  if (exit_ || !init_.valid()) return exit_.value_or(Exit{});
  siginfo_t ended{};
  while (::waitid(P_PIDFD, static_cast<id_t>(init_.get()), &ended, WEXITED) != 0 && errno == EINTR) {
  }
  std::optional<int> status;
  if (forked_) status = static_cast<HostZygote&>(*spec_.zygote).box().endOf(pidInNursery_);
  Exit out = status ? exitOf(*status) : exitOf(ended);
  // Init passes the main process's status on; what it says beforehand also
  // tells a signal from an exit code.
  while (const auto note = receive(control_.get(), MSG_DONTWAIT)) {
    if (note->note.kind != gridironNoteEnded || !WIFSIGNALED(note->note.status)) continue;
    out.signal = WTERMSIG(note->note.status);
  }
  out.outOfMemory = cgroup_.oomKilled();
  exit_ = out;
  return out;
}

Result<void> HostSandbox::signal(int signo) {
  const int target = main_.valid() ? main_.get() : init_.get();
  if (::syscall(SYS_pidfd_send_signal, target, signo, nullptr, 0) == 0) return {};
  return errnoError("send signal " + std::to_string(signo) + " to " + spec_.name);
}

void HostSandbox::kill() {
  // The kernel kills all of a pid namespace with its first process.
  if (init_.valid()) ::syscall(SYS_pidfd_send_signal, init_.get(), SIGKILL, nullptr, 0);
}

Result<void> HostSandbox::remove() {
  kill();
  wait();
  childControl_.reset();
  child_.reset();
  lease_.reset();
  RETURN_IF_ERROR(cgroup_.remove());
  if (directory_) RETURN_IF_ERROR(directory_->remove());
  return {};
}

// Mount points below `directory` in this process's mount namespace,
// deepest first.
std::vector<std::string> mountsBelow(const std::string& directory) {
  std::vector<std::string> out;
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, point;
    fields >> device >> point;
    if (point.starts_with(directory + "/")) out.push_back(point);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

class HostSandboxes final : public Sandboxes {
 public:
  explicit HostSandboxes(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}
  // All containers have ended: what is left of the cgroups is their parent.
  ~HostSandboxes() override { (void)sweepCgroups(shared_->layout, shared_->group).ok(); }

  Result<std::unique_ptr<Sandbox>> start(const Spec& spec,
                                         const std::function<Result<void>(Sandbox&)>& prepare) override {
    auto out = std::make_unique<HostSandbox>(*shared_, spec);
    const Result<void> started = out->start(prepare);
    if (!started.ok()) return started.error().within("start " + spec.name);
    return std::unique_ptr<Sandbox>(std::move(out));
  }

  Result<std::shared_ptr<Zygote>> startZygote(const Spec& spec, const std::string& wish, Nanos patience,
                                              std::stop_token stop) override;

  Result<std::unique_ptr<Parked>> park(const Spec& spec,
                                       const std::function<Result<void>(Sandbox&)>& prepare) override {
    if (!spec.zygote || spec.imports < 0)
      return makeError(Code::invalidArgument, "park {}: without a zygote or a pipe for imports", spec.name);
    auto out = std::make_unique<HostSandbox>(*shared_, spec);
    const Result<void> parked = out->park(prepare);
    if (!parked.ok()) return parked.error().within("park " + spec.name);
    return std::unique_ptr<Parked>(std::make_unique<HostParked>(std::move(out)));
  }

  Result<void> sweep() override {
    RETURN_IF_ERROR(sweepCgroups(shared_->layout, shared_->group));
    for (const std::string& point : mountsBelow(shared_->boxes())) {
      if (::umount2(point.c_str(), MNT_DETACH) != 0) return errnoError("unmount " + point);
    }
    std::error_code failed;
    for (const auto& entry : std::filesystem::directory_iterator(shared_->boxes(), failed)) {
      RETURN_IF_ERROR(BoxDirectory::sweep(entry.path().string()));
    }
    return shared_->network.sweep();
  }

 private:
  std::unique_ptr<Shared> shared_;
};

// What the zygote answers within `patience`; its last words when it ends instead.
Result<std::string> reportOf(int door, const Fd& errors, Nanos patience, const std::stop_token& stop) {
  const Fd stopped(::eventfd(0, EFD_CLOEXEC));
  const std::stop_callback onStop(stop, [&stopped] { (void)::eventfd_write(stopped.get(), 1); });
  pollfd waits[2] = {{door, POLLIN, 0}, {stopped.get(), POLLIN, 0}};
  const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(patience);
  if (::poll(waits, 2, static_cast<int>(limit.count())) == 0)
    return makeError(Code::deadlineExceeded, "it was not ready after {} ms", limit.count());
  if (stop.stop_requested()) return makeError(Code::cancelled, "it is no longer wanted");
  std::string out(1 << 20, '\0');
  const ssize_t got = ::recv(door, out.data(), out.size(), MSG_DONTWAIT);
  if (got > 0) return out.substr(0, static_cast<std::size_t>(got));
  std::string words(2000, '\0');
  ::fcntl(errors.get(), F_SETFL, O_NONBLOCK);
  const ssize_t said = ::read(errors.get(), words.data(), words.size());
  return makeError(Code::unavailable, "it ended: {}",
                   words.substr(0, static_cast<std::size_t>(std::max<ssize_t>(0, said))));
}

Result<std::shared_ptr<Zygote>> HostSandboxes::startZygote(const Spec& given, const std::string& wish, Nanos patience,
                                                           std::stop_token stop) {
  if (!shared_->mapping.valid())
    return Error{Code::unimplemented, "containers have no user namespaces of their own here"};
  ASSIGN_OR_RETURN(auto door, packetPair(std::chrono::seconds(60)));
  Spec spec = given;
  spec.nursery = true;
  spec.input = door.second.get();
  spec.network = Network::none;
  spec.gridInternal = false;
  auto box = std::make_unique<HostSandbox>(*shared_, spec);
  const std::string about = "start zygote " + spec.name;
  const Result<void> started = box->start(nullptr);
  door.second.reset();
  if (!started.ok()) return started.error().within(about);
  if (::send(door.first.get(), wish.data(), wish.size(), MSG_NOSIGNAL) < 0)
    return errnoError(about + ": tell it what to import");
  const Fd output = box->takeStdout(), errors = box->takeStderr();
  Result<std::string> report = reportOf(door.first.get(), errors, patience, stop);
  if (!report.ok()) return report.error().within(about);
  RETURN_IF_ERROR(box->yield(false));  // it forks on the hot path
  return std::shared_ptr<Zygote>(
      std::make_shared<HostZygote>(std::move(box), std::move(door.first), std::move(*report)));
}

}  // namespace

Result<std::unique_ptr<Sandboxes>> openSandboxes(Sandboxes::Options options) {
  if (options.instance.empty()) options.instance = "default";
  std::string group = "gridiron-";
  for (const char c : options.instance) group += std::isalnum(static_cast<unsigned char>(c)) || c == '-' ? c : '_';
  options.stateDirectory = std::filesystem::absolute(options.stateDirectory).lexically_normal().string();
  auto shared = std::make_unique<Shared>(std::move(options), std::move(group));
  RETURN_IF_ERROR(makeDirectories(shared->boxes()));
  ASSIGN_OR_RETURN(shared->filter, makeFilter());
  ASSIGN_OR_RETURN(shared->zygoteFilter, makeFilter(FilterFor::zygote));
  if (shared->options.userNamespace) {
    auto mapping = makeMapping();
    if (mapping.ok() && canBeMapped(shared->boxes(), mapping->get())) {
      shared->mapping = std::move(*mapping);
    } else {
      spdlog::warn(
          "containers share the host's user ids: {}",
          mapping.ok() ? "the file system of " + shared->boxes() + " cannot be mapped" : mapping.error().message);
    }
  }
  ASSIGN_OR_RETURN(shared->init, openInit(shared->options.initPath, shared->mapping.get()));
  return std::unique_ptr<Sandboxes>(std::make_unique<HostSandboxes>(std::move(shared)));
}

}  // namespace gridiron::sandbox
