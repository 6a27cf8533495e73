// What the client does in a container: it asks for inputs, runs them as the workload says, and tells what came of it.
#include <csignal>

#include "sim/machine.h"
#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

void Machine::run(const BoxPtr& box) {
  world_.engine.in(world_.engine.random.between(50ms, 900ms), [this, box] {
    if (!box->alive) return;
    if (!world_.engine.random.percent(box->workload->importFails)) {
      ask(box);
      beat(box);
      return;
    }
    Outcome outcome;
    outcome.status = OutcomeStatus::initFailure;
    outcome.exception = "ImportError";
    world_.rpc(
        *this, box, 5s,
        [id = box->id, outcome](Control& control, const Control::Respond& respond) {
          control.fleet().startupFailed(id, outcome);
          respond([] {});
        },
        [] {});
    world_.engine.in(100ms, [this, box] { end(box, {1, 0, false}); });
  });
}

void Machine::beat(const BoxPtr& box) {
  if (!box->alive) return;
  const auto again = [this, box](Nanos wait) { world_.engine.in(wait, [this, box] { beat(box); }); };
  world_.rpc(
      *this, box, 15s,
      [this, box, again](Control& control, const Control::Respond& respond) {
        control.heartbeat(box->id, [this, box, again, respond](std::vector<InputId> cancelled) {
          respond([this, box, again, cancelled = std::move(cancelled)] {
            std::vector<InputId> ended;
            for (const auto& id : cancelled) {
              if (box->alive && box->runs.contains(id)) ended.push_back(id);
            }
            if (!ended.empty()) finish(box, ended, OutcomeStatus::terminated);
            again(1ms);
          });
        });
      },
      [again] { again(1s); });
}

// A question has its number until it is answered, however often it is asked.
void Machine::ask(const BoxPtr& box) {
  const auto& function = box->workload->function;
  const int slots = function.batching.maxSize > 1 ? 1 : slotsOf(function);
  if (!box->alive || box->asking || box->leaving || std::ssize(box->runs) + box->unsaid >= slots) return;
  box->asking = true;
  ++box->asks;
  askAgain(box);
}

void Machine::askAgain(const BoxPtr& box) {
  if (!box->alive) return;
  const auto ticket = world_.options.bug == Bug::askWithoutTicket ? std::string() : std::to_string(box->asks);
  world_.rpc(
      *this, box, 14s,
      [this, box, ticket](Control& control, const Control::Respond& respond) {
        control.getInputs(box->id, box->workload->function.id, ticket,
                          [this, box, respond](std::vector<Lease> leases, bool kill) {
                            respond([this, box, leases = std::move(leases), kill] {
                              if (!box->alive) return;
                              box->asking = false;
                              take(box, leases);
                              const bool single = box->workload->function.singleUse && !leases.empty();
                              box->leaving = box->leaving || kill || single;
                              leaveIfDone(box);
                              ask(box);
                            });
                          });
      },
      [this, box] { world_.engine.in(world_.engine.random.between(100ms, 1s), [this, box] { askAgain(box); }); });
}

// One run: of an input, or of a batch.
void Machine::take(const BoxPtr& box, const std::vector<Lease>& leases) {
  std::vector<InputId> ids;
  std::map<InputId, int> attempts;
  for (const auto& lease : leases) {
    const auto& id = lease.input.id;
    const auto known = box->runs.find(id);
    if (known != box->runs.end() && known->second.attempt == lease.input.attempt) continue;  // the same answer again
    world_.note("{}: runs {} attempt {}", box->id.value, id.value, lease.input.attempt);
    box->runs[id] = lease.input;
    world_.begins(*box, lease);
    ids.push_back(id);
    attempts[id] = lease.input.attempt;
  }
  if (ids.empty()) return;
  auto& random = world_.engine.random;
  const auto& w = *box->workload;
  const auto took = random.between(w.shortest, w.longest);
  const bool troubled = world_.troubled;
  const bool crashes = troubled && random.percent(w.crashes), memory = troubled && random.percent(w.outOfMemory);
  if (troubled && random.percent(w.hangs)) return;
  const bool raises = random.percent(w.raises) || world_.poisoned.contains(ids.front());
  const auto& first = leases.back().input;
  if (leases.back().kind == CallKind::web) return readBody(box, first, 0);
  if (w.yields > 0 && !crashes && !memory) return yieldNext(box, first, 1);
  world_.engine.in(took, [this, box, ids, attempts, crashes, memory, raises] {
    std::vector<InputId> still;  // some may have been cancelled
    for (const auto& id : ids) {
      const auto run = box->runs.find(id);
      if (run != box->runs.end() && run->second.attempt == attempts.at(id)) still.push_back(id);
    }
    if (!box->alive || still.empty()) return;
    if (crashes) return end(box, {1, 0, false});
    if (memory) return end(box, {137, SIGKILL, true});
    finish(box, still, raises ? OutcomeStatus::failure : OutcomeStatus::success);
  });
}

