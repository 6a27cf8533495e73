#include "edge/http/lanes.h"

#include <sys/stat.h>

#include <boost/asio/post.hpp>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "edge/http/ports.h"

namespace gridiron::edge {
namespace {

constexpr std::size_t kMostIdle = 256;  // connections kept to one container
constexpr Nanos kFirstLook = std::chrono::milliseconds(2), kLastLook = std::chrono::milliseconds(100);  // at a port

// A container that was looked at.
struct Lane {
  FunctionId function;
  std::string path;   // of its door; "": it has none
  std::string ports;  // where sockets inside come from; "": nowhere
  int busy = 0;
  bool opened = false, refusing = false;
  Time toldAt{};
  std::vector<std::shared_ptr<LaneSocket>> idle;
  std::map<int, net::KeptUpstreams> kept;  // by port
};

// Which ways its requests need.
struct Ways {
  bool app = false, ports = false;
};

Ways waysOf(const Function& function) {
  Ways out;
  const auto add = [&](const WebEndpoint& web) {
    if (web.kind == WebKind::webServer) out.ports = true;
    if (web.kind != WebKind::webServer && web.kind != WebKind::none) out.app = true;
  };
  add(function.web);
  for (const Method& method : function.methods) add(method.web);
  return out;
}

bool isSocket(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

struct Waiter {
  explicit Waiter(asio::io_context& io) : changed(io) {}
  InputId input;
  int port = 0;
  bool done = false;
  std::shared_ptr<LanePlace> place;
  Notifier changed;
};

}  // namespace

struct Lanes::State : std::enable_shared_from_this<State> {
  State(asio::io_context& loop, Calls& c, Fleet& f, const Functions& table, Wakes& w)
      : io(loop), calls(c), fleet(f), functions(table), wakes(w) {}

  asio::io_context& io;
  Calls& calls;
  Fleet& fleet;
  const Functions& functions;
  Wakes& wakes;
  bool closed = false;
  std::unordered_map<WorkerId, std::string> folders;
  std::unordered_map<InstanceId, Lane> lanes;
  // Those that take requests, the least busy first.
  std::unordered_map<FunctionId, std::set<std::pair<int, InstanceId>>> open;
  std::unordered_map<FunctionId, std::deque<std::shared_ptr<Waiter>>> waiting;
  std::unordered_map<InputId, std::shared_ptr<Waiter>> waiters;
  std::unordered_map<InputId, std::shared_ptr<LanePlace>> running;
  std::set<FunctionId> toPump;
  const InputId* taking = nullptr;  // by us, now

  Lane* find(const InstanceId& instance) {
    const auto found = lanes.find(instance);
    return found == lanes.end() ? nullptr : &found->second;
  }

  void close(Lane& lane, const InstanceId& id) {
    lane.refusing = true;
    const auto others = open.find(lane.function);
    if (others != open.end()) {
      others->second.erase({lane.busy, id});
      if (others->second.empty()) open.erase(others);
    }
    for (const auto& socket : std::exchange(lane.idle, {})) socket->close();
    lane.kept.clear();
  }

  void setBusy(Lane& lane, const InstanceId& id, int busy) {
    if (!lane.refusing) {
      auto& others = open[lane.function];
      others.erase({lane.busy, id});
      others.emplace(busy, id);
    }
    lane.busy = busy;
  }

  // A connection that works; null when the app takes no more.
  std::shared_ptr<LaneSocket> socketOf(Lane& lane) {
    while (!lane.idle.empty()) {
      const auto socket = std::move(lane.idle.back());
      lane.idle.pop_back();
      if (socket->isQuiet()) return socket;
      socket->close();
    }
    Result<std::shared_ptr<LaneSocket>> connected = LaneSocket::connect(io, lane.path);
    return connected.ok() ? *connected : nullptr;
  }

