#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

Control::Control(World& world) : world_(world), epoch_(world.epoch) {
  calls_ = std::make_unique<Calls>(world.disk, world.table, world.engine.clock);
  meter_ = std::make_unique<Meter>(world.disk, world.engine.clock);
  fleet_ = std::make_unique<Fleet>(world.disk, *calls_, world.table, orders_, *meter_, world.engine.clock);
  calls_->observe(*this);
  fleet_->onWork([this] { wake(); });
}

bool Control::start() {
  if (!calls_->load().ok() || !fleet_->load().ok()) return false;
  for (const auto& workload : world_.workloads) fleet_->deploy(workload.function.id);
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
  world_.engine.in(1s, [this, &world = world_, epoch = epoch_] {
    if (world.control && world.epoch == epoch) keepHouse();
  });
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

void Control::getInputs(const InstanceId& instance, const FunctionId& function,
                        std::function<void(std::vector<Lease>, bool)> respond) {
  fleet_->askedForInputs(instance);
  inputPolls_.push_back({instance, function, world_.engine.now() + 10s, std::move(respond)});
  lookAgainAt(world_.engine.now() + 10s);
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
      if (!kill) leases = calls_->lease(poll->instance, poll->function, 1);
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
  } while (changed_);
}

}  // namespace gridiron::sim
