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
#include "sim/machine.h"
#include "sim/sim.h"

namespace gridiron::sim {

class World;

// What a function's containers and inputs do: data. Chances are in percent.
struct Workload {
  std::string name;
  Function function;
  CallKind kind = CallKind::unary;                             // web: it answers HTTP requests
  Nanos shortest{}, longest = std::chrono::milliseconds(800);  // of a run
  int inputs = 6;                                              // of a map, at most
  int yields = 0;                                              // a run gives so many pieces at most, one at least
  int raises = 0;                                              // an input's run ends in an exception
  int poison = 0;                                              // an input does so in every run
  int crashes = 0;                                             // the container ends in the middle of a run
  int breaks = 0;                                              // it ends between two pieces
  int outOfMemory = 0;                                         // it is killed for memory
  int hangs = 0;                                               // a run never ends by itself
  int startFails = 0;                                          // the sandbox cannot be started
  int importFails = 0;
  bool ignoresSignals = false;  // all but SIGKILL
};
std::vector<Workload> allWorkloads();

struct Client;

// One of the control processes that live one after the other on one disk: the production objects, and what edge does
// around them: replies that wait for the disk, polls that wait for news, the driver's turns.
class Control : public CallsObserver, public FleetObserver {
 public:
  explicit Control(World& world);
  ~Control() override;  // killed

  Calls& calls() { return *calls_; }
  Fleet& fleet() { return *fleet_; }
  Meter& meter() { return *meter_; }
  bool start();  // false: the disk did not let it

  using Answer = std::function<void()>;         // runs at who asked
  using Respond = std::function<void(Answer)>;  // gives the answer on its way
  void getInputs(const InstanceId& instance, const FunctionId& function, const std::string& ticket,
                 std::function<void(std::vector<Lease>, bool)>);
  void heartbeat(const InstanceId& instance, std::function<void(std::vector<InputId>)> respond);
  void getOutputs(const CallId& call, OutputQuery query, std::function<void(Result<OutputPage>)> respond);
  void getData(const CallId& call, Direction direction, std::int64_t after, bool isComplete,
               std::function<void(Result<std::vector<DataChunk>>)> respond);
  // An HTTP request: its body comes in pieces, the answer goes out as it comes.
  void visit(const std::shared_ptr<Client>& client);
  void leaveVisit(const Client& client);  // its peer is gone
  // From a worker.
  void take(const SessionPtr& session, const link::FromWorker& message);
  void sessionLost(const SessionPtr& session);
  void checkPolls() const;
  // After every step in which control did something: polls look again, a turn is taken.
  void look();
  // Replies to clients of before, by idempotency key.
  std::map<int, std::pair<CallId, std::vector<AcceptedInput>>> replies;

  void inputsQueued(const FunctionId&) override { wake(); }
  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;
  void cancelWanted(const InstanceId&) override { changed_ = true; }
  void outputsReady(const CallId&) override { changed_ = true; }
  void dataReady(const CallId&, Direction) override { changed_ = true; }
  void instanceChanged(const Instance& instance) override;

 private:
  struct InputPoll {
    InstanceId instance;
    FunctionId function;
    std::string ticket;
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
  struct DataPoll {
    CallId call;
    Direction direction;
    std::int64_t after;
    bool isComplete;  // it has all that there is
    Time until;
    std::function<void(Result<std::vector<DataChunk>>)> respond;
  };
  struct Visit {
    std::shared_ptr<Client> client;
    CallId call;
    std::int64_t after = 0;
  };
  struct Port;
  struct Link {
    SessionPtr session;
    Time heard{};
  };
  struct Orders final : StartOrders {
    Result<StartOrder> compose(const Instance&, const Function&) override { return StartOrder{}; }
  };
  bool openVisit(Visit& visit);
  void pushBody(const CallId& call, int next, int pieces);
  bool goOn(Visit& visit);  // false: it is over
  void lookAtVisits();
  void join(const Worker& worker, const std::vector<InstanceId>& running);
  void checkKept() const;
  void watch(const SessionPtr& session);
  void tell(const SessionPtr& session, link::ToWorker command);
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
  std::list<DataPoll> dataPolls_;
  std::list<Visit> visits_;
  std::map<WorkerId, Link> links_;
  std::list<std::unique_ptr<Port>> ports_;
  std::map<InstanceId, std::pair<WorkerId, std::int64_t>> reserved_;  // MiB
  bool posted_ = false, changed_ = false;
  Time timerAt_{};
};

// Who calls: opens a call, puts its inputs, polls for outputs, may cancel; asks again whatever is not answered.
struct Client {
  int number = 0;
  FunctionId function;
  CallKind kind = CallKind::unary;
  bool generates = false;  // the function is a generator: its items come by the stream
  bool clears = false;     // clear_on_success
  int inputs = 1, perPut = 1;
  CallId call;  // once acknowledged
  std::map<int, InputId> acknowledged;
  std::map<int, Output> seen;  // by index
  std::string after = "0-0";
  int put = 0;  // inputs acknowledged
  bool cancels = false, cancelAsked = false, done = false;
  std::int64_t items = 0;  // pieces seen: of a generator, of an HTTP answer
  int wanted = -1;         // so many items there are; -1: not known yet
  std::string answeredBy;  // of an HTTP answer that has begun: container and attempt
  Time begunAt{};
  bool patient = false;  // of a function that takes its time, or may not start
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
  void withdraw();
  const Workload& anyWorkload();
  void finalChecks();
  void checkStep();
  void checkCall(const Client& client);
  void checkOwners();
  void checkAttempt(const Input& input);
  void begins(const Box& box, const Lease& lease);  // a run
  static int piecesOf(const CallId& call, const Workload& workload);
  void checkBills();
  void checkWaits();
  void checkOutput(Client& client, const Output& output);
  bool quiet();
  void noteLeft();

  // An RPC to control from a client, or from a container by its worker. `serve` runs there and may answer later;
  // exactly one of the answer and `failed` comes about at who asked, if nothing else is there to stop it.
  using Serve = std::function<void(Control&, Control::Respond)>;
  void rpc(Machine& machine, const BoxPtr& box, Nanos patience, Serve serve, std::function<void()> failed);
  void rpc(Nanos patience, Serve serve, std::function<void()> failed);  // of a client
  void whenDurable(std::function<void()> then);  // when the disk has what is written now; never if control ends before
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
  void stream(const std::shared_ptr<Client>& client);
  void takeItems(Client& client, const std::vector<DataChunk>& chunks);
  bool isOver(const Client& client) const;

 private:
  void send(std::function<bool()> reaches, Nanos patience, bool awaitsDisk, Serve serve, std::function<void()> failed);

 public:
  const std::uint64_t seed;
  const Options options;
  Engine engine;
  Disk disk;
  FunctionTable table;
  std::vector<Workload> workloads;  // of this schedule
  std::map<FunctionId, int> definitions;
  std::set<FunctionId> withdrawn;    // of the workloads: not in force
  std::unique_ptr<Control> control;  // null: it was killed
  int epoch = 0;
  bool troubled = true;  // faults may happen
  Time peaceAt{};
  std::vector<std::unique_ptr<Machine>> machines;
  std::vector<BoxPtr> boxes;  // all that ever were
  std::vector<std::shared_ptr<Client>> clients;
  std::set<InputId> poisoned;
  std::optional<Failure> failure;
};

}  // namespace gridiron::sim
