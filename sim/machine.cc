#include <csignal>

#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

struct Machine::Port final : WorkerPort {
  Port(Machine& m, std::shared_ptr<Session> s) : machine(m), session(std::move(s)) {}
  Machine& machine;
  std::shared_ptr<Session> session;

  void down(std::function<void()> command) {
    auto& engine = machine.world_.engine;
    session->down = std::max(session->down + 1us, engine.now() + machine.world_.delay());
    engine.at(session->down, [mine = session, command = std::move(command)] {
      if (!mine->broken) command();
    });
  }
  void start(const StartOrder& order) override {
    down([&m = machine, order] { m.start(order, order.function.value); });
  }
  void stop(const InstanceId& id, Nanos grace) override {
    down([&m = machine, id, grace] { m.stop(id, grace); });
  }
  void signal(const InstanceId& id, int signo) override {
    down([&m = machine, id, signo] { m.signal(id, signo); });
  }
};

Machine::Machine(World& world, int number) : world_(world), number_(number) {}

void Machine::dial() {
  if (!up_ || (session_ && !session_->broken)) return;
  if (!world_.control || cut) {
    world_.engine.in(world_.engine.random.between(100ms, 3s), [this, life = life_] {
      if (life == life_) dial();
    });
    return;
  }
  session_ = std::make_shared<Session>();
  const auto mine = session_;
  std::vector<InstanceId> present;
  for (const auto& [id, box] : boxes) present.push_back(id);
  mine->up = world_.engine.now() + world_.delay();
  world_.engine.at(mine->up, [this, mine, present, epoch = world_.epoch] {
    if (mine->broken || !world_.control || world_.epoch != epoch) return;
    world_.note("{}: joins with {} containers", id().value, present.size());
    Worker worker;
    worker.id = id();
    worker.milliCpu = 8000;
    worker.memoryMb = kMemoryMb;
    port_ = std::make_shared<Port>(*this, mine);
    world_.control->fleet().workerJoined(worker, *port_, present);
    world_.control->look();
  });
}

// Control notices at once (the connection was reset) or by silence.
void Machine::breakSession(bool quickly) {
  if (!session_ || session_->broken) return;
  session_->broken = true;
  const auto mine = session_;
  world_.engine.in(quickly ? world_.delay() : 10s, [this, mine, epoch = world_.epoch] {
    if (mine != session_ && session_ && !session_->broken) return;  // it has joined anew meanwhile
    if (!world_.control || world_.epoch != epoch || !port_ || port_->session != mine) return;
    if (world_.options.bug == Bug::leaseWithoutExpiry) return;
    world_.note("{}: control sees that it is gone", id().value);
    world_.control->fleet().workerLost(id());
    world_.control->look();
  });
  world_.engine.in(quickly ? 50ms : 10s, [this, life = life_] {
    if (life == life_) dial();
  });
}

void Machine::die(bool comesBack) {
  world_.note("{}: killed{}", id().value, comesBack ? "" : " for good");
  breakSession(world_.engine.random.percent(50));
  ++life_;
  up_ = false;
  for (auto& [id, box] : boxes) {
    box->alive = false;
    box->endedAt = world_.engine.now();
  }
  boxes.clear();
  if (!comesBack) return;
  world_.engine.in(world_.engine.random.between(1s, 30s), [this] {
    up_ = true;
    dial();
  });
}

void Machine::up(std::function<void(Control&)> message) {
  if (!session_ || session_->broken) return;  // what it has and has not is in the next hello
  const auto mine = session_;
  mine->up = std::max(mine->up + 1us, world_.engine.now() + world_.delay());
  world_.engine.at(mine->up, [this, mine, message = std::move(message)] {
    if (mine->broken || !world_.control) return;
    message(*world_.control);
    world_.control->look();
  });
}