// The request's body, to its last piece.
void Machine::readBody(const BoxPtr& box, const Input& input, std::int64_t after) {
  const auto run = box->runs.find(input.id);
  if (!box->alive || run == box->runs.end() || run->second.attempt != input.attempt) return;
  world_.rpc(
      *this, box, 30s,
      [this, box, input, after](Control& control, const Control::Respond& respond) {
        if (after > 0) control.calls().acknowledge(input.call, Direction::in, after);
        control.getData(input.call, Direction::in, after, false,
                        [this, box, input, after, respond](Result<std::vector<DataChunk>> chunks) {
                          respond([this, box, input, after, chunks = std::move(chunks)] {
                            const auto held = box->runs.find(input.id);
                            if (!box->alive || held == box->runs.end() || held->second.attempt != input.attempt) return;
                            if (!chunks.ok()) return finish(box, {input.id}, OutcomeStatus::failure);
                            auto last = after;
                            for (const auto& chunk : *chunks) {
                              if (chunk.index != ++last)
                                return world_.fail(input.call.value + ": pieces of the request are missing");
                            }
                            const bool whole = !chunks->empty() && chunks->back().payload.data == "last";
                            if (whole) return yieldNext(box, input, 1);
                            readBody(box, input, last);
                          });
                        });
      },
      [this, box, input, after] {
        world_.engine.in(100ms, [this, box, input, after] { readBody(box, input, after); });
      });
}

// A piece of what the run gives: an item of a generator, or of an HTTP answer. Told again until it is answered.
void Machine::yieldNext(const BoxPtr& box, const Input& input, int next) {
  const auto run = box->runs.find(input.id);
  if (!box->alive || run == box->runs.end() || run->second.attempt != input.attempt) return;
  if (next > World::piecesOf(input.call, *box->workload)) return finish(box, {input.id}, OutcomeStatus::success);
  if (world_.troubled && next > 1 && world_.engine.random.percent(box->workload->breaks))
    return end(box, {1, 0, false});
  DataChunk chunk;
  chunk.index = world_.options.bug == Bug::streamChunkDoubled ? 0 : next;
  chunk.payload.data = fmt::format("{}/{}/{}", box->id.value, input.attempt, next);
  const auto pause = world_.engine.random.between(1ms, box->workload->longest / 4);
  world_.rpc(
      *this, box, 5s,
      [this, box, input, next, chunk, pause](Control& control, const Control::Respond& respond) {
        const auto pushed = control.calls().push(input.call, Direction::out, {chunk}, box->id);
        // The call is gone, or has no use for it: the client raises, and the run ends so.
        const bool refused = !pushed.ok() && pushed.error().code != Code::exhausted;
        const int then = pushed.ok() ? next + 1 : next;
        respond([this, box, input, then, refused, pause] {
          world_.engine.in(pause, [this, box, input, then, refused] {
            const auto held = box->runs.find(input.id);
            if (!box->alive || held == box->runs.end() || held->second.attempt != input.attempt) return;
            if (refused) return finish(box, {input.id}, OutcomeStatus::failure);
            yieldNext(box, input, then);
          });
        });
      },
      [this, box, input, next] {
        world_.engine.in(world_.engine.random.between(100ms, 1s),
                         [this, box, input, next] { yieldNext(box, input, next); });
      });
}

void Machine::finish(const BoxPtr& box, const std::vector<InputId>& ids, OutcomeStatus status) {
  std::vector<Input> inputs;
  for (const auto& id : ids) {
    inputs.push_back(box->runs.at(id));
    box->runs.erase(id);
  }
  if (inputs.empty()) return;
  ++box->unsaid;
  put(box, std::move(inputs), status);
}

namespace {

Outcome outcomeOf(const Box& box, const Input& input, OutcomeStatus status) {
  Outcome outcome;
  outcome.status = status;
  outcome.value.data = fmt::format("{}/{}", box.id.value, input.attempt);
  if (box.workload->yields > 0 && status == OutcomeStatus::success) outcome.value.format = DataFormat::generatorDone;
  return outcome;
}

}  // namespace

// Again until it is answered. The value says whose it is.
void Machine::put(const BoxPtr& box, std::vector<Input> inputs, OutcomeStatus status) {
  if (!box->alive) return;
  const auto again = [this, box, inputs, status](Nanos wait) {
    world_.engine.in(wait, [this, box, inputs, status] { put(box, inputs, status); });
  };
  world_.rpc(
      *this, box, 5s,
      [this, box, inputs, status, again](Control& control, const Control::Respond& respond) {
        bool stored = true, noted = false;
        for (const auto& input : inputs) {
          noted = noted || control.calls().leaseIsNoted(input.id);
          auto who = box->id;
          std::optional<int> attempt = input.attempt;
          if (world_.options.bug == Bug::settleWithoutFence) {
            attempt = std::nullopt;
            if (const auto held = control.calls().input(input.id); held && !held->instance.empty())
              who = held->instance;
          }
          if (control.fleet().lives(box->id)) control.calls().reclaim(box->id, input.function, input.id, input.attempt);
          stored = stored && control.calls().settle(who, input.id, outcomeOf(*box, input, status), attempt).ok();
        }
        if (!stored) return respond([again] { again(300ms); });
        const auto tell = [this, box, respond] {
          respond([this, box] {
            --box->unsaid;
            leaveIfDone(box);
            ask(box);
          });
        };
        noted ? world_.whenDurable(tell) : tell();
      },
      [this, again] { again(world_.engine.random.between(100ms, 1s)); });
}

void Machine::leaveIfDone(const BoxPtr& box) {
  if (!box->alive || !box->leaving || box->unsaid > 0 || !box->runs.empty()) return;
  world_.engine.in(world_.engine.random.between(1ms, 60ms), [this, box] { end(box, {}); });
}

}  // namespace gridiron::sim
