#include "calls/calls.h"

#include <algorithm>
#include <charconv>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>

#include "calls/retry.h"
#include "calls/stream.h"

namespace gridiron {
namespace {

constexpr Nanos kClearedFor = std::chrono::minutes(1);  // a reply may be lost and asked for again
constexpr Nanos kUnsavedFor = std::chrono::hours(24);   // nothing but memory has it
constexpr Nanos kSweepEvery = std::chrono::seconds(30);
constexpr Nanos kPruneEvery = std::chrono::hours(1);
constexpr Nanos kKeepLogs = std::chrono::hours(24 * 35);
constexpr Nanos kUnheard = std::chrono::minutes(1);  // a container may not end what was cancelled
constexpr Nanos kOwedAgain = std::chrono::seconds(1);

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

struct Queue {
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

Outcome outcomeOf(OutcomeStatus status, std::string text) {
  Outcome outcome;
  outcome.status = status;
  outcome.exception = std::move(text);
  return outcome;
}

}  // namespace

std::string entryId(std::int64_t sequence) { return fmt::format("{}-0", sequence); }

std::int64_t sequenceOf(const std::string& entryId) {
  std::int64_t sequence = 0;
  std::from_chars(entryId.data(), entryId.data() + entryId.size(), sequence);
  return std::max<std::int64_t>(sequence, 0);
}

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
  std::unordered_map<FunctionId, Queue> queues;
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

  // --- looking up ---

  Queue& queueOf(const FunctionId& id) {
    auto& queue = queues[id];
    if (auto newest = functions.find(id)) queue.function = std::move(newest);
    return queue;
  }

  void forgetIdleQueue(const FunctionId& id) {
    const auto it = queues.find(id);
    if (it != queues.end() && it->second.idle()) queues.erase(it);
  }

  // The call, taken from the store if it is only there.
  Result<CallEntry*> reach(const CallId& id) {
    const auto it = calls.find(id);
    if (it != calls.end()) return &it->second;
    ASSIGN_OR_RETURN(auto stored, store.call(id));
    if (!stored) return makeError(Code::notFound, "function call '{}' not found or expired", id.value);
    return adopt(std::move(*stored));
  }

  CallEntry* adopt(StoredCall stored) {
    auto& entry = calls[stored.call.id];
    entry.call = std::move(stored.call);
    entry.saved = true;
    entry.touched = clock.now();
    entry.outputs = std::move(stored.outputs);
    for (auto& input : stored.inputs) {
      entry.byIndex[input.index] = input.id;
      if (input.state == InputState::settled) continue;
      ++entry.unfinished;
      input.instance = {};
      const bool later = input.state == InputState::delayed && input.queuedAt > clock.now();
      input.state = later ? InputState::delayed : InputState::queued;
      const auto id = input.id;  // before it is moved from: the right side comes first
      auto& kept = inputs[id] = InputEntry{std::move(input), 0, {}};
      if (later) {
        delay(kept);
      } else {
        enqueue(kept, back++);
      }
    }
    return &entry;
  }

  // --- moving inputs between states; each keeps every index in step ---

  void enqueue(InputEntry& entry, std::int64_t place) {
    auto& queue = queueOf(entry.input.function);
    entry.place = place;
    entry.input.state = InputState::queued;
    queue.waiting[place] = entry.input.id;
    noteLinger(entry.input.function, queue);
  }

  void delay(InputEntry& entry) {
    entry.input.state = InputState::delayed;
    due.emplace(entry.input.queuedAt, entry.input.id);
    ++queueOf(entry.input.function).delayed;
  }

  // Out of whatever index its state keeps it in. A running one stays in its holder's list.
  void unlink(InputEntry& entry) {
    auto& input = entry.input;
    auto& queue = queues[input.function];
    if (input.state == InputState::queued) {
      queue.waiting.erase(entry.place);
      noteLinger(input.function, queue);
    } else if (input.state == InputState::delayed) {
      due.erase({input.queuedAt, input.id});
      --queue.delayed;
    } else if (input.state == InputState::running) {
      timeouts.erase({entry.deadline, input.id});
    }
  }

  // Its container has done with it.
  void release(Holder& holder, const InputId& id) {
    std::erase(holder.held, id);
    std::erase(holder.toCancel, id);
    holder.settledWithout.erase(id);
    --queues[holder.function].running;
    forgetIdleQueue(holder.function);
  }

