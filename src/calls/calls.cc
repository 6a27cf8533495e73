#include "calls/calls.h"

#include <algorithm>
#include <charconv>

#include "calls/ledger.h"

namespace gridiron {

std::string entryId(std::int64_t sequence) { return fmt::format("{}-0", sequence); }

std::int64_t sequenceOf(const std::string& entryId) {
  std::int64_t sequence = 0;
  std::from_chars(entryId.data(), entryId.data() + entryId.size(), sequence);
  return std::max<std::int64_t>(sequence, 0);
}

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
  ASSIGN_OR_RETURN(const auto unfinished, impl_->store.unfinishedCalls());
  for (const auto& id : unfinished) {
    ASSIGN_OR_RETURN(const auto* entry, impl_->reach(id));
    if (!entry->call.key.empty()) impl_->byKey[entry->call.key] = id;
  }
  for (const auto& [id, queue] : impl_->queues) {
    impl_->tell([&](CallsObserver& o) { o.inputsQueued(id); });
  }
  return {};
}

Result<CallId> Calls::open(const CallOptions& options) {
  const auto function = impl_->functions.find(options.function);
  if (!function) return makeError(Code::notFound, "Function '{}' not found", options.function.value);
  if (const auto known = impl_->byKey.find(options.key); known != impl_->byKey.end()) return known->second;
  auto owned = std::make_unique<CallEntry>();
  auto& entry = *owned;
  entry.call.id = CallId{orderedId(CallTag::prefix, impl_->clock.now())};
  entry.call.function = options.function;
  entry.call.app = function->app;
  entry.call.kind = options.kind;
  entry.call.mode = options.mode;
  entry.call.returnExceptions = options.returnExceptions;
  entry.call.fromSpawnMap = options.fromSpawnMap;
  entry.call.parent = options.parent;
  entry.call.key = options.key;
  entry.call.createdAt = entry.touched = impl_->clock.now();
  // A map's inputs come by themselves, and control may be another by then.
  if (options.kind == CallKind::map) {
    RETURN_IF_ERROR(impl_->store.apply(Batch().put(entry.call)));
    entry.saved = true;
  }
  impl_->calls.emplace(entry.call.id.value, std::move(owned));
  impl_->noteIdle(entry);
  return entry.call.id;
}

Result<void> Calls::Impl::checkRoom(const InputQueue& queue, const std::vector<Input>& more) const {
  const auto& load = *queue.workspace;
  const auto inputs = std::ssize(more);
  std::int64_t bytes = 0;
  for (const auto& input : more) bytes += std::ssize(input.args.data);
  const auto name = queue.function ? queue.function->tag : queue.id.value;
  const auto workspace = queue.function ? queue.function->workspace : "";
  if (queue.load.inputs + inputs > options.queueInputs) {
    return makeError(Code::exhausted,
                     "the queue of function '{}' is full: {} inputs wait, {} more were asked for and {} may wait in "
                     "all: try again later, or raise queue_inputs in the grid's settings",
                     name, queue.load.inputs, inputs, options.queueInputs);
  }
  if (load.inputs + inputs > options.queueWorkspaceInputs) {
    return makeError(Code::exhausted,
                     "the queues of workspace '{}' are full: {} inputs wait, {} more were asked for and {} may wait in "
                     "all: try again later, or raise queue_workspace_inputs in the grid's settings",
                     workspace, load.inputs, inputs, options.queueWorkspaceInputs);
  }
  if (load.bytes > 0 && load.bytes + bytes > options.queueWorkspaceBytes) {
    return makeError(Code::exhausted,
                     "the queues of workspace '{}' are full: {} bytes of arguments wait, {} more were asked for and {} "
                     "may wait in all: try again later, or raise queue_workspace_bytes in the grid's settings",
                     workspace, load.bytes, bytes, options.queueWorkspaceBytes);
  }
  return {};
}

