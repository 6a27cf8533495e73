#pragma once

#include <set>
#include <unordered_map>

#include "fleet/fleet.h"
#include "plan/place.h"
#include "plan/scale.h"
#include "plan/share.h"

namespace gridiron {

// What waits for containers that cannot be started ends so.
Outcome initFailure(std::string text);
// `at` becomes `other` if that is a time (not the epoch) and earlier.
void sooner(std::optional<Time>& at, Time other);

// The state of the fleet and the moves that both step() and the events make. Private to fleet/.
struct Fleet::Impl {
  struct WorkerEntry {
    Worker worker;
    WorkerPort* port = nullptr;  // null: not connected
    Time lostAt{};
  };

  // A container, or one that is still to be placed (no worker yet).
  struct Record {
    Instance instance;
    std::shared_ptr<const Function> function;
    Resources reserved;
    bool once = false;        // runOnce
    bool superseded = false;  // of an older definition; goes when a newer one is ready
    bool everRan = false;     // had an input
    bool failed = false;      // its start was found to fail
    bool byUs = false;        // its end was ordered: not its fault
    bool earlier = false;     // of before control's restart
    bool awaited = false;     // its worker has not confirmed since that it is there
    bool unheard = false;     // it has not asked for inputs since; what it runs we may not know before
    Time idleSince{};
    Time yieldedAt{};  // when it was told to make room for another
    Time beganAt{};    // the input that it was given last
    Time claimedAt{};  // since when a start was decided upon and waited for room
    std::vector<StartPhase> workerPhases;
    std::vector<StartPhase> detail;  // of the start, as its container told
    // What happens next if nothing else does: stop politely, kill, give up. Epoch: nothing.
    Time stopAt{}, killAt{}, giveUpAt{};
  };

  struct Served {
    std::shared_ptr<const Function> function;
    bool deployed = false;   // the minimum is kept
    bool withdrawn = false;  // nothing is started
    std::string why;         // of withdrawn
    Nanos runTime{};         // of its inputs of late
    int failures = 0;
    Time lastFailure{};
    Time claimedAt{};  // since when it wants containers that it does not get; epoch: it does not
  };

  // Of a function whose containers may be started ahead.
  struct Foresight {
    plan::Arrivals arrivals;
    plan::StartTimes starts;
    std::optional<plan::Forecast> forecast;
    bool stale = false;  // there were arrivals since
    Time startedFor{};   // of the forecast that there was a start for
    std::int64_t started = 0, hits = 0;
    Nanos unused{};
  };

  Store& store;
  Calls& calls;
  const Functions& functions;
  StartOrders& orders;
  Meter& meter;
  const Clock& clock;
  const Options options;

  std::vector<FleetObserver*> observers;
  std::function<void()> wake;
  std::map<WorkerId, WorkerEntry> workers;
  std::map<InstanceId, Record> records;  // not gone
  std::map<FunctionId, Served> served;
  std::map<InstanceId, Instance> gone;
  std::set<InstanceId> dirty;  // to be written
  std::optional<Time> again;   // what the last step's plan asked for
  Time flushedAt{};
  std::map<FunctionId, Foresight> foresight;

  // --- ground.cc ---
  void changed(const Instance& instance);
  void work() const;
  void notice(const Instance& instance, const std::string& text);
  Record* find(const InstanceId& id);
  WorkerPort* portOf(const Record& record);
  Resources withDefaults(Resources resources) const;
  // New state, told and to be written; anything but a legal move is a bug.
  void become(Record& record, InstanceState state);
  // No new inputs for it; it ends when it runs nothing. Repeatable.
  void drain(Record& record, const std::string& why);
  // SIGTERM now (SIGKILL after `grace`).
  void stopNow(Record& record, Nanos grace, const std::string& why);
  // Those that are open of containers that are not among ours.
  void closeBills();
  // It is no more. Its inputs are run again or fail.
  void bury(InstanceId id, std::string why, Blame blame);  // by value: both may be of what is buried
  // One more start of the function failed. After `tolerated` failures in a row what waits ends with the outcome.
  void countFailure(Record& record, const Outcome& outcome, int tolerated);
  // The worker behind `port`, or every one that is there, is told to expect containers of the function.
  void prepareOn(WorkerPort* port, const Function& function);
  void onWorkers(const std::function<void(WorkerPort&)>& act);
  // `function` is the definition in force from now on; containers of others go.
  void supersede(const FunctionId& id, Served& entry, std::shared_ptr<const Function> function);
  bool hasReady(const FunctionId& function) const;
  void noteRunTime(const FunctionId& function, Nanos took);
  void write();

  // Workers let go of what they hold for starts of what the function was.
  void retire(const FunctionId& function);
  std::vector<StartPhase> phasesOf(const Record& record) const;

  // --- step.cc ---
  void expire();
  void failWithdrawn();
  // Lets idle ones go; what it says is to be placed.
  std::vector<plan::Claim> scaleAll();
  std::map<FunctionId, plan::FunctionView> functionViews();
  plan::ReadyContainer readyView(const Record& record, int held, const plan::FunctionView& view) const;

  // --- ahead.cc ---
  bool predicts(const Function& function) const;
  // A stretch of use of the function began.
  void noteArrival(const FunctionId& function, Time at);
  std::optional<Foreseen> foresee(const FunctionId& function, Foresight& sight) const;
  bool wantsAhead(const FunctionId& function, const Function& definition);
  void noteStartAhead(const FunctionId& function);
  // It is given an input.
  void usedAhead(Record& record, Time queuedAt);
  void recallArrivals();

  // --- placing.cc ---
  void placeAll(std::vector<plan::Claim> claims);
  plan::Claim claimOf(const Function& function, int count, Time since) const;
  std::vector<plan::WorkerView> workerViews() const;
  std::vector<plan::WorkerView> viewsSoon(Nanos yielding);
  int startsAtOnce(const WorkerId& worker) const;
  std::map<WorkerId, int> startsThatCompute(plan::Placer& placer);
  Record& recordFor(const plan::Claim& claim, const InstanceId& name);
  WorkerId makeRoom(const plan::Claim& claim, const plan::Shares& shares);
  std::map<FunctionId, int> spare() const;
  std::vector<plan::Evictable> idleFor(const plan::Claim& claim);
  std::vector<plan::Busy> busyOnes() const;
  // No worker can hold it, or it cannot be composed: what waits is told.
  void refuse(Record& record, const std::string& why);
  bool order(Record& record, const plan::Placement& placement);

  // --- fleet.cc ---
  // After a restart: is the container's return waited for?
  bool expectBack(const Instance& instance);
};

}  // namespace gridiron
