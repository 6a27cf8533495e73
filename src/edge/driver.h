#pragma once

#include <functional>
#include <memory>

#include "base/loop.h"
#include "calls/calls.h"
#include "catalog/apps.h"
#include "fleet/fleet.h"
#include "meter/meter.h"

namespace gridiron::edge {

// Gives the control modules their turns: calls what is due in Calls and Fleet when something happened or a deadline
// came, tells the fleet what apps have become, and once a second writes the meter's records and looks after apps whose
// client is gone. Observes all of them. Loop thread only.
class Driver final : public CallsObserver, public AppsObserver {
 public:
  // The parts outlive it.
  Driver(asio::io_context& io, Calls& calls, Fleet& fleet, Apps& apps, Meter& meter);
  ~Driver() override;

  // Is called each second too. Before start().
  void alsoEachSecond(std::function<void()> work);
  // Puts what is deployed in force and begins.
  void start();

  void inputsQueued(const FunctionId& function) override;
  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;
  void functionChanged(const Function& function) override;
  void functionRemoved(const Function& function, const std::string& why) override;
  void appStopped(const App& app, const std::string& why) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gridiron::edge