// The new ones of `wanted`; `accepted` gets all, those that came before with the id they have.
Result<std::vector<Input>> Calls::Impl::newOnes(const CallEntry& entry, std::vector<NewInput> wanted,
                                                std::vector<AcceptedInput>& accepted) const {
  std::map<int, InputId> fresh;
  std::vector<Input> inputs;
  for (auto& w : wanted) {
    if (w.index < 0) return makeError(Code::invalidArgument, "input index {} is negative", w.index);
    const auto known = entry.byIndex.find(w.index);
    if (known != entry.byIndex.end()) {
      accepted.push_back({w.index, entry.idOf(known->second)});
      continue;
    }
    const auto [same, isNew] = fresh.try_emplace(w.index);
    if (isNew) {
      Input input;
      input.id = same->second = InputId{orderedId(InputTag::prefix, clock.now())};
      input.call = entry.call.id;
      input.function = entry.call.function;
      input.index = w.index;
      input.args = std::move(w.args);
      input.method = std::move(w.method);
      input.createdAt = input.queuedAt = clock.now();
      inputs.push_back(std::move(input));
    }
    accepted.push_back({w.index, same->second});
  }
  return inputs;
}

Result<std::vector<AcceptedInput>> Calls::put(const CallId& id, std::vector<NewInput> wanted, Batch batch) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  const auto& call = entry->call;
  if (call.cancelled) return makeError(Code::failedPrecondition, "function call '{}' was cancelled", id.value);
  std::vector<AcceptedInput> accepted;
  ASSIGN_OR_RETURN(auto inputs, impl_->newOnes(*entry, std::move(wanted), accepted));
  if (inputs.empty()) return accepted;
  if (call.kind != CallKind::map && entry->byIndex.size() + inputs.size() > 1) {
    return makeError(Code::invalidArgument, "function call '{}' takes one input", id.value);
  }
  RETURN_IF_ERROR(impl_->accept(*entry, std::move(inputs), std::move(batch)));
  return accepted;
}

Result<void> Calls::Impl::accept(CallEntry& entry, std::vector<Input> inputs, Batch batch) {
  auto& queue = queueOf(entry.call.function);
  if (!entry.saved) batch.put(entry.call);
  auto stored = checkRoom(queue, inputs);
  for (auto& input : inputs) batch.put(std::move(input));
  if (stored.ok() && entry.durable()) stored = store.apply(batch);
  if (!stored.ok()) {
    forgetIdleQueue(queue);
    return stored;
  }
  entry.saved = entry.durable();
  entry.touched = clock.now();
  entry.clearedAt.reset();
  for (auto& change : std::move(batch).take()) {
    auto* input = std::get_if<Input>(&change);
    if (input) enqueue(addInput(entry, queue, std::move(*input)), back++);
  }
  tell([&](CallsObserver& o) { o.inputsQueued(entry.call.function); });
  return {};
}

// The successors that are to be made; `accepted` gets all, those that there are already with their ids.
Result<std::vector<Input>> Calls::Impl::successors(const CallEntry& entry, std::vector<RetriedInput> wanted,
                                                   std::vector<AcceptedInput>& accepted) const {
  std::map<int, Input> fresh;
  for (auto& w : wanted) {
    const auto known = entry.byIndex.find(w.index);
    if (known == entry.byIndex.end())
      return makeError(Code::notFound, "function call '{}' has no input {}", entry.call.id.value, w.index);
    const auto& slot = known->second;
    const int last = slot.open ? slot.open->again : entry.outputs[static_cast<std::size_t>(slot.sequence) - 1].again;
    if (slot.open || (w.again > 0 && last >= w.again)) {
      accepted.push_back({w.index, entry.idOf(slot)});
      continue;
    }
    const auto [same, isNew] = fresh.try_emplace(w.index);
    auto& input = same->second;
    if (isNew) {
      input.id = InputId{orderedId(InputTag::prefix, clock.now())};
      input.call = entry.call.id;
      input.function = entry.call.function;
      input.index = w.index;
      input.again = w.again > 0 ? w.again : last + 1;
      input.args = std::move(w.args);
      input.method = std::move(w.method);
      input.createdAt = input.queuedAt = clock.now();
    }
    accepted.push_back({w.index, input.id});
  }
  std::vector<Input> inputs;
  for (auto& [index, input] : fresh) inputs.push_back(std::move(input));
  return inputs;
}

