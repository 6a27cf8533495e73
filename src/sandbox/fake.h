#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sandbox/sandbox.h"

namespace gridiron::sandbox {

// What a fake container does: says its lines, then ends as told, or runs until something ends it.
struct Workload {
  std::vector<std::string> out, err;  // lines, without the final newline
  bool runsOn = false;
  Exit exit;
};

// A zygote of FakeSandboxes: it lives until it is retired or end() is called.
class FakeZygote final : public Zygote {
 public:
  FakeZygote(Spec given, std::string what, std::int64_t bytes)
      : spec(std::move(given)), wish(std::move(what)), bytes_(bytes) {}
  const std::string& report() const override { return report_; }
  bool alive() const override { return alive_; }
  void retire() override { alive_ = false; }
  std::int64_t residentBytes() const override { return alive_ ? bytes_ : 0; }

  const Spec spec;
  const std::string wish;

 private:
  const std::string report_ = "{}";
  const std::int64_t bytes_;
  std::atomic<bool> alive_ = true;
};

class FakeSandboxes;

// A parked container of FakeSandboxes: when told, it is started as any other.
class FakeParked final : public Parked {
 public:
  FakeParked(FakeSandboxes& all, std::shared_ptr<std::atomic<bool>> alive) : all_(all), alive_(std::move(alive)) {}
  ~FakeParked() override { *alive_ = false; }
  bool alive() const override { return *alive_; }
  std::int64_t privateBytes() const override { return std::int64_t{8} << 20; }
  Result<std::unique_ptr<Sandbox>> become(const Spec& spec) override;

 private:
  FakeSandboxes& all_;
  const std::shared_ptr<std::atomic<bool>> alive_;
};

// Sandboxes without a kernel, for tests of what uses them: it keeps state as the real ones do. A name can be in use
// once; a container holds its name until it is removed; signals end those that would by default. Any thread.
class FakeSandboxes final : public Sandboxes {
 public:
  class Box;

  // What containers named `name` do from now on; all others follow otherwise().
  void script(const std::string& name, Workload workload) {
    locked([&] { scripts_[name] = std::move(workload); });
  }
  void otherwise(Workload workload) {
    locked([&] { default_ = std::move(workload); });
  }
  // The next start fails at `step` ("rootfs", "network", "exec") as the real one would, leaving nothing.
  void failNext(std::string step, int error) {
    locked([&] { failures_.emplace_back(std::move(step), error); });
  }

  // The container `name` ends now, as told. False when there is none that runs.
  bool end(const std::string& name, Exit how);
  // More of its output.
  bool say(const std::string& name, const std::string& line);
  // Where what the container would reach at 127.0.0.1:`port` listens on this host; 0 when nothing does.
  int reachedPort(const std::string& name, int port);
  // Names that are in use: started and not yet removed.
  std::set<std::string> present();
  // All that has been started, in order, removed or not.
  std::vector<Spec> starts() {
    const std::lock_guard lock(mutex_);
    return starts_;
  }
  std::vector<int> signalsTo(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return signals_[name];
  }
  // How much memory zygotes hold that start from now on.
  void zygotesHold(std::int64_t bytes) {
    locked([&] { zygoteBytes_ = bytes; });
  }
  // All zygotes that have been started, in order, alive or not.
  std::vector<std::shared_ptr<FakeZygote>> zygotes() {
    const std::lock_guard lock(mutex_);
    return zygotes_;
  }
  // What has been parked, in order, and whether it waits still: it can be ended by writing false.
  std::vector<std::pair<Spec, std::shared_ptr<std::atomic<bool>>>> parked() {
    const std::lock_guard lock(mutex_);
    return parked_;
  }
  int sweeps() {
    const std::lock_guard lock(mutex_);
    return sweeps_;
  }

  Result<std::unique_ptr<Sandbox>> start(const Spec& spec,
                                         const std::function<Result<void>(Sandbox&)>& prepare) override;
  // A failure of step "zygote" is one of this.
  Result<std::shared_ptr<Zygote>> startZygote(const Spec& spec, const std::string& wish, Nanos,
                                              std::stop_token) override {
    RETURN_IF_ERROR(failureOf("zygote", spec));
    const std::lock_guard lock(mutex_);
    zygotes_.push_back(std::make_shared<FakeZygote>(spec, wish, zygoteBytes_));
    return std::shared_ptr<Zygote>(zygotes_.back());
  }
  // Failures of steps "park" and "become" are its.
  Result<std::unique_ptr<Parked>> park(const Spec& spec, const std::function<Result<void>(Sandbox&)>& prepare) override;
  Result<void> sweep() override {
    locked([&] { ++sweeps_; });
    return {};
  }