  void noteLinger(const FunctionId& id, const Queue& queue) {
    if (!queue.function || queue.function->batching.maxSize <= 1 || queue.waiting.empty()) {
      lingering.erase(id);
      return;
    }
    const auto oldest = inputs.find(queue.waiting.begin()->second);
    if (oldest != inputs.end()) lingering[id] = oldest->second.input.queuedAt + queue.function->batching.linger;
  }

  // --- outcomes ---

  struct Ending {
    InputId input;
    Outcome outcome;
  };

  // Gives each input its one output, in the store first. On an Error nothing has changed.
  Result<void> finish(const std::vector<Ending>& endings, Batch batch = {}) {
    std::vector<Output> outputs;
    std::unordered_map<CallId, std::int64_t> last;
    bool stored = false;
    for (const auto& [id, outcome] : endings) {
      const auto& input = inputs.at(id).input;
      const auto& call = calls.at(input.call);
      auto& sequence = last.try_emplace(input.call, std::ssize(call.outputs)).first->second;
      Output output{id,         input.call,    input.index,    ++sequence,
                    outcome,    input.attempt, input.instance, input.startedAt,
                    clock.now()};
      if (call.durable()) batch.put(output);
      stored = stored || call.durable();
      outputs.push_back(std::move(output));
    }
    // In the order of their sequences: what is owed comes first.
    if (stored) RETURN_IF_ERROR(payOwed());
    RETURN_IF_ERROR(store.apply(batch));
    for (auto& output : outputs) record(std::move(output));
    return {};
  }

  // finish, for what nobody will repeat: what the store refuses is owed to it.
  void finishSurely(const std::vector<Ending>& endings) {
    if (finish(endings).ok()) return;
    for (const auto& [id, outcome] : endings) {
      const auto& input = inputs.at(id).input;
      auto& call = calls.at(input.call);
      Output output{id,         input.call,    input.index,    std::ssize(call.outputs) + 1,
                    outcome,    input.attempt, input.instance, input.startedAt,
                    clock.now()};
      if (call.durable()) {
        owe(Batch().put(output));
        ++call.unsaid;
      }
      record(std::move(output));
    }
  }

  void owe(Batch batch) {
    if (owed.empty()) owedAt = clock.now();
    owed.push_back(std::move(batch));
  }

  // The output is the input's: out of the queues and into the call's log.
  void record(Output output) {
    const auto it = inputs.find(output.input);
    unlink(it->second);
    Input input = std::move(it->second.input);
    inputs.erase(it);
    forgetIdleQueue(input.function);
    GRID_CHECK(mayBecome(input.state, InputState::settled));
    input.state = InputState::settled;
    auto& call = calls.at(output.call);
    --call.unfinished;
    call.touched = clock.now();
    const auto outcome = output.outcome;
    call.outputs.push_back(std::move(output));
    tell([&](CallsObserver& o) {
      o.inputEnded(input, outcome, true);
      o.outputsReady(input.call);
    });
  }

  // The attempt came to nothing: the next one, or the end. An Error: nothing has changed.
  Result<void> endAttempt(const InputId& id, const Outcome& outcome) {
    auto& entry = inputs.at(id);
    const auto& call = calls.at(entry.input.call);
    const auto& function = queues[entry.input.function].function;
    const bool mayRetry = function && isWorthRetrying(outcome.status) && call.durable() && !call.call.cancelled;
    const auto wait = mayRetry ? retryDelay(function->retries, entry.input.attempt) : std::nullopt;
    if (!wait) return finish({{id, outcome}});
    Input next = entry.input;
    next.state = InputState::delayed;
    ++next.attempt;
    next.queuedAt = clock.now() + *wait;
    next.instance = {};
    next.startedAt = {};
    RETURN_IF_ERROR(store.apply(Batch().put(next)));
    const Input before = entry.input;
    unlink(entry);
    entry.input = std::move(next);
    delay(entry);
    tell([&](CallsObserver& o) { o.inputEnded(before, outcome, false); });
    return {};
  }

  void endAttemptSurely(const InputId& id, const Outcome& outcome) {
    if (!endAttempt(id, outcome).ok()) finishSurely({{id, outcome}});
  }

