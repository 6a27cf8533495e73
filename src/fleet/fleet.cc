#include "fleet/fleet.h"

#include <algorithm>

#include "fleet/ground.h"

namespace gridiron {
namespace {

constexpr const char* kRestarted = "control was restarted";

}  // namespace

Fleet::Fleet(Store& store, Calls& calls, const Functions& functions, StartOrders& orders, Meter& meter,
             const Clock& clock)
    : Fleet(store, calls, functions, orders, meter, clock, Options()) {}

Fleet::Fleet(Store& store, Calls& calls, const Functions& functions, StartOrders& orders, Meter& meter,
             const Clock& clock, Options options)
    : impl_(new Impl{store, calls, functions, orders, meter, clock, options, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}) {
  calls.observe(*this);
}

Fleet::~Fleet() = default;

void Fleet::observe(FleetObserver& observer) { impl_->observers.push_back(&observer); }
void Fleet::onWork(std::function<void()> wake) { impl_->wake = std::move(wake); }

Result<void> Fleet::load() {
  ASSIGN_OR_RETURN(auto left, impl_->store.instances({}, true, 0));
  impl_->recallArrivals();
  Batch batch;
  std::set<InstanceId> alive;
  for (auto& instance : left) {
    if (impl_->expectBack(instance)) {
      alive.insert(instance.id);
      continue;
    }
    // Nobody saw how long it ran after that.
    instance.goneAt = instance.readyAt != Time{} ? instance.readyAt : instance.orderedAt;
    instance.state = InstanceState::gone;
    instance.why = kRestarted;
    impl_->meter.container(instance);
    batch.put(instance);
  }
  for (const auto& holder : impl_->calls.holders()) {
    if (!alive.contains(holder)) impl_->calls.abandon(holder, kRestarted, Blame::restart);
  }
  // The meter writes by itself: it may have been told of containers that have no row yet.
  RETURN_IF_ERROR(impl_->meter.closeOpen(alive));
  return impl_->store.apply(batch);
}

// Its worker may come back with it; if it does not in time, expire() finds its worker lost.
bool Fleet::Impl::expectBack(const Instance& instance) {
  auto function = functions.find(instance.function);
  if (!function || function->isBuilder || instance.worker.empty()) return false;
  const auto now = clock.now();
  Record record;
  record.instance = instance;
  record.reserved = withDefaults(instance.resources);
  record.everRan = true;  // it may have
  record.idleSince = now;
  record.earlier = record.awaited = record.unheard = true;
  if (instance.state == InstanceState::starting) {
    record.stopAt = now + function->startupTimeout;
  } else if (instance.state == InstanceState::ready) {
    // Longer than that it cannot be busy with something that it was given before.
    record.stopAt = now + function->timeout + options.defaultGrace;
  }
  auto& entry = served[instance.function];
  if (!entry.function) entry.function = function;
  record.function = std::move(function);
  records.emplace(instance.id, std::move(record));
  auto& worker = workers[instance.worker];
  worker.worker.id = instance.worker;
  worker.lostAt = now;
  return true;
}

void Fleet::deploy(const FunctionId& id) {
  auto function = impl_->functions.find(id);
  if (!function) return;
  auto& entry = impl_->served[id];
  entry.failures = 0;  // somebody may have mended what was wrong
  entry.deployed = true;
  entry.withdrawn = false;
  impl_->prepareOn(nullptr, *function);
  impl_->onWorkers([&](WorkerPort& port) { port.forgetOlder(id, function->definitionId); });
  impl_->supersede(id, entry, std::move(function));
  impl_->work();
}

void Fleet::Impl::prepareOn(WorkerPort* port, const Function& function) {
  if (function.isBuilder || function.image.empty() || function.clientVersion.empty()) return;
  if (port != nullptr) return port->prepare(function);
  onWorkers([&](WorkerPort& each) { each.prepare(function); });
}

void Fleet::Impl::onWorkers(const std::function<void(WorkerPort&)>& act) {
  for (auto& [id, entry] : workers) {
    if (entry.port) act(*entry.port);
  }
}

void Fleet::withdraw(const FunctionId& id, const std::string& why) {
  auto& entry = impl_->served[id];
  if (!entry.withdrawn) impl_->retire(id);
  entry.deployed = false;
  entry.withdrawn = true;
  entry.why = why;
  std::vector<InstanceId> all;
  for (const auto& [instance, record] : impl_->records) {
    if (record.instance.function == id) all.push_back(instance);
  }
  for (const auto& instance : all) {
    if (auto* record = impl_->find(instance)) impl_->drain(*record, why);
  }
  impl_->onWorkers([&](WorkerPort& port) { port.forgetOlder(id, {}); });
  impl_->failWithdrawn();
  impl_->work();
}

void Fleet::stopApp(const AppId& app, const std::string& why) {
  std::set<FunctionId> functions;
  std::vector<InstanceId> instances;
  for (const auto& [id, entry] : impl_->served) {
    if (entry.function && entry.function->app == app) functions.insert(id);
  }
  for (const auto& [id, record] : impl_->records) {
    if (record.instance.app != app || record.once) continue;
    functions.insert(record.instance.function);
    instances.push_back(id);
  }
  for (const auto& id : functions) withdraw(id, why);
  impl_->onWorkers([&](WorkerPort& port) { port.forgetApp(app); });
  for (const auto& id : instances) {
    if (auto* record = impl_->find(id)) impl_->stopNow(*record, impl_->options.defaultGrace, why);
  }
}

Result<InstanceId> Fleet::runOnce(const Function& function) {
  Impl::Record record;
  record.once = true;
  record.function = std::make_shared<const Function>(function);
  record.instance.id = newInstanceId();
  record.instance.function = function.id;
  record.instance.app = function.app;
  record.instance.definition = function.definitionId;
  record.instance.resources = impl_->withDefaults(function.resources);
  record.instance.wantedAt = impl_->clock.now();
  const auto id = record.instance.id;
  impl_->records.emplace(id, std::move(record));
  impl_->work();
  return id;
}

Result<void> Fleet::stop(const InstanceId& id, bool graceful, const std::string& why) {
  auto* record = impl_->find(id);
  if (!record) {
    if (impl_->gone.contains(id)) return {};
    return makeError(Code::notFound, "container '{}' not found", id.value);
  }
  if (graceful) {
    impl_->drain(*record, why);
  } else {
    impl_->stopNow(*record, impl_->options.defaultGrace, why);
  }
  impl_->work();
  return {};
}

std::optional<Instance> Fleet::find(const InstanceId& id) const {
  if (const auto* record = impl_->find(id)) return record->instance;
  const auto it = impl_->gone.find(id);
  return it == impl_->gone.end() ? std::nullopt : std::optional<Instance>(it->second);
}

bool Fleet::lives(const InstanceId& id) const { return impl_->records.contains(id); }

std::vector<Instance> Fleet::instances() const {
  std::vector<Instance> list;
  for (const auto& [id, record] : impl_->records) {
    if (!record.instance.worker.empty()) list.push_back(record.instance);
  }
  return list;
}

std::vector<Instance> Fleet::startsOf(const FunctionId& function) const {
  std::vector<Instance> list;
  const auto add = [&](const Instance& instance) {
    if (instance.function == function && instance.readyAt != Time{}) list.push_back(instance);
  };
  for (const auto& [id, record] : impl_->records) add(record.instance);
  for (const auto& [id, instance] : impl_->gone) add(instance);
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.readyAt < b.readyAt; });
  return list;
}

std::vector<Worker> Fleet::workers() const {
  std::vector<Worker> list;
  for (const auto& [id, entry] : impl_->workers) {
    if (entry.port) list.push_back(entry.worker);
  }
  return list;
}

FunctionStats Fleet::stats(const FunctionId& function) const {
  const auto demand = impl_->calls.demandOf(function);
  FunctionStats stats{demand.queued, demand.running, 0, 0};
  for (const auto& [id, record] : impl_->records) {
    if (record.instance.function != function) continue;
    stats.containers += record.instance.state == InstanceState::ready;
    stats.starting += record.instance.state == InstanceState::starting;
  }
  return stats;
}

}  // namespace gridiron
