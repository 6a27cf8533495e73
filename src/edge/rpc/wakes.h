#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "base/loop.h"
#include "calls/calls.h"
#include "catalog/apps.h"
#include "fleet/fleet.h"

namespace gridiron::edge {

// What a coroutine may wait for. Values, so that one wait can be for several.
struct Wake {
  std::string key;

  static Wake outputs(const CallId& call);
  static Wake data(const CallId& call, Direction direction);
  static Wake room(const CallId& call, Direction direction);  // the reader of a full stream has taken something
  static Wake inputs(const FunctionId& function);
  static Wake instance(const InstanceId& instance);  // its state changed, or an input of it is to be cancelled
  static Wake logs(const AppId& app);                // also: a container of it changed, the app ended
  static Wake logs(const ImageId& image);            // of its build
};

// Wakes the coroutines of the door when something they wait for has changed in Calls, Fleet or Apps (give it to
// all as observer), or somebody rings. As with Notifier: look first, then wait with no co_await between, and look again
// after. Loop thread only.
class Wakes final : public CallsObserver, public FleetObserver, public AppsObserver {
 public:
  explicit Wakes(asio::io_context& io);
  ~Wakes() override;  // wakes everybody

  // True when one of them was rung, false when `timeout` passed first.
  Task<bool> wait(std::vector<Wake> wakes, Nanos timeout);
  void ring(const Wake& wake);

  void inputsQueued(const FunctionId& function) override;
  void outputsReady(const CallId& call) override;
  void dataReady(const CallId& call, Direction direction) override;
  void cancelWanted(const InstanceId& instance) override;
  void instanceChanged(const Instance& instance) override;
  void appStopped(const App& app, const std::string& why) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gridiron::edge