  // To the head of the queue: it was next before.
  void requeue(InputEntry& entry) {
    unlink(entry);
    GRID_CHECK(mayBecome(entry.input.state, InputState::queued));
    entry.input.instance = {};
    entry.input.startedAt = {};
    entry.input.queuedAt = clock.now();
    enqueue(entry, front--);
    tell([&](CallsObserver& o) { o.inputsQueued(entry.input.function); });
  }

  // Settled while a container runs it: the container is to be told, one way or the other.
  void tellHolder(const Input& input, Terminate terminate, const std::string& why) {
    const auto it = holders.find(input.instance);
    if (it == holders.end()) return;
    it->second.settledWithout.emplace(input.id, clock.now());
    if (terminate == Terminate::containers) {
      tell([&](CallsObserver& o) { o.interruptWanted(input.instance, why); });
      return;
    }
    it->second.toCancel.push_back(input.id);
    tell([&](CallsObserver& o) { o.cancelWanted(input.instance); });
  }

  // --- leasing ---

  std::vector<InputId> pick(const Queue& queue, int most) const {
    std::vector<InputId> picked;
    for (auto it = queue.waiting.begin(); it != queue.waiting.end() && std::ssize(picked) < most; ++it) {
      picked.push_back(it->second);
    }
    return picked;
  }

  std::vector<InputId> pickBatch(const Queue& queue) const {
    std::vector<InputId> picked;
    if (queue.waiting.empty()) return picked;
    const auto& oldest = inputs.at(queue.waiting.begin()->second).input;
    const auto& batching = queue.function->batching;
    for (auto it = queue.waiting.begin(); it != queue.waiting.end() && std::ssize(picked) < batching.maxSize; ++it) {
      if (inputs.at(it->second).input.method == oldest.method) picked.push_back(it->second);
    }
    const bool full = std::ssize(picked) == batching.maxSize;
    if (!full && clock.now() < oldest.queuedAt + batching.linger) picked.clear();
    return picked;
  }

  Lease hand(const InstanceId& instance, Holder& holder, const InputId& id) {
    auto& entry = inputs.at(id);
    unlink(entry);
    auto& queue = queues[entry.input.function];
    GRID_CHECK(mayBecome(entry.input.state, InputState::running));
    entry.input.state = InputState::running;
    entry.input.instance = instance;
    entry.input.startedAt = clock.now();
    entry.deadline = entry.input.startedAt + queue.function->timeout;
    timeouts.emplace(entry.deadline, id);
    ++queue.running;
    // An earlier attempt of it that the container has not ended yet: this one takes its place.
    if (holder.settledWithout.contains(id)) release(holder, id);
    holder.held.push_back(id);
    tell([&](CallsObserver& o) { o.inputStarted(entry.input); });
    return leaseOf(entry.input);
  }

  Lease leaseOf(const Input& input) const {
    const auto& call = calls.at(input.call).call;
    return Lease{input, call.mode, call.kind};
  }

  // --- what is due ---

  void expireTimeouts() {
    while (!timeouts.empty() && timeouts.begin()->first <= clock.now()) {
      const auto id = timeouts.begin()->second;
      const Input input = inputs.at(id).input;
      const auto& function = queues[input.function].function;
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(function->timeout).count();
      const auto text = fmt::format("Task's current input {} hit its timeout of {}s", id.value, seconds);
      const auto slots = slotsOf(*function);
      endAttemptSurely(id, outcomeOf(OutcomeStatus::timeout, text));
      // Alone in its container it is interrupted with it; beside others only it is cancelled.
      tellHolder(input, slots == 1 ? Terminate::containers : Terminate::no, text);
    }
  }

  void expireDelays() {
    std::set<FunctionId> woken;
    while (!due.empty() && due.begin()->first <= clock.now()) {
      auto& entry = inputs.at(due.begin()->second);
      unlink(entry);
      enqueue(entry, back++);
      woken.insert(entry.input.function);
    }
    for (auto it = lingering.begin(); it != lingering.end();) {
      if (it->second > clock.now()) {
        ++it;
        continue;
      }
      woken.insert(it->first);
      it = lingering.erase(it);
    }
    for (const auto& id : woken) tell([&](CallsObserver& o) { o.inputsQueued(id); });
  }

