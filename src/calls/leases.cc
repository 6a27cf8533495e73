#include <algorithm>

#include "calls/ledger.h"
#include "calls/retry.h"

namespace gridiron {
namespace {

constexpr Nanos kNoteAfter = std::chrono::seconds(2);
constexpr Nanos kUnheard = std::chrono::minutes(1);  // a container may not end what was cancelled
constexpr Nanos kTellAgain = std::chrono::seconds(1);
constexpr int kSeenForABatch = 1000;     // of what waits, others' methods between them
constexpr std::size_t kQuestions = 256;  // of a container, remembered

}  // namespace

std::vector<InputEntry*> Calls::Impl::pick(const InputQueue& queue, int most) const {
  std::vector<InputEntry*> picked;
  InOrder waiting(queue);
  while (std::ssize(picked) < most) {
    auto* entry = waiting.next();
    if (!entry) break;
    picked.push_back(entry);
  }
  return picked;
}

std::vector<InputEntry*> Calls::Impl::pickBatch(const InputQueue& queue) const {
  std::vector<InputEntry*> picked;
  const auto* oldest = queue.head();
  if (!oldest) return picked;
  const auto& batching = queue.function->batching;
  InOrder waiting(queue);
  for (int seen = 0; seen < kSeenForABatch && std::ssize(picked) < batching.maxSize; ++seen) {
    auto* entry = waiting.next();
    if (!entry) break;
    if (entry->method == oldest->method) picked.push_back(entry);
  }
  const bool full = std::ssize(picked) == batching.maxSize;
  if (!full && clock.now() < oldest->queuedAt + batching.linger) picked.clear();
  return picked;
}

Lease Calls::Impl::hand(Holder& holder, InputEntry& entry) {
  GRID_CHECK(mayBecome(entry.state, InputState::running));
  unlink(entry);
  entry.state = InputState::running;
  entry.startedAt = clock.now();
  entry.forgotten = entry.noted = false;
  hold(holder, entry);
  if (entry.call->durable()) unnoted.emplace_back(entry.startedAt, entry.id);
  const auto input = entry.describe();
  tell([&](CallsObserver& o) { o.inputStarted(input); });
  return leaseOf(entry);
}

Holder& Calls::Impl::holderOf(const InstanceId& instance, InputQueue& queue) {
  auto& holder = holders[instance];
  holder.id = instance;
  holder.queue = &queue;
  return holder;
}

void Calls::Impl::hold(Holder& holder, InputEntry& entry) {
  auto& queue = *entry.queue;
  entry.holder = &holder;
  entry.deadline = entry.startedAt + queue.function->timeout;
  timeouts.emplace(std::pair(entry.deadline, entry.place), &entry);
  ++queue.running;
  // An earlier attempt of it that the container has not ended yet: this one takes its place.
  if (holder.settledWithout.contains(entry.id)) release(holder, entry.id);
  holder.held.push_back(entry.id);
}

// One that runs one thing at a time is given it again when it asks. Another has had our answer when it has asked the
// next.
bool Calls::Impl::surelyHas(const InputEntry& entry) const {
  const auto& function = *entry.queue->function;
  if (function.maxConcurrentInputs <= 1) return true;
  const auto asked = questions.find(entry.holder->id);
  if (asked == questions.end()) return false;
  const auto& given = asked->second.given;
  return std::find(given.begin(), given.end(), entry.id) == given.end();
}

bool Calls::Impl::mayGoOn(const FunctionId& id) const {
  const auto function = functions.find(id);
  return function && !function->isGenerator;
}

Lease Calls::Impl::leaseOf(const InputEntry& entry) const {
  const auto& call = entry.call->call;
  Lease lease{entry.describe(), call.mode, call.kind};
  lease.input.args = entry.args;
  return lease;
}

Calls::Impl::Question Calls::Impl::hearQuestion(const InstanceId& instance, const std::string& ticket) {
  auto& asked = questions[instance];
  const auto hash = std::hash<std::string>{}(ticket);
  if (asked.last == hash) return Question::repeated;
  if (std::find(asked.earlier.begin(), asked.earlier.end(), hash) != asked.earlier.end()) return Question::old;
  asked.earlier.push_back(asked.last);
  if (asked.earlier.size() > kQuestions) asked.earlier.pop_front();
  asked.last = hash;
  asked.given.clear();
  return Question::newest;
}

std::vector<Lease> Calls::Impl::givenBefore(const InstanceId& instance) const {
  std::vector<Lease> leases;
  const auto holding = holders.find(instance);
  if (holding == holders.end()) return leases;
  const auto& holder = holding->second;
  for (const auto& id : questions.at(instance).given) {
    const auto held = std::find(holder.held.begin(), holder.held.end(), id);
    const bool runs = held != holder.held.end() && !holder.settledWithout.contains(id) && !holder.taken.contains(id);
    if (runs) leases.push_back(leaseOf(*inputs.at(id.value)));
  }
  return leases;
}

void Calls::Impl::tellHolder(const Input& input, Terminate terminate, const std::string& why) {
  const auto it = holders.find(input.instance);
  if (it == holders.end()) return;
  auto& holder = it->second;
  holder.settledWithout.emplace(input.id, clock.now());
  if (holder.taken.contains(input.id)) return;  // who took it has heard
  if (terminate == Terminate::containers) {
    tell([&](CallsObserver& o) { o.interruptWanted(input.instance, why); });
    return;
  }
  // Who cancels one input of a batch ends all of it: its container is told when nobody wants any of them.
  const auto& function = holder.queue->function;
  const bool batched = function && function->batching.maxSize > 1;
  if (batched && holder.settledWithout.size() < holder.held.size()) return;
  if (batched) {
    holder.toCancel = holder.held;
  } else {
    holder.toCancel.push_back(input.id);
  }
  tell([&](CallsObserver& o) { o.cancelWanted(input.instance); });
}

void Calls::Impl::hearAsking(const InstanceId& instance) {
  const auto it = holders.find(instance);
  if (it == holders.end() || it->second.settledWithout.empty()) return;
  const auto& function = it->second.queue->function;
  if (!function || function->maxConcurrentInputs > 1) return;
  const auto done = it->second.settledWithout;
  for (const auto& [id, since] : done) {
    if (!it->second.taken.contains(id)) release(it->second, id);
  }
  if (it->second.held.empty()) holders.erase(it);
}

void Calls::Impl::interruptSilent() {
  for (const auto& [instance, holder] : holders) {
    const auto silent = std::count_if(holder.settledWithout.begin(), holder.settledWithout.end(),
                                      [&](const auto& since) { return clock.now() >= since.second + kUnheard; });
    if (silent == 0 || silent < std::ssize(holder.held)) continue;
    tell([&](CallsObserver& o) { o.interruptWanted(instance, "it did not end an input that was cancelled"); });
  }
}

std::vector<Lease> Calls::lease(const InstanceId& instance, const FunctionId& id, int most, const std::string& ticket) {
  std::vector<Lease> leases;
  if (!ticket.empty()) {
    const auto question = impl_->hearQuestion(instance, ticket);
    if (question == Impl::Question::old) return leases;
    if (question == Impl::Question::repeated) leases = impl_->givenBefore(instance);
    if (!leases.empty()) return leases;
  }
  impl_->hearAsking(instance);
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
        if (!holder.settledWithout.contains(held) && !holder.taken.contains(held))
          leases.push_back(impl_->leaseOf(*impl_->find(held)));
      }
      return leases;
    }
    most = std::min<int>(most, slotsOf(*queue.function) - static_cast<int>(running));
  }
  const auto picked = queue.function->batching.maxSize > 1 ? impl_->pickBatch(queue) : impl_->pick(queue, most);
  if (picked.empty()) return leases;
  auto& holder = impl_->holderOf(instance, queue);
  for (auto* input : picked) leases.push_back(impl_->hand(holder, *input));
  if (!ticket.empty()) {
    for (const auto* input : picked) impl_->questions.at(instance).given.push_back(input->id);
  }
  return leases;
}

