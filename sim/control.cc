#include <algorithm>

#include "sim/world.h"
#include "wire/link.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

namespace {
constexpr Nanos kSilence = 10s;  // a worker that says nothing for so long is lost
constexpr Nanos kTide = 20s;

// In one schedule of four containers are started ahead: when requests have come regularly, and in half of those also
// each twenty seconds, whatever happens, until there is peace.
Fleet::Options optionsOf(const World& world) {
  Fleet::Options options;
  if (world.seed % 4 != 0) return options;
  options.predicts = [](const Function&) { return true; };
  options.scheduled = [&world](const FunctionId&) -> std::optional<Time> {
    if (world.seed % 8 != 0 || !world.troubled) return std::nullopt;
    return Time{(world.engine.now().time_since_epoch() / kTide + 1) * kTide};
  };
  return options;
}
}  // namespace

// The way down to a worker.
struct Control::Port final : WorkerPort {
  Port(Control& c, SessionPtr s) : control(c), session(std::move(s)) {}
  Control& control;
  const SessionPtr session;

  void start(const StartOrder& order) override {
    link::ToWorker command;
    *command.mutable_start() = wire::toLink(order);
    control.tell(session, std::move(command));
  }
  void stop(const InstanceId& id, Nanos grace) override {
    link::ToWorker command;
    command.mutable_stop()->set_task_id(id.value);
    command.mutable_stop()->set_grace_ms(std::chrono::duration_cast<std::chrono::milliseconds>(grace).count());
    control.tell(session, std::move(command));
  }
  void signal(const InstanceId& id, int signo) override {
    link::ToWorker command;
    command.mutable_signal()->set_task_id(id.value);
    command.mutable_signal()->set_signal(signo);
    control.tell(session, std::move(command));
  }
};

Control::Control(World& world) : world_(world), epoch_(world.epoch) {
  calls_ = std::make_unique<Calls>(world.disk, world.table, world.engine.clock);
  meter_ = std::make_unique<Meter>(world.disk, world.engine.clock);
  fleet_ =
      std::make_unique<Fleet>(world.disk, *calls_, world.table, orders_, *meter_, world.engine.clock, optionsOf(world));
  calls_->observe(*this);
  fleet_->observe(*this);
  fleet_->onWork([this] { wake(); });
}

Control::~Control() {
  for (const auto& visit : visits_) visit.client->done = true;  // its connection is cut
}

bool Control::start() {
  world_.disk.hideInstances(world_.options.bug == Bug::containersForgotten);
  const bool loaded = calls_->load().ok() && fleet_->load().ok();
  world_.disk.hideInstances(false);
  if (!loaded) return false;
  checkKept();
  for (const auto& workload : world_.workloads) {
    if (!world_.withdrawn.contains(workload.function.id)) fleet_->deploy(workload.function.id);
  }
  keepHouse();
  wake();
  return true;
}

void Control::wake() {
  changed_ = true;
  if (posted_) return;
  posted_ = true;
  world_.engine.in(0ns, [this, &world = world_, epoch = epoch_] {
    if (!world.control || world.epoch != epoch) return;
    posted_ = false;
    turn();
  });
}

void Control::turn() {
  calls_->expire();
  fleet_->step();
  auto due = calls_->nextDeadline();
  const auto other = fleet_->nextDeadline();
  if (other && (!due || *other < *due)) due = other;
  if (due) lookAgainAt(*due);
  look();
}

void Control::lookAgainAt(Time when) {
  when = std::max(when, world_.engine.now() + 1ms);
  if (timerAt_ > world_.engine.now() && timerAt_ <= when) return;  // it wakes earlier and asks anew
  timerAt_ = when;
  world_.engine.at(when, [this, when, &world = world_, epoch = epoch_] {
    if (!world.control || world.epoch != epoch || timerAt_ != when) return;
    timerAt_ = {};
    wake();
  });
}