  // An Error: something is still owed.
  Result<void> payOwed() {
    while (!owed.empty()) {
      const auto done = store.apply(owed.front());
      if (!done.ok() && done.error().code != Code::alreadyExists) {
        owedAt = clock.now() + kOwedAgain;
        return done;
      }
      const auto paid = std::move(owed.front());
      owed.erase(owed.begin());
      for (const auto& change : paid.changes()) {
        const auto* output = std::get_if<Output>(&change);
        const auto it = output ? calls.find(output->call) : calls.end();
        if (it == calls.end()) continue;
        --it->second.unsaid;
        tell([&](CallsObserver& o) { o.outputsReady(output->call); });
      }
    }
    return {};
  }

  // A container that runs one thing at a time and asks for the next has done with what was settled without it.
  void hearAsking(const InstanceId& instance) {
    const auto it = holders.find(instance);
    if (it == holders.end() || it->second.settledWithout.empty()) return;
    const auto& function = queues[it->second.function].function;
    if (!function || function->maxConcurrentInputs > 1) return;
    const auto done = it->second.settledWithout;
    for (const auto& [id, since] : done) release(it->second, id);
    if (it->second.held.empty()) holders.erase(it);
  }

  // What was settled without its container, and the container says nothing: it hangs, or never heard of it.
  void interruptSilent() {
    for (const auto& [instance, holder] : holders) {
      const auto silent = std::count_if(holder.settledWithout.begin(), holder.settledWithout.end(),
                                        [&](const auto& since) { return clock.now() >= since.second + kUnheard; });
      if (silent == 0 || silent < std::ssize(holder.held)) continue;
      tell([&](CallsObserver& o) { o.interruptWanted(instance, "it did not end an input that was cancelled"); });
    }
  }

  void sweep() {
    if (clock.now() < sweptAt + kSweepEvery) return;
    sweptAt = clock.now();
    interruptSilent();
    Batch batch;
    for (auto it = calls.begin(); it != calls.end();) {
      const auto& entry = it->second;
      const bool cleared = entry.clearedAt && clock.now() >= *entry.clearedAt + kClearedFor;
      const auto keep = entry.saved ? options.keepInMemory : std::max(options.keepInMemory, kUnsavedFor);
      const bool stale = entry.unfinished == 0 && entry.unsaid == 0 && clock.now() >= entry.touched + keep;
      if (cleared && entry.durable()) batch.eraseCall(entry.call.id);
      it = cleared || stale ? calls.erase(it) : std::next(it);
    }
    if (!batch.empty() && !store.apply(batch).ok()) owe(std::move(batch));
    if (clock.now() < prunedAt + kPruneEvery) return;
    prunedAt = clock.now();
    (void)store.prune(clock.now() - options.keepResults, clock.now() - kKeepLogs);  // tried again in an hour
  }
};

Calls::Calls(Store& store, const Functions& functions, const Clock& clock)
    : Calls(store, functions, clock, Options()) {}
Calls::Calls(Store& store, const Functions& functions, const Clock& clock, Options options)
    : impl_(std::make_unique<Impl>(store, functions, clock, options)) {}
Calls::~Calls() = default;

void Calls::observe(CallsObserver& observer) {
  auto& all = impl_->observers;
  if (std::find(all.begin(), all.end(), &observer) == all.end()) all.push_back(&observer);
}

Result<void> Calls::load() {
  ASSIGN_OR_RETURN(auto unfinished, impl_->store.unfinishedCalls());
  for (auto& stored : unfinished) impl_->adopt(std::move(stored));
  for (const auto& [id, queue] : impl_->queues) {
    impl_->tell([&](CallsObserver& o) { o.inputsQueued(id); });
  }
  return {};
}

Result<CallId> Calls::open(const CallOptions& options) {
  const auto function = impl_->functions.find(options.function);
  if (!function) return makeError(Code::notFound, "Function '{}' not found", options.function.value);
  CallEntry entry;
  entry.call.id = newId<CallTag>();
  entry.call.function = options.function;
  entry.call.app = function->app;
  entry.call.kind = options.kind;
  entry.call.mode = options.mode;
  entry.call.returnExceptions = options.returnExceptions;
  entry.call.fromSpawnMap = options.fromSpawnMap;
  entry.call.parent = options.parent;
  entry.call.createdAt = entry.touched = impl_->clock.now();
  const auto id = entry.call.id;
  impl_->calls.emplace(id, std::move(entry));
  return id;
}

Result<std::vector<AcceptedInput>> Calls::put(const CallId& id, std::vector<NewInput> wanted) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  const auto& call = entry->call;
  if (call.cancelled) return makeError(Code::failedPrecondition, "function call '{}' was cancelled", id.value);
  std::map<int, InputId> fresh;
  std::vector<Input> inputs;
  std::vector<AcceptedInput> accepted;
  for (auto& w : wanted) {
    if (w.index < 0) return makeError(Code::invalidArgument, "input index {} is negative", w.index);
    const auto known = entry->byIndex.find(w.index);
    if (known != entry->byIndex.end() || fresh.contains(w.index)) {
      accepted.push_back({w.index, known != entry->byIndex.end() ? known->second : fresh[w.index]});
      continue;
    }
    Input input;
    input.id = fresh[w.index] = newId<InputTag>();
    input.call = id;
    input.function = call.function;
    input.index = w.index;
    input.args = std::move(w.args);
    input.method = std::move(w.method);
    input.createdAt = input.queuedAt = impl_->clock.now();
    accepted.push_back({w.index, input.id});
    inputs.push_back(std::move(input));
  }
  if (inputs.empty()) return accepted;
  if (call.kind != CallKind::map && entry->byIndex.size() + inputs.size() > 1) {
    return makeError(Code::invalidArgument, "function call '{}' takes one input", id.value);
  }
  auto& queue = impl_->queueOf(call.function);
  const auto depth = std::ssize(queue.waiting) + queue.delayed;
  if (depth + std::ssize(inputs) > impl_->options.queueBound) {
    const auto name = queue.function ? queue.function->tag : call.function.value;
    return makeError(Code::exhausted, "the queue of function '{}' is full: {} inputs wait, {} may", name, depth,
                     impl_->options.queueBound);
  }
  if (entry->durable()) {
    Batch batch;
    if (!entry->saved) batch.put(call);
    for (const auto& input : inputs) batch.put(input);
    auto stored = impl_->store.apply(batch);
    if (!stored.ok()) {
      impl_->forgetIdleQueue(call.function);
      return stored.error();
    }
    entry->saved = true;
  }
  entry->touched = impl_->clock.now();
  entry->clearedAt.reset();
  for (auto& input : inputs) {
    entry->byIndex[input.index] = input.id;
    ++entry->unfinished;
    const auto inputId = input.id;  // before it is moved from
    auto& kept = impl_->inputs[inputId] = InputEntry{std::move(input), 0, {}};
    impl_->enqueue(kept, impl_->back++);
  }
  impl_->tell([&](CallsObserver& o) { o.inputsQueued(call.function); });
  return accepted;
}