bool Calls::isWebNext(const FunctionId& function) const {
  const auto found = impl_->queues.find(function);
  const auto* head = found == impl_->queues.end() ? nullptr : found->second.head();
  return head && !head->call->durable();
}

std::optional<Lease> Calls::take(const InstanceId& instance, const InputId& id) {
  auto* entry = impl_->find(id);
  if (!entry || entry->state != InputState::queued || entry->call->unlined) return std::nullopt;
  auto& queue = impl_->queueOf(entry->queue->id);
  if (!queue.function || !isWebNext(queue.id)) return std::nullopt;
  if (heldBy(instance) >= slotsOf(*queue.function)) return std::nullopt;
  auto& holder = impl_->holderOf(instance, queue);
  holder.taken.insert(id);
  entry->call->taken = true;
  return impl_->hand(holder, *entry);
}

void Calls::noteLeases() {
  auto& unnoted = impl_->unnoted;
  Batch batch;
  std::vector<InputEntry*> noted;
  std::vector<std::pair<Time, InputId>> later;
  for (; !unnoted.empty() && unnoted.front().first + kNoteAfter <= impl_->clock.now(); unnoted.pop_front()) {
    const auto& [at, id] = unnoted.front();
    auto* entry = impl_->find(id);
    if (!entry || entry->state != InputState::running || entry->startedAt != at) continue;
    if (!impl_->surelyHas(*entry)) {
      later.push_back(unnoted.front());
      continue;
    }
    auto input = entry->describe();
    input.args = entry->args;
    batch.put(std::move(input));
    noted.push_back(entry);
  }
  unnoted.insert(unnoted.begin(), later.begin(), later.end());
  // What is not noted is run again after a restart, no worse.
  const bool done = impl_->store.apply(batch).ok();
  for (auto* entry : noted) entry->noted = done;
}

