#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "calls/calls.h"
#include "fleet/fleet.h"
#include "meter/meter.h"
#include "sim/disk.h"
#include "sim/engine.h"
#include "sim/sim.h"

namespace gridiron::sim {

class World;

// What a function's containers and inputs do: data. Chances are in percent.
struct Workload {
  std::string name;
  Function function;
  Nanos shortest{}, longest = std::chrono::milliseconds(800);  // of a run
  int raises = 0;                                              // an input's run ends in an exception
  int poison = 0;                                              // an input does so in every run
  int crashes = 0;                                             // the container ends in the middle of a run
  int outOfMemory = 0;                                         // the same, killed for memory
  int hangs = 0;                                               // a run never ends by itself
  int startFails = 0;                                          // the sandbox cannot be started
  int importFails = 0;
  bool ignoresSignals = false;  // all but SIGKILL
};

// One of the control processes that live one after the other on one disk: the production objects, and what edge does
// around them: replies that wait for the disk, polls that wait for news, the driver's turns.
class Control : public CallsObserver {
 public:
  explicit Control(World& world);

  Calls& calls() { return *calls_; }
  Fleet& fleet() { return *fleet_; }
  Meter& meter() { return *meter_; }
  bool start();  // false: the disk did not let it

  using Answer = std::function<void()>;         // runs at who asked
  using Respond = std::function<void(Answer)>;  // gives the answer on its way
  void getInputs(const InstanceId& instance, const FunctionId& function, std::function<void(std::vector<Lease>, bool)>);
  void heartbeat(const InstanceId& instance, std::function<void(std::vector<InputId>)> respond);
  void getOutputs(const CallId& call, OutputQuery query, std::function<void(Result<OutputPage>)> respond);
  // After every step in which control did something: polls look again, a turn is taken.
  void look();
  // Replies to clients of before, by idempotency key.
  std::map<int, std::pair<CallId, std::vector<AcceptedInput>>> replies;

  void inputsQueued(const FunctionId&) override { wake(); }
  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;
  void cancelWanted(const InstanceId&) override { changed_ = true; }
  void outputsReady(const CallId&) override { changed_ = true; }

 private:
  struct InputPoll {
    InstanceId instance;
    FunctionId function;
    Time until;
    std::function<void(std::vector<Lease>, bool)> respond;
  };
  struct BeatPoll {
    InstanceId instance;
    Time until;
    std::function<void(std::vector<InputId>)> respond;
  };
  struct OutputPoll {
    CallId call;
    OutputQuery query;
    Time until;
    std::function<void(Result<OutputPage>)> respond;
  };
  struct Orders final : StartOrders {
    Result<StartOrder> compose(const Instance&, const Function&) override { return StartOrder{}; }
  };
  void wake();
  void turn();
  void keepHouse();
  void lookAgainAt(Time when);

  World& world_;
  const int epoch_;
  Orders orders_;
  std::unique_ptr<Calls> calls_;
  std::unique_ptr<Meter> meter_;
  std::unique_ptr<Fleet> fleet_;
  std::list<InputPoll> inputPolls_;
  std::list<BeatPoll> beatPolls_;
  std::list<OutputPoll> outputPolls_;
  bool posted_ = false, changed_ = false;
  Time timerAt_{};
};

// A container as it runs: the client's loop, from its start to its end.
struct Box {
  InstanceId id;
  FunctionId function;
  const Workload* workload = nullptr;
  Resources resources;
  int machine = 0;
  bool alive = true;      // on its machine
  bool started = false;   // the sandbox runs
  bool leaving = false;   // asks for nothing more
  bool stopping = false;  // told to, before it was started
  bool asking = false;
  int unsaid = 0;  // outputs on their way
  std::map<InputId, Input> runs;
  Time startedAt{}, endedAt{}, orderedAt{}, orphanSince{};
};

// The session between a machine and control: both directions in order, all or, from some moment on, nothing.
struct Session {
  bool broken = false;   // nothing arrives any more
  bool noticed = false;  // by control
  Time up{}, down{};     // when the last message arrives
};

// A machine with its worker and containers.
class Machine final {
 public:
  Machine(World& world, int number);
  WorkerId id() const { return WorkerId{"wk-" + std::to_string(number_)}; }
  void dial();  // until there is a session
  void breakSession(bool quickly);
  void die(bool comesBack);  // and its containers with it
  bool up() const { return up_; }
  bool cut = false;                                  // from the network
  std::map<InstanceId, std::shared_ptr<Box>> boxes;  // present ones
  Session* session() { return session_.get(); }