Result<void> Calls::finishInputs(const CallId& id, int count) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  auto call = entry->call;
  call.expectedInputs = count;
  if (entry->durable()) RETURN_IF_ERROR(impl_->store.apply(Batch().put(call)));
  entry->saved = true;
  entry->call = std::move(call);
  return {};
}

std::vector<Lease> Calls::lease(const InstanceId& instance, const FunctionId& id, int most) {
  impl_->hearAsking(instance);
  std::vector<Lease> leases;
  const auto found = impl_->queues.find(id);
  if (found == impl_->queues.end()) return leases;
  auto& queue = impl_->queueOf(id);
  if (!queue.function) return leases;
  const auto holding = impl_->holders.find(instance);
  if (holding != impl_->holders.end()) {
    const auto& holder = holding->second;
    const auto running = std::ssize(holder.held) - std::ssize(holder.settledWithout);
    const bool batched = queue.function->batching.maxSize > 1;
    const auto slots = std::max(queue.function->maxConcurrentInputs, 1);
    if (running >= (batched && slots == 1 ? 1 : slotsOf(*queue.function))) {
      for (const auto& held : holder.held) {
        if (!holder.settledWithout.contains(held)) leases.push_back(impl_->leaseOf(impl_->inputs.at(held).input));
      }
      return leases;
    }
    most = std::min<int>(most, slotsOf(*queue.function) - static_cast<int>(running));
  }
  const auto picked = queue.function->batching.maxSize > 1 ? impl_->pickBatch(queue) : impl_->pick(queue, most);
  if (picked.empty()) return leases;
  auto& holder = impl_->holders[instance];
  holder.function = id;
  for (const auto& input : picked) leases.push_back(impl_->hand(instance, holder, input));
  return leases;
}

