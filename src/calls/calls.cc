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

InputQueue& Calls::Impl::queueOf(const FunctionId& id) {
  auto& queue = queues[id];
  if (auto newest = functions.find(id)) queue.function = std::move(newest);
  return queue;
}

void Calls::Impl::forgetIdleQueue(const FunctionId& id) {
  const auto it = queues.find(id);
  if (it != queues.end() && it->second.idle()) queues.erase(it);
}

Result<CallEntry*> Calls::Impl::reach(const CallId& id) {
  const auto it = calls.find(id);
  if (it != calls.end()) return &it->second;
  ASSIGN_OR_RETURN(auto stored, store.call(id));
  if (!stored) return makeError(Code::notFound, "function call '{}' not found or expired", id.value);
  return adopt(std::move(*stored));
}

CallEntry* Calls::Impl::adopt(StoredCall stored) {
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

}  // namespace gridiron
