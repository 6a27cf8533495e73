#include <algorithm>

#include "fleet/ground.h"

namespace gridiron {
namespace {

constexpr Nanos kFlushEvery = std::chrono::seconds(2);
constexpr Nanos kGiveUp = std::chrono::seconds(15);

Outcome startFailure(std::string text) {
  Outcome outcome;
  outcome.status = OutcomeStatus::initFailure;
  outcome.exception = std::move(text);
  return outcome;
}

bool isDue(Time at, Time now) { return at != Time{} && at <= now; }

void sooner(std::optional<Time>& at, Time other) {
  if (other != Time{} && (!at || other < *at)) at = other;
}

}  // namespace

void Fleet::step() {
  auto& s = *impl_;
  s.again.reset();
  s.expire();
  s.failWithdrawn();
  s.scaleAll();
  s.placeAll();
  if (s.clock.now() < s.flushedAt + kFlushEvery) return;
  s.flushedAt = s.clock.now();
  s.write();
  (void)s.meter.flush();  // kept for the next time when it fails
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
  if (impl_->meter.isPending() || !impl_->dirty.empty()) sooner(next, impl_->flushedAt + kFlushEvery);
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
        countFailure(*record, startFailure(instance.why), 0);
      }
      stopNow(*record, options.defaultGrace, instance.why);
    } else if (instance.state == InstanceState::draining && record->stopAt == Time{} && record->killAt == Time{} &&
               record->giveUpAt == Time{} && calls.heldBy(id) == 0) {
      // It should see the kill switch now; if it does not, it is told otherwise.
      record->stopAt = now + options.defaultGrace;
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

plan::FunctionView Fleet::Impl::viewOf(const FunctionId& id, const Served& entry) const {
  const auto demand = calls.demandOf(id);
  plan::FunctionView view;
  view.function = id;
  view.scaling = entry.function->scaling;
  if (!entry.deployed) view.scaling.minContainers = 0;
  view.slots = targetSlotsOf(*entry.function);
  view.queued = demand.queued;
  view.oldestQueued = demand.oldestQueued;
  view.failures = entry.failures;
  view.lastFailure = entry.lastFailure;
  for (const auto& [instanceId, record] : records) {
    if (record.instance.function != id || record.once || record.superseded) continue;
    const int held = calls.heldBy(instanceId);
    switch (record.instance.state) {
      case InstanceState::starting:
        ++view.starting;
        break;
      case InstanceState::ready:
        view.running += held;
        view.ready.push_back({instanceId, held, record.idleSince});
        break;
      default:
        view.leaving += held > 0;
    }
  }
  return view;
}

void Fleet::Impl::scaleAll() {
  for (const auto& demand : calls.demand()) {
    auto& entry = served[demand.function];
    // Bound functions are not deployed by themselves: what the catalog has is in force.
    auto newest = functions.find(demand.function);
    if (newest && !entry.deployed && newest != entry.function) supersede(demand.function, entry, std::move(newest));
  }
  for (auto& [id, entry] : served) {
    if (entry.withdrawn || !entry.function || entry.function->isBuilder) continue;
    const auto plan = plan::scale(viewOf(id, entry), clock.now());
    if (plan.again) sooner(again, *plan.again);
    for (const auto& instance : plan.drain) {
      auto* record = find(instance);
      if (record && calls.heldBy(instance) == 0) drain(*record, "idle");
    }
    const auto demand = calls.demandOf(id);
    for (int i = 0; i < plan.start; ++i) {
      Record record;
      record.instance.id = newInstanceId();
      record.instance.function = id;
      record.instance.app = entry.function->app;
      record.instance.definition = entry.function->definitionId;
      record.instance.resources = withDefaults(entry.function->resources);
      record.instance.wantedAt = demand.queued > 0 ? demand.oldestQueued : clock.now();
      record.function = entry.function;
      records.emplace(record.instance.id, std::move(record));
    }
  }
}

std::vector<plan::WorkerView> Fleet::Impl::workerViews() const {
  std::vector<plan::WorkerView> views;
  for (const auto& [id, entry] : workers) {
    if (!entry.port) continue;
    const auto& w = entry.worker;
    plan::WorkerView view{id, w.milliCpu, w.milliCpu, w.memoryMb, w.memoryMb, w.gpus, w.gpus};
    for (const auto& [instance, record] : records) {
      if (record.instance.worker != id) continue;
      view.freeMilliCpu -= record.reserved.milliCpu;
      view.freeMemoryMb -= record.reserved.memoryMb;
      for (int i = 0; i < record.reserved.gpuCount; ++i) {
        const auto gpu = std::find_if(view.freeGpus.begin(), view.freeGpus.end(), [&](const std::string& has) {
          return plan::gpuFits(record.reserved.gpuType, has);
        });
        if (gpu != view.freeGpus.end()) view.freeGpus.erase(gpu);
      }
    }
    views.push_back(std::move(view));
  }
  return views;
}

// Containers without a worker get one, the longest wanted first; those that cannot wait for room or another worker.
void Fleet::Impl::placeAll() {
  std::vector<Record*> waiting;
  for (auto& [id, record] : records) {
    if (record.instance.worker.empty()) waiting.push_back(&record);
  }
  if (waiting.empty()) return;
  std::stable_sort(waiting.begin(), waiting.end(),
                   [](const Record* a, const Record* b) { return a->instance.wantedAt < b->instance.wantedAt; });
  std::vector<Resources> wants;
  for (const auto* record : waiting) wants.push_back(record->instance.resources);
  const auto views = workerViews();
  const auto placements = plan::place(wants, views);
  bool madeRoom = false;
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const auto id = waiting[i]->instance.id;
    if (placements[i]) {
      if (!order(*waiting[i], *placements[i])) bury(id, waiting[i]->instance.why, Blame::grid);
    } else if (const auto why = plan::impossible(wants[i], views)) {
      countFailure(*waiting[i], startFailure(*why), 0);
      bury(id, *why, Blame::grid);
    } else if (waiting[i]->once) {
      continue;  // waits for its turn
    } else {
      if (!madeRoom) makeRoomFor(*waiting[i]);
      madeRoom = true;
      // Planned again when there is room: by then it may not be wanted any more.
      records.erase(id);
    }
  }
}

