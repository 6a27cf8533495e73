#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/loop.h"
#include "calls/calls.h"
#include "edge/http/lane_socket.h"
#include "edge/rpc/wakes.h"
#include "fleet/fleet.h"
#include "net/upstream.h"

namespace gridiron::edge {

// The right to run one web input in a container, by its lane. Ends with Lanes::leave.
struct LanePlace {
  std::shared_ptr<LaneSocket> socket;  // to the app; null when the input goes to a port inside
  std::string ports;                   // where sockets inside the container come from (see dialInside)
  InstanceId instance;
  FunctionId function;
  InputId input;
  // The input was ended without the container (time-out, cancelled, container lost): as this. The socket was then
  // interrupted, or `interrupted` called.
  std::optional<Outcome> verdict;
  std::function<void()> interrupted{};
};

// The fast lane: which containers take web requests by sockets of their own (guest/fast_lane.py) or at a port that a
// server of the user's listens on, and which request goes to which of them. Inputs are leased and settled in Calls like
// any other, so how many run in a container is counted over both ways. Loop thread only. docs/decisions/fast_lane.md.
class Lanes final : public CallsObserver, public FleetObserver {
 public:
  // What is given must outlive it. Observes calls and fleet from its construction on.
  Lanes(asio::io_context& io, Calls& calls, Fleet& fleet, const Functions& functions, Wakes& wakes);
  ~Lanes() override;

  // Where containers of a worker have their doors, and what leads to their ports: WorkerHello.lanes. "": nowhere.
  void workerFolder(const WorkerId& worker, const std::string& folder);

  // The container asks for inputs, or its server is ready. True: it has a lane, and web inputs are not for its asking.
  bool opens(const InstanceId& instance);

  // The enter methods of a server's container have returned: it is ready when its port takes connections.
  void serverEntered(const InstanceId& instance);

  // Waits for a place for the input. Null when it is not to go by a lane: the container has asked for it, it has ended,
  // `until` has passed, or forget() was called. `port`: it is for a server that listens there; 0: for the app.
  Task<std::shared_ptr<LanePlace>> enter(FunctionId function, InputId input, Nanos until, int port = 0);
  void forget(const InputId& input);

  // The container has done with the input: it is settled so, and the socket kept for another when `reusable`.
  void leave(const std::shared_ptr<LanePlace>& place, Outcome outcome, bool reusable);
  // It takes no more requests.
  void refuse(const InstanceId& instance);

  // Connections to a port inside the container: one that is idle, or null; and one that is from now on.
  std::shared_ptr<net::Upstream> spare(const InstanceId& instance, int port);
  void keep(const InstanceId& instance, int port, std::shared_ptr<net::Upstream> upstream);
  // Shall its owner be told what went wrong in the container now? Once a second at most.
  bool mayTell(const InstanceId& instance, Time now);

  void inputStarted(const Input& input) override;
  void inputEnded(const Input& input, const Outcome& outcome, bool final) override;
  void instanceChanged(const Instance& instance) override;

 private:
  struct State;
  static Task<void> awaitServer(std::shared_ptr<State> state, Lanes* lanes, InstanceId instance, std::string ports);
  std::shared_ptr<State> state_;
};

}  // namespace gridiron::edge
