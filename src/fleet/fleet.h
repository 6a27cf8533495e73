#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "calls/calls.h"
#include "meter/meter.h"
#include "model/function.h"
#include "model/instance.h"
#include "model/worker.h"
#include "plan/predict.h"
#include "store/store.h"

namespace gridiron {

struct MountedFile {
  std::string path;
  std::string sha256Hex;
  std::uint32_t mode = 0644;
  std::uint64_t size = 0;
};

struct MountOrder {
  MountId id;
  std::vector<MountedFile> files;
};

// Everything a worker needs to start a container; the link's StartInstance as a value.
struct StartOrder {
  InstanceId instance;
  FunctionId function;
  ImageId image;
  std::string clientVersion;
  bool needsFastapi = false;
  bool lane = false;   // it gets a door of its own for web requests
  bool ports = false;  // what listens in it can be reached
  // Its process may be kept as a memory snapshot, and go on from one of the same digest: of all that is known here of a
  // container but which one it is. "": it may not.
  std::string snapshot;
  AppId app;
  DefinitionId definition;
  std::string containerArguments;  // serialized for the client's entrypoint
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::pair<std::string, std::string>> secrets;  // over `environment`; masked in logs
  std::vector<MountOrder> mounts;
  std::string workdir;
  Resources resources;
  bool prompt = false;            // somebody waits at an open connection: it gets CPU before those that are not
  std::vector<std::string> argv;  // empty: the client's entrypoint
  ImageId commitAsImage;
  Nanos grace = std::chrono::seconds(30);
};

// Composes orders from what the catalog has. An Error (a secret is gone) fails the function's waiting inputs with its
// text.
class StartOrders {
 public:
  virtual ~StartOrders() = default;
  virtual Result<StartOrder> compose(const Instance& instance, const Function& function) = 0;
};

// Commands to one connected worker; they are sent in order, and lost when the link is (workerLost follows).
class WorkerPort {
 public:
  virtual ~WorkerPort() = default;
  virtual void start(const StartOrder& order) = 0;
  virtual void stop(const InstanceId& instance, Nanos grace) = 0;  // SIGTERM, then SIGKILL; 0: SIGKILL now
  virtual void signal(const InstanceId& instance, int signo) = 0;
  // Containers of the function are to be expected: what makes their starts short may be made ready.
  virtual void prepare(const Function& /*function*/) {}
  // Memory snapshots of the function that are of another definition than this are of no use any more.
  virtual void forgetOlder(const FunctionId& /*function*/, const DefinitionId& /*inForce*/) {}
  virtual void forgetApp(const AppId& /*app*/) {}  // nor any of the app
  // What waits there for starts of the function is of no use any more.
  virtual void retire(const FunctionId& /*function*/) {}
};

struct ExitInfo {
  int code = 0;
  int signal = 0;
  bool outOfMemory = false;
  std::string error;  // it could not be started: why; with a signal it ended before it was
};

class FleetObserver {
 public:
  virtual ~FleetObserver() = default;
  // Any change of state, after it.
  virtual void instanceChanged(const Instance&) {}
  // A line of the grid's own for the container's log.
  virtual void notice(const Instance&, const std::string& /*text*/) {}
};

struct FunctionStats {
  int backlog = 0;
  int running = 0;
  int containers = 0;  // ready ones
  int starting = 0;
};

// Workers and containers: how many there are of each function, where, and when they go. Decides by step(): a snapshot
// goes to plan/, what comes back is checked against the present and becomes commands to workers. Loop thread only.
class Fleet final : public CallsObserver {
 public:
  struct Options {
    Nanos defaultGrace = std::chrono::seconds(30);
    Nanos workerGrace = std::chrono::seconds(10);  // a worker that comes back so soon keeps its containers
    std::int64_t defaultMilliCpu = 125;            // of functions that do not say
    std::int64_t defaultMemoryMb = 128;
    // Whose containers are started ahead (plan/predict.h), and when those that run by themselves do so next. Empty: no
    // function's. Asked often.
    std::function<bool(const Function&)> predicts{};
    std::function<std::optional<Time>(const FunctionId&)> scheduled{};
  };
  // What is expected of a function, and in which time a container is there for it.
  struct Foreseen {
    plan::Forecast forecast;
    Time startAt{}, stopAt{};
  };
  struct AheadCounts {
    std::int64_t started = 0;  // containers, since the grid began
    std::int64_t hits = 0;     // those that an input found
    Nanos unused{};            // of all of them, before their first input
  };
  Fleet(Store& store, Calls& calls, const Functions& functions, StartOrders& orders, Meter& meter, const Clock& clock);
  Fleet(Store& store, Calls& calls, const Functions& functions, StartOrders& orders, Meter& meter, const Clock& clock,
        Options options);
  ~Fleet() override;

