#include <csignal>
#include <tuple>
#include <utility>

#include "fleet/ground.h"

namespace gridiron {
namespace {

constexpr Nanos kEarly = std::chrono::seconds(10);  // so soon after it was ready, an end counts as a failed start

std::string describe(const ExitInfo& exit, const Instance& instance) {
  if (!exit.error.empty()) return "Container could not be started: " + exit.error;
  const char* when = instance.readyAt == Time{} ? " before it was ready" : "";
  if (exit.outOfMemory) {
    const Resources& had = instance.resources;
    return fmt::format("Container ran out of memory{} (it was given {} MiB)", when,
                       had.memoryLimitMb > 0 ? had.memoryLimitMb : had.memoryMb);
  }
  if (exit.signal != 0) return fmt::format("Container was killed by signal {}{}", exit.signal, when);
  return fmt::format("Container exited with code {}{}", exit.code, when);
}

// How many more starts may fail so. What the machine could not start it will not start the next time; a container that
// was killed from outside says nothing of the next one.
int toleratedAfter(const ExitInfo& exit) {
  if (exit.signal == SIGKILL && !exit.outOfMemory) return 4;
  return exit.error.empty() ? 1 : 0;
}

}  // namespace

// --- workers ---

void Fleet::workerJoined(const Worker& worker, WorkerPort& port, const std::vector<InstanceId>& running) {
  auto& entry = impl_->workers[worker.id];
  entry.worker = worker;
  entry.port = &port;
  entry.worker.connectedAt = impl_->clock.now();
  const std::set<InstanceId> alive(running.begin(), running.end());
  std::vector<InstanceId> missing;
  for (auto& [id, record] : impl_->records) {
    if (record.instance.worker != worker.id) continue;
    record.awaited = record.awaited && !alive.contains(id);
    if (!alive.contains(id)) {
      missing.push_back(id);
    } else if (record.killAt != Time{}) {
      port.stop(id, std::max(record.killAt - impl_->clock.now(), Nanos{0}));  // the command may have been lost
    }
  }
  for (const auto& id : running) {
    const auto* record = impl_->find(id);
    if (!record || record->instance.worker != worker.id) port.stop(id, Nanos{0});
  }
  for (const auto& id : missing) impl_->bury(id, "its worker does not run it any more", Blame::grid);
  std::set<std::tuple<ImageId, std::string, bool>> told;
  for (const auto& [id, served] : impl_->served) {
    if (!served.deployed || !served.function || served.function->isBuilder) continue;
    const Function& function = *served.function;
    if (told.emplace(function.image, function.clientVersion, function.needsFastapi).second)
      impl_->prepareOn(&port, function);
  }
  impl_->work();
}

void Fleet::workerLost(const WorkerId& worker) {
  const auto it = impl_->workers.find(worker);
  if (it == impl_->workers.end() || !it->second.port) return;
  it->second.port = nullptr;
  it->second.lostAt = impl_->clock.now();
  impl_->work();
}

void Fleet::workerKeeps(const WorkerId& worker, std::vector<ZygoteView> zygotes, std::int64_t limitBytes) {
  const auto it = impl_->workers.find(worker);
  if (it == impl_->workers.end()) return;
  it->second.worker.zygotes = std::move(zygotes);
  it->second.worker.zygoteLimitBytes = limitBytes;
}

void Fleet::sandboxRunning(const InstanceId& id, std::vector<StartPhase> phases) {
  auto* record = impl_->find(id);
  if (!record) return;
  record->instance.sandboxAt = impl_->clock.now();
  record->workerPhases = std::move(phases);
  impl_->changed(record->instance);
}

void Fleet::startDetail(const InstanceId& id, std::vector<StartPhase> detail) {
  auto* record = impl_->find(id);
  if (!record || !record->detail.empty()) return;
  record->detail = std::move(detail);
  if (record->instance.readyAt == Time{} || record->earlier) return;
  record->instance.phases = impl_->phasesOf(*record);
  impl_->changed(record->instance);
}

void Fleet::exited(const InstanceId& id, const ExitInfo& exit) {
  auto* record = impl_->find(id);
  if (!record) return;
  auto& instance = record->instance;
  instance.exitCode = exit.signal != 0 ? 128 + exit.signal : exit.code;
  const bool ranNothing =
      !record->everRan && (instance.readyAt == Time{} || impl_->clock.now() < instance.readyAt + kEarly);
  const auto text = describe(exit, instance);
  if (exit.outOfMemory) impl_->notice(instance, text);
  if (!record->byUs && ranNothing) impl_->countFailure(*record, initFailure(text), toleratedAfter(exit));
  const bool quiet = (record->byUs && exit.error.empty()) || record->failed;
  const auto blame = record->byUs ? Blame::grid : Blame::container;
  const auto why = quiet && !instance.why.empty() ? instance.why : text;
  impl_->bury(id, why, blame);
}

// --- containers ---

void Fleet::containerHello(const InstanceId& id) {
  auto* record = impl_->find(id);
  if (!record || record->instance.helloAt != Time{}) return;
  record->instance.helloAt = impl_->clock.now();
  impl_->changed(record->instance);
}

void Fleet::askedForInputs(const InstanceId& id) {
  auto* record = impl_->find(id);
  if (!record) return;
  if (std::exchange(record->unheard, false) && record->instance.state == InstanceState::ready) {
    record->idleSince = impl_->clock.now();
    record->stopAt = {};
    impl_->work();
  }
  if (record->instance.state != InstanceState::starting) return;
  auto& instance = record->instance;
  const auto now = impl_->clock.now();
  instance.readyAt = record->idleSince = now;
  instance.phases = impl_->phasesOf(*record);
  if (impl_->predicts(*record->function)) {
    impl_->foresight[instance.function].starts.note(instance.readyAt - instance.orderedAt);
  }
  if (!record->once) record->stopAt = {};
  impl_->become(*record, InstanceState::ready);
  impl_->meter.container(instance);
  // The one that older ones were kept for.
  const auto function = instance.function;
  std::vector<InstanceId> old;
  for (const auto& [other, r] : impl_->records) {
    if (r.superseded && r.instance.function == function) old.push_back(other);
  }
  for (const auto& other : old) {
    if (auto* superseded = impl_->find(other)) impl_->drain(*superseded, "replaced by a newer deployment");
  }
  impl_->work();
}

void Fleet::startupFailed(const InstanceId& id, const Outcome& outcome) {
  auto* record = impl_->find(id);
  if (!record || outcome.status == OutcomeStatus::success || outcome.status == OutcomeStatus::unspecified) return;
  if (record->instance.state == InstanceState::ready) {
    impl_->notice(record->instance, "while it ended: " + outcome.exception);
    return;
  }
  record->instance.why = outcome.exception;
  impl_->countFailure(*record, outcome, 0);
  if (record->once) return impl_->stopNow(*record, Nanos{0}, outcome.exception);  // an end in good order is a success
  // It ends by itself, in good order.
  if (record->instance.state == InstanceState::starting) impl_->become(*record, InstanceState::draining);
  record->byUs = false;
  record->stopAt = {};
  record->killAt = impl_->clock.now() + impl_->options.defaultGrace;
  impl_->work();
}

bool Fleet::killSwitch(const InstanceId& id) const {
  const auto* record = impl_->find(id);
  if (record && record->once && record->failed) return false;  // it is being killed
  if (!record || record->instance.state == InstanceState::draining) return true;
  return record->once && record->everRan && impl_->calls.heldBy(id) == 0;
}

// --- what calls tell ---

void Fleet::inputsQueued(const FunctionId&) { impl_->work(); }

void Fleet::inputStarted(const Input& input) {
  auto* record = impl_->find(input.instance);
  if (!record) return;
  record->everRan = true;
  record->beganAt = impl_->clock.now();
  impl_->usedAhead(*record, input.createdAt);
  impl_->served[input.function].failures = 0;
  if (record->function->singleUse && record->instance.state == InstanceState::ready) {
    record->byUs = true;
    record->instance.why = "its one input was run";
    impl_->become(*record, InstanceState::draining);
  }
  impl_->work();
}

void Fleet::inputEnded(const Input& input, const Outcome& outcome, bool) {
  impl_->work();
  if (input.startedAt == Time{}) return;
  impl_->noteRunTime(input.function, impl_->clock.now() - input.startedAt);
  auto* record = impl_->find(input.instance);
  if (record) record->idleSince = impl_->clock.now();
  if (record && record->once && outcome.status != OutcomeStatus::success) {
    record->failed = true;
    impl_->stopNow(*record, Nanos{0}, outcome.exception);  // it must not end as if all were well
  }
  UsageRecord usage;
  usage.id = input.attempt == 0 ? input.id.value : fmt::format("{}/{}", input.id.value, input.attempt);
  usage.kind = UsageKind::input;
  usage.function = input.function;
  usage.instance = input.instance;
  usage.queuedAt = input.createdAt;
  usage.startedAt = input.startedAt;
  usage.endedAt = impl_->clock.now();
  usage.outcome = nameOf(outcome.status);
  usage.call = input.call;
  usage.method = input.method;
  if (record) {
    usage.app = record->instance.app;
    usage.resources = record->instance.resources;
  } else if (const auto old = impl_->gone.find(input.instance); old != impl_->gone.end()) {
    usage.app = old->second.app;
    usage.resources = old->second.resources;
  }
  impl_->meter.input(std::move(usage));
}

void Fleet::interruptWanted(const InstanceId& id, const std::string& why) {
  auto* record = impl_->find(id);
  if (!record || record->killAt != Time{}) return;  // it was told to go already
  record->byUs = true;
  record->instance.why = why;
  impl_->notice(record->instance, why);
  if (auto* port = impl_->portOf(*record)) port->signal(id, SIGINT);
  if (record->instance.state != InstanceState::draining) impl_->become(*record, InstanceState::draining);
  record->stopAt = {};
  record->killAt = impl_->clock.now() + impl_->options.defaultGrace;
  impl_->work();
}

}  // namespace gridiron
