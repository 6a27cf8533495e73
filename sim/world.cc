#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

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
    machines.back()->boot();
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
    for (const auto& client : clients) checkCall(*client);
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
  for (auto& machine : machines) machine->loseSession(!machine->isCut());
  engine.in(engine.random.between(100ms, 5s), [this] {
    if (!control) startControl();
  });
}

const Workload& World::anyWorkload() {
  return workloads[static_cast<std::size_t>(engine.random.below(static_cast<int>(workloads.size())))];
}

void World::redeploy() {
  const auto& w = anyWorkload();
  Function f = w.function;
  f.definitionId = DefinitionId{"de-" + std::to_string(++definitions[w.function.id])};
  if (options.bug == Bug::retryWithoutLimit && f.retries.count > 0) f.retries.count = 1'000'000;
  table.put(f);
  withdrawn.erase(f.id);
  note("{} is deployed anew", f.id.value);
  if (!control) return;
  control->fleet().deploy(f.id);
  control->look();
}

// Its app is stopped, or deployed without it.
void World::withdraw() {
  if (!control) return;
  const auto& f = anyWorkload().function;
  const bool stopped = engine.random.percent(50);
  note("{} is {}", f.id.value, stopped ? "stopped with its app" : "withdrawn");
  table.erase(f.id);
  withdrawn.insert(f.id);
  if (stopped) {
    control->fleet().stopApp(f.app, "its app was stopped");
  } else {
    control->fleet().withdraw(f.id, "no longer deployed");
  }
  control->look();
}

void World::rpc(Machine& machine, const BoxPtr& box, Nanos patience, Serve serve, std::function<void()> failed) {
  send([&machine, box] { return machine.reaches(*box); }, patience, false, std::move(serve), std::move(failed));
}

void World::rpc(Nanos patience, Serve serve, std::function<void()> failed) {
  send([] { return true; }, patience, true, std::move(serve), std::move(failed));
}

void World::send(std::function<bool()> reaches, Nanos patience, bool awaitsDisk, Serve serve,
                 std::function<void()> failed) {
  const auto over = std::make_shared<bool>(false);
  const auto giveUp = [over, failed = std::move(failed)] {
    if (*over) return;
    *over = true;
    failed();
  };
  engine.in(patience, giveUp);
  const auto deliver = [this, over, giveUp, awaitsDisk, serve = std::move(serve), reaches] {
    if (!reaches()) return;  // who asked gives up in the end
    if (!control) return engine.in(1ms, giveUp);
    const auto respond = [this, over, awaitsDisk, reaches](Control::Answer answer) {
      const auto deliverAnswer = [this, over, reaches, answer = std::move(answer)] {
        if (!reaches() || lossy(4)) return;
        engine.in(delay(), [over, answer] {
          if (*over) return;
          *over = true;
          answer();
        });
      };
      awaitsDisk ? whenDurable(deliverAnswer) : deliverAnswer();
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

// Never when control ends before.
void World::whenDurable(std::function<void()> then) {
  if (options.bug == Bug::ackBeforeCommit || disk.durable() >= disk.written()) return then();
  const auto mark = disk.written();
  const auto synced = std::max<Nanos>(engine.random.between(1ms, lossy(10) ? 900ms : 20ms), 1ms);
  engine.in(synced, [this, mark, then = std::move(then), at = epoch] {
    if (epoch != at) return;
    disk.sync(mark);
    then();
  });
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
  switch (random.below(11)) {
    case 0:
    case 1:
      if (control) killControl();
      return;
    case 2:
      if (!machine.up()) return;
      // A worker's process is started again by whoever watches over it.
      if (random.percent(50)) return machine.crash(false, true);
      return machine.crash(true, machines.size() == 1 || random.percent(60));
    case 3:
      return machine.cut(!machine.isCut());
    case 4: {
      const bool told = random.percent(60);
      note("{}: its session breaks{}", machine.id().value, told ? "" : ", and nobody is told");
      return machine.loseSession(told);
    }
    case 5:
      disk.setMood(random.percent(50) ? Disk::Mood::full : Disk::Mood::failing);
      return note("the disk {}", disk.mood() == Disk::Mood::full ? "is full" : "fails");
    case 6:
      return disk.setMood(Disk::Mood::well);
    case 7:
      if (random.percent(30)) return machine.fillDisk();
      return redeploy();
    case 8:
      if (random.percent(50)) withdraw();
      return;
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
  for (const auto& w : workloads) {
    if (!withdrawn.contains(w.function.id)) kept += static_cast<std::size_t>(w.function.scaling.minContainers);
  }
  std::set<InstanceId> known, present;
  for (const auto& instance : control->fleet().instances()) {
    if (instance.state != InstanceState::ready) return false;
    known.insert(instance.id);
  }
  for (const auto& machine : machines) {
    for (const auto& [id, box] : machine->boxes()) present.insert(id);
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
    for (const auto& [id, box] : machine->boxes()) {
      note("left: {} runs on {}, {} inputs, {}{}{}", id.value, machine->id().value, box->runs.size(),
           box->asking ? "asks" : "does not ask", box->leaving ? ", leaves" : "", box->started ? "" : ", starts");
    }
  }
}

// Peace: no more faults, and one machine at least. Everything ends within half an hour.
void World::recover() {
  note("no more faults from here on");
  troubled = false;
  peaceAt = engine.now();
  disk.setMood(Disk::Mood::well);
  bool any = false;
  for (auto& machine : machines) {
    if (machine->isCut()) machine->cut(false);
    machine->freeDisk();
    any = any || machine->comesBack();
  }
  for (auto& w : workloads) w.startFails = w.crashes = w.breaks = w.outOfMemory = w.hangs = 0;
  if (!any) {
    machines.push_back(std::make_unique<Machine>(*this, static_cast<int>(machines.size())));
    machines.back()->boot();
  }
  const auto until = engine.now() + 30min;
  while (!failure && engine.now() < until && (engine.steps % 8 != 0 || !quiet())) step();
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
  if (name == "ask-without-ticket") return Bug::askWithoutTicket;
  if (name == "web-retried-after-bytes") return Bug::webRetriedAfterBytes;
  if (name == "stream-chunk-doubled") return Bug::streamChunkDoubled;
  if (name == "containers-forgotten") return Bug::containersForgotten;
  return std::nullopt;
}

}  // namespace gridiron::sim