Result<std::vector<AcceptedInput>> Calls::retry(const CallId& id, std::vector<RetriedInput> wanted) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  if (entry->call.cancelled) return makeError(Code::failedPrecondition, "function call '{}' was cancelled", id.value);
  std::vector<AcceptedInput> accepted;
  ASSIGN_OR_RETURN(auto inputs, impl_->successors(*entry, std::move(wanted), accepted));
  if (inputs.empty()) return accepted;
  std::vector<OutcomeStatus> replaced;
  for (const auto& input : inputs) {
    const auto sequence = static_cast<std::size_t>(entry->byIndex.at(input.index).sequence);
    replaced.push_back(entry->outputs[sequence - 1].outcome.status);
  }
  RETURN_IF_ERROR(impl_->accept(*entry, std::move(inputs)));
  for (const auto status : replaced) entry->count(status, -1);
  entry->replaced += static_cast<int>(replaced.size());
  return accepted;
}

Result<void> Calls::finishInputs(const CallId& id, int count) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  auto call = entry->call;
  call.expectedInputs = count;
  if (entry->durable()) RETURN_IF_ERROR(impl_->store.apply(Batch().put(call)));
  entry->saved = true;
  entry->call.expectedInputs = count;
  return {};
}

// The sequences above `after` that the query wants to see, in order: by its indices where those are fewer.
std::vector<std::int64_t> CallEntry::wanted(const OutputQuery& query, std::int64_t after, std::int64_t upTo) const {
  std::vector<std::int64_t> sequences;
  const auto& range = query.indices;
  if (range && std::int64_t{range->second} - range->first < upTo - after) {
    const auto end = byIndex.upper_bound(range->second);
    for (auto it = byIndex.lower_bound(range->first); it != end; ++it) {
      const auto sequence = it->second.sequence;
      if (!it->second.open && sequence > after && sequence <= upTo) sequences.push_back(sequence);
    }
    std::sort(sequences.begin(), sequences.end());
    return sequences;
  }
  for (auto sequence = after + 1; sequence <= upTo; ++sequence) {
    const auto& output = outputs[static_cast<std::size_t>(sequence) - 1];
    const bool asked = !range || (output.index >= range->first && output.index <= range->second);
    if (asked && !isReplaced(output)) sequences.push_back(sequence);
    if (query.most > 0 && std::ssize(sequences) > query.most) break;
  }
  return sequences;
}

Result<OutputPage> Calls::outputs(const CallId& id, const OutputQuery& query) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  entry->touched = impl_->clock.now();
  OutputPage page;
  std::size_t bytes = 0;
  const auto all = std::ssize(entry->outputs);
  const auto sayable = all - entry->unsaid;
  const auto after = sequenceOf(query.after);
  auto last = std::max(after, sayable);
  for (const auto sequence : entry->wanted(query, after, sayable)) {
    const auto& output = entry->outputs[static_cast<std::size_t>(sequence) - 1];
    bytes += output.outcome.value.data.size();
    const bool full = (query.most > 0 && std::ssize(page.outputs) >= query.most) || bytes > query.mostBytes;
    if (full && !page.outputs.empty()) {
      last = page.outputs.back().sequence;
      break;
    }
    page.outputs.push_back(output);
  }
  page.lastEntryId = entryId(last);
  page.unfinishedInputs = entry->unfinished + entry->unsaid;
  const auto expected = entry->call.kind == CallKind::map ? entry->call.expectedInputs : 1;
  const bool complete = expected >= 0 && std::ssize(entry->byIndex) >= expected;
  page.finished = entry->unfinished == 0 && (complete || entry->call.cancelled) && last == all;
  if (query.clearOnSuccess && entry->unfinished == 0 && last == all && all > 0 &&
      entry->succeeded + entry->replaced == all) {
    impl_->clear(*entry);
  }
  return page;
}

Result<CallInfo> Calls::info(const CallId& id) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  return entry->describe();
}

CallInfo CallEntry::describe() const {
  const auto all = static_cast<int>(outputs.size()) - replaced;
  return CallInfo{call, static_cast<int>(byIndex.size()), unfinished, succeeded, all - succeeded, cancelled, timedOut};
}

std::optional<Input> Calls::input(const InputId& id) const {
  const auto* entry = impl_->find(id);
  return entry ? std::optional(entry->describe()) : std::nullopt;
}

std::vector<Input> Calls::unsettled(const FunctionId& function, int most) const {
  std::vector<Input> found;
  const auto it = impl_->queues.find(function);
  if (it == impl_->queues.end()) return found;
  const auto& queue = it->second;
  for (const auto& [when, entry] : impl_->timeouts) {
    if (std::ssize(found) >= most) break;
    if (entry->queue == &queue) found.push_back(entry->describe());
  }
  for (auto line = queue.lines.rbegin(); line != queue.lines.rend(); ++line) {
    const auto* entry = line->second->line.tail;
    for (; entry && std::ssize(found) < most; entry = entry->before) found.push_back(entry->describe());
  }
  for (const auto& [when, entry] : queue.delayed) {
    if (std::ssize(found) >= most) break;
    found.push_back(entry->describe());
  }
  return found;
}

