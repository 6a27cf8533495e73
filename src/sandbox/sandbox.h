#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace gridiron::sandbox {

// One Linux container, knowing nothing of functions or calls. All functions here block for a few milliseconds and may
// be called from any one thread at a time per object unless said otherwise.

struct Bind {
  std::string source;  // file or directory on the host
  std::string target;  // absolute path in the container; made (in the upper layer) when missing
  bool readOnly = true;
};

struct Limits {
  std::int64_t memoryBytes = 0;  // 0 = no limit
  std::int64_t milliCpu = 0;     // hard quota; 0 = no limit
  std::int64_t cpuWeight = 0;    // what it counts for among its like while CPU is short, in thousandths; 0 = one CPU
  bool prompt = false;           // runs as soon as it can, before those that are not; they keep a quarter of the CPU
  std::int64_t pids = 4096;
};

class Zygote;

enum class Network { none, nat, host };  // host: image builds that must reach what the host reaches

struct Spec {
  std::string name;                 // unique on this machine: cgroup, netns and directory carry it
  std::vector<std::string> lowers;  // layer directories, topmost first
  std::string upper;                // "" = throw-away upper under the state directory
  std::vector<Bind> binds;          // laid over the root in this order
  std::vector<std::string> argv;
  std::vector<std::pair<std::string, std::string>> environment;  // the whole of it
  std::string workdir = "/";
  std::string hostname;
  Limits limits;
  Network network = Network::nat;
  bool gridInternal = true;  // `grid.internal` → gateway:gridPort and nothing else of the host
  // The main process is to be a child of this zygote, continuing as `argv` would; when the zygote cannot, `argv` is
  // executed as without one. Its layers below the container's own, and the interpreter, must be those of this image.
  std::shared_ptr<Zygote> zygote;
  int imports = -1;      // a pipe, borrowed: a fork writes the names of the modules that it imports to it, a line each
  bool nursery = false;  // a zygote's own container: startZygote() sets it
  // The main process is to be what dump() left in this folder; `argv` is not executed. Layers, binds and streams must
  // be those that it had, at the same paths. A start that takes longer than `patience` for that fails.
  std::string images{};
  Nanos patience = std::chrono::seconds(10);
  int input = -1;  // standard input of the main process, borrowed until start() returns; -1 = nothing to read
};

// How the container ended.
struct Exit {
  int code = 0;  // exit status of the main process, 128 + signal when killed by one
  int signal = 0;
  bool outOfMemory = false;  // the kernel killed something in it for memory
};

// Named, measured steps of the start ("directory", "cgroup", "layers", "namespaces", "network", "prepare", "rootfs",
// "exec", "restore", "fork" or "parked": it was there already), for the phases of a cold start. "rootfs" is the child's
// own work, beside "network" and "prepare".
struct Phase {
  std::string name;
  Nanos took{};
  std::string why = {};  // of "exec": why it was not a fork, when one was asked for
};

class Sandbox {
 public:
  virtual ~Sandbox() = default;  // kills and removes everything of it

  virtual const std::string& name() const = 0;
  virtual int pid() const = 0;  // of the container's main process, on the host
  // A socket listening at 127.0.0.1:port inside the container's network namespace: its own door to the grid.
  virtual Result<Fd> listenInside(int port) = 0;
  // A TCP socket of the container's network namespace, to connect to what listens in it.
  virtual Result<Fd> socketInside() { return makeError(Code::unimplemented, "a socket inside {}: not here", name()); }
  // Read ends of the main process's output. Valid until taken.
  virtual Fd takeStdout() = 0;
  virtual Fd takeStderr() = 0;
  // Becomes readable when the container has ended (a pidfd): for the loop to wait on. Owned by the sandbox.
  virtual int exitFd() const = 0;
  // After exitFd is readable: how it ended.
  virtual Exit wait() = 0;
  virtual Result<void> signal(int signo) = 0;  // to the main process
  virtual void kill() = 0;                     // everything in it, at once
  // Writes the main process and what it has started, memory and all, to files in the empty folder `images`, for other
  // containers to go on from (Spec::images). It stands still meanwhile and runs on after. An error says what of it
  // cannot be kept (an open connection, a device); what is in the folder is then of no use.
  virtual Result<void> dump(const std::string& images, Nanos patience) {
    (void)patience;
    return makeError(Code::unimplemented, "dump {} to {}: not here", name(), images);
  }
  virtual const std::vector<Phase>& phases() const = 0;
  // Runs after the end: unmounts and removes cgroup, netns, directories. Repeatable.
  virtual Result<void> remove() = 0;
};