 private:
  friend class Box;
  friend class FakeParked;
  template <class Act>
  void locked(Act act) {
    const std::lock_guard lock(mutex_);
    act();
  }
  Result<void> failureOf(const std::string& step, const Spec& spec);

  std::mutex mutex_;
  std::map<std::string, Workload> scripts_;
  Workload default_;
  std::vector<std::pair<std::string, int>> failures_;
  std::map<std::string, Box*> boxes_;
  std::vector<Spec> starts_;
  std::map<std::string, std::vector<int>> signals_;
  std::vector<std::shared_ptr<FakeZygote>> zygotes_;
  std::vector<std::pair<Spec, std::shared_ptr<std::atomic<bool>>>> parked_;
  std::int64_t zygoteBytes_ = 64 << 20;
  int sweeps_ = 0;
};

class FakeSandboxes::Box final : public Sandbox {
 public:
  Box(FakeSandboxes& all, const Spec& spec, int pid) : all_(all), name_(spec.name), pid_(pid) {
    ended_ = Fd(::eventfd(0, EFD_CLOEXEC));
    openPipe(outRead_, outWrite_);
    openPipe(errRead_, errWrite_);
  }
  ~Box() override { (void)remove().ok(); }

  const std::string& name() const override { return name_; }
  int pid() const override { return pid_; }
  Result<Fd> listenInside(int port) override {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* at = reinterpret_cast<sockaddr*>(&address);
    if (::bind(fd.get(), at, size) != 0 || ::listen(fd.get(), 64) != 0) return errnoError("listen");
    if (::getsockname(fd.get(), at, &size) != 0) return errnoError("getsockname");
    all_.locked([&] { ports_[port] = ntohs(address.sin_port); });
    return fd;
  }
  Fd takeStdout() override { return std::move(outRead_); }
  Fd takeStderr() override { return std::move(errRead_); }
  int exitFd() const override { return ended_.get(); }
  Exit wait() override {
    std::uint64_t count = 0;
    // Reading takes the count: put it back, so that the descriptor stays readable.
    if (::read(ended_.get(), &count, sizeof count) == sizeof count) signalEnd();
    Exit out;
    all_.locked([&] { out = exit_; });
    return out;
  }
  Result<void> signal(int signo) override {
    bool running = false;
    all_.locked([&] {
      running = running_;
      if (running) all_.signals_[name_].push_back(signo);
      if (running && (signo == SIGTERM || signo == SIGINT || signo == SIGKILL)) endLocked(killedBy(signo));
    });
    return running ? Result<void>{} : errnoError("send signal " + std::to_string(signo) + " to " + name_, ESRCH);
  }
  void kill() override {
    all_.locked([&] { endLocked(killedBy(SIGKILL)); });
  }
  const std::vector<Phase>& phases() const override { return phases_; }
  Result<void> remove() override {
    all_.locked([&] {
      endLocked(killedBy(SIGKILL));
      const auto found = all_.boxes_.find(name_);
      if (found != all_.boxes_.end() && found->second == this) all_.boxes_.erase(found);
    });
    return {};
  }

  static Exit killedBy(int signo) { return Exit{128 + signo, signo, false}; }
  static void openPipe(Fd& read, Fd& write) {
    int ends[2];
    GRID_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    read = Fd(ends[0]);
    write = Fd(ends[1]);
  }
  void run(const Workload& workload) {
    for (const std::string& line : workload.out) sayTo(outWrite_, line);
    for (const std::string& line : workload.err) sayTo(errWrite_, line);
    if (!workload.runsOn) endLocked(workload.exit);
  }
  static bool sayTo(const Fd& fd, const std::string& line) {
    const std::string text = line + "\n";
    return fd.valid() && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }
  void signalEnd() const {
    const std::uint64_t one = 1;
    GRID_CHECK(::write(ended_.get(), &one, sizeof one) == sizeof one);
  }
  void endLocked(const Exit& how) {
    if (!running_) return;
    running_ = false;
    exit_ = how;
    outWrite_.reset();
    errWrite_.reset();
    signalEnd();
  }