void Machine::start(const StartOrder& order, const std::string& function) {
  if (boxes.contains(order.instance)) return;
  auto box = std::make_shared<Box>();
  box->id = order.instance;
  box->function = FunctionId{function};
  box->resources = order.resources;
  box->machine = number_;
  box->orderedAt = world_.engine.now();
  for (const auto& workload : world_.workloads) {
    if (workload.function.id == box->function) box->workload = &workload;
  }
  boxes[box->id] = box;
  world_.boxes.push_back(box);
  world_.engine.in(world_.engine.random.between(5ms, 400ms), [this, box] {
    if (!box->alive) return;
    if (box->stopping) return end(box, {0, 0, false, "stopped before it was started"});
    if (world_.engine.random.percent(box->workload->startFails)) return end(box, {0, 0, false, "rootfs: ENOSPC"});
    running(box);
  });
}

void Machine::stop(const InstanceId& id, Nanos grace) {
  const auto found = boxes.find(id);
  if (found == boxes.end()) return;
  const auto box = found->second;
  box->stopping = true;
  if (!box->started) return;
  if (grace <= 0ns) return end(box, {137, SIGKILL, false, {}});
  signal(id, SIGTERM);
  world_.engine.in(grace, [this, box] {
    if (box->alive) end(box, {137, SIGKILL, false, {}});
  });
}

void Machine::signal(const InstanceId& id, int signo) {
  const auto found = boxes.find(id);
  if (found == boxes.end() || !found->second->started || found->second->workload->ignoresSignals) return;
  const auto box = found->second;
  world_.note("{}: gets signal {}", id.value, signo);
  if (signo == SIGTERM) {
    box->leaving = true;  // it finishes what it runs
    leaveIfDone(box);
  } else {
    end(box, {128 + signo, signo, false, {}});
  }
}

void Machine::end(const std::shared_ptr<Box>& box, ExitInfo exit) {
  if (!box->alive) return;
  world_.note("{}: ends, code {} signal {} {}", box->id.value, exit.code, exit.signal, exit.error);
  box->alive = false;
  box->endedAt = world_.engine.now();
  boxes.erase(box->id);
  up([id = box->id, exit](Control& control) { control.fleet().exited(id, exit); });
}

void Machine::running(const std::shared_ptr<Box>& box) {
  box->started = true;
  box->startedAt = world_.engine.now();
  up([id = box->id](Control& control) { control.fleet().sandboxRunning(id, {}); });
  auto& random = world_.engine.random;
  world_.engine.in(random.between(50ms, 900ms), [this, box] {
    if (!box->alive) return;
    if (world_.engine.random.percent(box->workload->importFails)) {
      Outcome outcome;
      outcome.status = OutcomeStatus::initFailure;
      outcome.exception = "ImportError";
      world_.rpc(
          number_, 5s, false,
          [id = box->id, outcome](Control& control, const Control::Respond& respond) {
            control.fleet().startupFailed(id, outcome);
            respond([] {});
          },
          [] {});
      return world_.engine.in(100ms, [this, box] { end(box, {1, 0, false, {}}); });
    }
    ask(box);
    beat(box);
  });
}

void Machine::beat(const std::shared_ptr<Box>& box) {
  if (!box->alive) return;
  const auto again = [this, box](Nanos wait) { world_.engine.in(wait, [this, box] { beat(box); }); };
  world_.rpc(
      number_, 15s, false,
      [this, box, again](Control& control, const Control::Respond& respond) {
        control.heartbeat(box->id, [this, box, again, respond](std::vector<InputId> cancelled) {
          respond([this, box, again, cancelled = std::move(cancelled)] {
            for (const auto& id : cancelled) {
              if (box->alive && box->runs.contains(id)) finish(box, id, OutcomeStatus::terminated);
            }
            again(1ms);
          });
        });
      },
      [again] { again(1s); });
}

