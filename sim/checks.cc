#include <algorithm>

#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

namespace {
constexpr Nanos kOwnerless = 1min;  // a container that control does not know may run on where control is
constexpr Nanos kFairWait = 4min;   // in peace, for what takes a second, whoever else has much to do
constexpr Nanos kLateBill = 2min;   // after a container's end control may take so long to know of it
}  // namespace

// After every step, of one call after the other: nothing that was acknowledged is missing.
void World::checkStep() {
  if (!control || clients.empty()) return;
  checkCall(*clients[static_cast<std::size_t>(engine.steps) % clients.size()]);
  if (engine.steps % 16 != 0) return;
  checkOwners();
  control->checkPolls();
  if (!troubled) checkWaits();
}

void World::checkCall(const Client& client) {
  if (client.call.empty() || client.kind == CallKind::web || (client.clears && client.done)) return;
  const auto info = control->calls().info(client.call);
  if (!info.ok()) return fail(fmt::format("{} was acknowledged and is lost", client.call.value));
  if (info->inputs < std::ssize(client.acknowledged)) {
    return fail(fmt::format("{} inputs of {} were acknowledged, {} are there", client.acknowledged.size(),
                            client.call.value, info->inputs));
  }
  if (info->inputs != info->unfinished + info->succeeded + info->failed) {
    return fail(fmt::format("{}: {} inputs, but {} unfinished and {} settled", client.call.value, info->inputs,
                            info->unfinished, info->succeeded + info->failed));
  }
  if (info->succeeded + info->failed < std::ssize(client.seen)) {
    fail(fmt::format("{}: outputs that were shown are gone", client.call.value));
  }
}

// A container that control does not know (any more) is stopped, once its machine can be reached.
void World::checkOwners() {
  for (const auto& machine : machines) {
    for (const auto& [id, box] : machine->boxes()) {
      const auto instance = control->fleet().find(id);
      const bool owned = instance && instance->state != InstanceState::gone;
      if (owned || !box->alive || !machine->reachable()) {
        box->orphanSince = Time{};
      } else if (box->orphanSince == Time{}) {
        box->orphanSince = engine.now();
      } else if (engine.now() > box->orphanSince + kOwnerless) {
        return fail(id.value + " runs and has no owner");
      }
    }
  }
}

// Its function's policy as it was meant, not as calls got it.
void World::checkAttempt(const Input& input) {
  for (const auto& w : workloads) {
    if (w.function.id != input.function || input.attempt <= w.function.retries.count) continue;
    fail(fmt::format("{} is tried again for the {}th time, and may {} times", input.id.value, input.attempt,
                     w.function.retries.count));
  }
}

// A run begins. Of an HTTP request none does once bytes of its answer are out.
void World::begins(const Box& box, const Lease& lease) {
  if (lease.kind != CallKind::web) return;
  for (const auto& client : clients) {
    if (client->call != lease.input.call || client->items == 0) continue;
    fail(fmt::format("{} runs request {} anew, of whose answer {} pieces are out", box.id.value, lease.input.call.value,
                     client->items));
  }
}

// So many pieces a call's run gives, whoever runs it.
int World::piecesOf(const CallId& call, const Workload& workload) {
  int sum = 0;
  for (const char c : call.value) sum += c;
  return 1 + sum % workload.yields;
}

// The next pieces that a client gets of a stream: each once, in order, and an HTTP answer from one run.
void World::takeItems(Client& client, const std::vector<DataChunk>& chunks) {
  for (const auto& w : workloads) {
    if (w.function.id == client.function) client.wanted = piecesOf(client.call, w);
  }
  for (const auto& chunk : chunks) {
    const auto& data = chunk.payload.data;
    note("client {}: gets {}", client.number, data);
    const auto slash = data.rfind('/');
    const auto by = data.substr(0, slash), which = data.substr(slash + 1);
    if (chunk.index != ++client.items || which != std::to_string(client.items)) {
      return fail(fmt::format("client {} got piece {} of {} as its {}th", client.number, which, client.call.value,
                              client.items));
    }
    if (client.kind == CallKind::web && !client.answeredBy.empty() && client.answeredBy != by) {
      return fail(fmt::format("the answer to {} is of {} and of {}", client.call.value, client.answeredBy, by));
    }
    client.answeredBy = by;
  }
}

// What a client is shown: by whom it was made, and the same as before.
void World::checkOutput(Client& client, const Output& output) {
  note("client {}: sees {} as {}", client.number, output.input.value, nameOf(output.outcome.status));
  const auto accepted = client.acknowledged.find(output.index);
  if (accepted != client.acknowledged.end() && accepted->second != output.input) {
    return fail(fmt::format("index {} of {} is answered for another input", output.index, output.call.value));
  }
  const auto& value = output.outcome.value.data;
  if (!value.empty() && value != fmt::format("{}/{}", output.instance.value, output.attempt)) {
    return fail(fmt::format("{} was settled by {} while {}/{} held it", output.input.value, value,
                            output.instance.value, output.attempt));
  }
  const auto [known, isNew] = client.seen.emplace(output.index, output);
  if (!isNew && !(known->second == output)) {
    fail(fmt::format("the result of {} was seen as {} and is now {}", output.input.value,
                     nameOf(known->second.outcome.status), nameOf(output.outcome.status)));
  }
}

// In the end: each input has the one output that was shown, bills are right, and nothing is left over.
void World::finalChecks() {
  for (const auto& client : clients) {
    if (client->call.empty() || client->kind == CallKind::web || client->clears) continue;
    const auto page = control->calls().outputs(client->call, {});
    if (!page.ok()) return fail("a finished call is gone");
    std::set<InputId> inputs;
    for (const auto& output : page->outputs) {
      if (!inputs.insert(output.input).second) return fail(output.input.value + " was settled twice");
      checkOutput(*client, output);
    }
    for (const auto& [index, id] : client->acknowledged) {
      if (!inputs.contains(id)) return fail(id.value + " was acknowledged and has no output");
    }
  }
  for (const auto& machine : machines) {
    for (const auto& [id, box] : machine->boxes()) {
      const auto instance = control->fleet().find(id);
      if (!instance || instance->state == InstanceState::gone) return fail(id.value + " runs and has no owner");
    }
  }
  checkBills();
}

// In peace: a function that takes a second does not wait behind another that has work for many minutes.
void World::checkWaits() {
  for (const auto& client : clients) {
    if (client->done || client->patient || engine.now() < peaceAt + kFairWait) continue;
    return fail(fmt::format("client {} ({}) waits for minutes of peace, for what takes a second", client->number,
                            client->call.value));
  }
}

// A bill is for what ran: it begins after the sandbox did and ends, at most so long as control may take to know, after
// it; while control lives every container that was ready has one.
void World::checkBills() {
  std::map<std::string, const Box*> byId;
  for (const auto& box : boxes) byId[box->id.value] = box.get();
  const auto records = disk.usage({});
  if (!records.ok()) return fail("usage cannot be read");
  for (const auto& record : *records) {
    if (record.kind != UsageKind::container) continue;
    const auto found = byId.find(record.id);
    if (found == byId.end()) return fail(record.id + " is billed and never was");
    const Box& box = *found->second;
    if (record.startedAt < box.startedAt) return fail(record.id + " is billed from before it ran");
    if (record.endedAt == Time{}) {
      if (!box.alive) return fail(record.id + " has ended and its bill has not");
      continue;
    }
    if (!box.alive && record.endedAt > box.endedAt + kLateBill) return fail(record.id + " is billed after its end");
  }
}

}  // namespace gridiron::sim
