#include <algorithm>

#include "fleet/ground.h"

namespace gridiron {
namespace {

constexpr Nanos kGiveUp = std::chrono::seconds(15);  // after a SIGKILL that nobody confirms
constexpr std::size_t kGoneKept = 2000;

}  // namespace

Outcome initFailure(std::string text) {
  Outcome outcome;
  outcome.status = OutcomeStatus::initFailure;
  outcome.exception = std::move(text);
  return outcome;
}

void sooner(std::optional<Time>& at, Time other) {
  if (other != Time{} && (!at || other < *at)) at = other;
}

void Fleet::Impl::changed(const Instance& instance) {
  dirty.insert(instance.id);
  for (auto* observer : observers) observer->instanceChanged(instance);
}

void Fleet::Impl::work() const {
  if (wake) wake();
}

void Fleet::Impl::notice(const Instance& instance, const std::string& text) {
  for (auto* observer : observers) observer->notice(instance, text);
}

Fleet::Impl::Record* Fleet::Impl::find(const InstanceId& id) {
  const auto it = records.find(id);
  return it == records.end() ? nullptr : &it->second;
}

WorkerPort* Fleet::Impl::portOf(const Record& record) {
  const auto it = workers.find(record.instance.worker);
  return it == workers.end() ? nullptr : it->second.port;
}

Resources Fleet::Impl::withDefaults(Resources resources) const {
  if (resources.milliCpu <= 0) resources.milliCpu = options.defaultMilliCpu;
  if (resources.memoryMb <= 0) resources.memoryMb = options.defaultMemoryMb;
  return resources;
}

void Fleet::Impl::become(Record& record, InstanceState state) {
  GRID_CHECK(mayBecome(record.instance.state, state));
  record.instance.state = state;
  changed(record.instance);
}

void Fleet::Impl::drain(Record& record, const std::string& why) {
  if (record.instance.state == InstanceState::draining) return;
  const bool wasStarting = record.instance.state == InstanceState::starting;
  record.byUs = true;
  record.instance.why = why;
  if (record.instance.worker.empty()) return bury(record.instance.id, why, Blame::grid);
  become(record, InstanceState::draining);
  // A container that asks for inputs sees the kill switch and goes by itself; one that does not ask yet must be told.
  if (wasStarting) stopNow(record, options.defaultGrace, why);
  work();
}

void Fleet::Impl::stopNow(Record& record, Nanos grace, const std::string& why) {
  record.byUs = true;
  record.instance.why = why;
  if (record.instance.worker.empty()) return bury(record.instance.id, why, Blame::grid);
  if (record.instance.state != InstanceState::draining) become(record, InstanceState::draining);
  record.stopAt = {};
  const auto kill = clock.now() + grace;
  if (record.killAt != Time{} && record.killAt <= kill) return;  // it was told, and to be quicker
  if (auto* port = portOf(record)) port->stop(record.instance.id, grace);
  record.killAt = kill;
  record.giveUpAt = kill + kGiveUp;
}

void Fleet::Impl::bury(InstanceId id, std::string why, Blame blame) {
  const auto it = records.find(id);
  if (it == records.end()) return;
  Instance instance = it->second.instance;
  const bool awaited = it->second.awaited, earlier = it->second.earlier;
  const bool once = it->second.once;
  const bool unfinished = once && (!it->second.everRan || calls.heldBy(id) > 0);
  if ((it->second.failed || unfinished) && instance.exitCode == 0) instance.exitCode = 1;  // it ended in good order
  records.erase(it);
  instance.state = InstanceState::gone;
  instance.goneAt = clock.now();
  // Nobody saw how long it ran after that.
  if (awaited) instance.goneAt = instance.readyAt != Time{} ? instance.readyAt : instance.orderedAt;
  if (!why.empty()) instance.why = why;
  if (gone.size() >= kGoneKept) {
    auto oldest = gone.begin();
    for (auto other = gone.begin(); other != gone.end(); ++other) {
      if (other->second.goneAt < oldest->second.goneAt) oldest = other;
    }
    gone.erase(oldest);
  }
  if (instance.ahead && instance.usedAt == Time{} && instance.readyAt != Time{}) {
    foresight[instance.function].unused += std::max(instance.goneAt - instance.readyAt, Nanos{0});
  }
  gone[id] = instance;
  meter.container(instance);
  if (earlier && instance.readyAt == Time{}) closeBills();  // the one that we know may be from before it was ready
  calls.abandon(id, instance.why, blame);
  if (once && calls.demandOf(instance.function).queued > 0) {
    Outcome outcome;
    outcome.status = OutcomeStatus::internalFailure;
    outcome.exception = instance.why;
    calls.failWaiting(instance.function, outcome);
  }
  changed(instance);
  work();
}

void Fleet::Impl::closeBills() {
  std::set<InstanceId> alive;
  for (const auto& [id, record] : records) alive.insert(id);
  // Tried again at the next restart, should it fail.
  (void)meter.closeOpen(alive);
}

void Fleet::Impl::countFailure(Record& record, const Outcome& outcome, int tolerated) {
  if (record.failed) return;
  record.failed = true;
  const auto id = record.instance.function;
  if (record.once) return calls.failWaiting(id, outcome);
  auto& entry = served[id];
  if (record.superseded || (entry.function && entry.function->definitionId != record.instance.definition)) return;
  // Those that were on their way together fail together: that is one failure.
  if (tolerated > 0 && record.instance.orderedAt < entry.lastFailure) return;
  ++entry.failures;
  entry.lastFailure = clock.now();
  notice(record.instance, outcome.exception);
  if (entry.failures > tolerated && !hasReady(id)) calls.failWaiting(id, outcome);
  work();
}

void Fleet::Impl::retire(const FunctionId& function) {
  for (auto& [id, entry] : workers) {
    if (entry.port) entry.port->retire(function);
  }
}

// What a start took, once its container has asked for inputs.
std::vector<StartPhase> Fleet::Impl::phasesOf(const Record& record) const {
  const Instance& instance = record.instance;
  const auto sandboxAt = instance.sandboxAt != Time{} ? instance.sandboxAt : instance.orderedAt;
  const auto helloAt = instance.helloAt != Time{} ? instance.helloAt : instance.readyAt;
  const auto placedAt = std::min(std::max(record.claimedAt, instance.wantedAt), instance.orderedAt);
  Nanos import = instance.readyAt - helloAt, enter{0};
  for (const auto& part : record.detail) {
    if (part.name == "enter") enter = std::min(part.took, import);
  }
  std::vector<StartPhase> phases{{"queue", placedAt - instance.wantedAt}, {"place", instance.orderedAt - placedAt}};
  phases.insert(phases.end(), record.workerPhases.begin(), record.workerPhases.end());
  phases.push_back({"interpreter", std::max(helloAt - sandboxAt, Nanos{0})});
  phases.push_back({"import", import - enter});
  for (const auto& part : record.detail) {
    if (part.name != "enter") phases.push_back(part);
  }
  if (enter > Nanos{0}) phases.push_back({"enter", enter});
  return phases;
}

void Fleet::Impl::supersede(const FunctionId& id, Served& entry, std::shared_ptr<const Function> function) {
  const bool others =
      entry.function && (entry.function->image != function->image || entry.function->mounts != function->mounts ||
                         entry.function->clientVersion != function->clientVersion);
  if (others) retire(id);
  if (entry.function && entry.function->definitionId != function->definitionId) {
    entry.failures = 0;
    entry.runTime = {};  // it may do something else now
  }
  entry.function = function;
  std::vector<InstanceId> old;
  for (const auto& [instance, record] : records) {
    const auto& is = record.instance;
    if (is.function == id && !record.once && is.definition != function->definitionId) old.push_back(instance);
  }
  for (const auto& instance : old) {
    auto* record = find(instance);
    if (!record) continue;
    record->superseded = true;
    // With a minimum there shall be no moment without a ready container.
    const bool keep = function->scaling.minContainers > 0 && record->instance.state == InstanceState::ready;
    if (!keep) drain(*record, "replaced by a newer deployment");
  }
}

bool Fleet::Impl::hasReady(const FunctionId& function) const {
  for (const auto& [id, record] : records) {
    if (record.instance.function == function && record.instance.state == InstanceState::ready) return true;
  }
  return false;
}

// The average of about the last eight.
void Fleet::Impl::noteRunTime(const FunctionId& function, Nanos took) {
  const auto entry = served.find(function);
  if (entry == served.end()) return;
  auto& runTime = entry->second.runTime;
  runTime = runTime == Nanos{0} ? std::max(took, Nanos{1}) : runTime + (took - runTime) / 8;
}

void Fleet::Impl::write() {
  if (dirty.empty()) return;
  Batch batch;
  for (const auto& id : dirty) {
    if (const auto it = records.find(id); it != records.end()) {
      batch.put(it->second.instance);
    } else if (const auto old = gone.find(id); old != gone.end()) {
      batch.put(old->second);
    }
  }
  // What cannot be written now stays dirty; the next step tries again.
  if (store.apply(batch).ok()) dirty.clear();
}

}  // namespace gridiron
