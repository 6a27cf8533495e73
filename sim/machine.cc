#include "sim/machine.h"

#include <csignal>

#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

Machine::Machine(World& world, int number) : world_(world), number_(number) {}

void Machine::boot() {
  booting_ = false;
  // What an earlier process left is swept away before anything else.
  const auto left = boxes_;
  for (const auto& [id, box] : left) end(box, {137, SIGKILL, false});
  boxes_.clear();
  link::WorkerHello self;
  self.set_worker_id(id().value);
  self.set_milli_cpu(8000);
  self.set_memory_mb(kMemoryMb);
  const auto jitter = [this] { return 0.5 + 0.005 * world_.engine.random.below(100); };
  agent_ = std::make_unique<worker::Agent>(std::move(self), *this, world_.engine.clock, jitter);
  agent_->link().begin();
}

void Machine::crash(bool wholeMachine, bool comesBack) {
  world_.note("{}: {} is killed{}", id().value, wholeMachine ? "all of it" : "its worker",
              comesBack ? "" : " for good");
  loseSession(!wholeMachine && !cut_);
  ++life_;
  agent_.reset();
  session_.reset();
  timerAt_ = {};
  if (wholeMachine) {
    const auto all = boxes_;
    for (const auto& [id, box] : all) end(box, {137, SIGKILL, false});
    boxes_.clear();
  }
  booting_ = comesBack;
  if (!comesBack) return;
  world_.engine.in(world_.engine.random.between(1s, 30s), [this] { boot(); });
}

// --- the session ---

void Machine::dial() {
  auto& engine = world_.engine;
  const bool there = world_.control && !cut_;
  if (!there) {
    engine.in(cut_ ? 3s : world_.delay(),
              [this, life = life_] { tell(life, [](worker::Agent& agent) { agent.link().disconnected(); }); });
    return;
  }
  const auto mine = std::make_shared<Session>();
  mine->machine = this;
  mine->life = life_;
  mine->epoch = world_.epoch;
  mine->up = mine->down = engine.now() + world_.delay();
  session_ = mine;
  // As of now: what happens until it arrives is told after it.
  engine.in(0ns, [this, mine] {
    tell(mine->life, [&](worker::Agent& agent) {
      link::FromWorker first;
      *first.mutable_hello() = agent.hello();
      write(std::move(first));
      agent.connected();
    });
  });
}

void Machine::write(link::FromWorker message) {
  if (!session_ || session_->broken) return;
  const auto mine = session_;
  auto& engine = world_.engine;
  mine->up = std::max(mine->up + 1us, engine.now() + world_.delay());
  const auto deliver = [this, mine, message = std::make_shared<link::FromWorker>(std::move(message))] {
    if (!world_.control || world_.epoch != mine->epoch) return;
    world_.control->take(mine, *message);
    if (world_.control) world_.control->look();
  };
  engine.at(mine->up, [this, mine, deliver] {
    if (mine->broken) return;
    if (cut_ || !mine->held.empty()) return mine->held.push_back(deliver);
    deliver();
  });
  const bool first = message.has_hello();
  if (first) return;
  engine.in(10us, [this, mine] {
    if (mine != session_ || mine->broken) return;
    tell(mine->life, [](worker::Agent& agent) { agent.link().written(); });
  });
}

void Machine::receive(const SessionPtr& session, std::function<void(worker::Agent&)> message) {
  auto& engine = world_.engine;
  session->down = std::max(session->down + 1us, engine.now() + world_.delay());
  const auto deliver = [this, session, message = std::move(message)] {
    if (session == session_) tell(session->life, message);
  };
  engine.at(session->down, [this, session, deliver] {
    if (session->broken) return;
    if (cut_ || !session->held.empty()) return session->held.push_back(deliver);
    deliver();
  });
}

void Machine::hangUp() {
  if (session_) lose(session_, !cut_);
  world_.engine.in(0ns,
                   [this, life = life_] { tell(life, [](worker::Agent& agent) { agent.link().disconnected(); }); });
}

void Machine::loseSession(bool told) {
  if (session_) lose(session_, told);
}

// Nothing arrives by it any more.
void Machine::lose(const SessionPtr& session, bool told) {
  if (session->broken) return;
  session->broken = true;
  session->held.clear();
  if (!told) return;  // each end sees it by the other's silence
  world_.engine.in(world_.delay(), [this, session] {
    if (world_.control && world_.epoch == session->epoch) world_.control->sessionLost(session);
  });
  world_.engine.in(world_.delay(), [this, session] {
    if (session != session_) return;
    tell(session->life, [](worker::Agent& agent) { agent.link().disconnected(); });
  });
}