  FakeSandboxes& all_;
  const std::string name_;
  const int pid_;
  Fd ended_, outRead_, outWrite_, errRead_, errWrite_;
  bool running_ = true;
  Exit exit_;
  std::map<int, int> ports_;  // inside → on this host
  std::vector<Phase> phases_{{"namespaces", Nanos(600'000)},
                             {"network", Nanos(900'000)},
                             {"rootfs", Nanos(800'000)},
                             {"exec", Nanos(300'000)}};
};

inline Result<void> FakeSandboxes::failureOf(const std::string& step, const Spec& spec) {
  const std::lock_guard lock(mutex_);
  if (failures_.empty() || failures_.front().first != step) return {};
  const int error = failures_.front().second;
  failures_.erase(failures_.begin());
  return errnoError("start " + spec.name + ": " + step, error);
}

inline Result<std::unique_ptr<Sandbox>> FakeSandboxes::start(const Spec& spec,
                                                             const std::function<Result<void>(Sandbox&)>& prepare) {
  if (spec.name.empty() || spec.argv.empty()) return Error{Code::invalidArgument, "a container needs name and program"};
  for (const char* step : {"directory", "cgroup", "layers", "namespaces", "network"}) {
    RETURN_IF_ERROR(failureOf(step, spec));
  }
  std::unique_ptr<Box> box;
  {
    const std::lock_guard lock(mutex_);
    if (boxes_.contains(spec.name)) return errnoError("start " + spec.name + ": directory", EEXIST);
    box = std::make_unique<Box>(*this, spec, 10'000 + static_cast<int>(starts_.size()));
    boxes_[spec.name] = box.get();
    starts_.push_back(spec);
  }
  if (prepare) {
    const Result<void> prepared = prepare(*box);
    if (!prepared.ok()) return prepared.error().within("start " + spec.name + ": prepare");
  }
  for (const char* step : {"rootfs", "exec"}) RETURN_IF_ERROR(failureOf(step, spec));
  locked([&] {
    const auto script = scripts_.find(spec.name);
    box->run(script == scripts_.end() ? default_ : script->second);
  });
  return std::unique_ptr<Sandbox>(std::move(box));
}

inline Result<std::unique_ptr<Parked>> FakeSandboxes::park(const Spec& spec,
                                                           const std::function<Result<void>(Sandbox&)>& prepare) {
  RETURN_IF_ERROR(failureOf("park", spec));
  Box box(*this, spec, 1);
  if (prepare) RETURN_IF_ERROR(prepare(box));
  const auto alive = std::make_shared<std::atomic<bool>>(true);
  locked([&] { parked_.emplace_back(spec, alive); });
  return std::unique_ptr<Parked>(std::make_unique<FakeParked>(*this, alive));
}

inline Result<std::unique_ptr<Sandbox>> FakeParked::become(const Spec& spec) {
  *alive_ = false;
  RETURN_IF_ERROR(all_.failureOf("become", spec));
  return all_.start(spec, nullptr);
}

inline bool FakeSandboxes::end(const std::string& name, Exit how) {
  const std::lock_guard lock(mutex_);
  const auto found = boxes_.find(name);
  if (found == boxes_.end() || !found->second->running_) return false;
  found->second->endLocked(how);
  return true;
}

inline bool FakeSandboxes::say(const std::string& name, const std::string& line) {
  const std::lock_guard lock(mutex_);
  const auto found = boxes_.find(name);
  return found != boxes_.end() && Box::sayTo(found->second->outWrite_, line);
}

inline int FakeSandboxes::reachedPort(const std::string& name, int port) {
  const std::lock_guard lock(mutex_);
  const auto found = boxes_.find(name);
  if (found == boxes_.end() || !found->second->ports_.contains(port)) return 0;
  return found->second->ports_.at(port);
}

inline std::set<std::string> FakeSandboxes::present() {
  const std::lock_guard lock(mutex_);
  std::set<std::string> out;
  for (const auto& [name, box] : boxes_) out.insert(name);
  return out;
}

}  // namespace gridiron::sandbox