Result<Settled> Calls::settle(const InstanceId& instance, const InputId& id, Outcome outcome,
                              std::optional<int> attempt) {
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end()) return Settled::stale;
  auto& holder = it->second;
  if (std::find(holder.held.begin(), holder.held.end(), id) == holder.held.end()) return Settled::stale;
  const bool settledWithout = holder.settledWithout.contains(id);
  if (!settledWithout && attempt && *attempt != impl_->inputs.at(id).input.attempt) return Settled::stale;
  if (!settledWithout) RETURN_IF_ERROR(impl_->endAttempt(id, outcome));
  impl_->release(holder, id);
  if (holder.held.empty()) impl_->holders.erase(it);
  return settledWithout ? Settled::stale : Settled::accepted;
}

void Calls::abandon(const InstanceId& instance, const std::string& why, Blame blame) {
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end()) return;
  const Holder holder = it->second;
  for (const auto& id : holder.held) {
    if (!holder.settledWithout.contains(id)) {
      auto& entry = impl_->inputs.at(id);
      const auto& call = impl_->calls.at(entry.input.call);
      const bool begun = !call.out.untouched() || !call.in.complete();
      if (blame == Blame::grid && entry.input.losses < impl_->options.lossesAllowed && !begun) {
        ++entry.input.losses;
        impl_->requeue(entry);
      } else {
        impl_->endAttemptSurely(id, outcomeOf(OutcomeStatus::internalFailure, why));
      }
    }
    impl_->release(it->second, id);
  }
  impl_->holders.erase(instance);
}

void Calls::failWaiting(const FunctionId& function, const Outcome& outcome) {
  std::vector<Impl::Ending> endings;
  for (const auto& [id, entry] : impl_->inputs) {
    const bool waits = entry.input.state == InputState::queued || entry.input.state == InputState::delayed;
    if (entry.input.function == function && waits) endings.push_back({id, outcome});
  }
  if (!endings.empty()) impl_->finishSurely(endings);
}

Result<OutputPage> Calls::outputs(const CallId& id, const OutputQuery& query) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  entry->touched = impl_->clock.now();
  OutputPage page;
  auto last = sequenceOf(query.after);
  std::size_t bytes = 0;
  const auto sayable = entry->outputs.size() - static_cast<std::size_t>(entry->unsaid);
  for (auto i = static_cast<std::size_t>(last); i < sayable; ++i) {
    const auto& output = entry->outputs[i];
    const bool wanted =
        !query.indices || (output.index >= query.indices->first && output.index <= query.indices->second);
    if (wanted) {
      bytes += output.outcome.value.data.size();
      const bool full = (query.most > 0 && std::ssize(page.outputs) >= query.most) || bytes > query.mostBytes;
      if (full && !page.outputs.empty()) break;
      page.outputs.push_back(output);
    }
    last = output.sequence;
  }
  page.lastEntryId = entryId(last);
  page.unfinishedInputs = entry->unfinished + entry->unsaid;
  const auto expected = entry->call.kind == CallKind::map ? entry->call.expectedInputs : 1;
  const bool complete = expected >= 0 && std::ssize(entry->byIndex) >= expected;
  page.finished = entry->unfinished == 0 && (complete || entry->call.cancelled) && last == std::ssize(entry->outputs);
  const bool allGood = std::all_of(entry->outputs.begin(), entry->outputs.end(),
                                   [](const Output& o) { return o.outcome.status == OutcomeStatus::success; });
  const bool allSeen = last == std::ssize(entry->outputs) && !entry->outputs.empty();
  if (query.clearOnSuccess && entry->unfinished == 0 && allSeen && allGood) entry->clearedAt = impl_->clock.now();
  return page;
}

Result<CallInfo> Calls::info(const CallId& id) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  CallInfo info{entry->call, static_cast<int>(entry->byIndex.size()), entry->unfinished, 0, 0};
  for (const auto& output : entry->outputs) {
    ++(output.outcome.status == OutcomeStatus::success ? info.succeeded : info.failed);
  }
  return info;
}

std::optional<Input> Calls::input(const InputId& id) const {
  const auto it = impl_->inputs.find(id);
  return it == impl_->inputs.end() ? std::nullopt : std::optional<Input>(it->second.input);
}