Result<void> Calls::cancel(const CallId& id, Terminate terminate) {
  ASSIGN_OR_RETURN(auto* entry, impl_->reach(id));
  if (entry->unfinished == 0 && entry->call.kind != CallKind::map && !entry->byIndex.empty()) return {};
  if (impl_->ending.contains(id)) return {};  // it was cancelled before
  // What runs and a first slice of what waits now, the others by and by: none of them will run.
  std::vector<Impl::Ending> endings;
  std::vector<Input> running;
  for (const auto& [when, input] : impl_->timeouts) {
    if (input->call != entry) continue;
    endings.push_back({input, outcomeOf(OutcomeStatus::terminated, kCancelled)});
    running.push_back(input->describe());
  }
  int cursor = 0;
  for (auto& ending : impl_->sliceOf(*entry, cursor)) endings.push_back(std::move(ending));
  Batch batch;
  auto call = entry->call;
  call.cancelled = true;
  if (entry->durable() && entry->saved) batch.put(call);
  const bool more = std::ssize(endings) < entry->unfinished;
  RETURN_IF_ERROR(impl_->finish(std::move(endings), std::move(batch)));
  entry->call.cancelled = true;
  entry->cursor = cursor;
  impl_->unlineAll(*entry);
  if (more) impl_->ending.insert(id);
  for (const auto& input : running) impl_->tellHolder(input, terminate, kCancelled);
  impl_->tell([&](CallsObserver& o) { o.outputsReady(id); });
  return {};
}

void Calls::close(const CallId& id) {
  auto* entry = impl_->find(id);
  if (!entry || entry->durable()) return;
  if (entry->unfinished > 0) (void)cancel(id);  // of a web call: the store is not asked
  impl_->erase(*entry);
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
  demand.queued = queue.waiting - (queue.doom ? queue.doom->inLine : 0);
  demand.running = queue.running;
  if (demand.queued > 0) demand.oldestQueued = queue.head()->queuedAt;
  return demand;
}

Result<void> Calls::push(const CallId& id, Direction direction, std::vector<DataChunk> chunks, const InstanceId& from) {
  auto* entry = impl_->find(id);
  if (!entry) return makeError(Code::notFound, "function call '{}' not found", id.value);
  const auto* open = entry->byIndex.empty() ? nullptr : entry->byIndex.begin()->second.open;
  if (!from.empty() && open && (!open->holder || open->holder->id != from))
    return makeError(Code::failedPrecondition, "function call '{}' is not run by this container any more", id.value);
  auto& stream = direction == Direction::in ? entry->flowing().in : entry->flowing().out;
  RETURN_IF_ERROR(stream.push(std::move(chunks), impl_->options.streamBound));
  impl_->tell([&](CallsObserver& o) { o.dataReady(id, direction); });
  return {};
}

Result<std::vector<DataChunk>> Calls::read(const CallId& id, Direction direction, std::int64_t after) const {
  const auto* entry = impl_->find(id);
  if (!entry) return makeError(Code::notFound, "function call '{}' not found", id.value);
  const auto* streams = entry->streams.get();
  if (streams && direction == Direction::in) return streams->in.read(after);
  if (streams && !streams->out.untouched()) return streams->out.read(after);
  if (direction == Direction::out && entry->adopted && entry->unfinished == 0 && entry->succeeded > 0) {
    return makeError(Code::dataLoss, "what function call '{}' yielded is gone: the grid was restarted since", id.value);
  }
  return std::vector<DataChunk>{};
}

void Calls::acknowledge(const CallId& id, Direction direction, std::int64_t upTo) {
  auto* entry = impl_->find(id);
  if (!entry) return;
  entry->touched = impl_->clock.now();
  if (entry->streams) (direction == Direction::in ? entry->streams->in : entry->streams->out).acknowledge(upTo);
  // Who found the stream full may push again.
  impl_->tell([&](CallsObserver& o) { o.dataReady(id, direction); });
}

}  // namespace gridiron