  void start(const StartOrder& order, const std::string& function);
  void stop(const InstanceId& id, Nanos grace);
  void signal(const InstanceId& id, int signo);
  static constexpr std::int64_t kMemoryMb = 1000;

 private:
  struct Port;
  void up(std::function<void(Control&)> message);  // to control by the session
  void end(const std::shared_ptr<Box>& box, ExitInfo exit);
  void running(const std::shared_ptr<Box>& box);
  void ask(const std::shared_ptr<Box>& box);
  void beat(const std::shared_ptr<Box>& box);
  void begin(const std::shared_ptr<Box>& box, const Lease& lease);
  void finish(const std::shared_ptr<Box>& box, const InputId& id, OutcomeStatus status);
  void put(const std::shared_ptr<Box>& box, const Input& input, OutcomeStatus status);
  void leaveIfDone(const std::shared_ptr<Box>& box);

  World& world_;
  const int number_;
  bool up_ = true;
  int life_ = 0;
  std::shared_ptr<Session> session_;
  std::shared_ptr<Port> port_;
};

// Who calls: opens a call, puts its inputs, polls for outputs, may cancel; asks again whatever is not answered.
struct Client {
  int number = 0;
  FunctionId function;
  CallKind kind = CallKind::unary;
  int inputs = 1, perPut = 1;
  CallId call;  // once acknowledged
  std::map<int, InputId> acknowledged;
  std::map<int, Output> seen;  // by index
  std::string after = "0-0";
  int put = 0;  // inputs acknowledged
  bool cancels = false, cancelAsked = false, done = false;
  Time begunAt{};
};

class World {
 public:
  World(std::uint64_t seed, const Options& options, bool tracing);
  ~World();
  std::optional<Failure> live();

  // --- what happens ---
  void fail(std::string what);
  void step();
  void happen(int steps);
  void fault();
  void recover();
  void killControl();
  void startControl();
  void redeploy();
  void finalChecks();
  void checkStep();
  void checkOwners();
  void checkAttempt(const Input& input);
  void checkBills();
  void checkOutput(Client& client, const Output& output);
  bool quiet();
  void noteLeft();

  // An RPC from machine (-1: from a client) to control. `serve` runs there and may answer later; exactly one of the
  // answer and `failed` comes about at who asked, if nothing else is there to stop it.
  void rpc(int machine, Nanos patience, bool awaitsDisk, std::function<void(Control&, Control::Respond)> serve,
           std::function<void()> failed);
  Nanos delay();
  bool lossy(int chance) { return troubled && engine.random.percent(chance); }
  template <class... Args>
  void note(fmt::format_string<Args...> format, Args&&... args) {
    if (engine.tracing()) engine.note(fmt::format(format, std::forward<Args>(args)...));
  }

  // --- clients (clients.cc) ---
  void call();
  void open(const std::shared_ptr<Client>& client);
  void putMore(const std::shared_ptr<Client>& client);
  void finishInputs(const std::shared_ptr<Client>& client);
  void poll(const std::shared_ptr<Client>& client);
  void cancel(const std::shared_ptr<Client>& client);

  const std::uint64_t seed;
  const Options options;
  Engine engine;
  Disk disk;
  FunctionTable table;
  std::vector<Workload> workloads;  // of this schedule
  std::map<FunctionId, int> definitions;
  std::unique_ptr<Control> control;  // null: it was killed
  int epoch = 0;
  bool troubled = true;  // faults may happen
  std::vector<std::unique_ptr<Machine>> machines;
  std::vector<std::shared_ptr<Box>> boxes;  // all that ever were
  std::vector<std::shared_ptr<Client>> clients;
  std::set<InputId> poisoned;
  std::optional<Failure> failure;
};

}  // namespace gridiron::sim
