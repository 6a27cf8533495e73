#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "calls/calls.h"
#include "calls/stream.h"

namespace gridiron {

// What Calls keeps, and its moves. Included by the files of Calls only: calls.cc (calls are opened, asked and
// cancelled), leases.cc (containers take inputs and give outcomes), endings.cc (what an attempt comes to, what is due),
// ledger.cc (looking up, and the indexes that each state of an input has).
//
// A million inputs may wait: an input is one small object that the others point to, and no move looks at more of them
// than it moves. What ends many at once does it in slices, a turn of the loop each.

struct CallEntry;
struct InputQueue;
struct Holder;

// An input that is not settled.
struct InputEntry {
  InputId id;
  CallEntry* call = nullptr;
  InputQueue* queue = nullptr;
  Holder* holder = nullptr;  // while running
  Payload args;
  std::string method;
  int index = 0;
  InputState state = InputState::queued;
  int attempt = 0;
  int losses = 0;
  int again = 0;           // of the caller's own retries
  bool forgotten = false;  // a lease of it may have been lost with a restart, and nobody has had it since
  bool noted = false;      // while running: the store says who has it
  Time createdAt{}, queuedAt{}, startedAt{};
  Time deadline{};         // while running
  std::int64_t place = 0;  // while queued or delayed: its turn, unique
  // In its call's line, while queued.
  InputEntry* before = nullptr;
  InputEntry* behind = nullptr;

  Input describe() const;  // without the args
};

// The inputs of one call that wait to be leased, by place.
struct Line {
  InputEntry* head = nullptr;
  InputEntry* tail = nullptr;
  int count = 0;
};

struct CallEntry {
  // What became of the input of an index: it is open, or its output has this sequence. Both: a caller's retry is open.
  struct Slot {
    InputEntry* open = nullptr;
    std::int64_t sequence = 0;
  };
  struct Streams {
    Stream in, out;
  };

  Call call;
  std::map<int, Slot> byIndex;
  Line line;                    // of the queued ones
  bool unlined = false;         // cancelled: none is in a line, whatever its state
  int cursor = 0;               // cancelled: nothing with an index below it is open
  std::vector<Output> outputs;  // the n-th has sequence n + 1
  int unfinished = 0;
  int unsaid = 0;  // of the outputs, the last ones: the store does not have them yet, so nobody may see them
  int succeeded = 0, cancelled = 0, timedOut = 0;  // of the outputs, but for those
  int replaced = 0;                                // whose input was retried by the caller
  bool saved = false;                              // its row is in the store
  bool adopted = false;                            // from the store: what streams it had are gone
  bool taken = false;                              // its input was, by take()
  Time touched{};                                  // last change or question
  std::optional<Time> clearedAt;
  std::unique_ptr<Streams> streams;                                     // from the first chunk on
  std::optional<std::multimap<Time, CallEntry*>::iterator> forgetting;  // its place in Impl::forgetting

  InputId idOf(const Slot& slot) const {
    return slot.open ? slot.open->id : outputs[static_cast<std::size_t>(slot.sequence) - 1].input;
  }
  std::vector<std::int64_t> wanted(const OutputQuery& query, std::int64_t after, std::int64_t upTo) const;
  CallInfo describe() const;
  bool durable() const { return call.kind != CallKind::web; }
  bool begun() const { return taken || (streams && (!streams->out.untouched() || !streams->in.complete())); }
  bool isReplaced(const Output& output) const {
    if (replaced == 0) return false;
    const auto& slot = byIndex.at(output.index);
    return slot.open || slot.sequence != output.sequence;
  }
  void count(OutcomeStatus status, int by = 1) {
    succeeded += by * (status == OutcomeStatus::success);
    cancelled += by * (status == OutcomeStatus::terminated);
    timedOut += by * (status == OutcomeStatus::timeout);
  }
  Streams& flowing() {
    if (!streams) streams = std::make_unique<Streams>();
    return *streams;
  }
};

// What waits in memory: of a function, of a workspace.
struct Load {
  std::int64_t inputs = 0;  // that wait
  std::int64_t bytes = 0;   // of the args of all that are not settled
};

// The inputs of one function.
struct InputQueue {
  // What waited when it was told that nothing of the function can start ends so; its first slice has.
  struct Doom {
    Outcome outcome;
    std::int64_t after = 0, before = 0;  // the places between them
    int inLine = 0;                      // so many of those are in a line

    bool covers(std::int64_t place) const { return place > after && place < before; }
  };