bool Calls::leaseIsNoted(const InputId& id) const {
  const auto* entry = impl_->find(id);
  return entry && entry->noted;
}

void Calls::reclaim(const InstanceId& instance, const FunctionId& function, const InputId& id, int attempt) {
  auto* entry = impl_->find(id);
  if (!entry || !entry->forgotten || entry->state != InputState::queued || entry->call->unlined) return;
  if (entry->queue->id != function || entry->attempt != attempt || !impl_->mayGoOn(function)) return;
  impl_->hand(impl_->holderOf(instance, *entry->queue), *entry);
}

Result<Settled> Calls::settle(const InstanceId& instance, const InputId& id, Outcome outcome,
                              std::optional<int> attempt) {
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end()) return Settled::stale;
  auto& holder = it->second;
  if (std::find(holder.held.begin(), holder.held.end(), id) == holder.held.end()) return Settled::stale;
  const bool settledWithout = holder.settledWithout.contains(id);
  if (!settledWithout && attempt && *attempt != impl_->find(id)->attempt) return Settled::stale;
  if (!settledWithout) RETURN_IF_ERROR(impl_->endAttempt(*impl_->find(id), outcome));
  impl_->release(holder, id);
  if (holder.held.empty()) impl_->holders.erase(it);
  return settledWithout ? Settled::stale : Settled::accepted;
}

void Calls::abandon(const InstanceId& instance, const std::string& why, Blame blame) {
  impl_->questions.erase(instance);
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end()) return;
  const Holder holder = it->second;
  // A container that runs code in threads can cancel one input only by ending, and that is not the others' doing.
  if (!holder.told.empty()) blame = Blame::grid;
  for (const auto& id : holder.held) {
    if (!holder.settledWithout.contains(id)) {
      auto& entry = *impl_->find(id);
      const bool excused = blame == Blame::restart || entry.losses < impl_->options.lossesAllowed;
      if (blame != Blame::container && excused && !entry.call->begun()) {
        if (blame == Blame::grid) ++entry.losses;
        impl_->requeue(entry);
      } else {
        impl_->endAttemptSurely(entry, outcomeOf(OutcomeStatus::internalFailure, why));
      }
    }
    impl_->release(it->second, id);
  }
  impl_->holders.erase(instance);
}

std::vector<InstanceId> Calls::holders() const {
  std::vector<InstanceId> all;
  for (const auto& [instance, holder] : impl_->holders) all.push_back(instance);
  return all;
}

std::vector<InputId> Calls::takeCancelled(const InstanceId& instance) {
  const auto it = impl_->holders.find(instance);
  if (it == impl_->holders.end()) return {};
  auto& holder = it->second;
  // A container that was only about to begin an input when it was told has not heard; to be told twice does no harm.
  auto cancelled = std::exchange(holder.toCancel, {});
  if (impl_->clock.now() >= holder.toldAt + kTellAgain)
    cancelled.insert(cancelled.end(), holder.told.begin(), holder.told.end());
  if (cancelled.empty()) return cancelled;
  holder.toldAt = impl_->clock.now();
  for (const auto& input : cancelled) {
    if (std::find(holder.told.begin(), holder.told.end(), input) == holder.told.end()) holder.told.push_back(input);
  }
  return cancelled;
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

}  // namespace gridiron
