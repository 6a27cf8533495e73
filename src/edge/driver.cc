#include "edge/driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>

namespace gridiron::edge {

using namespace std::chrono_literals;

namespace {

constexpr Nanos kBetweenTurns = 2ms;
// Usage records, of thousands of requests a second: a part of them takes half a millisecond.
constexpr std::size_t kRecordsAtOnce = 64;
constexpr Nanos kBetweenRecords = 2ms;

}  // namespace

struct Driver::State : std::enable_shared_from_this<State> {
  State(asio::io_context& loop, Calls& c, Fleet& f, Apps& a, Meter& m)
      : io(loop),
        calls(c),
        fleet(f),
        apps(a),
        meter(m),
        timer(loop.get_executor()),
        pause(loop.get_executor()),
        records(loop.get_executor()),
        housekeeping(loop.get_executor()) {}

  // A turn soon, one however often it is asked for: at once after a pause, else when the last one is kBetweenTurns ago.
  // A turn looks at every function and container, and each request asks for three.
  void wake() {
    if (posted || ended) return;
    posted = true;
    const Nanos rest = std::min<Nanos>(lastTurn + kBetweenTurns - clock.now(), kBetweenTurns);
    if (rest <= 0ms) {
      asio::post(io, [self = shared_from_this()] { self->turn(); });
      return;
    }
    pause.expires_after(rest);
    pause.async_wait([self = shared_from_this()](const boost::system::error_code&) { self->turn(); });
  }

  void turn() {
    posted = false;
    if (ended) return;
    lastTurn = clock.now();
    calls.expire();
    fleet.step();
    const auto due = earliest(calls.nextDeadline(), fleet.nextDeadline());
    timer.cancel();
    if (!due) return;
    timer.expires_after(std::max<Nanos>(*due - clock.now(), 0ms));
    timer.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
      if (!cancelled) self->wake();
    });
  }

  static std::optional<Time> earliest(std::optional<Time> a, std::optional<Time> b) {
    if (a && b) return std::min(*a, *b);
    return a ? a : b;
  }

  void writeRecords() {
    if (auto written = meter.flush(kRecordsAtOnce); !written.ok()) {
      spdlog::warn("usage records are kept in memory until they can be written: {}", written.error().message);
      return;
    }
    if (!meter.isPending()) return;
    records.expires_after(kBetweenRecords);
    records.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
      if (!cancelled && !self->ended) self->writeRecords();
    });
  }

  void keepHouse() {
    writeRecords();
    apps.expire([this](const App& app) { return busy(app); });
    for (const auto& work : alsoEachSecond) work();
    housekeeping.expires_after(1s);
    housekeeping.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
      if (!cancelled && !self->ended) self->keepHouse();
    });
  }

  bool busy(const App& app) const {
    const auto instances = fleet.instances();
    const auto runsIt = [&](const Instance& instance) {
      return instance.app == app.id && calls.heldBy(instance.id) > 0;
    };
    if (std::any_of(instances.begin(), instances.end(), runsIt)) return true;
    const auto functions = apps.withBoundOf(app);
    return std::any_of(functions.begin(), functions.end(), [&](const auto& function) {
      const Demand demand = calls.demandOf(function->id);
      return demand.queued + demand.running > 0;
    });
  }

  asio::io_context& io;
  Calls& calls;
  Fleet& fleet;
  Apps& apps;
  Meter& meter;
  SystemClock clock;
  std::vector<std::function<void()>> alsoEachSecond;
  Timer timer;
  Timer pause;
  Timer records;
  Time lastTurn{};
  Timer housekeeping;
  bool posted = false;
  bool ended = false;
};

Driver::Driver(asio::io_context& io, Calls& calls, Fleet& fleet, Apps& apps, Meter& meter)
    : state_(std::make_shared<State>(io, calls, fleet, apps, meter)) {
  calls.observe(*this);
  apps.observe(*this);
  fleet.onWork([state = state_.get()] { state->wake(); });
}

Driver::~Driver() {
  state_->ended = true;
  state_->timer.cancel();
  state_->pause.cancel();
  state_->records.cancel();
  state_->housekeeping.cancel();
  state_->fleet.onWork([] {});
}

void Driver::alsoEachSecond(std::function<void()> work) { state_->alsoEachSecond.push_back(std::move(work)); }

void Driver::start() {
  for (const App& app : state_->apps.list("")) {
    for (const auto& function : state_->apps.withBoundOf(app)) state_->fleet.deploy(function->id);
  }
  state_->keepHouse();
  state_->wake();
}

void Driver::inputsQueued(const FunctionId&) { state_->wake(); }
void Driver::inputStarted(const Input&) { state_->wake(); }
void Driver::inputEnded(const Input&, const Outcome&, bool) { state_->wake(); }
void Driver::functionChanged(const Function& function) { state_->fleet.deploy(function.id); }
void Driver::functionRemoved(const Function& function, const std::string& why) {
  state_->fleet.withdraw(function.id, why);
}
void Driver::appStopped(const App& app, const std::string& why) { state_->fleet.stopApp(app.id, why); }

}  // namespace gridiron::edge