void Control::keepHouse() {
  (void)meter_->flush();  // kept for the next time
  calls_->noteLeases();
  world_.engine.in(1s, [this, &world = world_, epoch = epoch_] {
    if (world.control && world.epoch == epoch) keepHouse();
  });
}

// No worker gives more than it has.
void Control::instanceChanged(const Instance& instance) {
  if (instance.worker.empty()) return;
  if (instance.state == InstanceState::gone) {
    reserved_.erase(instance.id);
    return;
  }
  reserved_[instance.id] = {instance.worker, instance.resources.memoryMb};
  std::int64_t sum = 0;
  for (const auto& [id, reserved] : reserved_) sum += reserved.first == instance.worker ? reserved.second : 0;
  if (sum > Machine::kMemoryMb) {
    world_.fail(fmt::format("{} has {} MiB reserved of {}", instance.worker.value, sum, Machine::kMemoryMb));
  }
}

// A container that lived when control ended, of a function that is still in force, is expected back.
void Control::checkKept() const {
  const auto rows = world_.disk.instances({}, true, 0);
  if (!rows.ok()) return world_.fail("containers cannot be read");
  for (const auto& row : *rows) {
    if (row.worker.empty() || !world_.table.find(row.function)) continue;
    const auto known = fleet_->find(row.id);
    if (!known || known->state != row.state) world_.fail(row.id.value + " is not known any more after a restart");
  }
}

// No wait for news is longer than it may be.
void Control::checkPolls() const {
  const auto late = [now = world_.engine.now()](const auto& poll) { return now > poll.until + 1s; };
  const bool any = std::any_of(inputPolls_.begin(), inputPolls_.end(), late) ||
                   std::any_of(beatPolls_.begin(), beatPolls_.end(), late) ||
                   std::any_of(outputPolls_.begin(), outputPolls_.end(), late) ||
                   std::any_of(dataPolls_.begin(), dataPolls_.end(), late);
  if (any) world_.fail("a question is not answered in its time");
}

void Control::inputStarted(const Input& input) {
  world_.checkAttempt(input);
  world_.note("control: {} attempt {} goes to {}", input.id.value, input.attempt, input.instance.value);
  wake();
}

void Control::inputEnded(const Input& input, const Outcome& outcome, bool final) {
  world_.note("control: {} attempt {} ended: {}{}{}", input.id.value, input.attempt, nameOf(outcome.status),
              final ? ", settled" : "", outcome.exception.empty() ? "" : " (" + outcome.exception + ")");
  wake();
}

// --- workers ---

void Control::tell(const SessionPtr& session, link::ToWorker command) {
  session->machine->receive(session, [command = std::move(command)](worker::Agent& agent) { agent.command(command); });
}

void Control::take(const SessionPtr& session, const link::FromWorker& message) {
  if (message.has_hello()) {
    const auto worker = wire::readWorker(message.hello(), world_.engine.now());
    auto& link = links_[worker->id];
    if (link.session) link.session->machine->lose(link.session, true);
    link = {session, world_.engine.now()};
    ports_.push_back(std::make_unique<Port>(*this, session));
    world_.note("{}: joins with {} containers", worker->id.value, message.hello().task_ids_size());
    link::ToWorker welcome;
    welcome.mutable_welcome();
    tell(session, std::move(welcome));
    join(*worker, wire::readInstances(message.hello()));
    watch(session);
    return;
  }
  const auto link = links_.find(session->machine->id());
  if (link == links_.end() || link->second.session != session) return;
  link->second.heard = world_.engine.now();
  if (message.has_instance()) {
    const InstanceId instance{message.instance().task_id()};
    const auto state = message.instance().state();
    if (state == link::InstanceEvent::RUNNING) fleet_->sandboxRunning(instance, wire::readPhases(message.instance()));
    if (state == link::InstanceEvent::EXITED) fleet_->exited(instance, wire::readExit(message.instance()));
  } else if (message.has_beat()) {
    link::ToWorker beat;
    beat.mutable_beat();
    tell(session, std::move(beat));
  }
}