  FunctionId id;
  std::shared_ptr<const Function> function;                      // the newest seen, also when it is gone since
  std::map<std::int64_t, CallEntry*> lines;                      // by the place of their head
  std::map<std::pair<Time, std::int64_t>, InputEntry*> delayed;  // by when they are due, then place
  int waiting = 0;                                               // in a line
  int unlined = 0;                                               // queued, of cancelled calls that are not ended yet
  int running = 0;                                               // with a container, settled without it or not
  Load load;
  Load* workspace = nullptr;
  std::optional<Doom> doom;

  std::optional<Time> firstDue() const {
    return delayed.empty() ? std::nullopt : std::optional(delayed.begin()->first.first);
  }
  InputEntry* head() const { return lines.empty() ? nullptr : lines.begin()->second->line.head; }
  bool idle() const { return waiting == 0 && unlined == 0 && delayed.empty() && running == 0; }
};

// Goes through what waits, oldest first. The queue must not change meanwhile.
class InOrder {
 public:
  explicit InOrder(const InputQueue& queue) : next_(queue.lines.begin()), end_(queue.lines.end()) {}
  InputEntry* next();  // null at the end

 private:
  std::map<std::int64_t, CallEntry*>::const_iterator next_, end_;
  std::map<std::int64_t, InputEntry*> open_;  // the next of each line that was begun
};

struct Holder {
  InstanceId id;
  InputQueue* queue = nullptr;
  std::vector<InputId> held;               // not reported by the container yet, oldest first
  std::map<InputId, Time> settledWithout;  // of those: since when cancelled or timed out; it does not know or say yet
  std::vector<InputId> toCancel;           // of those it has not been told
  std::vector<InputId> told;               // and has: to be cancelled
  std::set<InputId> taken;                 // by take()
  Time toldAt{};
};

inline constexpr const char* kCancelled = "Input was cancelled by user";
// What a container has asked lately. It asks one question at a time, however often.
struct Questions {
  std::size_t last = 0;             // hash of its newest question's ticket
  std::vector<InputId> given;       // to that
  std::deque<std::size_t> earlier;  // hashes, newest last
};

// An id as newId gives it, of which 83 bits cannot be guessed and the others are the time: what is made later sorts
// later, so that the store writes its newest rows beside each other.
std::string orderedId(const char* prefix, Time now);
Outcome outcomeOf(OutcomeStatus status, std::string text);

struct Calls::Impl {
  Impl(Store& store, const Functions& functions, const Clock& clock, Options options)
      : store(store), functions(functions), clock(clock), options(options), sweptAt(clock.now()), prunedAt(Time{}) {}

  Store& store;
  const Functions& functions;
  const Clock& clock;
  const Options options;
  std::vector<CallsObserver*> observers;

  // The keys are the ids inside what they lead to.
  std::unordered_map<std::string_view, std::unique_ptr<CallEntry>> calls;
  std::unordered_map<std::string_view, std::unique_ptr<InputEntry>> inputs;
  std::unordered_map<FunctionId, InputQueue> queues;
  std::map<std::string, Load> workspaces;
  std::unordered_map<InstanceId, Holder> holders;
  std::unordered_map<InstanceId, Questions> questions;            // of containers that give tickets
  std::map<std::pair<Time, std::int64_t>, InputEntry*> timeouts;  // of running ones, by deadline, then place
  std::set<std::pair<Time, FunctionId>> due;                      // the first delayed one of each queue
  std::map<FunctionId, Time> lingering;                           // when a batch must not wait any longer
  std::multimap<Time, CallEntry*> forgetting;                     // calls without open inputs: when to look at them
  std::set<CallId> ending;                                        // cancelled, with inputs that are not settled yet
  std::set<FunctionId> dooming;                                   // queues with a doom
  std::unordered_map<std::string, CallId> byKey;                  // of requests before the restart
  std::deque<std::pair<Time, InputId>> unnoted;  // leases that the store does not know of, oldest first
  std::vector<Batch> owed;                       // changes that the store refused and that nobody will repeat
  Time owedAt{};
  Time slicedAt{};                    // no slice before: the store refused one
  std::int64_t back = 0, front = -1;  // places
  Time sweptAt, prunedAt;
  bool pruning = false;  // the store has more to forget

  template <class Tell>
  void tell(Tell tell) {
    for (auto* observer : observers) tell(*observer);
  }