  void observe(FleetObserver& observer);
  // Called (from within any verb) when step() has something to do soon. Must only note or post, never call step itself.
  void onWork(std::function<void()> wake);
  // After a restart, when calls has loaded: containers that an earlier process had are kept if their workers come back
  // with them within workerGrace; the records of the others are closed, and what they held is run again.
  Result<void> load();

  // --- what apps do ---
  // The function is (again) in force: its minimum is kept; containers of another definition id are drained, idle ones
  // once a new one is ready.
  void deploy(const FunctionId& function);
  // No longer in force: its containers drain, nothing is started for it, what waits ends with `why`.
  void withdraw(const FunctionId& function, const std::string& why);
  // All functions of the app that have containers or are in force.
  void stopApp(const AppId& app, const std::string& why);
  // Runs a builder function once (Image.run_function). The outcome comes by instanceChanged (gone, exitCode, why).
  Result<InstanceId> runOnce(const Function& function);

  // --- what workers tell ---
  // (Re)connected. Of `running`, containers that are not ours are stopped; ours that it lacks are gone.
  void workerJoined(const Worker& worker, WorkerPort& port, const std::vector<InstanceId>& running);
  void workerLost(const WorkerId& worker);
  void workerKeeps(const WorkerId& worker, std::vector<ZygoteView> zygotes, std::int64_t limitBytes);
  void sandboxRunning(const InstanceId& instance, std::vector<StartPhase> phases);
  // What is known of the start beside its steps: parts of "import", and "enter". Before or soon after it is ready.
  void startDetail(const InstanceId& instance, std::vector<StartPhase> detail);
  void exited(const InstanceId& instance, const ExitInfo& exit);

  // --- what containers tell ---
  void containerHello(const InstanceId& instance);
  // It asks for inputs: the first time makes it ready.
  void askedForInputs(const InstanceId& instance);
  // TaskResult: it could not start (import error…); the outcome goes to what waits when it keeps failing.
  void startupFailed(const InstanceId& instance, const Outcome& outcome);
  // Shall it stop asking and go? True for unknown and draining containers.
  bool killSwitch(const InstanceId& instance) const;

  // --- asked by people ---
  // graceful: finishes what it runs.
  Result<void> stop(const InstanceId& instance, bool graceful, const std::string& why);
  std::optional<Instance> find(const InstanceId& instance) const;    // also gone ones, for a while
  bool lives(const InstanceId& instance) const;                      // known and not gone
  std::vector<Instance> instances() const;                           // that are not gone
  std::vector<Instance> startsOf(const FunctionId& function) const;  // that became ready, gone ones too; newest last
  std::vector<Worker> workers() const;
  FunctionStats stats(const FunctionId& function) const;
  std::optional<Foreseen> foreseen(const FunctionId& function) const;
  AheadCounts aheadCounts(const FunctionId& function) const;

  // Does what is to be done now. Call after onWork's wake, and at nextDeadline.
  void step();
  std::optional<Time> nextDeadline() const;

  // CallsObserver
  void inputsQueued(const FunctionId& function) override;
  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;
  void interruptWanted(const InstanceId& instance, const std::string& why) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gridiron
