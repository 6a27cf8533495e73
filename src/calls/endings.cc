#include <algorithm>

#include "calls/ledger.h"
#include "calls/retry.h"

namespace gridiron {
namespace {

constexpr Nanos kClearedFor = std::chrono::minutes(1);  // a reply may be lost and asked for again
constexpr Nanos kUnsavedFor = std::chrono::hours(24);   // nothing but memory has it
constexpr Nanos kSweepEvery = std::chrono::seconds(30);
constexpr Nanos kPruneEvery = std::chrono::hours(1);
constexpr Nanos kKeepLogs = std::chrono::hours(24 * 35);
constexpr Nanos kOwedAgain = std::chrono::seconds(1);

}  // namespace

Outcome outcomeOf(OutcomeStatus status, std::string text) {
  Outcome outcome;
  outcome.status = status;
  outcome.exception = std::move(text);
  return outcome;
}

void Calls::Impl::enqueue(InputEntry& entry, std::int64_t place) {
  auto& queue = queueOf(entry.input.function);
  entry.place = place;
  entry.input.state = InputState::queued;
  queue.waiting[place] = entry.input.id;
  noteLinger(entry.input.function, queue);
}

void Calls::Impl::delay(InputEntry& entry) {
  entry.input.state = InputState::delayed;
  due.emplace(entry.input.queuedAt, entry.input.id);
  ++queueOf(entry.input.function).delayed;
}

void Calls::Impl::unlink(InputEntry& entry) {
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

void Calls::Impl::release(Holder& holder, const InputId& id) {
  std::erase(holder.held, id);
  std::erase(holder.toCancel, id);
  holder.settledWithout.erase(id);
  --queues[holder.function].running;
  forgetIdleQueue(holder.function);
}

void Calls::Impl::noteLinger(const FunctionId& id, const InputQueue& queue) {
  if (!queue.function || queue.function->batching.maxSize <= 1 || queue.waiting.empty()) {
    lingering.erase(id);
    return;
  }
  const auto oldest = inputs.find(queue.waiting.begin()->second);
  if (oldest != inputs.end()) lingering[id] = oldest->second.input.queuedAt + queue.function->batching.linger;
}

Result<void> Calls::Impl::finish(const std::vector<Ending>& endings, Batch batch) {
  std::vector<Output> outputs;
  std::unordered_map<CallId, std::int64_t> last;
  bool stored = false;
  for (const auto& [id, outcome] : endings) {
    const auto& input = inputs.at(id).input;
    const auto& call = calls.at(input.call);
    auto& sequence = last.try_emplace(input.call, std::ssize(call.outputs)).first->second;
    Output output{
        id, input.call, input.index, ++sequence, outcome, input.attempt, input.instance, input.startedAt, clock.now()};
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

void Calls::Impl::finishSurely(const std::vector<Ending>& endings) {
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

void Calls::Impl::owe(Batch batch) {
  if (owed.empty()) owedAt = clock.now();
  owed.push_back(std::move(batch));
}

void Calls::Impl::record(Output output) {
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

Result<void> Calls::Impl::endAttempt(const InputId& id, const Outcome& outcome) {
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

void Calls::Impl::endAttemptSurely(const InputId& id, const Outcome& outcome) {
  if (!endAttempt(id, outcome).ok()) finishSurely({{id, outcome}});
}

void Calls::Impl::requeue(InputEntry& entry) {
  unlink(entry);
  GRID_CHECK(mayBecome(entry.input.state, InputState::queued));
  entry.input.instance = {};
  entry.input.startedAt = {};
  entry.input.queuedAt = clock.now();
  enqueue(entry, front--);
  tell([&](CallsObserver& o) { o.inputsQueued(entry.input.function); });
}

Result<void> Calls::Impl::payOwed() {
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

void Calls::Impl::expireTimeouts() {
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

void Calls::Impl::expireDelays() {
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

void Calls::Impl::sweep() {
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

void Calls::failWaiting(const FunctionId& function, const Outcome& outcome) {
  std::vector<Impl::Ending> endings;
  for (const auto& [id, entry] : impl_->inputs) {
    const bool waits = entry.input.state == InputState::queued || entry.input.state == InputState::delayed;
    if (entry.input.function == function && waits) endings.push_back({id, outcome});
  }
  if (!endings.empty()) impl_->finishSurely(endings);
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
