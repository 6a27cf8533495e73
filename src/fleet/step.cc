#include <algorithm>

#include "fleet/ground.h"

namespace gridiron {
namespace {

constexpr Nanos kFlushEvery = std::chrono::seconds(2);
constexpr Nanos kGiveUp = std::chrono::seconds(15);

bool isDue(Time at, Time now) { return at != Time{} && at <= now; }

}  // namespace

void Fleet::step() {
  auto& s = *impl_;
  s.again.reset();
  s.expire();
  s.failWithdrawn();
  s.placeAll(s.scaleAll());
  if (s.clock.now() < s.flushedAt + kFlushEvery) return;
  s.flushedAt = s.clock.now();
  s.write();
}

std::optional<Time> Fleet::nextDeadline() const {
  auto next = impl_->again;
  for (const auto& [id, record] : impl_->records) {
    sooner(next, record.stopAt);
    sooner(next, record.killAt);
    sooner(next, record.giveUpAt);
  }
  for (const auto& [id, entry] : impl_->workers) {
    if (!entry.port) sooner(next, entry.lostAt + impl_->options.workerGrace);
  }
  if (!impl_->dirty.empty()) sooner(next, impl_->flushedAt + kFlushEvery);
  return next;
}

// What was to happen by now and did not.
void Fleet::Impl::expire() {
  const auto now = clock.now();
  std::vector<WorkerId> lost;
  for (const auto& [id, entry] : workers) {
    if (!entry.port && now >= entry.lostAt + options.workerGrace) lost.push_back(id);
  }
  std::vector<InstanceId> ids;
  for (const auto& [id, record] : records) ids.push_back(id);
  for (const auto& id : ids) {
    auto* record = find(id);
    if (!record) continue;
    auto& instance = record->instance;
    if (std::find(lost.begin(), lost.end(), instance.worker) != lost.end()) {
      bury(id, "its worker was lost", Blame::grid);
    } else if (isDue(record->giveUpAt, now)) {
      bury(id, instance.why, Blame::grid);
    } else if (isDue(record->killAt, now)) {
      if (auto* port = portOf(*record)) port->stop(id, Nanos{0});
      record->killAt = {};
      record->giveUpAt = now + kGiveUp;
    } else if (isDue(record->stopAt, now)) {
      if (instance.state == InstanceState::starting) {
        const auto limit = std::chrono::duration_cast<std::chrono::seconds>(record->function->startupTimeout).count();
        instance.why = fmt::format("Container start-up hit its timeout of {}s", limit);
        countFailure(*record, initFailure(instance.why), 0);
      }
      if (record->unheard) instance.why = "it did not ask for inputs after control was restarted";
      stopNow(*record, options.defaultGrace, instance.why);
    } else if (instance.state == InstanceState::draining && record->stopAt == Time{} && record->killAt == Time{} &&
               record->giveUpAt == Time{} && calls.heldBy(id) == 0) {
      // It should see the kill switch now; if it does not, it is told otherwise.
      // A server asks for nothing.
      record->stopAt = record->function->isServer ? now : now + options.defaultGrace;
    }
  }
  for (const auto& id : lost) workers.erase(id);
}

void Fleet::Impl::failWithdrawn() {
  for (const auto& [id, entry] : served) {
    if (!entry.withdrawn || calls.demandOf(id).queued == 0) continue;
    Outcome outcome;
    outcome.status = OutcomeStatus::terminated;
    outcome.exception = entry.why;
    calls.failWaiting(id, outcome);
  }
}

// One that was started ahead and that nothing came for goes when what was expected is over.
plan::ReadyContainer Fleet::Impl::readyView(const Record& record, int held, const plan::FunctionView& view) const {
  const bool inVain = record.instance.ahead && record.instance.usedAt == Time{} && view.ahead == 0;
  return {record.instance.id, held, inVain ? Time{Nanos{1}} : record.idleSince};
}

std::map<FunctionId, plan::FunctionView> Fleet::Impl::functionViews() {
  std::map<FunctionId, plan::FunctionView> views;
  for (const auto& [id, entry] : served) {
    if (entry.withdrawn || !entry.function || entry.function->isBuilder) continue;
    const auto demand = calls.demandOf(id);
    plan::FunctionView view;
    view.function = id;
    view.scaling = entry.function->scaling;
    if (!entry.deployed) view.scaling.minContainers = 0;
    view.slots = targetSlotsOf(*entry.function);
    view.queued = demand.queued;
    view.oldestQueued = demand.oldestQueued;
    view.runTime = entry.runTime;
    view.failures = entry.failures;
    view.lastFailure = entry.lastFailure;
    view.ahead = entry.deployed && wantsAhead(id, *entry.function) ? 1 : 0;
    views.emplace(id, std::move(view));
  }
  std::map<FunctionId, Nanos> running;
  for (const auto& [instanceId, record] : records) {
    const auto it = views.find(record.instance.function);
    if (it == views.end() || record.once || record.superseded) continue;
    auto& view = it->second;
    int held = calls.heldBy(instanceId);
    if (held > 0) {
      auto [at, added] = running.try_emplace(record.instance.function, clock.now() - record.beganAt);
      if (!added) at->second = std::min(at->second, clock.now() - record.beganAt);
    }
    if (record.unheard) held = std::max(held, slotsOf(*record.function));
    switch (record.instance.state) {
      case InstanceState::starting:
        ++view.starting;
        break;
      case InstanceState::ready:
        view.running += held;
        view.ready.push_back(readyView(record, held, view));
        break;
      default:
        view.leaving += held > 0;
    }
  }
  for (const auto& [id, time] : running) views.at(id).runningFor = time;
  return views;
}

std::vector<plan::Claim> Fleet::Impl::scaleAll() {
  for (const auto& demand : calls.demand()) {
    auto& entry = served[demand.function];
    // Bound functions are not deployed by themselves: what the catalog has is in force.
    auto newest = functions.find(demand.function);
    if (!newest && !entry.function && !entry.withdrawn) {
      // Its app was stopped while the grid was down, or so shortly before that nobody was told.
      entry.withdrawn = true;
      entry.why = "the function is no longer deployed";
      work();
    }
    if (newest && !entry.deployed && newest != entry.function) supersede(demand.function, entry, std::move(newest));
  }
  std::vector<plan::Claim> claims;
  for (const auto& [id, view] : functionViews()) {
    const auto plan = plan::scale(view, clock.now());
    if (plan.again) sooner(again, *plan.again);
    for (const auto& instance : plan.drain) {
      auto* record = find(instance);
      if (record && calls.heldBy(instance) == 0) drain(*record, "idle");
    }
    auto& entry = served[id];
    if (plan.start == 0) entry.claimedAt = {};
    if (plan.start == 0) continue;
    if (entry.claimedAt == Time{}) entry.claimedAt = clock.now();
    const auto since = view.queued > 0 ? view.oldestQueued : clock.now();
    if (view.queued > 0 && view.starting == 0 && view.ready.empty()) noteArrival(id, since);
    claims.push_back(claimOf(*entry.function, plan.start, since));
    claims.back().ahead = plan.ahead > 0;
  }
  return claims;
}

}  // namespace gridiron
