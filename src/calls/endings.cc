#include <algorithm>

#include "calls/ledger.h"
#include "calls/retry.h"

namespace gridiron {
namespace {

constexpr Nanos kClearedFor = std::chrono::minutes(1);  // a reply may be lost and asked for again
constexpr Nanos kSweepEvery = std::chrono::seconds(30);
constexpr Nanos kPruneEvery = std::chrono::hours(1);
constexpr Nanos kKeepLogs = std::chrono::hours(24 * 35);
constexpr Nanos kOwedAgain = std::chrono::seconds(1);
// What one turn of the loop ends, looks at or forgets at most, when there is more: some milliseconds.
constexpr std::ptrdiff_t kSlice = 1000;
constexpr int kLookedAt = 4 * kSlice;

}  // namespace

Outcome outcomeOf(OutcomeStatus status, std::string text) {
  Outcome outcome;
  outcome.status = status;
  outcome.exception = std::move(text);
  return outcome;
}

Output Calls::Impl::outputOf(const InputEntry& input, Outcome outcome, std::int64_t sequence) const {
  const auto holder = input.holder ? input.holder->id : InstanceId{};
  return Output{input.id,      input.call->call.id, input.index, sequence,        std::move(outcome),
                input.attempt, input.again,         holder,      input.startedAt, clock.now()};
}

Result<void> Calls::Impl::finish(const std::vector<Ending>& endings, Batch batch) {
  std::vector<Output> outputs;
  std::unordered_map<const CallEntry*, std::int64_t> last;
  bool stored = false;
  for (const auto& [input, outcome] : endings) {
    const auto& call = *input->call;
    auto& sequence = last.try_emplace(&call, std::ssize(call.outputs)).first->second;
    outputs.push_back(outputOf(*input, outcome, ++sequence));
    if (call.durable()) batch.put(outputs.back());
    stored = stored || call.durable();
  }
  // In the order of their sequences: what is owed comes first.
  if (stored) RETURN_IF_ERROR(payOwed());
  RETURN_IF_ERROR(store.apply(batch));
  for (std::size_t i = 0; i < outputs.size(); ++i) record(*endings[i].input, std::move(outputs[i]));
  return {};
}

void Calls::Impl::finishSurely(const std::vector<Ending>& endings) {
  if (finish(endings).ok()) return;
  for (const auto& [input, outcome] : endings) {
    auto& call = *input->call;
    auto output = outputOf(*input, outcome, std::ssize(call.outputs) + 1);
    if (call.durable()) {
      owe(Batch().put(output));
      ++call.unsaid;
    }
    record(*input, std::move(output));
  }
}

void Calls::Impl::owe(Batch batch) {
  if (owed.empty()) owedAt = clock.now();
  owed.push_back(std::move(batch));
}

void Calls::Impl::record(InputEntry& entry, Output output) {
  GRID_CHECK(mayBecome(entry.state, InputState::settled));
  auto& queue = *entry.queue;
  auto& call = *entry.call;
  auto input = entry.describe();
  input.state = InputState::settled;
  unlink(entry);
  weigh(queue, 0, -std::ssize(entry.args.data));
  call.byIndex[entry.index] = {nullptr, output.sequence};
  inputs.erase(inputs.find(entry.id.value));
  forgetIdleQueue(queue);
  --call.unfinished;
  call.touched = clock.now();
  call.count(output.outcome.status);
  call.outputs.push_back(std::move(output));
  noteIdle(call);
  const auto& outcome = call.outputs.back().outcome;
  tell([&](CallsObserver& o) {
    o.inputEnded(input, outcome, true);
    o.outputsReady(input.call);
  });
}

Result<void> Calls::Impl::endAttempt(InputEntry& entry, const Outcome& outcome) {
  const auto& call = *entry.call;
  const auto& function = entry.queue->function;
  const bool mayRetry = function && isWorthRetrying(outcome.status) && call.durable() && !call.call.cancelled;
  const auto wait = mayRetry ? retryDelay(function->retries, entry.attempt) : std::nullopt;
  if (!wait) return finish({{&entry, outcome}});
  const auto before = entry.describe();
  Input next = before;
  next.args = entry.args;
  next.state = InputState::delayed;
  ++next.attempt;
  next.queuedAt = clock.now() + *wait;
  next.instance = {};
  next.startedAt = {};
  RETURN_IF_ERROR(store.apply(Batch().put(next)));
  GRID_CHECK(mayBecome(entry.state, InputState::delayed));
  unlink(entry);
  entry.attempt = next.attempt;
  entry.queuedAt = next.queuedAt;
  entry.startedAt = {};
  delay(entry);
  tell([&](CallsObserver& o) { o.inputEnded(before, outcome, false); });
  return {};
}

void Calls::Impl::endAttemptSurely(InputEntry& entry, const Outcome& outcome) {
  if (!endAttempt(entry, outcome).ok()) finishSurely({{&entry, outcome}});
}

void Calls::Impl::requeue(InputEntry& entry) {
  GRID_CHECK(mayBecome(entry.state, InputState::queued));
  unlink(entry);
  entry.startedAt = {};
  entry.queuedAt = clock.now();
  enqueue(entry, front--);
  tell([&](CallsObserver& o) { o.inputsQueued(entry.queue->id); });
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
      auto* call = output ? find(output->call) : nullptr;
      if (!call) continue;
      --call->unsaid;
      noteIdle(*call);
      tell([&](CallsObserver& o) { o.outputsReady(output->call); });
    }
  }
  return {};
}