void Machine::ask(const std::shared_ptr<Box>& box) {
  const auto& function = box->workload->function;
  const int slots = function.batching.maxSize > 1 ? 1 : slotsOf(function);
  if (!box->alive || box->asking || box->leaving || std::ssize(box->runs) + box->unsaid >= slots) return;
  box->asking = true;
  world_.rpc(
      number_, 14s, false,
      [this, box](Control& control, const Control::Respond& respond) {
        control.getInputs(box->id, box->function, [this, box, respond](std::vector<Lease> leases, bool kill) {
          respond([this, box, leases = std::move(leases), kill] {
            if (!box->alive) return;
            box->asking = false;
            for (const auto& lease : leases) begin(box, lease);
            if (kill || box->workload->function.singleUse) box->leaving = box->leaving || kill || !leases.empty();
            leaveIfDone(box);
            ask(box);
          });
        });
      },
      [this, box] {
        if (!box->alive) return;
        box->asking = false;
        world_.engine.in(world_.engine.random.between(100ms, 1s), [this, box] { ask(box); });
      });
}

void Machine::begin(const std::shared_ptr<Box>& box, const Lease& lease) {
  const auto& id = lease.input.id;
  if (const auto known = box->runs.find(id); known != box->runs.end()) {
    if (known->second.attempt == lease.input.attempt) return;  // the same answer again
  }
  world_.note("{}: runs {} attempt {}", box->id.value, id.value, lease.input.attempt);
  box->runs[id] = lease.input;
  auto& random = world_.engine.random;
  const auto& w = *box->workload;
  const auto took = random.between(w.shortest, w.longest);
  const bool troubled = world_.troubled;
  const bool crashes = troubled && random.percent(w.crashes), memory = troubled && random.percent(w.outOfMemory);
  if (troubled && random.percent(w.hangs)) return;
  const bool raises = random.percent(w.raises) || world_.poisoned.contains(id);
  world_.engine.in(took, [this, box, id, attempt = lease.input.attempt, crashes, memory, raises] {
    const auto run = box->runs.find(id);
    if (!box->alive || run == box->runs.end() || run->second.attempt != attempt) return;
    if (crashes) return end(box, {1, 0, false, {}});
    if (memory) return end(box, {137, SIGKILL, true, {}});
    finish(box, id, raises ? OutcomeStatus::failure : OutcomeStatus::success);
  });
}

void Machine::finish(const std::shared_ptr<Box>& box, const InputId& id, OutcomeStatus status) {
  const Input input = box->runs.at(id);
  box->runs.erase(id);
  ++box->unsaid;
  put(box, input, status);
}

// Again until it is answered. The value says whose it is.
void Machine::put(const std::shared_ptr<Box>& box, const Input& input, OutcomeStatus status) {
  if (!box->alive) return;
  Outcome outcome;
  outcome.status = status;
  outcome.value.data = fmt::format("{}/{}", box->id.value, input.attempt);
  world_.rpc(
      number_, 5s, false,
      [this, box, input, outcome](Control& control, const Control::Respond& respond) {
        auto who = box->id;
        std::optional<int> attempt = input.attempt;
        if (world_.options.bug == Bug::settleWithoutFence) {
          attempt = std::nullopt;
          if (const auto held = control.calls().input(input.id); held && !held->instance.empty()) who = held->instance;
        }
        const auto settled = control.calls().settle(who, input.id, outcome, attempt);
        if (settled.ok()) {
          respond([this, box] {
            --box->unsaid;
            leaveIfDone(box);
            ask(box);
          });
        } else {
          respond([this, box, input, status = outcome.status] {
            world_.engine.in(300ms, [this, box, input, status] { put(box, input, status); });
          });
        }
      },
      [this, box, input, status] {
        world_.engine.in(world_.engine.random.between(100ms, 1s),
                         [this, box, input, status] { put(box, input, status); });
      });
}

void Machine::leaveIfDone(const std::shared_ptr<Box>& box) {
  if (!box->alive || !box->leaving || box->unsaid > 0 || !box->runs.empty()) return;
  world_.engine.in(world_.engine.random.between(1ms, 60ms), [this, box] { end(box, {}); });
}

}  // namespace gridiron::sim