Result<void> Calls::cancel(const CallId& id, Terminate terminate) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  const std::string why = "Input was cancelled by user";
  std::vector<Impl::Ending> endings;
  std::vector<Input> running;
  for (const auto& [index, inputId] : entry->byIndex) {
    const auto it = impl_->inputs.find(inputId);
    if (it == impl_->inputs.end()) continue;
    endings.push_back({inputId, outcomeOf(OutcomeStatus::terminated, why)});
    if (it->second.input.state == InputState::running) running.push_back(it->second.input);
  }
  if (entry->unfinished == 0 && entry->call.kind != CallKind::map && !entry->byIndex.empty()) return {};
  Batch batch;
  auto call = entry->call;
  call.cancelled = true;
  if (entry->durable() && entry->saved) batch.put(call);
  RETURN_IF_ERROR(impl_->finish(endings, std::move(batch)));
  impl_->calls.at(id).call.cancelled = true;
  for (const auto& input : running) impl_->tellHolder(input, terminate, why);
  impl_->tell([&](CallsObserver& o) { o.outputsReady(id); });
  return {};
}

void Calls::close(const CallId& id) {
  const auto it = impl_->calls.find(id);
  if (it == impl_->calls.end() || it->second.durable()) return;
  if (it->second.unfinished > 0) (void)cancel(id);  // of a web call: the store is not asked
  impl_->calls.erase(id);
}

std::vector<InputId> Calls::takeCancelled(const InstanceId& instance) {
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end()) return {};
  return std::exchange(it->second.toCancel, {});
}

std::vector<Demand> Calls::demand() const {
  std::vector<Demand> all;
  for (const auto& [id, queue] : impl_->queues) {
    auto demand = demandOf(id);
    if (demand.queued > 0 || demand.running > 0) all.push_back(std::move(demand));
  }
  return all;
}

Demand Calls::demandOf(const FunctionId& id) const {
  Demand demand{id, 0, 0, Time{}};
  const auto it = impl_->queues.find(id);
  if (it == impl_->queues.end()) return demand;
  const auto& queue = it->second;
  demand.queued = static_cast<int>(queue.waiting.size());
  demand.running = queue.running;
  if (!queue.waiting.empty()) demand.oldestQueued = impl_->inputs.at(queue.waiting.begin()->second).input.queuedAt;
  return demand;
}

int Calls::heldBy(const InstanceId& instance) const {
  const auto it = impl_->holders.find(instance);
  return it == impl_->holders.end() ? 0 : static_cast<int>(it->second.held.size());
}

std::optional<Input> Calls::currentInput(const InstanceId& instance) const {
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end() || it->second.held.size() != 1) return std::nullopt;
  return input(it->second.held.front());
}

Result<void> Calls::push(const CallId& id, Direction direction, std::vector<DataChunk> chunks) {
  const auto it = impl_->calls.find(id);
  if (it == impl_->calls.end()) return makeError(Code::notFound, "function call '{}' not found", id.value);
  auto& stream = direction == Direction::in ? it->second.in : it->second.out;
  RETURN_IF_ERROR(stream.push(std::move(chunks), impl_->options.streamBound));
  impl_->tell([&](CallsObserver& o) { o.dataReady(id, direction); });
  return {};
}

Result<std::vector<DataChunk>> Calls::read(const CallId& id, Direction direction, std::int64_t after) const {
  const auto it = impl_->calls.find(id);
  if (it == impl_->calls.end()) return makeError(Code::notFound, "function call '{}' not found", id.value);
  return (direction == Direction::in ? it->second.in : it->second.out).read(after);
}

void Calls::acknowledge(const CallId& id, Direction direction, std::int64_t upTo) {
  const auto it = impl_->calls.find(id);
  if (it == impl_->calls.end()) return;
  it->second.touched = impl_->clock.now();
  (direction == Direction::in ? it->second.in : it->second.out).acknowledge(upTo);
  // Who found the stream full may push again.
  impl_->tell([&](CallsObserver& o) { o.dataReady(id, direction); });
}

void Calls::expire() {
  if (!impl_->owed.empty() && impl_->clock.now() >= impl_->owedAt) (void)impl_->payOwed();
  impl_->expireTimeouts();
  impl_->expireDelays();
  impl_->sweep();
}

std::optional<Time> Calls::nextDeadline() const {
  Time next = impl_->sweptAt + kSweepEvery;
  if (!impl_->timeouts.empty()) next = std::min(next, impl_->timeouts.begin()->first);
  if (!impl_->due.empty()) next = std::min(next, impl_->due.begin()->first);
  if (!impl_->owed.empty()) next = std::min(next, impl_->owedAt);
  for (const auto& [id, at] : impl_->lingering) next = std::min(next, at);
  return next;
}

}  // namespace gridiron