// Will there be room when those have gone that are about to?
bool Fleet::Impl::fitsSoon(const Record& wanting) const {
  auto views = workerViews();
  for (auto& view : views) {
    for (const auto& [id, record] : records) {
      const auto& instance = record.instance;
      if (instance.worker != view.id || instance.state != InstanceState::draining || calls.heldBy(id) > 0) continue;
      view.freeMilliCpu += record.reserved.milliCpu;
      view.freeMemoryMb += record.reserved.memoryMb;
      view.freeGpus.insert(view.freeGpus.end(), static_cast<std::size_t>(record.reserved.gpuCount),
                           record.reserved.gpuType);
    }
  }
  return plan::place({&wanting.instance.resources, 1}, std::move(views)).front().has_value();
}

void Fleet::Impl::makeRoomFor(const Record& wanting) {
  if (calls.demandOf(wanting.instance.function).queued == 0) return;  // a minimum does not push out others
  if (fitsSoon(wanting)) return;
  std::vector<plan::Evictable> idle;
  std::map<FunctionId, int> spare;
  for (const auto& [id, record] : records) {
    if (record.instance.state != InstanceState::ready) continue;
    auto [count, isNew] = spare.try_emplace(record.instance.function, 0);
    const auto& entry = served[record.instance.function];
    if (isNew && entry.function && entry.deployed) count->second -= entry.function->scaling.minContainers;
    ++count->second;
  }
  for (const auto& [id, record] : records) {
    const auto& function = record.instance.function;
    if (record.instance.state != InstanceState::ready || function == wanting.instance.function) continue;
    if (calls.heldBy(id) > 0 || calls.demandOf(function).queued > 0 || spare[function]-- <= 0) continue;
    idle.push_back({id, record.instance.worker, record.reserved, record.idleSince});
  }
  for (const auto& id : plan::evict(wanting.instance.resources, workerViews(), std::move(idle))) {
    if (auto* record = find(id)) drain(*record, "made room for another function");
  }
}

// False: it could not be ordered, what waited has been told.
bool Fleet::Impl::order(Record& record, const plan::Placement& placement) {
  auto& instance = record.instance;
  auto order = orders.compose(instance, *record.function);
  if (!order.ok()) {
    instance.why = order.error().message;
    countFailure(record, startFailure(order.error().message), 0);
    return false;
  }
  const auto worker = workers.find(placement.worker);
  GRID_CHECK(worker != workers.end() && worker->second.port);
  instance.worker = placement.worker;
  instance.orderedAt = clock.now();
  record.reserved = placement.reserved;
  record.stopAt = clock.now() + (record.once ? record.function->timeout : Nanos{}) + record.function->startupTimeout;
  order->instance = instance.id;
  order->function = instance.function;
  order->resources = placement.reserved;
  worker->second.port->start(*order);
  changed(instance);
  return true;
}

}  // namespace gridiron