// A process that main processes of containers are forked from, with all that it has imported: guest/zygote.py. It lives
// in a container of its own, without network, on a read-only root, with no more privileges than any container; those
// that come from it are below it in the tree of user and pid namespaces. See docs/decisions/zygotes.md. Any thread.
class Zygote {
 public:
  virtual ~Zygote() = default;                    // kills it and all containers that came from it
  virtual const std::string& report() const = 0;  // what it said when it was ready
  virtual bool alive() const = 0;
  // Ends the process and frees its memory; containers that came from it live on. Repeatable.
  virtual void retire() = 0;
  // Its own memory now, what it shares with children included; 0 when it has ended.
  virtual std::int64_t residentBytes() const = 0;
};

// A container with everything but a program: its main process is a zygote's child that has rehearsed and waits to be
// told what to be. Any thread, one at a time.
class Parked {
 public:
  virtual ~Parked() = default;  // kills it and removes everything of it
  virtual bool alive() const = 0;
  virtual std::int64_t privateBytes() const = 0;  // memory that is its own, not shared with its zygote
  // It runs `argv`, with the environment, working directory and limits of `spec`; the rest of `spec` must be what it
  // was parked with. After an error, as when it cannot be a fork, it is of no use any more.
  virtual Result<std::unique_ptr<Sandbox>> become(const Spec& spec) = 0;
};

// What this host can do, found by looking once at start.
struct HostFacts {
  enum class Cgroups { v1, hybrid, v2, none } cgroups = Cgroups::none;
  bool overlay = false, userNamespaces = false, nftables = false, seccomp = false, pidfd = false, root = false;
  bool rootIsMount = true;  // not in a plain chroot, where makeRootAMount() helps
  std::string kernel;
  std::vector<std::string> problems;  // each: what is missing and what to do about it
};
HostFacts probeHost();

// Whether the criu in the tree `root` (Sandboxes::Options::criuRoot) suits this kernel: "criu 4.1.1", or why not.
Result<std::string> checkCriu(const std::string& root);

// A process in a plain chroot, whose root directory is no mount point, can neither give containers a root of their own
// nor user namespaces. Makes the directory a mount and the root of a mount namespace of this process's own; does
// nothing where it is a mount already. For root, while the process has one thread. Repeatable.
Result<void> makeRootAMount();

class Sandboxes {
 public:
  struct Options {
    std::string stateDirectory;            // uppers, mount points, records of what exists
    std::string initPath;                  // guest/init, static
    std::string bridge = "gridiron0";      // made on first use
    std::string subnet = "10.213.0.0/16";  // containers' addresses; the first is the gateway
    int gridPort = 8400;                   // what `grid.internal` answers on
    std::string gridHost;                  // the one IPv4 address the grid listens at, such as 127.0.0.1; "" = all
    std::string instance;                  // names this grid's rules, cgroups and links: several grids on one host
    // Containers' users are 100000 and up on the host, their layers seen through a map. Where the state directory's
    // file system cannot be mapped, containers have the host's ids and a warning is logged.
    bool userNamespace = true;
    std::string criuRoot{};  // a tree with usr/sbin/criu and its libraries; "" = no dumps
  };
  virtual ~Sandboxes() = default;
  // Starts the container; its main process is running (exec has succeeded) when this returns. A failure names the step
  // ("network: …: ENOENT") and leaves nothing behind. `prepare` runs after the namespaces exist and before exec, for
  // listeners that must be there when the program starts: it is given the sandbox.
  virtual Result<std::unique_ptr<Sandbox>> start(const Spec& spec,
                                                 const std::function<Result<void>(Sandbox&)>& prepare) = 0;
  // Starts a zygote: `spec.argv` is the interpreter with guest/zygote.py, whose first message is `wish`. Returns when
  // it has answered, its report; an error when it ended first, took longer than `patience`, or is no longer wanted
  // (cancelled). Until then it leaves most of the processor to containers. unimplemented where containers have no
  // user namespaces of their own.
  virtual Result<std::shared_ptr<Zygote>> startZygote(const Spec& spec, const std::string& wish, Nanos patience,
                                                      std::stop_token stop) {
    (void)wish, (void)patience, (void)stop;
    return makeError(Code::unimplemented, "start {}: no zygotes here", spec.name);
  }
  // Makes a container of which nothing is said yet but what all that it may become have in common: layers, binds, the
  // network, its zygote, the pipe for imports; whether they are prompt may change. Takes some tens of milliseconds and
  // leaves most of the processor to containers meanwhile. `prepare` as in start().
  virtual Result<std::unique_ptr<Parked>> park(const Spec& spec, const std::function<Result<void>(Sandbox&)>& prepare) {
    (void)prepare;
    return makeError(Code::unimplemented, "park {}: not here", spec.name);
  }
  // Removes what an earlier, killed process of this instance left: mounts, cgroups, network namespaces, links, rules,
  // processes, directories. Call before the first start.
  virtual Result<void> sweep() = 0;
};

Result<std::unique_ptr<Sandboxes>> openSandboxes(Sandboxes::Options options);

}  // namespace gridiron::sandbox
