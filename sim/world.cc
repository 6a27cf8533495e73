#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

namespace {

Workload workload(const std::string& name, int memoryMb) {
  Workload w;
  w.name = name;
  w.function.id = FunctionId{"fu-" + name};
  w.function.app = AppId{"ap-1"};
  w.function.tag = name;
  w.function.definitionId = DefinitionId{"de-0"};
  w.function.resources.memoryMb = memoryMb;
  w.function.timeout = 2h;  // no time-out may hide a lost input
  w.function.startupTimeout = 30s;
  w.function.scaling.scaledownWindow = 5s;
  return w;
}

// All there are; a schedule takes some of them.
std::vector<Workload> allWorkloads() {
  std::vector<Workload> all;
  all.push_back(workload("plain", 200));
  all.push_back(workload("retried", 200));
  all.back().function.retries = RetryPolicy{2, 2.0, 500ms, 5s};
  all.back().raises = 30;
  all.back().poison = 15;
  all.push_back(workload("concurrent", 400));
  all.back().function.maxConcurrentInputs = 3;
  all.back().function.timeout = 40s;  // who asks while it runs others cannot say that an answer was lost
  all.back().function.retries = RetryPolicy{1, 1.0, 200ms, 5s};
  all.back().raises = 20;
  all.push_back(workload("batched", 300));
  all.back().function.batching = Batching{3, 700ms};
  all.push_back(workload("crashing", 300));
  all.back().crashes = 15;
  all.back().outOfMemory = 5;
  all.back().startFails = 5;
  all.back().function.retries = RetryPolicy{3, 1.0, 1s, 5s};
  all.push_back(workload("deaf", 500));
  all.back().ignoresSignals = true;
  all.back().hangs = 25;
  all.back().function.timeout = 6s;
  all.push_back(workload("broken", 100));
  all.back().importFails = 60;
  all.push_back(workload("kept", 100));
  all.back().function.scaling.minContainers = 1;
  all.push_back(workload("once", 250));
  all.back().function.singleUse = true;
  all.back().function.scaling.maxContainers = 2;
  return all;
}

}  // namespace

World::World(std::uint64_t seed, const Options& options, bool tracing)
    : seed(seed), options(options), engine(seed, tracing) {
  seedIds(seed);
  disk.onWrong([this](std::string what) { fail(std::move(what)); });
  auto all = allWorkloads();
  const int functions = 1 + engine.random.below(3);
  for (int i = 0; i < functions; ++i) {
    const auto at = all.begin() + engine.random.below(static_cast<int>(all.size()));
    workloads.push_back(*at);
    all.erase(at);
  }
  for (auto& w : workloads) {
    Function asCalled = w.function;
    if (options.bug == Bug::retryWithoutLimit && asCalled.retries.count > 0) asCalled.retries.count = 1'000'000;
    table.put(asCalled);
  }
  startControl();
  const int count = 1 + engine.random.below(3);
  for (int i = 0; i < count; ++i) {
    machines.push_back(std::make_unique<Machine>(*this, i));
    machines.back()->dial();
  }
}

World::~World() = default;

void World::fail(std::string what) {
  if (failure) return;
  failure = Failure{std::move(what), engine.steps, {}};
}

Nanos World::delay() {
  if (lossy(3)) return engine.random.between(1ms, 4s);
  return engine.random.between(100us, 3ms);
}

void World::startControl() {
  control = std::make_unique<Control>(*this);
  if (control->start()) {
    note("control {} is up", epoch);
    return;
  }
  note("control {} cannot start", epoch);
  killControl();
}

void World::killControl() {
  note("control {} is killed; {} of {} changes are durable", epoch, disk.durable(), disk.written());
  control.reset();
  ++epoch;
  disk.crash();
  for (auto& machine : machines) machine->breakSession(true);
  engine.in(engine.random.between(100ms, 5s), [this] {
    if (!control) startControl();
  });
}

void World::redeploy() {
  const auto& w = workloads[static_cast<std::size_t>(engine.random.below(static_cast<int>(workloads.size())))];
  Function f = *table.find(w.function.id);
  f.definitionId = DefinitionId{"de-" + std::to_string(++definitions[f.id])};
  table.put(f);
  note("{} is deployed anew", f.id.value);
  if (!control) return;
  control->fleet().deploy(f.id);
  control->look();
}

void World::rpc(int machine, Nanos patience, bool awaitsDisk, std::function<void(Control&, Control::Respond)> serve,
                std::function<void()> failed) {
  const auto over = std::make_shared<bool>(false);
  const auto giveUp = [over, failed = std::move(failed)] {
    if (*over) return;
    *over = true;
    failed();
  };
  engine.in(patience, giveUp);
  const auto cut = [this, machine] { return machine >= 0 && machines[static_cast<std::size_t>(machine)]->cut; };
  const auto deliver = [this, over, giveUp, awaitsDisk, serve = std::move(serve), cut] {
    if (cut()) return;  // who asked gives up in the end
    if (!control) return engine.in(1ms, giveUp);
    const auto respond = [this, over, awaitsDisk, cut, at = epoch](Control::Answer answer) {
      const auto send = [this, over, cut, answer = std::move(answer)] {
        if (cut() || lossy(4)) return;
        engine.in(delay(), [over, answer] {
          if (*over) return;
          *over = true;
          answer();
        });
      };
      if (!awaitsDisk || options.bug == Bug::ackBeforeCommit || disk.durable() >= disk.written()) return send();
      const auto mark = disk.written();
      const auto synced = std::max<Nanos>(engine.random.between(1ms, lossy(10) ? 900ms : 20ms), 1ms);
      engine.in(synced, [this, mark, send, at] {
        if (epoch != at) return;
        disk.sync(mark);
        send();
      });
    };
    serve(*control, respond);
    if (control) control->look();
  };
  if (lossy(4)) {
    note("a request is lost");
    if (engine.random.percent(60)) return;
    // It was only late: who asked has asked again by then.
    engine.in(engine.random.between(1s, 20s), deliver);
    return;
  }
  engine.in(delay(), deliver);
}

