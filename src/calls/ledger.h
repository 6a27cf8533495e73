#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "calls/calls.h"
#include "calls/stream.h"

namespace gridiron {

// What Calls keeps, and its moves. Included by the files of Calls only: calls.cc (calls are opened, asked and
// cancelled), leases.cc (containers take inputs and give outcomes), endings.cc (what an attempt comes to, what is due).

struct CallEntry {
  Call call;
  std::map<int, InputId> byIndex;
  std::vector<Output> outputs;  // the n-th has sequence n + 1
  int unfinished = 0;
  int unsaid = 0;      // of the outputs, the last ones: the store does not have them yet, so nobody may see them
  bool saved = false;  // its row is in the store
  Time touched{};      // last change or question
  std::optional<Time> clearedAt;
  Stream in, out;

  bool durable() const { return call.kind != CallKind::web; }
};

struct InputEntry {
  Input input;
  std::int64_t place = 0;  // in its function's queue, while queued
  Time deadline{};         // while running
};

struct InputQueue {
  std::shared_ptr<const Function> function;  // the newest seen, also when it is gone since
  std::map<std::int64_t, InputId> waiting;   // by place
  int delayed = 0;
  int running = 0;

  bool idle() const { return waiting.empty() && delayed == 0 && running == 0; }
};

struct Holder {
  FunctionId function;
  std::vector<InputId> held;               // not reported by the container yet, oldest first
  std::map<InputId, Time> settledWithout;  // of those: since when cancelled or timed out; it does not know or say yet
  std::vector<InputId> toCancel;
};

Outcome outcomeOf(OutcomeStatus status, std::string text);

struct Calls::Impl {
  Impl(Store& store, const Functions& functions, const Clock& clock, Options options)
      : store(store), functions(functions), clock(clock), options(options), sweptAt(clock.now()), prunedAt(Time{}) {}

  Store& store;
  const Functions& functions;
  const Clock& clock;
  const Options options;
  std::vector<CallsObserver*> observers;

  std::unordered_map<CallId, CallEntry> calls;
  std::unordered_map<InputId, InputEntry> inputs;  // not settled
  std::unordered_map<FunctionId, InputQueue> queues;
  std::unordered_map<InstanceId, Holder> holders;
  std::set<std::pair<Time, InputId>> timeouts;  // of running ones
  std::set<std::pair<Time, InputId>> due;       // of delayed ones
  std::map<FunctionId, Time> lingering;         // when a batch must not wait any longer
  std::vector<Batch> owed;                      // changes that the store refused and that nobody will repeat
  Time owedAt{};
  std::int64_t back = 0, front = -1;  // places
  Time sweptAt, prunedAt;

  template <class Tell>
  void tell(Tell tell) {
    for (auto* observer : observers) tell(*observer);
  }

  // Looking up (calls.cc).
  InputQueue& queueOf(const FunctionId& id);
  void forgetIdleQueue(const FunctionId& id);
  // The call, taken from the store if it is only there.
  Result<CallEntry*> reach(const CallId& id);
  CallEntry* adopt(StoredCall stored);

  // Moving inputs between states, each keeps every index in step (endings.cc).
  void enqueue(InputEntry& entry, std::int64_t place);
  void delay(InputEntry& entry);
  // Out of whatever index its state keeps it in. A running one stays in its holder's list.
  void unlink(InputEntry& entry);
  // Its container has done with it.
  void release(Holder& holder, const InputId& id);
  void noteLinger(const FunctionId& id, const InputQueue& queue);

  // Outcomes (endings.cc).
  struct Ending {
    InputId input;
    Outcome outcome;
  };
  // Gives each input its one output, in the store first. On an Error nothing has changed.
  Result<void> finish(const std::vector<Ending>& endings, Batch batch = {});
  // finish, for what nobody will repeat: what the store refuses is owed to it.
  void finishSurely(const std::vector<Ending>& endings);
  void owe(Batch batch);
  // The output is the input's: out of the queues and into the call's log.
  void record(Output output);
  // The attempt came to nothing: the next one, or the end. An Error: nothing has changed.
  Result<void> endAttempt(const InputId& id, const Outcome& outcome);
  void endAttemptSurely(const InputId& id, const Outcome& outcome);
  // To the head of the queue: it was next before.
  void requeue(InputEntry& entry);
  // An Error: something is still owed.
  Result<void> payOwed();

  // Leasing (leases.cc).
  std::vector<InputId> pick(const InputQueue& queue, int most) const;
  std::vector<InputId> pickBatch(const InputQueue& queue) const;
  Lease hand(const InstanceId& instance, Holder& holder, const InputId& id);
  Lease leaseOf(const Input& input) const;
  // Settled while a container runs it: the container is to be told, one way or the other.
  void tellHolder(const Input& input, Terminate terminate, const std::string& why);
  // A container that runs one thing at a time and asks for the next has done with what was settled without it.
  void hearAsking(const InstanceId& instance);
  // What was settled without its container, and the container says nothing: it hangs, or never heard of it.
  void interruptSilent();

  // What is due (endings.cc).
  void expireTimeouts();
  void expireDelays();
  void sweep();
};

}  // namespace gridiron