// --- many at once ---

std::vector<Calls::Impl::Ending> Calls::Impl::sliceOf(const CallEntry& call, int& cursor) const {
  std::vector<Ending> endings;
  int seen = 0;
  for (auto it = call.byIndex.lower_bound(cursor); it != call.byIndex.end(); ++it) {
    if (++seen > kLookedAt || std::ssize(endings) == kSlice) break;
    auto* open = it->second.open;
    if (open && open->state != InputState::running) {
      endings.push_back({open, outcomeOf(OutcomeStatus::terminated, kCancelled)});
    }
    cursor = it->first + 1;
  }
  return endings;
}

std::vector<Calls::Impl::Ending> Calls::Impl::sliceOf(const InputQueue& queue) const {
  std::vector<Ending> endings;
  const auto& doom = *queue.doom;
  InOrder waiting(queue);
  while (auto* entry = waiting.next()) {
    if (entry->place >= doom.before || std::ssize(endings) == kSlice) break;
    if (doom.covers(entry->place)) endings.push_back({entry, doom.outcome});
  }
  for (const auto& [when, entry] : queue.delayed) {
    if (std::ssize(endings) == kSlice) break;
    if (doom.covers(entry->place)) endings.push_back({entry, doom.outcome});
  }
  return endings;
}

void Calls::failWaiting(const FunctionId& function, const Outcome& outcome) {
  const auto it = impl_->queues.find(function);
  if (it == impl_->queues.end()) return;
  auto& queue = it->second;
  queue.doom = InputQueue::Doom{outcome, impl_->front, impl_->back, queue.waiting};
  impl_->dooming.insert(function);
  const auto endings = impl_->sliceOf(queue);
  const bool last = std::ssize(endings) < kSlice;
  if (last) impl_->undoom(queue);
  if (!endings.empty()) impl_->finishSurely(endings);
}

void Calls::Impl::undoom(InputQueue& queue) {
  queue.doom.reset();
  dooming.erase(queue.id);
}