  // A place for the input in the least busy container that has one.
  std::shared_ptr<LanePlace> placeFor(const FunctionId& function, const InputId& input, int port) {
    for (;;) {
      const auto others = open.find(function);
      const auto definition = functions.find(function);
      if (others == open.end() || !definition) return nullptr;
      const int slots = slotsOf(*definition);
      // The first that is not held by what it has asked for itself. Behind one that is full of ours all others are.
      const auto stop = [&](const auto& one) { return one.first >= slots || calls.heldBy(one.second) < slots; };
      const auto chosen = std::find_if(others->second.begin(), others->second.end(), stop);
      if (chosen == others->second.end() || chosen->first >= slots) return nullptr;
      const InstanceId id = chosen->second;
      Lane& lane = lanes.at(id);
      const bool byPort = port != 0 && !lane.ports.empty();
      auto socket = byPort ? nullptr : socketOf(lane);
      if (!socket && !byPort) {
        close(lane, id);
        continue;
      }
      taking = &input;
      const bool taken = calls.take(id, input).has_value();
      taking = nullptr;
      if (!taken && socket) lane.idle.push_back(std::move(socket));
      if (!taken) return nullptr;
      setBusy(lane, id, lane.busy + 1);
      auto place = std::make_shared<LanePlace>(
          LanePlace{std::move(socket), byPort ? lane.ports : "", id, function, input, std::nullopt});
      running.emplace(input, place);
      return place;
    }
  }

  void finish(const std::shared_ptr<Waiter>& waiter, std::shared_ptr<LanePlace> place = nullptr) {
    if (std::exchange(waiter->done, true)) return;
    waiter->place = std::move(place);
    waiters.erase(waiter->input);
    waiter->changed.notifyAll();
  }

  void pump(const FunctionId& function) {
    const auto found = waiting.find(function);
    if (found == waiting.end()) return;
    auto& line = found->second;
    while (!line.empty()) {
      if (!line.front()->done) {
        auto place = placeFor(function, line.front()->input, line.front()->port);
        if (!place) break;
        finish(line.front(), std::move(place));
      }
      line.pop_front();
    }
    if (line.empty()) waiting.erase(found);
  }

