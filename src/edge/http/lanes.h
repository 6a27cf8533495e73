#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/loop.h"
#include "calls/calls.h"
#include "edge/http/lane_socket.h"
#include "edge/rpc/wakes.h"
#include "fleet/fleet.h"

namespace gridiron::edge {

// The right to run one web input in a container, by its lane. Ends with Lanes::leave.
struct LanePlace {
  std::shared_ptr<LaneSocket> socket;
  InstanceId instance;
  FunctionId function;
  InputId input;
  // The input was ended without the container (time-out, cancelled, container lost): as this. The socket was then
  // interrupted.
  std::optional<Outcome> verdict;
};

// The fast lane: which containers take web requests by sockets of their own (guest/fast_lane.py), and which request
// goes to which of them. Inputs are leased and settled in Calls like any other, so how many run in a container is
// counted over both ways. Loop thread only. docs/decisions/fast_lane.md.
class Lanes final : public CallsObserver, public FleetObserver {
 public:
  // What is given must outlive it. Observes calls and fleet from its construction on.
  Lanes(asio::io_context& io, Calls& calls, Fleet& fleet, const Functions& functions, Wakes& wakes);
  ~Lanes() override;

  // Where containers of a worker have their doors: WorkerHello.lanes. "": they have none.
  void workerFolder(const WorkerId& worker, const std::string& folder);

  // The container asks for inputs. True: it has a lane, and web inputs are not for its asking.
  bool opens(const InstanceId& instance);

  // Waits for a place for the input. Null when it is not to go by a lane: the container has asked for it, it has ended,
  // `until` has passed, or forget() was called.
  Task<std::shared_ptr<LanePlace>> enter(FunctionId function, InputId input, Nanos until);
  void forget(const InputId& input);

  // The container has done with the input: it is settled so, and the socket kept for another when `reusable`.
  void leave(const std::shared_ptr<LanePlace>& place, Outcome outcome, bool reusable);
  // It takes no more requests.
  void refuse(const InstanceId& instance);

  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;
  void instanceChanged(const Instance& instance) override;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace gridiron::edge