void Calls::Impl::endSlices() {
  if (clock.now() < slicedAt) return;
  bool refused = false;
  for (const auto& id : std::set<FunctionId>(dooming)) {
    const auto it = queues.find(id);
    if (it == queues.end()) {
      dooming.erase(id);
      continue;
    }
    const auto endings = sliceOf(it->second);
    if (std::ssize(endings) < kSlice) {
      undoom(it->second);
      if (!endings.empty()) finishSurely(endings);
    } else {
      refused = !finish(endings).ok() || refused;
    }
  }
  for (const auto& id : std::set<CallId>(ending)) {
    auto& call = *find(id);
    int cursor = call.cursor;
    const auto endings = sliceOf(call, cursor);
    if (!endings.empty() && !finish(endings).ok()) {
      refused = true;
      continue;
    }
    call.cursor = cursor;
    if (call.unfinished == 0) ending.erase(id);
  }
  if (refused) slicedAt = clock.now() + kOwedAgain;
}

// --- what is due ---

void Calls::Impl::expireTimeouts() {
  while (!timeouts.empty() && timeouts.begin()->first.first <= clock.now()) {
    auto& entry = *timeouts.begin()->second;
    const auto input = entry.describe();
    const auto function = entry.queue->function;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(function->timeout).count();
    const auto text = fmt::format("Task's current input {} hit its timeout of {}s", input.id.value, seconds);
    endAttemptSurely(entry, outcomeOf(OutcomeStatus::timeout, text));
    // Alone in its container it is interrupted with it; beside others only it is cancelled.
    tellHolder(input, slotsOf(*function) == 1 ? Terminate::containers : Terminate::no, text);
  }
}

void Calls::Impl::expireDelays() {
  std::set<FunctionId> woken;
  for (int moved = 0; moved < kSlice && !due.empty() && due.begin()->first <= clock.now(); ++moved) {
    auto& entry = *queues.at(due.begin()->second).delayed.begin()->second;
    unlink(entry);
    enqueue(entry, back++);
    woken.insert(entry.queue->id);
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

void Calls::Impl::clear(CallEntry& call) {
  call.clearedAt = clock.now();
  forgetAt(call, clock.now() + kClearedFor);
}

void Calls::Impl::sweep() {
  if (clock.now() < sweptAt + kSweepEvery) return;
  Batch batch;
  int seen = 0;
  for (; seen < kSlice && !forgetting.empty() && forgetting.begin()->first <= clock.now(); ++seen) {
    auto& call = *forgetting.begin()->second;
    const bool cleared = call.clearedAt && clock.now() >= *call.clearedAt + kClearedFor;
    if (cleared && call.durable()) batch.eraseCall(call.call.id);
    if (cleared || clock.now() >= call.touched + keepOf(call)) {
      erase(call);
    } else {
      forgetAt(call, call.touched + keepOf(call));
    }
  }
  pruning = pruning || !batch.empty();
  if (!batch.empty() && !store.apply(batch).ok()) owe(std::move(batch));
  if (seen == kSlice) return;  // and on with the next turn
  sweptAt = clock.now();
  interruptSilent();
  if (clock.now() < prunedAt + kPruneEvery) return;
  prunedAt = clock.now();
  pruning = true;
}

void Calls::Impl::prune() {
  if (!pruning) return;
  const auto more = store.prune(clock.now() - options.keepResults, clock.now() - kKeepLogs);
  pruning = more.ok() && *more;  // what fails is tried again in an hour
}

void Calls::expire() {
  if (!impl_->owed.empty() && impl_->clock.now() >= impl_->owedAt) (void)impl_->payOwed();
  impl_->expireTimeouts();
  impl_->expireDelays();
  impl_->endSlices();
  impl_->sweep();
  impl_->prune();
}

std::optional<Time> Calls::nextDeadline() const {
  Time next = impl_->sweptAt + kSweepEvery;
  if (!impl_->timeouts.empty()) next = std::min(next, impl_->timeouts.begin()->first.first);
  if (!impl_->due.empty()) next = std::min(next, impl_->due.begin()->first);
  if (!impl_->owed.empty()) next = std::min(next, impl_->owedAt);
  if (impl_->pruning) next = impl_->sweptAt;
  if (!impl_->ending.empty() || !impl_->dooming.empty()) next = std::min(next, impl_->slicedAt);
  for (const auto& [id, at] : impl_->lingering) next = std::min(next, at);
  return next;
}

}  // namespace gridiron