  // Not from within what Calls tells.
  void pumpSoon(const FunctionId& function) {
    if (!waiting.contains(function)) return;
    if (toPump.empty()) {
      asio::post(io, [self = shared_from_this()] {
        for (const auto& each : std::exchange(self->toPump, {})) {
          if (!self->closed) self->pump(each);
        }
      });
    }
    toPump.insert(function);
  }
};

Lanes::Lanes(asio::io_context& io, Calls& calls, Fleet& fleet, const Functions& functions, Wakes& wakes)
    : state_(std::make_shared<State>(io, calls, fleet, functions, wakes)) {
  calls.observe(*this);
  fleet.observe(*this);
}

Lanes::~Lanes() {
  state_->closed = true;
  for (auto& [id, lane] : state_->lanes) state_->close(lane, id);
}

void Lanes::workerFolder(const WorkerId& worker, const std::string& folder) { state_->folders[worker] = folder; }

bool Lanes::opens(const InstanceId& id) {
  if (const Lane* known = state_->find(id)) return known->opened;
  const auto instance = state_->fleet.find(id);
  if (!instance) return false;
  Lane& lane = state_->lanes[id];
  lane.function = instance->function;
  const auto folder = state_->folders.find(instance->worker);
  const auto definition = state_->functions.find(instance->function);
  if (folder == state_->folders.end() || folder->second.empty() || !definition) return false;
  const Ways ways = waysOf(*definition);
  const std::string own = folder->second + "/" + id.value;
  if (ways.ports && isSocket(own + "/ports")) lane.ports = own + "/ports";
  if (ways.app || (ways.ports && lane.ports.empty())) {
    Result<std::shared_ptr<LaneSocket>> connected = LaneSocket::connect(state_->io, own + "/lane/door");
    if (!connected.ok()) return false;
    lane.path = own + "/lane/door";
    lane.idle.push_back(*connected);
  }
  lane.opened = ways.app || ways.ports;
  if (!lane.opened) return false;
  if (instance->state == InstanceState::ready) {
    state_->open[lane.function].emplace(0, id);
  } else {
    lane.refusing = true;
  }
  state_->pumpSoon(lane.function);
  return true;
}

void Lanes::serverEntered(const InstanceId& id) {
  const auto instance = state_->fleet.find(id);
  if (!instance || instance->state != InstanceState::starting) return;
  const auto folder = state_->folders.find(instance->worker);
  if (folder == state_->folders.end() || !isSocket(folder->second + "/" + id.value + "/ports")) {
    Outcome outcome;
    outcome.status = OutcomeStatus::initFailure;
    outcome.exception = "its container is on another machine than the grid's control, which reaches no servers there";
    return state_->fleet.startupFailed(id, outcome);
  }
  spawn(state_->io, awaitServer(state_, this, id, folder->second + "/" + id.value + "/ports"));
}

// As long as it starts; the fleet ends what takes too long.
Task<void> Lanes::awaitServer(std::shared_ptr<State> state, Lanes* lanes, InstanceId id, std::string ports) {
  for (Nanos pause = kFirstLook; !state->closed; pause = std::min(2 * pause, kLastLook)) {
    const auto instance = state->fleet.find(id);
    const auto definition = instance ? state->functions.find(instance->function) : nullptr;
    if (!definition || instance->state != InstanceState::starting) co_return;
    const int port = definition->web.port;
    Result<Fd> socket = co_await dialInside(state->io, ports, port);
    if (socket.ok() && !state->closed) {
      state->fleet.askedForInputs(id);
      if (lanes->opens(id)) lanes->keep(id, port, net::Upstream::open(state->io, std::move(*socket)));
      co_return;
    }
    co_await sleepFor(state->io, pause);
  }
}

Task<std::shared_ptr<LanePlace>> Lanes::enter(FunctionId function, InputId input, Nanos until, int port) {
  const auto state = state_;
  if (!state->waiting.contains(function)) {
    auto place = state->placeFor(function, input, port);
    if (place) co_return place;
  }
  const auto waiter = std::make_shared<Waiter>(state->io);
  waiter->input = input;
  waiter->port = port;
  state->waiting[function].push_back(waiter);
  state->waiters.emplace(input, waiter);
  if (!waiter->done) (void)co_await waiter->changed.wait(until);
  state->finish(waiter);
  co_return waiter->place;
}

void Lanes::forget(const InputId& input) {
  const auto found = state_->waiters.find(input);
  if (found == state_->waiters.end()) return;
  const auto waiter = found->second;
  state_->finish(waiter);
}

void Lanes::leave(const std::shared_ptr<LanePlace>& place, Outcome outcome, bool reusable) {
  auto& state = *state_;
  state.running.erase(place->input);
  (void)state.calls.settle(place->instance, place->input, std::move(outcome));
  Lane* lane = state.find(place->instance);
  const bool keep = lane != nullptr && reusable && !lane->refusing && lane->idle.size() < kMostIdle;
  if (place->socket && keep) lane->idle.push_back(place->socket);
  if (place->socket && !keep) place->socket->close();
  if (lane != nullptr) state.setBusy(*lane, place->instance, lane->busy - 1);
  if (state.closed) return;
  state.pump(place->function);
  // What is to be asked for may be next now; the question waits.
  const auto demand = state.calls.demandOf(place->function);
  if (demand.queued > 0) state.wakes.ring(Wake::inputs(place->function));
}

void Lanes::refuse(const InstanceId& instance) {
  if (Lane* lane = state_->find(instance)) state_->close(*lane, instance);
}

std::shared_ptr<net::Upstream> Lanes::spare(const InstanceId& instance, int port) {
  Lane* lane = state_->find(instance);
  return lane != nullptr ? lane->kept[port].take() : nullptr;
}

void Lanes::keep(const InstanceId& instance, int port, std::shared_ptr<net::Upstream> upstream) {
  Lane* lane = state_->find(instance);
  if (lane != nullptr && !lane->refusing) lane->kept[port].put(std::move(upstream));
}

bool Lanes::mayTell(const InstanceId& instance, Time now) {
  Lane* lane = state_->find(instance);
  if (lane == nullptr || now < lane->toldAt + std::chrono::seconds(1)) return false;
  lane->toldAt = now;
  return true;
}

void Lanes::inputStarted(const Input& input) {
  if (state_->taking != nullptr && *state_->taking == input.id) return;
  forget(input.id);
  state_->pumpSoon(input.function);
}

void Lanes::inputEnded(const Input& input, const Outcome& outcome, bool) {
  const auto found = state_->running.find(input.id);
  if (found != state_->running.end()) {
    const auto place = found->second;
    place->verdict = outcome;
    if (place->socket) place->socket->interrupt();
    if (place->interrupted) place->interrupted();
    return;
  }
  forget(input.id);
  state_->pumpSoon(input.function);
}

void Lanes::instanceChanged(const Instance& instance) {
  const auto found = state_->lanes.find(instance.id);
  if (found == state_->lanes.end()) return;
  if (instance.state == InstanceState::draining || instance.state == InstanceState::gone)
    state_->close(found->second, instance.id);
  if (instance.state == InstanceState::gone) state_->lanes.erase(found);
}

}  // namespace gridiron::edge