// Those of its containers that are ready and known stay so.
void Control::join(const Worker& worker, const std::vector<InstanceId>& running) {
  std::vector<InstanceId> ready;
  for (const auto& id : running) {
    const auto instance = fleet_->find(id);
    if (instance && instance->worker == worker.id && instance->state == InstanceState::ready) ready.push_back(id);
  }
  fleet_->workerJoined(worker, *ports_.back(), running);
  for (const auto& id : ready) {
    if (fleet_->find(id)->state != InstanceState::ready) world_.fail(id.value + " is not taken back with its worker");
  }
}

// For a worker that has fallen silent.
void Control::watch(const SessionPtr& session) {
  const auto link = links_.find(session->machine->id());
  if (link == links_.end() || link->second.session != session) return;
  const auto until = link->second.heard + kSilence;
  if (world_.engine.now() >= until) {
    world_.note("control: {} is silent", link->first.value);
    session->machine->lose(session, true);
    return sessionLost(session);
  }
  world_.engine.at(until, [this, session, &world = world_, epoch = epoch_] {
    if (world.control && world.epoch == epoch) watch(session);
  });
}

void Control::sessionLost(const SessionPtr& session) {
  const auto link = links_.find(session->machine->id());
  if (link == links_.end() || link->second.session != session) return;
  const auto worker = link->first;
  links_.erase(link);
  if (world_.options.bug == Bug::leaseWithoutExpiry) return;
  world_.note("{}: control sees that it is gone", worker.value);
  fleet_->workerLost(worker);
  look();
}

// --- who waits for news ---

void Control::getInputs(const InstanceId& instance, const FunctionId& function, const std::string& ticket,
                        std::function<void(std::vector<Lease>, bool)> respond) {
  fleet_->askedForInputs(instance);
  inputPolls_.push_back({instance, function, ticket, world_.engine.now() + 10s, std::move(respond)});
  lookAgainAt(world_.engine.now() + 10s);
  look();
}

void Control::getData(const CallId& call, Direction direction, std::int64_t after, bool isComplete,
                      std::function<void(Result<std::vector<DataChunk>>)> respond) {
  dataPolls_.push_back({call, direction, after, isComplete, world_.engine.now() + 20s, std::move(respond)});
  lookAgainAt(world_.engine.now() + 20s);
  look();
}

void Control::heartbeat(const InstanceId& instance, std::function<void(std::vector<InputId>)> respond) {
  beatPolls_.push_back({instance, world_.engine.now() + 12s, std::move(respond)});
  lookAgainAt(world_.engine.now() + 12s);
  look();
}

void Control::getOutputs(const CallId& call, OutputQuery query, std::function<void(Result<OutputPage>)> respond) {
  outputPolls_.push_back({call, std::move(query), world_.engine.now() + 20s, std::move(respond)});
  lookAgainAt(world_.engine.now() + 20s);
  look();
}