  // Looking up (ledger.cc).
  CallEntry* find(const CallId& id) const;  // in memory; or null
  InputEntry* find(const InputId& id) const;
  InputQueue& queueOf(const FunctionId& id);
  void forgetIdleQueue(InputQueue& queue);
  // The call, taken from the store if it is only there.
  Result<CallEntry*> reach(const CallId& id);
  CallEntry* adopt(StoredCall stored);
  InputEntry& addInput(CallEntry& call, InputQueue& queue, Input input);
  void erase(CallEntry& call);
  void noteIdle(CallEntry& call);  // its open inputs or what is owed of it changed
  Nanos keepOf(const CallEntry& call) const;
  void forgetAt(CallEntry& call, Time when);
  void clear(CallEntry& call);  // its caller will not ask again

  // Accepting (calls.cc).
  Result<std::vector<Input>> newOnes(const CallEntry& entry, std::vector<NewInput> wanted,
                                     std::vector<AcceptedInput>& accepted) const;
  Result<void> checkRoom(const InputQueue& queue, const std::vector<Input>& more) const;
  Result<std::vector<Input>> successors(const CallEntry& entry, std::vector<RetriedInput> wanted,
                                        std::vector<AcceptedInput>& accepted) const;
  // Into the store (all or none), and behind what waits.
  Result<void> accept(CallEntry& entry, std::vector<Input> inputs, Batch batch = {});

  // Moving inputs between states, each keeps every index in step (ledger.cc).
  void enqueue(InputEntry& entry, std::int64_t place);
  void delay(InputEntry& entry);
  // Out of whatever index its state keeps it in. A running one stays in its holder's list.
  void unlink(InputEntry& entry);
  void leaveLine(InputEntry& entry);
  void unlineAll(CallEntry& call);  // it was cancelled: nothing of it is leased any more
  // Its container has done with it.
  void release(Holder& holder, const InputId& id);
  void noteLinger(InputQueue& queue);
  void noteDue(InputQueue& queue, std::optional<Time> before);
  void weigh(InputQueue& queue, int inputs, std::int64_t bytes);

  // Outcomes (endings.cc).
  struct Ending {
    InputEntry* input;
    Outcome outcome;
  };
  // Gives each input its one output, in the store first. On an Error nothing has changed.
  Result<void> finish(const std::vector<Ending>& endings, Batch batch = {});
  // finish, for what nobody will repeat: what the store refuses is owed to it.
  void finishSurely(const std::vector<Ending>& endings);
  Output outputOf(const InputEntry& input, Outcome outcome, std::int64_t sequence) const;
  void owe(Batch batch);
  // The output is the input's: out of the queues and into the call's log.
  void record(InputEntry& entry, Output output);
  // The attempt came to nothing: the next one, or the end. An Error: nothing has changed.
  Result<void> endAttempt(InputEntry& entry, const Outcome& outcome);
  void endAttemptSurely(InputEntry& entry, const Outcome& outcome);
  // To the head of the queue: it was next before.
  void requeue(InputEntry& entry);
  // An Error: something is still owed.
  Result<void> payOwed();
  // The next slice of those that a cancelled call, or a doomed queue, has open.
  std::vector<Ending> sliceOf(const CallEntry& call, int& cursor) const;
  std::vector<Ending> sliceOf(const InputQueue& queue) const;

  // Leasing (leases.cc).
  std::vector<InputEntry*> pick(const InputQueue& queue, int most) const;
  std::vector<InputEntry*> pickBatch(const InputQueue& queue) const;
  Lease hand(Holder& holder, InputEntry& entry);
  Lease leaseOf(const InputEntry& entry) const;
  enum class Question { newest, repeated, old };
  Question hearQuestion(const InstanceId& instance, const std::string& ticket);
  // What the container was given and still has to run.
  std::vector<Lease> givenBefore(const InstanceId& instance) const;
  Holder& holderOf(const InstanceId& instance, InputQueue& queue);
  // The container has it since entry.startedAt.
  void hold(Holder& holder, InputEntry& entry);
  // Has the input come to the container that has its lease, or will it if it did not?
  bool surelyHas(const InputEntry& entry) const;
  // May its container end it although control was restarted? Not what has streams: those were in memory.
  bool mayGoOn(const FunctionId& function) const;
  // Settled while a container runs it: the container is to be told, one way or the other.
  void tellHolder(const Input& input, Terminate terminate, const std::string& why);
  // A container that runs one thing at a time and asks for the next has done with what was settled without it.
  void hearAsking(const InstanceId& instance);
  // What was settled without its container, and the container says nothing: it hangs, or never heard of it.
  void interruptSilent();

  // What is due (endings.cc).
  void expireTimeouts();
  void expireDelays();
  void endSlices();
  void prune();
  void undoom(InputQueue& queue);
  void sweep();
};

}  // namespace gridiron