void Machine::fillDisk() {
  world_.note("{}: its disk is full", id().value);
  full_ = true;
  world_.engine.in(world_.engine.random.between(1s, 30s), [this] { full_ = false; });
}

void Machine::cut(bool from) {
  world_.note("{}: is {} the network", id().value, from ? "cut from" : "back in");
  cut_ = from;
  if (cut_ || !session_) return;
  const auto held = std::exchange(session_->held, {});
  for (const auto& deliver : held) {
    if (!session_->broken) deliver();
  }
}

// --- the agent ---

void Machine::tell(int life, const std::function<void(worker::Agent&)>& event) {
  if (!agent_ || life != life_) return;
  event(*agent_);
  lookAgain();
}

void Machine::lookAgain() {
  const auto next = agent_->nextDeadline();
  if (!next) return;
  const auto when = std::max(*next, world_.engine.now());
  if (timerAt_ != Time{} && timerAt_ <= when && timerAt_ >= world_.engine.now()) return;
  timerAt_ = when;
  world_.engine.at(when, [this, when, life = life_] {
    if (life != life_ || timerAt_ != when) return;
    timerAt_ = {};
    tell(life, [](worker::Agent& agent) { agent.tick(); });
  });
}

// --- sandboxes ---

void Machine::start(const std::shared_ptr<const link::StartInstance>& order) {
  auto box = std::make_shared<Box>();
  box->id = InstanceId{order->task_id()};
  box->resources.memoryMb = order->memory_mb();
  box->machine = number_;
  box->life = life_;
  for (const auto& workload : world_.workloads) {
    if (workload.function.id.value == order->function_id()) box->workload = &workload;
  }
  if (!boxes_.emplace(box->id, box).second) return world_.fail(box->id.value + " is started twice");
  world_.boxes.push_back(box);
  world_.engine.in(world_.engine.random.between(5ms, 400ms), [this, box] {
    if (!box->alive || box->life != life_) return;
    std::string error;
    if (box->killed) {
      error = "stopped before it was started";
    } else if (full_ || world_.engine.random.percent(box->workload->startFails)) {
      error = "rootfs: ENOSPC";
    }
    if (!error.empty()) {
      box->alive = false;
      box->endedAt = world_.engine.now();
      return tell(box->life,
                  [&](worker::Agent& a) { a.notStarted(box->id.value, makeError(Code::internal, "{}", error)); });
    }
    box->started = true;
    box->startedAt = world_.engine.now();
    tell(box->life, [&](worker::Agent& a) { a.started(box->id.value, {}); });
    run(box);
  });
}

void Machine::signal(const std::string& task, int signo) {
  const auto box = boxes_.at(InstanceId{task});
  if (!box->alive || box->workload->ignoresSignals) return;
  world_.note("{}: gets signal {}", task, signo);
  world_.engine.in(10us, [this, box, signo] {
    if (!box->alive) return;
    if (signo != SIGTERM) return end(box, {128 + signo, signo, false});
    box->leaving = true;  // it finishes what it runs
    leaveIfDone(box);
  });
}

void Machine::kill(const std::string& task) {
  const auto box = boxes_.at(InstanceId{task});
  box->killed = true;
  if (!box->started) return;
  world_.engine.in(10us, [this, box] { end(box, {137, SIGKILL, false}); });
}

// The process has ended. What it printed last is sent before its worker says so.
void Machine::end(const BoxPtr& box, sandbox::Exit exit) {
  if (!box->alive) return;
  world_.note("{}: ends, code {} signal {}", box->id.value, exit.code, exit.signal);
  box->alive = false;
  box->endedAt = world_.engine.now();
  world_.engine.in(world_.engine.random.between(100us, 5ms),
                   [this, box, exit] { tell(box->life, [&](worker::Agent& a) { a.exited(box->id.value, exit); }); });
}

void Machine::remove(const std::string& task) {
  const auto box = boxes_.at(InstanceId{task});
  if (box->alive) return world_.fail(task + " is removed while it runs");
  world_.engine.in(world_.engine.random.between(1ms, 20ms), [this, box] {
    if (box->life != life_) return;
    boxes_.erase(box->id);
    tell(box->life, [&](worker::Agent& a) { a.removed(box->id.value); });
  });
}

}  // namespace gridiron::sim