void Control::look() {
  const auto now = world_.engine.now();
  do {
    changed_ = false;
    for (auto poll = inputPolls_.begin(); poll != inputPolls_.end();) {
      const bool kill = fleet_->killSwitch(poll->instance);
      std::vector<Lease> leases;
      if (!kill) leases = calls_->lease(poll->instance, poll->function, 1, poll->ticket);
      if (!kill && leases.empty() && now < poll->until) {
        lookAgainAt(poll->until);
        ++poll;
        continue;
      }
      poll->respond(std::move(leases), kill);
      poll = inputPolls_.erase(poll);
    }
    for (auto poll = beatPolls_.begin(); poll != beatPolls_.end();) {
      auto cancelled = calls_->takeCancelled(poll->instance);
      if (cancelled.empty() && now < poll->until) {
        lookAgainAt(poll->until);
        ++poll;
        continue;
      }
      poll->respond(std::move(cancelled));
      poll = beatPolls_.erase(poll);
    }
    for (auto poll = outputPolls_.begin(); poll != outputPolls_.end();) {
      auto page = calls_->outputs(poll->call, poll->query);
      const bool news = !page.ok() || !page->outputs.empty() || page->finished;
      if (!news && now < poll->until) {
        lookAgainAt(poll->until);
        ++poll;
        continue;
      }
      poll->respond(std::move(page));
      poll = outputPolls_.erase(poll);
    }
    for (auto poll = dataPolls_.begin(); poll != dataPolls_.end();) {
      auto chunks = calls_->read(poll->call, poll->direction, poll->after);
      if (!chunks.ok() && chunks.error().code == Code::dataLoss && poll->isComplete) chunks = std::vector<DataChunk>();
      if (chunks.ok() && chunks->empty() && now < poll->until) {
        lookAgainAt(poll->until);
        ++poll;
        continue;
      }
      poll->respond(std::move(chunks));
      poll = dataPolls_.erase(poll);
    }
    lookAtVisits();
  } while (changed_);
}

// --- HTTP requests ---

void Control::visit(const std::shared_ptr<Client>& client) {
  Visit visit{client, {}, 0};
  if (!openVisit(visit)) {
    client->done = true;
    return;
  }
  visits_.push_back(std::move(visit));
  look();
}

bool Control::openVisit(Visit& visit) {
  CallOptions options;
  options.function = visit.client->function;
  options.kind = CallKind::web;
  const auto call = calls_->open(options);
  if (!call.ok() || !calls_->put(*call, {{0, {}, ""}}).ok()) return false;
  visit.call = visit.client->call = *call;
  visit.after = 0;
  world_.note("client {}: asks {}", visit.client->number, call->value);
  pushBody(*call, 1, visit.client->inputs);
  return true;
}

void Control::pushBody(const CallId& call, int next, int pieces) {
  DataChunk chunk;
  chunk.payload.data = next == pieces ? "last" : "more";
  if (!calls_->push(call, Direction::in, {chunk}).ok() || next == pieces) return;
  world_.engine.in(world_.engine.random.between(1ms, 300ms),
                   [this, call, next, pieces, &world = world_, epoch = epoch_] {
                     if (!world.control || world.epoch != epoch) return;
                     pushBody(call, next + 1, pieces);
                     look();
                   });
}

void Control::leaveVisit(const Client& client) {
  for (auto visit = visits_.begin(); visit != visits_.end(); ++visit) {
    if (visit->client.get() != &client) continue;
    calls_->close(visit->call);
    visits_.erase(visit);
    return;
  }
}

void Control::lookAtVisits() {
  for (auto visit = visits_.begin(); visit != visits_.end();) {
    if (goOn(*visit)) {
      ++visit;
      continue;
    }
    visit->client->done = true;
    world_.note("client {}: has its answer, {} pieces", visit->client->number, visit->client->items);
    calls_->close(visit->call);
    visit = visits_.erase(visit);
  }
}

// The outcome first: what the container wrote before it is then among the pieces.
bool Control::goOn(Visit& visit) {
  const auto page = calls_->outputs(visit.call, {});
  const auto chunks = calls_->read(visit.call, Direction::out, visit.after);
  if (!page.ok() || !chunks.ok()) return false;
  if (!chunks->empty()) {
    visit.after = chunks->back().index;
    world_.takeItems(*visit.client, *chunks);
    calls_->acknowledge(visit.call, Direction::out, visit.after);
    return visit.client->items < visit.client->wanted;
  }
  if (page->outputs.empty()) return true;
  if (world_.options.bug != Bug::webRetriedAfterBytes || visit.client->items == 0) return false;
  calls_->close(visit.call);  // the bug: it is asked once more, though bytes of its answer are out
  return openVisit(visit);
}

}  // namespace gridiron::sim
