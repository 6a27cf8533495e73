#include "sim/world.h"

namespace gridiron::sim {

using namespace std::chrono_literals;

void World::call() {
  auto client = std::make_shared<Client>();
  const auto& workload = anyWorkload();
  client->number = static_cast<int>(clients.size());
  client->function = workload.function.id;
  client->generates = workload.function.isGenerator;
  client->kind = workload.kind;
  if (workload.kind == CallKind::unary && !client->generates && engine.random.percent(40)) {
    client->kind = CallKind::map;
    client->inputs = 1 + engine.random.below(workload.inputs);
  }
  client->perPut = 1 + engine.random.below(4);
  client->cancels = engine.random.percent(12);
  client->clears = client->kind == CallKind::unary && engine.random.percent(30);
  client->begunAt = engine.now();
  client->patient = workload.longest > 1s || workload.importFails > 0 || workload.hangs > 0;
  clients.push_back(client);
  note("client {}: calls {} with {} inputs", client->number, client->function.value, client->inputs);
  if (client->kind != CallKind::web) return open(client);
  client->inputs = 1 + engine.random.below(3);  // pieces of the request's body
  if (control) {
    control->visit(client);
  } else {
    client->done = true;  // refused
  }
  if (client->cancels) {
    engine.in(engine.random.between(10ms, 3s), [this, client] {
      if (client->done || !control) return;
      note("client {}: hangs up", client->number);
      client->done = true;
      control->leaveVisit(*client);
      control->look();
    });
  }
}

// The first inputs travel with the opening, as FunctionMap's do.
void World::open(const std::shared_ptr<Client>& client) {
  const auto again = [this, client](Nanos wait) { engine.in(wait, [this, client] { open(client); }); };
  rpc(
      8s,
      [this, client, again](Control& control, const Control::Respond& respond) {
        if (!control.replies.contains(client->number)) {
          CallOptions wanted;
          wanted.function = client->function;
          wanted.kind = client->kind;
          const auto call = control.calls().open(wanted);
          if (!call.ok()) return respond([client] { client->done = true; });  // no such function (any more)
          std::vector<NewInput> inputs;
          for (int i = 0; i < std::min(client->perPut, client->inputs); ++i) inputs.push_back({i, {}, ""});
          auto accepted = control.calls().put(*call, std::move(inputs));
          if (!accepted.ok()) {
            (void)control.calls().cancel(*call);
            return respond([again] { again(1s); });
          }
          control.replies[client->number] = {*call, std::move(*accepted)};
        }
        respond([this, client, reply = control.replies[client->number]] {
          client->call = reply.first;
          for (const auto& input : reply.second) {
            client->acknowledged[input.index] = input.id;
            const auto& all = workloads;
            for (const auto& w : all) {
              if (w.function.id == client->function && engine.random.percent(w.poison)) poisoned.insert(input.id);
            }
          }
          for (const auto& w : workloads) {
            if (client->generates && w.function.id == client->function) client->wanted = piecesOf(client->call, w);
          }
          note("client {}: has {} with {} inputs", client->number, client->call.value, reply.second.size());
          client->put = static_cast<int>(client->acknowledged.size());
          putMore(client);
          if (client->generates) stream(client);
          poll(client);
          if (client->cancels) {
            engine.in(engine.random.between(10ms, 3s), [this, client] { cancel(client); });
          }
        });
      },
      [again, this] { again(engine.random.between(100ms, 1s)); });
}

void World::putMore(const std::shared_ptr<Client>& client) {
  if (client->kind != CallKind::map || client->cancelAsked) return;
  if (client->put >= client->inputs) return finishInputs(client);
  rpc(
      8s,
      [this, client](Control& control, const Control::Respond& respond) {
        std::vector<NewInput> inputs;
        const int last = std::min(client->put + client->perPut, client->inputs);
        for (int i = client->put; i < last; ++i) inputs.push_back({i, {}, ""});
        auto accepted = control.calls().put(client->call, std::move(inputs));
        if (!accepted.ok()) {
          if (accepted.error().code == Code::failedPrecondition) return respond([] {});  // cancelled
          if (accepted.error().code == Code::notFound) fail("a call that was acknowledged is not found");
          return respond([this, client] { engine.in(1s, [this, client] { putMore(client); }); });
        }
        respond([this, client, accepted = std::move(*accepted)] {
          for (const auto& input : accepted) {
            const auto [known, isNew] = client->acknowledged.emplace(input.index, input.id);
            if (known->second != input.id) fail("an index was acknowledged with two ids");
            client->put = std::max(client->put, input.index + 1);
          }
          putMore(client);
        });
      },
      [this, client] { engine.in(500ms, [this, client] { putMore(client); }); });
}

void World::finishInputs(const std::shared_ptr<Client>& client) {
  rpc(
      8s,
      [this, client](Control& control, const Control::Respond& respond) {
        const bool done = control.calls().finishInputs(client->call, client->inputs).ok();
        respond([this, client, done] {
          if (!done) engine.in(500ms, [this, client] { finishInputs(client); });
        });
      },
      [this, client] { engine.in(500ms, [this, client] { finishInputs(client); }); });
}

void World::poll(const std::shared_ptr<Client>& client) {
  if (client->done) return;
  rpc(
      30s,
      [this, client](Control& control, const Control::Respond& respond) {
        OutputQuery query;
        query.after = client->after;
        query.clearOnSuccess = client->clears;
        control.getOutputs(client->call, query, [this, client, respond](Result<OutputPage> page) {
          if (!page.ok() && page.error().code == Code::notFound) fail("a call that was acknowledged is not found");
          respond([this, client, page = std::move(page)] {
            if (!page.ok()) return engine.in(1s, [this, client] { poll(client); });
            for (const auto& output : page->outputs) checkOutput(*client, output);
            client->after = page->lastEntryId;
            if (page->finished && isOver(*client)) client->done = true;
            if (client->done) note("client {}: is done", client->number);
            if (page->finished) return;
            engine.in(1ms, [this, client] { poll(client); });
          });
        });
      },
      [this, client] { engine.in(200ms, [this, client] { poll(client); }); });
}

// Has it all that its call gives? Of a generator the items, too.
bool World::isOver(const Client& client) const {
  if (!client.generates || client.seen.empty()) return true;
  if (client.seen.begin()->second.outcome.status != OutcomeStatus::success) return true;
  return client.items >= client.wanted;
}

// The items of a generator's call, from the last one seen on.
void World::stream(const std::shared_ptr<Client>& client) {
  if (client->done) return;
  rpc(
      30s,
      [this, client](Control& control, const Control::Respond& respond) {
        if (client->items > 0) control.calls().acknowledge(client->call, Direction::out, client->items);
        (void)control.calls().info(client->call);
        control.getData(client->call, Direction::out, client->items, client->items >= client->wanted,
                        [this, client, respond](Result<std::vector<DataChunk>> chunks) {
                          respond([this, client, chunks = std::move(chunks)] {
                            if (client->done) return;
                            if (chunks.ok()) {
                              takeItems(*client, *chunks);
                            } else {
                              note("client {}: gets no more items: {}", client->number, chunks.error().message);
                              client->wanted = 0;  // it raises
                            }
                            if (!client->seen.empty() && isOver(*client)) client->done = true;
                            engine.in(1ms, [this, client] { stream(client); });
                          });
                        });
      },
      [this, client] { engine.in(200ms, [this, client] { stream(client); }); });
}

void World::cancel(const std::shared_ptr<Client>& client) {
  if (client->done) return;
  client->cancelAsked = true;
  const auto terminate = client->number % 2 == 0 ? Terminate::no : Terminate::containers;
  rpc(
      8s,
      [this, client, terminate](Control& control, const Control::Respond& respond) {
        note("client {}: cancels", client->number);
        const bool done = control.calls().cancel(client->call, terminate).ok();
        respond([this, client, done] {
          if (!done) engine.in(500ms, [this, client] { cancel(client); });
        });
      },
      [this, client] { engine.in(500ms, [this, client] { cancel(client); }); });
}

}  // namespace gridiron::sim
