#include "edge/rpc/wakes.h"

#include <unordered_map>

namespace gridiron::edge {

namespace {
std::string keyOf(const char* kind, const std::string& id) { return kind + id; }
}  // namespace

Wake Wake::outputs(const CallId& call) { return {keyOf("outputs ", call.str())}; }
Wake Wake::data(const CallId& call, Direction d) {
  return {keyOf(d == Direction::in ? "data in " : "data out ", call.str())};
}
Wake Wake::room(const CallId& call, Direction d) {
  return {keyOf(d == Direction::in ? "room in " : "room out ", call.str())};
}
Wake Wake::inputs(const FunctionId& function) { return {keyOf("inputs ", function.str())}; }
Wake Wake::instance(const InstanceId& instance) { return {keyOf("instance ", instance.str())}; }
Wake Wake::logs(const ImageId& image) { return {keyOf("logs ", image.str())}; }
Wake Wake::logs(const AppId& app) { return {keyOf("logs ", app.str())}; }

struct Wakes::State {
  explicit State(asio::io_context& context) : io(context) {}
  asio::io_context& io;
  std::unordered_multimap<std::string, Notifier*> waiting;

  // One waiter's entries, taken out when its coroutine ends or is destroyed.
  struct Entry {
    Entry(std::shared_ptr<State> s, std::vector<Wake> wanted)
        : state(std::move(s)), wakes(std::move(wanted)), notifier(state->io) {
      for (const Wake& wake : wakes) state->waiting.emplace(wake.key, &notifier);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    ~Entry() {
      for (const Wake& wake : wakes) {
        auto [at, end] = state->waiting.equal_range(wake.key);
        while (at != end && at->second != &notifier) ++at;
        if (at != end) state->waiting.erase(at);
      }
    }
    std::shared_ptr<State> state;
    std::vector<Wake> wakes;
    Notifier notifier;
  };
};

Wakes::Wakes(asio::io_context& io) : state_(std::make_shared<State>(io)) {}

Wakes::~Wakes() {
  for (auto& [key, notifier] : state_->waiting) notifier->notifyAll();
}

Task<bool> Wakes::wait(std::vector<Wake> wakes, Nanos timeout) {
  State::Entry entry(state_, std::move(wakes));
  bool rung = co_await entry.notifier.wait(timeout);
  co_return rung;
}

void Wakes::ring(const Wake& wake) {
  auto [at, end] = state_->waiting.equal_range(wake.key);
  for (; at != end; ++at) at->second->notifyAll();
}

void Wakes::inputsQueued(const FunctionId& function) { ring(Wake::inputs(function)); }
void Wakes::outputsReady(const CallId& call) { ring(Wake::outputs(call)); }
void Wakes::dataReady(const CallId& call, Direction direction) { ring(Wake::data(call, direction)); }
void Wakes::cancelWanted(const InstanceId& instance) { ring(Wake::instance(instance)); }
void Wakes::instanceChanged(const Instance& instance) {
  ring(Wake::instance(instance.id));
  ring(Wake::logs(instance.app));  // followers show the containers' states
}

void Wakes::appStopped(const App& app, const std::string&) { ring(Wake::logs(app.id)); }

}  // namespace gridiron::edge