void World::step() {
  engine.step();
  if (!failure) checkStep();
}

void World::happen(int steps) {
  call();
  for (int i = 0; i < steps && !failure; ++i) {
    if (engine.random.percent(6) && clients.size() < 6) call();
    if (engine.random.percent(7)) fault();
    if (!engine.idle()) step();
  }
}

void World::fault() {
  auto& random = engine.random;
  auto& machine = *machines[static_cast<std::size_t>(random.below(static_cast<int>(machines.size())))];
  switch (random.below(9)) {
    case 0:
    case 1:
      if (control) killControl();
      return;
    case 2:
      if (machine.up()) machine.die(machines.size() == 1 || random.percent(60));
      return;
    case 3:
      note("{}: is {} the network", machine.id().value, machine.cut ? "back in" : "cut from");
      machine.cut = !machine.cut;
      if (machine.cut) machine.breakSession(random.percent(30));
      return;
    case 4:
      note("{}: its session breaks", machine.id().value);
      return machine.breakSession(random.percent(50));
    case 5:
      disk.setMood(random.percent(50) ? Disk::Mood::full : Disk::Mood::failing);
      return note("the disk {}", disk.mood() == Disk::Mood::full ? "is full" : "fails");
    case 6:
      return disk.setMood(Disk::Mood::well);
    case 7:
      return redeploy();
    default:
      note("time passes");
      engine.in(random.between(1s, 25s), [] {});
      return;
  }
}

bool World::quiet() {
  if (!control) return false;
  for (const auto& client : clients) {
    if (!client->done) return false;
  }
  std::size_t kept = 0;
  for (const auto& w : workloads) kept += static_cast<std::size_t>(w.function.scaling.minContainers);
  std::set<InstanceId> known, present;
  for (const auto& instance : control->fleet().instances()) {
    if (instance.state != InstanceState::ready) return false;
    known.insert(instance.id);
  }
  for (const auto& machine : machines) {
    for (const auto& [id, box] : machine->boxes) present.insert(id);
  }
  if (known.size() != kept || known != present) return false;
  return !control->meter().isPending();
}

void World::noteLeft() {
  if (!control) return note("control is not there");
  for (const auto& instance : control->fleet().instances()) {
    note("left: {} of {} on {}, {}, holds {}: {}", instance.id.value, instance.function.value, instance.worker.value,
         nameOf(instance.state), control->calls().heldBy(instance.id), instance.why);
  }
  for (const auto& demand : control->calls().demand()) {
    note("left: {} has {} queued and {} running", demand.function.value, demand.queued, demand.running);
  }
  for (const auto& machine : machines) {
    for (const auto& [id, box] : machine->boxes) {
      note("left: {} runs on {}, {} inputs, {}{}{}", id.value, machine->id().value, box->runs.size(),
           box->asking ? "asks" : "does not ask", box->leaving ? ", leaves" : "", box->started ? "" : ", starts");
    }
  }
}

// Peace: no more faults, and one machine at least. Everything ends within half an hour.
void World::recover() {
  note("no more faults from here on");
  troubled = false;
  disk.setMood(Disk::Mood::well);
  bool any = false;
  for (auto& machine : machines) {
    machine->cut = false;
    any = any || machine->up();
  }
  for (auto& w : workloads) w.startFails = w.crashes = w.outOfMemory = w.hangs = 0;
  if (!any) {
    machines.push_back(std::make_unique<Machine>(*this, static_cast<int>(machines.size())));
    machines.back()->dial();
  }
  const auto until = engine.now() + 30min;
  while (!failure && engine.now() < until && !quiet()) step();
  if (failure || quiet()) return;
  noteLeft();
  for (const auto& client : clients) {
    if (!client->done) {
      return fail(fmt::format("client {} ({}) still waits after half an hour of peace: {} of {} outputs",
                              client->number, client->call.value, client->seen.size(), client->inputs));
    }
  }
  fail("everything has ended, and after half an hour containers stay that nobody needs");
}

std::optional<Failure> World::live() {
  happen(options.steps);
  if (!failure) recover();
  if (!failure) finalChecks();
  if (failure) {
    for (const auto& line : engine.trace()) failure->trace += line + "\n";
  }
  return failure;
}

std::optional<Failure> runSeed(std::uint64_t seed, const Options& options, bool tracing, std::uint64_t& steps) {
  World world(seed, options, tracing);
  auto failure = world.live();
  steps += static_cast<std::uint64_t>(world.engine.steps);
  return failure;
}

std::optional<Bug> bugNamed(const std::string& name) {
  if (name == "settle-without-fence") return Bug::settleWithoutFence;
  if (name == "ack-before-commit") return Bug::ackBeforeCommit;
  if (name == "lease-without-expiry") return Bug::leaseWithoutExpiry;
  if (name == "retry-without-limit") return Bug::retryWithoutLimit;
  return std::nullopt;
}

}  // namespace gridiron::sim
